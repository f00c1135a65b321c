//! Room for a commit: reserving it in memtables, and switching memtables and logs when there is none.
//!
//! Invariants
//! 1. A commit's room is reserved in every memtable that it needs before its log record is written; a record never
//!    stands in a log whose memtables could not take it.
//! 2. A memtable counts the commits that still insert into it, and is flushed only once there are none.
//! 3. A keyspace's switch starts a new log. The old log ends with a closing record before the new one is made.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::LogNumber;
use lsm_levels::Levels;
use memtable::Reservation;
use wal::{LogHeader, LogKind, LogWriter, WriterOptions};

use crate::keyspace::KeyspaceState;
use crate::store::{CommitState, EndedLog, LiveLog, Store};
use crate::super_version::{MemtableHandle, SuperVersion};
use crate::write::encode::RoomNeeded;
use crate::write::record::LogStart;
use crate::write::sync::LogPosition;
use crate::{Error, ErrorKind, Result};

/// Room in the memtable of one keyspace, held until the commit's records are in it.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) keyspace: Arc<KeyspaceState>,
    pub(crate) memtable: Arc<MemtableHandle>,
    pub(crate) reservation: Reservation,
}

/// When the name of a new log becomes durable. Before anything is acknowledged in it, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameSync {
    Now,
    /// The next edit starts a manifest, and syncs the directory before `CURRENT` names that.
    ByNextEdit,
}

/// Why there is no room yet.
#[derive(Debug)]
pub(crate) enum NoRoom {
    /// Flush or compaction is too far behind: try again once one of their jobs has ended.
    Behind,
    Failed(Error),
}

impl From<Error> for NoRoom {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Store {
    /// Reserves all that a commit needs, switching memtables that are full.
    pub(crate) fn reserve(
        &self,
        state: &mut CommitState,
        needed: &[RoomNeeded],
        rooms: &mut Vec<Room>,
    ) -> Result<(), NoRoom> {
        if state.log.is_none() {
            // The disk was full when the last one ended.
            self.begin_log(state)?;
        }
        'again: loop {
            rooms.clear();
            for need in needed {
                let keyspace = self.keyspace_by_id(need.keyspace)?;
                let memtable = Arc::clone(&keyspace.pin().active);
                match memtable.table.reserve(need.bytes) {
                    Ok(reservation) => rooms.push(Room { keyspace, memtable, reservation }),
                    Err(_full) => {
                        rooms.clear();
                        self.switch_memtable(state, &keyspace, need.bytes)?;
                        continue 'again;
                    }
                }
            }
            return Ok(());
        }
    }

    /// Makes the active memtable of a keyspace immutable and puts a new one, which has at least `bytes_needed` of room,
    /// and a new log in place.
    pub(crate) fn switch_memtable(
        &self,
        state: &mut CommitState,
        keyspace: &Arc<KeyspaceState>,
        bytes_needed: usize,
    ) -> Result<(), NoRoom> {
        let view = keyspace.pin();
        let l0_is_full = view.version.level0_runs() >= self.options.l0_stop_trigger;
        if view.immutables.len() + 1 >= self.options.num_memtables || l0_is_full {
            return Err(NoRoom::Behind);
        }
        drop(view);
        self.begin_log(state)?;
        self.replace_active(state, keyspace, bytes_needed)?;
        self.switch_oldest_when_logs_are_many(state)?;
        self.workers.wake_flusher();
        Ok(())
    }

    /// Idle keyspaces must not keep old logs for ever: those that hold the oldest one are switched too.
    fn switch_oldest_when_logs_are_many(&self, state: &mut CommitState) -> Result<()> {
        if self.logs_bytes() <= self.options.wal_bytes_max() {
            return Ok(());
        }
        let keyspaces = self.keyspaces.load_full();
        let oldest = keyspaces.iter().map(|keyspace| keyspace.pin().oldest_log()).min();
        for keyspace in keyspaces.iter() {
            let view = keyspace.pin();
            let holds_oldest = Some(view.active.log()) == oldest && view.immutables.is_empty();
            if holds_oldest && !view.active.table.is_empty() {
                self.replace_active(state, keyspace, 0)?;
            }
        }
        Ok(())
    }

    pub(crate) fn replace_active(
        &self,
        state: &CommitState,
        keyspace: &Arc<KeyspaceState>,
        bytes_needed: usize,
    ) -> Result<()> {
        let log = state.log.as_ref().map_or(LogNumber(0), LogWriter::number);
        let capacity = self.memtable_capacity(bytes_needed)?;
        self.install(keyspace, |view| {
            let segments = self.value_log.segments();
            let active = Arc::new(MemtableHandle::new(capacity, log, Arc::clone(&segments)));
            let mut immutables = Vec::with_capacity(view.immutables.len() + 1);
            immutables.push(Arc::clone(&view.active));
            immutables.extend(view.immutables.iter().cloned());
            SuperVersion { active, immutables, segments, ..view.parts() }
        });
        Ok(())
    }

    pub(crate) fn memtable_capacity(&self, bytes_needed: usize) -> Result<usize> {
        let usual = usize::try_from(self.options.memtable_size).unwrap_or(usize::MAX);
        // A commit that is larger than a memtable gets one made for it.
        let capacity = usual.max(bytes_needed.saturating_add(4 << 10));
        if capacity > u32::MAX as usize {
            let message = format!("a commit that needs {bytes_needed} bytes of memory is over the limit of 4 GiB");
            return Err(Error::new(ErrorKind::TxnTooBig, message));
        }
        Ok(capacity)
    }

    /// Ends the active log and starts another. If the second part fails, the next write tries it again.
    pub(crate) fn begin_log(&self, state: &mut CommitState) -> Result<()> {
        self.begin_log_named(state, |_| NameSync::Now)
    }

    /// As [`begin_log`](Self::begin_log), for the log with which a run begins.
    pub(crate) fn begin_first_log(&self, state: &mut CommitState) -> Result<()> {
        self.begin_log_named(state, |levels| {
            if levels.next_edit_starts_manifest() { NameSync::ByNextEdit } else { NameSync::Now }
        })
    }

    /// `name_sync` is asked once the log has its number, since that may take an edit.
    fn begin_log_named(&self, state: &mut CommitState, name_sync: fn(&Levels) -> NameSync) -> Result<()> {
        if let Some(mut log) = state.log.take() {
            let ended = log.end();
            state.previous_log = EndedLog { number: log.number(), end: log.len(), closed: ended.is_ok() };
            self.note_log_length(log.number(), log.len());
            if let Err(error) = ended {
                return Err(self.log_end_failed(state, log, error.into()));
            }
        }
        let (number, path) = self.new_log_number().map_err(|error| self.job_failed(error))?;
        let log = self
            .create_log(&path, number, state.previous_log, name_sync(&self.levels))
            .map_err(|error| self.log_begin_failed(&path, error))?;
        self.syncer.begin_log(number, log.sync_handle());
        self.live_logs.lock().push(LiveLog { number, bytes: log.len() });
        state.log = Some(log);
        Ok(())
    }

    fn new_log_number(&self) -> Result<(LogNumber, PathBuf)> {
        loop {
            let number = self.levels.new_log_number()?;
            let path = self.files.log(number);
            // A run that was killed before its first edit may have left one.
            if self.vfs.metadata(&path)?.is_none() {
                return Ok((number, path));
            }
        }
    }

    /// Where the log before ends without a closing record, only the start of this one tells that it is whole: the start
    /// must be durable before anything is that replay finds behind it, and what is before it must be durable first.
    fn create_log(&self, path: &Path, number: LogNumber, previous: EndedLog, name_sync: NameSync) -> Result<LogWriter> {
        let header = LogHeader { store: self.id, number, kind: LogKind::Wal, value_log_head: self.value_log.head() };
        let allocated = self.options.log_preallocate_bytes(previous.end);
        let options = WriterOptions { mode: self.options.log_mode, preallocate_bytes: allocated };
        let mut log = LogWriter::create(&self.vfs, path, header, options, self.keys.as_deref())?;
        let start = LogStart { previous: previous.number, previous_end: previous.end, allocated };
        log.append(self.value_log.synced(), &[&start.encode()])?;
        if !previous.closed {
            let all_before = LogPosition { log: number, offset: 0 };
            self.syncer.sync_to(all_before, &self.value_log).inspect_err(|error| self.fail(error))?;
            log.sync_handle().sync()?;
        }
        if name_sync == NameSync::Now {
            self.vfs.sync_dir(&self.files.dir)?;
        }
        Ok(log)
    }

    fn note_log_length(&self, number: LogNumber, bytes: u64) {
        if let Some(log) = self.live_logs.lock().iter_mut().find(|log| log.number == number) {
            log.bytes = bytes;
        }
    }
}
