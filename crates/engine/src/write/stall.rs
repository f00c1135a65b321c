//! Waiting for room: what a writer does when flush and compaction are too far behind for it to go on.

use std::time::Duration;

use base::sync::atomic::{AtomicU64, Ordering};

use crate::counters::add;
use crate::store::Store;
use crate::workers::Job;
use crate::{Error, ErrorKind, Result};

/// Writers that wait now.
#[derive(Debug, Default)]
pub(crate) struct Stalls {
    waiting: AtomicU64,
}

impl Stalls {
    pub(crate) fn is_stalled(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

/// The wait of one write.
#[derive(Debug)]
pub(crate) struct Stall {
    timeout: Option<Duration>,
    began: Option<Duration>,
}

impl Stall {
    pub(crate) fn new(timeout: Option<Duration>) -> Self {
        Self { timeout, began: None }
    }
}

impl Store {
    /// Waits until a background job ended, after which there may be room. `seen` was taken before room was looked for.
    pub(crate) fn wait_for_room(&self, stall: &mut Stall, seen: u64) -> Result<()> {
        if self.runs_background_inline() {
            self.run_background_inline();
            return self.check_progress(seen);
        }
        let now = self.clock.monotonic();
        let began = *stall.began.get_or_insert_with(|| {
            add(&self.counters.stalls, 1);
            tracing::debug!("a writer waits for flush and compaction");
            now
        });
        let left = stall.timeout.map(|timeout| timeout.saturating_sub(now.saturating_sub(began)));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Error::new(ErrorKind::Stalled, "no room for the write within its stall timeout"));
        }
        self.stalls.waiting.fetch_add(1, Ordering::Relaxed);
        // A job that failed may be pausing before its next attempt.
        self.workers.wake_flusher();
        self.workers.wake_compactors();
        self.workers.wait_for_progress(seen, left);
        self.stalls.waiting.fetch_sub(1, Ordering::Relaxed);
        let waited = self.clock.monotonic().saturating_sub(now);
        add(&self.counters.stall_microseconds, u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
        self.check_progress(seen)
    }

    /// A write that waits for jobs that fail would wait for ever: it is told their cause instead.
    fn check_progress(&self, seen: u64) -> Result<()> {
        self.check_writable()?;
        let failure = |job| self.workers.failure_since(job, seen);
        failure(Job::Flush).or_else(|| failure(Job::Compaction)).map_or(Ok(()), Err)
    }
}
