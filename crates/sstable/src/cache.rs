//! Blocks in memory: those that cannot be read in place, because they are compressed or the table is not mapped.
//!
//! One cache is shared by all tables of a store. It never holds more than its capacity, each block counted with what it
//! costs to keep it. A block that would push out an eighth of a shard is not kept at all.

use std::hash::{BuildHasher, Hasher};

use base::sync::atomic::{AtomicU64, Ordering};
use bytes::Bytes;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

/// Bytes that a cached block costs beside its own: two counters, its place in the map and the list, the allocator's.
const OVERHEAD_BYTES: u64 = 128;

/// Shards hold at least this many bytes each, so that a small cache is not cut into useless pieces.
const SHARD_BYTES_MIN: u64 = 1 << 20;
const SHARDS_MAX: u64 = 16;

/// Bytes of a typical block, from which the number of blocks is estimated.
const TYPICAL_BLOCK_BYTES: u64 = 4_096;

/// A table as the cache knows it: a number of its own for each that is opened, so that tables of several stores may
/// share a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CacheTable(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct BlockKey {
    table: u64,
    block: u64,
}

/// Blocks that cannot be read in place, shared by all tables of a store and bounded in bytes.
#[derive(Debug)]
pub struct BlockCache {
    blocks: Option<Cache<BlockKey, Bytes, ByBytes, BlockHash>>,
    weight_max: u64,
    capacity_bytes: u64,
    next_table: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// Counters of a [`BlockCache`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Lookups answered.
    pub hits: u64,
    /// Lookups not answered.
    pub misses: u64,
    /// Blocks held.
    pub blocks: u64,
    /// Bytes held, overhead included.
    pub bytes: u64,
    /// Most bytes that are ever held.
    pub capacity_bytes: u64,
}

impl BlockCache {
    /// A cache of at most `capacity_bytes`, overhead included. One that is too small for a block keeps none.
    #[must_use]
    pub fn new(capacity_bytes: usize) -> Self {
        let capacity_bytes = capacity_bytes as u64;
        let shards = (capacity_bytes / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX);
        let shards = 1 << shards.ilog2();
        // The cache rounds its shards up: what is rounded down here keeps the sum below the capacity.
        let shard_bytes = capacity_bytes / shards;
        let options = OptionsBuilder::new()
            .shards(shards as usize)
            .weight_capacity(shard_bytes * shards)
            .estimated_items_capacity((capacity_bytes / TYPICAL_BLOCK_BYTES).max(32 * shards) as usize)
            .build();
        let blocks = options
            .ok()
            .filter(|_| shard_bytes > OVERHEAD_BYTES)
            .map(|options| Cache::with_options(options, ByBytes, BlockHash, DefaultLifecycle::default()));
        Self {
            blocks,
            weight_max: shard_bytes / 8,
            capacity_bytes,
            next_table: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The counters now.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            blocks: self.blocks.as_ref().map_or(0, |blocks| blocks.len() as u64),
            bytes: self.blocks.as_ref().map_or(0, Cache::weight),
            capacity_bytes: self.capacity_bytes,
        }
    }

    pub(crate) fn register(&self) -> CacheTable {
        CacheTable(self.next_table.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn get(&self, table: CacheTable, block: usize) -> Option<Bytes> {
        let found = self.blocks.as_ref()?.get(&BlockKey { table: table.0, block: block as u64 });
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    pub(crate) fn insert(&self, table: CacheTable, block: usize, bytes: &Bytes) {
        if let Some(blocks) = &self.blocks
            && weight(bytes) <= self.weight_max
        {
            blocks.insert(BlockKey { table: table.0, block: block as u64 }, bytes.clone());
        }
    }

    /// Forgets the blocks of a table that is closed: `blocks` of them.
    pub(crate) fn remove(&self, table: CacheTable, blocks: usize) {
        if let Some(cache) = &self.blocks {
            for block in 0..blocks {
                cache.remove(&BlockKey { table: table.0, block: block as u64 });
            }
        }
    }
}

fn weight(bytes: &Bytes) -> u64 {
    bytes.len() as u64 + OVERHEAD_BYTES
}

#[derive(Clone, Copy, Debug)]
struct ByBytes;

impl Weighter<BlockKey, Bytes> for ByBytes {
    fn weight(&self, _: &BlockKey, bytes: &Bytes) -> u64 {
        weight(bytes)
    }
}

/// Hash of a block's key: both numbers multiplied and folded. They are ours, so nobody chooses them to collide.
#[derive(Clone, Copy, Debug)]
struct BlockHash;

impl BuildHasher for BlockHash {
    type Hasher = FoldedHash;

    fn build_hasher(&self) -> FoldedHash {
        FoldedHash(0)
    }
}

#[derive(Clone, Copy, Debug)]
struct FoldedHash(u64);

impl Hasher for FoldedHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93_u128;
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

#[cfg(test)]
mod tests {
    use base::rng::Rng;

    use super::*;

    #[test]
    fn the_cache_never_holds_more_than_its_capacity() {
        for capacity in [0, 16, 1_000, 100_000, 3 << 20, 17 << 20] {
            let cache = BlockCache::new(capacity);
            let mut rng = Rng::new(capacity as u64);
            for n in 0..20_000u64 {
                let table = CacheTable(rng.below(3));
                let len_max = if rng.one_in(100) { 1 << 20 } else { 5_000 };
                let len = 1 + rng.below(len_max) as usize;
                let block = rng.below(6_000) as usize;
                if cache.get(table, block).is_none() {
                    cache.insert(table, block, &Bytes::from(vec![0; len]));
                }
                let stats = cache.stats();
                assert!(stats.bytes <= capacity as u64, "{capacity} after {n}: {stats:?}");
            }
            println!("capacity {capacity}: {:?}", cache.stats());
        }
    }

    #[test]
    fn what_was_put_in_comes_out_until_it_is_removed() {
        let cache = BlockCache::new(1 << 20);
        let (one, two) = (cache.register(), cache.register());
        cache.insert(one, 7, &Bytes::from_static(b"seven"));
        assert_eq!(cache.get(one, 7).as_deref(), Some(&b"seven"[..]));
        assert_eq!(cache.get(two, 7), None);
        assert_eq!((cache.stats().hits, cache.stats().misses, cache.stats().blocks), (1, 1, 1));
        cache.remove(one, 8);
        assert_eq!((cache.get(one, 7), cache.stats().bytes), (None, 0));
    }

    #[test]
    fn a_huge_block_is_not_kept() {
        let cache = BlockCache::new(1 << 20);
        let table = cache.register();
        cache.insert(table, 0, &Bytes::from(vec![0; 200_000]));
        assert_eq!(cache.stats().blocks, 0);
        cache.insert(table, 0, &Bytes::from(vec![0; 100_000]));
        assert_eq!(cache.stats().blocks, 1);
    }
}
