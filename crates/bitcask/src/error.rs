//! What goes wrong in a store. Every error names its file or folder; none is swallowed.

use std::fmt;
use std::path::{Path, PathBuf};

use base::Corruption;

/// The result of an operation on a store.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation on a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The value log failed.
    #[error(transparent)]
    Log(#[from] vlog::Error),
    /// The file system failed.
    #[error(transparent)]
    Vfs(#[from] vfs::Error),
    /// Bytes are damaged, foreign or missing.
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
    /// Another handle, of this process or another, has the store open for writing.
    #[error("{}: the store is open for writing elsewhere; one writer at a time, readers may open it read-only", path.display())]
    Locked {
        /// The file that carries the lock.
        path: PathBuf,
    },
    /// There is no store, and none was to be made.
    #[error("{}: there is no store", dir.display())]
    Missing {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder holds files of something else.
    #[error("{}: not a Bitcask store, and not empty: it holds {found}", dir.display())]
    Foreign {
        /// The folder.
        dir: PathBuf,
        /// A name in it that no new store has.
        found: String,
    },
    /// The caller asked for something that cannot be.
    #[error("invalid argument: {0}")]
    InvalidArgument(&'static str),
    /// A write to a store that was opened for reading only.
    #[error("{}: the store is open for reading only", dir.display())]
    ReadOnly {
        /// The folder.
        dir: PathBuf,
    },
    /// The system refused a thread.
    #[error("no thread for background work: {0}")]
    Thread(#[source] std::io::Error),
}

impl Error {
    /// Whether stored bytes are at fault, rather than the system or the caller.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Corruption(_) => true,
            Self::Log(error) => error.is_corruption(),
            _ => false,
        }
    }

    /// Whether a newer program wrote the store, or another one.
    #[must_use]
    pub fn is_incompatible(&self) -> bool {
        matches!(
            self,
            Self::Incompatible { .. }
                | Self::Foreign { .. }
                | Self::Missing { .. }
                | Self::Log(vlog::Error::Incompatible { .. })
        )
    }

    /// Whether the disk or the quota is full, which clears by itself.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Vfs(error) => error.is_no_space(),
            Self::Log(error) => error.is_no_space(),
            _ => false,
        }
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
