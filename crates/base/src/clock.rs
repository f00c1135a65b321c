//! The one place that reads clocks.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::sync::atomic::{AtomicU64, Ordering};

/// What time it is. Shared by everything in a store, so that a test can move it.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Seconds since the Unix epoch. Never steps back within one process.
    fn unix_seconds(&self) -> u64;

    /// Time since some fixed point, for measuring and pacing.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
    newest_seconds: AtomicU64,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the module that reads clocks")]
    pub fn new() -> Self {
        Self { started: Instant::now(), newest_seconds: AtomicU64::new(0) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the module that reads clocks")]
    fn unix_seconds(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.newest_seconds.fetch_max(now, Ordering::Relaxed).max(now)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct ManualClock {
    nanoseconds: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `unix_seconds`.
    #[must_use]
    pub fn new(unix_seconds: u64) -> Self {
        Self { nanoseconds: AtomicU64::new(unix_seconds.saturating_mul(1_000_000_000)) }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(by, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn unix_seconds(&self) -> u64 {
        self.nanoseconds.load(Ordering::Relaxed) / 1_000_000_000
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }
}
