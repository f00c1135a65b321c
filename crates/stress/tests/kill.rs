//! A process that commits from several threads is killed at any instruction, and has lost nothing: at least fifty rounds
//! on one growing store, with kills in commit, flush, compaction, log switch, segment seal, manifest rewrite, and in each
//! part of a collection.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::proof::seed;
use base::show;
use stress::kill::{Limits, Phase, soak};

#[test]
fn a_process_that_is_killed_loses_nothing_that_it_acknowledged() {
    let seed = seed(20);
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("kill-{}", std::process::id()));
    println!("store {}", dir.display());
    let limits = Limits {
        rounds_min: 50,
        time_min: Duration::ZERO,
        every_phase: true,
        // A slow machine is given time for its fifty rounds.
        time_max: Duration::from_secs(240),
    };
    let tally = soak(Path::new(env!("CARGO_BIN_EXE_stress")), &dir, seed, limits);
    show!("kill test: {tally}; {}", tally.phases());
    assert!(tally.flaws.is_empty(), "{:#?}", tally.flaws);
    assert!(tally.rounds >= 50 && tally.kills == tally.rounds && tally.commits > 0, "{tally}");
    for phase in Phase::ALL {
        assert!(tally.by_phase.contains_key(&phase), "no kill fell into {phase}");
    }
    std::fs::remove_dir_all(dir).unwrap();
}
