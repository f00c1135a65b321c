//! The file `BITCASK`: that a folder is a store, and which one.
//!
//! ```text
//!  0 magic          8 bytes, "ratelBCK"
//!  8 format version u32 = 1
//! 12 key id         u32 = 0 (not encrypted)
//! 16 store id       16 bytes, random
//! 32 state          u32: 0 while the store is being made, 1 once its value log has been
//! 36 flags          u32 = 0
//! 40 checksum       u32, CRC-32 of bytes 0 to 39
//! ```
//! All integers are little-endian. The value log's files carry the same store id. A store that was made has a value log: one
//! that is missing then was lost, and is not made anew.

use std::path::{Path, PathBuf};

use base::StoreId;
use base::checksum::crc32;
use vfs::Vfs;

use crate::{Error, Result};

const NAME: &str = "BITCASK";
const MAGIC: &[u8; 8] = b"ratelBCK";
const FORMAT_VERSION: u32 = 1;
const LEN: usize = 44;
const CHECKSUM_OFFSET: usize = 40;
const BEING_MADE: u32 = 0;
const MADE: u32 = 1;

/// What `BITCASK` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) store: StoreId,
    /// Whether its value log has been made.
    pub(crate) is_made: bool,
}

impl Identity {
    /// A new store's.
    pub(crate) fn create(vfs: &dyn Vfs, dir: &Path) -> Result<Self> {
        let mut store = StoreId::default();
        vfs.fill_random(&mut store.0)?;
        let identity = Self { store, is_made: false };
        identity.write(vfs, dir)?;
        Ok(identity)
    }

    /// Notes, durably, that the value log has been made.
    pub(crate) fn finish(mut self, vfs: &dyn Vfs, dir: &Path) -> Result<()> {
        self.is_made = true;
        self.write(vfs, dir)
    }

    /// Reads it; `None` where there is none.
    pub(crate) fn read(vfs: &dyn Vfs, dir: &Path) -> Result<Option<Self>> {
        let path = path(dir);
        let file = match vfs.open_read(&path) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = [0; LEN];
        let found = file.len()?;
        if found < LEN as u64 {
            return Err(Error::corruption(&path, found, "file cut short"));
        }
        file.read_exact_at(&mut bytes, 0)?;
        Self::decode(&path, &bytes, found).map(Some)
    }

    fn write(&self, vfs: &dyn Vfs, dir: &Path) -> Result<()> {
        Ok(vfs::write_atomic(vfs, &path(dir), &self.encode())?)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LEN);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&self.store.0);
        out.extend_from_slice(&(if self.is_made { MADE } else { BEING_MADE }).to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&crc32(&out).to_le_bytes());
        out
    }

    fn decode(path: &Path, bytes: &[u8; LEN], file_len: u64) -> Result<Self> {
        let word = |at: usize| {
            let word = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>);
            word.map_or(0, |word| u32::from_le_bytes(*word))
        };
        if !bytes.starts_with(MAGIC) {
            return Err(Error::corruption(path, 0, "wrong magic number"));
        }
        // A newer format may keep its checksum elsewhere.
        if word(8) != FORMAT_VERSION && word(8) != 0 {
            return Err(Error::incompatible(path, "format version", FORMAT_VERSION, word(8)));
        }
        let (covered, _) = bytes.split_at(CHECKSUM_OFFSET);
        if crc32(covered) != word(CHECKSUM_OFFSET) {
            return Err(Error::corruption(path, 0, "checksum"));
        }
        if file_len != LEN as u64 {
            return Err(Error::corruption(path, LEN as u64, "bytes behind the checksum"));
        }
        for (at, what) in [(12, "encryption key id"), (36, "flags")] {
            if word(at) != 0 {
                return Err(Error::incompatible(path, what, 0, word(at)));
            }
        }
        let state = word(32);
        if state > MADE {
            return Err(Error::incompatible(path, "state", MADE, state));
        }
        let store = bytes.get(16..).and_then(<[u8]>::first_chunk::<16>).copied().unwrap_or_default();
        Ok(Self { store: StoreId(store), is_made: state == MADE })
    }
}

/// Where it is.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// The file that carries the writer's lock.
pub(crate) fn lock_path(dir: &Path) -> PathBuf {
    dir.join("LOCK")
}

/// Refuses to make a store in a folder that holds anything but what an attempt to make one has left.
pub(crate) fn check_free(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    let left = ["LOCK", "BITCASK.tmp"].map(Path::new);
    match vfs.list(dir)?.into_iter().find(|entry| !left.contains(&entry.name.as_path())) {
        None => Ok(()),
        Some(entry) => {
            let found = entry.name.display().to_string();
            Err(Error::Foreign { dir: dir.to_owned(), found })
        }
    }
}
