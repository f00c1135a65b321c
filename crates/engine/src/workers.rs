//! The background threads: one that flushes memtables and seals segments, those that compact, and one that collects
//! garbage.
//!
//! A thread sleeps until it is woken by a change that may have made work for it, a compactor also until so much of some
//! table has expired that it is worth writing anew; an idle store wakes nobody. A job that
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
/// The clock that tells what has expired may be set anew while a thread sleeps.
const NAP_MAX: Duration = Duration::from_hours(1);

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
        ring(&self.ring);
    }
}

fn ring(bell: &Sender<()>) {
    match bell.try_send(()) {
        Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
    }
}

/// The threads, and the ways to wake them and to wait for them.
#[derive(Debug)]
pub(crate) struct Workers {
    flush: Bell,
    compact: Bell,
    collect: Bell,
    pub(crate) stop: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
    progress: Mutex<Progress>,
    progressed: Condvar,
}

/// What the threads do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// Memtables to tables, and segments sealed.
    Flush,
    Compaction,
    /// Garbage of the value log.
    Collection,
}

/// What became of the jobs so far.
#[derive(Debug, Default)]
struct Progress {
    /// Jobs that ended, either way.
    ended: u64,
    /// Which of them was the last of its kind that failed, and why, until one of its kind succeeds.
    failed_flush: Option<(u64, Error)>,
    failed_compaction: Option<(u64, Error)>,
    failed_collection: Option<(u64, Error)>,
}

impl Progress {
    fn failed(&mut self, job: Job) -> &mut Option<(u64, Error)> {
        match job {
            Job::Flush => &mut self.failed_flush,
            Job::Compaction => &mut self.failed_compaction,
            Job::Collection => &mut self.failed_collection,
        }
    }
}

impl Workers {
    pub(crate) fn new() -> Self {
        Self {
            flush: Bell::new(),
            compact: Bell::new(),
            collect: Bell::new(),
            stop: AtomicBool::new(false),
            threads: Mutex::new(Vec::new()),
            progress: Mutex::new(Progress::default()),
            progressed: Condvar::new(),
        }
    }

    fn wake(&self, job: Job) {
        match job {
            Job::Flush => self.wake_flusher(),
            Job::Compaction => self.wake_compactors(),
            Job::Collection => self.wake_collector(),
        }
    }

    pub(crate) fn wake_flusher(&self) {
        self.flush.ring();
    }

    pub(crate) fn wake_compactors(&self) {
        self.compact.ring();
    }

    pub(crate) fn wake_collector(&self) {
        self.collect.ring();
    }

    /// Lets everyone who waits for progress look again.
    pub(crate) fn wake_waiters(&self) {
        self.progress.lock().ended += 1;
        self.progressed.notify_all();
    }

    /// A number that changes with each bit of progress; taken before a condition is looked at.
    pub(crate) fn progress(&self) -> u64 {
        self.progress.lock().ended
    }

    /// Waits for progress beyond `seen`, or until `timeout` is over; `false` if it was.
    pub(crate) fn wait_for_progress(&self, seen: u64, timeout: Option<Duration>) -> bool {
        let mut progress = self.progress.lock();
        while progress.ended == seen {
            match timeout {
                None => self.progressed.wait(&mut progress),
                Some(timeout) => {
                    if self.progressed.wait_for(&mut progress, timeout).timed_out() {
                        return progress.ended != seen;
                    }
                }
            }
        }
        true
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Why the last job of this kind failed, if that was after the progress that was `seen`: what failed before was not
    /// for the sake of the caller, and may be mended.
    pub(crate) fn failure_since(&self, job: Job, seen: u64) -> Option<Error> {
        self.progress.lock().failed(job).as_ref().filter(|(at, _)| *at > seen).map(|(_, cause)| cause.clone())
    }

    fn note_failure(&self, job: Job, cause: Error) {
        let mut progress = self.progress.lock();
        progress.ended += 1;
        let ended = progress.ended;
        *progress.failed(job) = Some((ended, cause));
        self.progressed.notify_all();
    }

    pub(crate) fn note_success(&self, job: Job) {
        *self.progress.lock().failed(job) = None;
    }
}

impl Store {
    /// Starts the background threads.
    pub(crate) fn start_workers(self: &Arc<Self>) -> Result<()> {
        if self.runs_background_inline() {
            return Ok(());
        }
        self.start_worker("ratel-flush", Job::Flush, |store| &store.workers.flush.heard, Self::flush_step)?;
        for _ in 0..self.options.compactors {
            self.start_worker(
                "ratel-compact",
                Job::Compaction,
                |store| &store.workers.compact.heard,
                Self::compact_step,
            )?;
        }
        self.start_worker("ratel-gc", Job::Collection, |store| &store.workers.collect.heard, Self::gc_step)?;
        // Whoever lets go of a collected segment last must not wait for anything.
        let wakes = [&self.workers.flush, &self.workers.collect].map(|bell| bell.ring.clone());
        self.value_log.on_release(move || wakes.iter().for_each(ring));
        let wakes = [&self.workers.compact, &self.workers.collect].map(|bell| bell.ring.clone());
        self.oracle.on_oldest_closed(move || wakes.iter().for_each(ring));
        self.workers.wake_flusher();
        self.workers.wake_compactors();
        self.workers.wake_collector();
        Ok(())
    }

    fn start_worker(
        self: &Arc<Self>,
        name: &str,
        job: Job,
        bell: fn(&Self) -> &Receiver<()>,
        step: fn(&Self) -> Result<bool>,
    ) -> Result<()> {
        let store = Arc::clone(self);
        let thread = thread::spawn(name, move || store.work(job, bell(&store), step))
            .map_err(|error| Error::with_source(ErrorKind::Io, format!("cannot start thread {name}"), error))?;
        self.workers.threads.lock().push(thread);
        Ok(())
    }

    fn work(&self, job: Job, bell: &Receiver<()>, step: fn(&Self) -> Result<bool>) {
        // A panic in a job must not leave writers waiting for ever.
        let watch = PanicWatch(self);
        let mut pause = RETRY_PAUSE_MIN;
        while !self.workers.is_stopping() {
            let outcome = step(self);
            match outcome {
                Ok(true) => pause = RETRY_PAUSE_MIN,
                Ok(false) => {
                    let nap = (job == Job::Compaction).then(|| self.until_next_expiry()).flatten();
                    let woken = match nap {
                        Some(nap) => bell.recv_timeout(nap.min(NAP_MAX)),
                        None => bell.recv().map_err(RecvTimeoutError::from),
                    };
                    if woken == Err(RecvTimeoutError::Disconnected) {
                        break;
                    }
                }
                Err(error) => {
                    let error = self.job_failed(error);
                    if self.workers.is_stopping() || self.health.cause().is_some() {
                        break;
                    }
                    // What was told before the failure, by the job itself perhaps, is no reason to try again at once.
                    let was_told = bell.try_recv().is_ok();
                    self.note_failed_job(job, error);
                    match bell.recv_timeout(pause) {
                        Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                    if was_told {
                        // It may have been for another of the same kind.
                        self.workers.wake(job);
                    }
                }
            }
        }
        std::mem::forget(watch);
    }

    pub(crate) fn note_failed_job(&self, job: Job, error: Error) {
        tracing::warn!(%error, "a background job failed and will be tried again");
        crate::counters::add(&self.counters.background_failures, 1);
        self.workers.note_failure(job, error);
    }

    /// Stops and joins the threads. Jobs that are under way end early where they can, and publish nothing then.
    pub(crate) fn stop_workers(&self) {
        self.workers.stop.store(true, Ordering::Release);
        let threads = std::mem::take(&mut *self.workers.threads.lock());
        // One ring wakes one sleeper, and whoever is at work, or waits for another's, looks before it sleeps again: ring
        // until each has gone.
        for thread in threads {
            while !thread.is_finished() {
                self.workers.wake_flusher();
                self.workers.wake_compactors();
                self.workers.wake_collector();
                self.workers.wake_waiters();
                thread::yield_now();
            }
            join(thread);
        }
        self.workers.wake_waiters();
    }

    /// Does all background work that is due, in this thread. What fails is noted as the threads do, and tried again the
    /// next time: the commit that made it due stands all the same.
    pub(crate) fn run_background_inline(&self) {
        let attempt = |job, outcome: Result<bool>| {
            outcome.unwrap_or_else(|error| {
                self.note_failed_job(job, self.job_failed(error));
                false
            })
        };
        while attempt(Job::Flush, self.flush_step())
            || attempt(Job::Compaction, self.compact_step())
            || attempt(Job::Collection, self.gc_step())
        {}
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
