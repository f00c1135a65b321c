//! A rebuild of what is known to be dead kills nothing that lives, wherever its entry is, and whoever writes meanwhile.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]
#![allow(clippy::disallowed_methods, reason = "threads that are held, or that write meanwhile")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use engine::{CompactOptions, Db, ErrorKind, GarbageCheck, GcOptions, GcPolicy, Options};
use vfs::{FaultFs, FaultPlan, MemFs, Operation, OperationRecord};

const DIR: &str = "/store";

/// So often is another thread given the chance to come to an end.
const TURNS: usize = 20_000;

fn options(faults: &FaultFs) -> Options {
    Options::new()
        .vfs(Arc::new(faults.clone()))
        .gc(GcPolicy::Manual)
        .value_threshold(512)
        .value_log_file_size(64 << 10)
        .memtable_size(64 << 10)
}

fn disk() -> FaultFs {
    FaultFs::over_memory(MemFs::new(1), FaultPlan::none())
}

fn value(key: u64, round: u64) -> Vec<u8> {
    vec![(key * 31 + round) as u8; 1_000 + (key as usize * 37 + round as usize) % 500]
}

fn put(db: &Db, key: u64, round: u64) {
    db.insert(key.to_be_bytes(), value(key, round)).unwrap();
}

/// What is taken for dead is exact, and everything is there after all of it was collected, and once more after an open.
fn check(db: Db, faults: &FaultFs, newest: &[u64]) {
    let all_are_there = |db: &Db| {
        for (key, round) in newest.iter().enumerate() {
            let found = db.get((key as u64).to_be_bytes()).unwrap_or_else(|error| panic!("key {key}: {error}"));
            assert!(found.as_deref() == Some(&value(key as u64, *round)[..]), "key {key}");
        }
    };
    db.flush().unwrap();
    db.compact(.., CompactOptions::new()).unwrap();
    let found = db.gc().check().unwrap();
    assert!(found.is_exact(), "{found:?}");
    db.gc().run_once(GcOptions::new().discard_ratio(0.01).find_garbage(true)).unwrap();
    all_are_there(&db);
    db.close().unwrap();
    all_are_there(&options(faults).open(DIR).unwrap());
}

/// Holds the first change of files for which `is_it` is true, until it is let go on.
#[derive(Default)]
struct Hold {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Hold {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 = true;
        self.changed.notify_all();
        while !state.1 {
            state = self.changed.wait(state).unwrap();
        }
    }

    fn wait(&self) {
        let mut state = self.state.lock().unwrap();
        while !state.0 {
            state = self.changed.wait(state).unwrap();
        }
    }
}

/// Lets who is held go on, also where the test fails.
struct Release<'a>(&'a Hold);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().1 = true;
        self.0.changed.notify_all();
    }
}

fn is(record: &OperationRecord, operation: Operation, extension: &str) -> bool {
    record.operation == operation && record.path.extension().is_some_and(|found| found == extension)
}

#[test]
fn values_that_only_a_memtable_points_to_live() {
    let faults = disk();
    let db = options(&faults).inline_background().open(DIR).unwrap();
    (0..20).for_each(|key| put(&db, key, 0));
    db.flush().unwrap();
    (10..30).for_each(|key| put(&db, key, 1));
    let found = db.gc().rebuild().unwrap();
    assert_eq!((found.leaked_records, found.endangered_records, found.dangling_entries), (0, 0, 0), "{found:?}");
    let newest: Vec<u64> = (0..30).map(|key| u64::from(key >= 10)).collect();
    check(db, &faults, &newest);
}

/// Its value is in the value log when the rebuild begins; its entry is nowhere.
#[test]
fn the_value_of_a_commit_that_has_not_reached_its_log_lives() {
    let faults = disk();
    let db = options(&faults).inline_background().open(DIR).unwrap();
    (0..10).for_each(|key| put(&db, key, 0));
    let hold = Arc::new(Hold::default());
    let (holds, is_first) = (Arc::clone(&hold), AtomicBool::new(true));
    faults.on_mutation(move |record| {
        if is(record, Operation::Append, "wal") && is_first.swap(false, Ordering::Relaxed) {
            holds.pass();
        }
    });
    thread::scope(|scope| {
        let release = Release(&hold);
        let writing = scope.spawn(|| put(&db, 10, 0));
        hold.wait();
        let rebuilding = scope.spawn(|| db.gc().rebuild());
        // It waits for the commit, or does without.
        (0..TURNS).take_while(|_| !rebuilding.is_finished()).for_each(|_| thread::yield_now());
        drop(release);
        writing.join().unwrap();
        let found = rebuilding.join().unwrap().unwrap();
        assert!(found.is_exact(), "{found:?}");
    });
    faults.clear_hook();
    check(db, &faults, &[0; 11]);
}

/// Its value comes behind the head that the rebuild noted, and its entry only when the rebuild has ended.
#[test]
fn the_value_of_a_commit_that_begins_while_a_rebuild_flushes_lives() {
    let faults = disk();
    let db = options(&faults).inline_background().open(DIR).unwrap();
    (0..10).for_each(|key| put(&db, key, 0));
    let (flush, commit) = (Arc::new(Hold::default()), Arc::new(Hold::default()));
    let (holds_flush, holds_commit) = (Arc::clone(&flush), Arc::clone(&commit));
    let (is_flush, is_commit) = (AtomicBool::new(true), Arc::new(AtomicBool::new(false)));
    let commits = Arc::clone(&is_commit);
    faults.on_mutation(move |record| {
        // With the removal of its log a flush has all locks behind it.
        if is(record, Operation::Remove, "wal") && is_flush.swap(false, Ordering::Relaxed) {
            holds_flush.pass();
        } else if is(record, Operation::Append, "wal") && commits.swap(false, Ordering::Relaxed) {
            holds_commit.pass();
        }
    });
    thread::scope(|scope| {
        let (release_flush, release_commit) = (Release(&flush), Release(&commit));
        let rebuilding = scope.spawn(|| db.gc().rebuild());
        flush.wait();
        is_commit.store(true, Ordering::Relaxed);
        let writing = scope.spawn(|| put(&db, 10, 0));
        commit.wait();
        drop(release_flush);
        let found = rebuilding.join().unwrap().unwrap();
        assert!(found.is_exact() && found.records == 10, "{found:?}");
        drop(release_commit);
        writing.join().unwrap();
    });
    faults.clear_hook();
    check(db, &faults, &[0; 11]);
}

#[test]
fn nothing_that_lives_is_killed_beside_writers_and_flushes() {
    const KEYS: u64 = 40;
    const REBUILDS: usize = 30;
    const ROUNDS: u64 = 60;
    let is_safe = |found: &GarbageCheck| (found.endangered_records, found.dangling_entries) == (0, 0);
    let faults = disk();
    let db = options(&faults).open(DIR).unwrap();
    (0..KEYS).for_each(|key| put(&db, key, 0));
    let (ends, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let newest = thread::scope(|scope| {
        let writer = |of: u64| {
            let (db, ends, rounds) = (&db, &ends, &rounds);
            scope.spawn(move || {
                let mut round = 0;
                while !ends.load(Ordering::Relaxed) {
                    round += 1;
                    rounds.fetch_add(1, Ordering::Relaxed);
                    (0..KEYS).filter(|key| key % 2 == of).for_each(|key| put(db, key, round));
                    if round % 4 == of {
                        db.flush().unwrap();
                    }
                }
                round
            })
        };
        let writers = [writer(0), writer(1)];
        let mut found = Vec::new();
        while (found.len() < REBUILDS || rounds.load(Ordering::Relaxed) < ROUNDS) && found.iter().all(is_safe) {
            match db.gc().rebuild() {
                Err(error) if error.kind() == ErrorKind::Stalled => {}
                rebuilt => found.push(rebuilt.unwrap()),
            }
        }
        ends.store(true, Ordering::Relaxed);
        let rounds = writers.map(|writer| writer.join().unwrap());
        assert!(found.iter().all(is_safe), "{:?}", found.last());
        (0..KEYS).map(|key| rounds[key as usize % 2]).collect::<Vec<u64>>()
    });
    check(db, &faults, &newest);
}
