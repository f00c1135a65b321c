//! Whole tables: built, opened, read, damaged, and failed by the file system.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod damage;
mod faults;
mod fixture;
mod format;
mod model;
mod reads;
mod rules;
mod sealed;
