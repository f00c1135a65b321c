//! Structural tests of the workspace: what no compiler checks and no reviewer should have to.
//!
//! Each check is a function over plain data with a test of its own that plants what it must find.

#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a check that cannot look has failed; clippy knows only functions marked as tests for tests"
)]

mod dependencies;
mod documents;
mod edges;
mod features;
mod functions;
mod invariants;
mod licences;
mod manifest;
mod sources;
mod versions;
mod workspace;
