//! What goes wrong with a log.

use std::path::PathBuf;

use base::Corruption;
use encryption::KeyError;

/// The result of an operation on a log.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation on a log failed. Each names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused.
    #[error(transparent)]
    Vfs(#[from] vfs::Error),

    /// Bytes that were durable are damaged, or the file is not the one that was asked for.
    #[error(transparent)]
    Corruption(Box<Corruption>),

    /// The file is whole, but written by a version of the program, or with a feature, that this one does not know.
    #[error("{}: {what} {found} is not supported (expected {expected})", path.display())]
    Incompatible {
        /// The file.
        path: PathBuf,
        /// What is not known.
        what: &'static str,
        /// What this program knows.
        expected: String,
        /// What the file has.
        found: String,
    },

    /// The log is encrypted, and its key is not at hand.
    #[error("{}: {source}", path.display())]
    Key {
        /// The log.
        path: PathBuf,
        /// Which key, and why not.
        source: KeyError,
    },

    /// A record is longer than a log takes. Nothing was written.
    #[error("{}: a record of {len} bytes is over the limit of {max}", path.display())]
    RecordTooLong {
        /// The log.
        path: PathBuf,
        /// Length of the payload in bytes.
        len: u64,
        /// Longest payload in bytes.
        max: u64,
    },

    /// The log has its closing record; nothing goes behind it.
    #[error("{}: the log has ended and takes no more records", path.display())]
    Ended {
        /// The log.
        path: PathBuf,
    },

    /// An earlier append failed half-way; the log takes nothing until it was cut to its last whole record.
    #[error("{}: an earlier append failed; the log must be cut to its last record first", path.display())]
    Damaged {
        /// The log.
        path: PathBuf,
    },
}

impl From<Corruption> for Error {
    fn from(corruption: Corruption) -> Self {
        Self::Corruption(Box::new(corruption))
    }
}
