#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod block;
mod block_builder;
mod block_source;
mod builder;
mod cache;
mod cursor;
mod error;
mod expiry;
mod filter;
mod footer;
mod index;
mod index_builder;
mod options;
mod read_ahead;
mod stored_block;
mod summary;
mod table;
mod verify;

pub use builder::TableBuilder;
pub use cache::{BlockCache, CacheStats};
pub use compression::Compression;
pub use cursor::TableCursor;
pub use error::{Error, Result};
pub use expiry::TableExpiry;
pub use options::{CursorOptions, FilterPolicy, IoMode, ReadOptions, TableOptions, VerifyBlocks};
pub use summary::{TableSummary, table_path};
pub use table::{Table, TableBytes, TableHit};
pub use verify::VerifiedTable;
