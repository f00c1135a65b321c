#![doc = include_str!("../README.md")]

mod error;
mod traits;

pub use error::{Error, Operation, Result};
pub use traits::{
    Advice, AppendFile, AppendMode, AppendOptions, DirEntry, FileKind, FileLock, LockKind, Mapping, Metadata,
    MountKind, ReadFile, SyncHandle, Vfs,
};
