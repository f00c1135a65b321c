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
/// No piece waits longer.
const PIECE_WAIT_MAX: Duration = Duration::from_millis(50);

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

    /// Waits until `bytes` that were just copied have taken as long as they should at `rate` bytes a second.
    pub(crate) fn wait(&self, bytes: u64, rate: f64, clock: &dyn Clock) {
        let now = clock.monotonic();
        let mut state = self.state.lock();
        state.next_piece = state.next_piece.max(now) + Duration::from_secs_f64(bytes as f64 / rate);
        let ahead = state.next_piece.saturating_sub(now).min(PIECE_WAIT_MAX);
        if ahead > Duration::from_micros(200) {
            let _ = self.never.wait_for(&mut state, ahead);
        }
    }
}
