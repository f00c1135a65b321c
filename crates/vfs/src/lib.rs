#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod atomic_file;
mod buffer;
mod data_end;
mod error;
mod fault;
mod map;
mod mem;
mod real;
mod record;
mod trace;
mod traits;

pub use atomic_file::write_atomic;
pub use data_end::data_end;
pub use error::{Error, Operation, Result};
pub use fault::{Cause, Fault, FaultFs, FaultId, FaultPlan};
pub use mem::{CrashMode, MemFs};
pub use real::RealFs;
pub use record::OperationRecord;
pub use trace::{ByteCounts, Trace, TraceFs, TracedCall};
pub use traits::{
    Advice, AppendFile, AppendMode, AppendOptions, DirEntry, FileKind, FileLock, LockKind, Mapping, Metadata,
    MountKind, ReadFile, SyncHandle, Vfs,
};
