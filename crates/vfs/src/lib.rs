#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod atomic_file;
mod buffer;
mod error;
mod map;
mod mem;
mod real;
mod traits;

pub use atomic_file::write_atomic;

pub use error::{Error, Operation, Result};
pub use mem::{CrashMode, MemFs};
pub use real::RealFs;
pub use traits::{
    Advice, AppendFile, AppendMode, AppendOptions, DirEntry, FileKind, FileLock, LockKind, Mapping, Metadata,
    MountKind, ReadFile, SyncHandle, Vfs,
};
