#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod error;
mod garbage;
mod hash_keydir;
mod identity;
mod index;
mod keydir;
mod load;
mod merge;
mod options;
mod ordered_keydir;
mod records;
mod store;
mod worker;

pub use error::{Error, Result};
pub use garbage::FileStatus;
pub use hash_keydir::HashKeydir;
pub use keydir::{Batch, Keydir, KeydirEntry, Offer, Page};
pub use load::Recovery;
pub use merge::MergeReport;
pub use options::{MergeWindow, Options, SyncStrategy};
pub use ordered_keydir::{KeyRange, OrderedKeydir};
pub use records::{Keys, Records};
pub use store::{Bitcask, Status};
pub use vlog::IoMode;
