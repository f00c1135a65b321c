//! The background threads: one that flushes memtables and seals segments, and those that compact.
//!
//! A thread sleeps until it is woken by a change that may have made work for it; an idle store wakes nobody. A job that
//! fails is tried again after a pause that doubles each time, up to a bound: the disk may have space again by then. A
//! failure that retrying cannot mend (a manifest or log that could not be synced) makes the store read-only instead.

use std::sync::Arc;
use std::time::Duration;

use base::sync::atomic::{AtomicBool, Ordering};
use base::sync::{Condvar, Mutex};
use base::thread::{self, JoinHandle};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};

use crate::store::Store;
use crate::{Error, ErrorKind, Result};

const RETRY_PAUSE_MIN: Duration = Duration::from_millis(10);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Wakes one kind of worker; more wake-ups than one at a time are one.
#[derive(Debug)]
struct Bell {
    ring: Sender<()>,
    heard: Receiver<()>,
}

impl Bell {
    fn new() -> Self {
        let (ring, heard) = crossbeam_channel::bounded(1);
        Self { ring, heard }
    }

    fn ring(&self) {
        match self.ring.try_send(()) {
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

/// The threads, and the ways to wake them and to wait for them.
#[derive(Debug)]
pub(crate) struct Workers {
    flush: Bell,
    compact: Bell,
    pub(crate) stop: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Counts jobs that ended, either way.
    progress: Mutex<u64>,
    progressed: Condvar,
    /// Why the last background job failed, until one of its kind succeeds.
    failure: Mutex<Option<Error>>,
}

impl Workers {
    pub(crate) fn new() -> Self {
        Self {
            flush: Bell::new(),
            compact: Bell::new(),
            stop: AtomicBool::new(false),
            threads: Mutex::new(Vec::new()),
            progress: Mutex::new(0),
            progressed: Condvar::new(),
            failure: Mutex::new(None),
        }
    }

    pub(crate) fn wake_flusher(&self) {
        self.flush.ring();
    }

    pub(crate) fn wake_compactors(&self) {
        self.compact.ring();
    }

    /// Lets everyone who waits for progress look again.
    pub(crate) fn wake_waiters(&self) {
        *self.progress.lock() += 1;
        self.progressed.notify_all();
    }

    /// A number that changes with each bit of progress; taken before a condition is looked at.
    pub(crate) fn progress(&self) -> u64 {
        *self.progress.lock()
    }

    /// Waits for progress beyond `seen`, or until `timeout` is over; `false` if it was.
    pub(crate) fn wait_for_progress(&self, seen: u64, timeout: Option<Duration>) -> bool {
        let mut progress = self.progress.lock();
        while *progress == seen {
            match timeout {
                None => self.progressed.wait(&mut progress),
                Some(timeout) => {
                    if self.progressed.wait_for(&mut progress, timeout).timed_out() {
                        return *progress != seen;
                    }
                }
            }
        }
        true
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(crate) fn failure(&self) -> Option<Error> {
        self.failure.lock().clone()
    }

    pub(crate) fn set_failure(&self, failure: Option<Error>) {
        *self.failure.lock() = failure;
    }
}

impl Store {
    /// Starts the background threads.
    pub(crate) fn start_workers(self: &Arc<Self>) -> Result<()> {
        if self.runs_background_inline() {
            return Ok(());
        }
        self.start_worker("ratel-flush", |store| &store.workers.flush.heard, Self::flush_step)?;
        for _ in 0..self.options.compactors {
            self.start_worker("ratel-compact", |store| &store.workers.compact.heard, Self::compact_step)?;
        }
        self.workers.wake_flusher();
        self.workers.wake_compactors();
        Ok(())
    }

    fn start_worker(
        self: &Arc<Self>,
        name: &str,
        bell: fn(&Self) -> &Receiver<()>,
        step: fn(&Self) -> Result<bool>,
    ) -> Result<()> {
        let store = Arc::clone(self);
        let thread = thread::spawn(name, move || store.work(bell(&store), step))
            .map_err(|error| Error::with_source(ErrorKind::Io, format!("cannot start thread {name}"), error))?;
        self.workers.threads.lock().push(thread);
        Ok(())
    }

    fn work(&self, bell: &Receiver<()>, step: fn(&Self) -> Result<bool>) {
        // A panic in a job must not leave writers waiting for ever.
        let watch = PanicWatch(self);
        let mut pause = RETRY_PAUSE_MIN;
        while !self.workers.is_stopping() {
            let outcome = step(self);
            match outcome {
                Ok(true) => pause = RETRY_PAUSE_MIN,
                Ok(false) => {
                    if bell.recv().is_err() {
                        break;
                    }
                }
                Err(error) => {
                    if self.workers.is_stopping() || self.health.cause().is_some() {
                        break;
                    }
                    self.note_failed_job(&error);
                    match bell.recv_timeout(pause) {
                        Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
            }
        }
        std::mem::forget(watch);
    }

    fn note_failed_job(&self, error: &Error) {
        tracing::warn!(%error, "a background job failed and will be tried again");
        crate::counters::add(&self.counters.background_failures, 1);
        self.workers.set_failure(Some(error.clone()));
        self.workers.wake_waiters();
    }

    /// Stops and joins the threads. Jobs that are under way end early where they can, and publish nothing then.
    pub(crate) fn stop_workers(&self) {
        self.workers.stop.store(true, Ordering::Release);
        let threads = std::mem::take(&mut *self.workers.threads.lock());
        // One ring wakes one sleeper, and whoever is at work looks before it sleeps again: ring until each has gone.
        for thread in threads {
            while !thread.is_finished() {
                self.workers.wake_flusher();
                self.workers.wake_compactors();
                thread::yield_now();
            }
            join(thread);
        }
        self.workers.wake_waiters();
    }

    /// Does all background work that is due, in this thread.
    pub(crate) fn run_background_inline(&self) -> Result<()> {
        while self.flush_step()? || self.compact_step()? {}
        Ok(())
    }
}

fn join(thread: JoinHandle<()>) {
    // A panic of the thread was already turned into the store's failure by its watch.
    let _ = thread.join();
}

/// Dropped while its thread unwinds: the store becomes read-only.
struct PanicWatch<'a>(&'a Store);

impl Drop for PanicWatch<'_> {
    fn drop(&mut self) {
        self.0.fail(&Error::new(ErrorKind::Internal, "a background thread panicked"));
    }
}
