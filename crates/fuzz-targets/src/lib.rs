#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a target that finds a fault says so by a panic"
)]

pub mod bitcask_open;
mod edit;
pub mod key_registry;
pub mod table_reader;
pub mod vlog_reader;
pub mod wal_reader;
