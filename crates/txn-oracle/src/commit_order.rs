//! The order of commits: who is checked, and who gets which version. Plain state for the inside of the caller's lock.
//!
//! Invariants
//! 1. Versions are assigned one after the other, each once, up to the ceiling.
//! 2. A commit is checked, gets its version and is recorded in one stay under the lock, so that a check sees every
//!    commit that has a version.
//! 3. Every commit is recorded before it is complete, or `unrecorded` is at least its version.
//!
//! Nothing here waits, reads a file or takes a lock but the short one of the range list.

use std::mem::ManuallyDrop;

use base::Version;

use crate::conflict_table::ConflictTable;
use crate::error::AssignError;
use crate::fault::Fault;
use crate::oracle::Oracle;
use crate::read_set::SealedReads;
use crate::recent::{Conflict, RecentWrites, Write};
use crate::watermark::{VERSION_MAX, Watermark};

/// The answer to a transaction that wants to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Nothing that it read has been written since; it may have its version, under the same stay in the lock.
    Clear,
    /// Something that it read has been written since.
    Conflict(Box<Conflict>),
    /// The list of recent commits does not reach back to where the transaction validated itself. It waits until
    /// `floor` is visible and validates again, outside the lock, or after a few tries inside (see
    /// [`CommitOrder::check`]).
    Revalidate {
        /// The lowest version from which the list is whole; assigned already.
        floor: Version,
    },
}

/// State that the caller keeps inside its commit lock.
#[derive(Debug)]
pub struct CommitOrder {
    last: Version,
    ceiling: Version,
    last_recorded: Version,
    recent: RecentWrites,
}

impl CommitOrder {
    pub(crate) fn new(last: Version, ceiling: Version, recent_bytes_max: usize) -> Self {
        Self { last, ceiling, last_recorded: last, recent: RecentWrites::new(recent_bytes_max, last) }
    }

    /// The newest version assigned.
    #[must_use]
    #[inline]
    pub fn last_assigned(&self) -> Version {
        self.last
    }

    /// Versions that may still be assigned before the ceiling has to be raised.
    #[must_use]
    #[inline]
    pub fn remaining_below_ceiling(&self) -> u64 {
        self.ceiling.min(VERSION_MAX).saturating_sub(self.last)
    }

    /// Moves the ceiling up to `ceiling`, once a manifest that says so is synced. Never moves it down.
    pub fn raise_ceiling(&mut self, ceiling: Version) {
        self.ceiling = self.ceiling.max(ceiling);
    }

    /// Checks what a transaction read against the commits above `validated_up_to`, which the transaction has compared
    /// with the tree itself (see [`Oracle::validation`]); those at or below it are not looked at.
    ///
    /// A transaction that is told to validate again and again does it under the commit lock: it waits for
    /// [`CommitOrder::last_assigned`] to become visible (inserts in flight need no commit lock), validates, and is
    /// then checked against nothing.
    #[inline]
    pub fn check(&self, reads: &SealedReads, validated_up_to: Version) -> Verdict {
        if validated_up_to >= self.last || reads.is_empty() {
            return Verdict::Clear;
        }
        if validated_up_to < self.recent.floor() {
            return Verdict::Revalidate { floor: self.recent.floor() };
        }
        match self.recent.first_hit(reads, validated_up_to) {
            Some(conflict) => Verdict::Conflict(Box::new(conflict)),
            None => Verdict::Clear,
        }
    }

    /// Gives the next version to a commit that has passed every check: from here on it can only become complete, or
    /// take the whole store with it.
    ///
    /// # Errors
    /// See [`AssignError`]; nothing has changed then.
    #[inline]
    pub fn assign<'o>(&mut self, oracle: &'o Oracle) -> Result<InFlight<'o>, AssignError> {
        let watermark = oracle.watermark();
        let visible = watermark.visible_unless_poisoned()?;
        let ceiling = self.ceiling.min(VERSION_MAX);
        if self.last >= ceiling {
            return Err(AssignError::CeilingReached { ceiling });
        }
        let version = self.last + 1;
        let slots = watermark.in_flight_max();
        if version - visible > slots as u64 {
            return Err(AssignError::TooManyInFlight { in_flight_max: slots, wait_for: version - slots as u64 });
        }
        self.last = version;
        watermark.note_assigned(version);
        Ok(InFlight { watermark, version })
    }

    /// Records what the newest commit writes, in the same stay under the lock as its version was assigned, once, and
    /// best after its log record was appended: a commit that is given up then completes without having been recorded.
    /// While no read-write transaction is open, `writes` is not looked at: the commit leaves a mark only.
    #[inline]
    pub fn record<'w>(&mut self, oracle: &Oracle, commit: &InFlight<'_>, writes: impl IntoIterator<Item = Write<'w>>) {
        let version = commit.version();
        // Out of turn, keys would go where nobody looks for them.
        if !oracle.has_read_write() || version <= self.last_recorded || version != self.last {
            self.record_unlisted(oracle);
            return;
        }
        self.last_recorded = version;
        if oracle.faults().plants(Fault::RecentKeysForgotten) {
            return;
        }
        let table = oracle.conflicts();
        for write in writes {
            record_in_table(table, version, write);
            self.recent.push(version, write);
        }
    }

    /// Notes that the newest commit has written keys that it does not list: an ingest, a load, a dropped keyspace.
    /// Transactions that began before it compare all they read with the tree.
    #[inline]
    pub fn record_unlisted(&mut self, oracle: &Oracle) {
        self.last_recorded = self.last;
        if !oracle.faults().plants(Fault::UnlistedKeepsFloor) {
            self.recent.forget(self.last);
        }
        if !oracle.faults().plants(Fault::UnrecordedLeavesNoMark) {
            oracle.conflicts().raise_unrecorded(self.last);
        }
    }
}

#[inline]
fn record_in_table(table: &ConflictTable, version: Version, write: Write<'_>) {
    match write {
        Write::Key { fingerprint, .. } => table.record_key(fingerprint, version),
        Write::Range(range) => table.record_range(range, version),
    }
}

/// A commit that has its version and is not complete yet. Dropped, by a panic say, it poisons the order of commits: its
/// version and those above it are never visible, and everybody who waits for them learns so.
#[derive(Debug)]
#[must_use = "a commit that is dropped before it is complete stops the store"]
pub struct InFlight<'o> {
    watermark: &'o Watermark,
    version: Version,
}

impl InFlight<'_> {
    /// The commit's version.
    #[must_use]
    #[inline]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Everything that the commit writes is where readers find it, or the commit was given up and wrote nothing at all.
    /// The watermark moves over it as soon as all earlier commits are complete.
    #[inline]
    pub fn complete(self) {
        let commit = ManuallyDrop::new(self);
        commit.watermark.complete(commit.version);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.watermark.lose(self.version);
    }
}
