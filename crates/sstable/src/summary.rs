//! What is known of a whole table, and what its file is called.

use std::path::{Path, PathBuf};

use crate::expiry::TableExpiry;
use base::{EntryKind, InternalKey, InternalKeyRef, SegmentId, TableId, ValuePointer, Version};

/// What is known of a whole table. All sums are of bytes before compression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSummary {
    /// The table's number.
    pub id: TableId,
    /// Length of the file in bytes.
    pub file_size: u64,
    /// The first entry.
    pub smallest: InternalKey,
    /// The last entry.
    pub largest: InternalKey,
    /// The oldest version of any entry.
    pub min_version: Version,
    /// The newest version of any entry.
    pub max_version: Version,
    /// Number of entries.
    pub entries: u64,
    /// Number of distinct user keys.
    pub user_keys: u64,
    /// Number of tombstones among the entries.
    pub tombstones: u64,
    /// Number of data blocks.
    pub blocks: u64,
    /// Bytes of all user keys, each counted as often as it stands in an entry.
    pub user_key_bytes: u64,
    /// Bytes of all encoded entries.
    pub value_bytes: u64,
    /// Bytes of user keys and encoded entries that a newer entry of the same key in this table shadows, and of
    /// tombstones: what compaction may win back.
    pub stale_bytes: u64,
    /// Bytes of all blocks before compression.
    pub uncompressed_bytes: u64,
    /// Bytes of all blocks as stored.
    pub stored_bytes: u64,
    /// The segments of the value log that entries point into, ascending.
    pub segments: Vec<SegmentId>,
    /// Bytes of the records in the value log that entries point to.
    pub pointed_bytes: u64,
    /// When what it holds expires.
    pub expiry: TableExpiry,
}

impl TableSummary {
    /// Of a table without entries.
    pub(crate) fn empty(id: TableId) -> Self {
        Self {
            id,
            file_size: 0,
            smallest: InternalKey::default(),
            largest: InternalKey::default(),
            min_version: Version::MAX,
            max_version: 0,
            entries: 0,
            user_keys: 0,
            tombstones: 0,
            blocks: 0,
            user_key_bytes: 0,
            value_bytes: 0,
            stale_bytes: 0,
            uncompressed_bytes: 0,
            stored_bytes: 0,
            segments: Vec::new(),
            pointed_bytes: 0,
            expiry: TableExpiry::default(),
        }
    }

    /// Counts an entry behind those counted so far; `new_key` says whether its user key is not that of the last.
    #[inline]
    pub(crate) fn count(
        &mut self,
        key: InternalKeyRef<'_>,
        entry_len: usize,
        new_key: bool,
        kind: EntryKind,
        pointer: Option<ValuePointer>,
    ) {
        if self.entries == 0 {
            self.smallest.assign(key);
        }
        if new_key {
            self.largest.assign(key);
            self.user_keys += 1;
        } else {
            self.largest.version = key.version;
        }
        let tombstone = kind == EntryKind::Delete;
        if tombstone || !new_key {
            self.stale_bytes += (key.user_key.len() + entry_len) as u64;
        }
        self.tombstones += u64::from(tombstone);
        self.entries += 1;
        self.min_version = self.min_version.min(key.version);
        self.max_version = self.max_version.max(key.version);
        self.user_key_bytes += key.user_key.len() as u64;
        self.value_bytes += entry_len as u64;
        if let Some(pointer) = pointer {
            self.pointed_bytes += u64::from(pointer.len);
            if let Err(place) = self.segments.binary_search(&pointer.segment) {
                self.segments.insert(place, pointer.segment);
            }
        }
    }
}

/// Bytes of a user key, its encoded entry, and the record in the value log that it points to.
#[inline]
pub(crate) fn reach(key: InternalKeyRef<'_>, entry: &[u8], pointer: Option<ValuePointer>) -> u64 {
    (key.user_key.len() + entry.len()) as u64 + pointer.map_or(0, |pointer| u64::from(pointer.len))
}

/// The name of a table: its number in at least six digits, then `.sst`.
#[must_use]
pub fn table_path(dir: &Path, id: TableId) -> PathBuf {
    dir.join(format!("{:06}.sst", id.0))
}

/// The name under which a table is built. A file of that name is what an interrupted build left.
pub(crate) fn temporary_path(dir: &Path, id: TableId) -> PathBuf {
    dir.join(format!("{:06}.sst.tmp", id.0))
}
