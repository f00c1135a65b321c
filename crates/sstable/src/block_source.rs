//! Where the blocks of an open table come from: the mapping, the cache, or the file.
//!
//! Invariants
//! 1. Raw blocks of a mapped table are used in place and never cached.
//! 2. A block that is fetched from the device (`Pread`) has its checksum compared every time, unless verification is off;
//!    one of a mapping once, as its bytes cannot change, unless verification is `Always`.

use std::path::Path;
use std::sync::Arc;

use base::Corruption;
use base::DecodeError;
use base::sync::atomic::{AtomicU64, Ordering};
use bytes::Bytes;
use vfs::ReadFile;

use crate::cache::CacheTable;
use crate::codec::{Codec, decompress};
use crate::stored_block::{StoredBlock, StoredBlockError, split};
use crate::{BlockCache, Error, Result, VerifyBlocks};

/// A block of a table: its number and its place in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockPlace {
    pub(crate) number: usize,
    pub(crate) offset: u64,
    pub(crate) len: usize,
}

/// Reads the blocks of one table.
#[derive(Debug)]
pub(crate) struct BlockSource {
    pub(crate) file: Arc<dyn ReadFile>,
    /// The whole file, where it is mapped.
    pub(crate) mapped: Option<Bytes>,
    pub(crate) salt: u32,
    pub(crate) verify: VerifyBlocks,
    pub(crate) verified: VerifiedBlocks,
    pub(crate) cache: Arc<BlockCache>,
    pub(crate) cache_table: CacheTable,
    pub(crate) block_count: usize,
}

impl BlockSource {
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The block in the mapping; `None` where the table is not mapped or the block not raw.
    #[inline]
    pub(crate) fn in_place(&self, place: BlockPlace) -> Result<Option<&[u8]>> {
        let Some(mapped) = &self.mapped else { return Ok(None) };
        let stored = self.split_mapped(mapped, place)?;
        Ok(if stored.codec == Codec::Raw { Some(stored.payload) } else { None })
    }

    /// The block, wherever it comes from. `ahead` holds bytes of the file from the given offset on.
    pub(crate) fn fetch(&self, place: BlockPlace, fill_cache: bool, ahead: Option<(u64, &Bytes)>) -> Result<Bytes> {
        if let Some(mapped) = &self.mapped {
            let stored = self.split_mapped(mapped, place)?;
            if stored.codec == Codec::Raw {
                return Ok(mapped.slice_ref(stored.payload));
            }
        }
        if let Some(block) = self.cache.get(self.cache_table, place.number) {
            return Ok(block);
        }
        let block = match (&self.mapped, ahead.and_then(|(start, bytes)| within(start, bytes, place))) {
            (Some(mapped), _) => self.decoded(mapped, self.split_mapped(mapped, place)?, place)?,
            (None, Some(stored)) => self.decoded(&stored, self.split_read(&stored, place)?, place)?,
            (None, None) => {
                let stored = Bytes::from(self.read(place.offset, place.len)?);
                self.decoded(&stored, self.split_read(&stored, place)?, place)?
            }
        };
        if fill_cache {
            self.cache.insert(self.cache_table, place.number, &block);
        }
        Ok(block)
    }

    /// Compares the checksum of a block as it stands in the file, now.
    pub(crate) fn verify(&self, place: BlockPlace) -> Result<()> {
        let checked = match &self.mapped {
            Some(mapped) => split(stored_in(mapped, place), self.salt, true).map(|_| ()),
            None => split(&self.read(place.offset, place.len)?, self.salt, true).map(|_| ()),
        };
        checked.map_err(|error| self.damaged(place, error))?;
        self.verified.insert(place.number);
        Ok(())
    }

    /// Bytes of the file.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// An error that says what is wrong with a block.
    #[cold]
    pub(crate) fn corrupt(&self, place: BlockPlace, error: DecodeError) -> Error {
        Box::new(error.at(self.path(), place.offset)).into()
    }

    #[inline]
    fn split_mapped<'m>(&self, mapped: &'m Bytes, place: BlockPlace) -> Result<StoredBlock<'m>> {
        let verify = match self.verify {
            VerifyBlocks::None => false,
            VerifyBlocks::Always => true,
            _ => !self.verified.contains(place.number),
        };
        let stored = split(stored_in(mapped, place), self.salt, verify).map_err(|error| self.damaged(place, error))?;
        if verify {
            self.verified.insert(place.number);
        }
        Ok(stored)
    }

    fn split_read<'s>(&self, stored: &'s [u8], place: BlockPlace) -> Result<StoredBlock<'s>> {
        let verify = self.verify != VerifyBlocks::None;
        split(stored, self.salt, verify).map_err(|error| self.damaged(place, error))
    }

    /// The block out of `stored`, which is a part of `owner`.
    fn decoded(&self, owner: &Bytes, stored: StoredBlock<'_>, place: BlockPlace) -> Result<Bytes> {
        match stored.codec {
            Codec::Raw => Ok(owner.slice_ref(stored.payload)),
            codec => decompress(codec, stored.payload).map(Bytes::from).map_err(|error| self.corrupt(place, error)),
        }
    }

    #[cold]
    fn damaged(&self, place: BlockPlace, error: StoredBlockError) -> Error {
        match error {
            StoredBlockError::Damaged(error) => self.corrupt(place, error),
            StoredBlockError::UnknownCodec(codec) => Error::Incompatible {
                path: self.path().to_path_buf(),
                what: "the codec of a block",
                expected: "0 to 2".into(),
                found: codec.to_string(),
            },
            StoredBlockError::Checksum { stored, computed } => {
                let corruption = Corruption::new(self.path(), place.offset, "checksum of a table block differs");
                Box::new(corruption.with_values(stored, computed)).into()
            }
        }
    }
}

impl Drop for BlockSource {
    fn drop(&mut self) {
        self.cache.remove(self.cache_table, self.block_count);
    }
}

#[inline]
fn stored_in(mapped: &Bytes, place: BlockPlace) -> &[u8] {
    // Places are checked against the file's length when the table is opened.
    let start = place.offset as usize;
    mapped.get(start..start + place.len).unwrap_or_default()
}

/// The block as a part of bytes that stand in the file from `start` on, if it is wholly within them.
fn within(start: u64, bytes: &Bytes, place: BlockPlace) -> Option<Bytes> {
    let from = usize::try_from(place.offset.checked_sub(start)?).ok()?;
    let to = from.checked_add(place.len)?;
    (to <= bytes.len()).then(|| bytes.slice(from..to))
}

/// Which blocks have been verified: a bit each.
#[derive(Debug)]
pub(crate) struct VerifiedBlocks(Box<[AtomicU64]>);

impl VerifiedBlocks {
    pub(crate) fn new(blocks: usize) -> Self {
        Self((0..blocks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    // Relaxed: the bit stands for bytes that never change, and whoever misses it verifies once more.
    #[inline]
    fn contains(&self, block: usize) -> bool {
        self.0.get(block / 64).is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (block % 64)) != 0)
    }

    fn insert(&self, block: usize) {
        if let Some(word) = self.0.get(block / 64) {
            word.fetch_or(1 << (block % 64), Ordering::Relaxed);
        }
    }
}
