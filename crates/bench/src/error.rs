//! Why a benchmark ended early.

use std::io;
use std::path::{Path, PathBuf};

/// Why a benchmark ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument is out of its range or does not go with another.
    #[error("{0}")]
    Argument(String),
    /// This store failed.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// A store of another make failed.
    #[error("{store}: {message}")]
    Peer {
        /// Which one.
        store: &'static str,
        /// What it said.
        message: String,
    },
    /// A store answered, and the answer is wrong.
    #[error("wrong answer: {0}")]
    WrongAnswer(String),
    /// A file or folder of the benchmark itself.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The results could not be written.
    #[error("standard output: {0}")]
    Output(io::Error),
}

/// The result of anything here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }

    pub(crate) fn output(source: io::Error) -> Self {
        Self::Output(source)
    }

    #[cfg(any(feature = "badger", feature = "fjall", feature = "leveldb", feature = "rocksdb"))]
    pub(crate) fn peer(store: &'static str, error: impl std::fmt::Display) -> Self {
        Self::Peer { store, message: error.to_string() }
    }
}
