//! Background work, in a thread or by the writes themselves: full files are sealed, unsynced writes synced at intervals, and
//! files merged where the triggers say so.
//!
//! What fails is told by the next sync, merge or close, and tried again the next time that something is due.

use std::ops::ControlFlow;
use std::time::Duration;

use base::sync::{Arc, Condvar, Mutex};
use base::thread::{self, JoinHandle};

use crate::keydir::Keydir;
use crate::store::Shared;
use crate::{Error, Result, SyncStrategy};

/// Wakes the worker.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    state: Mutex<Rung>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct Rung {
    work: bool,
    stop: bool,
}

impl Bell {
    pub(crate) fn ring(&self) {
        self.state.lock().work = true;
        self.rung.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.rung.notify_one();
    }

    fn is_stopped(&self) -> bool {
        self.state.lock().stop
    }

    /// Waits for a ring or for the time to pass; `false` where it is time to stop.
    fn wait(&self, at_most: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.work && !state.stop {
            self.rung.wait_for(&mut state, at_most);
        }
        state.work = false;
        !state.stop
    }
}

/// The thread that works for a store.
#[derive(Debug)]
pub(crate) struct Worker {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(crate) fn start<K: Keydir>(store: &Arc<Shared<K>>) -> Result<Self> {
        let bell = Arc::clone(&store.bell);
        let store = Arc::clone(store);
        let thread = thread::spawn("bitcask", move || work(&store)).map_err(Error::Thread)?;
        Ok(Self { bell, thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.bell.stop();
        if let Some(thread) = self.thread.take() {
            // It panics nowhere; if it did, the store would merely be without its services.
            let _ = thread.join();
        }
    }
}

fn work<K: Keydir>(store: &Shared<K>) {
    loop {
        let until_sync = store.until_sync();
        // Records expire where nobody writes, too.
        let until_check = store.options.merge_check_interval;
        if until_sync == Some(Duration::ZERO) {
            store.note(store.sync_if_due());
        } else if !store.bell.wait(until_sync.unwrap_or(until_check).min(until_check)) {
            return;
        } else {
            store.background_step();
        }
    }
}

impl<K: Keydir> Shared<K> {
    /// Does what is due.
    pub(crate) fn background_step(&self) {
        self.note(self.seal_full());
        self.note(self.log.remove_released().map(drop).map_err(Error::from));
        if self.options.merge_window.is_open_at(self.options.clock.unix_seconds()) {
            self.note(self.merge_where_triggered().map(drop));
        }
    }

    /// How long until unsynced writes are to be synced; `None` where no interval says so.
    fn until_sync(&self) -> Option<Duration> {
        let SyncStrategy::Interval(interval) = self.options.sync_strategy else { return None };
        let due = self.last_sync.lock().saturating_add(interval);
        Some(due.saturating_sub(self.options.clock.monotonic()))
    }

    /// Syncs where the interval is over.
    pub(crate) fn sync_if_due(&self) -> Result<()> {
        if self.until_sync() == Some(Duration::ZERO) {
            *self.last_sync.lock() = self.options.clock.monotonic();
            self.log.sync()?;
        }
        Ok(())
    }

    /// What a merge does now and then: it keeps no sync waiting, and ends where the store is being closed.
    pub(crate) fn give_way(&self) -> ControlFlow<()> {
        self.note(self.sync_if_due());
        if self.bell.is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    pub(crate) fn seal_full(&self) -> Result<()> {
        while self.log.seal_full()? && self.give_way().is_continue() {}
        Ok(())
    }

    /// Keeps a failure for whoever asks next.
    fn note(&self, done: Result<()>) {
        if let Err(error) = done {
            tracing::warn!(%error, "background work of a store failed");
            self.failure.lock().get_or_insert(error);
        }
    }

    /// The failure of background work that nobody has been told of.
    pub(crate) fn take_failure(&self) -> Result<()> {
        self.failure.lock().take().map_or(Ok(()), Err)
    }
}
