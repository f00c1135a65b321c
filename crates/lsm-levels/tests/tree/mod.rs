//! A small tree in memory that tests flush to, compact and read.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part of this")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use base::limits::LEVELS;
use base::{
    Cursor, EntryKind, EntryMeta, EntryRef, InternalKey, InternalKeyRef, KeyspaceId, PointerPayload, SegmentId,
    StoreId, TableId, ValuePointer, Version, key_hash,
};
use encryption::Keyring;
use lsm_levels::{
    BoxError, BuildContext, Compaction, CompactionContext, CompactionOutput, CompactionStats, FlushRetention, KeyRange,
    KeyspaceEdit, Levels, LevelsOptions, Lookup, ManifestRecovery, MergeCursor, NewKeyspace, NewTable, Picker,
    PickerOptions, Place, Result, RunCursor, TreeVersion, ValueDeaths, VersionEdit, flush,
};
use sstable::{BlockCache, CursorOptions, IoMode, ReadOptions, TableOptions, VerifyBlocks};
use vfs::{MemFs, Vfs};

pub const DIR: &str = "/db";
pub const KEYSPACE: KeyspaceId = KeyspaceId(0);
pub const STORE: StoreId = StoreId(*b"a store of tests");

/// A key, its version, and the encoded entry.
pub type Entry = (InternalKey, Vec<u8>);

pub fn put(key: &str, version: Version, value: &str) -> Entry {
    entry(key, version, EntryMeta::put(), value.as_bytes())
}

pub fn delete(key: &str, version: Version) -> Entry {
    entry(key, version, EntryMeta::delete(), b"")
}

pub fn expiring(key: &str, version: Version, value: &str, expires_at: u64) -> Entry {
    entry(key, version, EntryMeta { expires_at, ..EntryMeta::put() }, value.as_bytes())
}

/// A put that says that older versions are of no interest.
pub fn last_word(key: &str, version: Version, value: &str) -> Entry {
    entry(key, version, EntryMeta { discard_earlier: true, ..EntryMeta::put() }, value.as_bytes())
}

pub fn pointer(offset: u32) -> ValuePointer {
    ValuePointer { segment: SegmentId(3), len: 100, offset }
}

pub fn pointing(key: &str, version: Version, offset: u32) -> Entry {
    let mut payload = Vec::new();
    PointerPayload { pointer: pointer(offset), value_len: 60 }.encode_into(&mut payload);
    entry(key, version, EntryMeta::of(EntryKind::Pointer), &payload)
}

pub fn entry(key: &str, version: Version, meta: EntryMeta, payload: &[u8]) -> Entry {
    let mut encoded = Vec::new();
    EntryRef::new(meta, payload).encode_into(&mut encoded);
    (InternalKeyRef::new(key.as_bytes(), version).to_owned(), encoded)
}

/// Entries as a memtable would give them.
#[derive(Debug)]
pub struct ListCursor {
    entries: Vec<Entry>,
    position: Option<usize>,
}

impl ListCursor {
    pub fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort();
        Self { entries, position: None }
    }

    fn go(&mut self, position: Option<usize>) -> std::result::Result<(), Infallible> {
        self.position = position.filter(|position| *position < self.entries.len());
        Ok(())
    }
}

impl Cursor for ListCursor {
    type Error = Infallible;

    fn seek_to_first(&mut self) -> std::result::Result<(), Infallible> {
        self.go(Some(0))
    }

    fn seek_to_last(&mut self) -> std::result::Result<(), Infallible> {
        self.go(self.entries.len().checked_sub(1))
    }

    fn seek(&mut self, key: InternalKeyRef<'_>) -> std::result::Result<(), Infallible> {
        self.go(Some(self.entries.partition_point(|(entry, _)| entry.as_ref() < key)))
    }

    fn seek_for_prev(&mut self, key: InternalKeyRef<'_>) -> std::result::Result<(), Infallible> {
        self.go(self.entries.partition_point(|(entry, _)| entry.as_ref() <= key).checked_sub(1))
    }

    fn next(&mut self) -> std::result::Result<(), Infallible> {
        self.go(self.position.map(|position| position + 1))
    }

    fn prev(&mut self) -> std::result::Result<(), Infallible> {
        self.go(self.position.and_then(|position| position.checked_sub(1)))
    }

    fn valid(&self) -> bool {
        self.position.is_some()
    }

    fn key(&self) -> InternalKeyRef<'_> {
        self.entries[self.position.unwrap()].0.as_ref()
    }

    fn value(&self) -> &[u8] {
        &self.entries[self.position.unwrap()].1
    }
}

/// A value log that only keeps account.
#[derive(Debug, Default)]
pub struct Graveyard {
    pub prepared: Mutex<Vec<(u64, Vec<ValuePointer>)>>,
    pub applied: Mutex<Vec<u64>>,
    pub cleared: Mutex<Vec<u64>>,
}

impl Graveyard {
    /// Every value that has died.
    pub fn dead(&self) -> Vec<ValuePointer> {
        let mut dead: Vec<_> = self.prepared.lock().unwrap().iter().flat_map(|(_, dead)| dead.clone()).collect();
        dead.sort();
        dead
    }
}

impl ValueDeaths for Graveyard {
    fn prepare(&self, ticket: u64, deaths: &[ValuePointer]) -> std::result::Result<(), BoxError> {
        self.prepared.lock().unwrap().push((ticket, deaths.to_vec()));
        Ok(())
    }

    fn apply(&self, ticket: u64) -> std::result::Result<bool, BoxError> {
        self.applied.lock().unwrap().push(ticket);
        Ok(true)
    }

    fn clear(&self, ticket: u64) -> std::result::Result<(), BoxError> {
        self.cleared.lock().unwrap().push(ticket);
        Ok(())
    }
}

/// What a compaction is told; the rest is fixed.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub discard_version: Version,
    pub expiry_now: u64,
    pub versions_to_keep: u32,
    pub target_file_bytes: u64,
    pub grandparent_bytes_max: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            discard_version: 1_000,
            expiry_now: 0,
            versions_to_keep: 1,
            target_file_bytes: 1 << 20,
            grandparent_bytes_max: 1 << 30,
        }
    }
}

pub struct Tree {
    pub vfs: Arc<dyn Vfs>,
    pub keys: Option<Arc<Keyring>>,
    pub levels: Levels,
    pub picker: Picker,
    pub graveyard: Graveyard,
    pub rules: Rules,
    /// Oldest version in a pretended memtable, by key.
    pub memtable: RefCell<Vec<(Vec<u8>, Version)>>,
}

pub fn read_options() -> ReadOptions {
    ReadOptions {
        cache: Arc::new(BlockCache::new(1 << 20)),
        io_mode: IoMode::Pread,
        verify: VerifyBlocks::OnFirstRead,
        store: STORE,
        expected_size: None,
        keys: None,
    }
}

pub fn levels_options() -> LevelsOptions {
    LevelsOptions::new(read_options())
}

pub fn with_keys(keys: Option<Arc<Keyring>>) -> LevelsOptions {
    LevelsOptions::new(ReadOptions { keys, ..read_options() })
}

/// Sizes so small that a handful of tables fills a level.
pub fn small_picker() -> Picker {
    Picker::new(PickerOptions { level_base_bytes: 8 << 10, fanout: 4, ..PickerOptions::with_sizes(2 << 10, 8 << 10) })
}

impl Tree {
    /// A tree with one keyspace, in memory.
    pub fn new() -> Self {
        Self::on(Arc::new(MemFs::new(1)))
    }

    pub fn on(vfs: Arc<dyn Vfs>) -> Self {
        Self::try_on(vfs, levels_options()).unwrap()
    }

    pub fn try_on(vfs: Arc<dyn Vfs>, options: LevelsOptions) -> Result<Self> {
        vfs.create_dir_all(Path::new(DIR))?;
        let keys = options.read.keys.clone();
        let levels = Levels::create(&vfs, Path::new(DIR), STORE, options)?;
        levels.apply(VersionEdit::of(created(KEYSPACE, "default")))?;
        Ok(Self { keys, ..Self::of(vfs, levels) })
    }

    pub fn of(vfs: Arc<dyn Vfs>, levels: Levels) -> Self {
        let (graveyard, memtable) = (Graveyard::default(), RefCell::default());
        Self { vfs, keys: None, levels, picker: small_picker(), graveyard, rules: Rules::default(), memtable }
    }

    pub fn open(vfs: Arc<dyn Vfs>) -> Result<(Self, ManifestRecovery)> {
        let (levels, recovery) = Levels::open(&vfs, Path::new(DIR), levels_options())?;
        Ok((Self::of(vfs, levels), recovery))
    }

    pub fn version(&self) -> Arc<TreeVersion> {
        self.levels.version(KEYSPACE).unwrap()
    }

    pub fn ordered(&self) -> bool {
        self.levels.keyspace(KEYSPACE).unwrap().ordered
    }

    pub fn set_unordered(&self) {
        let edit = KeyspaceEdit { ordered: Some(false), ..KeyspaceEdit::new(KEYSPACE) };
        self.levels.apply(VersionEdit::of(edit)).unwrap();
    }

    /// Calls `job` with what tables are built with.
    pub fn build<R>(&self, job: impl FnOnce(&BuildContext<'_>) -> R) -> R {
        let options = TableOptions { block_size: 256, store: STORE, ..TableOptions::default() };
        let cancel = AtomicBool::new(false);
        job(&BuildContext {
            vfs: &self.vfs,
            dir: Path::new(DIR),
            keys: self.keys.as_deref(),
            table_options: &[options; LEVELS],
            ids: &|| self.levels.new_table_id(),
            target_file_bytes: self.rules.target_file_bytes,
            cancel: &cancel,
            pace: &|_| {},
        })
    }

    /// Writes tables without adding them.
    pub fn write(&self, entries: Vec<Entry>) -> Result<Vec<NewTable>> {
        self.build(|context| {
            flush(context, &FlushRetention::everything(), ListCursor::new(entries)).map(|flushed| flushed.tables)
        })
    }

    pub fn try_add(&self, level: usize, entries: Vec<Entry>) -> Result<Vec<TableId>> {
        let mut added = self.write(entries)?;
        for table in &mut added {
            table.level = level;
        }
        let ids = added.iter().map(|table| table.meta.id).collect();
        self.levels.apply(VersionEdit::of(KeyspaceEdit { added, ..KeyspaceEdit::new(KEYSPACE) }))?;
        Ok(ids)
    }

    /// Adds a table with these entries to a level.
    pub fn add(&self, level: usize, entries: Vec<Entry>) -> TableId {
        self.try_add(level, entries).unwrap()[0]
    }

    pub fn flush(&self, entries: Vec<Entry>) -> TableId {
        self.add(0, entries)
    }

    pub fn run(&self, compaction: Compaction) -> Result<CompactionOutput> {
        let memtable = self.memtable.borrow();
        let holds =
            |key: &[u8], version| memtable.iter().any(|(user_key, oldest)| user_key == key && *oldest < version);
        self.build(|build| {
            compaction.run(&CompactionContext {
                build: *build,
                discard_version: self.rules.discard_version,
                expiry_now: self.rules.expiry_now,
                versions_to_keep: NonZeroU32::new(self.rules.versions_to_keep).unwrap(),
                ordered: self.ordered(),
                memtables_hold_older: &holds,
                grandparent_bytes_max: self.rules.grandparent_bytes_max,
            })
        })
    }

    pub fn commit(&self, output: CompactionOutput) -> Result<CompactionStats> {
        self.levels.commit_compaction(output, 0, &self.graveyard, || {})
    }

    pub fn run_and_commit(&self, compaction: Compaction) -> Result<CompactionStats> {
        self.commit(self.run(compaction)?)
    }

    pub fn pick(&self) -> Option<Compaction> {
        let Rules { discard_version, expiry_now, .. } = self.rules;
        let expired =
            || self.levels.pick_expired(KEYSPACE, &self.picker, discard_version, expiry_now, &BTreeSet::new());
        self.levels.pick_compaction(KEYSPACE, &self.picker, discard_version).or_else(expired)
    }

    pub fn pick_level(&self, level: usize) -> Option<Compaction> {
        self.pick_range(level, KeyRange::ALL)
    }

    pub fn pick_range(&self, level: usize, range: KeyRange<'_>) -> Option<Compaction> {
        self.levels.pick_range(
            KEYSPACE,
            &self.picker,
            level,
            range,
            self.levels.table_id_bound(),
            self.rules.expiry_now,
        )
    }

    /// Compacts a level into the next one (level 0 into the base) in one job.
    pub fn compact_level(&self, level: usize) -> CompactionStats {
        self.run_and_commit(self.pick_level(level).expect("something to compact")).unwrap()
    }

    /// Whatever is due, until nothing is.
    pub fn compact_due(&self) -> usize {
        let mut jobs = 0;
        while let Some(compaction) = self.pick() {
            self.run_and_commit(compaction).unwrap();
            jobs += 1;
            assert!(jobs < 1_000, "compaction does not come to an end");
        }
        jobs
    }

    /// The newest visible entry, tombstones and all.
    pub fn newest(&self, key: &[u8], read_version: Version) -> Option<(Version, Vec<u8>)> {
        newest_in(&self.version(), key, read_version, self.ordered())
    }

    /// The value that a reader sees.
    pub fn get(&self, key: &str, read_version: Version) -> Option<String> {
        let (_, encoded) = self.newest(key.as_bytes(), read_version)?;
        let entry = EntryRef::decode(&encoded).unwrap();
        (!entry.meta.is_deleted_at(self.rules.expiry_now)).then(|| String::from_utf8(entry.payload.to_vec()).unwrap())
    }

    /// Every entry by level, one line a level.
    pub fn dump(&self) -> String {
        dump(&self.version())
    }

    /// Every entry, merged.
    pub fn all(&self) -> Vec<Entry> {
        merged(&self.version(), KeyRange::ALL)
    }
}

pub fn created(id: KeyspaceId, name: &str) -> KeyspaceEdit {
    let created = Some(NewKeyspace { name: name.to_owned(), options: vec![1, 2, 3] });
    KeyspaceEdit { created, ..KeyspaceEdit::new(id) }
}

pub fn newest_in(
    version: &TreeVersion,
    key: &[u8],
    read_version: Version,
    ordered: bool,
) -> Option<(Version, Vec<u8>)> {
    let lookup = Lookup { user_key: key, hash: key_hash(key), read_version, ordered, newer_than: None };
    version.get(&lookup, |version, entry| (version, entry.to_vec())).unwrap()
}

pub fn merged(version: &TreeVersion, range: KeyRange<'_>) -> Vec<Entry> {
    let mut cursor = MergeCursor::new(version.cursors(range, CursorOptions::default()));
    let mut entries = Vec::new();
    cursor.seek_to_first().unwrap();
    while cursor.valid() {
        entries.push((cursor.key().to_owned(), cursor.value().to_vec()));
        cursor.next().unwrap();
    }
    entries
}

/// Every entry by level: tables in brackets, newest first at level 0.
pub fn dump(version: &TreeVersion) -> String {
    let mut text = String::new();
    for level in 0..LEVELS {
        let tables: Vec<String> = version
            .tables(level)
            .iter()
            .map(|table| {
                let mut cursor = RunCursor::Table(table.table().cursor(CursorOptions::default()));
                let mut entries = Vec::new();
                cursor.seek_to_first().unwrap();
                while cursor.valid() {
                    let entry = EntryRef::decode(cursor.value()).unwrap();
                    let kind = if entry.meta.kind == EntryKind::Delete { "-" } else { "" };
                    entries.push(format!("{kind}{:?}", cursor.key()));
                    cursor.next().unwrap();
                }
                format!("[{}]", entries.join(" "))
            })
            .collect();
        if !tables.is_empty() {
            writeln!(text, "L{level} {}", tables.join(" ")).unwrap();
        }
    }
    text
}

/// Keys `first` to `last` as four digits, each put at `version`.
pub fn numbered(keys: RangeInclusive<u32>, version: Version) -> Vec<Entry> {
    keys.map(|key| put(&format!("{key:04}"), version, &format!("value {key} at {version}"))).collect()
}

/// The place that a table of level 0 has.
pub fn at(place: u64) -> Place {
    Place::At(place)
}
