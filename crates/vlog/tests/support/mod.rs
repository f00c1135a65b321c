//! What the tests of the value log share: small logs on a file system in memory, and records that tell who they are.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::rng::Rng;
use base::{EntryMeta, InternalKey, InternalKeyRef, SegmentId, StoreId, ValueLogHead, ValuePointer};
use encryption::{Keyring, StaticKey};
use vfs::{AppendMode, MemFs, Vfs};
use vlog::{CollectContext, Collection, IoMode, Options, RecoveryInput, Result, SegmentSet, ValueLog, VlogRecovery};

pub const STORE: StoreId = StoreId(*b"store of a test!");
pub const DIR: &str = "vlog";

/// Segments that fill after a few records, so that a short test rolls often.
pub fn small() -> Options {
    Options { segment_bytes: 4 << 10, segment_entries: 20, preallocate_bytes: 1 << 10, ..written() }
}

/// One `write` a record, nothing allocated ahead: the file holds the records and no more.
pub fn written() -> Options {
    Options { mode: AppendMode::Written, preallocate_bytes: 0, io_mode: IoMode::Pread, ..Options::new(STORE) }
}

/// Keys whose registry is elsewhere.
pub fn keyring(seed: u64) -> Arc<Keyring> {
    let fs: Arc<dyn Vfs> = Arc::new(MemFs::new(seed));
    Arc::new(Keyring::create(&fs, Path::new("/"), STORE, Arc::new(StaticKey::new(&[1; 32])), 0).unwrap())
}

/// The same for a log that was not encrypted before.
pub fn keyring_beside_plain(seed: u64) -> Arc<Keyring> {
    let fs: Arc<dyn Vfs> = Arc::new(MemFs::new(seed));
    Arc::new(Keyring::create_beside_plain(&fs, Path::new("/"), STORE, Arc::new(StaticKey::new(&[1; 32])), 0).unwrap())
}

/// Opens and finishes recovery; there must be nothing torn.
pub fn open(fs: &MemFs, options: Options) -> ValueLog {
    let (log, recovery) = begin(fs, options, ValueLogHead::default()).unwrap();
    assert_eq!(recovery.torn_tails, []);
    log.finish_recovery().unwrap();
    log
}

/// Opens, no more.
pub fn begin(fs: &MemFs, options: Options, synced: ValueLogHead) -> Result<(ValueLog, VlogRecovery)> {
    begin_with(fs, options, RecoveryInput { synced, ..RecoveryInput::default() })
}

pub fn begin_with(fs: &MemFs, options: Options, input: RecoveryInput<'_>) -> Result<(ValueLog, VlogRecovery)> {
    ValueLog::open(Arc::new(fs.clone()), DIR, options, input)
}

/// What the tests write: everything of a record follows from its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub owner: u32,
    pub user_key: Vec<u8>,
    pub version: u64,
    pub meta: EntryMeta,
    pub value: Vec<u8>,
}

impl Sample {
    pub fn of(number: u64, value_len: usize) -> Self {
        let mut value = vec![0; value_len];
        Rng::new(number).fill(&mut value);
        let meta = EntryMeta { user_meta: number as u8, expires_at: number % 3 * 1_000, ..EntryMeta::put() };
        Self { owner: (number % 3) as u32, user_key: format!("key {number:05}").into(), version: number, meta, value }
    }

    pub fn key(&self) -> InternalKeyRef<'_> {
        InternalKeyRef::new(&self.user_key, self.version)
    }

    pub fn append(&self, log: &ValueLog) -> Result<ValuePointer> {
        log.append(self.owner, self.key(), self.meta, &self.value)
    }

    /// Everything about the record, by every way of reading it, is as it was written.
    pub fn assert_at(&self, log: &ValueLog, pointer: ValuePointer) {
        let set = log.segments();
        assert_eq!(set.read(pointer).unwrap(), self.value, "{pointer:?}");
        assert_eq!(set.read_checked(pointer, self.owner, self.key()).unwrap(), self.value, "{pointer:?}");
        let record = set.read_record(pointer).unwrap();
        assert_eq!((record.owner, record.meta), (self.owner, self.meta));
        assert_eq!((record.key.as_ref(), &record.value[..]), (self.key(), &self.value[..]));
        assert_eq!(vlog::value_len(pointer.len, self.user_key.len()), Some(self.value.len() as u32));
    }
}

/// Appends `count` samples with values of `value_len` bytes.
pub fn fill(log: &ValueLog, count: u64, value_len: usize) -> Vec<(Sample, ValuePointer)> {
    let append = |number| {
        let sample = Sample::of(number, value_len);
        let pointer = sample.append(log).unwrap();
        (sample, pointer)
    };
    (0..count).map(append).collect()
}

pub fn assert_all(log: &ValueLog, written: &[(Sample, ValuePointer)]) {
    written.iter().for_each(|(sample, pointer)| sample.assert_at(log, *pointer));
}

/// The names in the log's folder.
pub fn names(fs: &MemFs) -> Vec<String> {
    fs.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name.to_str().unwrap().to_owned()).collect()
}

pub fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

pub type OwnedEntry = (ValuePointer, u32, InternalKey, EntryMeta);

/// The entries of a segment as the hint file or the records tell them.
pub fn entries_of(log: &ValueLog, segment: SegmentId) -> Result<Vec<OwnedEntry>> {
    let mut entries = log.entries(segment)?;
    let mut all = Vec::new();
    while let Some(entry) = entries.next()? {
        all.push((entry.pointer, entry.owner, entry.key.to_owned(), entry.meta));
    }
    Ok(all)
}

/// A set of segments and the records that it must give for as long as it is held.
pub type Held = (Arc<SegmentSet>, Vec<(Sample, ValuePointer)>);

/// A record by its address, in the order of appending.
pub type Address = (SegmentId, u32);

pub fn address(pointer: &ValuePointer) -> Address {
    (pointer.segment, pointer.offset)
}

/// Where a record ends.
pub fn end_of(pointer: &ValuePointer) -> ValueLogHead {
    ValueLogHead { segment: pointer.segment, offset: pointer.offset + pointer.len }
}

/// The addresses of the dead records of a segment, and those of all. What is dead must be there.
pub fn dead_and_all(log: &ValueLog, segment: SegmentId) -> Result<(BTreeSet<Address>, BTreeSet<Address>)> {
    let of = log.dead_set(segment)?;
    let (mut dead, mut all) = (BTreeSet::new(), BTreeSet::new());
    let mut entries = log.entries(segment)?;
    while let Some(entry) = entries.next()? {
        assert!(all.insert(address(&entry.pointer)), "{:?} is there twice", entry.pointer);
        if of.contains(entry.position) {
            dead.insert(address(&entry.pointer));
        }
    }
    assert_eq!(of.records(), dead.len() as u64, "segment {segment} has dead records that are not there");
    Ok((dead, all))
}

/// What is dead in all segments.
pub fn all_dead(log: &ValueLog) -> BTreeSet<Address> {
    log.segments().iter().flat_map(|segment| dead_and_all(log, segment.id()).unwrap().0).collect()
}

/// The number that a file's name begins with.
pub fn number_of(name: &str) -> Option<u32> {
    name.split_once('.').and_then(|(digits, _)| digits.parse().ok())
}

pub fn sealed(log: &ValueLog) -> Vec<SegmentId> {
    log.statistics().iter().filter(|of| of.sealed).map(|of| of.segment).collect()
}

/// Collects, undisturbed.
pub fn collect(log: &ValueLog, segments: &[SegmentId]) -> Collection {
    log.collect(segments, &CollectContext::unpaced()).unwrap().unwrap()
}

/// The whole life of a death ticket.
pub fn kill(log: &ValueLog, ticket: u64, dead: &[ValuePointer]) {
    log.prepare_deaths(ticket, dead).unwrap();
    log.apply_deaths(&[ticket]).unwrap();
    log.clear_deaths(&[ticket]).unwrap();
}
