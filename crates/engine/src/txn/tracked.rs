//! What a transaction read, noted while it reads.

use std::ops::Bound;

use base::KeyspaceId;
use base::sync::Mutex;
use txn_oracle::{ReadSet, SealedReads};

use crate::Isolation;
use crate::read::Bounds;

/// The read set of an open transaction. Reads take `&self`, so it has a lock, which nobody else ever holds for long.
#[derive(Debug)]
pub(crate) struct ReadTracker {
    isolation: Isolation,
    reads: Mutex<Reads>,
}

#[derive(Debug, Default)]
struct Reads {
    reads: ReadSet,
    /// Keys that count whether they are written or not.
    for_update: ReadSet,
}

impl ReadTracker {
    pub(crate) fn new(isolation: Isolation) -> Self {
        Self { isolation, reads: Mutex::new(Reads::default()) }
    }

    pub(crate) fn add_point(&self, keyspace: KeyspaceId, key: &[u8]) {
        self.reads.lock().reads.add_point(keyspace, key);
    }

    pub(crate) fn add_for_update(&self, keyspace: KeyspaceId, key: &[u8]) {
        self.reads.lock().for_update.add_point(keyspace, key);
    }

    /// A range in which nobody may have put anything; weaker isolations note keys as they are met instead.
    pub(crate) fn add_range(&self, keyspace: KeyspaceId, bounds: &Bounds) {
        let upper = bounds.upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.note_range(keyspace, Bound::Included(&bounds.lower), upper);
    }

    fn note_range(&self, keyspace: KeyspaceId, lower: Bound<&[u8]>, upper: Bound<&[u8]>) {
        if self.isolation == Isolation::Serializable {
            self.reads.lock().reads.add_range(keyspace, lower, upper);
        }
    }

    /// A key that a walk came to.
    pub(crate) fn met(&self, keyspace: KeyspaceId, user_key: &[u8]) {
        if self.isolation != Isolation::Serializable {
            self.add_point(keyspace, user_key);
        }
    }

    /// Begins a walk of which only what is passed counts as read.
    pub(crate) fn begin_range(&self, keyspace: KeyspaceId, bounds: Bounds) -> TrackedRange<'_> {
        TrackedRange { tracker: self, keyspace, bounds, low: None, high: None, exhausted: false }
    }

    /// What counts at the commit. Under [`Isolation::Snapshot`] a key that was read counts if it `is_written` too.
    pub(crate) fn that_count(&self, is_written: impl Fn(KeyspaceId, &[u8]) -> bool) -> SealedReads {
        let Reads { reads, mut for_update } = std::mem::take(&mut *self.reads.lock());
        if self.isolation == Isolation::Unchecked {
            return ReadSet::new().seal();
        }
        let reads = reads.seal();
        if self.isolation != Isolation::Snapshot && for_update.is_empty() {
            return reads;
        }
        for point in reads.points() {
            if self.isolation != Isolation::Snapshot || is_written(point.keyspace, point.key) {
                for_update.add_point(point.keyspace, point.key);
            }
        }
        for range in reads.ranges() {
            let upper = range.end.map_or(Bound::Unbounded, Bound::Excluded);
            for_update.add_range(range.keyspace, Bound::Included(range.start), upper);
        }
        for_update.seal()
    }
}

/// How far a walk has come from both ends; noted as read when it is dropped.
#[derive(Debug)]
pub(crate) struct TrackedRange<'a> {
    tracker: &'a ReadTracker,
    keyspace: KeyspaceId,
    bounds: Bounds,
    /// The last key given from the low end, and from the high end.
    low: Option<Vec<u8>>,
    high: Option<Vec<u8>>,
    exhausted: bool,
}

impl TrackedRange<'_> {
    pub(crate) fn reached(&mut self, user_key: &[u8], from_high: bool) {
        self.tracker.met(self.keyspace, user_key);
        let end = if from_high { &mut self.high } else { &mut self.low };
        let key = end.get_or_insert_default();
        key.clear();
        key.extend_from_slice(user_key);
    }

    /// The walk came to an end: all keys within the bounds were looked at, those that are not there included.
    pub(crate) fn exhausted(&mut self) {
        self.exhausted = true;
    }
}

impl Drop for TrackedRange<'_> {
    fn drop(&mut self) {
        if self.exhausted {
            self.tracker.add_range(self.keyspace, &self.bounds);
            return;
        }
        if let Some(low) = &self.low {
            self.tracker.note_range(self.keyspace, Bound::Included(&self.bounds.lower), Bound::Included(low));
        }
        if let Some(high) = &self.high {
            let upper = self.bounds.upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            self.tracker.note_range(self.keyspace, Bound::Included(high), upper);
        }
    }
}
