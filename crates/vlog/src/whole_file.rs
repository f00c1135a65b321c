//! Small files that are read and replaced whole: the manifest, dead sets and death lists.
//!
//! ```text
//! file := header | body | checksum u32, CRC-32 of the body started from the CRC-32 of the header's salt
//! ```
//! In an encrypted file the body is sealed as one piece, with its tag behind it, which the checksum covers too: the
//! position is its offset, associated is the header.

use std::path::Path;

use base::Corruption;
use base::checksum::crc32_salted;
use encryption::{FileCipher, TAG_LEN};
use vfs::{AppendMode, AppendOptions, Vfs};

use crate::file_name::temporary_path;
use crate::header::{FileHeader, FileKind, HEADER_LEN, HEADER_LEN_U64, Store};
use crate::{Error, Result};

const CHECKSUM_LEN: usize = 4;

/// Longest file or part of one that is written or read in one piece, in bytes: far above what a log of 2^32 segments comes to
/// in practice, and a bound on what a damaged length can make us allocate.
pub(crate) const WHOLE_BYTES_MAX: u64 = 1 << 30;

/// Writes a file under a temporary name, syncs it and gives it its own name. The caller syncs the folder. One that could not be
/// read is refused.
pub(crate) fn replace(
    vfs: &dyn Vfs,
    path: &Path,
    store: Store<'_>,
    header: &FileHeader,
    cipher: Option<&FileCipher>,
    body: &[u8],
) -> Result<()> {
    let around = HEADER_LEN + cipher.map_or(0, |_| TAG_LEN) + CHECKSUM_LEN;
    let (len, bytes_max) = (body.len() as u64 + around as u64, store.whole_bytes_max);
    if len > bytes_max {
        return Err(Error::TooLong { path: path.to_owned(), bytes: len, bytes_max });
    }
    let mut bytes = header.encode();
    bytes.extend_from_slice(body);
    if let (Some(cipher), Some((header, text))) = (cipher, bytes.split_first_chunk_mut::<HEADER_LEN>()) {
        let tag = cipher.seal_in_place(HEADER_LEN_U64, 0, header, text);
        bytes.extend_from_slice(&tag);
    }
    let checksum = crc32_salted(header.checksum_start(), bytes.get(HEADER_LEN..).unwrap_or_default());
    bytes.extend_from_slice(&checksum.to_le_bytes());
    let temporary = temporary_path(path);
    let mut file = create_afresh(vfs, &temporary)?;
    file.append(&bytes)?;
    file.finish()?;
    vfs.rename(&temporary, path)?;
    Ok(())
}

/// Creates a file under a temporary name, over what an earlier attempt left there.
pub(crate) fn create_afresh(vfs: &dyn Vfs, temporary: &Path) -> Result<Box<dyn vfs::AppendFile>> {
    let options = AppendOptions { mode: AppendMode::Written, preallocate_bytes: 0 };
    match vfs.create_append(temporary, options) {
        Err(error) if error.io().kind() == std::io::ErrorKind::AlreadyExists => {
            vfs.remove_file(temporary)?;
            Ok(vfs.create_append(temporary, options)?)
        }
        other => Ok(other?),
    }
}

/// Reads a file and checks it. `None` where there is none.
pub(crate) fn read(
    vfs: &dyn Vfs,
    path: &Path,
    kind: FileKind,
    store: Store<'_>,
) -> Result<Option<(FileHeader, Vec<u8>)>> {
    let file = match vfs.open_read(path) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let len = file.len()?;
    let header_len = len.min(HEADER_LEN_U64);
    let mut head = vec![0; header_len as usize];
    file.read_exact_at(&mut head, 0)?;
    // Before anything is allocated for a body: a foreign file may be of any length.
    let header = FileHeader::decode(path, kind, store, &head)?;
    let bytes_max = store.whole_bytes_max;
    if len > bytes_max {
        return Err(Corruption::new(path, HEADER_LEN_U64, "file too long").with_values(bytes_max, len).into());
    }
    let mut body = vec![0; (len - header_len) as usize];
    file.read_exact_at(&mut body, header_len)?;
    let Some(stored) = body.last_chunk::<CHECKSUM_LEN>().copied().map(u32::from_le_bytes) else {
        return Err(Error::corruption(path, HEADER_LEN_U64, "file cut short"));
    };
    body.truncate(body.len() - CHECKSUM_LEN);
    let computed = crc32_salted(header.checksum_start(), &body);
    if computed != stored {
        let (computed, stored) = (format!("{computed:#010x}"), format!("{stored:#010x}"));
        return Err(Corruption::new(path, HEADER_LEN_U64, "body checksum").with_values(computed, stored).into());
    }
    if let Some(cipher) = header.cipher(path, store)? {
        let len = open(&cipher, &head, &mut body)
            .ok_or_else(|| Error::corruption(path, HEADER_LEN_U64, "body does not match its tag"))?;
        body.truncate(len);
    }
    Ok(Some((header, body)))
}

/// Decrypts a body with its tag behind it, and returns its length without.
pub(crate) fn open(cipher: &FileCipher, header: &[u8], sealed: &mut [u8]) -> Option<usize> {
    let (body, tag) = sealed.split_last_chunk_mut::<TAG_LEN>()?;
    cipher.open_in_place(HEADER_LEN_U64, 0, header, body, tag).ok()?;
    Some(body.len())
}

/// Removes a file that may be gone already.
pub(crate) fn remove_if_there(vfs: &dyn Vfs, path: &Path) -> Result<()> {
    match vfs.remove_file(path) {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}
