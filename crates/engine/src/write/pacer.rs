//! Slows writers, by microseconds and in proportion, when flush and compaction are behind.
//!
//! Far below the point at which writers would have to stop, each write is given a slot on a time line that advances by
//! its bytes over the allowed rate. A writer whose slot is still to come waits for it. The rate falls as the debt grows,
//! so that the tree settles at some debt instead of swinging between full speed and standstill.

use std::time::Duration;

use base::clock::Clock;
use base::sync::atomic::{AtomicU64, Ordering};
use base::sync::{Condvar, Mutex};

/// Slots nearer than this are not waited for: waking up costs about as much.
const SLACK_NANOSECONDS: u64 = 100_000;

/// No slot is further ahead than this: what a write beyond it would have to wait is let off.
const AHEAD_NANOSECONDS_MAX: u64 = 100_000_000;

/// Gives writers their slots.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// Bytes a second at the start of the slowdown, and at its end.
    rates: (u64, u64),
    /// No single write waits longer than this for its slot.
    wait_nanoseconds_max: u64,
    /// Allowed bytes a second; 0 is no limit.
    bytes_per_second: AtomicU64,
    /// Where the time line stands, in nanoseconds of the monotonic clock.
    next_slot: AtomicU64,
    waited_nanoseconds: AtomicU64,
    waits: AtomicU64,
    lock: Mutex<()>,
    never: Condvar,
}

impl Pacer {
    /// A pacer that allows `first` bytes a second at the start of the slowdown and `last` at its end, and lets no write wait
    /// longer than `wait_max`, nor than a tenth of a second.
    pub(crate) fn new(first: u64, last: u64, wait_max: Duration) -> Self {
        Self {
            rates: (first, last),
            wait_nanoseconds_max: nanoseconds(wait_max).min(AHEAD_NANOSECONDS_MAX),
            bytes_per_second: AtomicU64::new(0),
            next_slot: AtomicU64::new(0),
            waited_nanoseconds: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            lock: Mutex::new(()),
            never: Condvar::new(),
        }
    }

    /// Sets the rate from how far the debt has gone from the start of the slowdown (0) to the stop (1,000).
    pub(crate) fn set_debt(&self, per_mille: Option<u64>) {
        let (first, last) = self.rates;
        self.set_rate(per_mille.map(|per_mille| first - (first - last) * per_mille.min(1_000) / 1_000));
    }

    /// Sets the rate, in bytes a second; none is no limit.
    pub(crate) fn set_rate(&self, bytes_per_second: Option<u64>) {
        self.bytes_per_second.store(bytes_per_second.unwrap_or(0), Ordering::Relaxed);
    }

    /// Waits for the slot of a write of `bytes`, if writers are being slowed.
    pub(crate) fn admit(&self, bytes: usize, clock: &dyn Clock) {
        let rate = self.bytes_per_second.load(Ordering::Relaxed);
        if rate == 0 {
            return;
        }
        let now = nanoseconds(clock.monotonic());
        let cost = (bytes as u64).saturating_mul(1_000_000_000) / rate;
        self.next_slot.fetch_max(now, Ordering::Relaxed);
        let slot = self.next_slot.fetch_add(cost, Ordering::Relaxed);
        let ahead = slot.saturating_sub(now);
        if ahead.saturating_add(cost) > AHEAD_NANOSECONDS_MAX {
            self.next_slot.fetch_min(now + AHEAD_NANOSECONDS_MAX, Ordering::Relaxed);
        }
        if ahead > SLACK_NANOSECONDS {
            self.wait(ahead.min(self.wait_nanoseconds_max));
        }
    }

    fn wait(&self, for_nanoseconds: u64) {
        let mut guard = self.lock.lock();
        let _ = self.never.wait_for(&mut guard, Duration::from_nanos(for_nanoseconds));
        drop(guard);
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.waited_nanoseconds.fetch_add(for_nanoseconds, Ordering::Relaxed);
    }

    /// Writes that were slowed so far, and how long they waited in sum.
    pub(crate) fn waits(&self) -> (u64, Duration) {
        let waited = Duration::from_nanos(self.waited_nanoseconds.load(Ordering::Relaxed));
        (self.waits.load(Ordering::Relaxed), waited)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use base::clock::ManualClock;

    use super::*;

    #[test]
    fn nobody_waits_without_debt() {
        let pacer = Pacer::new(64 << 20, 2 << 20, Duration::from_millis(1));
        let clock = ManualClock::new(0);
        for _ in 0..1_000 {
            pacer.admit(1 << 20, &clock);
        }
        assert_eq!(pacer.waits().0, 0);
    }

    #[test]
    fn the_rate_falls_with_the_debt_and_writers_wait_for_their_slots() {
        let pacer = Pacer::new(64 << 20, 2 << 20, Duration::from_millis(1));
        let clock = ManualClock::new(1);
        pacer.set_debt(Some(1_000));
        pacer.admit(1 << 20, &clock);
        assert_eq!(pacer.waits().0, 0, "the first slot is now");
        pacer.admit(1, &clock);
        assert_eq!(pacer.waits().0, 1, "the second comes half a second later");
        clock.advance(Duration::from_secs(10));
        pacer.admit(1, &clock);
        assert_eq!(pacer.waits().0, 1, "time unused is not saved up");
    }
    #[test]
    fn what_is_owed_is_let_off_beyond_a_tenth_of_a_second() {
        let pacer = Pacer::new(64 << 20, 1 << 20, Duration::from_millis(1));
        let clock = ManualClock::new(1);
        pacer.set_debt(Some(1_000));
        (0..100).for_each(|_| pacer.admit(1 << 20, &clock));
        clock.advance(Duration::from_millis(100));
        let before = pacer.waits().0;
        pacer.admit(1, &clock);
        assert_eq!(pacer.waits().0, before);
    }
}
