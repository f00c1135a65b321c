//! The records of one segment, oldest first, without their values: from the hint file of a sealed segment, from the
//! records themselves of one that is not sealed yet.

use crate::Result;
use crate::hint::HintReader;
use crate::scan::{Entry, RecordScanner};

/// Walks the records of one segment. Memory is bounded, whatever the segment holds.
#[derive(Debug)]
pub struct Entries(pub(crate) Source);

#[derive(Debug)]
pub(crate) enum Source {
    Hint(Box<HintReader>),
    Records(RecordScanner),
}

impl Entries {
    /// No more records than this can come, by the length of the file that they are read from.
    #[must_use]
    pub fn records_max(&self) -> u64 {
        match &self.0 {
            Source::Hint(hint) => hint.entries_max(),
            Source::Records(records) => records.records_max(),
        }
    }

    /// The next record.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption), naming file and offset, where the file is damaged: entries
    /// before it have been given, and none behind it will be.
    #[allow(
        clippy::should_implement_trait,
        reason = "it lends: each entry borrows the buffer that the next one reuses"
    )]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>> {
        match &mut self.0 {
            Source::Hint(hint) => hint.next(),
            Source::Records(records) => records.next_sealed(),
        }
    }
}
