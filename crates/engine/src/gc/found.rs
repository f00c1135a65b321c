//! How much garbage the value log holds: what is known exactly, and what is only surmised.
//!
//! A value is known to be dead once a flush or a compaction has dropped its entry. Until then a newer write hides it in a
//! memtable or a level above. How much that is, is estimated: of every few writes one looks at what it hides. The
//! estimate guides when the tree is told to find garbage, and never what is collected.

use std::collections::BTreeMap;

use base::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use base::sync::{Mutex, MutexGuard};
use base::{SegmentId, Version};

use crate::gc::GcEvent;
use crate::gc::surmised::Surmised;

/// What is known of garbage and of its collection, for as long as the store is open.
#[derive(Debug, Default)]
pub(crate) struct Garbage {
    /// Held by whoever collects.
    turn: Mutex<()>,
    paused: AtomicU64,
    search: Mutex<Search>,
    unlinked: AtomicUsize,
    /// Whether there is a value log to speak of, so that writes are worth a look.
    sampling: AtomicBool,
    /// Bytes of records that newer writes hide, by the samples, and that no flush or compaction has found yet.
    surmised: Mutex<Surmised>,
    /// Segments that cannot be collected as they are damaged, and what is wrong with them.
    damaged: Mutex<BTreeMap<SegmentId, String>>,
    /// What happened where nobody could be told.
    untold: Mutex<Vec<GcEvent>>,
}

/// Whether the tree is to find garbage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Search {
    #[default]
    NotWanted,
    Wanted,
    Running,
}

/// A search that is under way, until it is dropped.
pub(crate) struct SearchTurn<'a>(&'a Garbage);

impl Drop for SearchTurn<'_> {
    fn drop(&mut self) {
        *self.0.search.lock() = Search::NotWanted;
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

    /// The write of version `by` hides about `bytes`. Returns what was surmised before.
    pub(crate) fn note_hidden(&self, by: Version, bytes: u64) -> u64 {
        let mut surmised = self.surmised.lock();
        let before = surmised.total();
        surmised.hide(by, bytes);
        before
    }

    /// Records of this many bytes are known to be dead: they need not be surmised any more.
    pub(crate) fn note_found(&self, bytes: u64) {
        self.surmised.lock().found(bytes);
    }

    /// A search that began when every reader saw `discard` has ended.
    pub(crate) fn note_searched(&self, discard: Version) {
        self.surmised.lock().searched(discard);
    }

    /// Bytes of garbage that are not known yet, by the samples.
    pub(crate) fn surmised_bytes(&self) -> u64 {
        self.surmised.lock().total()
    }

    /// The part of that which a search could find, now that every reader sees `discard`.
    pub(crate) fn findable_bytes(&self, discard: Version) -> u64 {
        self.surmised.lock().findable(discard)
    }

    /// The files of so many segments were removed, of which nobody was told yet.
    pub(crate) fn note_unlinked(&self, segments: usize) {
        self.unlinked.fetch_add(segments, Ordering::Relaxed);
    }

    pub(crate) fn take_unlinked(&self) -> usize {
        self.unlinked.swap(0, Ordering::Relaxed)
    }

    /// `false` if that was known.
    pub(crate) fn note_damaged(&self, segment: SegmentId, cause: &str) -> bool {
        self.damaged.lock().insert(segment, cause.to_owned()).is_none()
    }

    /// What was wrong with a segment is mended.
    pub(crate) fn note_mended(&self, segment: SegmentId) {
        self.damaged.lock().remove(&segment);
    }

    /// Keeps an event for the collector to tell: a listener may do what waits for whoever is here.
    pub(crate) fn tell_later(&self, event: GcEvent) {
        self.untold.lock().push(event);
    }

    pub(crate) fn take_untold(&self) -> Vec<GcEvent> {
        std::mem::take(&mut *self.untold.lock())
    }

    pub(crate) fn damaged(&self) -> BTreeMap<SegmentId, String> {
        self.damaged.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(garbage.begin_search().is_none() && garbage.ask_for_search());
    }
}
