//! Making commits durable: one sync for everyone who waits.
//!
//! A thread that needs the disk becomes the one that syncs, unless another already is; then it waits for that one, and
//! for the next round if its own commit came too late for it. Commits go on being appended meanwhile.
//!
//! Invariants
//! 1. The value log is synced before the write-ahead log, so that no durable record points at a value that is not.
//! 2. Logs are synced oldest first, so that a durable commit never stands behind one that is lost.
//! 3. After a failed sync nothing is ever called durable again: the bytes may be gone although a retry would succeed.

use std::collections::VecDeque;
use std::sync::Arc;

use base::LogNumber;
use base::sync::{Condvar, Mutex};
use vlog::ValueLog;
use wal::LogSync;

use crate::{Error, ErrorKind, Result};

/// A place in the sequence of write-ahead logs: everything before it was appended earlier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogPosition {
    pub(crate) log: LogNumber,
    pub(crate) offset: u64,
}

/// Knows which logs are not yet durable, and how far.
#[derive(Debug)]
pub(crate) struct LogSyncer {
    state: Mutex<State>,
    round_done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Logs that may hold bytes that are not durable, oldest first; the last is the active one.
    logs: VecDeque<(LogNumber, Arc<LogSync>)>,
    durable: LogPosition,
    syncing: bool,
    failed: Option<Error>,
}

impl LogSyncer {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::default()), round_done: Condvar::new() }
    }

    /// A new log takes over from the one before.
    pub(crate) fn begin_log(&self, number: LogNumber, sync: Arc<LogSync>) {
        self.state.lock().logs.push_back((number, sync));
    }

    /// Logs below `needed_from` are no longer of interest: their commits are in durable tables.
    pub(crate) fn forget_below(&self, needed_from: LogNumber) {
        self.state.lock().logs.retain(|(number, _)| *number >= needed_from);
    }

    /// Returns once everything before `target` is durable.
    pub(crate) fn sync_to(&self, target: LogPosition, value_log: &ValueLog) -> Result<()> {
        let mut state = self.state.lock();
        loop {
            if let Some(cause) = &state.failed {
                return Err(cause.clone());
            }
            if state.durable >= target {
                return Ok(());
            }
            if state.syncing {
                self.round_done.wait(&mut state);
                continue;
            }
            state.syncing = true;
            let is_wanted = |number: LogNumber| number < target.log || (number == target.log && target.offset > 0);
            let logs: Vec<_> = state.logs.iter().filter(|(number, _)| is_wanted(*number)).cloned().collect();
            drop(state);
            let mut round = Round { syncer: self, outcome: None };
            round.outcome = Some(sync_in_order(&logs, value_log).map(|reached| reached.max(target)));
            drop(round);
            state = self.state.lock();
        }
    }
}

/// One turn of syncing; when it ends, in whatever way, those who wait are told.
struct Round<'a> {
    syncer: &'a LogSyncer,
    outcome: Option<Result<LogPosition>>,
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        let mut state = self.syncer.state.lock();
        state.syncing = false;
        match self.outcome.take() {
            Some(Ok(reached)) => state.advance(reached),
            Some(Err(cause)) => state.failed = Some(cause),
            None => state.failed = Some(Error::new(ErrorKind::Internal, "a sync panicked")),
        }
        self.syncer.round_done.notify_all();
    }
}

impl State {
    fn advance(&mut self, reached: LogPosition) {
        self.durable = self.durable.max(reached);
        while self.logs.len() > 1 && self.logs.front().is_some_and(|(number, _)| *number < reached.log) {
            self.logs.pop_front();
        }
    }
}

fn sync_in_order(logs: &[(LogNumber, Arc<LogSync>)], value_log: &ValueLog) -> Result<LogPosition> {
    value_log.sync()?;
    let mut reached = LogPosition::default();
    for (number, sync) in logs {
        // An older log was appended to no more: what is synced of it is all of it.
        reached = LogPosition { log: *number, offset: sync.sync()? };
    }
    Ok(reached)
}
