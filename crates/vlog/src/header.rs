//! The header that every file of a value log starts with.
//!
//! ```text
//!   0 magic          8 bytes, one for each kind of file
//!   8 format version u32 = 1
//!  12 key id         u32, 0 = not encrypted
//!  16 store id       16 bytes
//!  32 salt           32 bytes, fresh randomness for each file; every checksum behind the header starts from its CRC-32
//!  64 number         u64: segment id, ticket, or generation of the manifest
//!  72 companion id   16 bytes, random for each segment; its hint file, dead set and map carry the same (else zeros)
//!  88 details        16 bytes, told at each kind of file
//! 104 flags          u32 = 0
//! 108 checksum       u32, CRC-32 of bytes 0 to 107
//! ```
//! In an encrypted file the key of the file comes from magic, number and companion id too, so that none of them can be
//! changed. All integers are little-endian. A version or flag other than these was written by a newer program and is
//! refused as incompatible.

use std::fmt;
use std::path::Path;

use base::checksum::crc32;
use base::{Corruption, StoreId};
use encryption::{FileCipher, KeyId, Keyring, SALT_LEN};
use vfs::Vfs;

use crate::fields::Fields;
use crate::{Error, Result};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 112;
pub(crate) const HEADER_LEN_U64: u64 = HEADER_LEN as u64;

pub(crate) const FORMAT_VERSION: u32 = 1;
const FLAGS_NONE: u32 = 0;
const IDENTITY_LEN: usize = 32;
const CHECKSUM_OFFSET: usize = HEADER_LEN - 4;

/// The store that files belong to, the keys that they are encrypted with, if they are, and how long one that is read whole may
/// be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Store<'a> {
    pub(crate) id: StoreId,
    pub(crate) keys: Option<&'a Keyring>,
    pub(crate) whole_bytes_max: u64,
}

/// Sixteen random bytes drawn when a segment is made, by which its hint file, dead set and map are known to be its
/// own.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct CompanionId(pub [u8; 16]);

impl fmt::Display for CompanionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CompanionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CompanionId({self})")
    }
}

/// The kinds of files, by their magic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Segment,
    Hint,
    Dead,
    Deaths,
    Map,
    Manifest,
}

impl FileKind {
    pub(crate) const fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Segment => b"ratelVLG",
            Self::Hint => b"ratelHNT",
            Self::Dead => b"ratelDED",
            Self::Deaths => b"ratelDTH",
            Self::Map => b"ratelMAP",
            Self::Manifest => b"ratelVMF",
        }
    }
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) kind: FileKind,
    pub(crate) store: StoreId,
    pub(crate) key: KeyId,
    pub(crate) salt: [u8; SALT_LEN],
    pub(crate) number: u64,
    pub(crate) companion: CompanionId,
    pub(crate) details: [u8; 16],
}

impl FileHeader {
    /// A header with a fresh salt, and a fresh companion id where none is given, and what the file is sealed with, if it is to be.
    pub(crate) fn salted(
        vfs: &dyn Vfs,
        kind: FileKind,
        store: Store<'_>,
        number: u64,
        companion: Option<CompanionId>,
    ) -> Result<(Self, Option<FileCipher>)> {
        let mut salt = [0; SALT_LEN];
        vfs.fill_random(&mut salt)?;
        let mut fresh = CompanionId::default();
        if companion.is_none() {
            vfs.fill_random(&mut fresh.0)?;
        }
        let companion = companion.unwrap_or(fresh);
        let mut header = Self { kind, store: store.id, key: KeyId::NONE, salt, number, companion, details: [0; 16] };
        let (key, cipher) = FileCipher::for_new_file(store.keys, &header.identity(), &salt);
        header.key = key;
        Ok((header, cipher))
    }

    /// What only the file of this kind, number and companion id is sealed under.
    fn identity(&self) -> [u8; IDENTITY_LEN] {
        let mut identity = [0; IDENTITY_LEN];
        let (magic, rest) = identity.split_at_mut(8);
        let (number, companion) = rest.split_at_mut(8);
        magic.copy_from_slice(self.kind.magic());
        number.copy_from_slice(&self.number.to_le_bytes());
        companion.copy_from_slice(&self.companion.0);
        identity
    }

    /// What opens the file, if it is sealed.
    pub(crate) fn cipher(&self, path: &Path, store: Store<'_>) -> Result<Option<FileCipher>> {
        FileCipher::of_file(store.keys, self.key, &self.identity(), &self.salt)
            .map_err(|source| Error::Key { path: path.to_owned(), source })
    }

    /// What the checksums behind this header start from.
    pub(crate) fn checksum_start(&self) -> u32 {
        crc32(&self.salt)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(self.kind.magic());
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&self.key.0.to_le_bytes());
        out.extend_from_slice(&self.store.0);
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.companion.0);
        out.extend_from_slice(&self.details);
        out.extend_from_slice(&FLAGS_NONE.to_le_bytes());
        out.extend_from_slice(&crc32(&out).to_le_bytes());
        out
    }

    /// Reads a header of the given kind and store.
    pub(crate) fn decode(path: &Path, kind: FileKind, store: Store<'_>, bytes: &[u8]) -> Result<Self> {
        let header = Self::decode_of_any(path, kind, bytes)?;
        if header.store != store.id {
            return Err(Corruption::new(path, 16, "file of another store").with_values(store.id, header.store).into());
        }
        Ok(header)
    }

    /// Reads a header of the given kind, whosever it is.
    pub(crate) fn decode_of_any(path: &Path, kind: FileKind, bytes: &[u8]) -> Result<Self> {
        let damaged = |what: &'static str| Error::corruption(path, 0, what);
        let covered = bytes.get(..CHECKSUM_OFFSET).ok_or_else(|| damaged("file shorter than its header"))?;
        let mut fields = Fields::new(bytes);
        let cut = |error: base::DecodeError| Error::from(error.at(path, 0));
        if &fields.array::<8>().map_err(cut)? != kind.magic() {
            return Err(damaged("wrong magic number"));
        }
        let version = fields.u32().map_err(cut)?;
        let key = KeyId(fields.u32().map_err(cut)?);
        let store = StoreId(fields.array().map_err(cut)?);
        let salt = fields.array().map_err(cut)?;
        let number = fields.u64().map_err(cut)?;
        let companion = CompanionId(fields.array().map_err(cut)?);
        let details = fields.array().map_err(cut)?;
        let flags = fields.u32().map_err(cut)?;
        let checksum = fields.u32().map_err(cut)?;
        // A newer format may keep its checksum elsewhere, so its version comes first. No version is zero: that is a
        // header that was never written whole.
        if version != FORMAT_VERSION && version != 0 {
            return Err(Error::incompatible(path, "format version", FORMAT_VERSION, version));
        }
        if crc32(covered) != checksum {
            let values = (format!("{:#010x}", crc32(covered)), format!("{checksum:#010x}"));
            return Err(Corruption::new(path, 0, "header checksum").with_values(values.0, values.1).into());
        }
        if flags != FLAGS_NONE {
            return Err(Error::incompatible(path, "header flags", FLAGS_NONE, flags));
        }
        Ok(Self { kind, store, key, salt, number, companion, details })
    }

    /// Refuses a file that carries another number than its name, or belongs to another life of its segment.
    pub(crate) fn expect(&self, path: &Path, number: u64, companion: Option<CompanionId>) -> Result<()> {
        if self.number != number {
            return Err(Corruption::new(path, 64, "file number").with_values(number, self.number).into());
        }
        match companion {
            Some(expected) if expected != self.companion => {
                Err(Corruption::new(path, 72, "file of another segment").with_values(expected, self.companion).into())
            }
            _ => Ok(()),
        }
    }
}
