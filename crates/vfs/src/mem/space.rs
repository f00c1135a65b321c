//! How much a file system in memory holds, and how much it may.

use base::sync::atomic::{AtomicU64, Ordering};

/// Counts the lengths of all files.
#[derive(Debug)]
pub(super) struct Space {
    capacity: AtomicU64,
    used: AtomicU64,
}

impl Space {
    pub(super) fn new(capacity: u64) -> Self {
        Self { capacity: AtomicU64::new(capacity), used: AtomicU64::new(0) }
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    pub(super) fn set_capacity(&self, capacity: u64) {
        self.capacity.store(capacity, Ordering::Relaxed);
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn available(&self) -> u64 {
        self.capacity().saturating_sub(self.used())
    }

    /// Takes all of `bytes`, or none and says no.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let capacity = self.capacity();
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|&used| used <= capacity || bytes == 0)
            })
            .is_ok()
    }

    /// Takes without a limit: what is there already.
    pub(super) fn count(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}
