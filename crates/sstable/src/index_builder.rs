//! Gathers what the index of a table says, and writes it as a FlatBuffer.

use base::{InternalKey, InternalKeyRef};
use schema::{TableIndex, TableIndexArgs, flatbuffers};

use crate::TableSummary;
use crate::block_builder::shared_prefix_len;
use crate::filter::BuiltFilter;
use crate::index::key_prefix;

/// The blocks of a table so far.
#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    key_bytes: Vec<u8>,
    key_ends: Vec<u32>,
    block_offsets: Vec<u64>,
    block_lens: Vec<u32>,
}

impl IndexBuilder {
    /// Notes the first key of the next block.
    pub(crate) fn start_block(&mut self, first: InternalKeyRef<'_>) {
        first.encode_into(&mut self.key_bytes);
        // The table builder keeps the index below 1 GiB.
        self.key_ends.push(self.key_bytes.len() as u32);
    }

    /// Notes where the block was written.
    pub(crate) fn finish_block(&mut self, offset: u64, len: u32) {
        self.block_offsets.push(offset);
        self.block_lens.push(len);
    }

    pub(crate) fn blocks(&self) -> usize {
        self.block_offsets.len()
    }

    /// Length of the vectors of blocks in bytes.
    pub(crate) fn len(&self) -> u64 {
        (self.key_bytes.len() + self.key_ends.len() * (4 + 8 + 8 + 4)) as u64
    }

    /// The index as it is stored.
    pub(crate) fn finish(&self, summary: &TableSummary, filter: &BuiltFilter) -> Vec<u8> {
        let shared_prefix_len = shared_prefix_len(&summary.smallest.user_key, &summary.largest.user_key);
        let encoded = |key: &InternalKey| {
            let mut bytes = Vec::with_capacity(key.as_ref().encoded_len());
            key.as_ref().encode_into(&mut bytes);
            bytes
        };
        let segments: Vec<u32> = summary.segments.iter().map(|segment| segment.0).collect();
        let expected_len = self.len() as usize + filter.bytes.len() + 4 * segments.len() + 4_096;
        let mut fbb = flatbuffers::FlatBufferBuilder::with_capacity(expected_len);
        let args = TableIndexArgs {
            required_features: 0,
            key_bytes: Some(fbb.create_vector(&self.key_bytes)),
            key_ends: Some(fbb.create_vector(&self.key_ends)),
            shared_prefix_len: shared_prefix_len as u32,
            key_prefixes: Some(fbb.create_vector(&self.prefixes(shared_prefix_len))),
            block_offsets: Some(fbb.create_vector(&self.block_offsets)),
            block_lens: Some(fbb.create_vector(&self.block_lens)),
            filter_kind: filter.kind,
            filter_parameters: Some(fbb.create_vector(&filter.parameters)),
            filter: Some(fbb.create_vector(&filter.bytes)),
            smallest: Some(fbb.create_vector(&encoded(&summary.smallest))),
            largest: Some(fbb.create_vector(&encoded(&summary.largest))),
            min_version: summary.min_version,
            max_version: summary.max_version,
            entry_count: summary.entries,
            key_count: summary.user_keys,
            tombstone_count: summary.tombstones,
            user_key_bytes: summary.user_key_bytes,
            value_bytes: summary.value_bytes,
            stale_data_size: summary.stale_bytes,
            uncompressed_size: summary.uncompressed_bytes,
            on_disk_size: summary.stored_bytes,
            segments: Some(fbb.create_vector(&segments)),
            range_delete_offset: 0,
            range_delete_len: 0,
            pointed_bytes: summary.pointed_bytes,
            first_expiry: summary.expiry.first,
            expiry_eighths: Some(fbb.create_vector(&summary.expiry.eighths)),
        };
        let root = TableIndex::create(&mut fbb, &args);
        schema::finish_table_index_buffer(&mut fbb, root);
        fbb.finished_data().to_vec()
    }

    fn prefixes(&self, shared_prefix_len: usize) -> Vec<u64> {
        let mut start = 0;
        let user_key = |end: &u32| {
            let key = self.key_bytes.get(start..*end as usize).unwrap_or_default();
            start = *end as usize;
            let user_key = InternalKeyRef::decode(key).map_or(&[][..], |key| key.user_key);
            key_prefix(user_key.get(shared_prefix_len..).unwrap_or_default())
        };
        self.key_ends.iter().map(user_key).collect()
    }
}
