//! Version edits: what changes from one version of the tree to the next, for any number of keyspaces at once.
//!
//! What belongs together goes into one edit, since an edit is one record of the manifest: there or not there, whole.

use base::{KeyspaceId, LogNumber, TableId, Version};

use crate::meta::TableMeta;

/// Where a new table stands among those of level 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In front of all others. Tables of one edit and keyspace that ask for it form one run: they must be disjoint.
    Newest,
    /// At this place, inherited from the tables that it replaces.
    At(u64),
}

/// A table that an edit adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTable {
    /// The level it goes to.
    pub level: usize,
    /// Its place, if that level is 0.
    pub place: Place,
    /// What is known of it.
    pub meta: TableMeta,
}

/// Name and options of a keyspace that an edit creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKeyspace {
    /// Its name, UTF-8, unique among living keyspaces.
    pub name: String,
    /// Options as the engine encodes them; opaque here.
    pub options: Vec<u8>,
}

/// Changes to one keyspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceEdit {
    /// The keyspace.
    pub id: KeyspaceId,
    /// Creates it.
    pub created: Option<NewKeyspace>,
    /// Replaces its options.
    pub options: Option<Vec<u8>>,
    /// The oldest write-ahead log that it still needs.
    pub log_number: Option<LogNumber>,
    /// Whether every version in a newer source is newer than all versions of that key in older ones.
    pub ordered: Option<bool>,
    /// Raises the highest version of any tombstone dropped.
    pub dropped_tombstone_version: Option<Version>,
    /// Tables that leave the version. One that is also in `added` moves.
    pub removed: Vec<TableId>,
    /// Tables that join the version.
    pub added: Vec<NewTable>,
}

impl KeyspaceEdit {
    /// No change to this keyspace.
    #[must_use]
    pub fn new(id: KeyspaceId) -> Self {
        Self { id, ..Self::default() }
    }
}

/// One step from a version of the tree to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionEdit {
    /// Changes by keyspace.
    pub keyspaces: Vec<KeyspaceEdit>,
    /// The last version handed out when the edit was made. Never lowers what is known.
    pub last_version: Option<Version>,
    /// Raises the bound below or at which versions are handed out.
    pub version_ceiling: Option<Version>,
    /// Death tickets that the value log has prepared and that this edit makes true.
    pub tickets_added: Vec<u64>,
    /// Death tickets that the value log has taken up.
    pub tickets_cleared: Vec<u64>,
    /// Nothing follows: the store was closed in order. Any later edit takes it back.
    pub clean_shutdown: bool,
}

impl VersionEdit {
    /// An edit of one keyspace.
    #[must_use]
    pub fn of(keyspace: KeyspaceEdit) -> Self {
        Self { keyspaces: vec![keyspace], ..Self::default() }
    }

    /// Adds the last version handed out.
    #[must_use]
    pub fn with_last_version(mut self, last_version: Version) -> Self {
        self.last_version = Some(last_version);
        self
    }
}
