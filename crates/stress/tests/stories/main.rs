//! Failures that the rules between the layers prevent, one test each: it fails without the rule that it is named after.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test panics"
)]

/// How the stores are made; see `stories_encrypted`.
const ENCRYPTED: bool = false;

mod collections;
mod common;
mod deaths;
mod flushes;
mod full_disk;
mod logs;
mod numbers;
mod threads;
mod values;
