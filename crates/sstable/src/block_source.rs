//! Where the blocks of an open table come from: the mapping, the cache, or the file.
//!
//! Invariants
//! 1. Raw blocks of a mapped table are used in place and never cached.
//! 2. Blocks of an encrypted table are taken for compressed ones, whatever their codec: they are decrypted into the cache.
//! 3. A compressed block that is in the cache is not looked at in the mapping: its page may be out of memory.
//! 4. A block that is fetched from the device (`Pread`) has its checksum compared every time, unless verification is off;
//!    one of a mapping once, as its bytes cannot change, unless verification is `Always`.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use base::{Corruption, DecodeError};
use bytes::Bytes;
use compression::{Codec, decompress};
use encryption::FileCipher;
use vfs::{Advice, ReadFile};

use crate::cache::CacheTable;
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
    file: Arc<dyn ReadFile>,
    /// The whole file, where it is mapped.
    mapped: Option<Bytes>,
    salt: u32,
    cipher: Option<FileCipher>,
    verify: VerifyBlocks,
    cache: Arc<BlockCache>,
    cache_table: CacheTable,
    block_count: usize,
    /// Blocks whose checksum has been compared.
    verified: BlockBits,
    /// Blocks of a mapping that were found compressed; all of an encrypted table.
    compressed: BlockBits,
    /// Whether a block of this table was ever put into the cache.
    cached: AtomicBool,
}

impl BlockSource {
    pub(crate) fn is_encrypted(&self) -> bool {
        self.cipher.is_some()
    }

    /// The blocks of a table of `block_count` of them, whose places lie within the file.
    pub(crate) fn new(
        file: Arc<dyn ReadFile>,
        mapped: Option<Bytes>,
        salt: u32,
        cipher: Option<FileCipher>,
        block_count: usize,
        verify: VerifyBlocks,
        cache: Arc<BlockCache>,
    ) -> Self {
        Self {
            file,
            mapped,
            salt,
            verify,
            compressed: if cipher.is_some() { BlockBits::all(block_count) } else { BlockBits::new(block_count) },
            cipher,
            cache_table: cache.register(),
            cache,
            block_count,
            verified: BlockBits::new(block_count),
            cached: AtomicBool::new(false),
        }
    }

    /// The whole file, where it is mapped.
    #[inline]
    pub(crate) fn mapped(&self) -> Option<&Bytes> {
        self.mapped.as_ref()
    }

    /// When block checksums are compared.
    pub(crate) fn verify_blocks(&self) -> VerifyBlocks {
        self.verify
    }

    /// Tells the system that a range of the file is wanted soon.
    pub(crate) fn will_need(&self, range: Range<u64>) {
        self.file.advise(range.start, range.end.saturating_sub(range.start), Advice::WillNeed);
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The block in the mapping; `None` where the table is not mapped or the block not raw.
    #[inline]
    pub(crate) fn in_place(&self, place: BlockPlace) -> Result<Option<&[u8]>> {
        let Some(mapped) = &self.mapped else { return Ok(None) };
        if self.compressed.contains(place.number) {
            return Ok(None);
        }
        let stored = self.split_mapped(mapped, place)?;
        if stored.codec == Codec::Raw {
            return Ok(Some(stored.payload));
        }
        self.compressed.insert(place.number);
        Ok(None)
    }

    /// The block, wherever it comes from. `ahead` holds bytes of the file from the given offset on.
    pub(crate) fn fetch(&self, place: BlockPlace, fill_cache: bool, ahead: Option<(u64, &Bytes)>) -> Result<Bytes> {
        if let (Some(mapped), Some(block)) = (&self.mapped, self.in_place(place)?) {
            return Ok(mapped.slice_ref(block));
        }
        if let Some(block) = self.cache.get(self.cache_table, place.number) {
            return Ok(block);
        }
        let stored;
        let (owner, split) = match (&self.mapped, ahead.and_then(|(start, bytes)| within(start, bytes, place))) {
            (Some(mapped), _) => (mapped, self.split_mapped(mapped, place)?),
            (None, ahead) => {
                stored = match ahead {
                    Some(stored) => stored,
                    None => Bytes::from(self.read(place.offset, place.len)?),
                };
                (&stored, self.split_read(&stored, place)?)
            }
        };
        let block = self.decoded(owner, split, place)?;
        if fill_cache {
            self.cached.store(true, Ordering::Relaxed);
            // A raw block is a part of what was read ahead, all of which it would keep in memory, uncounted.
            let copied = split.codec == Codec::Raw && ahead.is_some() && self.cipher.is_none();
            let own = if copied { Bytes::copy_from_slice(&block) } else { block.clone() };
            self.cache.insert(self.cache_table, place.number, &own);
        }
        Ok(block)
    }

    /// Compares the checksum, and the tag of a sealed one, of a block as it stands in the file, now.
    pub(crate) fn verify(&self, place: BlockPlace) -> Result<()> {
        let read;
        let stored = match &self.mapped {
            Some(mapped) => stored_in(mapped, place),
            None => {
                read = self.read(place.offset, place.len)?;
                &read
            }
        };
        let stored = split(stored, self.salt, true).map_err(|error| self.damaged(place, error))?;
        if let Some(cipher) = &self.cipher {
            stored.open(cipher, place.offset).map_err(|error| self.corrupt(place, error))?;
        }
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
        let decompressed = match (&self.cipher, stored.codec) {
            (None, Codec::Raw) => return Ok(owner.slice_ref(stored.payload)),
            (None, codec) => decompress(codec, stored.payload),
            (Some(cipher), Codec::Raw) => stored.open(cipher, place.offset),
            (Some(cipher), codec) => stored.open(cipher, place.offset).and_then(|payload| decompress(codec, &payload)),
        };
        decompressed.map(Bytes::from).map_err(|error| self.corrupt(place, error))
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
        if *self.cached.get_mut() {
            self.cache.remove(self.cache_table, self.block_count);
        }
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

/// A bit a block, set once.
#[derive(Debug)]
struct BlockBits(Box<[AtomicU64]>);

impl BlockBits {
    fn new(blocks: usize) -> Self {
        Self((0..blocks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    fn all(blocks: usize) -> Self {
        Self((0..blocks.div_ceil(64)).map(|_| AtomicU64::new(u64::MAX)).collect())
    }

    // Relaxed: a bit tells of bytes that never change, and whoever misses it finds out once more.
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
