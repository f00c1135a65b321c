//! A process that commits from several threads is killed at any instruction, and has lost nothing: at least fifty rounds
//! on one growing store, with kills in commit, flush, compaction, log switch, segment seal, manifest rewrite, and in each
//! part of a collection.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::proof::seed;
use base::show;
use stress::kill::{Limits, Phase, Place, soak};

/// Kills at least so many times, and in every phase.
fn kill(name: &str, seed: u64, encrypted: bool, rounds_min: u64, time_max: Duration) {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    println!("store {}", dir.display());
    // A slow machine is given time for its rounds.
    let limits = Limits { rounds_min, time_min: Duration::ZERO, every_phase: true, time_max };
    let place = Place { dir: &dir, encrypted };
    let tally = soak(Path::new(env!("CARGO_BIN_EXE_stress")), place, seed, limits);
    show!("{name} test: {tally}; {}", tally.phases());
    assert!(tally.flaws.is_empty(), "{:#?}", tally.flaws);
    assert!(tally.rounds >= rounds_min && tally.kills == tally.rounds && tally.commits > 0, "{tally}");
    for phase in Phase::ALL.into_iter().filter(|phase| encrypted || *phase != Phase::KeyRotation) {
        assert!(tally.by_phase.contains_key(&phase), "no kill fell into {phase}");
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_process_that_is_killed_loses_nothing_that_it_acknowledged() {
    kill("kill", seed(20), false, 50, Duration::from_secs(240));
}

/// Its data key is replaced every hundred transactions, and kills fall into that as well.
#[test]
fn nor_does_one_whose_store_is_encrypted() {
    kill("kill-encrypted", seed(21), true, 20, Duration::from_secs(120));
}
