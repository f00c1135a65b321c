//! A power loss or kill before every change of a workload of appends, syncs, rolls, seals, deaths and collections: what had
//! been synced and lives is there, what was collected does not come back, nothing reads as other data, the dead sets hold
//! exactly what they must, nothing is left over, and no id is used twice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod check;
#[path = "../support/mod.rs"]
mod support;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use base::{SegmentId, ValueLogHead, ValuePointer};
use support::{Address, STORE, Sample, address, end_of, number_of};
use vfs::{AppendMode, CrashMode, FaultFs, FaultPlan, MemFs, OperationRecord};
use vlog::{IoMode, Options};

const MODES: [CrashMode; 5] =
    [CrashMode::KeepAll, CrashMode::DropUnsynced, CrashMode::KeepNames, CrashMode::Prefix, CrashMode::Random];

/// What whoever uses the log has on record elsewhere at the moment of the crash.
#[derive(Clone, Debug, Default)]
struct Known {
    created: bool,
    synced: ValueLogHead,
    written: Vec<(Sample, ValuePointer)>,
    /// Tickets that an edit names.
    live: BTreeSet<u64>,
    deaths: BTreeMap<u64, Vec<ValuePointer>>,
    /// What died with each ticket that was applied.
    dead: BTreeSet<Address>,
    /// Dead records that a collection leaves out that began, and those that one left out that ended.
    leaving: BTreeSet<Address>,
    gone: BTreeSet<Address>,
    /// The greatest id that a file's name ever had.
    newest: SegmentId,
}

impl Known {
    fn apply(&mut self, ticket: u64) {
        self.live.remove(&ticket);
        self.dead.extend(self.deaths[&ticket].iter().map(address));
    }

    /// What can be read while nothing crashes.
    fn readable(&self) -> Vec<(Sample, ValuePointer)> {
        self.written.iter().filter(|(_, pointer)| !self.gone.contains(&address(pointer))).cloned().collect()
    }

    fn note_ids(&mut self, operation: &OperationRecord) {
        let names = [Some(&operation.path), operation.to.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|path| path.file_name()?.to_str());
        let ids = names.filter(|name| !name.contains(".deaths")).filter_map(number_of).map(SegmentId);
        self.newest = ids.max().unwrap_or_default().max(self.newest);
    }
}

/// A lie told to the check, or a wrong that is done to the log: the check must then fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// Everything appended is said to have been synced.
    SyncedTooFar,
    /// A ticket that was announced is said to be applied.
    DeadTooEarly,
    /// A record that died while it was copied is not noted as dead.
    DeathForgotten,
    /// What a collection leaves out is said to be gone before the manifest that says so is durable.
    CollectedTooEarly,
    /// The files of collected segments go before the manifest lists the new one.
    RemovedTooEarly,
}

fn options(mode: AppendMode, seed: u64) -> Options {
    let io_mode = if seed.is_multiple_of(2) { IoMode::Mapped } else { IoMode::Pread };
    // With nothing ahead, files are as long as their records, and recovery finds nothing to cut.
    let preallocate_bytes = if mode == AppendMode::Written && !seed.is_multiple_of(3) { 0 } else { 1_024 };
    Options { segment_bytes: 3_000, segment_entries: 6, preallocate_bytes, mode, io_mode, ..Options::new(STORE) }
}

struct Run {
    images: BTreeMap<String, usize>,
    failures: Vec<String>,
}

fn crash_everywhere(mode: AppendMode, seed: u64, planted: Planted) -> Run {
    let options = options(mode, seed);
    let memory = MemFs::new(seed);
    let fs = FaultFs::over_memory(memory.clone(), FaultPlan::none());
    let known = Arc::new(Mutex::new(Known::default()));
    let run = Arc::new(Mutex::new(Run { images: BTreeMap::new(), failures: Vec::new() }));
    let (hook_known, hook_run, hook_options) = (Arc::clone(&known), Arc::clone(&run), options.clone());
    fs.on_mutation(move |operation| {
        hook_known.lock().unwrap().note_ids(operation);
        let mut known = hook_known.lock().unwrap().clone();
        match planted {
            Planted::SyncedTooFar => {
                known.synced = known.written.iter().map(|(_, pointer)| end_of(pointer)).max().unwrap_or_default();
            }
            Planted::DeadTooEarly => {
                for ticket in known.live.clone() {
                    known.apply(ticket);
                }
            }
            _ => {}
        }
        for crash in MODES {
            let seed = seed * 1_000_000 + operation.number;
            let outcome = check::check(&memory.crash_image(crash, seed), &hook_options, &known, seed);
            let mut run = hook_run.lock().unwrap();
            *run.images.entry(format!("{crash:?}")).or_default() += 1;
            if let Err(what) = outcome {
                run.failures.push(format!("seed {seed}, {crash:?} before {operation}: {what}"));
            }
        }
    });
    work::work(&fs, &options, &known, seed, planted);
    fs.clear_hook();
    let mut run = run.lock().unwrap();
    Run { images: std::mem::take(&mut run.images), failures: std::mem::take(&mut run.failures) }
}

#[test]
fn every_synced_record_every_death_and_every_collection_survives_a_crash_before_any_change() {
    for seed in 1..=3 {
        for mode in [AppendMode::Mapped, AppendMode::Written] {
            let run = crash_everywhere(mode, seed, Planted::Nothing);
            println!("seed {seed}, {mode:?}: images {:?}", run.images);
            assert!(run.failures.is_empty(), "{} failures, first: {}", run.failures.len(), run.failures[0]);
            assert!(run.images.values().all(|count| *count > 100));
        }
    }
}

#[test]
fn the_check_notices_what_is_not_durable_what_was_forgotten_and_what_went_too_early() {
    for planted in [
        Planted::SyncedTooFar,
        Planted::DeadTooEarly,
        Planted::DeathForgotten,
        Planted::CollectedTooEarly,
        Planted::RemovedTooEarly,
    ] {
        let run = crash_everywhere(AppendMode::Written, 1, planted);
        assert!(!run.failures.is_empty(), "{planted:?} went unnoticed");
    }
}
