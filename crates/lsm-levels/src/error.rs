//! What can go wrong in the tree: always with the file, and the offset where one is known.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::path::PathBuf;

use base::{Corruption, KeyspaceId, TableId};
use encryption::KeyError;

/// The result of an operation on the tree.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of another crate behind a trait, for example of the value log.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system failed.
    #[error(transparent)]
    Vfs(#[from] vfs::Error),

    /// A file does not hold what was written to it.
    #[error(transparent)]
    Corruption(Box<Corruption>),

    /// A file holds what only a newer program, or one with other features, understands.
    #[error("{}: {what}: this program knows {expected}, the file has {found}", path.display())]
    Incompatible {
        /// The file.
        path: PathBuf,
        /// What is unknown.
        what: &'static str,
        /// What this program understands.
        expected: String,
        /// What the file holds.
        found: String,
    },

    /// A table or the manifest is encrypted, and its key is not at hand.
    #[error("{}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Which key, and why not.
        source: KeyError,
    },

    /// A table failed.
    #[error(transparent)]
    Table(sstable::Error),

    /// The manifest's log failed.
    #[error(transparent)]
    Log(wal::Error),

    /// The disk was full while an edit was appended. The edit is not there, and the manifest goes on once space returns.
    #[error("no space for a version edit")]
    ManifestFull(#[source] wal::Error),

    /// An edit may or may not be on disk. No further edit is taken until the store is opened again.
    #[error("the manifest is closed to writing until the store is reopened: {cause}")]
    ManifestPoisoned {
        /// What made it so, in one line.
        cause: String,
    },

    /// The use of the tree has ended; it may be open elsewhere by now.
    #[error("the tree is closed")]
    Ended,

    /// The tree was opened for reading only.
    #[error("the tree is open for reading only")]
    ReadOnly,

    /// There is no store in this directory.
    #[error("{}: no store here: the file CURRENT is missing", dir.display())]
    NoStore {
        /// The directory.
        dir: PathBuf,
    },

    /// There already is a store in this directory.
    #[error("{}: there is a store here already", dir.display())]
    StoreExists {
        /// The directory.
        dir: PathBuf,
    },

    /// No such keyspace.
    #[error("no keyspace {0}")]
    UnknownKeyspace(KeyspaceId),

    /// An edit that does not fit the tree it is applied to. Nothing was written.
    #[error("version edit refused: {what} (keyspace {keyspace}, table {table})")]
    EditRefused {
        /// Why.
        what: &'static str,
        /// The keyspace of the edit.
        keyspace: KeyspaceId,
        /// The table that does not fit, or 0 where it is none.
        table: TableId,
    },

    /// An edit over one of the bounds of the format.
    #[error("{what}: {found}, more than {limit}")]
    LimitExceeded {
        /// What is too large.
        what: &'static str,
        /// The bound.
        limit: u64,
        /// How large it is.
        found: u64,
    },

    /// An entry of a kind that has its place in the format, but which compaction cannot handle yet.
    #[error("table entries of kind {what} are not supported by compaction")]
    Unsupported {
        /// The kind.
        what: &'static str,
    },

    /// The job was asked to stop; it has published nothing.
    #[error("the job was cancelled")]
    Cancelled,

    /// The value log could not note which values die; the edit was not made.
    #[error("deaths of values could not be prepared: {0}")]
    DeathsNotPrepared(#[source] BoxError),

    /// The value log could not take up deaths of an edit that stands. They are taken up when the store is opened again.
    #[error("deaths of values under ticket {ticket} could not be applied: {source}")]
    DeathsNotApplied {
        /// The ticket, which the manifest keeps.
        ticket: u64,
        /// The cause.
        #[source]
        source: BoxError,
    },
}

impl Error {
    /// Whether the disk or quota is full, which clears by itself.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Vfs(error) => error.is_no_space(),
            Self::Table(sstable::Error::Vfs(error)) => error.is_no_space(),
            Self::Log(wal::Error::Vfs(error)) => error.is_no_space(),
            Self::ManifestFull(_) => true,
            _ => false,
        }
    }
}

impl From<Corruption> for Error {
    fn from(corruption: Corruption) -> Self {
        Self::Corruption(Box::new(corruption))
    }
}

impl From<sstable::Error> for Error {
    fn from(error: sstable::Error) -> Self {
        match error {
            sstable::Error::Vfs(error) => Self::Vfs(error),
            sstable::Error::Corruption(corruption) => Self::Corruption(corruption),
            sstable::Error::Key { path, source } => Self::Key { path, source },
            other => Self::Table(other),
        }
    }
}

impl From<wal::Error> for Error {
    fn from(error: wal::Error) -> Self {
        match error {
            wal::Error::Vfs(error) => Self::Vfs(error),
            wal::Error::Corruption(corruption) => Self::Corruption(corruption),
            wal::Error::Key { path, source } => Self::Key { path, source },
            other => Self::Log(other),
        }
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
