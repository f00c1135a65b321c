//! How much garbage the value log holds: what is known exactly, and what is only surmised.
//!
//! A value is known to be dead once a flush or a compaction has dropped its entry. Until then a newer write hides it in a
//! memtable or a level above. How much that is, is estimated: of every few writes one looks at what it hides. The
//! estimate guides when the tree is told to find garbage, and never what is collected.

use std::collections::BTreeMap;

use base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use base::sync::{Mutex, MutexGuard};
use base::{SegmentId, Version};

/// What is known of garbage and of its collection, for as long as the store is open.
#[derive(Debug, Default)]
pub(crate) struct Garbage {
    /// Held by whoever collects.
    turn: Mutex<()>,
    paused: AtomicU64,
    search: Mutex<Search>,
    /// Whether there is a value log to speak of, so that writes are worth a look.
    sampling: AtomicBool,
    /// Bytes of records that newer writes hide, by the samples, and that no flush or compaction has found yet.
    surmised_bytes: AtomicU64,
    last_search: Mutex<SearchedAt>,
    /// Segments that cannot be collected as they are damaged, and what is wrong with them.
    damaged: Mutex<BTreeMap<SegmentId, String>>,
}

/// How far a search could see.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SearchedAt {
    /// The newest commit that every reader saw.
    pub(crate) discard: Version,
    /// The newest commit.
    pub(crate) visible: Version,
}

/// Whether the tree is to find garbage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Search {
    #[default]
    NotWanted,
    Wanted,
    Running,
}

/// A search that is under way. Dropped before it has ended, it stays wanted.
pub(crate) struct SearchTurn<'a>(&'a Garbage);

impl SearchTurn<'_> {
    pub(crate) fn end(self) {
        *self.0.search.lock() = Search::NotWanted;
    }
}

impl Drop for SearchTurn<'_> {
    fn drop(&mut self) {
        let mut search = self.0.search.lock();
        if *search == Search::Running {
            *search = Search::Wanted;
        }
    }
}

impl Garbage {
    /// Asks for a search; `false` if one is wanted or running already.
    pub(crate) fn ask_for_search(&self) -> bool {
        let mut search = self.search.lock();
        let is_new = *search == Search::NotWanted;
        if is_new {
            *search = Search::Wanted;
        }
        is_new
    }

    /// The search that is asked for, unless collection is paused.
    pub(crate) fn begin_search(&self) -> Option<SearchTurn<'_>> {
        let mut search = self.search.lock();
        if *search != Search::Wanted || self.is_paused() {
            return None;
        }
        *search = Search::Running;
        Some(SearchTurn(self))
    }

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

    /// The part of that which a search could find now: nothing while a reader holds what the last one had to leave.
    pub(crate) fn findable_bytes(&self, discard: Version) -> u64 {
        if discard > self.last_search.lock().discard { self.surmised_bytes() } else { 0 }
    }

    /// A search has ended that began at `at`, when `surmised` bytes were, and that found `found`. What it did not find is not
    /// there, unless the oldest reader is older than the search before: then it is kept for that one.
    pub(crate) fn note_searched(&self, at: SearchedAt, surmised: u64, found: u64) {
        let before = std::mem::replace(&mut *self.last_search.lock(), at);
        if at.discard >= before.visible {
            self.note_found(surmised.saturating_sub(found));
        }
    }

    pub(crate) fn note_damaged(&self, segment: SegmentId, cause: &str) {
        self.damaged.lock().insert(segment, cause.to_owned());
    }

    pub(crate) fn damaged(&self) -> BTreeMap<SegmentId, String> {
        self.damaged.lock().clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_kept_from_a_search_is_searched_for_once_it_has_gone() {
        let garbage = Garbage::default();
        garbage.note_hidden(100);
        assert_eq!(garbage.findable_bytes(10), 100);
        // All readers are new: what was not found was never there.
        garbage.note_searched(SearchedAt { discard: 10, visible: 12 }, 100, 70);
        garbage.note_found(70);
        assert_eq!(garbage.surmised_bytes(), 0);
        // One has stayed since before that search.
        garbage.note_hidden(50);
        assert_eq!((garbage.findable_bytes(10), garbage.findable_bytes(11)), (0, 50));
        garbage.note_searched(SearchedAt { discard: 11, visible: 20 }, 50, 0);
        assert_eq!((garbage.findable_bytes(11), garbage.findable_bytes(21)), (0, 50));
    }

    #[test]
    fn a_search_is_asked_for_once_and_again_only_when_it_has_ended() {
        let garbage = Garbage::default();
        assert!(garbage.begin_search().is_none());
        assert!(garbage.ask_for_search() && !garbage.ask_for_search());
        garbage.pause();
        assert!(garbage.begin_search().is_none());
        garbage.resume();
        let search = garbage.begin_search();
        assert!(search.is_some() && garbage.begin_search().is_none() && !garbage.ask_for_search());
        drop(search);
        assert!(!garbage.ask_for_search(), "one that failed is tried again");
        garbage.begin_search().unwrap().end();
        assert!(garbage.begin_search().is_none() && garbage.ask_for_search());
    }
}
