//! Reads a whole table and holds it against everything that is said of it.

use std::sync::Arc;

use base::{Cursor, DecodeError, EntryKind, EntryRef, PointerPayload, key_hash};

use crate::block::{Layout, fingerprint, head};
use crate::expiry::ExpirySketch;
use crate::summary::reach;
use crate::{CursorOptions, Error, Result, Table, TableSummary};

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

impl Table {
    /// Reads every block from the file and compares its checksum, the order and form of all entries, the columns,
    /// the filter, the index, and the sums that the table states.
    ///
    /// # Errors
    /// At the first thing that is wrong.
    pub fn verify(self: &Arc<Self>) -> Result<VerifiedTable> {
        let mut bytes = 0;
        for number in 0..self.block_count() {
            let place = self.place(number);
            self.source.verify(place)?;
            self.verify_columns(number)?;
            bytes += place.len as u64;
        }
        let (sums, expiry) = self.verify_entries()?;
        let stated = self.summary();
        let same = sums.entries == stated.entries
            && sums.user_keys == stated.user_keys
            && sums.tombstones == stated.tombstones
            && sums.largest == stated.largest
            && (sums.min_version, sums.max_version) == (stated.min_version, stated.max_version)
            && (sums.user_key_bytes, sums.value_bytes) == (stated.user_key_bytes, stated.value_bytes)
            && sums.stale_bytes == stated.stale_bytes
            && sums.segments == stated.segments
            && sums.pointed_bytes == stated.pointed_bytes
            && expiry.confirms(&stated.expiry)
            && bytes == stated.stored_bytes;
        if !same {
            return Err(Error::corrupt(
                self.path(),
                self.index.blocks_end(),
                "table index states other sums than its entries",
            ));
        }
        Ok(VerifiedTable { blocks: self.block_count() as u64, entries: sums.entries, bytes })
    }

    fn verify_columns(&self, number: usize) -> Result<()> {
        let place = self.place(number);
        let bytes = self.source.fetch(place, false, None)?;
        let corrupt = |error| self.source.corrupt(place, error);
        let layout = Layout::parse(&bytes).map_err(corrupt)?;
        let block = layout.of(&bytes);
        let (shared_by_all, heads) = block.stated_heads();
        let mut user_key = Vec::new();
        for (index, stated_head) in heads.enumerate() {
            let entry = block.entry(index).map_err(corrupt)?;
            let group_key = block.group_key(index).map_err(corrupt)?;
            user_key.clear();
            user_key.extend_from_slice(group_key.get(..entry.shared).unwrap_or_default());
            user_key.extend_from_slice(entry.rest);
            if block.fingerprint(index) != Some(fingerprint(key_hash(&user_key))) {
                return Err(corrupt(DecodeError::new("fingerprint of a block entry is not its key's")));
            }
            if user_key.get(shared_by_all..).map(head) != Some(stated_head) {
                return Err(corrupt(DecodeError::new("head of a block entry is not its key's")));
            }
        }
        Ok(())
    }

    fn verify_entries(self: &Arc<Self>) -> Result<(TableSummary, ExpirySketch)> {
        let mut sums = TableSummary::empty(self.id());
        let mut expiry = ExpirySketch::default();
        let mut cursor = self.cursor(CursorOptions { fill_cache: false, read_ahead: true });
        cursor.seek_to_first()?;
        let mut block = 0;
        while cursor.valid() {
            let key = cursor.key();
            let corrupt = |what| Error::corrupt(self.path(), self.index.place(cursor.block_number()).0, what);
            let first = sums.entries == 0;
            if !first && key <= sums.largest.as_ref() {
                return Err(corrupt("block entries are not in order"));
            }
            if cursor.block_number() == block {
                if key != self.index.key(block) {
                    return Err(corrupt("first key of a block is not the one in the table index"));
                }
                block += 1;
            }
            if !self.may_contain(key_hash(key.user_key)) {
                return Err(corrupt("table filter misses a key"));
            }
            let entry = EntryRef::decode(cursor.value()).map_err(|error| corrupt(error.what()))?;
            let pointer = match entry.meta.kind {
                EntryKind::Pointer => {
                    Some(PointerPayload::decode(entry.payload).map_err(|error| corrupt(error.what()))?.pointer)
                }
                _ => None,
            };
            let new_key = first || key.user_key != sums.largest.user_key;
            sums.count(key, cursor.value().len(), new_key, entry.meta.kind, pointer);
            expiry.count(&entry.meta, reach(key, cursor.value(), pointer));
            cursor.next()?;
        }
        Ok((sums, expiry))
    }
}
