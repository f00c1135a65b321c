//! An open table.
//!
//! Opening reads footer, index and filter, and checks all of them; blocks are read when they are wanted. A lookup asks
//! the filter, searches the index's prefixes, and finds its entry by fingerprint in one block. It takes no lock and
//! allocates nothing where the block is read in place.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::checksum::crc32_salted;
use base::{Corruption, DecodeError, InternalKeyRef, SegmentId, StoreId, TableId, Version};
use bytes::Bytes;
use encryption::FileCipher;
use vfs::{ReadFile, Vfs};

use crate::block::{Block, Layout};
use crate::block_source::{BlockPlace, BlockSource};
use crate::filter::Filter;
use crate::footer::{self, Expected, FOOTER_LEN, Footer};
use crate::index::{INDEX_LEN_MAX, Index, IndexPlace, OpenedIndex};
use crate::{CursorOptions, Error, IoMode, ReadOptions, Result, TableCursor, TableSummary, VerifyBlocks, table_path};

/// An immutable sorted table, open for reading. Shared by all who read it.
#[derive(Debug)]
pub struct Table {
    pub(crate) source: BlockSource,
    pub(crate) index: Index,
    filter: Filter,
    summary: TableSummary,
    path: PathBuf,
}

/// What a lookup found.
#[derive(Clone, Debug)]
pub struct TableHit {
    /// The version of the entry.
    pub version: Version,
    /// The encoded entry.
    pub value: TableBytes,
}

/// Bytes of a table that stay valid while any clone lives: a part of its mapping or of a block in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableBytes(Bytes);

impl std::ops::Deref for TableBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<TableBytes> for Bytes {
    fn from(bytes: TableBytes) -> Self {
        bytes.0
    }
}

impl Table {
    /// Opens table `id` in `dir`, and checks footer, index, filter, and as many blocks as the options ask for.
    ///
    /// # Errors
    /// When the file is missing, damaged, cut, of another store, written by a newer program, or encrypted under a key that
    /// is not at hand.
    pub fn open(vfs: &Arc<dyn Vfs>, dir: &Path, id: TableId, options: ReadOptions) -> Result<Arc<Self>> {
        let path = table_path(dir, id);
        let file = vfs.open_read(&path)?;
        let file_len = file.len()?;
        if let Some(expected) = options.expected_size
            && expected != file_len
        {
            let corruption = Corruption::new(&path, 0, "table of another length than recorded");
            return Err(Box::new(corruption.with_values(expected, file_len)).into());
        }
        let mapped = match options.io_mode {
            IoMode::Mapped if file_len > 0 => Some(Bytes::from(file.map(file_len)?)),
            IoMode::Mapped | IoMode::Pread => None,
        };
        let reader = Reader { file: file.as_ref(), mapped: mapped.as_ref(), path: &path, file_len };
        let footer = reader.footer(id, options.store)?;
        let cipher = FileCipher::of_file(options.keys.as_deref(), footer.key, &footer::MAGIC, &footer.salt)
            .map_err(|source| Error::Key { path: path.clone(), source })?;
        let index = reader.index(&footer, cipher.as_ref())?;
        let place = IndexPlace { path: &path, table: id, file_len, offset: footer.index_offset };
        let OpenedIndex { index, filter, summary } = OpenedIndex::read(&index, place)?;
        reader.check_padding(index.blocks_end(), footer.index_offset)?;
        let (salt, count) = (footer.checksum_salt(), index.count());
        let source = BlockSource::new(file, mapped, salt, cipher, count, options.verify, options.cache);
        let table = Self { source, index, filter, summary, path };
        table.verify_on_open()?;
        Ok(Arc::new(table))
    }

    /// The table's number.
    #[must_use]
    pub fn id(&self) -> TableId {
        self.summary.id
    }

    /// Where the table's file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether what is in it is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.source.is_encrypted()
    }

    /// What the builder knew of the table when it finished it.
    #[must_use]
    pub fn summary(&self) -> &TableSummary {
        &self.summary
    }

    /// The newest version of any entry.
    #[must_use]
    pub fn max_version(&self) -> Version {
        self.summary.max_version
    }

    /// The oldest version of any entry.
    #[must_use]
    pub fn min_version(&self) -> Version {
        self.summary.min_version
    }

    /// Number of entries.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.summary.entries
    }

    /// The segments of the value log that entries point into, ascending.
    #[must_use]
    pub fn segments(&self) -> &[SegmentId] {
        &self.summary.segments
    }

    /// Length of the file in bytes.
    #[must_use]
    pub fn file_size(&self) -> u64 {
        self.summary.file_size
    }

    /// Number of data blocks.
    #[must_use]
    pub fn block_count(&self) -> usize {
        self.index.count()
    }

    /// The first internal key of each block, in order.
    pub fn block_keys(&self) -> impl ExactSizeIterator<Item = InternalKeyRef<'_>> {
        (0..self.index.count()).map(|block| self.index.key(block))
    }

    /// Whether the table has a filter; without one [`may_contain`](Self::may_contain) is always true.
    #[must_use]
    pub fn has_filter(&self) -> bool {
        self.filter.exists()
    }

    /// Whether a user key of this hash ([`base::key_hash`]) may be in the table. `false` is certain.
    #[must_use]
    #[inline]
    pub fn may_contain(&self, hash: u64) -> bool {
        self.filter.may_contain(hash)
    }

    /// The newest entry of exactly `user_key` at or below `read_version`. `hash` is [`base::key_hash`] of the key. Asks
    /// the filter itself.
    ///
    /// # Errors
    /// When a block cannot be read or is damaged.
    pub fn get(&self, user_key: &[u8], hash: u64, read_version: Version) -> Result<Option<TableHit>> {
        self.lookup(user_key, hash, read_version, |version, owner, entry| TableHit {
            version,
            value: TableBytes(owner.slice_ref(entry)),
        })
    }

    /// As [`get`](Self::get), but hands version and encoded entry to `found` in place: no copy, and no count of references
    /// is touched where the block is mapped.
    ///
    /// # Errors
    /// When a block cannot be read or is damaged.
    #[inline]
    pub fn get_with<R>(
        &self,
        user_key: &[u8],
        hash: u64,
        read_version: Version,
        found: impl FnOnce(Version, &[u8]) -> R,
    ) -> Result<Option<R>> {
        self.lookup(user_key, hash, read_version, |version, _, entry| found(version, entry))
    }

    /// A cursor over the table. It keeps the table open.
    #[must_use]
    pub fn cursor(self: &Arc<Self>, options: CursorOptions) -> TableCursor {
        TableCursor::new(Arc::clone(self), options)
    }

    /// About how many bytes of the file stand before `user_key`.
    #[must_use]
    pub fn approximate_offset(&self, user_key: &[u8]) -> u64 {
        if user_key > self.summary.largest.user_key.as_slice() {
            return self.index.blocks_end();
        }
        self.index.find(InternalKeyRef::first_of(user_key)).map_or(0, |block| self.index.place(block).0)
    }

    pub(crate) fn place(&self, number: usize) -> BlockPlace {
        let (offset, len) = self.index.place(number);
        BlockPlace { number, offset, len }
    }

    #[inline]
    fn lookup<R>(
        &self,
        user_key: &[u8],
        hash: u64,
        read_version: Version,
        found: impl FnOnce(Version, &Bytes, &[u8]) -> R,
    ) -> Result<Option<R>> {
        if !self.filter.may_contain(hash) {
            return Ok(None);
        }
        let mut found = Some(found);
        let mut next = 0;
        if let Some(block) = self.index.find(InternalKeyRef::new(user_key, read_version)) {
            let hit = self.search_block(block, &mut found, |block| block.find(user_key, hash, read_version))?;
            if hit.is_some() {
                return Ok(hit);
            }
            next = block + 1;
        }
        // The versions looked for may only start with the next block: its first key is above the one searched for.
        if !self.index.starts_with(next, user_key) {
            return Ok(None);
        }
        self.search_block(next, &mut found, |block| Ok(Some((block.version(0), block.entry(0)?.value))))
    }

    #[inline]
    fn search_block<R, F: FnOnce(Version, &Bytes, &[u8]) -> R>(
        &self,
        number: usize,
        found: &mut Option<F>,
        search: impl FnOnce(Block<'_>) -> std::result::Result<Option<(Version, Range<usize>)>, DecodeError>,
    ) -> Result<Option<R>> {
        let place = self.place(number);
        let fetched;
        let (owner, bytes) = match (self.source.mapped(), self.source.in_place(place)?) {
            (Some(mapped), Some(bytes)) => (mapped, bytes),
            _ => {
                fetched = self.source.fetch(place, true, None)?;
                (&fetched, &fetched[..])
            }
        };
        let searched = Layout::parse(bytes).and_then(|layout| {
            let found = search(layout.of(bytes))?;
            Ok(found.map(|(version, value)| (version, bytes.get(value).unwrap_or_default())))
        });
        match searched.map_err(|error| self.source.corrupt(place, error))? {
            Some((version, entry)) => Ok(found.take().map(|found| found(version, owner, entry))),
            None => Ok(None),
        }
    }

    fn verify_on_open(&self) -> Result<()> {
        let count = self.index.count();
        let wanted = match self.source.verify_blocks() {
            VerifyBlocks::OnOpenAll => count,
            VerifyBlocks::OnOpenSample(blocks) => blocks.min(count),
            VerifyBlocks::OnFirstRead | VerifyBlocks::Always | VerifyBlocks::None => 0,
        };
        (0..wanted).try_for_each(|n| self.source.verify(self.place(n * count / wanted)))
    }
}

/// Reads what stands around the blocks.
struct Reader<'a> {
    file: &'a dyn ReadFile,
    mapped: Option<&'a Bytes>,
    path: &'a Path,
    file_len: u64,
}

impl Reader<'_> {
    fn footer(&self, table: TableId, store: StoreId) -> Result<Footer> {
        let Some(offset) = self.file_len.checked_sub(FOOTER_LEN as u64) else {
            let corruption = Corruption::new(self.path, 0, "table shorter than its footer");
            return Err(Box::new(corruption.with_values(FOOTER_LEN, self.file_len)).into());
        };
        let mut bytes = [0; FOOTER_LEN];
        self.file.read_exact_at(&mut bytes, offset)?;
        Footer::decode(&bytes, Expected { path: self.path, table, store, file_len: self.file_len })
    }

    /// The bytes of the index, their checksum compared, decrypted.
    fn index(&self, footer: &Footer, cipher: Option<&FileCipher>) -> Result<Bytes> {
        let end = footer.index_offset.checked_add(footer.index_len);
        if end != Some(self.file_len - FOOTER_LEN as u64) || footer.index_len > INDEX_LEN_MAX {
            return Err(Error::corrupt(self.path, self.file_len - FOOTER_LEN as u64, "table index outside its file"));
        }
        let bytes = self.bytes(footer.index_offset, footer.index_len)?;
        let computed = crc32_salted(footer.checksum_salt(), &bytes);
        if computed != footer.index_checksum {
            let corruption = Corruption::new(self.path, footer.index_offset, "checksum of the table index differs");
            return Err(Box::new(corruption.with_values(footer.index_checksum, computed)).into());
        }
        let Some(cipher) = cipher else { return Ok(bytes) };
        let opened = footer::open_index(cipher, footer, &bytes);
        let tampered = || Error::corrupt(self.path, footer.index_offset, "table index does not match its tag");
        opened.map(Bytes::from).ok_or_else(tampered)
    }

    /// Nothing checks the bytes between blocks and index but this.
    fn check_padding(&self, blocks_end: u64, index_offset: u64) -> Result<()> {
        if self.bytes(blocks_end, index_offset - blocks_end)?.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        Err(Error::corrupt(self.path, blocks_end, "padding before the table index is not zero"))
    }

    /// A part of the file that is known to lie within it.
    fn bytes(&self, offset: u64, len: u64) -> Result<Bytes> {
        if let Some(mapped) = self.mapped {
            return Ok(mapped.slice(offset as usize..(offset + len) as usize));
        }
        let mut bytes = vec![0; len as usize];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(Bytes::from(bytes))
    }
}
