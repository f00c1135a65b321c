#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", target_endian = "little")))]
compile_error!("ratel runs on Linux with 64-bit little-endian processors (x86-64, aarch64) only");

pub mod checksum;
pub mod clock;
mod corruption;
mod cursor;
mod entry;
mod hash;
mod ids;
mod key;
pub mod limits;
mod pointer;
pub mod proof;
pub mod rng;
pub mod sync;
pub mod thread;
pub mod varint;

pub use corruption::{Corruption, DecodeError};
pub use cursor::Cursor;
pub use entry::{ENTRY_META_LEN_MAX, EntryKind, EntryMeta, EntryRef};
pub use hash::{fingerprint, key_hash};
pub use ids::{KeyspaceId, LogNumber, SegmentId, StoreId, TableId};
pub use key::{InternalKey, InternalKeyRef, VERSION_SUFFIX_LEN, Version};
pub use pointer::{PointerPayload, ValueLogHead, ValuePointer};
