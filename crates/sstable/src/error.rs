//! What goes wrong with tables.

use std::path::{Path, PathBuf};

use base::{Corruption, StoreId};
use encryption::KeyError;

/// The result of a table operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed table operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system failed.
    #[error(transparent)]
    Vfs(#[from] vfs::Error),
    /// The table's bytes are damaged or cut.
    #[error(transparent)]
    Corruption(#[from] Box<Corruption>),
    /// The table was written by a newer program, or uses what this one does not know.
    #[error("{}: {what} is not known to this program (expected {expected}, found {found})", path.display())]
    Incompatible {
        /// The table.
        path: PathBuf,
        /// What is not known.
        what: &'static str,
        /// What this program knows.
        expected: String,
        /// What the table holds.
        found: String,
    },
    /// The table belongs to another store.
    #[error("{} belongs to another store (expected {expected}, found {found})", path.display())]
    ForeignStore {
        /// The table.
        path: PathBuf,
        /// The store that opened it.
        expected: StoreId,
        /// The store that wrote it.
        found: StoreId,
    },
    /// The table is encrypted, and its key is not at hand.
    #[error("{}: {source}", path.display())]
    Key {
        /// The table.
        path: PathBuf,
        /// Which key, and why not.
        source: KeyError,
    },
    /// An entry was added at or before the one added last.
    #[error("{}: entry {key} does not come after {last}", path.display())]
    OutOfOrder {
        /// The table.
        path: PathBuf,
        /// The entry added last, as [`base::InternalKeyRef::text`] shows it.
        last: String,
        /// The entry refused.
        key: String,
    },
    /// Something is longer than a table can hold.
    #[error("{}: {what} of {found} bytes is over the limit of {limit} bytes", path.display())]
    TooLarge {
        /// The table.
        path: PathBuf,
        /// What is too long.
        what: &'static str,
        /// The most that is allowed, in bytes.
        limit: u64,
        /// What was given, in bytes.
        found: u64,
    },
    /// An entry cannot stand in a table.
    #[error("{}: {what}", path.display())]
    InvalidEntry {
        /// The table.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A table without entries was to be finished.
    #[error("{}: a table without entries", path.display())]
    Empty {
        /// The table.
        path: PathBuf,
    },
}

impl Error {
    /// Whether the disk or the quota is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Vfs(error) if error.is_no_space())
    }

    /// Whether the table's bytes are damaged, cut or foreign.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Corruption(_) | Self::ForeignStore { .. })
    }

    pub(crate) fn corrupt(path: &Path, offset: u64, what: &'static str) -> Self {
        Self::Corruption(Box::new(Corruption::new(path, offset, what)))
    }
}
