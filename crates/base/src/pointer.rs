//! Pointers into the value log.

use crate::{DecodeError, SegmentId, varint};

/// Where a value's record stands in the value log: a *logical* address, stable for the life of the record.
///
/// Encoded as `[segment u32][len u32][offset u32]`, big-endian, 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValuePointer {
    /// The segment to which the record was first written.
    pub segment: SegmentId,
    /// Length of the whole record, header to checksum, in bytes: one read fetches it.
    pub len: u32,
    /// Where the record starts in that segment, in bytes.
    pub offset: u32,
}

impl ValuePointer {
    /// Length of the encoded form in bytes.
    pub const ENCODED_LEN: usize = 12;

    /// The encoded form.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::ENCODED_LEN] {
        let ([a, b, c, d], [e, f, g, h], [i, j, k, l]) =
            (self.segment.0.to_be_bytes(), self.len.to_be_bytes(), self.offset.to_be_bytes());
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }

    /// Reads the encoded form.
    #[must_use]
    pub fn decode(encoded: &[u8; Self::ENCODED_LEN]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *encoded;
        Self {
            segment: SegmentId(u32::from_be_bytes([a, b, c, d])),
            len: u32::from_be_bytes([e, f, g, h]),
            offset: u32::from_be_bytes([i, j, k, l]),
        }
    }
}

/// A position in the value log: everything before it was appended earlier. The default is before the first record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueLogHead {
    /// The segment that is appended to.
    pub segment: SegmentId,
    /// Bytes that it holds.
    pub offset: u32,
}

/// The payload of a [`Pointer`](crate::EntryKind::Pointer) entry: the pointer, then the value's length as a varint, so
/// that lengths never need the value log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointerPayload {
    /// Where the record is.
    pub pointer: ValuePointer,
    /// Length of the value as the caller gave it, in bytes.
    pub value_len: u64,
}

impl PointerPayload {
    /// Most bytes that the encoded form takes.
    pub const LEN_MAX: usize = ValuePointer::ENCODED_LEN + varint::LEN_MAX;

    /// Appends the encoded form to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.pointer.encode());
        varint::push(self.value_len, out);
    }

    /// Reads the encoded form.
    ///
    /// # Errors
    /// When the bytes are cut short, or go on behind the length.
    pub fn decode(encoded: &[u8]) -> Result<Self, DecodeError> {
        let (pointer, rest) = encoded
            .split_first_chunk::<{ ValuePointer::ENCODED_LEN }>()
            .ok_or(DecodeError::new("value pointer cut short"))?;
        let (value_len, rest) = varint::decode(rest)?;
        if !rest.is_empty() {
            return Err(DecodeError::new("bytes behind a value pointer"));
        }
        Ok(Self { pointer: ValuePointer::decode(pointer), value_len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pointer_is_twelve_big_endian_bytes_then_the_length() {
        let payload = PointerPayload {
            pointer: ValuePointer { segment: SegmentId(1), len: 0x0203, offset: 0x0405_0607 },
            value_len: 300,
        };
        let mut encoded = Vec::new();
        payload.encode_into(&mut encoded);
        assert_eq!(encoded, [0, 0, 0, 1, 0, 0, 2, 3, 4, 5, 6, 7, 0xac, 2]);
        assert_eq!(PointerPayload::decode(&encoded).unwrap(), payload);
        for cut in 0..encoded.len() {
            assert!(PointerPayload::decode(&encoded[..cut]).is_err());
        }
        encoded.push(0);
        assert!(PointerPayload::decode(&encoded).is_err());
    }
}
