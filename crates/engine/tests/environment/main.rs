//! Bad environments on the file system of the machine: rights that are missing or go, a disk that fills up, too many open
//! files, a second process, directories of other programs. Each call then succeeds or gives a typed error that names a
//! file; nothing is lost that was acknowledged, nothing half done is there, and the store goes on once the cause is gone.
//!
//! The same by injected errors, at every file operation, is in `tests/faults`. What would harm other tests runs in a
//! process of its own, see [`child`]. A case that the machine cannot stage is printed as skipped, with the reason.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]
#![allow(clippy::disallowed_methods, reason = "the file system of the machine is what is tested")]

mod arguments;
mod child;
mod content;
mod files;
mod foreign;
mod full_disk;
mod open_files;
mod rights;
mod second_process;
