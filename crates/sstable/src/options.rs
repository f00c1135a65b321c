//! How tables are written and read.

use std::sync::Arc;

use base::StoreId;
use compression::Compression;
use encryption::Keyring;

use crate::BlockCache;

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableOptions {
    /// Most bytes of a block before compression, unless a single entry is longer. 256 B to 1 MiB; default 4 KiB.
    pub block_size: usize,
    /// Entries that share one whole key, 1 to 128, rounded down to a power of two. Default 16.
    pub restart_interval: usize,
    /// How blocks are compressed; one is stored raw where that saves less than an eighth. Default: not at all.
    pub compression: Compression,
    /// What filter stands over the user keys. Default 8 bits.
    pub filter: FilterPolicy,
    /// The store that the table belongs to.
    pub store: StoreId,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self {
            block_size: 4_096,
            restart_interval: 16,
            compression: Compression::default(),
            filter: FilterPolicy::default(),
            store: StoreId::default(),
        }
    }
}

/// What filter stands over the distinct user keys of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FilterPolicy {
    /// None.
    None,
    /// About 9 bits a key; one absent key in 256 passes.
    #[default]
    Bits8,
    /// About 18 bits a key; one absent key in 65,536 passes.
    Bits16,
}

/// How a table is read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Where blocks go that cannot be read in place.
    pub cache: Arc<BlockCache>,
    /// How bytes are fetched.
    pub io_mode: IoMode,
    /// When block checksums are compared.
    pub verify: VerifyBlocks,
    /// The store that the table must belong to.
    pub store: StoreId,
    /// The file's length as the manifest recorded it; any other length is corruption.
    pub expected_size: Option<u64>,
    /// The keys of encrypted tables.
    pub keys: Option<Arc<Keyring>>,
}

impl ReadOptions {
    /// Mapped, verified on first read, any length, no keys.
    #[must_use]
    pub fn new(cache: Arc<BlockCache>, store: StoreId) -> Self {
        let (io_mode, verify) = (IoMode::Mapped, VerifyBlocks::OnFirstRead);
        Self { cache, io_mode, verify, store, expected_size: None, keys: None }
    }
}

/// How bytes are fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IoMode {
    /// The whole file is mapped, and raw blocks are read in place. A device error then ends the process.
    #[default]
    Mapped,
    /// Blocks are read by position; a device error is a typed error.
    Pread,
}

/// When block checksums are compared. The index, the filter and the footer always are, on open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum VerifyBlocks {
    /// All blocks when the table is opened, and again whenever one is fetched anew.
    OnOpenAll,
    /// This many blocks, spread evenly, when the table is opened; the others on first read.
    OnOpenSample(usize),
    /// Each block when it is first read.
    #[default]
    OnFirstRead,
    /// Each block at every read.
    Always,
    /// Never. Damage may then go unnoticed; decoding stays safe.
    None,
}

/// How a cursor reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CursorOptions {
    /// Whether blocks fetched for it stay in the cache. Off for compaction and backup.
    pub fill_cache: bool,
    /// Whether blocks ahead are asked for once two have been read in sequence.
    pub read_ahead: bool,
}

impl Default for CursorOptions {
    fn default() -> Self {
        Self { fill_cache: true, read_ahead: true }
    }
}
