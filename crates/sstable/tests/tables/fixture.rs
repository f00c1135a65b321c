//! Tables in memory for the tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{Cursor, EntryMeta, EntryRef, InternalKey, InternalKeyRef, StoreId, TableId};
use encryption::{Keyring, StaticKey};
use sstable::{
    BlockCache, Compression, CursorOptions, IoMode, ReadOptions, Result, Table, TableBuilder, TableOptions,
    TableSummary, table_path,
};
use vfs::{MemFs, Vfs};

pub(crate) const STORE: StoreId = StoreId([7; 16]);
pub(crate) const TABLE: TableId = TableId(12);

pub(crate) fn dir() -> &'static Path {
    Path::new("/store")
}

pub(crate) fn path() -> PathBuf {
    table_path(dir(), TABLE)
}

pub(crate) type Entries = Vec<(InternalKey, Vec<u8>)>;

pub(crate) fn internal(user_key: impl Into<Vec<u8>>, version: u64) -> InternalKey {
    InternalKey { user_key: user_key.into(), version }
}

pub(crate) fn put(value: &[u8]) -> Vec<u8> {
    encoded(EntryRef::new(EntryMeta::put(), value))
}

pub(crate) fn encoded(entry: EntryRef<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    entry.encode_into(&mut bytes);
    bytes
}

/// `count` entries with keys `key00000000`, `key00000001`, ... and values of words and digits.
pub(crate) fn numbered(count: usize) -> Entries {
    (0..count)
        .map(|n| {
            let value = format!("the value of entry {n} is {n}, and that is {n} once more");
            (internal(format!("key{n:08}"), 1_000 + n as u64), put(value.as_bytes()))
        })
        .collect()
}

pub(crate) fn options() -> TableOptions {
    TableOptions { store: STORE, ..TableOptions::default() }
}

pub(crate) const CODECS: [Compression; 4] =
    [Compression::None, Compression::Snappy, Compression::Zstd { level: 1 }, Compression::Adaptive];

/// A file system in memory with an empty directory for tables.
pub(crate) fn memory() -> MemFs {
    let memory = MemFs::new(42);
    memory.create_dir_all(dir()).unwrap();
    memory
}

pub(crate) fn shared(vfs: impl Vfs) -> Arc<dyn Vfs> {
    Arc::new(vfs)
}

pub(crate) fn build(vfs: &Arc<dyn Vfs>, entries: &Entries, options: TableOptions) -> Result<TableSummary> {
    build_with(vfs, entries, options, None)
}

pub(crate) fn build_with(
    vfs: &Arc<dyn Vfs>,
    entries: &Entries,
    options: TableOptions,
    keys: Option<&Keyring>,
) -> Result<TableSummary> {
    let mut builder = TableBuilder::create(vfs, dir(), TABLE, options, keys)?;
    for (key, entry) in entries {
        builder.add(key.as_ref(), entry)?;
    }
    let summary = builder.finish()?;
    vfs.sync_dir(dir())?;
    Ok(summary)
}

pub(crate) fn keyring(seed: u64) -> Arc<Keyring> {
    let provider = Arc::new(StaticKey::new(&[1; 32]));
    Arc::new(Keyring::create(&shared(MemFs::new(seed)), Path::new("/"), STORE, provider, 0).unwrap())
}

/// Keys of a store that was not encrypted before.
pub(crate) fn keyring_beside_plain(seed: u64) -> Arc<Keyring> {
    let provider = Arc::new(StaticKey::new(&[1; 32]));
    Arc::new(Keyring::create_beside_plain(&shared(MemFs::new(seed)), Path::new("/"), STORE, provider, 0).unwrap())
}

pub(crate) fn read_options() -> ReadOptions {
    ReadOptions::new(Arc::new(BlockCache::new(1 << 20)), STORE)
}

pub(crate) fn read_modes() -> [ReadOptions; 2] {
    [IoMode::Mapped, IoMode::Pread].map(|io_mode| ReadOptions { io_mode, ..read_options() })
}

pub(crate) fn open(vfs: &Arc<dyn Vfs>, options: ReadOptions) -> Result<Arc<Table>> {
    Table::open(vfs, dir(), TABLE, options)
}

/// A table of these entries in a new file system.
pub(crate) fn table(entries: &Entries, options: TableOptions, read: ReadOptions) -> Arc<Table> {
    let vfs = shared(memory());
    build(&vfs, entries, options).unwrap();
    open(&vfs, read).unwrap()
}

/// All entries of a table, front to back.
pub(crate) fn forward(table: &Arc<Table>) -> Result<Entries> {
    let mut cursor = table.cursor(CursorOptions::default());
    let mut entries = Vec::new();
    cursor.seek_to_first()?;
    while cursor.valid() {
        entries.push((cursor.key().to_owned(), cursor.value().to_vec()));
        cursor.next()?;
    }
    Ok(entries)
}

/// All entries of a table, back to front.
pub(crate) fn backward(table: &Arc<Table>) -> Result<Entries> {
    let mut cursor = table.cursor(CursorOptions::default());
    let mut entries = Vec::new();
    cursor.seek_to_last()?;
    while cursor.valid() {
        entries.push((cursor.key().to_owned(), cursor.value().to_vec()));
        cursor.prev()?;
    }
    Ok(entries)
}

pub(crate) fn key_of(cursor: &impl Cursor) -> Option<InternalKey> {
    cursor.valid().then(|| InternalKeyRef::to_owned(&cursor.key()))
}
