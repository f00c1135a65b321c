//! A latch that keeps the first cause given to it.
//!
//! Invariant: once latched it stays latched, with the cause that came first.
//!
//! Used here for the poisoned order of commits; an engine uses it for its read-only state too.

use base::sync::Mutex;
use base::sync::atomic::{AtomicBool, Ordering};

/// Latches the first cause of a failure. Asking whether it is latched is one atomic load.
///
/// ```
/// let latch = txn_oracle::FirstCause::new();
/// assert!(latch.latch("disk full"));
/// assert!(!latch.latch("and then this"));
/// assert_eq!(latch.cause(), Some("disk full"));
/// ```
#[derive(Debug)]
pub struct FirstCause<T> {
    latched: AtomicBool,
    cause: Mutex<Option<T>>,
}

impl<T: Clone> FirstCause<T> {
    /// An open latch.
    #[must_use]
    pub fn new() -> Self {
        Self { latched: AtomicBool::new(false), cause: Mutex::new(None) }
    }

    /// Latches `cause`, unless there is one already; true if this one is kept.
    pub fn latch(&self, cause: T) -> bool {
        let mut kept = self.cause.lock();
        if kept.is_some() {
            return false;
        }
        *kept = Some(cause);
        self.latched.store(true, Ordering::Release);
        true
    }

    /// True once there is a cause.
    #[inline]
    pub fn is_latched(&self) -> bool {
        self.latched.load(Ordering::Acquire)
    }

    /// The first cause.
    pub fn cause(&self) -> Option<T> {
        if self.is_latched() { self.cause.lock().clone() } else { None }
    }
}

impl<T: Clone> Default for FirstCause<T> {
    fn default() -> Self {
        Self::new()
    }
}
