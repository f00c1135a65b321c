//! Read-only transactions.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base::Version;
use txn_oracle::ReadMark;

use crate::Keyspace;
use crate::handle::Handle;
use crate::keyspace::KeyspaceState;
use crate::read::{Read, Reader, sealed};

/// A state of the store, held for as long as the snapshot or a clone of it lives. It never blocks or conflicts; what it
/// costs is the disk space of the versions that it keeps.
#[derive(Clone)]
#[doc(alias = "begin_read")]
#[doc(alias = "view")]
pub struct Snapshot {
    pub(crate) handle: Arc<Handle>,
    pub(crate) mark: ReadMark,
}

impl Snapshot {
    /// The newest commit that it sees.
    #[must_use]
    pub fn version(&self) -> Version {
        self.mark.version()
    }

    /// The same state of another keyspace. Reads of one of another store fail as an invalid argument.
    #[must_use]
    pub fn keyspace(&self, keyspace: &Keyspace) -> KeyspaceSnapshot {
        let (state, is_foreign) = (Arc::clone(&keyspace.state), keyspace.is_foreign_to(&self.handle));
        KeyspaceSnapshot { snapshot: self.clone(), state, is_foreign }
    }

    fn reader_of<'a>(&'a self, keyspace: &'a KeyspaceState, is_foreign: bool) -> Reader<'a> {
        let mark = Cow::Borrowed(&self.mark);
        Reader { handle: &self.handle, keyspace, mark, own_writes: None, tracked: None, is_foreign }
    }
}

impl sealed::Sealed for Snapshot {
    #[allow(private_interfaces, reason = "sealed")]
    fn reader(&self) -> Reader<'_> {
        self.reader_of(&self.handle.default_keyspace, false)
    }
}

impl Read for Snapshot {}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("version", &self.version()).finish_non_exhaustive()
    }
}

/// A keyspace as a [`Snapshot`] sees it.
#[derive(Clone, Debug)]
pub struct KeyspaceSnapshot {
    snapshot: Snapshot,
    state: Arc<KeyspaceState>,
    is_foreign: bool,
}

impl sealed::Sealed for KeyspaceSnapshot {
    #[allow(private_interfaces, reason = "sealed")]
    fn reader(&self) -> Reader<'_> {
        self.snapshot.reader_of(&self.state, self.is_foreign)
    }
}

impl Read for KeyspaceSnapshot {}

#[cfg(test)]
mod tests {
    use crate::{Options, Read, ScanOptions};

    #[test]
    fn reads_of_a_snapshot_or_transaction_register_no_mark_of_their_own() {
        let db = Options::new().open_in_memory().unwrap();
        let (snapshot, txn) = (db.snapshot(), db.begin());
        let reads = (snapshot.iter(), txn.iter(), snapshot.cursor(ScanOptions::new()).unwrap());
        assert_eq!(db.metrics().open_marks, 2);
        drop(reads);
    }
}
