//! Threads that write, read, walk, sync and merge at once; each knows what it must see.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use base::clock::{Clock, ManualClock};
use base::rng::Rng;
use base::{show, thread};
use bitcask::{Bitcask, MergeWindow, Options, SyncStrategy};
use support::{DIR, START, contents, open, small, value};
use vfs::{MemFs, Operation, TraceFs, Vfs};

const KEYS: u64 = 200;
const ROUNDS: u64 = 150;

fn options(fs: impl Vfs) -> Options {
    Options { max_file_size: 30_000, background: true, small_file_threshold: 10_000, ..small(fs) }
}

/// Of the rounds of a key, every seventh deletes it.
fn is_deleted(round: u64) -> bool {
    round % 7 == 6
}

fn value_of(key: u64, round: u64) -> Vec<u8> {
    let mut all = round.to_be_bytes().to_vec();
    all.extend(value(key * 1_000 + round, (key % 90) as usize));
    all
}

fn round_of(key: u64, value: &[u8]) -> u64 {
    let round = u64::from_be_bytes(value[..8].try_into().unwrap());
    assert_eq!(value, value_of(key, round), "a value of another key or round");
    round
}

struct Shared {
    store: Bitcask,
    /// The newest round of each key that has been written.
    rounds: Vec<AtomicU64>,
    done: AtomicBool,
    merges: AtomicU64,
}

fn write(shared: &Shared, writer: u64) {
    for round in 0..ROUNDS {
        for key in (writer..KEYS).step_by(2) {
            if is_deleted(round) {
                assert!(shared.store.delete(&key.to_be_bytes()).unwrap());
            } else {
                shared.store.put(&key.to_be_bytes(), &value_of(key, round)).unwrap();
            }
            shared.rounds[key as usize].store(round, Ordering::Release);
        }
    }
}

fn read(shared: &Shared, seed: u64) {
    let mut rng = Rng::new(seed);
    while !shared.done.load(Ordering::Acquire) {
        let key = rng.below(KEYS);
        let before = shared.rounds[key as usize].load(Ordering::Acquire);
        let found = shared.store.get(&key.to_be_bytes()).unwrap();
        match found {
            Some(value) => assert!(round_of(key, &value) >= before),
            None => {
                let after = shared.rounds[key as usize].load(Ordering::Acquire);
                // The next one may have been written and not yet noted.
                assert!((before..=after + 1).any(is_deleted) || before == 0, "key {key}, rounds {before} to {after}");
            }
        }
    }
}

fn walk(shared: &Shared) {
    while !shared.done.load(Ordering::Acquire) {
        let mut seen = [false; KEYS as usize];
        for record in shared.store.iter() {
            let (key, value) = record.unwrap();
            let key = u64::from_be_bytes(key[..].try_into().unwrap());
            round_of(key, &value);
            assert!(!std::mem::replace(&mut seen[key as usize], true));
        }
        shared.store.sync().unwrap();
    }
}

fn merge(shared: &Shared) {
    while !shared.done.load(Ordering::Acquire) {
        let report = shared.store.merge().unwrap();
        shared.merges.fetch_add(u64::from(report.files > 0), Ordering::Relaxed);
    }
}

#[test]
fn readers_writers_walks_and_merges_do_not_disturb_each_other() {
    let fs = MemFs::volatile(1);
    let store = Bitcask::open(DIR, Options { merge_window: MergeWindow::Always, ..options(fs.clone()) }).unwrap();
    let rounds = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let shared = Arc::new(Shared { store, rounds, done: AtomicBool::new(false), merges: AtomicU64::new(0) });
    let spawn = |name: &str, body: Box<dyn Fn(&Shared) + Send>| {
        let shared = Arc::clone(&shared);
        thread::spawn(name, move || body(&shared)).unwrap()
    };
    let writers = [0, 1].map(|writer| spawn("write", Box::new(move |shared| write(shared, writer))));
    let others = [
        spawn("read", Box::new(|shared| read(shared, 1))),
        spawn("read", Box::new(|shared| read(shared, 2))),
        spawn("walk", Box::new(walk)),
        spawn("merge", Box::new(merge)),
        spawn("merge", Box::new(merge)),
    ];
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    shared.done.store(true, Ordering::Release);
    others.into_iter().for_each(|other| other.join().unwrap());
    let shared = Arc::into_inner(shared).unwrap();
    let merges = shared.merges.into_inner();
    let left: u64 = shared.store.status().files.iter().map(|file| file.records).sum();
    show!(
        "bitcask threads: {} writes beside {merges} merges and those of the store; {left} records left",
        KEYS * ROUNDS
    );
    assert!(left < KEYS * ROUNDS, "nothing was merged");
    let expected = contents(&shared.store).unwrap();
    assert_eq!(expected.len() as u64, if is_deleted(ROUNDS - 1) { 0 } else { KEYS });
    shared.store.close().unwrap();
    let store = Bitcask::open(DIR, options(fs)).unwrap();
    assert_eq!(contents(&store).unwrap(), expected);
}

#[test]
fn full_files_are_sealed_in_the_background() {
    let store = Bitcask::open(DIR, options(MemFs::volatile(1))).unwrap();
    (0..2_000u32).for_each(|key| store.put(&key.to_be_bytes(), &value(1, 100)).unwrap());
    while store.status().files.iter().filter(|file| !file.is_sealed).count() > 1 {
        thread::yield_now();
    }
}

#[test]
fn a_sync_interval_makes_durable_without_being_asked() {
    let fs = TraceFs::counting(Arc::new(MemFs::volatile(1)));
    let interval = SyncStrategy::Interval(Duration::from_millis(1));
    let clock = Arc::new(base::clock::SystemClock::new());
    let store = Bitcask::open(DIR, Options { sync_strategy: interval, clock, ..options(fs.clone()) }).unwrap();
    store.put(b"a", b"1").unwrap();
    let unsynced = || fs.bytes_by_extension().get("vlog").is_none_or(|bytes| bytes.synced < bytes.written);
    while unsynced() {
        thread::yield_now();
    }
}

#[test]
fn without_a_thread_writes_keep_the_sync_interval() {
    let (fs, clock) = (MemFs::new(1), Arc::new(ManualClock::new(START)));
    let strategy = SyncStrategy::Interval(Duration::from_secs(10));
    let options = Options { sync_strategy: strategy, clock: clock.clone(), ..small(fs.clone()) };
    let store = Bitcask::open(DIR, options).unwrap();
    let durable = || contents(&open(&fs.crash_image(vfs::CrashMode::DropUnsynced, 1))).unwrap().len();
    for (seconds, expected) in [(0, 0), (9, 0), (1, 3), (9, 3), (1, 5)] {
        clock.advance(Duration::from_secs(seconds));
        store.put(&clock.unix_seconds().to_be_bytes(), b"1").unwrap();
        assert_eq!(durable(), expected, "{seconds} seconds later");
    }
}

#[test]
fn a_long_merge_keeps_the_sync_interval() {
    let (memory, clock) = (MemFs::new(1), Arc::new(ManualClock::new(START)));
    let fs = vfs::FaultFs::over_memory(memory.clone(), vfs::FaultPlan::none());
    let strategy = SyncStrategy::Interval(Duration::from_secs(10));
    let clock_of = clock.clone();
    let options = Options { max_file_size: 4 << 20, clock: clock_of, sync_strategy: strategy, ..small(fs.clone()) };
    let store = Bitcask::open(DIR, options.clone()).unwrap();
    (0..200u32).for_each(|key| store.put(&key.to_be_bytes(), &value(1, 10_000)).unwrap());
    store.delete(&0u32.to_be_bytes()).unwrap();
    store.close().unwrap();
    let store = Arc::new(Bitcask::open(DIR, options).unwrap());
    let (writer, wrote) = (Arc::clone(&store), AtomicBool::new(false));
    let found = Arc::new(AtomicU64::new(0));
    let durable = Arc::clone(&found);
    fs.on_mutation(move |change| {
        if !change.path.to_string_lossy().ends_with(".vlog.tmp") {
            return;
        }
        match change.operation {
            // Behind the sync with which a merge begins.
            Operation::Append if !wrote.swap(true, Ordering::Relaxed) => {
                writer.put(b"meanwhile", b"1").unwrap();
                clock.advance(Duration::from_secs(10));
            }
            Operation::Finish => {
                let image = open(&memory.crash_image(vfs::CrashMode::DropUnsynced, 1));
                durable.fetch_add(1 + u64::from(image.contains_key(b"meanwhile")), Ordering::Relaxed);
            }
            _ => {}
        }
    });
    store.merge().unwrap();
    fs.clear_hook();
    assert_eq!(found.load(Ordering::Relaxed), 2, "it was durable before the merge had ended");
}

#[test]
fn with_a_sync_for_each_write_what_returned_survives_a_power_loss() {
    let fs = MemFs::new(1);
    let options = Options { sync_strategy: SyncStrategy::Always, ..options(fs.clone()) };
    let store = Arc::new(Bitcask::open(DIR, options.clone()).unwrap());
    let threads = [0u64, 1, 2].map(|first| {
        let store = Arc::clone(&store);
        let body = move || (0..50).for_each(|n| store.put(&(n * 3 + first).to_be_bytes(), &value(n, 300)).unwrap());
        thread::spawn("write", body).unwrap()
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let image = fs.crash_image(vfs::CrashMode::DropUnsynced, 1);
    let store = Bitcask::open(DIR, small(image)).unwrap();
    assert_eq!(contents(&store).unwrap().len(), 150);
}

#[test]
fn what_fails_in_the_background_is_told_by_the_next_sync() {
    let fs = vfs::FaultFs::over_memory(MemFs::new(1), vfs::FaultPlan::none());
    let store = Bitcask::open(DIR, Options { max_file_size: 300, ..options(fs.clone()) }).unwrap();
    let fault = fs.arm(vfs::Fault::on_mutations(vfs::Cause::NoSpace).at_suffix(".hint.tmp"));
    while fs.hits(fault) == 0 {
        store.put(b"a", &value(1, 200)).unwrap();
        thread::yield_now();
    }
    let error = loop {
        match store.sync() {
            Ok(()) => thread::yield_now(),
            Err(error) => break error,
        }
    };
    assert!(error.is_no_space() && error.to_string().contains(".hint"), "{error}");
    store.put(b"a", b"1").unwrap();
    store.sync().unwrap();
    store.close().unwrap();
}

#[test]
fn a_merge_by_hand_waits_for_one_that_goes_by_itself() {
    // The thread of each store looks for something to merge as soon as it has begun.
    for _ in 0..300 {
        let options = Options { vfs: Arc::new(MemFs::volatile(1)), ..Options::default() };
        let store = Bitcask::open(DIR, options).unwrap();
        store.put(b"key", b"value").unwrap();
        store.merge().unwrap();
        store.close().unwrap();
    }
}

#[test]
fn the_status_is_in_no_writer_s_way() {
    let store = Arc::new(open(&MemFs::new(1)));
    let is_done = Arc::new(AtomicBool::new(false));
    let writers = [0, 1].map(|writer: u32| {
        let (store, is_done) = (Arc::clone(&store), Arc::clone(&is_done));
        thread::spawn("writer", move || {
            for key in (0..).take_while(|_| !is_done.load(Ordering::Relaxed)) {
                store.put(&[writer, key % 100].map(u32::to_be_bytes).concat(), b"value").unwrap();
            }
        })
        .unwrap()
    });
    for _ in 0..5_000 {
        assert!(store.status().keys <= 200);
    }
    is_done.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}
