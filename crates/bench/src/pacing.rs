//! Offers operations at a fixed rate, however fast the store takes them.
//!
//! An operation is due at its place in the schedule, and its latency counts from there, though an earlier one may have
//! kept it from beginning: a store that stalls for a second is late for all that was due meanwhile, not for one. What
//! the sleeper overslept before an operation is not the store's, and does not count.

use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

/// What a pacer asks for the time, which begins at nothing.
pub(crate) trait Clock {
    fn now(&self) -> Duration;

    /// Returns then or a little later.
    fn sleep_until(&self, at: Duration);
}

/// The machine's clock.
#[derive(Debug)]
pub(crate) struct SystemClock {
    began: Instant,
}

impl SystemClock {
    /// Begins now. This thread's sleeps end as soon as they can from here on.
    pub(crate) fn begin() -> Self {
        // Without this they are some 50 us late, so that operations come in groups.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        Self { began: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn sleep_until(&self, at: Duration) {
        thread::sleep(at.saturating_sub(self.now()));
    }
}

/// The schedule of one thread.
#[derive(Debug)]
pub(crate) struct Pacer<C> {
    clock: C,
    interval_seconds: f64,
    /// Operations that were let go.
    gone: u64,
    woke_at: Duration,
}

impl<C: Clock> Pacer<C> {
    /// So many operations a second, the first one at once.
    pub(crate) fn new(clock: C, per_second: f64) -> Self {
        Self { clock, interval_seconds: per_second.recip(), gone: 0, woke_at: Duration::ZERO }
    }

    /// Waits until the next operation is due. Returns when its latency begins.
    pub(crate) fn wait(&mut self) -> Duration {
        let due = Duration::try_from_secs_f64(self.gone as f64 * self.interval_seconds).unwrap_or(Duration::MAX);
        self.gone += 1;
        if self.clock.now() < due {
            self.clock.sleep_until(due);
            self.woke_at = self.clock.now();
        }
        due.max(self.woke_at)
    }

    /// The latency of an operation that began then and has ended now.
    pub(crate) fn latency(&self, begin: Duration) -> Duration {
        self.clock.now().saturating_sub(begin)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A clock that moves when it is told to, and oversleeps.
    struct ManualClock {
        now: Cell<Duration>,
        oversleeps: Duration,
    }

    impl Clock for &ManualClock {
        fn now(&self) -> Duration {
            self.now.get()
        }

        fn sleep_until(&self, at: Duration) {
            self.now.set(self.now.get().max(at + self.oversleeps));
        }
    }

    impl ManualClock {
        fn new(oversleeps: Duration) -> Self {
            Self { now: Cell::new(Duration::ZERO), oversleeps }
        }

        /// Lets the next operation take so long; returns the latency that counts.
        fn operate(&self, pacer: &mut Pacer<&Self>, takes: Duration) -> Duration {
            let begin = pacer.wait();
            self.now.set(self.now.get() + takes);
            pacer.latency(begin)
        }
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_fast_store_is_offered_the_rate_and_no_more() {
        let clock = ManualClock::new(Duration::ZERO);
        let mut pacer = Pacer::new(&clock, 100.0);
        assert!((0..1_000).all(|_| clock.operate(&mut pacer, MS) == MS));
        assert_eq!(clock.now.get(), 9_990 * MS + MS, "the last one was due 999 intervals of 10 ms after the first");
    }

    #[test]
    fn what_waits_behind_a_stall_is_late_from_when_it_was_due() {
        let clock = ManualClock::new(Duration::ZERO);
        let mut pacer = Pacer::new(&clock, 100.0);
        let takes = [1, 35, 1, 1, 1, 1, 1].map(|millis| millis * MS);
        let latencies = takes.map(|takes| clock.operate(&mut pacer, takes).as_millis());
        // Due at 0, 10, 20, 30, 40, 50, 60; the stall lasts from 10 to 45.
        assert_eq!(latencies, [1, 35, 26, 17, 8, 1, 1]);
    }

    #[test]
    fn a_store_too_slow_for_the_rate_falls_behind_more_and_more() {
        let clock = ManualClock::new(Duration::ZERO);
        let mut pacer = Pacer::new(&clock, 100.0);
        let latencies: Vec<_> = (0..4).map(|_| clock.operate(&mut pacer, 15 * MS).as_millis()).collect();
        assert_eq!(latencies, [15, 20, 25, 30]);
    }

    #[test]
    fn what_the_sleeper_overslept_is_not_the_stores() {
        let clock = ManualClock::new(25 * MS);
        let mut pacer = Pacer::new(&clock, 100.0);
        let latencies: Vec<_> = (0..5).map(|_| clock.operate(&mut pacer, MS).as_millis()).collect();
        // The second, due at 10, is let go at 35, with those behind it that are due by then.
        assert_eq!(latencies, [1, 1, 2, 3, 1]);
    }
}
