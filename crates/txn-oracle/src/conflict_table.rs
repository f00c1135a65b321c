//! The quick filter of reads: which keys may have a version above a transaction's read version.
//!
//! A fixed table, slot = fingerprint, content = the newest version of any key that hashes there. It answers "surely not"
//! or "perhaps"; a "perhaps" is settled in the tree, so that an unrelated key never aborts a transaction. Nothing is ever
//! cleaned up: versions only grow, and a full table is one that says "perhaps" more often.
//!
//! Invariants
//! 1. Every commit at or below the visible watermark that has written a key either left a version at least its own in
//!    the key's slot, or left its range in the list, or raised `unrecorded` (or the list's `forgotten`) to at least its
//!    own version. The watermark publishes these stores, so they need no ordering of their own; readers load it first.
//! 2. Only the holder of the commit order writes.
//!
//! Written by `CommitOrder`, read by `Validation` in transactions' own threads.

use std::collections::VecDeque;

use base::sync::atomic::{AtomicU64, Ordering};
use base::sync::{Arc, Mutex};
use base::{KeyspaceId, Version};

use crate::read_set::{KeyRange, PointRead};

/// Range deletions kept; a transaction that began before older ones looks every read up instead.
const RANGES_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct ConflictTable {
    slots: Box<[AtomicU64]>,
    slot_mask: u64,
    /// Commits up to this version may have left nothing else here.
    unrecorded: AtomicU64,
    /// The newest range deletion, so that most readers never take the lock.
    newest_range: AtomicU64,
    ranges: Mutex<RangeWrites>,
}

#[derive(Debug, Default)]
struct RangeWrites {
    /// Ranges up to this version are not in the list any more.
    forgotten: Version,
    /// Ascending by version.
    list: VecDeque<Arc<RangeWrite>>,
}

impl RangeWrites {
    fn push(&mut self, written: RangeWrite) {
        if self.list.len() >= RANGES_MAX
            && let Some(oldest) = self.list.pop_front()
        {
            self.forgotten = oldest.version;
        }
        self.list.push_back(Arc::new(written));
    }
}

/// A deleted range.
#[derive(Debug)]
pub(crate) struct RangeWrite {
    version: Version,
    keyspace: KeyspaceId,
    start: Box<[u8]>,
    end: Option<Box<[u8]>>,
}

impl RangeWrite {
    fn covers(&self, point: &PointRead<'_>) -> bool {
        let range = KeyRange { keyspace: self.keyspace, start: &self.start, end: self.end.as_deref() };
        self.keyspace == point.keyspace && range.contains(point.key)
    }
}

impl ConflictTable {
    /// `slots` is a power of two.
    pub(crate) fn new(slots: usize) -> Self {
        debug_assert!(slots.is_power_of_two());
        Self {
            slots: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            slot_mask: slots as u64 - 1,
            unrecorded: AtomicU64::new(0),
            newest_range: AtomicU64::new(0),
            ranges: Mutex::new(RangeWrites::default()),
        }
    }

    #[inline]
    pub(crate) fn record_key(&self, fingerprint: u64, version: Version) {
        if let Some(slot) = self.slot(fingerprint) {
            // A maximum: one writer at a time, and no version below an earlier one.
            slot.store(version, Ordering::Relaxed);
        }
    }

    pub(crate) fn record_range(&self, range: KeyRange<'_>, version: Version) {
        let written =
            RangeWrite { version, keyspace: range.keyspace, start: range.start.into(), end: range.end.map(Box::from) };
        self.ranges.lock().push(written);
        self.newest_range.store(version, Ordering::Relaxed);
    }

    /// The commit of `version` leaves nothing in the table: transactions that began before it look every read up.
    #[inline]
    pub(crate) fn raise_unrecorded(&self, version: Version) {
        self.unrecorded.store(version, Ordering::Relaxed);
    }

    /// What a transaction must look at again. The caller has loaded the visible watermark before.
    pub(crate) fn filter(&self, read_version: Version) -> Filter {
        if read_version < self.unrecorded.load(Ordering::Relaxed) {
            return Filter { read_version, suspects_all: true, ranges: Vec::new() };
        }
        if read_version >= self.newest_range.load(Ordering::Relaxed) {
            return Filter { read_version, suspects_all: false, ranges: Vec::new() };
        }
        let ranges = self.ranges.lock();
        let first = ranges.list.partition_point(|range| range.version <= read_version);
        Filter {
            read_version,
            suspects_all: read_version < ranges.forgotten,
            ranges: ranges.list.iter().skip(first).map(Arc::clone).collect(),
        }
    }

    /// Whether a read may have a newer version.
    #[inline]
    pub(crate) fn suspects(&self, filter: &Filter, point: &PointRead<'_>) -> bool {
        filter.suspects_all
            || self.slot(point.fingerprint).is_none_or(|slot| slot.load(Ordering::Relaxed) > filter.read_version)
            || filter.ranges.iter().any(|range| range.covers(point))
    }

    #[inline]
    fn slot(&self, fingerprint: u64) -> Option<&AtomicU64> {
        self.slots.get((fingerprint & self.slot_mask) as usize)
    }
}

/// What one transaction compares its reads with.
#[derive(Debug)]
pub(crate) struct Filter {
    read_version: Version,
    suspects_all: bool,
    ranges: Vec<Arc<RangeWrite>>,
}
