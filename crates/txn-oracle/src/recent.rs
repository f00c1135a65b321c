//! The keys that recent commits wrote, newest commits down to a floor, in a bounded number of bytes.
//!
//! Writes go into chunks, oldest chunk first; a full set of chunks drops its oldest as a whole and fills it again, so
//! that nothing is allocated once the chunks have grown.
//!
//! Invariants
//! 1. Every write of every commit above `floor` is in the chunks.
//! 2. Writes ascend by version within a chunk and from chunk to chunk.
//! 3. What the chunks hold is at most `bytes_max` long. (Vectors that grow take up to twice that.)
//!
//! Plain state of `CommitOrder`.

use std::collections::VecDeque;

use base::{KeyspaceId, Version};

use crate::read_set::{KeyRange, ReadKind, SealedReads};

const CHUNKS: usize = 4;

/// One thing that a commit writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write<'a> {
    /// A put, delete or merge of one key.
    Key {
        /// The key's keyspace.
        keyspace: KeyspaceId,
        /// `base::fingerprint` of keyspace and key.
        fingerprint: u64,
        /// The key.
        key: &'a [u8],
    },
    /// A deletion of a range; a whole keyspace is the range from the empty key without an end.
    Range(KeyRange<'a>),
}

impl<'a> Write<'a> {
    /// A write of one key, its fingerprint computed here.
    #[must_use]
    pub fn key(keyspace: KeyspaceId, key: &'a [u8]) -> Self {
        Self::Key { keyspace, fingerprint: base::fingerprint(keyspace, key), key }
    }
}

/// What another commit wrote after a transaction had read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The other commit.
    pub version: Version,
    /// Keyspace of what it wrote.
    pub keyspace: KeyspaceId,
    /// The key that it wrote, or the first key of the range that it deleted.
    pub key: Vec<u8>,
    /// How the transaction had read it.
    pub read: ReadKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Key,
    Range,
    RangeToLast,
}

#[derive(Clone, Copy, Debug)]
struct Recent {
    version: Version,
    keyspace: KeyspaceId,
    shape: Shape,
    offset: u32,
    start_len: u32,
    end_len: u32,
}

#[derive(Debug, Default)]
struct Chunk {
    writes: Vec<Recent>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct RecentWrites {
    chunks: VecDeque<Chunk>,
    chunk_bytes_max: usize,
    floor: Version,
}

impl RecentWrites {
    /// Knows nothing of versions up to `floor`.
    pub(crate) fn new(bytes_max: usize, floor: Version) -> Self {
        let chunks = (0..CHUNKS).map(|_| Chunk::default()).collect();
        Self { chunks, chunk_bytes_max: bytes_max / CHUNKS, floor }
    }

    /// The list holds every commit above this version.
    pub(crate) fn floor(&self) -> Version {
        self.floor
    }

    /// Adds one write of the newest commit.
    #[inline]
    pub(crate) fn push(&mut self, version: Version, write: Write<'_>) {
        let (keyspace, shape, start, end) = match write {
            Write::Key { keyspace, key, .. } => (keyspace, Shape::Key, key, None),
            Write::Range(range) => {
                let shape = if range.end.is_some() { Shape::Range } else { Shape::RangeToLast };
                (range.keyspace, shape, range.start, range.end)
            }
        };
        let end = end.unwrap_or_default();
        let len = size_of::<Recent>() + start.len() + end.len();
        if !self.make_room(len) {
            self.forget(version);
            return;
        }
        let Some(chunk) = self.chunks.back_mut() else { return };
        // A chunk is at most `RECENT_BYTES_MAX` long, which fits.
        let (offset, start_len, end_len) = (chunk.bytes.len() as u32, start.len() as u32, end.len() as u32);
        chunk.bytes.extend_from_slice(start);
        chunk.bytes.extend_from_slice(end);
        chunk.writes.push(Recent { version, keyspace, shape, offset, start_len, end_len });
    }

    /// Makes the last chunk one that has room for `len` bytes; false where no chunk ever has.
    #[inline]
    fn make_room(&mut self, len: usize) -> bool {
        let max = self.chunk_bytes_max;
        if self.chunks.back().is_some_and(|chunk| chunk.used_bytes() + len <= max) {
            return true;
        }
        if len > max {
            return false;
        }
        let Some(mut oldest) = self.chunks.pop_front() else { return false };
        if let Some(last) = oldest.writes.last() {
            self.floor = self.floor.max(last.version);
        }
        oldest.clear();
        self.chunks.push_back(oldest);
        true
    }

    /// Knows nothing of versions up to `version` any more, which is the newest.
    pub(crate) fn forget(&mut self, version: Version) {
        self.floor = version;
        if self.chunks.iter().any(|chunk| !chunk.writes.is_empty()) {
            self.chunks.iter_mut().for_each(Chunk::clear);
        }
    }

    /// The first write above `after` that changes what was read.
    pub(crate) fn first_hit(&self, reads: &SealedReads, after: Version) -> Option<Conflict> {
        self.chunks
            .iter()
            .filter(|chunk| chunk.writes.last().is_some_and(|last| last.version > after))
            .find_map(|chunk| chunk.first_hit(reads, after))
    }
}

impl Chunk {
    fn used_bytes(&self) -> usize {
        self.bytes.len() + self.writes.len() * size_of::<Recent>()
    }

    fn clear(&mut self) {
        self.writes.clear();
        self.bytes.clear();
    }

    fn first_hit(&self, reads: &SealedReads, after: Version) -> Option<Conflict> {
        let first = self.writes.partition_point(|write| write.version <= after);
        self.writes.iter().skip(first).find_map(|write| {
            let start = write.offset as usize;
            let middle = start + write.start_len as usize;
            let key = self.bytes.get(start..middle).unwrap_or_default();
            let end = self.bytes.get(middle..middle + write.end_len as usize).unwrap_or_default();
            let keyspace = write.keyspace;
            let read = match write.shape {
                Shape::Key => reads.hit_by_key(keyspace, key),
                Shape::Range => reads.hit_by_range(KeyRange { keyspace, start: key, end: Some(end) }),
                Shape::RangeToLast => reads.hit_by_range(KeyRange { keyspace, start: key, end: None }),
            }?;
            Some(Conflict { version: write.version, keyspace, key: key.to_vec(), read })
        })
    }
}

#[cfg(test)]
mod tests {
    use base::rng::Rng;

    use super::*;

    #[test]
    fn the_list_stays_in_its_bytes_and_its_floor_tells_what_it_lost() {
        for seed in 0..20 {
            println!("seed {seed}");
            let mut rng = Rng::new(seed);
            let bytes_max = rng.below(4_000) as usize;
            let mut recent = RecentWrites::new(bytes_max, 0);
            let key = [7; 2_000];
            for version in 1..500 {
                for _ in 0..rng.below(4) {
                    let len_max = if rng.one_in(20) { 2_000 } else { 30 };
                    let len = rng.below(len_max) as usize;
                    recent.push(version, Write::key(KeyspaceId(0), &key[..len]));
                }
                let held: usize = recent.chunks.iter().map(Chunk::used_bytes).sum();
                assert!(held <= bytes_max, "{held} bytes of {bytes_max}");
                let versions: Vec<_> =
                    recent.chunks.iter().flat_map(|chunk| chunk.writes.iter().map(|write| write.version)).collect();
                assert!(versions.is_sorted());
                assert!(recent.floor() <= version);
            }
        }
    }
}
