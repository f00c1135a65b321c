//! The header of a log file: whose it is, which one, and the salt of its checksums.
//!
//! ```text
//! offset  size  field                                               little-endian
//!      0     8  magic "RATELWAL" (write-ahead log) or "RATELMAN" (manifest)
//!      8     4  format version, 1
//!     12    16  store id
//!     28     4  key id, 0 = not encrypted
//!     32    32  salt, random
//!     64     8  log number
//!     72     4  value-log head at creation: segment
//!     76     4  value-log head at creation: offset
//!     80    44  zero, reserved
//!    124     4  crc32 of bytes 0 to 123
//! ```
//!
//! Length and place of the checksum are the same in every version, so that a version is believed only when it is whole.

use std::path::Path;

use base::checksum::crc32;
use base::{Corruption, LogNumber, SegmentId, StoreId, ValueLogHead};
use encryption::{FileCipher, FileKind, KeyId, Keyring, SALT_LEN};

use crate::fragment::Framing;
use crate::{Error, Result};

/// Length of the header, and offset of the first record, in bytes.
pub const LOG_HEADER_LEN: usize = 128;

const FORMAT_VERSION: u32 = 1;
const CHECKED_LEN: usize = LOG_HEADER_LEN - 4;
/// Magic, number and head of the value log, as they stand in the header.
const IDENTITY_LEN: usize = 24;

const RESERVED_LEN: usize = 44;

/// What a log is for. Both kinds have the same framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogKind {
    /// A write-ahead log: commits.
    Wal,
    /// A manifest: version edits.
    Manifest,
}

impl LogKind {
    pub(crate) const fn magic(self) -> FileKind {
        match self {
            Self::Wal => *b"RATELWAL",
            Self::Manifest => *b"RATELMAN",
        }
    }
}

/// What a log says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogHeader {
    /// The store that it belongs to.
    pub store: StoreId,
    /// Its number.
    pub number: LogNumber,
    /// What it is for.
    pub kind: LogKind,
    /// Where the value log ended when this log was made; the default in a manifest.
    pub value_log_head: ValueLogHead,
}

impl LogHeader {
    /// What an encrypted log is known by: records of one that says another number or head do not open.
    pub(crate) fn identity(&self) -> [u8; IDENTITY_LEN] {
        let mut identity = [0; IDENTITY_LEN];
        let fields = [
            self.kind.magic(),
            self.number.0.to_le_bytes(),
            ((u64::from(self.value_log_head.offset) << 32) | u64::from(self.value_log_head.segment.0)).to_le_bytes(),
        ];
        for (to, from) in identity.as_chunks_mut::<8>().0.iter_mut().zip(fields) {
            *to = from;
        }
        identity
    }
}

/// Which log a reader should find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExpectedLog {
    /// The store that it must belong to, where that is known.
    pub store: Option<StoreId>,
    /// The number that it must have.
    pub number: LogNumber,
    /// The kind that it must be.
    pub kind: LogKind,
}

/// The header's bytes.
pub(crate) fn encode(header: &LogHeader, key: KeyId, salt: &[u8; SALT_LEN]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LOG_HEADER_LEN);
    bytes.extend_from_slice(&header.kind.magic());
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&header.store.0);
    bytes.extend_from_slice(&key.0.to_le_bytes());
    bytes.extend_from_slice(salt);
    bytes.extend_from_slice(&header.number.0.to_le_bytes());
    bytes.extend_from_slice(&header.value_log_head.segment.0.to_le_bytes());
    bytes.extend_from_slice(&header.value_log_head.offset.to_le_bytes());
    bytes.extend_from_slice(&[0; RESERVED_LEN]);
    bytes.extend_from_slice(&crc32(&bytes).to_le_bytes());
    bytes
}

/// The framing of a log with this salt and number.
pub(crate) fn framing(salt: &[u8; SALT_LEN], number: LogNumber) -> Framing {
    Framing::new(crc32(salt), number)
}

/// Whether `bytes` are a header as it was written: anything else says nothing of the file.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    match bytes.split_at_checked(CHECKED_LEN) {
        Some((checked, crc)) => crc == crc32(checked).to_le_bytes(),
        None => false,
    }
}

/// Whether `bytes`, not a whole header, can be a part of one: every byte of the magic is right or not yet written.
pub(crate) fn may_become(bytes: &[u8], kind: LogKind) -> bool {
    bytes.iter().zip(kind.magic()).all(|(byte, magic)| *byte == 0 || *byte == magic)
}

/// What a whole header says, and how what is behind it is read.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) header: LogHeader,
    pub(crate) framing: Framing,
    pub(crate) cipher: Option<FileCipher>,
}

/// Reads a header and checks that it is that of the log that was asked for.
pub(crate) fn decode(bytes: &[u8], path: &Path, expect: &ExpectedLog, keys: Option<&Keyring>) -> Result<Opened> {
    let wrong = |offset, what: &str, expected: String, found: String| {
        Error::from(Corruption::new(path, offset, what).with_values(expected, found))
    };
    let Some(fields) = Fields::split(bytes) else {
        let (expected, found) = (format!("{LOG_HEADER_LEN} bytes"), bytes.len().to_string());
        return Err(wrong(0, "file header cut short", expected, found));
    };
    let magic = expect.kind.magic();
    if fields.magic != magic {
        return Err(wrong(0, "not a log of this kind", text(&magic), text(&fields.magic)));
    }
    if fields.crc != fields.expected_crc {
        let (expected, found) = (format!("{:08x}", fields.expected_crc), format!("{:08x}", fields.crc));
        return Err(wrong(0, "checksum of the file header", expected, found));
    }
    check_supported(&fields, path)?;
    let header = LogHeader { kind: expect.kind, ..fields.header };
    if let Some(store) = expect.store.filter(|store| *store != header.store) {
        return Err(wrong(12, "log of another store", store.to_string(), header.store.to_string()));
    }
    if header.number != expect.number {
        return Err(wrong(64, "log number", expect.number.to_string(), header.number.to_string()));
    }
    let cipher = FileCipher::of_file(keys, fields.key, &header.identity(), &fields.salt)
        .map_err(|source| Error::Key { path: path.to_owned(), source })?;
    let framing = framing(&fields.salt, header.number).sealed(cipher.is_some());
    Ok(Opened { header, framing, cipher })
}

fn check_supported(fields: &Fields, path: &Path) -> Result<()> {
    let unsupported = |what, expected: u32, found: String| {
        Err(Error::Incompatible { path: path.to_owned(), what, expected: expected.to_string(), found })
    };
    if fields.version != FORMAT_VERSION {
        return unsupported("log format version", FORMAT_VERSION, fields.version.to_string());
    }
    if fields.reserved != [0; RESERVED_LEN] {
        return unsupported("reserved header field", 0, "other bytes".to_owned());
    }
    Ok(())
}

fn text(magic: &[u8; 8]) -> String {
    magic.escape_ascii().to_string()
}

struct Fields {
    magic: [u8; 8],
    version: u32,
    key: KeyId,
    salt: [u8; SALT_LEN],
    header: LogHeader,
    reserved: [u8; RESERVED_LEN],
    expected_crc: u32,
    crc: u32,
}

impl Fields {
    fn split(bytes: &[u8]) -> Option<Self> {
        let expected_crc = crc32(bytes.get(..CHECKED_LEN)?);
        let (magic, rest) = bytes.split_first_chunk()?;
        let (version, rest) = rest.split_first_chunk()?;
        let (store, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (segment, rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (reserved, rest) = rest.split_first_chunk()?;
        let value_log_head =
            ValueLogHead { segment: SegmentId(u32::from_le_bytes(*segment)), offset: u32::from_le_bytes(*offset) };
        let number = LogNumber(u64::from_le_bytes(*number));
        Some(Self {
            magic: *magic,
            version: u32::from_le_bytes(*version),
            key: KeyId(u32::from_le_bytes(*key)),
            salt: *salt,
            header: LogHeader { store: StoreId(*store), number, kind: LogKind::Wal, value_log_head },
            reserved: *reserved,
            expected_crc,
            crc: u32::from_le_bytes(*rest.first_chunk()?),
        })
    }
}
