//! The store behind all handles: its parts, and what they share.
//!
//! Lock order: the file locks' (held by a close to its end), keyspace-creation lock, commit lock, install lock, then the
//! leaves (`live_logs`, the syncer's, the oracle's and the layers' own). The manifest's lock is taken under none but the
//! keyspace-creation lock, or under the commit lock to lease numbers; the install lock is taken under it. No file is read
//! or written under the install lock, and no callback of the caller's runs under any.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base::clock::Clock;
use base::sync::Mutex;
use base::sync::atomic::AtomicU64;
use base::{KeyspaceId, LogNumber, StoreId, ValuePointer};
use encryption::Keyring;
use lsm_levels::Levels;
use sstable::BlockCache;
use txn_oracle::{CommitOrder, Oracle};
use vfs::{FileLock, Vfs};
use vlog::{SegmentSet, ValueLog};
use wal::LogWriter;

use crate::counters::Counters;
use crate::expiry::Expired;
use crate::files::StoreFiles;
use crate::gc::{Garbage, GcPace};
use crate::health::HealthLatch;
use crate::keyspace::{KeyspaceState, find_keyspace};
use crate::options::{Background, Options};
use crate::recovery::RecoveryReport;
use crate::super_version::SuperVersion;
use crate::workers::Workers;
use crate::write::pacer::Pacer;
use crate::write::stall::Stalls;
use crate::write::sync::LogSyncer;
use crate::{Error, ErrorKind, Result};

/// Everything of an open store.
pub(crate) struct Store {
    pub(crate) id: StoreId,
    pub(crate) options: Options,
    pub(crate) files: StoreFiles,
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) keys: Option<Arc<Keyring>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) oracle: Oracle,
    pub(crate) levels: Levels,
    pub(crate) value_log: ValueLog,
    pub(crate) block_cache: Arc<BlockCache>,
    /// By number; the default keyspace is first.
    pub(crate) keyspaces: ArcSwap<Vec<Arc<KeyspaceState>>>,
    pub(crate) default_keyspace: Arc<KeyspaceState>,
    pub(crate) commit_state: Mutex<CommitState>,
    pub(crate) install_lock: Mutex<()>,
    pub(crate) creation_lock: Mutex<()>,
    pub(crate) syncer: LogSyncer,
    /// Logs on disk that may be needed, oldest first, with their lengths once they have ended.
    pub(crate) live_logs: Mutex<Vec<LiveLog>>,
    /// Values of commits that failed after their append: dead, and to be noted as such by the next edit.
    pub(crate) values_without_entry: Mutex<Vec<ValuePointer>>,
    /// Tickets of deaths that stand in the manifest and that the value log could not take up yet.
    pub(crate) unapplied_tickets: Mutex<Vec<u64>>,
    /// Tickets of deaths that the value log has noted and not made durable yet.
    pub(crate) noted_tickets: Mutex<Vec<u64>>,
    /// When a new data key may be tried again, in seconds since the Unix epoch.
    pub(crate) next_data_key_try: AtomicU64,
    pub(crate) garbage: Garbage,
    pub(crate) expired: Expired,
    pub(crate) gc_pace: GcPace,
    pub(crate) compactions_running: AtomicU64,
    pub(crate) health: HealthLatch,
    pub(crate) pacer: Pacer,
    /// Slows writers of large values when garbage collection is behind.
    pub(crate) value_pacer: Pacer,
    pub(crate) stalls: Stalls,
    pub(crate) workers: Workers,
    pub(crate) counters: Counters,
    pub(crate) recovery_report: RecoveryReport,
    /// Given up when the store is closed, or with its last handle.
    pub(crate) locks: Mutex<Vec<Box<dyn FileLock>>>,
}

/// What is changed under the commit lock alone.
#[derive(Debug)]
pub(crate) struct CommitState {
    pub(crate) order: CommitOrder,
    /// The active log; none while the disk is full.
    pub(crate) log: Option<LogWriter>,
    /// The log before the active one.
    pub(crate) previous_log: EndedLog,
    pub(crate) totals: CommitTotals,
}

/// A log that nothing is appended to any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndedLog {
    pub(crate) number: LogNumber,
    /// Where it ends, in bytes.
    pub(crate) end: u64,
    /// Whether its own closing record says so, or there is none.
    pub(crate) closed: bool,
}

/// What commits have written since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommitTotals {
    /// Commits.
    pub commits: u64,
    /// Keys written, deletions included.
    pub records: u64,
    /// Bytes of keys and values.
    pub user_bytes: u64,
    /// Bytes appended to write-ahead logs.
    pub log_bytes: u64,
    /// Bytes appended to the value log.
    pub value_log_bytes: u64,
}

/// A log on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LiveLog {
    pub(crate) number: LogNumber,
    pub(crate) bytes: u64,
}

impl Store {
    pub(crate) fn check_readable(&self) -> Result<()> {
        self.health.check_readable()
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        self.health.check_writable()
    }

    /// Makes the store read-only for good.
    pub(crate) fn fail(&self, cause: &Error) {
        tracing::error!(error = %cause, "the store becomes read-only");
        self.health.fail(cause.clone());
        self.oracle.poison(Arc::new(cause.clone()));
        self.workers.wake_waiters();
    }

    /// Why commits are no longer taken.
    pub(crate) fn failure(&self) -> Error {
        self.health.check_writable().err().unwrap_or_else(|| {
            let cause = self.oracle.poisoned().map_or_else(|| "unknown".to_owned(), |poisoned| poisoned.to_string());
            Error::new(ErrorKind::Poisoned, cause)
        })
    }

    pub(crate) fn keyspace_by_id(&self, id: KeyspaceId) -> Result<Arc<KeyspaceState>> {
        if id == self.default_keyspace.id {
            return Ok(Arc::clone(&self.default_keyspace));
        }
        find_keyspace(&self.keyspaces.load(), id).cloned()
    }

    /// Whether the store was opened for reading only.
    pub(crate) fn is_read_only_open(&self) -> bool {
        self.health.cause().is_some_and(|cause| cause.kind() == ErrorKind::ReadOnly)
    }

    /// Puts a changed view of a keyspace in place; `change` sees the current one.
    pub(crate) fn install(&self, keyspace: &KeyspaceState, change: impl FnOnce(&SuperVersion) -> SuperVersion) {
        let _install = self.install_lock.lock();
        let next = change(&keyspace.pin());
        keyspace.install(next);
    }

    /// A roll of the value log: every view gets the new set, so that all tables to come can be read through it.
    pub(crate) fn install_segments_if_new(&self, segments: &Arc<SegmentSet>) {
        if Arc::ptr_eq(&self.default_keyspace.pin().segments, segments) {
            return;
        }
        self.install_segments();
        self.workers.wake_flusher();
    }

    /// Every view gets the newest set. So do its memtables, as all that they point to lives: they need not keep what was
    /// collected meanwhile.
    pub(crate) fn install_segments(&self) {
        let _install = self.install_lock.lock();
        for keyspace in self.keyspaces.load().iter() {
            let view = keyspace.pin();
            let segments = self.value_log.segments();
            view.memtables().for_each(|memtable| memtable.hold_segments(&segments));
            keyspace.install(SuperVersion { segments, ..view.parts() });
        }
    }

    pub(crate) fn runs_background_inline(&self) -> bool {
        self.options.background == Background::Inline
    }

    /// Bytes of all logs that are still needed.
    pub(crate) fn logs_bytes(&self) -> u64 {
        self.live_logs.lock().iter().map(|log| log.bytes).sum()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("dir", &self.files.dir).field("health", &self.health).finish_non_exhaustive()
    }
}
