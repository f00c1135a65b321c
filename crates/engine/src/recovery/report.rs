//! What opening a store found, and what it dropped.

use std::path::PathBuf;

use base::Version;

/// What opening a store found, and every byte that it dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Whether the store had been closed in order.
    pub clean_shutdown: bool,
    /// Write-ahead logs that were read.
    pub logs: usize,
    /// Commits that were replayed from them.
    pub commits: u64,
    /// The newest commit.
    pub last_version: Version,
    /// Unsynced ends of files that a crash had cut, oldest first.
    pub dropped: Vec<DroppedTail>,
    /// Values in the value log that no commit points to, and their bytes: left by commits that did not come to pass.
    pub unreferenced_values: u64,
    /// Bytes of those values.
    pub unreferenced_bytes: u64,
    /// What an operator should know, such as a network file system under the store.
    pub warnings: Vec<String>,
}

/// The unsynced end of a file: bytes that no acknowledged synced commit needs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DroppedTail {
    /// The file.
    pub path: PathBuf,
    /// Where the dropped bytes start.
    pub offset: u64,
    /// How many there are, up to the last one that is not zero.
    pub bytes: u64,
    /// Why they are not part of the store.
    pub cause: String,
}

impl RecoveryReport {
    /// Bytes dropped in sum.
    #[must_use]
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped.iter().map(|tail| tail.bytes).sum()
    }

    pub(crate) fn drop_tail(&mut self, path: impl Into<PathBuf>, offset: u64, bytes: u64, cause: impl Into<String>) {
        if bytes > 0 {
            self.dropped.push(DroppedTail { path: path.into(), offset, bytes, cause: cause.into() });
        }
    }
}
