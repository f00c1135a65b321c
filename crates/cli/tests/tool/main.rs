//! The tool as its users have it: the built binary, on folders of the real file system.

#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a step that cannot be taken fails its test; clippy knows only functions marked as tests for tests"
)]

mod bitcask_stores;
mod codes;
mod crash;
mod encryption;
mod files;
mod folder;
mod full;
mod garbage;
mod lines;
mod memory;
mod points;
mod progress;
mod refusals;
mod tree;
mod value_dir;
