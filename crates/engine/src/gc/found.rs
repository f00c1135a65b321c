//! How much garbage the value log holds: what is known exactly, and what is only surmised.
//!
//! A value is known to be dead once a flush or a compaction has dropped its entry. Until then a newer write hides it in a
//! memtable or a level above. How much that is, is estimated: of every few writes one looks at what it hides. The
//! estimate guides when the tree is told to find garbage, and never what is collected.

use std::collections::BTreeMap;

use base::SegmentId;
use base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use base::sync::{Mutex, MutexGuard};

/// What is known of garbage and of its collection, for as long as the store is open.
#[derive(Debug, Default)]
pub(crate) struct Garbage {
    /// Held by whoever collects.
    turn: Mutex<()>,
    paused: AtomicU64,
    /// Whether there is a value log to speak of, so that writes are worth a look.
    sampling: AtomicBool,
    /// Bytes of records that newer writes hide, by the samples, and that no flush or compaction has found yet.
    surmised_bytes: AtomicU64,
    /// Segments that cannot be collected as they are damaged, and what is wrong with them.
    damaged: Mutex<BTreeMap<SegmentId, String>>,
}

impl Garbage {
    /// The turn, unless another has it.
    pub(crate) fn take_turn(&self) -> Option<MutexGuard<'_, ()>> {
        self.turn.try_lock()
    }

    /// Waits until whoever has the turn has ended. Who takes it afterwards sees all that was done before this.
    pub(crate) fn wait_for_turn(&self) {
        drop(self.turn.lock());
    }

    pub(crate) fn is_running(&self) -> bool {
        self.turn.is_locked()
    }

    pub(crate) fn pause(&self) {
        self.paused.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn resume(&self) {
        self.paused.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire) > 0
    }

    /// From now on there are values that writes may hide.
    pub(crate) fn begin_sampling(&self) {
        if !self.sampling.load(Ordering::Relaxed) {
            self.sampling.store(true, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn is_sampling(&self) -> bool {
        self.sampling.load(Ordering::Relaxed)
    }

    /// Writes hide about this many bytes more. Returns what was surmised before.
    pub(crate) fn note_hidden(&self, bytes: u64) -> u64 {
        self.surmised_bytes.fetch_add(bytes, Ordering::Relaxed)
    }

    /// Records of this many bytes are known to be dead, or to be kept by a reader: they need not be surmised any more.
    pub(crate) fn note_found(&self, bytes: u64) {
        let less = |surmised: u64| Some(surmised.saturating_sub(bytes));
        // Never refused: there is always less.
        let _ = self.surmised_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Bytes of garbage that are not known yet, by the samples.
    pub(crate) fn surmised_bytes(&self) -> u64 {
        self.surmised_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn note_damaged(&self, segment: SegmentId, cause: &str) {
        self.damaged.lock().insert(segment, cause.to_owned());
    }

    pub(crate) fn damaged(&self) -> BTreeMap<SegmentId, String> {
        self.damaged.lock().clone()
    }
}
