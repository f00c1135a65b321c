//! What merging, compaction and lookups cost: `cargo bench -p lsm-levels`.
//!
//! Keys are 16 bytes, values 100; tables lie in memory, so that the figures are of the code and not of a disk.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use base::limits::LEVELS;
use base::rng::Rng;
use base::{Cursor, EntryMeta, EntryRef, InternalKey, InternalKeyRef, KeyspaceId, StoreId, key_hash};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use lsm_levels::{
    BuildContext, Compaction, CompactionContext, FlushRetention, KeyRange, KeyspaceEdit, Levels, LevelsOptions, Lookup,
    MergeCursor, NewKeyspace, Picker, PickerOptions, Result, VersionEdit, flush,
};
use sstable::{BlockCache, CursorOptions, ReadOptions, TableOptions};
use vfs::{MemFs, Vfs};

const DIR: &str = "/db";
const KEYSPACE: KeyspaceId = KeyspaceId(0);
const KEY_LEN: usize = 16;
const VALUE_LEN: usize = 100;
/// Entries of the whole tree.
const ENTRIES: u64 = 400_000;

fn main() {
    divan::main();
}

/// Keys without values, as cheap to walk as a cursor can be.
struct ListCursor {
    keys: Vec<InternalKey>,
    position: usize,
}

impl Cursor for ListCursor {
    type Error = Infallible;

    fn seek_to_first(&mut self) -> std::result::Result<(), Infallible> {
        self.position = 0;
        Ok(())
    }

    fn seek_to_last(&mut self) -> std::result::Result<(), Infallible> {
        self.position = self.keys.len().wrapping_sub(1);
        Ok(())
    }

    fn seek(&mut self, key: InternalKeyRef<'_>) -> std::result::Result<(), Infallible> {
        self.position = self.keys.partition_point(|entry| entry.as_ref() < key);
        Ok(())
    }

    fn seek_for_prev(&mut self, key: InternalKeyRef<'_>) -> std::result::Result<(), Infallible> {
        self.position = self.keys.partition_point(|entry| entry.as_ref() <= key).wrapping_sub(1);
        Ok(())
    }

    #[inline]
    fn next(&mut self) -> std::result::Result<(), Infallible> {
        self.position += 1;
        Ok(())
    }

    #[inline]
    fn prev(&mut self) -> std::result::Result<(), Infallible> {
        self.position = self.position.wrapping_sub(1);
        Ok(())
    }

    #[inline]
    fn valid(&self) -> bool {
        self.position < self.keys.len()
    }

    #[inline]
    fn key(&self) -> InternalKeyRef<'_> {
        self.keys.get(self.position).map_or(InternalKeyRef::new(&[], 0), InternalKey::as_ref)
    }

    #[inline]
    fn value(&self) -> &[u8] {
        &[]
    }
}

fn key(number: u64) -> [u8; KEY_LEN] {
    let mut key = *b"user000000000000";
    let digits = format!("{number:012}");
    key[4..].copy_from_slice(digits.as_bytes());
    key
}

/// The merge alone, over random keys: what remains of a scan when sources cost next to nothing.
#[divan::bench(args = [1, 2, 4, 8, 16])]
fn merge_of_lists(bencher: Bencher<'_, '_>, sources: u64) {
    let count = 100_000;
    bencher
        .counter(ItemsCount::new(count))
        .with_inputs(|| {
            let mut rng = Rng::new(7);
            let mut lists: Vec<Vec<InternalKey>> = (0..sources).map(|_| Vec::new()).collect();
            for number in 0..count {
                let list = rng.below(sources) as usize;
                lists[list].push(InternalKeyRef::new(&key(number), 1).to_owned());
            }
            MergeCursor::new(lists.into_iter().map(|keys| ListCursor { keys, position: 0 }).collect())
        })
        .bench_local_refs(|cursor| {
            let Ok(()) = cursor.seek_to_first();
            let mut versions = 0;
            while cursor.valid() {
                versions += cursor.key().version;
                let Ok(()) = cursor.next();
            }
            versions
        });
}

struct Store {
    vfs: Arc<dyn Vfs>,
    levels: Levels,
    picker: Picker,
    options: [TableOptions; LEVELS],
    cancel: AtomicBool,
}

impl Store {
    fn new() -> Self {
        let vfs: Arc<dyn Vfs> = Arc::new(MemFs::volatile(1));
        vfs.create_dir_all(Path::new(DIR)).unwrap();
        let store = StoreId([7; 16]);
        let read = ReadOptions::new(Arc::new(BlockCache::new(64 << 20)), store);
        let levels = Levels::create(&vfs, Path::new(DIR), store, LevelsOptions::new(read)).unwrap();
        let created = Some(NewKeyspace { name: "default".to_owned(), options: Vec::new() });
        let edit = KeyspaceEdit { created, ..KeyspaceEdit::new(KEYSPACE) };
        levels.apply(VersionEdit::of(edit)).unwrap();
        let options = [TableOptions { store, ..TableOptions::default() }; LEVELS];
        let picker = Picker::new(PickerOptions::default());
        Self { vfs, levels, picker, options, cancel: AtomicBool::new(false) }
    }

    /// A fifth of the keys in each of four runs of level 0, over a last level that has them all.
    fn filled() -> Self {
        let store = Self::new();
        store.add(6, (0..ENTRIES / 5).collect(), 1);
        let mut rng = Rng::new(3);
        for run in 0..4 {
            let mut numbers: Vec<u64> = (0..ENTRIES / 5).map(|_| rng.below(ENTRIES / 5)).collect();
            numbers.sort_unstable();
            numbers.dedup();
            store.add(0, numbers, run + 2);
        }
        store
    }

    fn add(&self, level: usize, numbers: Vec<u64>, version: u64) {
        let mut rng = Rng::new(version);
        let mut value = [0; VALUE_LEN];
        rng.fill(&mut value);
        let mut encoded = Vec::new();
        EntryRef::new(EntryMeta::put(), &value).encode_into(&mut encoded);
        let keys = numbers.into_iter().map(|number| InternalKeyRef::new(&key(number), version).to_owned()).collect();
        let cursor = ValueCursor { keys: ListCursor { keys, position: 0 }, value: encoded };
        let mut added = flush(&self.build(), &FlushRetention::everything(), cursor).unwrap().tables;
        for table in &mut added {
            table.level = level;
        }
        self.levels.apply(VersionEdit::of(KeyspaceEdit { added, ..KeyspaceEdit::new(KEYSPACE) })).unwrap();
    }

    fn build(&self) -> BuildContext<'_> {
        BuildContext {
            vfs: &self.vfs,
            dir: Path::new(DIR),
            keys: None,
            table_options: &self.options,
            ids: &|| Ok(base::TableId(NEXT_ID.fetch_add(1, std::sync::atomic::Ordering::Relaxed))),
            target_file_bytes: 16 << 20,
            cancel: &self.cancel,
            pace: &|_| {},
        }
    }

    fn pick(&self) -> Compaction {
        self.levels.pick_range(KEYSPACE, &self.picker, 0, KeyRange::ALL, base::TableId(u64::MAX), 0).unwrap()
    }

    fn compact(&self, compaction: Compaction) -> Result<u64> {
        let context = CompactionContext {
            build: self.build(),
            discard_version: u64::MAX,
            expiry_now: 0,
            versions_to_keep: NonZeroU32::MIN,
            ordered: true,
            memtables_hold_older: &|_, _| false,
            grandparent_bytes_max: u64::MAX,
        };
        let output = compaction.run(&context)?;
        self.levels.discard_tables(&output.edit.added);
        Ok(output.stats.entries_read)
    }
}

/// Numbers of tables: above those that the tree hands out, since these never become durable.
static NEXT_ID: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

/// Keys that all have one value.
struct ValueCursor {
    keys: ListCursor,
    value: Vec<u8>,
}

impl Cursor for ValueCursor {
    type Error = Infallible;

    fn seek_to_first(&mut self) -> std::result::Result<(), Infallible> {
        self.keys.seek_to_first()
    }

    fn seek_to_last(&mut self) -> std::result::Result<(), Infallible> {
        self.keys.seek_to_last()
    }

    fn seek(&mut self, key: InternalKeyRef<'_>) -> std::result::Result<(), Infallible> {
        self.keys.seek(key)
    }

    fn seek_for_prev(&mut self, key: InternalKeyRef<'_>) -> std::result::Result<(), Infallible> {
        self.keys.seek_for_prev(key)
    }

    fn next(&mut self) -> std::result::Result<(), Infallible> {
        self.keys.next()
    }

    fn prev(&mut self) -> std::result::Result<(), Infallible> {
        self.keys.prev()
    }

    fn valid(&self) -> bool {
        self.keys.valid()
    }

    fn key(&self) -> InternalKeyRef<'_> {
        self.keys.key()
    }

    fn value(&self) -> &[u8] {
        &self.value
    }
}

/// Four runs of level 0 and the last level into the last level: reading, merging, dropping, writing.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn compaction_of_level_0(bencher: Bencher<'_, '_>) {
    let store = Store::filled();
    let pick = store.pick();
    let entries: u64 = pick.pick().tables().map(|table| table.meta().entries).sum();
    let bytes: u64 = pick.pick().tables().map(|table| table.meta().file_size).sum();
    drop(pick);
    bencher
        .counter(ItemsCount::new(entries))
        .counter(BytesCount::new(bytes))
        .with_inputs(|| store.pick())
        .bench_local_values(|compaction| store.compact(compaction).unwrap());
}

/// A memtable's worth of ordered entries to level 0.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn flush_in_order(bencher: Bencher<'_, '_>) {
    let store = Store::new();
    let keys: Vec<InternalKey> = (0..200_000).map(|number| InternalKeyRef::new(&key(number), 1).to_owned()).collect();
    let mut value = Vec::new();
    EntryRef::new(EntryMeta::put(), &[7; VALUE_LEN]).encode_into(&mut value);
    bencher
        .counter(ItemsCount::new(keys.len()))
        .counter(BytesCount::new(keys.len() * (KEY_LEN + VALUE_LEN)))
        .with_inputs(|| ValueCursor { keys: ListCursor { keys: keys.clone(), position: 0 }, value: value.clone() })
        .bench_local_values(|cursor| {
            let flushed = flush(&store.build(), &FlushRetention::everything(), cursor).unwrap();
            store.levels.discard_tables(&flushed.tables);
        });
}

/// The same tables, scanned as a reader scans them.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn scan_forward(bencher: Bencher<'_, '_>) {
    scan(bencher, |cursor| cursor.seek_to_first(), |cursor| cursor.next());
}

/// And backwards.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn scan_reverse(bencher: Bencher<'_, '_>) {
    scan(bencher, |cursor| cursor.seek_to_last(), |cursor| cursor.prev());
}

type Merged = MergeCursor<lsm_levels::RunCursor>;

fn scan(
    bencher: Bencher<'_, '_>,
    start: impl Fn(&mut Merged) -> sstable::Result<()> + Sync,
    step: impl Fn(&mut Merged) -> sstable::Result<()> + Sync,
) {
    let store = Store::filled();
    let version = store.levels.version(KEYSPACE).unwrap();
    let (entries, bytes) = version
        .all_tables()
        .fold((0, 0), |(entries, bytes), (_, table)| (entries + table.meta().entries, bytes + table.meta().file_size));
    bencher
        .counter(ItemsCount::new(entries))
        .counter(BytesCount::new(bytes))
        .with_inputs(|| MergeCursor::new(version.cursors(KeyRange::ALL, CursorOptions::default())))
        .bench_local_refs(|cursor| {
            start(cursor).unwrap();
            let mut bytes = 0;
            while cursor.valid() {
                bytes += cursor.value().len();
                step(cursor).unwrap();
            }
            bytes
        });
}

/// A key that is there, somewhere in five sources.
#[divan::bench(args = [true, false])]
fn get(bencher: Bencher<'_, '_>, ordered: bool) {
    let store = Store::filled();
    let version = store.levels.version(KEYSPACE).unwrap();
    let mut rng = Rng::new(9);
    bencher.counter(ItemsCount::new(1u64)).bench_local(|| {
        let user_key = key(rng.below(ENTRIES / 5));
        let lookup = Lookup {
            user_key: &user_key,
            hash: key_hash(&user_key),
            read_version: u64::MAX,
            ordered,
            newer_than: None,
        };
        version.get(&lookup, |_, value| black_box(value.len())).unwrap()
    });
}
