#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod damage;
mod error;
mod fragment;
mod header;
mod offsets;
mod reader;
mod salt;
mod sync;
mod tail;
mod window;
mod writer;

use std::path::Path;
use std::sync::Arc;

use vfs::Vfs;

pub use base::ValueLogHead;
pub use damage::{Damage, EndKind, LogEnd, Skipped};
pub use error::{Error, Result};
pub use fragment::{BLOCK_LEN, FRAGMENT_HEADER_LEN};
pub use header::{ExpectedLog, LOG_HEADER_LEN, LogHeader, LogKind};
pub use offsets::SyncedOffsets;
pub use reader::{LogReader, Record, RecoveryMode};
pub use sync::LogSync;
pub use writer::{LogWriter, RECORD_LEN_MAX, WriterOptions};

/// Cuts a recovered log at its [end](LogEnd::offset) and makes that durable, so that a tail that was dropped once can
/// never come back. The log is not written to again.
///
/// # Errors
/// When the file cannot be cut or synced.
pub fn truncate_log(vfs: &Arc<dyn Vfs>, path: &Path, offset: u64) -> Result<()> {
    Ok(vfs.truncate(path, offset)?)
}
