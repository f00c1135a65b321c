//! The encoded value of an entry, the same in memtables and tables.
//!
//! ```text
//! entry := flags u8 | user_meta u8 | expires_at varint | payload
//! flags := kind (low 4 bits) | 0x10 discard earlier versions | 0x20 value compressed; the two high bits are 0
//! kind  := 0 put (payload: the value)          1 pointer (payload: 12-byte pointer, value length varint)
//!          2 delete (payload: empty)           3 merge (payload: operand list)
//!          4 range delete (payload: end key)
//! ```
//! An unknown kind or flag bit is refused: it was written by a newer program.

use crate::{DecodeError, varint};

const KIND_MASK: u8 = 0x0f;
const DISCARD_EARLIER: u8 = 0x10;
const VALUE_COMPRESSED: u8 = 0x20;
const UNKNOWN: u8 = 0xc0;

/// Most bytes that the meta of an encoded entry takes before the payload.
pub const ENTRY_META_LEN_MAX: usize = 2 + varint::LEN_MAX;

/// What an entry does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// Sets the key to the value in the payload.
    Put = 0,
    /// Sets the key to a value in the value log; the payload is a [`PointerPayload`](crate::PointerPayload).
    Pointer = 1,
    /// Deletes the key (a tombstone).
    Delete = 2,
    /// Carries merge operands.
    Merge = 3,
    /// Deletes the keys from this one up to the end key in the payload.
    RangeDelete = 4,
}

impl EntryKind {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Put,
            1 => Self::Pointer,
            2 => Self::Delete,
            3 => Self::Merge,
            4 => Self::RangeDelete,
            _ => return None,
        })
    }
}

/// Everything of an entry besides its key and payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryMeta {
    /// What the entry does.
    pub kind: EntryKind,
    /// Older versions of the key are of no interest to anyone who sees this one.
    pub discard_earlier: bool,
    /// The value behind a pointer is stored compressed.
    pub value_compressed: bool,
    /// A byte that belongs to the caller.
    pub user_meta: u8,
    /// Seconds since the Unix epoch from which on the entry counts as deleted; `0` is never.
    pub expires_at: u64,
}

impl EntryMeta {
    /// Meta of the given kind and nothing else set.
    #[must_use]
    pub const fn of(kind: EntryKind) -> Self {
        Self { kind, discard_earlier: false, value_compressed: false, user_meta: 0, expires_at: 0 }
    }

    /// Meta of a plain value.
    #[must_use]
    pub const fn put() -> Self {
        Self::of(EntryKind::Put)
    }

    /// Meta of a tombstone.
    #[must_use]
    pub const fn delete() -> Self {
        Self::of(EntryKind::Delete)
    }

    /// The flags byte.
    #[must_use]
    pub const fn flags(&self) -> u8 {
        self.kind as u8
            | if self.discard_earlier { DISCARD_EARLIER } else { 0 }
            | if self.value_compressed { VALUE_COMPRESSED } else { 0 }
    }

    /// Meta from a flags byte and the two other fields.
    ///
    /// # Errors
    /// When the byte holds a kind or a flag that this program does not know.
    pub fn from_parts(flags: u8, user_meta: u8, expires_at: u64) -> Result<Self, DecodeError> {
        if flags & UNKNOWN != 0 {
            return Err(DecodeError::new("unknown entry flag"));
        }
        let kind = EntryKind::from_bits(flags & KIND_MASK).ok_or(DecodeError::new("unknown entry kind"))?;
        Ok(Self {
            kind,
            discard_earlier: flags & DISCARD_EARLIER != 0,
            value_compressed: flags & VALUE_COMPRESSED != 0,
            user_meta,
            expires_at,
        })
    }

    /// Whether a reader whose clock shows `now` (seconds since the Unix epoch) sees this entry as a tombstone.
    #[must_use]
    pub const fn is_deleted_at(&self, now: u64) -> bool {
        matches!(self.kind, EntryKind::Delete) || self.is_expired_at(now)
    }

    /// Whether the entry has a time to live that is over at `now` (seconds since the Unix epoch).
    #[must_use]
    pub const fn is_expired_at(&self, now: u64) -> bool {
        self.expires_at != 0 && self.expires_at <= now
    }
}

/// A borrowed entry: meta and payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// Kind, flags, user meta and expiry.
    pub meta: EntryMeta,
    /// What the kind says it is.
    pub payload: &'a [u8],
}

impl<'a> EntryRef<'a> {
    /// Pairs meta with a payload.
    #[must_use]
    pub const fn new(meta: EntryMeta, payload: &'a [u8]) -> Self {
        Self { meta, payload }
    }

    /// Length of the encoded form in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        2 + varint::len(self.meta.expires_at) + self.payload.len()
    }

    /// Writes the bytes in front of the payload into `buffer` and says how many there are.
    #[must_use]
    pub fn encode_meta(&self, buffer: &mut [u8; ENTRY_META_LEN_MAX]) -> usize {
        buffer[0] = self.meta.flags();
        buffer[1] = self.meta.user_meta;
        if self.meta.expires_at == 0 {
            buffer[2] = 0;
            return 3;
        }
        let mut varint_bytes = [0; varint::LEN_MAX];
        let len = varint::encode(self.meta.expires_at, &mut varint_bytes);
        for (to, from) in buffer.iter_mut().skip(2).zip(varint_bytes.iter().take(len)) {
            *to = *from;
        }
        2 + len
    }

    /// Appends the encoded form to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.push(self.meta.flags());
        out.push(self.meta.user_meta);
        varint::push(self.meta.expires_at, out);
        out.extend_from_slice(self.payload);
    }

    /// Splits an encoded entry.
    ///
    /// # Errors
    /// When the bytes are cut short or hold a kind or flag that this program does not know.
    #[inline]
    pub fn decode(encoded: &'a [u8]) -> Result<Self, DecodeError> {
        let ([flags, user_meta], rest) =
            encoded.split_first_chunk::<2>().ok_or(DecodeError::new("entry shorter than its meta"))?;
        let (expires_at, payload) = varint::decode(rest)?;
        Ok(Self { meta: EntryMeta::from_parts(*flags, *user_meta, expires_at)?, payload })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unknown_kinds_and_flags_are_refused() {
        for flags in 0..=u8::MAX {
            let known = flags & KIND_MASK <= 4 && flags & UNKNOWN == 0;
            assert_eq!(EntryMeta::from_parts(flags, 0, 0).is_ok(), known, "flags {flags:#04x}");
        }
    }

    proptest! {
        #[test]
        fn encode_then_decode_is_identity(
            kind in 0u8..5, discard: bool, compressed: bool, user_meta: u8, expires_at: u64,
            payload in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let kind = EntryKind::from_bits(kind).unwrap();
            let meta = EntryMeta { kind, discard_earlier: discard, value_compressed: compressed, user_meta, expires_at };
            let entry = EntryRef::new(meta, &payload);
            let mut encoded = Vec::new();
            entry.encode_into(&mut encoded);
            prop_assert_eq!(encoded.len(), entry.encoded_len());
            prop_assert_eq!(EntryRef::decode(&encoded).unwrap(), entry);
            let mut head = [0; ENTRY_META_LEN_MAX];
            let head_len = entry.encode_meta(&mut head);
            prop_assert_eq!(&head[..head_len], &encoded[..encoded.len() - payload.len()]);
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let _ = EntryRef::decode(&bytes);
        }
    }

    #[test]
    fn expiry_is_inclusive_and_zero_is_never() {
        let mut meta = EntryMeta::put();
        assert!(!meta.is_deleted_at(u64::MAX));
        meta.expires_at = 10;
        assert!(!meta.is_deleted_at(9));
        assert!(meta.is_deleted_at(10));
    }
}
