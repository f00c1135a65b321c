//! The log reader on bytes that nobody should trust: arbitrary ones, fragments with right checksums in any order, and a
//! log that was whole until it was damaged.
//!
//! Whatever comes, the reader does not panic, ends, and tells the same twice. Of a damaged log it gives back a prefix of
//! what was written (in salvage: records of it, in order), with all that was proven durable, or says that it is corrupt.

use std::path::Path;
use std::sync::Arc;

use arbitrary::Arbitrary;
use base::checksum::{crc32, crc32_salted};
use base::rng::Rng;
use base::{LogNumber, SegmentId, StoreId, ValueLogHead, varint};
use vfs::{AppendMode, MemFs, Vfs};
use wal::{
    BLOCK_LEN, EndKind, Error, ExpectedLog, LOG_HEADER_LEN, LogEnd, LogHeader, LogKind, LogReader, LogWriter,
    RecoveryMode, SyncedOffsets, WriterOptions,
};

use crate::edit::{Edit, FILE_LEN_MAX};

const PATH: &str = "/000001.wal";
const NUMBER: LogNumber = LogNumber(0x0101_0101_0101_0101);
const STORE: StoreId = StoreId([1; 16]);
const MODES: [RecoveryMode; 4] =
    [RecoveryMode::Default, RecoveryMode::AbsoluteConsistency, RecoveryMode::PointInTime, RecoveryMode::SkipCorrupt];

/// What a run is given.
#[derive(Arbitrary, Debug)]
pub struct Input(File);

#[derive(Arbitrary, Debug)]
enum File {
    /// The file is these bytes.
    Raw(Vec<u8>),
    /// A whole header, and behind it these bytes.
    Body(Vec<u8>),
    /// A whole header and fragments that all verify.
    Fragments(Vec<Crafted>),
    /// A log as its writer left it, then damaged.
    Damaged { actions: Vec<Action>, closed: bool, edits: Vec<Edit> },
}

#[derive(Arbitrary, Debug)]
struct Crafted {
    kind: u8,
    synced_log: u32,
    len: u16,
    pad_block: bool,
}

#[derive(Arbitrary, Debug)]
enum Action {
    Append(u16),
    AppendLong(u8),
    Sync,
}

impl Input {
    /// Runs the target.
    ///
    /// # Panics
    /// When the reader does not do as it should.
    pub fn run(self) {
        match self.0 {
            File::Raw(bytes) => any_bytes(&bytes),
            File::Body(body) => any_bytes(&[empty_log(), body].concat()),
            File::Fragments(fragments) => any_bytes(&crafted_log(&fragments)),
            File::Damaged { actions, closed, edits } => damaged_log(&actions, closed, &edits),
        }
    }
}

/// Payloads with their ends, and how the log ends.
type Records = (Vec<(Vec<u8>, u64)>, LogEnd, SyncedOffsets);

fn read(bytes: &[u8], mode: RecoveryMode) -> Result<Records, Error> {
    let mem = MemFs::volatile(1);
    mem.write(Path::new(PATH), bytes).expect("memory takes a file");
    let fs: Arc<dyn Vfs> = Arc::new(mem);
    let expect = ExpectedLog { store: Some(STORE), number: NUMBER, kind: LogKind::Wal };
    let mut reader = LogReader::open(&fs, Path::new(PATH), expect, mode, None)?;
    let mut records = Vec::new();
    let mut last_end = 0;
    while let Some(record) = reader.next_record()? {
        assert!(record.offset >= last_end && record.end > record.offset, "records do not overlap");
        assert!(record.end <= bytes.len() as u64 && record.synced.log <= record.offset);
        last_end = record.end;
        records.push((record.payload.to_vec(), record.end));
    }
    let end = *reader.end().expect("a log that gave its last record has ended");
    assert!(end.offset >= last_end && end.offset + end.dropped_bytes <= bytes.len() as u64);
    let highest = reader.highest_synced();
    assert!(reader.next_record()?.is_none() && reader.end() == Some(&end));
    Ok((records, end, highest))
}

fn any_bytes(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(FILE_LEN_MAX)];
    for mode in MODES {
        match read(bytes, mode) {
            Err(error) => check_error(&error, mode, bytes),
            Ok((records, end, _)) => {
                if mode == RecoveryMode::Default && end.kind != EndKind::Torn(wal::Damage::Header) {
                    let (again, whole, _) = read(&bytes[..end.offset as usize], mode).expect("a log cut at its end");
                    assert_eq!(again, records);
                    assert_eq!((whole.offset, whole.dropped_bytes), (end.offset, 0));
                }
            }
        }
    }
}

fn check_error(error: &Error, mode: RecoveryMode, bytes: &[u8]) {
    match error {
        Error::Corruption(corruption) => {
            assert_eq!(corruption.path, Path::new(PATH));
            assert!(corruption.offset <= bytes.len() as u64);
            let only_header = matches!(mode, RecoveryMode::PointInTime | RecoveryMode::SkipCorrupt);
            assert!(!only_header || corruption.offset < LOG_HEADER_LEN as u64, "{mode:?}: {corruption}");
        }
        Error::Incompatible { .. } => {}
        other => panic!("bytes in memory can only be corrupt or incompatible: {other}"),
    }
}

fn writer(fs: &Arc<dyn Vfs>) -> LogWriter {
    let header =
        LogHeader { store: STORE, number: NUMBER, kind: LogKind::Wal, value_log_head: ValueLogHead::default() };
    let options = WriterOptions { mode: AppendMode::Written, preallocate_bytes: 0 };
    LogWriter::create(fs, Path::new(PATH), header, options, None).expect("memory takes a log")
}

fn empty_log() -> Vec<u8> {
    let mem = MemFs::volatile(1);
    drop(writer(&(Arc::new(mem.clone()) as Arc<dyn Vfs>)));
    mem.read(Path::new(PATH)).expect("a file that was written")
}

/// Fragments as the format describes them, written without the writer, in any order and with any claim.
fn crafted_log(fragments: &[Crafted]) -> Vec<u8> {
    let mut log = empty_log();
    let salt = crc32(&log[32..64]);
    for fragment in fragments {
        let room = BLOCK_LEN - log.len() % BLOCK_LEN;
        if room < 31 || (fragment.pad_block && room < BLOCK_LEN) {
            log.resize(log.len() + room, 0);
        }
        let room = BLOCK_LEN - log.len() % BLOCK_LEN;
        let mut data = Vec::new();
        varint::push(u64::from(fragment.synced_log) % (2 * log.len() as u64), &mut data);
        data.extend_from_slice(&[0, 0]);
        data.resize((usize::from(fragment.len) % (room - 11)).max(data.len()), fragment.kind);
        let offset = log.len();
        log.extend_from_slice(&[0; 4]);
        log.extend_from_slice(&(data.len() as u16).to_le_bytes());
        log.push(fragment.kind % 7);
        log.extend_from_slice(&(NUMBER.0 as u32).to_le_bytes());
        log.extend_from_slice(&data);
        let crc = crc32_salted(salt ^ offset as u32, &log[offset + 4..]);
        log[offset..offset + 4].copy_from_slice(&crc.to_le_bytes());
        if log.len() > FILE_LEN_MAX {
            break;
        }
    }
    log
}

fn damaged_log(actions: &[Action], closed: bool, edits: &[Edit]) {
    let mem = MemFs::volatile(1);
    let mut log = writer(&(Arc::new(mem.clone()) as Arc<dyn Vfs>));
    let mut rng = Rng::new(1);
    let mut written = Vec::new();
    for action in actions {
        let len = match action {
            Action::Sync => {
                log.sync_handle().sync().expect("memory syncs");
                continue;
            }
            Action::Append(len) => usize::from(*len) % 2_000,
            Action::AppendLong(blocks) => usize::from(*blocks) << 9,
        };
        let mut payload = vec![0; len];
        rng.fill(&mut payload);
        let head = ValueLogHead { segment: SegmentId(1), offset: len as u32 };
        let end = log.append(head, &[&payload]).expect("memory takes a record");
        written.push((payload, end));
        if log.len() > FILE_LEN_MAX as u64 / 2 {
            break;
        }
    }
    if closed {
        log.close().expect("memory closes");
    }
    let mut bytes = mem.read(Path::new(PATH)).expect("a file that was written");
    let whole = bytes.clone();
    let untouched = edits.iter().map(|edit| edit.apply(&mut bytes)).min().unwrap_or(bytes.len());
    for mode in MODES {
        match read(&bytes, mode) {
            Err(error) => {
                check_error(&error, mode, &bytes);
                assert_ne!(bytes, whole, "an undamaged log reads in every mode: {error}");
            }
            Ok((records, end, highest)) => {
                let below = written.iter().filter(|(_, end)| *end <= untouched as u64).count();
                assert!(records.len() >= below.min(written.len()), "what no edit touched is read");
                if mode == RecoveryMode::SkipCorrupt {
                    let mut all = written.iter();
                    assert!(records.iter().all(|record| all.any(|wrote| wrote == record)), "records, in order");
                    continue;
                }
                assert!(written.starts_with(&records), "{mode:?}: a prefix of what was written");
                if mode != RecoveryMode::PointInTime {
                    let proven = written.iter().filter(|(_, end)| *end <= highest.log).count();
                    assert!(records.len() >= proven, "{mode:?}: all that is proven durable is there");
                    assert!(end.kind != EndKind::Closed || records.len() == written.len());
                }
            }
        }
    }
}
