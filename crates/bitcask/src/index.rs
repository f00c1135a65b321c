//! The keydir with what it says of each file: how much of it is alive.
//!
//! Invariant: the counts of a segment are those of the keydir's entries that point into it.

use std::collections::BTreeMap;

use base::{SegmentId, ValuePointer};

use crate::keydir::{Batch, Keydir, KeydirEntry, Offer};

/// What is alive of the records with addresses in one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// All of it has expired from then on, in seconds since the Unix epoch; `None` where some of it never does.
    pub(crate) expired_from: Option<u64>,
}

/// The keydir and its counts.
#[derive(Debug)]
pub(crate) struct Index<K> {
    pub(crate) keydir: K,
    live: BTreeMap<SegmentId, Live>,
}

impl<K: Keydir> Index<K> {
    pub(crate) fn new(seed: u64) -> Self {
        Self { keydir: K::new(seed), live: BTreeMap::new() }
    }

    /// Puts the entry there, unless there is one that is at least as new.
    pub(crate) fn offer(&mut self, key: &[u8], entry: KeydirEntry) {
        let offer = self.keydir.offer(key, entry);
        note(&mut self.live, &entry, offer);
    }

    /// Offers many at once.
    pub(crate) fn offer_all(&mut self, batch: &Batch) {
        let live = &mut self.live;
        self.keydir.offer_all(batch, |entry, offer| note(live, entry, offer));
    }

    /// Takes a key out.
    pub(crate) fn remove(&mut self, key: &[u8]) {
        if let Some(old) = self.keydir.remove(key) {
            forget(&mut self.live, &old);
        }
    }

    /// Takes a key out if its entry is still this one.
    pub(crate) fn remove_if_at(&mut self, key: &[u8], pointer: ValuePointer) {
        if self.keydir.find(key).is_some_and(|entry| entry.pointer == pointer) {
            self.remove(key);
        }
    }

    /// What is alive, by the segment that addresses name.
    pub(crate) fn live(&self) -> &BTreeMap<SegmentId, Live> {
        &self.live
    }
}

/// Counts what became of an entry.
#[inline]
fn note(live: &mut BTreeMap<SegmentId, Live>, entry: &KeydirEntry, offer: Offer) {
    match offer {
        Offer::Refused => return,
        Offer::Replaced(old) => forget(live, &old),
        Offer::Added => {}
    }
    let live = live.entry(entry.pointer.segment).or_default();
    // A bound from above: an entry that goes again does not lower it.
    let expired_from = match (live.records, live.expired_from, entry.expires_at) {
        (_, _, 0) => None,
        (0, _, at) => Some(at),
        (_, before, at) => before.map(|before| before.max(at)),
    };
    *live = Live { records: live.records + 1, bytes: live.bytes + u64::from(entry.pointer.len), expired_from };
}

fn forget(live: &mut BTreeMap<SegmentId, Live>, old: &KeydirEntry) {
    let segment = old.pointer.segment;
    let Some(of) = live.get_mut(&segment) else { return };
    of.records = of.records.saturating_sub(1);
    of.bytes = of.bytes.saturating_sub(u64::from(old.pointer.len));
    if of.records == 0 {
        live.remove(&segment);
    }
}
