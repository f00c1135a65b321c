//! The pace of collection: it follows the writers, so that it takes no more of the machine than it takes to keep up.

use std::time::Duration;

use base::clock::Clock;
use base::sync::{Condvar, Mutex};

/// How fast writers write large values, and how fast collection goes.
#[derive(Debug, Default)]
pub(crate) struct GcPace {
    state: Mutex<PaceState>,
    never: Condvar,
}

#[derive(Debug, Default)]
struct PaceState {
    /// Bytes written when last looked, and when that was.
    written: u64,
    at: Duration,
    per_second: f64,
    /// When the next piece is to be copied.
    next_piece: Duration,
}

/// The rate of writers is taken over this time.
const RATE_WINDOW: Duration = Duration::from_millis(100);
/// Less is not waited for, and no more at a time.
const WAIT_MIN: Duration = Duration::from_micros(200);
const WAIT_MAX: Duration = Duration::from_millis(50);

impl GcPace {
    /// Bytes a second that were written of late, out of `written` since the store was opened.
    pub(crate) fn written_per_second(&self, written: u64, clock: &dyn Clock) -> f64 {
        let now = clock.monotonic();
        let mut state = self.state.lock();
        let passed = now.saturating_sub(state.at);
        if passed >= RATE_WINDOW {
            state.per_second = written.saturating_sub(state.written) as f64 / passed.as_secs_f64();
            (state.written, state.at) = (written, now);
        }
        state.per_second
    }

    /// `bytes` were just copied: until that has taken as long as it should at `rate` bytes a second, there is a wait.
    pub(crate) fn copied(&self, bytes: u64, rate: f64, clock: &dyn Clock) {
        let now = clock.monotonic();
        let mut state = self.state.lock();
        state.next_piece = state.next_piece.max(now) + Duration::from_secs_f64(bytes as f64 / rate);
    }

    /// Waits, but not so long that nobody could be heard; `false` once there is nothing to wait for.
    pub(crate) fn wait_a_while(&self, clock: &dyn Clock) -> bool {
        let mut state = self.state.lock();
        let ahead = state.next_piece.saturating_sub(clock.monotonic());
        if ahead <= WAIT_MIN {
            return false;
        }
        let _ = self.never.wait_for(&mut state, ahead.min(WAIT_MAX));
        true
    }
}

#[cfg(test)]
mod tests {
    use base::clock::ManualClock;

    use super::*;

    #[test]
    fn copying_takes_as_long_as_it_should_however_slow_that_is() {
        let (pace, clock) = (GcPace::default(), ManualClock::new(0));
        pace.copied(10 << 20, f64::from(1 << 20), &clock);
        assert!(pace.wait_a_while(&clock), "ten seconds are still to pass");
        clock.advance(Duration::from_secs(9));
        assert!(pace.wait_a_while(&clock));
        clock.advance(Duration::from_secs(1));
        assert!(!pace.wait_a_while(&clock));
    }
}
