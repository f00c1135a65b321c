//! What goes wrong in a value log. Every error names the file; none is swallowed or turned into an empty value.

use std::fmt;
use std::path::{Path, PathBuf};

use base::Corruption;
use encryption::KeyError;

/// The result of a value-log operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed value-log operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system failed.
    #[error(transparent)]
    Vfs(#[from] vfs::Error),
    /// Bytes that had been synced or sealed are damaged, cut, foreign or missing.
    #[error("{0}")]
    Corruption(Box<Corruption>),
    /// A file was written by a program that knows more than this one.
    #[error("{}: {what} is not supported (expected {expected}, found {found})", path.display())]
    Incompatible {
        /// The file.
        path: PathBuf,
        /// What is unknown.
        what: &'static str,
        /// What this program knows.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// A file is encrypted, and its key is not at hand.
    #[error("{}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Which key, and why not.
        source: KeyError,
    },
    /// The caller asked for something that cannot be.
    #[error("invalid argument: {0}")]
    InvalidArgument(&'static str),
    /// A write to a log that was opened for reading only.
    #[error("{}: the value log is open for reading only", dir.display())]
    ReadOnly {
        /// The folder of the log.
        dir: PathBuf,
    },
    /// A write before [`ValueLog::finish_recovery`](crate::ValueLog::finish_recovery).
    #[error("{}: the value log is still in recovery", dir.display())]
    InRecovery {
        /// The folder of the log.
        dir: PathBuf,
    },
    /// A log that was opened for reading was changed by its writer meanwhile. Opening it again mends that.
    #[error("{}: written while the value log was opened for reading", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A file would be longer than one that is read whole may be. It was not written.
    #[error("{}: {bytes} bytes are too long for a file that is read whole, which has at most {bytes_max}", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// What it would have.
        bytes: u64,
        /// What it may have.
        bytes_max: u64,
    },
    /// All segment ids have been used; they are never reused.
    #[error("{}: no segment ids are left", dir.display())]
    IdsExhausted {
        /// The folder of the log.
        dir: PathBuf,
    },
}

impl Error {
    /// Whether stored bytes are at fault, rather than the system or the caller.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Corruption(_))
    }

    /// Whether the disk or the quota is full, which clears by itself.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Vfs(error) if error.is_no_space())
    }

    pub(crate) fn incompatible(
        path: &Path,
        what: &'static str,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Self::Incompatible { path: path.to_owned(), what, expected: expected.to_string(), found: found.to_string() }
    }

    pub(crate) fn corruption(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Corruption::new(path, offset, what).into()
    }
}

impl From<Corruption> for Error {
    fn from(corruption: Corruption) -> Self {
        Self::Corruption(Box::new(corruption))
    }
}
