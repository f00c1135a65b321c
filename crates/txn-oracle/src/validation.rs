//! The part of a transaction's validation that runs in its own thread: what may have changed up to the visible version.
//!
//! Invariant: the visible version was loaded before anything of the conflict table, so that the table has every commit
//! up to it. Made by `Oracle::validation` only.

use base::Version;

use crate::conflict_table::{ConflictTable, Filter};
use crate::read_set::{PointRead, SealedReads};

/// Which reads of a transaction may have changed up to some version.
///
/// The transaction looks these up in what it pinned after this was made, and every range that it read as well (unless
/// [`is_clean`](Self::is_clean)): a version above its read version, tombstones included, is a conflict. Then it takes the
/// commit lock and has [`CommitOrder::check`](crate::CommitOrder::check) look at the commits above [`up_to`](Self::up_to).
#[derive(Debug)]
pub struct Validation<'o> {
    pub(crate) conflicts: &'o ConflictTable,
    pub(crate) up_to: Version,
    /// None where nothing became visible since the transaction began.
    pub(crate) filter: Option<Filter>,
}

impl Validation<'_> {
    /// The newest version that this validation covers.
    #[must_use]
    #[inline]
    pub fn up_to(&self) -> Version {
        self.up_to
    }

    /// Whether nothing at all became visible since the transaction began; then there is nothing to look up, in ranges
    /// neither.
    #[must_use]
    #[inline]
    pub fn is_clean(&self) -> bool {
        self.filter.is_none()
    }

    /// The keys that may have a newer version. All others surely have none up to [`up_to`](Self::up_to).
    pub fn suspects<'r>(&self, reads: &'r SealedReads) -> impl Iterator<Item = PointRead<'r>> {
        let filter = self.filter.as_ref();
        reads.points().filter(move |point| filter.is_some_and(|filter| self.conflicts.suspects(filter, point)))
    }
}
