#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod batch;
mod compact;
mod counters;
mod db;
mod encrypted;
mod entry;
mod error;
mod expiry;
mod files;
mod flush;
mod gc;
mod handle;
mod health;
mod keyspace;
mod metrics;
mod options;
mod read;
mod recovery;
mod slice;
mod snapshot;
mod store;
mod super_version;
mod txn;
mod workers;
mod write;

pub use base::{Corruption, Version};
pub use batch::{BatchKeyspace, WriteBatch};
pub use compact::{CompactOptions, CompactReport};
pub use counters::CounterValues;
pub use db::Db;
pub use encrypted::key_file;
pub use encryption::{KeyProvider, MasterKey, MasterKeyId, StaticKey};
pub use entry::Entry;
pub use error::{CommitOutcome, Error, ErrorKind, Result};
pub use gc::{
    AutoGc, EventListener, GarbageCheck, Gc, GcEvent, GcOptions, GcPaused, GcPolicy, GcReport, GcStatus, GcStep,
    GcVerdict, SegmentStatus,
};
pub use health::Health;
pub use keyspace::{Keyspace, KeyspaceInfo, KeyspaceOptions};
pub use lsm_levels::{LevelInfo, LevelTraffic};
pub use metrics::{DiskUsage, Metrics, TableInfo, VerifyOptions, VerifyReport};
pub use options::{Compression, Durability, FilterPolicy, IoMode, Isolation, Options, VerifyBlocks};
pub use read::{Cursor, Item, Iter, KeyRange, Read, ScanOptions};
pub use recovery::{DroppedTail, RecoveryReport};
pub use slice::{NotSlice, Slice};
pub use snapshot::{KeyspaceSnapshot, Snapshot};
pub use sstable::{BlockCache, CacheStats};
pub use store::CommitTotals;
pub use txn::{Txn, TxnKeyspace, TxnOptions, Untracked};
pub use wal::RecoveryMode;
pub use write::pipeline::{CommitInfo, WriteOptions};
