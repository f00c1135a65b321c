//! A power loss, or the death of the process, before every change of files of a workload of puts, deletes, syncs, merges and
//! reopens: what is left is a prefix of the writes, with all that was synced, and no deleted key comes back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base::proof::seed;
use base::rng::Rng;
use base::show;
use bitcask::{Bitcask, Options, SyncStrategy};
use support::{DIR, History, contents, small, value};
use vfs::{CrashMode, FaultFs, FaultPlan, MemFs};

const MODES: [CrashMode; 5] =
    [CrashMode::KeepAll, CrashMode::DropUnsynced, CrashMode::KeepNames, CrashMode::Prefix, CrashMode::Random];

/// What a user of the store knows at the moment of the crash.
#[derive(Clone, Debug, Default)]
struct Known {
    /// The last one may not have returned yet.
    history: History,
    returned: usize,
    synced: usize,
}

/// A lie told to the check, which must then fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// All that returned is said to have been synced.
    SyncedTooFar,
    /// The store is said to have been one write further than it can have been.
    OneTooMany,
}

fn options(fs: impl vfs::Vfs, seed: u64) -> Options {
    let sync_strategy = if seed.is_multiple_of(3) { SyncStrategy::Always } else { SyncStrategy::None };
    Options { max_file_size: 700, small_file_threshold: 500, sync_strategy, ..small(fs) }
}

/// Opens an image, compares it, writes and merges, loses power again, and compares once more.
fn check(image: &MemFs, known: &Known, at_least: usize, seed: u64) -> Result<(), String> {
    let say = |error: bitcask::Error| format!("{error}");
    let store = Bitcask::open(DIR, options(image.clone(), 3)).map_err(say)?;
    let found = contents(&store).map_err(say)?;
    let within = at_least..=known.history.0.len();
    let Some(writes) = known.history.find(&found, within.clone()) else {
        return Err(format!("not a prefix of {within:?} writes: {:?}", found.keys().collect::<Vec<_>>()));
    };
    let mut expected = known.history.state(writes);
    // Synced each.
    for key in [3u8, 50] {
        store.put(&[key], b"after").map_err(say)?;
        expected.insert(vec![key], b"after".to_vec());
        store.delete(&[key + 1]).map_err(say)?;
        expected.remove(&vec![key + 1]);
    }
    if seed.is_multiple_of(2) {
        store.merge().map_err(say)?;
    }
    let again = image.crash_image(CrashMode::Random, seed);
    drop(store);
    let store = Bitcask::open(DIR, options(again.clone(), 3)).map_err(say)?;
    store.merge().map_err(say)?;
    store.close().map_err(say)?;
    let store = Bitcask::open(DIR, options(again, 3)).map_err(say)?;
    if contents(&store).map_err(say)? != expected {
        return Err("what was synced after the crash is not what is there".to_owned());
    }
    Ok(())
}

#[derive(Default)]
struct Run {
    images: BTreeMap<String, usize>,
    failures: Vec<String>,
}

fn crash_everywhere(seed: u64, planted: Planted) -> Run {
    let memory = MemFs::new(seed);
    let fs = FaultFs::over_memory(memory.clone(), FaultPlan::none());
    let known = Arc::new(Mutex::new(Known::default()));
    let run = Arc::new(Mutex::new(Run::default()));
    let (hook_known, hook_run) = (Arc::clone(&known), Arc::clone(&run));
    fs.on_mutation(move |operation| {
        let known = hook_known.lock().unwrap().clone();
        for crash in MODES {
            let seed = seed * 1_000_000 + operation.number;
            let at_least = match (planted, crash) {
                (Planted::OneTooMany, _) => known.history.0.len() + 1,
                (Planted::SyncedTooFar, _) | (_, CrashMode::KeepAll) => known.returned,
                _ => known.synced,
            };
            let outcome = check(&memory.crash_image(crash, seed), &known, at_least, seed);
            let mut run = hook_run.lock().unwrap();
            *run.images.entry(format!("{crash:?}")).or_default() += 1;
            if let Err(what) = outcome {
                run.failures.push(format!("seed {seed}, {crash:?} before {operation}: {what}"));
            }
        }
    });
    work(&fs, &known, seed);
    fs.clear_hook();
    std::mem::take(&mut *run.lock().unwrap())
}

fn work(fs: &FaultFs, known: &Mutex<Known>, seed: u64) {
    let mut rng = Rng::new(seed);
    let note = |done: fn(&mut Known)| done(&mut known.lock().unwrap());
    for _ in 0..3 {
        let store = Bitcask::open(DIR, options(fs.clone(), seed)).unwrap();
        let always = seed.is_multiple_of(3);
        for _ in 0..30 {
            let key = [rng.below(8) as u8];
            match rng.below(12) {
                0..6 => {
                    let value = value(rng.next_u64(), rng.below(150) as usize);
                    known.lock().unwrap().history.push(&key, Some(&value));
                    store.put(&key, &value).unwrap();
                }
                6..9 => {
                    known.lock().unwrap().history.push(&key, None);
                    store.delete(&key).unwrap();
                }
                9 => {
                    store.sync().unwrap();
                    note(|known| known.synced = known.returned);
                }
                10 => _ = store.merge().unwrap(),
                _ => {}
            }
            note(|known| known.returned = known.history.0.len());
            if always {
                note(|known| known.synced = known.returned);
            }
        }
        if rng.one_in(2) {
            store.close().unwrap();
            note(|known| known.synced = known.returned);
        }
    }
}

#[test]
fn every_image_of_a_crash_is_a_prefix_of_the_writes_with_all_that_was_synced() {
    let first = seed(1);
    for seed in first..first + 4 {
        let run = crash_everywhere(seed, Planted::Nothing);
        show!("bitcask crashes, seed {seed}: images {:?}", run.images);
        assert!(run.failures.is_empty(), "{} failures, first: {}", run.failures.len(), run.failures[0]);
        assert!(run.images.values().all(|count| *count > 100));
    }
}

#[test]
fn the_check_notices_what_was_lost() {
    for planted in [Planted::SyncedTooFar, Planted::OneTooMany] {
        let run = crash_everywhere(1, planted);
        assert!(!run.failures.is_empty(), "{planted:?} went unnoticed");
    }
}
