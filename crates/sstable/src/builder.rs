//! Writes a table, front to back.
//!
//! Invariants
//! 1. The table's own name appears only by the rename in [`TableBuilder::finish`], after everything was synced; a file
//!    under the temporary name is never read.
//! 2. Nothing is allocated for an entry: buffers grow to a block's size and the hashes' number, and are reused.
//! 3. A builder that is dropped before it finished removes its file.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::checksum::crc32_salted;
use base::limits::USER_KEY_LEN_MAX;
use base::{EntryKind, EntryRef, InternalKeyRef, PointerPayload, TableId, ValuePointer, key_hash};
use compression::{Codec, Compressor};
use encryption::{FileCipher, KeyId, Keyring, SALT_LEN};
use vfs::{AppendFile, AppendMode, AppendOptions, Vfs};

use crate::block::fingerprint;
use crate::block_builder::BlockBuilder;
use crate::expiry::ExpirySketch;
use crate::footer::{self, FOOTER_LEN, Footer};
use crate::index::{BLOCKS_MAX, INDEX_ALIGNMENT, INDEX_LEN_MAX};
use crate::index_builder::IndexBuilder;
use crate::stored_block::{seal, trailer};
use crate::summary::{reach, temporary_path};
use crate::{Error, FilterPolicy, Result, TableOptions, TableSummary, filter, table_path};

/// Longest encoded entry in bytes; a block of one fits 32-bit offsets.
const ENTRY_LEN_MAX: usize = 1 << 31;

const BLOCK_SIZE_MIN: usize = 256;
const BLOCK_SIZE_MAX: usize = 1 << 20;
const WRITE_BUFFER_BYTES: usize = 256 << 10;

/// Builds one table from entries in ascending order of internal keys.
///
/// Costs per entry: one hash of the user key, one copy of the entry, one comparison with the key before.
#[derive(Debug)]
pub struct TableBuilder {
    vfs: Arc<dyn Vfs>,
    file: Option<Box<dyn AppendFile>>,
    temporary: PathBuf,
    path: PathBuf,
    options: TableOptions,
    salt: [u8; SALT_LEN],
    key: KeyId,
    cipher: Option<FileCipher>,
    /// A block on its way to the file of an encrypted table.
    sealed: Vec<u8>,
    compressor: Compressor,
    block: BlockBuilder,
    index: IndexBuilder,
    hashes: Vec<u64>,
    last_hash: u64,
    summary: TableSummary,
    expiry: ExpirySketch,
    finished: bool,
}

impl TableBuilder {
    /// Creates the file of table `id` in `dir`, under its temporary name. With `keys` the table is encrypted.
    ///
    /// # Errors
    /// When the file cannot be created, or exists.
    pub fn create(
        vfs: &Arc<dyn Vfs>,
        dir: &Path,
        id: TableId,
        options: TableOptions,
        keys: Option<&Keyring>,
    ) -> Result<Self> {
        let options = TableOptions { block_size: options.block_size.clamp(BLOCK_SIZE_MIN, BLOCK_SIZE_MAX), ..options };
        let mut salt = [0; SALT_LEN];
        vfs.fill_random(&mut salt)?;
        let (key, cipher) = FileCipher::for_new_file(keys, &footer::MAGIC, &salt);
        let temporary = temporary_path(dir, id);
        let append = AppendOptions { mode: AppendMode::Buffered(WRITE_BUFFER_BYTES), preallocate_bytes: 0 };
        let file = vfs.create_append(&temporary, append)?;
        Ok(Self {
            vfs: Arc::clone(vfs),
            file: Some(file),
            temporary,
            path: table_path(dir, id),
            options,
            salt,
            key,
            cipher,
            sealed: Vec::new(),
            compressor: Compressor::new(options.compression),
            block: BlockBuilder::new(options.restart_interval),
            index: IndexBuilder::default(),
            hashes: Vec::new(),
            last_hash: 0,
            summary: TableSummary::empty(id),
            expiry: ExpirySketch::default(),
            finished: false,
        })
    }

    /// Adds an entry: `entry` is an encoded [`EntryRef`].
    ///
    /// # Errors
    /// When `key` is not behind the key added last, is empty or too long, when the entry does not decode or is a range
    /// delete, or when the file system fails. After a failure of the file system the builder can only be dropped.
    pub fn add(&mut self, key: InternalKeyRef<'_>, entry: &[u8]) -> Result<()> {
        let decoded = self.check(key, entry)?;
        // The largest key is empty before the first entry, and no user key is.
        let new_key = match key.user_key.cmp(&self.summary.largest.user_key) {
            Ordering::Greater => true,
            Ordering::Equal if key.version < self.summary.largest.version => false,
            _ => return Err(self.out_of_order(key)),
        };
        let pointer = self.pointer_of(decoded)?;
        if !self.block.is_empty() && self.block.len_with(key, entry) > self.options.block_size {
            self.write_block()?;
        }
        if self.block.is_empty() {
            self.start_block(key)?;
        }
        if new_key {
            self.last_hash = key_hash(key.user_key);
            if self.options.filter != FilterPolicy::None {
                self.hashes.push(self.last_hash);
            }
        }
        self.block.add(key, fingerprint(self.last_hash), entry);
        self.summary.count(key, entry.len(), new_key, decoded.meta.kind, pointer);
        self.expiry.count(&decoded.meta, reach(key, entry, pointer));
        Ok(())
    }

    /// Number of entries added.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.summary.entries
    }

    /// About how long the file would be if it were finished now, in bytes.
    #[must_use]
    pub fn estimated_size(&self) -> u64 {
        let filter_bytes = self.hashes.len() as u64 * 10 / 8;
        self.summary.stored_bytes
            + self.block.entries_len() as u64
            + self.index.len()
            + filter_bytes
            + FOOTER_LEN as u64
    }

    /// Writes what is left, syncs, and gives the table its name. The caller syncs the directory.
    ///
    /// # Errors
    /// When there are no entries, or the file system fails; no table is there then.
    pub fn finish(mut self) -> Result<TableSummary> {
        if self.summary.entries == 0 {
            return Err(Error::Empty { path: self.path.clone() });
        }
        self.write_block()?;
        let filter = filter::build(self.options.filter, &mut self.hashes);
        self.summary.blocks = self.index.blocks() as u64;
        self.summary.expiry = std::mem::take(&mut self.expiry).finish();
        let mut index = self.index.finish(&self.summary, &filter);
        let padding_len = self.summary.stored_bytes.next_multiple_of(INDEX_ALIGNMENT) - self.summary.stored_bytes;
        let index_offset = self.summary.stored_bytes + padding_len;
        let (table, store) = (self.summary.id, self.options.store);
        if let Some(cipher) = &self.cipher {
            footer::seal_index(cipher, index_offset, table, store, &mut index);
        }
        let file_len = index_offset + index.len() as u64 + FOOTER_LEN as u64;
        let footer = Footer {
            index_offset,
            index_len: index.len() as u64,
            index_checksum: crc32_salted(self.checksum_salt(), &index),
            key: self.key,
            table,
            store,
            salt: self.salt,
            file_len,
        };
        let padding = [0; INDEX_ALIGNMENT as usize];
        self.append(padding.get(..padding_len as usize).unwrap_or_default())?;
        self.append(&index)?;
        self.append(&footer.encode())?;
        if let Some(file) = self.file.take() {
            file.finish()?; // syncs
        }
        self.vfs.rename(&self.temporary, &self.path)?;
        self.finished = true;
        self.summary.file_size = file_len;
        Ok(std::mem::replace(&mut self.summary, TableSummary::empty(TableId::default())))
    }

    /// Removes the file.
    ///
    /// # Errors
    /// When the file system cannot; the file then stays until someone removes what is named `.tmp`.
    pub fn abandon(mut self) -> Result<()> {
        self.finished = true;
        self.file = None;
        Ok(self.vfs.remove_file(&self.temporary)?)
    }

    fn check<'e>(&self, key: InternalKeyRef<'_>, entry: &'e [u8]) -> Result<EntryRef<'e>> {
        let invalid = |what| Error::InvalidEntry { path: self.path.clone(), what };
        let too_large = |what, limit: usize, found: usize| Error::TooLarge {
            path: self.path.clone(),
            what,
            limit: limit as u64,
            found: found as u64,
        };
        if key.user_key.is_empty() {
            return Err(invalid("an entry with an empty key"));
        }
        if key.user_key.len() > USER_KEY_LEN_MAX {
            return Err(too_large("a key", USER_KEY_LEN_MAX, key.user_key.len()));
        }
        if entry.len() > ENTRY_LEN_MAX {
            return Err(too_large("an entry", ENTRY_LEN_MAX, entry.len()));
        }
        let decoded = EntryRef::decode(entry).map_err(|error| invalid(error.what()))?;
        if decoded.meta.kind == EntryKind::RangeDelete {
            return Err(invalid("a range delete among the entries of single keys"));
        }
        Ok(decoded)
    }

    fn pointer_of(&self, entry: EntryRef<'_>) -> Result<Option<ValuePointer>> {
        if entry.meta.kind != EntryKind::Pointer {
            return Ok(None);
        }
        match PointerPayload::decode(entry.payload) {
            Ok(payload) => Ok(Some(payload.pointer)),
            Err(error) => Err(Error::InvalidEntry { path: self.path.clone(), what: error.what() }),
        }
    }

    #[cold]
    fn out_of_order(&self, key: InternalKeyRef<'_>) -> Error {
        let is_encrypted = self.cipher.is_some();
        let last = self.summary.largest.as_ref().text(is_encrypted);
        Error::OutOfOrder { path: self.path.clone(), last, key: key.text(is_encrypted) }
    }

    fn start_block(&mut self, first: InternalKeyRef<'_>) -> Result<()> {
        let filter_bytes = self.hashes.len() as u64 * 3;
        let index_len = self.index.len() + filter_bytes + 4 * self.summary.segments.len() as u64;
        let limit = INDEX_LEN_MAX - (1 << 20);
        if index_len > limit || self.index.blocks() >= BLOCKS_MAX {
            return Err(Error::TooLarge { path: self.path.clone(), what: "a table's index", limit, found: index_len });
        }
        self.index.start_block(first);
        Ok(())
    }

    fn write_block(&mut self) -> Result<()> {
        let salt = self.checksum_salt();
        let Self { block, compressor, file, summary, index, cipher, sealed, .. } = self;
        let raw = block.finish();
        // What is read raw is read in place, so compression has to save an eighth.
        let (codec, compressed) = compressor.compress(raw, raw.len() - raw.len() / 8);
        let mut payload = if codec == Codec::Raw { raw } else { compressed };
        let offset = summary.stored_bytes;
        if let Some(cipher) = cipher {
            payload = seal(cipher, offset, codec, payload, sealed);
        }
        for part in [payload, &trailer(codec, payload, salt)] {
            append(file, part)?;
            summary.stored_bytes += part.len() as u64;
        }
        summary.uncompressed_bytes += raw.len() as u64;
        index.finish_block(offset, (summary.stored_bytes - offset) as u32);
        block.clear();
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        append(&mut self.file, bytes)
    }

    fn checksum_salt(&self) -> u32 {
        let [a, b, c, d, ..] = self.salt;
        u32::from_le_bytes([a, b, c, d])
    }
}

impl Drop for TableBuilder {
    fn drop(&mut self) {
        self.file = None;
        if !self.finished {
            // Best effort, to give space back at once: what stays under a temporary name is removed at the next open.
            let _ = self.vfs.remove_file(&self.temporary);
        }
    }
}

fn append(file: &mut Option<Box<dyn AppendFile>>, bytes: &[u8]) -> Result<()> {
    match file {
        Some(file) if !bytes.is_empty() => Ok(file.append(bytes)?),
        _ => Ok(()),
    }
}
