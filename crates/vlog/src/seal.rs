//! Turns full segments into sealed ones: cut to their length, synced, described by a hint file, listed in the manifest.
//! The expensive part of a roll, for a background worker.
//!
//! Each step stands by itself. After a crash in between, the segment is still one that the manifest does not list, at or
//! above `open from`: opening takes it up again, and what was written beside it is replaced.

use base::SegmentId;
use base::sync::Arc;
use base::sync::atomic::Ordering;

use crate::hint::{HintTotals, HintWriter};
use crate::manifest::SealedSegment;
use crate::scan::RecordScanner;
use crate::sync::{FileState, OpenSegment};
use crate::{Result, Segment, ValueLog};

impl ValueLog {
    /// Seals the oldest full segment. Returns whether there was one; nothing is on the way of appends but a short lock.
    /// Also leases segment ids ahead, so that no roll has to.
    ///
    /// # Errors
    /// [`Error::Vfs`](crate::Error::Vfs) where the system could not write. Where the segment itself could not be synced that is final, as
    /// for [`sync`](Self::sync); anything else may be tried again. [`Error::Corruption`](crate::Error::Corruption) where the records do not read
    /// back as they were written.
    pub fn seal_full(&self) -> Result<bool> {
        if self.options.read_only {
            return Ok(false);
        }
        let _turn = self.sealing.lock();
        self.check_writable()?;
        let oldest = self.open_segments.lock().front().filter(|open| open.is_full()).cloned();
        let Some(open) = oldest else {
            return Ok(false);
        };
        self.finish_file(&open)?;
        let end = open.segment.readable_bytes();
        let totals = self.write_hint(&open.segment, end)?;
        // Makes two names durable: that of the segment, and that of its hint file.
        self.vfs.sync_dir(&self.dir)?;
        // The head first: whoever finds the segment clean must find the head there.
        self.synced.raise(open.head());
        open.note_synced(end);
        // Nothing may fail once it is listed: it can be collected from then on, and must not be listed again.
        let whole = Arc::new(self.reopen_whole(&open.segment)?);
        self.list_sealed(&open.segment, totals)?;
        self.install(whole);
        self.open_segments.lock().retain(|other| other.segment.id() != open.segment.id());
        tracing::debug!(segment = open.segment.id().0, "value-log segment sealed");
        Ok(true)
    }

    /// Ends the active segment and seals all there are, so that the next open has nothing to scan.
    ///
    /// # Errors
    /// As [`seal_full`](Self::seal_full).
    pub fn seal_all(&self) -> Result<()> {
        self.close_active();
        while self.seal_full()? {}
        Ok(())
    }

    /// Seals everything and ends the use of the log.
    ///
    /// # Errors
    /// As [`seal_full`](Self::seal_full).
    pub fn close(self) -> Result<()> {
        self.seal_all()
    }

    /// Syncs a full segment's file and gives back what was allocated ahead.
    fn finish_file(&self, open: &OpenSegment) -> Result<()> {
        let file = std::mem::replace(&mut *open.file.lock(), FileState::Finished);
        if let FileState::Full(file) = file {
            file.finish().map_err(|cause| self.failure.latch(cause))?;
        }
        // A failed append that could not be cut off then is cut off now.
        let end = open.segment.readable_bytes();
        if open.segment.file().len()? != end {
            self.vfs.truncate(open.segment.path(), end)?;
        }
        Ok(())
    }

    /// Reads the records of a segment, all of which must be there, into its hint file.
    pub(crate) fn write_hint(&self, segment: &Segment, end: u64) -> Result<HintTotals> {
        let mut records = RecordScanner::new(Arc::clone(segment.file()), segment.header().clone(), end);
        let mut hint = HintWriter::create(&*self.vfs, &self.dir, self.options.of_store(), segment.header())?;
        while let Some(entry) = records.next_sealed()? {
            hint.add(&entry)?;
        }
        hint.finish()
    }

    fn list_sealed(&self, segment: &Segment, totals: HintTotals) -> Result<()> {
        self.commit(|manifest| {
            manifest.segments.insert(segment.id(), sealed(segment, totals));
            manifest.open_from = SegmentId(segment.id().0 + 1);
            if self.lease.is_low() { self.extend_lease(manifest) } else { Ok(()) }
        })
    }

    fn reopen_whole(&self, segment: &Segment) -> Result<Segment> {
        Segment::whole(
            segment.header().clone(),
            Arc::clone(segment.file()),
            segment.readable_bytes(),
            None,
            &self.options,
            Arc::clone(segment.tally()),
        )
    }
}

/// What the manifest says of a segment of commits with these totals.
pub(crate) fn sealed(segment: &Segment, totals: HintTotals) -> SealedSegment {
    SealedSegment {
        companion: segment.companion(),
        end: totals.end,
        records: totals.records,
        has_dead_set: segment.tally().has_dead_set.load(Ordering::Acquire),
        dead_set_after: 0,
        owners: totals.owners,
        origins: None,
    }
}
