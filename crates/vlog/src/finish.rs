//! Ends a recovery: what the scan at open found is cut, synced, sealed and listed, so that nothing of an earlier run is
//! ever appended to; then leftovers go.
//!
//! Where nothing was left open there is nothing to do, and the first append leases its ids itself: an open that finds all
//! in order writes nothing here.
//!
//! Each step can be done again: until the manifest is written the segments are still unlisted, and the next open finds
//! them as this one did.

use std::collections::BTreeMap;

use base::sync::Arc;
use base::sync::atomic::Ordering;
use base::{SegmentId, ValueLogHead};

use crate::dead_set::DeadSet;
use crate::file_name::FileName;
use crate::hint::HintReader;
use crate::manifest::SealedSegment;
use crate::noted::pass_over;
use crate::recovery::list;
use crate::seal::sealed;
use crate::{DamagedDeaths, Result, Segment, ValueLog, whole_file};

impl ValueLog {
    /// Ends the recovery that [`open`](Self::open) began: cuts torn tails, seals what was open and applies the live death
    /// tickets. From then on the log can be written to. Does nothing where the log
    /// is open for reading only, or where it was done before. Returns deaths that leak, as nobody can look up where their
    /// records are.
    ///
    /// # Errors
    /// [`Error::Vfs`](crate::Error::Vfs) where the system could not write,
    /// [`Error::Corruption`](crate::Error::Corruption) where a live ticket's list or a dead set is missing or damaged.
    pub fn finish_recovery(&self) -> Result<Vec<DamagedDeaths>> {
        let mut damaged = Vec::new();
        if self.options.read_only || self.ready.load(Ordering::Acquire) {
            return Ok(damaged);
        }
        let live_tickets = self.dying.lock();
        let mut recovered = self.recovered.lock();
        let first = self.ledger.lock().next_segment;
        if recovered.unlisted_files > 0 {
            self.list_recovered(&recovered.segments, first)?;
        }
        self.synced.raise(ValueLogHead { segment: first, offset: 0 });
        // The manifest that was read may be one whose name the power could still take: nothing may rest on it before.
        self.vfs.sync_dir(&self.dir)?;
        for ticket in live_tickets.iter() {
            let mut passes_over = |segment, cause| pass_over(Some(segment), cause, &mut damaged);
            self.apply_lists(&[*ticket], &live_tickets, &mut passes_over)?;
        }
        recovered.segments.clear();
        self.ready.store(true, Ordering::Release);
        Ok(damaged)
    }

    /// Removes files that nothing names: unfinished ones, segments that were collected or never held a record, their
    /// hint files and dead sets, death lists of tickets that are not live. For after a recovery that succeeded as a
    /// whole, its caller's part included. Returns how many were removed.
    ///
    /// # Errors
    /// [`Error::Vfs`](crate::Error::Vfs) where a file could not be removed.
    pub fn remove_orphans(&self) -> Result<usize> {
        if self.options.read_only {
            return Ok(0);
        }
        self.check_writable()?;
        // What a collection or a seal is writing is not an orphan.
        let _collecting = self.collecting.lock();
        let _sealing = self.sealing.lock();
        let live_tickets = self.dying.lock();
        let set = self.segments();
        let first_open = self.ledger.lock().open_from;
        let mut removed = 0;
        for (name, path) in list(&*self.vfs, &self.dir)? {
            let is_orphan = match name {
                FileName::Segment(id) | FileName::Hint(id) | FileName::Dead(id) | FileName::Map(id) => {
                    id < first_open && set.segment(id).is_none()
                }
                FileName::Deaths(ticket) => !live_tickets.contains(&ticket),
                FileName::Temporary => true,
                FileName::Manifest => false,
            };
            if is_orphan {
                tracing::debug!(path = %path.display(), "orphan removed");
                whole_file::remove_if_there(&*self.vfs, &path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Seals what was open and takes every file below `first` off the segments to come.
    fn list_recovered(&self, recovered: &[Arc<Segment>], first: SegmentId) -> Result<()> {
        let mut sealed_segments = BTreeMap::new();
        for segment in recovered {
            sealed_segments.insert(segment.id(), self.seal_recovered(segment)?);
        }
        self.vfs.sync_dir(&self.dir)?;
        self.commit(|manifest| {
            manifest.segments.append(&mut sealed_segments);
            manifest.open_from = first;
            self.extend_lease(manifest)
        })
    }

    fn seal_recovered(&self, segment: &Segment) -> Result<SealedSegment> {
        let end = segment.readable_bytes();
        // Cuts what is behind the records, and syncs them: after the death of a process they may be in memory alone.
        self.vfs.truncate(segment.path(), end)?;
        let totals = self.write_hint(segment, end)?;
        self.drop_unknown_deaths(segment)?;
        Ok(sealed(segment, totals))
    }

    /// A record may have been marked dead and then lost with the tail; what stands in the dead set must be there.
    fn drop_unknown_deaths(&self, segment: &Segment) -> Result<()> {
        if !segment.tally().has_dead_set.load(Ordering::Acquire) {
            return Ok(());
        }
        let dead = self.load_dead_set(segment)?;
        let mut hint = HintReader::open(&*self.vfs, &self.dir, self.options.of_store(), segment.header(), None)?;
        let mut known = Vec::new();
        while let Some(entry) = hint.next()? {
            if dead.contains(entry.position) {
                known.push((entry.position, entry.pointer.len.saturating_add(segment.header().around_len())));
            }
        }
        let mut known = DeadSet::of(known.into_iter());
        known.set_after(dead.after());
        if known != dead {
            known.write(&*self.vfs, &self.dir, self.options.of_store(), segment.header())?;
            segment.tally().note_dead_set(&known);
        }
        Ok(())
    }
}
