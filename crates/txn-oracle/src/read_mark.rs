//! A registered reader: what it sees, and since when it counts time.
//!
//! Invariant: a mark is registered from before it exists until it is dropped.

use base::Version;

use crate::marks::MarkKey;
use crate::oracle::Oracle;

/// What a reader is going to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read only: a snapshot, an iterator, a backup. Commits need not remember anything for it.
    ReadOnly,
    /// Read, then commit under the condition that what was read still holds.
    ReadWrite,
}

/// Keeps a version readable. A read-write transaction holds its own until its commit is decided. Clones share the
/// version and the time; the last one dropped gives it up.
#[derive(Debug)]
pub struct ReadMark {
    oracle: Oracle,
    key: MarkKey,
    access: Access,
}

impl ReadMark {
    /// Wraps a mark that is registered.
    #[inline]
    pub(crate) fn new(oracle: Oracle, key: MarkKey, access: Access) -> Self {
        Self { oracle, key, access }
    }

    /// What is read: every commit at or below it, and none above.
    #[must_use]
    #[inline]
    pub fn version(&self) -> Version {
        self.key.version
    }

    /// The time that every read counts with, in seconds since the Unix epoch.
    #[must_use]
    #[inline]
    pub fn now_seconds(&self) -> u64 {
        self.key.now_seconds
    }
}

impl Clone for ReadMark {
    fn clone(&self) -> Self {
        self.oracle.add_mark(self.key, self.access);
        Self { oracle: self.oracle.clone(), key: self.key, access: self.access }
    }
}

impl Drop for ReadMark {
    #[inline]
    fn drop(&mut self) {
        self.oracle.close_mark(self.key, self.access);
    }
}
