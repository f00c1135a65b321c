//! What becomes of the store when a log cannot be appended to.
//!
//! A full disk is mild: the log is cut back to its last whole record, the write fails, and the next write begins a new
//! log, which succeeds once there is space. So is a log or segment that cannot be made: nothing is in it. Any other error
//! of an append, and every one of a sync, is final: the store becomes read-only.

use std::path::Path;

use vfs::Operation;
use wal::LogWriter;

use crate::error::CommitOutcome;
use crate::store::{CommitState, EndedLog, Store};
use crate::write::encode::EncodedCommit;
use crate::{Error, ErrorKind};

impl Store {
    /// A commit's record could not be appended. Nothing was assigned to it yet.
    pub(crate) fn log_append_failed(&self, state: &mut CommitState, encoded: &EncodedCommit, error: Error) -> Error {
        let Some(mut log) = state.log.take() else { return error };
        if error.kind() == ErrorKind::TxnTooBig {
            state.log = Some(log);
            return error;
        }
        if error.kind() == ErrorKind::NoSpace && log.cut_to_last_record().is_ok() {
            self.values_without_entry(encoded, encoded.separated.len());
            self.set_log_aside(state, log);
            return error.outcome(CommitOutcome::NotApplied);
        }
        self.fail(&error);
        error.outcome(CommitOutcome::Unknown)
    }

    /// A log could not be given its closing record.
    pub(crate) fn log_end_failed(&self, state: &mut CommitState, mut log: LogWriter, error: Error) -> Error {
        if error.kind() == ErrorKind::NoSpace && log.cut_to_last_record().is_ok() {
            self.set_log_aside(state, log);
            return error;
        }
        self.fail(&error);
        error
    }

    /// A log could not be begun. Nothing is in it and nobody knows of it; but as replay would come upon it between the log
    /// before and the next one, it must go.
    pub(crate) fn log_begin_failed(&self, path: &Path, error: Error) -> Error {
        let is_left = self.vfs.remove_file(path).is_err_and(|left| !left.is_not_found());
        if is_left {
            self.fail(&error)
        } else {
            self.log_failed(&error)
        }
        error
    }

    /// A value could not be appended to the value log: there is no record of the commit.
    pub(crate) fn value_append_failed(&self, error: Error) -> Error {
        self.log_failed(&error);
        error
    }

    /// What a log that fails means for the store.
    fn log_failed(&self, error: &Error) {
        let Some(cause) = error.file_error() else { return };
        if cause.path().extension().is_some_and(|extension| extension == "tmp") {
            // The value log's manifest, which names the segments to come: it is thrown away, and the old one stands.
            return;
        }
        let is_final = match cause.operation() {
            Operation::Sync | Operation::Finish => true,
            // A directory has to be opened for its sync.
            Operation::SyncDir => !cause.is_too_many_files(),
            Operation::Append => !cause.is_no_space(),
            _ => false,
        };
        if is_final {
            self.fail(error);
        }
    }

    /// The log ends where it is, without a closing record; the next one's first record says so.
    fn set_log_aside(&self, state: &mut CommitState, log: LogWriter) {
        state.previous_log = EndedLog { number: log.number(), end: log.len(), closed: false };
        tracing::warn!(log = log.number().0, "a log has ended early: the disk is full");
    }

    /// The first `count` values of a commit that certainly failed are dead: no entry will ever point to them.
    pub(crate) fn values_without_entry(&self, encoded: &EncodedCommit, count: usize) {
        let dead = encoded.separated.iter().take(count).filter_map(|separated| encoded.pointer(separated));
        self.values_without_entry.lock().extend(dead);
    }
}
