//! What one read of a keyspace sees: its memtables, its tables and the value log's segments, pinned together.
//!
//! Invariants
//! 1. A super-version is built under the store's install lock, from the current parts; no part is ever newer than what
//!    the others need: segments that a table or memtable points into are in its set.
//! 2. A pointer found in a memtable is looked up in that memtable's own segments, which the committer adds before it
//!    inserts the entry: the active memtable may point into segments that came after the super-version was built.
//! 3. An immutable memtable leaves only together with the arrival of the tables that hold its entries.

use std::sync::Arc;

use arc_swap::ArcSwap;
use base::clock::Clock;
use base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use base::{LogNumber, ValuePointer, Version};
use bytes::Bytes;
use lsm_levels::{Lookup, TreeVersion};
use memtable::Memtable;
use vlog::{ReadAhead, Segment, SegmentSet};

use crate::{Error, ErrorKind, Result};

/// A memtable with what it needs to be flushed and read.
#[derive(Debug)]
pub(crate) struct MemtableHandle {
    pub(crate) table: Memtable,
    /// The oldest log that may hold an entry of this memtable.
    log: AtomicU64,
    segments: ArcSwap<SegmentSet>,
}

impl MemtableHandle {
    pub(crate) fn new(capacity_bytes: usize, log: LogNumber, segments: Arc<SegmentSet>) -> Self {
        let table = Memtable::new(capacity_bytes);
        Self { table, log: AtomicU64::new(log.0), segments: ArcSwap::new(segments) }
    }

    /// The oldest log that may hold an entry of this memtable.
    pub(crate) fn log(&self) -> LogNumber {
        LogNumber(self.log.load(Ordering::Acquire))
    }

    /// Whether it holds an entry, or a commit has room in it.
    pub(crate) fn is_in_use(&self) -> bool {
        !self.table.is_empty() || !self.table.is_idle()
    }

    /// Keeps `segments` alive for as long as this memtable, before an entry that points into them is inserted, or in the
    /// place of an older set. A newer one stays: whoever rolls and whoever collects may meet here.
    pub(crate) fn hold_segments(&self, segments: &Arc<SegmentSet>) {
        if segments.is_newer_than(&self.segments.load()) {
            self.segments.rcu(|held| Arc::clone(if segments.is_newer_than(held) { segments } else { held }));
        }
    }

    pub(crate) fn segments(&self) -> Arc<SegmentSet> {
        self.segments.load_full()
    }
}

/// An immutable view of a keyspace. Its active memtable still grows, beyond what any reader of the view looks for.
#[derive(Debug)]
pub(crate) struct SuperVersion {
    pub(crate) active: Arc<MemtableHandle>,
    /// Newest first.
    pub(crate) immutables: Vec<Arc<MemtableHandle>>,
    pub(crate) version: Arc<TreeVersion>,
    pub(crate) segments: Arc<SegmentSet>,
    /// Whether every version in a newer source is newer than all versions of that key in older ones.
    pub(crate) ordered: bool,
}

impl SuperVersion {
    pub(crate) fn memtables(&self) -> impl Iterator<Item = &Arc<MemtableHandle>> {
        std::iter::once(&self.active).chain(&self.immutables)
    }

    /// The oldest log that the keyspace needs.
    pub(crate) fn oldest_log(&self) -> LogNumber {
        self.memtables().map(|memtable| memtable.log()).min().unwrap_or_default()
    }

    /// Where nothing waits to be flushed, the keyspace needs no log before `log` any more: the oldest log that it needs
    /// from now on. Requires: the commit lock.
    pub(crate) fn move_if_idle(&self, log: LogNumber) -> Option<LogNumber> {
        let is_idle = self.immutables.is_empty() && !self.active.is_in_use();
        is_idle.then(|| LogNumber(self.active.log.fetch_max(log.0, Ordering::AcqRel).max(log.0)))
    }

    /// The parts of this view, for one that differs in some of them.
    pub(crate) fn parts(&self) -> Self {
        Self {
            active: Arc::clone(&self.active),
            immutables: self.immutables.clone(),
            version: Arc::clone(&self.version),
            segments: Arc::clone(&self.segments),
            ordered: self.ordered,
        }
    }

    /// Finds the newest version of `user_key` at or below `read` and hands its encoded entry to `found`, with the
    /// memtable that it was found in, if it was.
    pub(crate) fn get<R>(
        &self,
        user_key: &[u8],
        read: Version,
        found: impl FnOnce(Version, &[u8], Option<&MemtableHandle>) -> Result<R>,
    ) -> Result<Option<R>> {
        let mut best: Option<(Version, &[u8], &MemtableHandle)> = None;
        for memtable in self.memtables() {
            if let Some((version, entry)) = memtable.table.get(user_key, read) {
                if self.ordered {
                    return found(version, entry, Some(memtable)).map(Some);
                }
                if best.is_none_or(|(best_version, ..)| version > best_version) {
                    best = Some((version, entry, memtable));
                }
            }
        }
        let mut found = Some(found);
        let newer_than = best.map(|(version, ..)| version);
        let (hash, ordered) = (base::key_hash(user_key), self.ordered);
        let lookup = Lookup { user_key, hash, read_version: read, ordered, newer_than };
        let in_tables =
            self.version.get(&lookup, |version, entry| found.take().map(|found| found(version, entry, None)))?;
        match (in_tables.flatten(), best, found) {
            (Some(result), ..) => result.map(Some),
            (None, Some((version, entry, memtable)), Some(found)) => found(version, entry, Some(memtable)).map(Some),
            (None, ..) => Ok(None),
        }
    }
}

/// The segment sets in which the pointers of one view are looked up. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct PinnedSegments(Arc<Pinned>);

#[derive(Debug)]
struct Pinned {
    sets: Vec<Arc<SegmentSet>>,
    /// Whether a value was read through it.
    was_read: AtomicBool,
}

impl PinnedSegments {
    /// The segments of a pinned view: those of its tables, then those of its memtables.
    pub(crate) fn of(view: &SuperVersion) -> Self {
        let mut sets = vec![Arc::clone(&view.segments)];
        for memtable in view.memtables() {
            let segments = memtable.segments();
            if !sets.iter().any(|known| Arc::ptr_eq(known, &segments)) {
                sets.push(segments);
            }
        }
        Self::new(sets)
    }

    pub(crate) fn only(segments: Arc<SegmentSet>) -> Self {
        Self::new(vec![segments])
    }

    fn new(sets: Vec<Arc<SegmentSet>>) -> Self {
        Self(Arc::new(Pinned { sets, was_read: AtomicBool::new(false) }))
    }

    /// Whether a value was read through this or a clone since [`set_was_read`](Self::set_was_read) said otherwise.
    pub(crate) fn was_read(&self) -> bool {
        self.0.was_read.load(Ordering::Relaxed)
    }

    pub(crate) fn set_was_read(&self, was_read: bool) {
        if self.was_read() != was_read {
            self.0.was_read.store(was_read, Ordering::Relaxed);
        }
    }

    /// Reads the value behind a pointer, from what was read ahead if it is there.
    pub(crate) fn read(&self, pointer: ValuePointer, ahead: Option<&ReadAhead>) -> Result<Bytes> {
        self.set_was_read(true);
        match self.holder(pointer) {
            Some(segment) => Ok(segment.read_near(pointer, ahead)?),
            None => Err(self.missing(pointer)),
        }
    }

    /// Hands the value behind a pointer to `f`, without a copy where that can be.
    pub(crate) fn read_with<R>(
        &self,
        pointer: ValuePointer,
        ahead: Option<&ReadAhead>,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<R> {
        self.set_was_read(true);
        match self.holder(pointer) {
            Some(segment) => Ok(segment.read_with(pointer, ahead, f)?),
            None => Err(self.missing(pointer)),
        }
    }

    /// Brings the values behind pointers near.
    pub(crate) fn read_ahead(
        &self,
        pointers: impl Iterator<Item = ValuePointer>,
        was_slow: bool,
        clock: &dyn Clock,
    ) -> ReadAhead {
        let records = pointers.filter_map(|pointer| Some((&**self.holder(pointer)?, pointer)));
        ReadAhead::fetch(records, was_slow, clock)
    }

    fn holder(&self, pointer: ValuePointer) -> Option<&Arc<Segment>> {
        self.0.sets.iter().find_map(|set| set.holder(pointer.segment))
    }

    #[cold]
    fn missing(&self, pointer: ValuePointer) -> Error {
        let read = self.0.sets.first().map(|set| set.read(pointer));
        match read {
            Some(Err(error)) => error.into(),
            _ => Error::new(ErrorKind::Internal, "a view without segments"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::Options;

    #[test]
    fn a_newer_set_of_segments_never_gives_way_to_an_older_one() {
        let db = Options::new().value_log_file_size(64 << 10).inline_background().open_in_memory().unwrap();
        let older = db.handle.value_log.segments();
        (0..3).for_each(|key| db.insert(format!("{key}"), vec![0; 50_000]).unwrap());
        let newer = db.handle.value_log.segments();
        let memtable = Arc::clone(&db.handle.default_keyspace.pin().active);
        for set in [&newer, &older] {
            memtable.hold_segments(set);
            assert!(Arc::ptr_eq(&memtable.segments(), &newer));
        }
    }
}
