//! A process that commits is killed at any instruction, over and over, on one growing store.
//!
//! The parent starts a [`child`] that opens the store, with everything so small that flush, compaction and the rest
//! happen all the time, and commits numbered transactions from several threads ([`transaction`]). Each acknowledgement
//! goes through a pipe. At a random moment, or once the child has stopped at a chosen step of a chosen [`Phase`], the
//! parent sends it SIGKILL, opens the store itself and compares everything in it with what must be there ([`expected`]).

pub mod child;
pub mod expected;
mod message;
pub mod phase;
mod round;
mod soak;
mod status;
pub mod transaction;
mod watched;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{AutoGc, GcPolicy, Options, StaticKey};

pub use phase::Phase;
pub use soak::{Limits, Tally, soak};

/// Threads that commit in a child.
pub const WRITERS: u32 = 4;

/// The keyspace beside the default one.
pub const PAIR_KEYSPACE: &str = "pairs";

/// Where a run is, and how its store is made.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// A folder that holds nothing else.
    pub dir: &'a Path,
    /// Whether the store is encrypted; then its data key is replaced again and again.
    pub encrypted: bool,
}

impl Place<'_> {
    fn store_dir(self) -> PathBuf {
        self.dir.join("store")
    }

    fn options(self) -> Options {
        let options = tiny_options();
        if self.encrypted { options.encryption(Arc::new(StaticKey::new(&[7; 32]))) } else { options }
    }

    /// What a process can be in the middle of.
    fn phases(self) -> Vec<Phase> {
        Phase::ALL.into_iter().filter(|phase| self.encrypted || *phase != Phase::KeyRotation).collect()
    }
}

/// So small that in a fraction of a second everything happens: about five tables a level, a full segment each megabyte.
fn tiny_options() -> Options {
    Options::new()
        .memtable_size(256 << 10)
        .value_threshold(512)
        .value_log_file_size(1 << 20)
        .gc(GcPolicy::Auto(AutoGc::new().garbage_target(0.05).garbage_cap(0.5)))
        .manifest_edits_max(64)
        .table_size(64 << 10)
        .level_base_size(5 * (64 << 10))
        .level_multiplier(4)
        .block_cache_size(4 << 20)
        .compactors(2)
}
