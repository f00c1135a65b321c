//! The claim at the front of every record: how far this log and the value log were known to be durable when the record
//! was written.
//!
//! ```text
//! synced offsets: log varint | value-log segment varint | value-log offset varint        3 to 20 bytes
//! ```
//!
//! A claim is a fact for ever, so the highest one found anywhere in a log separates rot (below it) from a tail that
//! never reached the disk (above it).

use base::{DecodeError, SegmentId, ValueLogHead, varint};

/// Most bytes that encoded offsets take.
pub(crate) const SYNCED_LEN_MAX: usize = 20;

/// Up to where this log and the value log are durable. Everything before survives a power loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SyncedOffsets {
    /// Bytes of the log, from its start.
    pub log: u64,
    /// Position in the value log.
    pub value_log: ValueLogHead,
}

impl SyncedOffsets {
    /// Raises each of the two positions to that of `other` where that is higher.
    pub(crate) fn raise(&mut self, other: Self) {
        self.log = self.log.max(other.log);
        self.value_log = self.value_log.max(other.value_log);
    }

    /// Appends the encoded form.
    pub(crate) fn push(&self, out: &mut Vec<u8>) {
        varint::push(self.log, out);
        varint::push(u64::from(self.value_log.segment.0), out);
        varint::push(u64::from(self.value_log.offset), out);
    }

    /// Bytes that [`push`](Self::push) appends.
    pub(crate) fn encoded_len(&self) -> usize {
        varint::len(self.log)
            + varint::len(u64::from(self.value_log.segment.0))
            + varint::len(u64::from(self.value_log.offset))
    }

    /// Reads offsets from the front of `bytes` and returns them with what is behind.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let (log, rest) = varint::decode(bytes)?;
        let (segment, rest) = varint::decode_u32(rest)?;
        let (offset, rest) = varint::decode_u32(rest)?;
        Ok((Self { log, value_log: ValueLogHead { segment: SegmentId(segment), offset } }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_offsets_fit_the_room_that_every_fragment_leaves_for_them() {
        let longest =
            SyncedOffsets { log: u64::MAX, value_log: ValueLogHead { segment: SegmentId(u32::MAX), offset: u32::MAX } };
        for offsets in [SyncedOffsets::default(), longest] {
            let mut encoded = Vec::new();
            offsets.push(&mut encoded);
            assert_eq!(encoded.len(), offsets.encoded_len());
            assert!(encoded.len() <= SYNCED_LEN_MAX);
            encoded.push(7);
            assert_eq!(SyncedOffsets::decode(&encoded), Ok((offsets, &[7][..])));
        }
        assert_eq!(longest.encoded_len(), SYNCED_LEN_MAX);
    }

    #[test]
    fn raising_keeps_the_higher_of_each_position() {
        let head = |segment, offset| ValueLogHead { segment: SegmentId(segment), offset };
        let mut synced = SyncedOffsets { log: 10, value_log: head(2, 5) };
        synced.raise(SyncedOffsets { log: 7, value_log: head(3, 1) });
        assert_eq!(synced, SyncedOffsets { log: 10, value_log: head(3, 1) });
    }
}
