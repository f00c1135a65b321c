//! Stores of other makes, each behind a feature of its own, with the options that their users get; where all have one
//! (sizes of the write buffer and of the cache, from where on values are separated), all get the same.

#[cfg(feature = "badger")]
pub mod badger;
#[cfg(any(feature = "leveldb", feature = "rocksdb"))]
mod c_interface;
#[cfg(feature = "fjall")]
pub mod fjall;
#[cfg(feature = "leveldb")]
pub mod leveldb;
#[cfg(feature = "rocksdb")]
pub mod rocksdb;

/// From how many bytes on a value is kept apart from its key, in stores that do so.
#[cfg(any(feature = "badger", feature = "fjall", feature = "rocksdb"))]
const SEPARATED_FROM_BYTES: u64 = 1 << 10;
