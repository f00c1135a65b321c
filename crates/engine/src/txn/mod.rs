//! Read-write transactions.

mod pending;
mod tracked;
mod transaction;
pub(crate) mod validate;

pub use transaction::{Txn, TxnKeyspace, TxnOptions, Untracked};

pub(crate) use pending::Pending;
pub(crate) use tracked::{ReadTracker, TrackedRange};
