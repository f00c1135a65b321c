//! A power loss or kill before every change of a workload of appends, syncs, rolls, seals and deaths: what had been
//! synced is there, nothing reads as other data, and the dead sets hold exactly what they must.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use base::rng::Rng;
use base::{ValueLogHead, ValuePointer};
use support::{DIR, STORE, Sample, begin_with};
use vfs::{AppendMode, CrashMode, FaultFs, FaultPlan, MemFs};
use vlog::{IoMode, Options, RecoveryInput, ValueLog};

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
    /// What died with each ticket that was applied.
    dead: BTreeSet<(u32, u32)>,
    deaths: BTreeMap<u64, Vec<ValuePointer>>,
}

/// A lie told to the check, which must then fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// Everything appended is said to have been synced.
    SyncedTooFar,
    /// A ticket that was announced is said to be applied.
    DeadTooEarly,
}

fn options(mode: AppendMode, seed: u64) -> Options {
    let io_mode = if seed.is_multiple_of(2) { IoMode::Mapped } else { IoMode::Pread };
    // With nothing ahead, files are as long as their records, and recovery finds nothing to cut.
    let preallocate_bytes = if mode == AppendMode::Written && !seed.is_multiple_of(3) { 0 } else { 1_024 };
    Options { segment_bytes: 3_000, segment_entries: 6, preallocate_bytes, mode, io_mode, ..Options::new(STORE) }
}

fn end_of(pointer: &ValuePointer) -> ValueLogHead {
    ValueLogHead { segment: pointer.segment, offset: pointer.offset + pointer.len }
}

/// Opens an image, checks it, goes on with it, loses power again and checks once more.
fn check(image: &MemFs, options: &Options, known: &Known, seed: u64) -> Result<(), String> {
    let live: Vec<u64> = known.live.iter().copied().collect();
    let input = RecoveryInput { synced: known.synced, live_tickets: &live, must_exist: known.created };
    let say = |error: vlog::Error| format!("{error}");
    let (log, _) = begin_with(image, options.clone(), input).map_err(say)?;
    check_records(&log, known)?;
    log.finish_recovery().map_err(say)?;
    let survivors = check_records(&log, known)?;
    check_dead_sets(&log, known)?;
    // What a log replayed up to the first record that is gone would name.
    let referenced: Vec<ValuePointer> = known.written.iter().map(|(_, pointer)| *pointer).collect();
    log.mark_unreferenced_dead(ValueLogHead::default(), referenced).map_err(say)?;
    check_unreferenced(&log, known)?;
    log.remove_orphans().map_err(say)?;
    let mut later = Vec::new();
    for number in 900..903 {
        let sample = Sample::of(number, 80);
        let pointer = sample.append(&log).map_err(say)?;
        if known.written.iter().any(|(_, old)| old.segment >= pointer.segment) {
            return Err(format!("segment {} was used before", pointer.segment));
        }
        later.push((sample, pointer));
    }
    let synced = log.sync().map_err(say)?;
    let again = image.crash_image(CrashMode::Random, seed);
    drop(log);
    let input = RecoveryInput { synced, live_tickets: &live, must_exist: true };
    let (log, _) = begin_with(&again, options.clone(), input).map_err(say)?;
    log.finish_recovery().map_err(say)?;
    if check_records(&log, known)? < survivors {
        return Err("a record that survived one crash was lost in the next".to_owned());
    }
    later.iter().for_each(|(sample, pointer)| sample.assert_at(&log, *pointer));
    Ok(())
}

/// Every synced record is there; any other is itself or an error. Returns how many are there.
fn check_records(log: &ValueLog, known: &Known) -> Result<usize, String> {
    let set = log.segments();
    let mut found = 0;
    for (sample, pointer) in &known.written {
        match set.read_record(*pointer) {
            Ok(record) if record.value == sample.value && record.key.as_ref() == sample.key() => found += 1,
            Ok(_) => return Err(format!("{pointer:?} reads as another record")),
            Err(error) if end_of(pointer) <= known.synced => return Err(format!("synced record lost: {error}")),
            Err(error) if !error.is_corruption() => return Err(format!("{error}")),
            Err(_) => {}
        }
    }
    Ok(found)
}

fn check_dead_sets(log: &ValueLog, known: &Known) -> Result<(), String> {
    let mut expected = known.dead.clone();
    for ticket in &known.live {
        expected.extend(known.deaths[ticket].iter().map(|pointer| (pointer.segment.0, pointer.offset)));
    }
    let mut found = BTreeSet::new();
    for segment in log.segments().iter() {
        let dead = log.dead_set(segment.id()).map_err(|error| error.to_string())?;
        found.extend(dead.offsets().iter().map(|offset| (segment.id().0, *offset)));
    }
    if found == expected { Ok(()) } else { Err(format!("dead: expected {expected:?}, found {found:?}")) }
}

/// A record that was never acknowledged to anyone is dead.
fn check_unreferenced(log: &ValueLog, known: &Known) -> Result<(), String> {
    let written: BTreeSet<_> = known.written.iter().map(|(_, pointer)| (pointer.segment, pointer.offset)).collect();
    for segment in log.segments().iter() {
        let dead = log.dead_set(segment.id()).map_err(|error| error.to_string())?;
        let entries = support::entries_of(log, segment.id()).map_err(|error| error.to_string())?;
        for (pointer, ..) in entries {
            if !written.contains(&(pointer.segment, pointer.offset)) && !dead.contains(pointer.offset) {
                return Err(format!("{pointer:?} belongs to nobody and lives"));
            }
        }
    }
    Ok(())
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
        let mut known = hook_known.lock().unwrap().clone();
        match planted {
            Planted::Nothing => {}
            Planted::SyncedTooFar => {
                known.synced = known.written.iter().map(|(_, pointer)| end_of(pointer)).max().unwrap_or_default();
            }
            Planted::DeadTooEarly => {
                for ticket in std::mem::take(&mut known.live) {
                    known.dead.extend(known.deaths[&ticket].iter().map(|dead| (dead.segment.0, dead.offset)));
                }
            }
        }
        for crash in MODES {
            let seed = seed * 1_000_000 + operation.number;
            let outcome = check(&memory.crash_image(crash, seed), &hook_options, &known, seed);
            let mut run = hook_run.lock().unwrap();
            *run.images.entry(format!("{crash:?}")).or_default() += 1;
            if let Err(what) = outcome {
                run.failures.push(format!("seed {seed}, {crash:?} before {operation}: {what}"));
            }
        }
    });
    work(&fs, &options, &known, seed);
    fs.clear_hook();
    let mut run = run.lock().unwrap();
    Run { images: std::mem::take(&mut run.images), failures: std::mem::take(&mut run.failures) }
}

/// Appends, syncs, seals, prepares, applies and clears deaths, and reopens, as the seed says.
fn work(fs: &FaultFs, options: &Options, known: &Mutex<Known>, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut number = 0;
    for _ in 0..2 {
        let live: Vec<u64> = known.lock().unwrap().live.iter().copied().collect();
        let synced = known.lock().unwrap().synced;
        let input = RecoveryInput { synced, live_tickets: &live, must_exist: known.lock().unwrap().created };
        let (log, _) = ValueLog::open(Arc::new(fs.clone()), DIR, options.clone(), input).unwrap();
        known.lock().unwrap().created = true;
        log.finish_recovery().unwrap();
        for _ in 0..24 {
            for _ in 0..rng.below(3) {
                number += 1;
                let sample = Sample::of(number, rng.below(600) as usize);
                let pointer = sample.append(&log).unwrap();
                known.lock().unwrap().written.push((sample, pointer));
            }
            match rng.below(5) {
                0 | 1 => assert!(log.sync().unwrap() <= log.head()),
                2 => drop(log.seal_full().unwrap()),
                3 => kill_some(&log, known, &mut rng, number),
                _ => {}
            }
            // As the next record of a write-ahead log would say.
            known.lock().unwrap().synced = log.synced();
        }
    }
}

/// The life of a death ticket: prepared, named by an edit, applied, cleared by another edit, removed.
fn kill_some(log: &ValueLog, known: &Mutex<Known>, rng: &mut Rng, ticket: u64) {
    let synced = log.synced();
    let mut dying: Vec<ValuePointer> =
        known.lock().unwrap().written.iter().map(|(_, pointer)| *pointer).filter(|at| end_of(at) <= synced).collect();
    dying.retain(|_| rng.one_in(4));
    // What an edit kills has been synced, and the log of the user knows it.
    known.lock().unwrap().synced = synced;
    log.prepare_deaths(ticket, &dying).unwrap();
    {
        let mut known = known.lock().unwrap();
        known.deaths.insert(ticket, dying.clone());
        known.live.insert(ticket);
    }
    log.apply_deaths(&[ticket]).unwrap();
    {
        let mut known = known.lock().unwrap();
        known.live.remove(&ticket);
        known.dead.extend(dying.iter().map(|pointer| (pointer.segment.0, pointer.offset)));
    }
    if rng.one_in(2) {
        log.clear_deaths(&[ticket]).unwrap();
    }
}

#[test]
fn every_synced_record_and_every_death_survives_a_crash_before_any_change() {
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
fn the_check_notices_a_record_or_a_death_that_is_not_durable() {
    for planted in [Planted::SyncedTooFar, Planted::DeadTooEarly] {
        let run = crash_everywhere(AppendMode::Written, 1, planted);
        assert!(!run.failures.is_empty(), "{planted:?} went unnoticed");
    }
}
