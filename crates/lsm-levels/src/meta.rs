//! What the manifest says of a table, so that a version knows its tables without reading them.

use base::{InternalKey, SegmentId, TableId, Version};
use sstable::{TableExpiry, TableSummary};

/// What is known of a table without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableMeta {
    /// Number of the table's file.
    pub id: TableId,
    /// Length of the file in bytes.
    pub file_size: u64,
    /// First entry.
    pub smallest: InternalKey,
    /// Last entry.
    pub largest: InternalKey,
    /// Lowest version of any entry.
    pub min_version: Version,
    /// Highest version of any entry.
    pub max_version: Version,
    /// Number of entries, tombstones among them.
    pub entries: u64,
    /// Number of tombstones.
    pub tombstones: u64,
    /// Bytes of user keys before compression.
    pub user_key_bytes: u64,
    /// Bytes of encoded entries before compression.
    pub value_bytes: u64,
    /// Bytes of entries that newer ones of the same table shadow.
    pub stale_bytes: u64,
    /// Segments of the value log that entries point into, ascending.
    pub segments: Vec<SegmentId>,
    /// Bytes of the records in the value log that entries point to.
    pub pointed_bytes: u64,
    /// When what it holds expires.
    pub expiry: TableExpiry,
    /// Order in level 0: a higher one is newer. Tables with the same one are of one run and disjoint. Without meaning
    /// below level 0.
    pub sequence: u64,
}

impl TableMeta {
    /// What a builder said of its table. The place in level 0 is given when the edit is applied.
    #[must_use]
    pub fn from_summary(summary: TableSummary) -> Self {
        Self {
            id: summary.id,
            file_size: summary.file_size,
            smallest: summary.smallest,
            largest: summary.largest,
            min_version: summary.min_version,
            max_version: summary.max_version,
            entries: summary.entries,
            tombstones: summary.tombstones,
            user_key_bytes: summary.user_key_bytes,
            value_bytes: summary.value_bytes,
            stale_bytes: summary.stale_bytes,
            segments: summary.segments,
            pointed_bytes: summary.pointed_bytes,
            expiry: summary.expiry,
            sequence: 0,
        }
    }

    /// From which moment on, in seconds since the Unix epoch, it is worth writing the table anew for the sake of what has
    /// expired: when that frees, records in the value log included, as many bytes as it writes. Where `keys_stay`, what
    /// expired becomes a tombstone.
    #[must_use]
    pub fn worth_rewriting_from(&self, keys_stay: bool) -> Option<u64> {
        let [keys, values, pointed] = [self.user_key_bytes, self.value_bytes, self.pointed_bytes].map(u128::from);
        let (freed, staying) = if keys_stay { (values + pointed, keys) } else { (keys + values + pointed, 0) };
        let written = keys + values - staying;
        let is_worth_it = |expired: u128| freed * expired >= staying * 8 + written * 8u128.saturating_sub(expired);
        self.expiry.eighths.iter().zip(1..).find(|(_, expired)| is_worth_it(*expired)).map(|(at, _)| *at)
    }

    /// Whether anything in it has expired.
    #[must_use]
    pub fn has_expired(&self, now: u64) -> bool {
        self.expiry.first > 0 && self.expiry.first <= now
    }

    /// Whether some key in the closed range of user keys may be in the table.
    #[must_use]
    pub fn overlaps(&self, first: &[u8], last: &[u8]) -> bool {
        self.smallest.user_key.as_slice() <= last && first <= self.largest.user_key.as_slice()
    }

    /// Whether the user key lies between the table's first and last.
    #[must_use]
    pub fn covers(&self, user_key: &[u8]) -> bool {
        self.overlaps(user_key, user_key)
    }
}
