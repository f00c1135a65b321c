//! What the tests of the log share: logs in memory, their bytes, and what a reader makes of them.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::rng::Rng;
use base::{LogNumber, SegmentId, StoreId, ValueLogHead};
use encryption::Keyring;
use vfs::{AppendMode, AppendOptions, MemFs, Vfs};
use wal::{
    Error, ExpectedLog, LogEnd, LogHeader, LogKind, LogReader, LogWriter, RecoveryMode, Skipped, SyncedOffsets,
    WriterOptions,
};

pub const STORE: StoreId = StoreId(*b"0123456789abcdef");
pub const NUMBER: LogNumber = LogNumber(0x1_0000_0007);
pub const EXPECT: ExpectedLog = ExpectedLog { store: Some(STORE), number: NUMBER, kind: LogKind::Wal };
pub const WRITTEN: WriterOptions = WriterOptions { mode: AppendMode::Written, preallocate_bytes: 0 };
pub const MAPPED: WriterOptions = WriterOptions { mode: AppendMode::Mapped, preallocate_bytes: 256 << 10 };

pub fn path() -> PathBuf {
    PathBuf::from("/store/000007.wal")
}

pub fn header() -> LogHeader {
    LogHeader { store: STORE, number: NUMBER, kind: LogKind::Wal, value_log_head: head(3, 4_096) }
}

pub fn head(segment: u32, offset: u32) -> ValueLogHead {
    ValueLogHead { segment: SegmentId(segment), offset }
}

pub fn empty_store(seed: u64) -> Arc<dyn Vfs> {
    store_of(MemFs::new(seed))
}

pub fn store_of(fs: MemFs) -> Arc<dyn Vfs> {
    fs.create_dir_all(Path::new("/store")).unwrap();
    fs.sync_dir(Path::new("/store")).unwrap();
    Arc::new(fs)
}

pub fn create(fs: &Arc<dyn Vfs>, options: WriterOptions) -> LogWriter {
    create_with(fs, options, None)
}

pub fn create_with(fs: &Arc<dyn Vfs>, options: WriterOptions, keys: Option<&Keyring>) -> LogWriter {
    LogWriter::create(fs, &path(), header(), options, keys).unwrap()
}

pub fn bytes_of(fs: &Arc<dyn Vfs>) -> Vec<u8> {
    let file = fs.open_read(&path()).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// A store whose log is exactly `bytes`.
pub fn store_with(bytes: &[u8]) -> Arc<dyn Vfs> {
    let fs = empty_store(1);
    let options = AppendOptions { mode: AppendMode::Written, preallocate_bytes: 0 };
    fs.create_append(&path(), options).unwrap().append(bytes).unwrap();
    fs
}

pub fn random_payload(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut payload = vec![0; len];
    rng.fill(&mut payload);
    payload
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    pub offset: u64,
    pub end: u64,
    pub synced: SyncedOffsets,
    pub payload: Vec<u8>,
}

/// All that a reader tells of a log that it could read.
#[derive(Clone, Debug)]
pub struct ReadBack {
    pub records: Vec<Owned>,
    pub end: LogEnd,
    pub highest: SyncedOffsets,
    pub skipped: Vec<Skipped>,
}

impl ReadBack {
    pub fn payloads(&self) -> Vec<&[u8]> {
        self.records.iter().map(|record| &record.payload[..]).collect()
    }
}

pub fn read(fs: &Arc<dyn Vfs>, mode: RecoveryMode) -> Result<ReadBack, Error> {
    read_with(fs, mode, None)
}

pub fn read_with(fs: &Arc<dyn Vfs>, mode: RecoveryMode, keys: Option<&Keyring>) -> Result<ReadBack, Error> {
    let mut reader = LogReader::open(fs, &path(), EXPECT, mode, keys)?;
    let mut records = Vec::new();
    while let Some(record) = reader.next_record()? {
        let payload = record.payload.to_vec();
        records.push(Owned { offset: record.offset, end: record.end, synced: record.synced, payload });
    }
    let end = *reader.end().expect("a reader that returned None has an end");
    assert!(reader.next_record()?.is_none(), "the end of a log stays its end");
    Ok(ReadBack { records, end, highest: reader.highest_synced(), skipped: reader.skipped().to_vec() })
}

pub fn read_bytes(bytes: &[u8], mode: RecoveryMode) -> Result<ReadBack, Error> {
    read(&store_with(bytes), mode)
}

/// The corruption that reading `bytes` ends with.
pub fn corruption(bytes: &[u8], mode: RecoveryMode) -> base::Corruption {
    match read_bytes(bytes, mode) {
        Err(Error::Corruption(corruption)) => *corruption,
        other => panic!("expected corruption, got {other:?}"),
    }
}

/// A log of some records and its bytes.
pub struct Written {
    pub payloads: Vec<Vec<u8>>,
    /// End of each record.
    pub ends: Vec<u64>,
    pub bytes: Vec<u8>,
}

impl Written {
    /// The payloads of the records that end at or before `len`.
    pub fn whole_below(&self, len: u64) -> Vec<&[u8]> {
        let whole = self.ends.iter().filter(|end| **end <= len).count();
        self.payloads[..whole].iter().map(Vec::as_slice).collect()
    }

    pub fn whole_end_below(&self, len: u64) -> u64 {
        self.ends.iter().copied().filter(|end| *end <= len).max().unwrap_or(wal::LOG_HEADER_LEN as u64)
    }
}

pub enum After {
    EachRecordSync,
    NeverSync,
}

/// Writes records of these lengths, and closes the log if told to.
pub fn write(seed: u64, lens: &[usize], after: After, close: bool) -> Written {
    let mut rng = Rng::new(seed);
    let fs = empty_store(seed);
    let mut writer = create(&fs, WRITTEN);
    let (mut payloads, mut ends) = (Vec::new(), Vec::new());
    for len in lens {
        let payload = random_payload(&mut rng, *len);
        ends.push(writer.append(head(1, 2), &[&payload]).unwrap());
        payloads.push(payload);
        if let After::EachRecordSync = after {
            assert_eq!(writer.sync_handle().sync().unwrap(), writer.len());
        }
    }
    if close {
        writer.close().unwrap();
    }
    Written { payloads, ends, bytes: bytes_of(&fs) }
}

/// Lengths that put records on both sides of block ends, one exactly at one, one over several blocks, one empty.
pub const SPANNING: [usize; 9] = [100, 0, 32_300, 150, 40, 32_000, 70_000, 5, 900];

/// Offsets worth trying in a log too long to try all: all near an end of record, fragment or block, some of the rest.
pub fn offsets_worth_trying(written: &Written, near: u64) -> Vec<u64> {
    let len = written.bytes.len() as u64;
    let edges: Vec<u64> = written.ends.iter().copied().chain((0..=len).step_by(wal::BLOCK_LEN)).collect();
    (0..=len).filter(|at| at % 509 == 0 || edges.iter().any(|edge| at.abs_diff(*edge) <= near)).collect()
}
