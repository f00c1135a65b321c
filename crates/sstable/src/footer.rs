//! The last bytes of a table: where its index is, whose table it is, and the salt of its checksums.
//!
//! ```text
//! footer := index offset u64 | index length u64 | index checksum u32 | key id u32 | table id u64 | store id 16 bytes
//!         | salt 32 bytes | file length u64 | reserved u64 | footer checksum u32 | format version u32 | magic 8 bytes
//! ```
//! 112 bytes, little-endian. The footer's checksum covers all of it but itself and is not salted; the index's and the
//! blocks' start from the first four bytes of the salt. Read back to front: magic, format version, checksum, the rest.

use std::path::Path;

use base::checksum::Hasher;
use base::{Corruption, StoreId, TableId};
use encryption::{FileCipher, FileKind, KeyId, SALT_LEN, TAG_LEN};

use crate::{Error, Result};

/// Length of the footer in bytes.
pub(crate) const FOOTER_LEN: usize = 112;

pub(crate) const MAGIC: FileKind = *b"RATELSST";
const FORMAT_VERSION: u32 = 1;
const CHECKED_LEN: usize = 96;

/// What the footer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) index_offset: u64,
    pub(crate) index_len: u64,
    pub(crate) index_checksum: u32,
    pub(crate) key: KeyId,
    pub(crate) table: TableId,
    pub(crate) store: StoreId,
    pub(crate) salt: [u8; SALT_LEN],
    pub(crate) file_len: u64,
}

/// What a reader expects of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) path: &'a Path,
    pub(crate) table: TableId,
    pub(crate) store: StoreId,
    pub(crate) file_len: u64,
}

impl Footer {
    /// From where the checksums of index and blocks start.
    pub(crate) fn checksum_salt(&self) -> u32 {
        let [a, b, c, d, ..] = self.salt;
        u32::from_le_bytes([a, b, c, d])
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FOOTER_LEN);
        bytes.extend_from_slice(&self.index_offset.to_le_bytes());
        bytes.extend_from_slice(&self.index_len.to_le_bytes());
        bytes.extend_from_slice(&self.index_checksum.to_le_bytes());
        bytes.extend_from_slice(&self.key.0.to_le_bytes());
        bytes.extend_from_slice(&self.table.0.to_le_bytes());
        bytes.extend_from_slice(&self.store.0);
        bytes.extend_from_slice(&self.salt);
        bytes.extend_from_slice(&self.file_len.to_le_bytes());
        bytes.extend_from_slice(&0u64.to_le_bytes());
        let checksum = footer_checksum(&bytes, FORMAT_VERSION);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&MAGIC);
        bytes
    }

    /// Reads a footer and compares it with what is expected.
    pub(crate) fn decode(bytes: &[u8; FOOTER_LEN], expected: Expected<'_>) -> Result<Self> {
        let mut fields = Fields(bytes);
        let footer_offset = expected.file_len.saturating_sub(FOOTER_LEN as u64);
        let damaged = |what: &str| Corruption::new(expected.path, footer_offset, what);
        let incompatible = |what, known: u64, found: u64| Error::Incompatible {
            path: expected.path.to_path_buf(),
            what,
            expected: known.to_string(),
            found: found.to_string(),
        };
        let (index_offset, index_len) = (fields.u64(), fields.u64());
        let (index_checksum, key) = (fields.u32(), KeyId(fields.u32()));
        let (table, store, salt) = (TableId(fields.u64()), StoreId(fields.take()), fields.take());
        let (file_len, reserved) = (fields.u64(), fields.u64());
        let (checksum, format_version, magic) = (fields.u32(), fields.u32(), fields.take::<8>());
        if magic != MAGIC {
            let error = damaged("not a table, or cut: its magic number is missing");
            return Err(Box::new(error.with_values(MAGIC.escape_ascii(), magic.escape_ascii())).into());
        }
        if format_version != FORMAT_VERSION {
            return Err(incompatible("the table format version", FORMAT_VERSION.into(), format_version.into()));
        }
        let computed = footer_checksum(bytes.get(..CHECKED_LEN).unwrap_or_default(), format_version);
        if computed != checksum {
            return Err(
                Box::new(damaged("checksum of the table footer differs").with_values(checksum, computed)).into()
            );
        }
        if reserved != 0 {
            return Err(incompatible("the reserved field of the table footer", 0, reserved));
        }
        if store != expected.store {
            return Err(Error::ForeignStore {
                path: expected.path.to_path_buf(),
                expected: expected.store,
                found: store,
            });
        }
        if table != expected.table {
            return Err(Box::new(damaged("table under another's name").with_values(expected.table, table)).into());
        }
        if file_len != expected.file_len {
            return Err(Box::new(damaged("table of another length").with_values(file_len, expected.file_len)).into());
        }
        Ok(Self { index_offset, index_len, index_checksum, key, table, store, salt, file_len })
    }
}

/// In an encrypted table the index is one sealed piece with its tag behind it: the position is its offset, the domain
/// this, and associated are table id and store id as the footer has them.
const INDEX_DOMAIN: u32 = 1;

/// Seals the index that will stand at `offset`.
pub(crate) fn seal_index(cipher: &FileCipher, offset: u64, table: TableId, store: StoreId, index: &mut Vec<u8>) {
    let tag = cipher.seal_in_place(offset, INDEX_DOMAIN, &whose(table, store), index);
    index.extend_from_slice(&tag);
}

/// Opens what [`seal_index`] sealed.
pub(crate) fn open_index(cipher: &FileCipher, footer: &Footer, sealed: &[u8]) -> Option<Vec<u8>> {
    let (index, tag) = sealed.split_last_chunk::<TAG_LEN>()?;
    let mut index = index.to_vec();
    let whose = whose(footer.table, footer.store);
    cipher.open_in_place(footer.index_offset, INDEX_DOMAIN, &whose, &mut index, tag).ok()?;
    Some(index)
}

fn whose(table: TableId, store: StoreId) -> Vec<u8> {
    [table.0.to_le_bytes().as_slice(), &store.0].concat()
}

fn footer_checksum(fields: &[u8], format_version: u32) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(fields);
    hasher.update(&format_version.to_le_bytes());
    hasher.update(&MAGIC);
    hasher.finalize()
}

/// The fields of a footer, front to back.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const LEN: usize>(&mut self) -> [u8; LEN] {
        // The fields read add up to FOOTER_LEN, the length of what is read from.
        let Some((field, rest)) = self.0.split_first_chunk::<LEN>() else { return [0; LEN] };
        self.0 = rest;
        *field
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer() -> Footer {
        let mut salt = [0; 32];
        for (value, byte) in (1u8..).zip(&mut salt) {
            *byte = value;
        }
        Footer {
            index_offset: 4_096,
            index_len: 200,
            index_checksum: 0xdead_beef,
            key: KeyId(0x0102_0304),
            table: TableId(42),
            store: StoreId([9; 16]),
            salt,
            file_len: 5_000,
        }
    }

    fn expected() -> Expected<'static> {
        Expected { path: Path::new("000042.sst"), table: TableId(42), store: StoreId([9; 16]), file_len: 5_000 }
    }

    fn decode(bytes: &[u8], expected: Expected<'_>) -> Result<Footer> {
        Footer::decode(bytes.try_into().unwrap(), expected)
    }

    #[test]
    fn encode_then_decode_is_identity() {
        let bytes = footer().encode();
        assert_eq!(bytes.len(), FOOTER_LEN);
        assert_eq!(decode(&bytes, expected()).unwrap(), footer());
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let bytes = footer().encode();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(decode(&damaged, expected()).is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn another_store_another_number_and_another_length_have_errors_of_their_own() {
        let bytes = footer().encode();
        let error = decode(&bytes, Expected { store: StoreId([1; 16]), ..expected() }).unwrap_err();
        assert!(matches!(error, Error::ForeignStore { .. }), "{error}");
        let error = decode(&bytes, Expected { table: TableId(43), ..expected() }).unwrap_err();
        assert!(error.to_string().contains("another's name"), "{error}");
        let error = decode(&bytes, Expected { file_len: 5_001, ..expected() }).unwrap_err();
        assert!(error.to_string().contains("another length"), "{error}");
    }

    /// Encodes a footer, changes the bytes at `at`, and makes its checksum right again.
    fn rewritten(at: usize, field: &[u8]) -> Vec<u8> {
        let mut bytes = footer().encode();
        bytes[at..at + field.len()].copy_from_slice(field);
        let version = u32::from_le_bytes(bytes[100..104].try_into().unwrap());
        let checksum = footer_checksum(&bytes[..CHECKED_LEN], version);
        bytes[96..100].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    #[test]
    fn a_newer_version_and_reserved_bits_are_incompatible() {
        for (at, field) in [(100, 2u32.to_le_bytes().as_slice()), (88, &[1])] {
            let error = decode(&rewritten(at, field), expected()).unwrap_err();
            assert!(matches!(error, Error::Incompatible { .. }), "{at}: {error}");
        }
    }
}
