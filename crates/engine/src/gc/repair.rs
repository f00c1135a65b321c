//! Compares what the value log takes for dead with what the tree points to, and mends what differs.
//!
//! Dead sets are exact by construction; this is for after a fault that no construction covers, such as a file that was
//! put back from elsewhere. A record is judged only if its entry, had it one, is known to be in a table by then: below the
//! head that the switch of all memtables noted, against views pinned after their flush. What was taken for dead is read
//! before those views are pinned, and again with what is announced after: a value that dies meanwhile is neither leaked nor
//! taken for dead too early.
//!
//! Memory is bounded: segments are compared a few million records at a time, each time with the tables that point to
//! them.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::sync::MutexGuard;
use base::{Cursor, EntryKind, EntryRef, PointerPayload, SegmentId, ValueLogHead, ValuePointer};
use sstable::CursorOptions;
use vlog::{DamagedDeaths, DeadSet, SegmentStatistics};

use crate::counters::add;
use crate::gc::{Gc, GcEvent};
use crate::read::{Source, bad_entry};
use crate::store::Store;
use crate::super_version::SuperVersion;
use crate::{Error, ErrorKind, Result};

/// Records compared at a time.
const RECORDS_AT_A_TIME: u64 = 4 << 20;

/// How dead sets and tree compare. From [`Gc::check`] and [`Gc::rebuild`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GarbageCheck {
    /// Records that were compared.
    pub records: u64,
    /// Those that an entry points to.
    pub live_records: u64,
    /// Those that no entry points to and that are taken for dead, as they should.
    pub dead_records: u64,
    /// Leaked: no entry points to them, and yet they are not taken for dead.
    pub leaked_records: u64,
    /// Their bytes.
    pub leaked_bytes: u64,
    /// In danger: an entry points to them, and yet they are taken for dead.
    pub endangered_records: u64,
    /// Their bytes.
    pub endangered_bytes: u64,
    /// Entries that point to no record at all: their values are lost.
    pub dangling_entries: u64,
}

impl GarbageCheck {
    /// Whether everything is as it should be.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        (self.leaked_records, self.endangered_records, self.dangling_entries) == (0, 0, 0)
    }
}

impl Gc {
    /// Compares the dead sets of the value log with the tree, after a flush where the store is open for writing. Costs a
    /// read of the tables that point to values and of all hint files; values are not read.
    ///
    /// Where the store is open for reading only, and was not closed in order, values of commits that did not come to an end
    /// count as leaked: opening it for writing marks them.
    ///
    /// # Errors
    /// When a table, hint file or dead set cannot be read or is damaged,
    /// [`Stalled`](crate::ErrorKind::Stalled) while a collection runs.
    pub fn check(&self) -> Result<GarbageCheck> {
        self.handle.check_readable()?;
        self.handle.compare_garbage(&self.handle.take_turn_by_hand()?, |_, _| Ok(()))
    }

    /// As [`check`](Self::check), and mends what differs, durably: what leaked is noted as dead, what is in danger is not any
    /// more. A dead set that is damaged or missing is made anew, all that is dead in it counting as leaked; for a store that
    /// does not open for that, there is [`Options::forget_damaged_deaths`](crate::Options::forget_damaged_deaths).
    ///
    /// # Errors
    /// As [`check`](Self::check), and when the store cannot be written to.
    pub fn rebuild(&self) -> Result<GarbageCheck> {
        let store = &self.handle.store;
        store.check_writable()?;
        let turn = store.take_turn_by_hand()?;
        store.value_log.forget_damaged_deaths().map_err(|error| store.job_failed(error.into()))?;
        let check = store.compare_garbage(&turn, |leaked, endangered| {
            store.value_log.mark_dead(leaked)?;
            Ok(store.value_log.mark_alive(endangered)?)
        })?;
        // Also those in which nothing is dead.
        store.value_log.settle_deaths().map_err(|error| store.job_failed(error.into()))?;
        // If it was something else in one of them, the collector will meet it again.
        store.value_log.statistics().iter().for_each(|of| store.garbage.note_mended(of.segment));
        Ok(check)
    }
}

impl Store {
    /// Deaths that cannot be noted, as what has them is damaged, are in nobody's way: they leak until a rebuild finds them. Each
    /// segment is told once.
    pub(crate) fn pass_over_deaths(&self, damaged: Vec<DamagedDeaths>) {
        for DamagedDeaths { segment, cause } in damaged {
            let cause = Error::from(cause);
            if segment.is_some_and(|segment| !self.garbage.note_damaged(segment, &cause.to_string())) {
                continue;
            }
            tracing::warn!(error = %cause, "dead values leak until a rebuild of what is known to be dead");
            add(&self.counters.background_failures, 1);
            self.garbage.tell_later(GcEvent::Leaking { segment: segment.map(|segment| segment.0), cause });
        }
    }

    fn take_turn_by_hand(&self) -> Result<MutexGuard<'_, ()>> {
        let turn = self.garbage.take_turn();
        turn.ok_or_else(|| Error::new(ErrorKind::Stalled, "a collection of garbage is running; try again after it"))
    }

    /// `mend` is given what leaked and what is in danger, a few segments at a time. The caller has the turn.
    fn compare_garbage(
        &self,
        _turn: &MutexGuard<'_, ()>,
        mut mend: impl FnMut(&[ValuePointer], &[ValuePointer]) -> Result<()>,
    ) -> Result<GarbageCheck> {
        // A close that was waited for has set this before it took the turn.
        self.check_readable()?;
        let head = self.flush_up_to_head()?;
        let mut check = GarbageCheck::default();
        let mut segments = self.value_log.statistics().into_iter().peekable();
        let mut is_first = true;
        // Where there is no segment, entries may point to one all the same.
        while is_first || segments.peek().is_some() {
            let mut some = Vec::new();
            let mut records = 0;
            while let Some(of) = segments.next_if(|of| some.is_empty() || records + of.records <= RECORDS_AT_A_TIME) {
                records += of.records;
                some.push(of);
            }
            let (leaked, endangered) = self.compare_segments(&some, is_first, head, &mut check)?;
            mend(&leaked, &endangered).map_err(|error| self.job_failed(error))?;
            is_first = false;
        }
        Ok(check)
    }

    /// A position below which every record that has an entry has it in a table, or in a view pinned from now on.
    fn flush_up_to_head(&self) -> Result<ValueLogHead> {
        if self.is_read_only_open() {
            return Ok(self.value_log.head());
        }
        let (head, waiting) = self.switch_all_memtables()?;
        self.wait_until_flushed(&waiting)?;
        Ok(head)
    }

    /// What of `segments` leaked, and what is in danger. With `and_gone`, entries that point into segments that are gone count,
    /// too.
    fn compare_segments(
        &self,
        segments: &[SegmentStatistics],
        and_gone: bool,
        head: ValueLogHead,
        check: &mut GarbageCheck,
    ) -> Result<(Vec<ValuePointer>, Vec<ValuePointer>)> {
        let dead_sets = || -> vlog::Result<Vec<DeadSet>> {
            segments.iter().map(|of| self.value_log.dead_set(of.segment)).collect()
        };
        let dead_before = dead_sets()?;
        let views: Vec<Arc<SuperVersion>> = self.keyspaces.load().iter().map(|keyspace| keyspace.pin_owned()).collect();
        // In this order: what is not announced any more is in the dead sets by then.
        let pending = self.value_log.pending_deaths()?;
        let dead_after = dead_sets()?;
        let set = self.value_log.segments();
        let holders = segments.iter().filter_map(|of| set.segment(of.segment));
        let wanted: BTreeSet<SegmentId> = holders.flat_map(|holder| holder.addresses().iter().copied()).collect();
        let is_wanted = |id: SegmentId| wanted.contains(&id) || (and_gone && set.holder(id).is_none());
        let mut referenced = Vec::new();
        for view in &views {
            pointers_of(view, &is_wanted, &mut referenced)?;
        }
        referenced.sort_unstable_by_key(|pointer| (pointer.segment, pointer.offset));
        referenced.dedup();
        let (mut leaked, mut endangered, mut met) = (Vec::new(), Vec::new(), 0);
        for ((of, before), after) in segments.iter().zip(&dead_before).zip(&dead_after) {
            let mut entries = self.value_log.entries(of.segment)?;
            while let Some(entry) = entries.next()? {
                let pointer = entry.pointer;
                let is_referenced = referenced.binary_search_by_key(&place(&pointer), place).is_ok();
                met += u64::from(is_referenced);
                if (ValueLogHead { segment: pointer.segment, offset: pointer.offset }) >= head {
                    continue;
                }
                check.records += 1;
                // What was dead before the views were pinned has no entry in them; what has none is dead or announced by then.
                let is_dying = || {
                    let is_pending = pending.binary_search_by_key(&place(&pointer), place).is_ok();
                    is_pending || after.contains(entry.position)
                };
                match (is_referenced, before.contains(entry.position)) {
                    (true, false) => check.live_records += 1,
                    (false, _) if is_dying() => check.dead_records += 1,
                    (false, _) => {
                        check.leaked_records += 1;
                        check.leaked_bytes += u64::from(pointer.len);
                        leaked.push(pointer);
                    }
                    (true, true) => {
                        check.endangered_records += 1;
                        check.endangered_bytes += u64::from(pointer.len);
                        endangered.push(pointer);
                    }
                }
            }
        }
        check.dangling_entries += (referenced.len() as u64).saturating_sub(met);
        Ok((leaked, endangered))
    }
}

fn place(pointer: &ValuePointer) -> (SegmentId, u32) {
    (pointer.segment, pointer.offset)
}

/// Adds every pointer of a view, old versions included, whose address is wanted.
fn pointers_of(
    view: &SuperVersion,
    is_wanted: &dyn Fn(SegmentId) -> bool,
    pointers: &mut Vec<ValuePointer>,
) -> Result<()> {
    let mut add = |encoded: &[u8]| -> Result<()> {
        let entry = EntryRef::decode(encoded).map_err(bad_entry)?;
        if entry.meta.kind == EntryKind::Pointer {
            let pointer = PointerPayload::decode(entry.payload).map_err(bad_entry)?.pointer;
            if is_wanted(pointer.segment) {
                pointers.push(pointer);
            }
        }
        Ok(())
    };
    for memtable in view.memtables() {
        let mut cursor = Source::Memtable(memtable.table.cursor());
        cursor.seek_to_first()?;
        while cursor.valid() {
            add(cursor.value())?;
            cursor.next()?;
        }
    }
    for (_, table) in view.version.all_tables() {
        if !table.table().segments().iter().any(|segment| is_wanted(*segment)) {
            continue;
        }
        let mut cursor = table.table().cursor(CursorOptions { fill_cache: false, read_ahead: true });
        cursor.seek_to_first()?;
        while cursor.valid() {
            add(cursor.value())?;
            cursor.next()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use base::{SegmentId, ValuePointer};

    use crate::{CompactOptions, GcOptions, GcPolicy, Options};

    /// Nobody says any more where the values of a segment that is wholly gone are to be looked for.
    #[test]
    fn entries_whose_whole_segment_is_gone_are_told_also_where_no_segment_is_left() {
        let db = Options::new().gc(GcPolicy::Manual).inline_background().open_in_memory().unwrap();
        let store = &db.handle.store;
        (0..3u8).for_each(|key| db.insert([key], vec![key; 10_000]).unwrap());
        store.value_log.seal_all().unwrap();
        db.flush().unwrap();
        let mut entries = store.value_log.entries(SegmentId(1)).unwrap();
        let mut all: Vec<ValuePointer> = Vec::new();
        while let Some(entry) = entries.next().unwrap() {
            all.push(entry.pointer);
        }
        store.value_log.mark_dead(&all).unwrap();
        assert_eq!(db.gc().check().unwrap().endangered_records, 3);
        db.gc().run_once(GcOptions::new()).unwrap();
        assert!(store.value_log.segments().is_empty());
        for _ in 0..2 {
            let found = db.gc().check().unwrap();
            assert_eq!((found.dangling_entries, found.is_exact()), (3, false), "{found:?}");
            // Beside segments that are there they count once.
            db.insert("new", vec![1; 10_000]).unwrap();
            store.value_log.seal_all().unwrap();
        }
        // Whoever overwrites or removes the keys mends it.
        let failures = db.metrics().background.background_failures;
        db.insert([0], "new").unwrap();
        db.remove([1]).unwrap();
        db.insert([2], vec![2; 10_000]).unwrap();
        db.flush().unwrap();
        db.compact(.., CompactOptions::new()).unwrap();
        assert!(db.metrics().background.background_failures > failures, "that is told");
        assert!(db.gc().check().unwrap().is_exact());
    }
}
