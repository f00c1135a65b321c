//! Replaying the write-ahead logs.
//!
//! Invariants
//! 1. What is replayed is a prefix of the commits in their order: the first record that is not whole ends it, and a log
//!    is entered only if the one before it ended whole, or ended where this one's first record says that an earlier
//!    recovery had cut it.
//! 2. That the prefix ends is an error where anything behind it is known to have been durable: a later log that was
//!    synced, or a log that a keyspace still needs.
//! 3. An entry of a keyspace that needs only later logs is skipped, and its pointer is not looked up: its value may be
//!    gone by now.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{
    Corruption, DecodeError, EntryKind, InternalKeyRef, KeyspaceId, LogNumber, PointerPayload, StoreId, ValueLogHead,
    ValuePointer, Version,
};
use encryption::Keyring;
use memtable::Memtable;
use vfs::Vfs;
use vlog::SegmentSet;
use wal::{EndKind, ExpectedLog, LogKind, LogReader, RecoveryMode};

use crate::files::{StoreFiles, log_number};
use crate::options::Options;
use crate::recovery::RecoveryReport;
use crate::store::EndedLog;
use crate::super_version::MemtableHandle;
use crate::write::record::{LogStart, Payload, Record, Records};
use crate::{Error, Result};

/// What a keyspace needs of the logs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    pub(super) keyspace: KeyspaceId,
    /// The oldest log that it needs.
    pub(super) log: LogNumber,
}

/// The logs of a store, found and opened but not yet replayed.
#[derive(Debug)]
pub(super) struct Logs {
    logs: Vec<Log>,
    /// How far the value log is known to have been durable.
    pub(super) value_log_synced: ValueLogHead,
}

#[derive(Debug)]
struct Log {
    number: LogNumber,
    path: PathBuf,
    reader: LogReader,
    /// What its first record says; `None` where that is not whole.
    start: Option<LogStart>,
    /// Whether anything in it is known to have been durable.
    was_synced: bool,
}

/// What replaying gave.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// Memtables by keyspace, oldest first.
    pub(super) memtables: BTreeMap<KeyspaceId, Vec<Arc<MemtableHandle>>>,
    pub(super) last_version: Version,
    /// Every log that counts, oldest first.
    pub(super) entered: Vec<EndedLog>,
    /// Logs behind the end, which do not count.
    pub(super) set_aside: Vec<PathBuf>,
    /// Every value that an entry of the logs points to, skipped entries included.
    pub(super) referenced: Vec<ValuePointer>,
    /// The value log's head when the oldest log was made; `None` where there is no log, or its header or first record is lost.
    pub(super) value_log_head: Option<ValueLogHead>,
}

/// Where a log ends.
struct End {
    offset: u64,
    /// Why it is not whole; `None` where it ended with a closing record.
    cause: Option<String>,
    dropped_bytes: u64,
}

impl Logs {
    pub(super) fn is_any(&self) -> bool {
        !self.logs.is_empty()
    }

    /// Opens every log from the oldest that a keyspace needs on.
    pub(super) fn find(
        options: &Options,
        files: &StoreFiles,
        store: StoreId,
        needs: &[Needs],
        keys: Option<&Keyring>,
    ) -> Result<Self> {
        let vfs = &options.vfs;
        let needed_from = needs.iter().map(|need| need.log).min().unwrap_or_default();
        let mut numbers: Vec<_> = vfs.list(&files.dir)?.iter().filter_map(|entry| log_number(&entry.name)).collect();
        numbers.retain(|number| *number >= needed_from);
        numbers.sort_unstable();
        for need in needs.iter().filter(|need| need.log > LogNumber(0)) {
            if numbers.binary_search(&need.log).is_err() {
                return Err(missing(files, need.log));
            }
        }
        let mut found = Self { logs: Vec::new(), value_log_synced: ValueLogHead::default() };
        for number in numbers {
            let expect = ExpectedLog { store: Some(store), number, kind: LogKind::Wal };
            let open = || LogReader::open(vfs, &files.log(number), expect, options.recovery_mode, keys);
            let log = Log::open(files.log(number), number, options.recovery_mode, &open)?;
            found.value_log_synced = found.value_log_synced.max(log.reader.highest_synced().value_log);
            let before = found.logs.last().map_or(LogNumber(0), |log: &Log| log.number);
            if let Some(LogStart { previous, .. }) = log.start
                && previous >= needed_from
                && previous > before
            {
                return Err(missing(files, previous));
            }
            found.logs.push(log);
        }
        Ok(found)
    }

    /// Replays them in order, as far as they count.
    pub(super) fn replay(mut self, replay: &Replay<'_>, report: &mut RecoveryReport) -> Result<Replayed> {
        // In an encrypted log only its records prove the header.
        let proven = self.logs.first().filter(|log| log.start.is_some()).and_then(|log| log.reader.header());
        let value_log_head = proven.map(|header| header.value_log_head);
        let mut replayed = Replayed { value_log_head, ..Replayed::default() };
        while !self.logs.is_empty() {
            let mut log = self.logs.remove(0);
            report.logs += 1;
            let end = replay.log(&mut log, &mut replayed, report)?;
            let closed = end.cause.is_none();
            replayed.entered.push(EndedLog { number: log.number, end: end.offset, closed });
            for skipped in log.reader.skipped() {
                report.drop_tail(&log.path, skipped.offset, skipped.bytes, skipped.cause.to_string());
            }
            let Some(cause) = end.cause else { continue };
            // An earlier recovery may have cut it here, and gone on in the next one.
            let continues = |next: &LogStart| (next.previous, next.previous_end) == (log.number, end.offset);
            if self.logs.first().and_then(|next| next.start.as_ref()).is_some_and(continues) {
                continue;
            }
            log.warn_if_cut(replay.vfs, report)?;
            replay.check_may_end(&log, end.offset, &self.logs)?;
            report.drop_tail(&log.path, end.offset, end.dropped_bytes, cause);
            if replay.mode == RecoveryMode::SkipCorrupt {
                continue;
            }
            for later in std::mem::take(&mut self.logs) {
                let bytes = replay.data_end(&later.path, 0)?;
                report.drop_tail(&later.path, 0, bytes, "the log before it does not end whole");
                replayed.set_aside.push(later.path);
            }
        }
        Ok(replayed)
    }
}

impl Log {
    fn open(
        path: PathBuf,
        number: LogNumber,
        mode: RecoveryMode,
        open: &dyn Fn() -> wal::Result<LogReader>,
    ) -> Result<Self> {
        let mut reader = open()?;
        let was_synced = reader.look_ahead_synced()?.log > 0;
        let start = match reader.next_record()? {
            None => None,
            Some(record) => match Payload::decode(record.payload) {
                Ok(Payload::Start(start)) => Some(start),
                // The start was passed over, and this is a commit to be replayed.
                Ok(Payload::Commit { .. }) if mode == RecoveryMode::SkipCorrupt => {
                    reader = open()?;
                    None
                }
                Ok(Payload::Commit { .. }) | Err(_) => {
                    let what = "a log does not begin with its start record";
                    return Err(Corruption::new(path, record.offset, what).into());
                }
            },
        };
        Ok(Self { number, path, reader, start, was_synced })
    }

    /// A log that has not ended whole should be as long as it was made, or longer. Where it is not, power was lost
    /// before its first sync, or someone has cut it; where that falls between two records, nothing else would tell.
    fn warn_if_cut(&self, vfs: &Arc<dyn Vfs>, report: &mut RecoveryReport) -> Result<()> {
        let found = vfs.metadata(&self.path)?.map_or(0, |metadata| metadata.len);
        let path = self.path.display();
        match self.start {
            None => report.warnings.push(format!("{path} has no whole first record: commits in it, if any, are lost")),
            Some(LogStart { allocated, .. }) if found < allocated => report.warnings.push(format!(
                "{path} has {found} bytes, {allocated} were allocated for it: commits at its end, if any, are lost"
            )),
            Some(_) => {}
        }
        Ok(())
    }
}

fn missing(files: &StoreFiles, number: LogNumber) -> Error {
    Corruption::new(files.log(number), 0, "a log that the store needs is missing").into()
}

/// What replaying needs to know.
#[derive(Debug)]
pub(super) struct Replay<'a> {
    pub(super) vfs: &'a Arc<dyn Vfs>,
    pub(super) needs: &'a [Needs],
    pub(super) segments: &'a Arc<SegmentSet>,
    pub(super) value_log_synced: ValueLogHead,
    pub(super) mode: RecoveryMode,
    pub(super) memtable_bytes: usize,
}

impl Replay<'_> {
    fn log(&self, log: &mut Log, replayed: &mut Replayed, report: &mut RecoveryReport) -> Result<End> {
        while let Some(record) = log.reader.next_record()? {
            let (offset, record_end) = (record.offset, record.end);
            let damaged = |what: &str| Error::from(Corruption::new(&log.path, offset, what));
            let payload = Payload::decode(record.payload).map_err(|error| damaged(error.what()))?;
            let Payload::Commit { version, records } = payload else {
                return Err(damaged("the start of a log in its middle"));
            };
            if let Some(cause) =
                self.pointers_missing(log.number, records, version).map_err(|error| error.into_error(damaged))?
            {
                match self.mode {
                    RecoveryMode::AbsoluteConsistency => return Err(damaged(&cause)),
                    RecoveryMode::SkipCorrupt => {
                        report.drop_tail(&log.path, offset, record_end - offset, cause);
                        continue;
                    }
                    RecoveryMode::Default | RecoveryMode::PointInTime => {
                        let dropped_bytes = self.data_end(&log.path, offset)? - offset;
                        return Ok(End { offset, cause: Some(cause), dropped_bytes });
                    }
                }
            }
            if version <= replayed.last_version {
                return Err(damaged("a commit out of order"));
            }
            self.apply(log.number, version, records, replayed).map_err(|error| error.into_error(damaged))?;
            replayed.last_version = version;
            report.commits += 1;
        }
        let end = log.reader.end().copied();
        let end = end.ok_or_else(|| Error::from(Corruption::new(&log.path, 0, "a log without an end")))?;
        Ok(End { offset: end.offset, cause: cause_of(end.kind), dropped_bytes: end.dropped_bytes })
    }

    fn data_end(&self, log: &Path, from: u64) -> Result<u64> {
        Ok(vfs::data_end(&*self.vfs.open_read(log)?, from)?)
    }

    /// Why a commit of the unsynced tail cannot count: a value that it points to is not there. That it could not be read
    /// says nothing of the kind.
    fn pointers_missing(
        &self,
        log: LogNumber,
        records: Records<'_>,
        version: Version,
    ) -> std::result::Result<Option<String>, ApplyError> {
        for record in records {
            let record = record?;
            let Some(pointer) = pointer_of(&record)? else { continue };
            let position = ValueLogHead { segment: pointer.segment, offset: pointer.offset };
            let is_skipped = self.needs.iter().any(|need| need.keyspace == record.keyspace && need.log > log);
            if position < self.value_log_synced || is_skipped {
                continue;
            }
            let key = InternalKeyRef::new(record.key, version);
            match self.segments.read_checked(pointer, record.keyspace.0, key) {
                Err(vlog::Error::Vfs(error)) if !error.is_unexpected_eof() => {
                    return Err(ApplyError::Failed(error.into()));
                }
                Err(error) => return Ok(Some(format!("a value of commit {version} is missing: {error}"))),
                Ok(_) => {}
            }
        }
        Ok(None)
    }

    fn apply(
        &self,
        log: LogNumber,
        version: Version,
        records: Records<'_>,
        replayed: &mut Replayed,
    ) -> std::result::Result<(), ApplyError> {
        for record in records {
            let record = record?;
            if let Some(pointer) = pointer_of(&record)? {
                replayed.referenced.push(pointer);
            }
            let need = self.needs.iter().find(|need| need.keyspace == record.keyspace);
            let need = need.ok_or(ApplyError::Unknown(record.keyspace))?;
            if need.log <= log {
                let memtables = replayed.memtables.entry(record.keyspace).or_default();
                self.insert(memtables, log, version, &record).map_err(ApplyError::Failed)?;
            }
        }
        Ok(())
    }

    fn insert(
        &self,
        memtables: &mut Vec<Arc<MemtableHandle>>,
        log: LogNumber,
        version: Version,
        record: &Record<'_>,
    ) -> Result<()> {
        let bytes = Memtable::entry_bytes_max(record.key.len(), record.entry.payload.len());
        // A memtable never holds entries of two logs, so that a log is needed either for all of it or for none.
        let last = memtables.last().filter(|memtable| memtable.log() == log);
        let reservation = match last.map(|memtable| memtable.table.reserve(bytes)) {
            Some(Ok(reservation)) => Ok(reservation),
            Some(Err(_)) | None => {
                let capacity = self.memtable_bytes.max(bytes + (4 << 10));
                let memtable = Arc::new(MemtableHandle::new(capacity, log, Arc::clone(self.segments)));
                let reservation = memtable.table.reserve(bytes);
                memtables.push(memtable);
                reservation
            }
        };
        reservation?.insert(InternalKeyRef::new(record.key, version), record.entry)?;
        Ok(())
    }

    /// Refuses to end the replay where anything behind the end is known to have been durable, as far as the mode minds.
    fn check_may_end(&self, log: &Log, offset: u64, later: &[Log]) -> Result<()> {
        if self.mode == RecoveryMode::SkipCorrupt {
            return Ok(());
        }
        let drops_synced = self.mode == RecoveryMode::PointInTime;
        if let Some(synced) = later.iter().find(|later| later.was_synced && !drops_synced) {
            let what = format!("the log ends here although log {}, which follows it, was synced", synced.number);
            return Err(Corruption::new(&log.path, offset, what).into());
        }
        if let Some(need) = self.needs.iter().find(|need| need.log > log.number) {
            let (keyspace, flushed) = (need.keyspace, need.log);
            let what = format!("the log ends here although keyspace {keyspace} was flushed up to log {flushed}");
            return Err(Corruption::new(&log.path, offset, what).into());
        }
        Ok(())
    }
}

enum ApplyError {
    Unknown(KeyspaceId),
    Decode(DecodeError),
    Failed(Error),
}

impl ApplyError {
    fn into_error(self, damaged: impl FnOnce(&str) -> Error) -> Error {
        match self {
            Self::Unknown(keyspace) => damaged(&format!("a commit to keyspace {keyspace}, which was never made")),
            Self::Decode(error) => damaged(error.what()),
            Self::Failed(error) => error,
        }
    }
}

impl From<DecodeError> for ApplyError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

fn pointer_of(record: &Record<'_>) -> std::result::Result<Option<ValuePointer>, DecodeError> {
    if record.entry.meta.kind != EntryKind::Pointer {
        return Ok(None);
    }
    Ok(Some(PointerPayload::decode(record.entry.payload)?.pointer))
}

fn cause_of(kind: EndKind) -> Option<String> {
    match kind {
        EndKind::Closed => None,
        EndKind::Unclosed => Some("the log has no closing record".to_owned()),
        EndKind::Torn(cause) => Some(cause.to_string()),
    }
}
