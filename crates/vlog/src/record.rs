//! One record of a segment.
//!
//! ```text
//! record := header | user key | version complement | value | checksum
//! header :=
//!    0 flags        u8, as in an entry of the tree
//!    1 user meta    u8
//!    2 key length   u16, of the user key, 1 to 65,535
//!    4 value length u32
//!    8 owner        u32
//!   12 expires at   u64, seconds since the Unix epoch; 0 is never
//! version complement := u64 big-endian, !version; user key and complement are the internal key
//! checksum           := u32, CRC-32 of everything before it, started from the CRC-32 of the file's salt
//! ```
//! Where the flags say so the value is a compressed one, see `compressed`; its length and the checksum are those of the
//! bytes as stored. The header has a fixed size, so the length of the value follows from the length of the record and of the key. A
//! header of zeros is no record: it is space that was allocated and not written.
//!
//! In a collected segment each record stands behind its address, which the checksum covers too:
//!
//! ```text
//! collected record := origin | record
//! origin           := segment u32 | offset u32
//! ```
//!
//! In an encrypted segment key and value are sealed, each as a piece of its own, so that a walk over records need not
//! decrypt values. Lengths in pointers do not count the tags, as a record may move between segments of either kind:
//!
//! ```text
//! sealed record := header | internal key, encrypted | value, encrypted | tag of the key | tag of the value | checksum
//! ```
//! The position is that of the record in the file (of its address, where that stands in front), the domain 0 for the key
//! and 1 for the value; associated is what stands in front of the key.

use base::limits::{USER_KEY_LEN_MAX, VALUE_LEN_MAX};
use base::{DecodeError, EntryKind, EntryMeta, InternalKeyRef, SegmentId, VERSION_SUFFIX_LEN};

use encryption::{FileCipher, TAG_LEN};

use crate::fields::Fields;
use crate::{Error, Result};

/// Length of a record's header in bytes.
pub(crate) const RECORD_HEADER_LEN: usize = 20;
pub(crate) const CHECKSUM_LEN: usize = 4;
/// Length of the address in front of a collected record, in bytes.
pub(crate) const ORIGIN_LEN: usize = 8;

/// Length of the two tags of a sealed record in bytes.
pub(crate) const SEALS_LEN: usize = 2 * TAG_LEN;

const KEY_DOMAIN: u32 = 0;
const VALUE_DOMAIN: u32 = 1;

/// Bytes that a record takes beside its user key and its value.
pub const RECORD_OVERHEAD: usize = RECORD_HEADER_LEN + VERSION_SUFFIX_LEN + CHECKSUM_LEN;

/// Length of the value, as it is stored, in a record of `record_len` bytes under a user key of `user_key_len` bytes;
/// `None` where there is no such record.
#[must_use]
pub fn value_len(record_len: u32, user_key_len: usize) -> Option<u32> {
    u32::try_from(user_key_len + RECORD_OVERHEAD).ok().and_then(|overhead| record_len.checked_sub(overhead))
}

/// Length of the record of a user key and a value of these lengths, in bytes.
#[must_use]
pub fn record_len(user_key_len: usize, value_len: usize) -> u64 {
    RECORD_OVERHEAD as u64 + user_key_len as u64 + value_len as u64
}

/// Where a record was first written, which is its address for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Origin {
    pub(crate) segment: SegmentId,
    pub(crate) offset: u32,
}

impl Origin {
    pub(crate) fn encode(self) -> [u8; ORIGIN_LEN] {
        let mut bytes = [0; ORIGIN_LEN];
        let (segment, offset) = bytes.split_at_mut(4);
        segment.copy_from_slice(&self.segment.0.to_le_bytes());
        offset.copy_from_slice(&self.offset.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> std::result::Result<Self, DecodeError> {
        let mut fields = Fields::new(bytes);
        Ok(Self { segment: SegmentId(fields.u32()?), offset: fields.u32()? })
    }
}

/// Seals the record at `position` that stands at the end of `out`, from `start` on, with `plain_len` bytes in front of its
/// internal key of `key_len` bytes, and appends its tags.
pub(crate) fn seal(
    cipher: &FileCipher,
    position: u64,
    out: &mut Vec<u8>,
    start: usize,
    plain_len: usize,
    key_len: usize,
) {
    let record = out.get_mut(start..).unwrap_or_default();
    let Some((associated, text)) = record.split_at_mut_checked(plain_len) else { return };
    let Some((key, value)) = text.split_at_mut_checked(key_len) else { return };
    let key_tag = cipher.seal_in_place(position, KEY_DOMAIN, associated, key);
    let value_tag = cipher.seal_in_place(position, VALUE_DOMAIN, associated, value);
    out.extend_from_slice(&key_tag);
    out.extend_from_slice(&value_tag);
}

/// Decrypts the internal key of the record at `position`; `seals` are its two tags.
pub(crate) fn open_key(
    cipher: &FileCipher,
    position: u64,
    associated: &[u8],
    key: &mut [u8],
    seals: &[u8],
) -> std::result::Result<(), DecodeError> {
    open(cipher, (position, KEY_DOMAIN), associated, key, seals.first_chunk())
}

/// Decrypts key and value of the record at `position`, which is all of `record` but for its checksum.
pub(crate) fn open_record(
    cipher: &FileCipher,
    position: u64,
    record: &mut [u8],
    plain_len: usize,
    key_len: usize,
) -> std::result::Result<(), DecodeError> {
    let cut = DecodeError::new("sealed record shorter than its tags");
    let (record, seals) = record.split_last_chunk_mut::<SEALS_LEN>().ok_or(cut)?;
    let (associated, text) = record.split_at_mut_checked(plain_len).ok_or(cut)?;
    let (key, value) = text.split_at_mut_checked(key_len).ok_or(cut)?;
    open(cipher, (position, KEY_DOMAIN), associated, key, seals.first_chunk())?;
    open(cipher, (position, VALUE_DOMAIN), associated, value, seals.last_chunk())
}

fn open(
    cipher: &FileCipher,
    (position, domain): (u64, u32),
    associated: &[u8],
    text: &mut [u8],
    tag: Option<&[u8; TAG_LEN]>,
) -> std::result::Result<(), DecodeError> {
    let opened = tag.and_then(|tag| cipher.open_in_place(position, domain, associated, text, tag).ok());
    opened.ok_or(DecodeError::new("record does not match its tags"))
}

/// The fixed part in front of a record, as it stands in the file: nothing but its lengths has been judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) flags: u8,
    pub(crate) user_meta: u8,
    pub(crate) user_key_len: u16,
    pub(crate) value_len: u32,
    pub(crate) owner: u32,
    pub(crate) expires_at: u64,
}

impl RecordHeader {
    /// The header of a record that is about to be written.
    pub(crate) fn of(owner: u32, key: InternalKeyRef<'_>, meta: EntryMeta, value: &[u8]) -> Result<Self> {
        if key.user_key.is_empty() || key.user_key.len() > USER_KEY_LEN_MAX {
            return Err(Error::InvalidArgument("a key must have from 1 to 65,535 bytes"));
        }
        if value.len() as u64 > VALUE_LEN_MAX {
            return Err(Error::InvalidArgument("a value must have at most 4 GiB - 128 KiB"));
        }
        if meta.kind == EntryKind::Pointer {
            return Err(Error::InvalidArgument("the value log holds no pointers"));
        }
        let (Ok(user_key_len), Ok(value_len)) = (u16::try_from(key.user_key.len()), u32::try_from(value.len())) else {
            return Err(Error::InvalidArgument("key or value too long"));
        };
        let (flags, user_meta, expires_at) = (meta.flags(), meta.user_meta, meta.expires_at);
        Ok(Self { flags, user_meta, user_key_len, value_len, owner, expires_at })
    }

    /// Appends header and internal key to `out`.
    #[inline]
    pub(crate) fn encode_with_key(&self, key: InternalKeyRef<'_>, out: &mut Vec<u8>) {
        let mut header = [0; RECORD_HEADER_LEN];
        let [flags, user_meta, rest @ ..] = &mut header;
        (*flags, *user_meta) = (self.flags, self.user_meta);
        let (key_len, rest) = rest.split_at_mut(2);
        let (value_len, rest) = rest.split_at_mut(4);
        let (owner, expires_at) = rest.split_at_mut(4);
        key_len.copy_from_slice(&self.user_key_len.to_le_bytes());
        value_len.copy_from_slice(&self.value_len.to_le_bytes());
        owner.copy_from_slice(&self.owner.to_le_bytes());
        expires_at.copy_from_slice(&self.expires_at.to_le_bytes());
        out.extend_from_slice(&header);
        key.encode_into(out);
    }

    #[inline]
    pub(crate) fn decode(bytes: &[u8]) -> std::result::Result<Self, DecodeError> {
        let mut fields = Fields::new(bytes);
        let header = Self {
            flags: fields.u8()?,
            user_meta: fields.u8()?,
            user_key_len: fields.u16()?,
            value_len: fields.u32()?,
            owner: fields.u32()?,
            expires_at: fields.u64()?,
        };
        if header.user_key_len == 0 {
            return Err(DecodeError::new("record without a key"));
        }
        if u64::from(header.value_len) > VALUE_LEN_MAX {
            return Err(DecodeError::new("value over the limit"));
        }
        Ok(header)
    }

    /// Length of the internal key.
    #[inline]
    pub(crate) fn key_len(&self) -> usize {
        usize::from(self.user_key_len) + VERSION_SUFFIX_LEN
    }

    /// Where the value starts in the record.
    #[inline]
    pub(crate) fn value_start(&self) -> usize {
        RECORD_HEADER_LEN + self.key_len()
    }

    /// Where the value ends in the record, which is where the checksum starts.
    #[inline]
    pub(crate) fn value_end(&self) -> usize {
        self.value_start() + self.value_len as usize
    }

    /// Length of the whole record.
    #[inline]
    pub(crate) fn record_len(&self) -> u64 {
        (self.value_end() + CHECKSUM_LEN) as u64
    }

    /// The meta, which only a newer program can have written in a way that is unknown here: the checksum comes first.
    pub(crate) fn meta(&self) -> std::result::Result<EntryMeta, DecodeError> {
        let meta = EntryMeta::from_parts(self.flags, self.user_meta, self.expires_at)?;
        if meta.kind == EntryKind::Pointer {
            return Err(DecodeError::new("entry flag that no record has"));
        }
        Ok(meta)
    }
}
