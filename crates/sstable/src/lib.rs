#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod builder;
mod cache;
mod cursor;
mod error;
mod options;
mod summary;
mod table;

pub use builder::TableBuilder;
pub use cache::{BlockCache, CacheStats};
pub use cursor::TableCursor;
pub use error::{Error, Result};
pub use options::{Compression, CursorOptions, FilterPolicy, IoMode, ReadOptions, TableOptions, VerifyBlocks};
pub use summary::{TableSummary, table_path};
pub use table::{Table, TableBytes, TableHit, VerifiedTable};
