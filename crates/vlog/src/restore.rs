//! Segments whose hint files cannot be used: what they hold is told by the records themselves.

use base::sync::Arc;
use base::{Corruption, SegmentId};

use crate::entries::{Entries, Source};
use crate::file_name::hint_path;
use crate::manifest::SealedSegment;
use crate::scan::RecordScanner;
use crate::{Result, ValueLog};

impl ValueLog {
    /// The records of a segment without their values, as [`entries`](Self::entries), from the records themselves: each is
    /// read as a whole and verified.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption) where there is no such segment.
    pub fn records(&self, segment: SegmentId) -> Result<Entries> {
        let segment = self.known(segment)?;
        let limit = segment.readable_bytes();
        Ok(Entries(Source::Records(RecordScanner::new(Arc::clone(segment.file()), segment.header().clone(), limit))))
    }

    /// Whether the files of a segment may be gone because its writer has collected it since this log was opened, for reading
    /// only. Reads the manifest.
    ///
    /// # Errors
    /// As [`open`](Self::open), where the manifest is damaged or cannot be read.
    pub fn is_collected_meanwhile(&self, segment: SegmentId) -> Result<bool> {
        let Some(beside) = &self.beside else { return Ok(false) };
        beside.is_taken_off(&*self.vfs, &self.dir, &self.options, segment)
    }

    /// Makes the hint file of a sealed segment anew, durably, from its records.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption) where a record is damaged or they are not those that were sealed,
    /// [`Error::Vfs`](crate::Error::Vfs) where the system could not read or write.
    pub fn restore_hint(&self, segment: SegmentId) -> Result<()> {
        self.check_writable()?;
        let _turn = self.sealing.lock();
        let segment = self.known(segment)?;
        let listed = self.ledger.lock().segments.get(&segment.id()).map(SealedSegment::totals);
        let Some(expected) = listed else {
            return Err(crate::Error::InvalidArgument("only a sealed segment has a hint file"));
        };
        // It may have been copied before it was cut.
        if segment.file().len()? != segment.readable_bytes() {
            self.vfs.truncate(segment.path(), segment.readable_bytes())?;
        }
        let found = self.write_hint(&segment, segment.readable_bytes())?;
        self.vfs.sync_dir(&self.dir)?;
        if found != expected {
            let wrong = Corruption::new(hint_path(&self.dir, segment.id()), 0, "totals of a hint file made anew");
            return Err(wrong.with_values(format!("{expected:?}"), format!("{found:?}")).into());
        }
        Ok(())
    }
}
