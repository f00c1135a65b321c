//! The stories once more, of stores that are encrypted, with another data key for each of their lives.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test panics"
)]

const ENCRYPTED: bool = true;

#[path = "../stories/collections.rs"]
mod collections;
#[path = "../stories/common.rs"]
mod common;
#[path = "../stories/deaths.rs"]
mod deaths;
#[path = "../stories/flushes.rs"]
mod flushes;
#[path = "../stories/full_disk.rs"]
mod full_disk;
#[path = "../stories/logs.rs"]
mod logs;
#[path = "../stories/numbers.rs"]
mod numbers;
#[path = "../stories/threads.rs"]
mod threads;
#[path = "../stories/values.rs"]
mod values;
