//! How records die: announced in a synced list under a ticket, applied to the dead sets once what killed them stands.
//!
//! A dead set is replaced whole and only grows, so applying a ticket twice, or again after a crash in between, changes
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use base::sync::atomic::Ordering;
use base::{Corruption, SegmentId, ValueLogHead, ValuePointer};

use crate::dead_set::DeadSet;
use crate::death_list;
use crate::file_name::deaths_path;
use crate::segment_set::SegmentSet;
use crate::{Error, Result, Segment, ValueLog, whole_file};

/// Position and length of each record that dies, by the segment that holds it.
pub(crate) type DeathsBySegment = BTreeMap<SegmentId, Vec<(u32, u32)>>;

fn in_the_way(_: SegmentId, error: Error) -> Result<()> {
    Err(error)
}

/// Records that no log's entry pointed to after a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnreferencedRecords {
    /// How many were not known to be dead before.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Whether a record stands where a pointer says. Where that cannot be looked up, it may.
fn stands_in(set: &SegmentSet, pointer: ValuePointer) -> bool {
    let Some(holder) = set.holder(pointer.segment) else { return false };
    holder.position_of(pointer).map_or(true, |position| {
        position.is_some_and(|at| u64::from(at) + u64::from(pointer.len) <= holder.readable_bytes())
    })
}

impl ValueLog {
    /// Writes and syncs the list of what dies with `ticket`. Nothing is dead yet. Done again with the same ticket, the
    /// new list replaces the old one.
    ///
    /// What a pointer names need not stand in the log: the owner may be about to drop what it lost, and nothing is left to
    /// die. Such pointers are left out, and the first of them is told.
    ///
    /// # Errors
    /// [`Error::Vfs`] where the system could not write.
    pub fn prepare_deaths(&self, ticket: u64, dead: &[ValuePointer]) -> Result<Option<Corruption>> {
        self.check_writable()?;
        let set = self.segments();
        let (there, lost): (Vec<_>, Vec<_>) = dead.iter().copied().partition(|pointer| stands_in(&set, *pointer));
        let mut live_tickets = self.dying.lock();
        death_list::write(&*self.vfs, &self.dir, self.options.of_store(), ticket, &there)?;
        self.vfs.sync_dir(&self.dir)?;
        live_tickets.insert(ticket);
        Ok(lost.first().map(|pointer| {
            let path = crate::segment_path(&self.dir, pointer.segment);
            Corruption::new(path, u64::from(pointer.offset), "death of a record that is not there")
        }))
    }

    /// Adds the lists of these tickets to the dead sets, durably. Each segment's set is written once, so many tickets
    /// at a time cost little more than one. Applied again, they change nothing.
    ///
    /// # Errors
    /// [`Error::Corruption`] where a list or a dead set is missing or damaged, [`Error::Vfs`] where the system could not
    /// write; it may be tried again.
    pub fn apply_deaths(&self, tickets: &[u64]) -> Result<()> {
        self.check_writable()?;
        let live_tickets = self.dying.lock();
        self.apply_lists(tickets, &live_tickets, &mut in_the_way)
    }

    /// Removes the lists of these tickets, which nothing names any more. A list that comes back after a power loss is
    /// an orphan.
    ///
    /// # Errors
    /// [`Error::Vfs`] where a list could not be removed; one that is not there is no error.
    pub fn clear_deaths(&self, tickets: &[u64]) -> Result<()> {
        self.check_writable()?;
        let mut live_tickets = self.dying.lock();
        for ticket in tickets {
            whole_file::remove_if_there(&*self.vfs, &deaths_path(&self.dir, *ticket))?;
            live_tickets.remove(ticket);
        }
        Ok(())
    }

    /// Kills records at once, durably and without a ticket: for an owner to whom the log itself is the truth. Those that
    /// are dead already stay so. A log that stands alone is synced before, since it says itself what killed them.
    ///
    /// # Errors
    /// [`Error::Corruption`] where a dead set is missing or damaged, [`Error::Vfs`] where the system could not write; it
    /// may be tried again, but for a sync.
    pub fn mark_dead(&self, dead: &[ValuePointer]) -> Result<()> {
        self.check_writable()?;
        if !self.options.stands_alone {
            let _live_tickets = self.dying.lock();
            return self.kill(self.places_of(dead, &mut in_the_way)?, 0);
        }
        if dead.is_empty() {
            return Ok(());
        }
        let head = self.sync()?;
        let _live_tickets = self.dying.lock();
        let generation = self.note_dead_sets(head)?;
        self.kill(self.places_of(dead, &mut in_the_way)?, generation)
    }

    /// Takes records off the dead sets, durably: the repair of what no death can have said. Those that are not dead, or
    /// are gone, stay so.
    ///
    /// # Errors
    /// As [`mark_dead`](Self::mark_dead).
    pub fn mark_alive(&self, alive: &[ValuePointer]) -> Result<()> {
        self.check_writable()?;
        let _live_tickets = self.dying.lock();
        self.settle_noted()?;
        let set = self.segments();
        for (id, records) in self.places_of(alive, &mut in_the_way)? {
            let Some(segment) = set.segment(id) else { continue };
            let mut dead = self.load_dead_set(segment)?;
            if dead.remove(&records) > 0 {
                dead.write(&*self.vfs, &self.dir, self.options.of_store(), segment.header())?;
                self.vfs.sync_dir(&self.dir)?;
                segment.tally().note_dead_set(&dead);
            }
        }
        Ok(())
    }

    /// What live tickets have announced, ascending by segment and offset: dead, or about to be.
    ///
    /// # Errors
    /// [`Error::Corruption`] where a list is missing or damaged, [`Error::Vfs`] where the system could not read.
    pub fn pending_deaths(&self) -> Result<Vec<ValuePointer>> {
        let live_tickets = self.dying.lock();
        let mut dead = Vec::new();
        for ticket in live_tickets.iter() {
            death_list::read(&*self.vfs, &self.dir, self.options.of_store(), *ticket, &mut dead)?;
        }
        dead.sort_unstable_by_key(|pointer| (pointer.segment, pointer.offset));
        Ok(dead)
    }

    /// Marks dead every record at or above `above` that is not among `referenced`, for after a crash: `above` is the
    /// head that was noted when the oldest log was made that was replayed, `referenced` what the entries of those logs
    /// point to, skipped ones included. For the time between [`finish_recovery`](Self::finish_recovery) and the first
    /// append. Done again, it changes nothing.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] once something was appended, [`Error::Corruption`] where a hint file or dead set is
    /// missing or damaged, [`Error::Vfs`] where the system could not write.
    pub fn mark_unreferenced_dead(
        &self,
        above: ValueLogHead,
        mut referenced: Vec<ValuePointer>,
    ) -> Result<UnreferencedRecords> {
        if self.options.read_only {
            return Ok(UnreferencedRecords::default());
        }
        self.check_writable()?;
        if !self.open_segments.lock().is_empty() {
            return Err(Error::InvalidArgument("unreferenced records are marked before anything is appended"));
        }
        referenced.sort_unstable_by_key(|pointer| (pointer.segment, pointer.offset));
        let _live_tickets = self.dying.lock();
        let mut found = UnreferencedRecords::default();
        for segment in self.segments().iter() {
            if segment.addresses().last().is_none_or(|newest| *newest < above.segment) {
                continue;
            }
            let dead = self.unreferenced_in(segment.id(), above, &referenced)?;
            let before = (
                segment.tally().dead_records.load(Ordering::Relaxed),
                segment.tally().dead_bytes.load(Ordering::Relaxed),
            );
            self.kill(DeathsBySegment::from([(segment.id(), dead)]), 0)?;
            found.records += segment.tally().dead_records.load(Ordering::Relaxed) - before.0;
            found.bytes += segment.tally().dead_bytes.load(Ordering::Relaxed) - before.1;
        }
        Ok(found)
    }

    fn unreferenced_in(
        &self,
        segment: SegmentId,
        above: ValueLogHead,
        referenced: &[ValuePointer],
    ) -> Result<Vec<(u32, u32)>> {
        let mut dead = Vec::new();
        let around_len = self.known(segment)?.header().around_len();
        let mut entries = self.entries(segment)?;
        while let Some(entry) = entries.next()? {
            let ValuePointer { segment, offset, len } = entry.pointer;
            let is_referenced = || {
                let place = |pointer: &ValuePointer| (pointer.segment, pointer.offset);
                referenced.binary_search_by_key(&(segment, offset), place).is_ok()
            };
            if (ValueLogHead { segment, offset }) >= above && !is_referenced() {
                dead.push((entry.position, len.saturating_add(around_len)));
            }
        }
        Ok(dead)
    }

    /// The caller holds the lock of `dying`.
    pub(crate) fn apply_lists(
        &self,
        tickets: &[u64],
        live_tickets: &BTreeSet<u64>,
        passes_over: &mut dyn FnMut(SegmentId, Error) -> Result<()>,
    ) -> Result<()> {
        let dead = self.read_lists(tickets, live_tickets)?;
        self.kill(self.places_of(&dead, passes_over)?, 0)
    }

    pub(crate) fn read_lists(&self, tickets: &[u64], _live_tickets: &BTreeSet<u64>) -> Result<Vec<ValuePointer>> {
        let mut dead = Vec::new();
        for ticket in tickets {
            death_list::read(&*self.vfs, &self.dir, self.options.of_store(), *ticket, &mut dead)?;
        }
        Ok(dead)
    }

    /// Where the records of pointers stand now. One whose segment is gone, or that its new segment does not hold, was
    /// dead already when it was collected; one behind the end of a segment was lost with its tail. What cannot be looked up is
    /// left to `passes_over`.
    pub(crate) fn places_of(
        &self,
        dead: &[ValuePointer],
        passes_over: &mut dyn FnMut(SegmentId, Error) -> Result<()>,
    ) -> Result<DeathsBySegment> {
        let set = self.segments();
        let mut deaths = DeathsBySegment::new();
        for pointer in dead {
            let Some(holder) = set.holder(pointer.segment) else { continue };
            let found = holder.position_of(*pointer).or_else(|error| passes_over(holder.id(), error).map(|()| None))?;
            let Some(position) = found else { continue };
            let len = pointer.len.saturating_add(holder.header().around_len());
            if u64::from(position) + u64::from(len) > holder.readable_bytes() {
                continue;
            }
            deaths.entry(holder.id()).or_default().push((position, len));
        }
        Ok(deaths)
    }

    /// Adds to the dead sets, durably; `after` is the manifest that they name. The caller holds the lock of `dying`.
    pub(crate) fn kill(&self, deaths: DeathsBySegment, after: u64) -> Result<()> {
        self.settle_doubtful()?;
        let set = self.segments();
        let mut dead_sets: Vec<(&Segment, DeadSet)> = Vec::new();
        let mut bytes = 0;
        let is_noted = |id: &SegmentId| self.unsettled.lock().contains_key(id);
        for (id, records) in deaths.iter().filter(|(id, records)| !records.is_empty() || is_noted(id)) {
            let Some(segment) = set.segment(*id) else { continue };
            let mut dead = self.load_dead_set(segment)?;
            // What is there and not noted was written by a try that failed behind it.
            let known = segment.tally().dead_records.load(Ordering::Relaxed);
            if dead.add(records) > 0 || is_noted(id) || dead.records() != known {
                dead.set_after(after.max(dead.after()));
                dead.write(&*self.vfs, &self.dir, self.options.of_store(), segment.header())?;
            }
            bytes += dead.used_bytes();
            dead_sets.push((segment, dead));
            if bytes > self.options.unsettled_bytes_max {
                self.make_durable(&std::mem::take(&mut dead_sets))?;
                bytes = 0;
            }
        }
        self.make_durable(&dead_sets)
    }

    /// Makes dead sets that were written stand.
    fn make_durable(&self, dead_sets: &[(&Segment, DeadSet)]) -> Result<()> {
        if dead_sets.is_empty() {
            return Ok(());
        }
        // Also where all were dead already: a run that was killed before its sync may have written that.
        self.vfs.sync_dir(&self.dir)?;
        for (segment, dead) in dead_sets {
            segment.tally().note_dead_set(dead);
        }
        self.note_first_dead_sets(dead_sets)?;
        self.unsettled.lock().retain(|id, _| !dead_sets.iter().any(|(segment, _)| segment.id() == *id));
        Ok(())
    }

    /// Has the manifest of a log that stands alone say that records before `head` are to die, and how old its dead sets may
    /// be, all of them: one may have been written by a try that failed or was killed behind it, and among those that die
    /// next may be what hid its records. Returns the manifest's generation.
    fn note_dead_sets(&self, head: ValueLogHead) -> Result<u64> {
        self.vfs.sync_dir(&self.dir)?;
        let listed: Vec<SegmentId> = self.ledger.lock().segments.keys().copied().collect();
        let mut after = BTreeMap::new();
        for id in listed {
            let segment = self.known(id)?;
            let dead = self.load_dead_set(&segment)?;
            if dead.records() > 0 {
                segment.tally().note_dead_set(&dead);
                after.insert(id, dead.after());
            }
        }
        let mut generation = 0;
        self.commit(|manifest| {
            for (id, after) in &after {
                if let Some(sealed) = manifest.segments.get_mut(id) {
                    (sealed.has_dead_set, sealed.dead_set_after) = (true, *after);
                }
            }
            manifest.deaths_before = manifest.deaths_before.max(head);
            generation = manifest.generation + 1;
            Ok(())
        })?;
        Ok(generation)
    }

    /// Has the manifest say which sealed segments have a dead set, so that a missing one is noticed.
    fn note_first_dead_sets(&self, dead_sets: &[(&Segment, DeadSet)]) -> Result<()> {
        let first: Vec<SegmentId> = {
            let ledger = self.ledger.lock();
            let is_first = |id: &SegmentId| ledger.segments.get(id).is_some_and(|sealed| !sealed.has_dead_set);
            dead_sets.iter().map(|(segment, _)| segment.id()).filter(is_first).collect()
        };
        if first.is_empty() {
            return Ok(());
        }
        self.commit(|manifest| {
            for id in &first {
                if let Some(sealed) = manifest.segments.get_mut(id) {
                    sealed.has_dead_set = true;
                }
            }
            Ok(())
        })
    }
}
