//! What goes wrong with keys: the registry's errors, and that of a file whose key is not at hand.

use std::path::PathBuf;

use base::Corruption;

use crate::cipher::KeyId;
use crate::provider::MasterKeyId;

/// The result of an operation on the registry.
pub type Result<T> = std::result::Result<T, Error>;

/// What a [`KeyProvider`](crate::KeyProvider) fails with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why an operation on the key registry failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused.
    #[error(transparent)]
    Vfs(#[from] vfs::Error),

    /// The registry is damaged.
    #[error(transparent)]
    Corruption(Box<Corruption>),

    /// The registry was written by a later version of the program.
    #[error("{}: {what} {found} is not supported (expected {expected})", path.display())]
    Incompatible {
        /// The registry.
        path: PathBuf,
        /// What is not known.
        what: &'static str,
        /// What this program knows.
        expected: u32,
        /// What the file has.
        found: u32,
    },

    /// The registry is whole, and wrapped under a master key that the provider does not have.
    #[error("{}: wrong master key: the registry needs {needed}, the one at hand is {offered}", path.display())]
    WrongMasterKey {
        /// The registry.
        path: PathBuf,
        /// Id of the key under which it is wrapped.
        needed: MasterKeyId,
        /// Id of the provider's current key.
        offered: MasterKeyId,
    },

    /// The provider of master keys failed.
    #[error("the provider of master keys failed: {0}")]
    Provider(#[source] BoxError),

    /// A file that should hold a master key holds something else.
    #[error("{}: not a master key: it takes 32 bytes, or 64 hexadecimal digits", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },

    /// A change of the master key could not be made durable, so either may open the registry. It takes no new data key until
    /// that change is repeated or the store opened again.
    #[error("{}: either master key may open the registry, as its last change could not be made durable", path.display())]
    InDoubt {
        /// The registry.
        path: PathBuf,
    },

    /// The registry has as many data keys as it takes; the newest goes on being used.
    #[error("{}: the registry has {max} data keys and takes no more", path.display())]
    TooManyKeys {
        /// The registry.
        path: PathBuf,
        /// How many it takes.
        max: usize,
    },
}

impl From<Corruption> for Error {
    fn from(corruption: Corruption) -> Self {
        Self::Corruption(Box::new(corruption))
    }
}

/// Why a file's key is not at hand. Whoever opens the file adds which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file is encrypted, and no keys were given.
    #[error("the file is encrypted (data key {0}), and the store was opened without a master key")]
    NoKeys(KeyId),

    /// The file says that it is not encrypted, and its store was from the first file on.
    #[error("the file is not encrypted, as all files of its store are")]
    NotEncrypted,

    /// The registry does not have the file's key.
    #[error("the file is encrypted under data key {0}, which the key registry does not have")]
    UnknownKey(KeyId),
}
