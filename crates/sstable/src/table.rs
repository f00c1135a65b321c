//! table
use std::path::Path;
use std::sync::Arc;

use base::{SegmentId, TableId, Version};
use vfs::Vfs;

use crate::{CursorOptions, ReadOptions, Result, TableCursor, TableSummary};

/// An open table.
#[derive(Debug)]
pub struct Table {}

/// What a lookup found.
#[derive(Clone, Debug)]
pub struct TableHit {
    /// The version of the entry.
    pub version: Version,
    /// The encoded entry.
    pub value: TableBytes,
}

/// Bytes of a table that stay valid while any clone lives.
#[derive(Clone, Debug)]
pub struct TableBytes(bytes::Bytes);

impl std::ops::Deref for TableBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<TableBytes> for bytes::Bytes {
    fn from(bytes: TableBytes) -> Self {
        bytes.0
    }
}

/// What a whole verification has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedTable {
    /// Blocks read.
    pub blocks: u64,
    /// Entries read.
    pub entries: u64,
    /// Bytes of blocks read, as stored.
    pub bytes: u64,
}

#[allow(missing_docs, clippy::missing_errors_doc, clippy::unimplemented, unused_variables, reason = "first light")]
impl Table {
    pub fn open(vfs: &Arc<dyn Vfs>, dir: &Path, id: TableId, options: ReadOptions) -> Result<Arc<Self>> {
        unimplemented!()
    }
    pub fn id(&self) -> TableId {
        unimplemented!()
    }
    pub fn path(&self) -> &Path {
        unimplemented!()
    }
    pub fn summary(&self) -> &TableSummary {
        unimplemented!()
    }
    pub fn max_version(&self) -> Version {
        unimplemented!()
    }
    pub fn min_version(&self) -> Version {
        unimplemented!()
    }
    pub fn entries(&self) -> u64 {
        unimplemented!()
    }
    pub fn segments(&self) -> &[SegmentId] {
        unimplemented!()
    }
    pub fn file_size(&self) -> u64 {
        unimplemented!()
    }
    pub fn block_count(&self) -> usize {
        unimplemented!()
    }
    pub fn may_contain(&self, hash: u64) -> bool {
        unimplemented!()
    }
    pub fn get(&self, user_key: &[u8], hash: u64, read_version: Version) -> Result<Option<TableHit>> {
        unimplemented!()
    }
    pub fn get_with<R>(
        &self,
        user_key: &[u8],
        hash: u64,
        read_version: Version,
        found: impl FnOnce(Version, &[u8]) -> R,
    ) -> Result<Option<R>> {
        unimplemented!()
    }
    pub fn cursor(self: &Arc<Self>, options: CursorOptions) -> TableCursor {
        unimplemented!()
    }
    pub fn approximate_offset(&self, user_key: &[u8]) -> u64 {
        unimplemented!()
    }
    pub fn verify(&self) -> Result<VerifiedTable> {
        unimplemented!()
    }
}
