//! Read-only transactions.

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

    /// The same state of another keyspace.
    #[must_use]
    pub fn keyspace(&self, keyspace: &Keyspace) -> KeyspaceSnapshot {
        KeyspaceSnapshot { snapshot: self.clone(), state: Arc::clone(&keyspace.state) }
    }
}

impl sealed::Sealed for Snapshot {
    #[allow(private_interfaces, reason = "sealed")]
    fn reader(&self) -> Reader<'_> {
        let keyspace = Arc::clone(&self.handle.default_keyspace);
        Reader { handle: Arc::clone(&self.handle), keyspace, mark: self.mark.clone(), own_writes: None, tracked: None }
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
}

impl sealed::Sealed for KeyspaceSnapshot {
    #[allow(private_interfaces, reason = "sealed")]
    fn reader(&self) -> Reader<'_> {
        let (handle, mark) = (Arc::clone(&self.snapshot.handle), self.snapshot.mark.clone());
        Reader { handle, keyspace: Arc::clone(&self.state), mark, own_writes: None, tracked: None }
    }
}

impl Read for KeyspaceSnapshot {}
