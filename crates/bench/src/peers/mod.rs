//! Stores of other makes, each behind a feature of its own, with the options that their users get; where all have one
//! (sizes of the write buffer and of the cache), all get the same.

#[cfg(feature = "fjall")]
pub mod fjall;
#[cfg(feature = "leveldb")]
pub mod leveldb;
