#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod commit_order;
mod conflict_table;
mod error;
mod fault;
mod first_cause;
mod marks;
mod options;
mod oracle;
mod read_mark;
mod read_set;
mod recent;
mod validation;
mod watermark;

pub use commit_order::{CommitOrder, InFlight, Verdict};
pub use error::{AssignError, Cause, LostCommit, OpenError, Poisoned, RegisterError};
#[cfg(loom)]
pub use fault::{Fault, Faults};
pub use first_cause::FirstCause;
pub use options::{CONFLICT_SLOTS_MAX, IN_FLIGHT_MAX, OracleOptions, RECENT_BYTES_MAX};
pub use oracle::Oracle;
pub use read_mark::{Access, ReadMark};
pub use read_set::{KeyRange, PointRead, ReadKind, ReadSet, SealedReads};
pub use recent::{Conflict, Write};
pub use validation::Validation;
pub use watermark::VERSION_MAX;
