//! The index of an open table: its blocks' first keys, places and lengths, as flat arrays within the index bytes.
//!
//! The FlatBuffers root is verified and read once, when the table is opened; what lookups need is kept as slices of the
//! scalar vectors, so that a lookup walks no FlatBuffers table. A search goes over the eight-byte prefixes and compares
//! whole keys only where prefixes tie.
//!
//! Invariants, checked when the table is opened
//! 1. All vectors have one element a block, at least one, and at most [`BLOCKS_MAX`].
//! 2. Blocks follow each other without gaps from the start of the file, and end where the padding before the index starts.
//! 3. Every key ends behind the one before by at least a version and one byte, and the last where the keys end.

use std::path::Path;

use base::{DecodeError, InternalKeyRef, SegmentId, TableId, VERSION_SUFFIX_LEN};
use bytes::Bytes;
use schema::TableIndex;

use crate::expiry::{PARTS, TableExpiry};
use crate::filter::{Filter, FilterError};
use crate::stored_block::STORED_BLOCK_LEN_MIN;
use crate::{Error, Result, TableSummary};

/// Most blocks of a table.
pub(crate) const BLOCKS_MAX: usize = 1 << 27;

/// Longest index in bytes; FlatBuffers end at 2 GiB.
pub(crate) const INDEX_LEN_MAX: u64 = 1 << 30;

/// What to read an index with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexPlace<'a> {
    pub(crate) path: &'a Path,
    pub(crate) table: TableId,
    pub(crate) file_len: u64,
    /// Where the index starts in the file.
    pub(crate) offset: u64,
}

/// The searchable part.
#[derive(Debug)]
pub(crate) struct Index {
    shared_prefix: Bytes,
    key_bytes: Bytes,
    key_ends: Bytes,
    key_prefixes: Bytes,
    block_offsets: Bytes,
    block_lens: Bytes,
    blocks_end: u64,
}

/// Everything that stands in an index.
#[derive(Debug)]
pub(crate) struct OpenedIndex {
    pub(crate) index: Index,
    pub(crate) filter: Filter,
    pub(crate) summary: TableSummary,
}

impl OpenedIndex {
    /// Reads the bytes of an index whose checksum has been compared.
    pub(crate) fn read(bytes: &Bytes, place: IndexPlace<'_>) -> Result<Self> {
        let damaged = |error: DecodeError| Error::from(Box::new(error.at(place.path, place.offset)));
        if !schema::table_index_buffer_has_identifier(bytes.get(..8).map_or(&[0; 8], |_| bytes)) {
            return Err(damaged(DecodeError::new("table index without its identifier")));
        }
        let root = schema::root_as_table_index(bytes)
            .map_err(|_| damaged(DecodeError::new("table index is no well-formed FlatBuffer")))?;
        refuse_unknown(&root, place.path)?;
        let index = Index::read(bytes, &root, place.offset).map_err(damaged)?;
        let filter = read_filter(bytes, &root, place)?;
        let summary = read_summary(&root, place, index.count() as u64).map_err(damaged)?;
        let whole = index.shared_prefix.len() <= summary.smallest.user_key.len()
            && index.key(0) == summary.smallest.as_ref()
            && summary.largest >= summary.smallest;
        if !whole {
            return Err(damaged(DecodeError::new("bounds of the table contradict its index")));
        }
        Ok(Self { index, filter, summary })
    }
}

/// Refuses what a newer program may have written.
fn refuse_unknown(root: &TableIndex<'_>, path: &Path) -> Result<()> {
    let places = [
        ("a required feature of the table index", u64::from(root.required_features())),
        ("a block of range deletes", root.range_delete_offset() | u64::from(root.range_delete_len())),
    ];
    for (what, found) in places {
        if found != 0 {
            let path = path.to_path_buf();
            return Err(Error::Incompatible { path, what, expected: "0".into(), found: found.to_string() });
        }
    }
    Ok(())
}

fn read_filter(bytes: &Bytes, root: &TableIndex<'_>, place: IndexPlace<'_>) -> Result<Filter> {
    let parameters = root.filter_parameters().map(|vector| vector.bytes()).unwrap_or_default();
    let filter = root.filter().map(|vector| bytes.slice_ref(vector.bytes())).unwrap_or_default();
    Filter::open(root.filter_kind(), parameters, filter).map_err(|error| match error {
        FilterError::Damaged(error) => Error::from(Box::new(error.at(place.path, place.offset))),
        FilterError::UnknownKind => Error::Incompatible {
            path: place.path.to_path_buf(),
            what: "the kind of the table filter",
            expected: "0 to 3".into(),
            found: root.filter_kind().to_string(),
        },
    })
}

fn read_summary(
    root: &TableIndex<'_>,
    place: IndexPlace<'_>,
    blocks: u64,
) -> std::result::Result<TableSummary, DecodeError> {
    let key = |bytes| InternalKeyRef::decode(bytes).map(|key| key.to_owned());
    Ok(TableSummary {
        id: place.table,
        file_size: place.file_len,
        smallest: key(root.smallest().bytes())?,
        largest: key(root.largest().bytes())?,
        min_version: root.min_version(),
        max_version: root.max_version(),
        entries: root.entry_count(),
        user_keys: root.key_count(),
        tombstones: root.tombstone_count(),
        blocks,
        user_key_bytes: root.user_key_bytes(),
        value_bytes: root.value_bytes(),
        stale_bytes: root.stale_data_size(),
        uncompressed_bytes: root.uncompressed_size(),
        stored_bytes: root.on_disk_size(),
        segments: root.segments().map(|segments| segments.iter().map(SegmentId).collect()).unwrap_or_default(),
        pointed_bytes: root.pointed_bytes(),
        expiry: read_expiry(root)?,
    })
}

fn read_expiry(root: &TableIndex<'_>) -> std::result::Result<TableExpiry, DecodeError> {
    let eighths: Vec<u64> = root.expiry_eighths().map(|eighths| eighths.iter().collect()).unwrap_or_default();
    if eighths.len() > PARTS || !eighths.is_sorted() {
        return Err(DecodeError::new("moments of expiry in the table index are too many or do not ascend"));
    }
    Ok(TableExpiry { first: root.first_expiry(), eighths })
}

impl Index {
    fn read(bytes: &Bytes, root: &TableIndex<'_>, index_offset: u64) -> std::result::Result<Self, DecodeError> {
        let key_bytes = bytes.slice_ref(root.key_bytes().bytes());
        let shared_prefix_len = root.shared_prefix_len() as usize;
        let index = Self {
            shared_prefix: key_bytes
                .get(..shared_prefix_len)
                .map(|prefix| bytes.slice_ref(prefix))
                .ok_or(DecodeError::new("keys of the table index are shorter than what they share"))?,
            key_bytes,
            key_ends: bytes.slice_ref(root.key_ends().bytes()),
            key_prefixes: bytes.slice_ref(root.key_prefixes().bytes()),
            block_offsets: bytes.slice_ref(root.block_offsets().bytes()),
            block_lens: bytes.slice_ref(root.block_lens().bytes()),
            blocks_end: index_offset,
        };
        let count = index.count();
        let of_one_length = index.key_ends.len() == count * 4
            && index.key_prefixes.len() == count * 8
            && index.block_lens.len() == count * 4;
        if count == 0 || count > BLOCKS_MAX || !of_one_length {
            return Err(DecodeError::new("vectors of the table index are not of one length"));
        }
        index.check_keys()?;
        let blocks_end = index.check_blocks()?;
        if blocks_end.next_multiple_of(INDEX_ALIGNMENT) != index_offset {
            return Err(DecodeError::new("blocks do not end where the table index starts"));
        }
        Ok(Self { blocks_end, ..index })
    }

    fn check_keys(&self) -> std::result::Result<(), DecodeError> {
        let mut start = 0;
        for end in self.key_ends.as_chunks::<4>().0 {
            let end = u32::from_le_bytes(*end) as usize;
            if end <= start + VERSION_SUFFIX_LEN {
                return Err(DecodeError::new("keys of the table index end before they start"));
            }
            start = end;
        }
        if start == self.key_bytes.len() {
            return Ok(());
        }
        Err(DecodeError::new("keys of the table index do not fill their bytes"))
    }

    /// Where the last block ends.
    fn check_blocks(&self) -> std::result::Result<u64, DecodeError> {
        let mut end = 0u64;
        for (offset, len) in self.block_offsets.as_chunks::<8>().0.iter().zip(self.block_lens.as_chunks::<4>().0) {
            let len = u64::from(u32::from_le_bytes(*len));
            if u64::from_le_bytes(*offset) != end || len < STORED_BLOCK_LEN_MIN as u64 {
                return Err(DecodeError::new("blocks do not follow each other"));
            }
            end += len; // at most 2^27 times 2^32
        }
        Ok(end)
    }

    /// Number of blocks.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.block_offsets.len() / 8
    }

    /// Where the last block ends in the file.
    pub(crate) fn blocks_end(&self) -> u64 {
        self.blocks_end
    }

    /// The last block whose first key is at or before `key`; `None` where `key` is before all.
    #[inline]
    pub(crate) fn find(&self, key: InternalKeyRef<'_>) -> Option<usize> {
        let shared = self.shared_prefix.len();
        let Some((front, rest)) = key.user_key.split_at_checked(shared) else {
            return self.find_outside(key);
        };
        if front != &self.shared_prefix[..] {
            return self.find_outside(key);
        }
        let wanted = key_prefix(rest);
        let prefixes = self.key_prefixes.as_chunks::<8>().0;
        let below = prefixes.partition_point(|prefix| u64::from_le_bytes(*prefix) < wanted);
        if prefixes.get(below).is_none_or(|prefix| u64::from_le_bytes(*prefix) != wanted) {
            return below.checked_sub(1);
        }
        self.find_among_ties(key, wanted, below)
    }

    /// Where `key` does not start with what all keys of the table share.
    #[cold]
    fn find_outside(&self, key: InternalKeyRef<'_>) -> Option<usize> {
        if key.user_key < &self.shared_prefix[..] { None } else { self.count().checked_sub(1) }
    }

    /// Compares whole keys among those whose prefix is `wanted`, from block `first` on.
    fn find_among_ties(&self, key: InternalKeyRef<'_>, wanted: u64, first: usize) -> Option<usize> {
        let prefixes = self.key_prefixes.as_chunks::<8>().0.get(first..).unwrap_or_default();
        let ties = prefixes.partition_point(|prefix| u64::from_le_bytes(*prefix) <= wanted);
        let (mut low, mut high) = (first, first + ties);
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle) <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1)
    }

    /// The first key of a block.
    #[inline]
    pub(crate) fn key(&self, block: usize) -> InternalKeyRef<'_> {
        let ends = self.key_ends.as_chunks::<4>().0;
        let end = |block: usize| ends.get(block).map_or(0, |end| u32::from_le_bytes(*end) as usize);
        let start = block.checked_sub(1).map_or(0, end);
        let bytes = self.key_bytes.get(start..end(block)).unwrap_or_default();
        InternalKeyRef::decode(bytes).unwrap_or(InternalKeyRef::new(&[], 0))
    }

    /// Whether the first key of a block is of `user_key`; `false` behind the last block.
    #[inline]
    pub(crate) fn starts_with(&self, block: usize, user_key: &[u8]) -> bool {
        let prefixes = self.key_prefixes.as_chunks::<8>().0;
        let rest = user_key.get(self.shared_prefix.len()..).unwrap_or_default();
        prefixes.get(block).is_some_and(|prefix| u64::from_le_bytes(*prefix) == key_prefix(rest))
            && self.key(block).user_key == user_key
    }

    /// Where a block stands in the file and how long it is there; an empty place behind the last.
    #[inline]
    pub(crate) fn place(&self, block: usize) -> (u64, usize) {
        let offset = self.block_offsets.as_chunks::<8>().0.get(block);
        let len = self.block_lens.as_chunks::<4>().0.get(block);
        match (offset, len) {
            (Some(offset), Some(len)) => (u64::from_le_bytes(*offset), u32::from_le_bytes(*len) as usize),
            _ => (self.blocks_end, 0),
        }
    }
}

/// The index starts at a multiple of this many bytes.
pub(crate) const INDEX_ALIGNMENT: u64 = 8;

/// The first eight bytes of `key` as a big-endian number, filled up with zeros: ordered as keys are, ties aside.
#[inline]
pub(crate) fn key_prefix(key: &[u8]) -> u64 {
    if let Some(bytes) = key.first_chunk::<8>() {
        return u64::from_be_bytes(*bytes);
    }
    key.iter().fold((0, 56), |(prefix, shift), byte| (prefix | u64::from(*byte) << shift, shift.max(8) - 8)).0
}

#[cfg(test)]
mod tests;
