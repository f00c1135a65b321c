//! How many bytes of a memtable are spoken for, and by how many running reservations, in one atomic word.
//!
//! Invariants
//! 1. No reservation takes the bytes spoken for past the capacity: they are those of finished inserts plus those that
//!    running reservations may still use. What the index takes is charged as it grows and may pass it.
//! 2. Whoever sees no running reservation sees everything that the finished ones inserted.
//!
//! Called by the memtable and its reservations only.

use base::sync::atomic::{AtomicU64, Ordering};

use crate::Full;

const BYTES_BITS: u32 = 33;
const BYTES_MASK: u64 = (1 << BYTES_BITS) - 1;
const ONE_PENDING: u64 = 1 << BYTES_BITS;

/// Bytes spoken for (low 33 bits) and running reservations (the other 31).
#[derive(Debug)]
pub(crate) struct Budget {
    word: AtomicU64,
    capacity_bytes: u64,
}

impl Budget {
    /// Nothing is spoken for. Requires: a capacity that fits 32 bits.
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        Self { word: AtomicU64::new(0), capacity_bytes: capacity_bytes as u64 }
    }

    /// Speaks for `bytes` and counts one running reservation, or changes nothing.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<(), Full> {
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            let available = self.capacity_bytes.saturating_sub(seen & BYTES_MASK);
            let no_count_left = seen >= u64::MAX - BYTES_MASK;
            if bytes as u64 > available || no_count_left {
                return Err(Full { requested_bytes: bytes, available_bytes: available as usize });
            }
            let reserved = seen + ONE_PENDING + bytes as u64;
            // A read-modify-write: it keeps the chain of releases that `pending` acquires unbroken.
            match self.word.compare_exchange_weak(seen, reserved, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => seen = now,
            }
        }
    }

    /// Ends a reservation and gives back what it did not use. Requires: as much was reserved.
    pub(crate) fn finish(&self, unused_bytes: usize) {
        self.word.fetch_sub(ONE_PENDING + unused_bytes as u64, Ordering::Release);
    }

    /// Counts bytes that are in use and that nobody reserved, even beyond the capacity.
    pub(crate) fn charge(&self, bytes: usize) {
        self.word.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Number of running reservations.
    pub(crate) fn pending(&self) -> usize {
        (self.word.load(Ordering::Acquire) >> BYTES_BITS) as usize
    }

    /// Bytes spoken for.
    #[cfg(test)]
    pub(crate) fn reserved_bytes(&self) -> usize {
        (self.word.load(Ordering::Relaxed) & BYTES_MASK) as usize
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_refused_reservation_changes_nothing() {
        let budget = Budget::new(100);
        budget.reserve(60).unwrap();
        let full = budget.reserve(41).unwrap_err();
        assert_eq!((full.requested_bytes, full.available_bytes), (41, 40));
        assert_eq!((budget.reserved_bytes(), budget.pending()), (60, 1));
        budget.reserve(40).unwrap();
        budget.finish(60);
        budget.finish(10);
        assert_eq!((budget.reserved_bytes(), budget.pending()), (30, 0));
    }

    #[test]
    fn the_largest_request_does_not_overflow() {
        let budget = Budget::new(u32::MAX as usize);
        budget.reserve(u32::MAX as usize).unwrap();
        assert!(budget.reserve(usize::MAX).is_err());
        budget.reserve(0).unwrap();
        assert_eq!(budget.pending(), 2);
    }
}
