//! Garbage collection of the value log: space comes back, values stay, and nothing that was dropped returns.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base::StoreId;
use engine::{AutoGc, Db, ErrorKind, GcOptions, GcPolicy, GcVerdict, Options, Read};
use vfs::{Cause, CrashMode, Fault, FaultFs, FaultPlan, MemFs, Operation};
use vlog::{RecoveryInput, ValueLog};

const KIB: usize = 1 << 10;

fn options() -> Options {
    Options::new().memtable_size(256 << 10).value_log_file_size(256 << 10).inline_background()
}

fn value(key: u64, round: u64) -> Vec<u8> {
    let mut value = vec![round as u8; 4 * KIB];
    value[..16].copy_from_slice(&[key.to_be_bytes(), round.to_be_bytes()].concat());
    value
}

fn overwrite(db: &Db, keys: u64, rounds: std::ops::Range<u64>) {
    for round in rounds {
        for key in 0..keys {
            db.insert(key.to_be_bytes(), value(key, round)).unwrap();
        }
    }
}

fn assert_round(db: &Db, keys: u64, round: u64) {
    for key in 0..keys {
        assert_eq!(db.get(key.to_be_bytes()).unwrap().as_deref(), Some(&value(key, round)[..]), "key {key}");
    }
}

#[test]
fn overwritten_values_are_collected_without_a_call() {
    let fs = Arc::new(MemFs::new(1));
    let db = options().vfs(fs.clone()).open("/store").unwrap();
    overwrite(&db, 500, 0..20);
    let status = db.gc().status();
    assert!(status.collections > 0, "{status:?}");
    let live = 500 * 4 * KIB as u64;
    assert!(status.total_bytes < live * 2, "{status:?}");
    assert_round(&db, 500, 19);
    db.close().unwrap();
    let db = options().vfs(fs).open("/store").unwrap();
    assert_round(&db, 500, 19);
    assert!(db.gc().status().total_bytes < live * 2);
}

#[test]
fn by_hand_everything_over_the_ratio_goes_and_a_dry_run_changes_nothing() {
    let db = options().gc(GcPolicy::Manual).open_in_memory().unwrap();
    overwrite(&db, 300, 0..4);
    let before = db.gc().status();
    assert_eq!(before.collections, 0);
    let nothing = db.gc().run_once(GcOptions::new().discard_ratio(0.999)).unwrap();
    assert!(nothing.segments.len() < before.segments.len());
    db.flush().unwrap();
    db.compact(.., engine::CompactOptions::new()).unwrap();
    let known = db.gc().status();
    assert!(known.dead_bytes > 0);
    let would = db.gc().run_once(GcOptions::new().discard_ratio(0.2).dry_run(true)).unwrap();
    assert_eq!(db.gc().status().total_bytes, known.total_bytes);
    let did = db.gc().run_once(GcOptions::new().discard_ratio(0.2)).unwrap();
    assert!(!would.segments.is_empty() && did.bytes_reclaimed() > 0);
    assert_round(&db, 300, 3);
    assert!(db.gc().status().dead_bytes < known.dead_bytes);
}

/// Less than a sixteenth of a file is not worth a collection, however large a part of the log it is.
#[test]
fn a_segment_is_due_only_once_the_whole_log_has_garbage_enough() {
    let fs = Arc::new(MemFs::new(1));
    let make = |rounds| {
        let db = options().vfs(fs.clone()).gc(GcPolicy::Manual).open("/store").unwrap();
        overwrite(&db, 3, rounds);
        db.flush().unwrap();
        db.compact(.., engine::CompactOptions::new()).unwrap();
        db.close().unwrap();
    };
    let verdicts = |options: Options| {
        let db = options.vfs(fs.clone()).open_read_only("/store").unwrap();
        db.gc().status().segments.into_iter().map(|of| of.verdict).collect::<Vec<_>>()
    };
    let small = || options().value_log_file_size(256 << 10);
    make(0..4);
    // And so it is, once there is something to do.
    let collections = |options: Options, fs: &MemFs| {
        let db = options.vfs(Arc::new(fs.clone())).open("/store").unwrap();
        db.insert("small", "").unwrap();
        db.flush().unwrap();
        db.gc().status().collections
    };
    let copy = || fs.crash_image(CrashMode::KeepAll, 1);
    assert_eq!(verdicts(small()), [GcVerdict::Due], "three quarters of 48 KiB");
    assert_eq!(collections(small(), &copy()), 1);
    let large = || small().value_log_file_size(1 << 20);
    assert_eq!(verdicts(large()), [GcVerdict::LittleInAll]);
    assert_eq!(collections(large(), &copy()), 0);
    let high = || GcPolicy::Auto(AutoGc::new().garbage_target(0.8));
    assert_eq!(verdicts(small().gc(high())), [GcVerdict::LittleInAll], "three quarters of the log");
    assert_eq!(verdicts(small().gc(GcPolicy::Manual)), [GcVerdict::ManualOnly]);
    // What lives beside it makes its garbage little.
    let db = options().vfs(fs.clone()).gc(GcPolicy::Manual).open("/store").unwrap();
    (3..63).for_each(|key: u64| db.insert(key.to_be_bytes(), value(key, 0)).unwrap());
    db.close().unwrap();
    assert_eq!(verdicts(small()), [GcVerdict::LittleInAll, GcVerdict::LittleGarbage]);

    assert_eq!(collections(small(), &fs), 0);
}

#[test]
fn bad_ratios_and_policies_are_named() {
    let db = options().open_in_memory().unwrap();
    for ratio in [0.0, 1.0, -0.5, f64::NAN, 7.0] {
        let refused = db.gc().run_once(GcOptions::new().discard_ratio(ratio)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    }
    for auto in [
        AutoGc::new().garbage_target(0.0),
        AutoGc::new().garbage_cap(0.1),
        AutoGc::new().bytes_per_second_max(1),
        AutoGc::new().garbage_target(f64::NAN),
    ] {
        let refused = options().gc(GcPolicy::Auto(auto)).open_in_memory().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn a_target_alone_moves_the_cap_with_it() {
    for target in [0.05, 0.5, 0.9] {
        options().gc(GcPolicy::Auto(AutoGc::new().garbage_target(target))).open_in_memory().unwrap();
    }
}

/// Waits until a thread of the store has done something.
fn wait_until(what: impl Fn() -> bool) {
    while !what() {
        std::thread::yield_now();
    }
}

fn with_threads() -> Options {
    Options::new().memtable_size(256 << 10).value_log_file_size(256 << 10)
}

#[test]
fn the_status_says_what_readers_hold_of_what_was_collected() {
    let db = options().gc(GcPolicy::Manual).open_in_memory().unwrap();
    overwrite(&db, 300, 0..4);
    let mut iter = db.iter();
    assert!(iter.next().is_some());
    let collected = db.gc().run_once(GcOptions::new().discard_ratio(0.1).find_garbage(true)).unwrap();
    assert!(!collected.segments.is_empty());
    let held = db.gc().status();
    assert!(held.held_segments > 0 && held.held_bytes > 0, "{held:?}");
    drop(iter);
    db.gc().run_once(GcOptions::new()).unwrap();
    let gone = db.gc().status();
    assert_eq!((gone.held_segments, gone.held_bytes), (0, 0), "{gone:?}");
}

#[test]
fn space_comes_back_by_itself_once_the_last_reader_of_it_has_gone() {
    let db = with_threads().open_in_memory().unwrap();
    overwrite(&db, 300, 0..1);
    let snapshot = db.snapshot();
    overwrite(&db, 300, 1..6);
    db.flush().unwrap();
    let live = 300 * 4 * KIB as u64;
    assert!(snapshot.get(7_u64.to_be_bytes()).unwrap().as_deref() == Some(&value(7, 0)[..]));
    drop(snapshot);
    // Nobody writes any more.
    wait_until(|| db.gc().status().total_bytes < live * 2);
    assert_round(&db, 300, 5);
}

#[test]
fn large_values_are_looked_at_whatever_is_written_between_them() {
    for between in 0..4_u64 {
        let db = options().memtable_size(4 << 20).gc(GcPolicy::Manual).open_in_memory().unwrap();
        for number in 0..1_000_u64 {
            db.insert((number % 10).to_be_bytes(), value(number % 10, number)).unwrap();
            (0..between).for_each(|small| db.insert([small as u8], number.to_be_bytes()).unwrap());
        }
        let hidden = 990 * 4 * KIB as u64;
        let surmised = db.gc().status().surmised_dead_bytes;
        assert!((hidden / 2..hidden * 2).contains(&surmised), "{between} between: {surmised} of {hidden}");
    }
}

#[test]
fn a_file_that_cannot_be_removed_is_in_nobodys_way() {
    let faults = FaultFs::over_memory(MemFs::new(1), FaultPlan::none());
    let db = with_threads().vfs(Arc::new(faults.clone())).open("/store").unwrap();
    faults.arm(Fault::on(Operation::Remove, Cause::AccessDenied).at_suffix(".vlog").forever());
    overwrite(&db, 300, 0..8);
    wait_until(|| db.gc().status().collections > 0);
    let failures = || db.metrics().background.background_failures;
    wait_until(|| failures() > 0);
    overwrite(&db, 300, 8..12);
    db.flush().unwrap();
    db.sync().unwrap();
    assert_round(&db, 300, 11);
    db.close().unwrap();
    // What was left goes with the next open.
    faults.disarm_all();
    let db = with_threads().vfs(Arc::new(faults)).open("/store").unwrap();
    assert_round(&db, 300, 11);
}

#[test]
fn while_paused_nothing_is_collected_and_then_it_goes_on() {
    let db = options().open_in_memory().unwrap();
    let paused = db.gc().pause();
    overwrite(&db, 300, 0..8);
    assert_eq!(db.gc().status().collections, 0);
    assert!(db.gc().run_once(GcOptions::new()).unwrap().interrupted);
    drop(paused);
    overwrite(&db, 300, 8..10);
    assert!(db.gc().status().collections > 0);
    assert_round(&db, 300, 9);
}

#[test]
fn a_snapshot_reads_on_through_collections_and_its_space_comes_back_with_it() {
    let db = options().open_in_memory().unwrap();
    overwrite(&db, 200, 0..1);
    let snapshot = db.snapshot();
    let mut iter = snapshot.iter();
    let first = iter.next().unwrap().unwrap();
    overwrite(&db, 200, 1..12);
    db.gc().run_once(GcOptions::new().discard_ratio(0.1).find_garbage(true)).unwrap();
    let seen: BTreeMap<Vec<u8>, Vec<u8>> = std::iter::once(Ok(first))
        .chain(iter)
        .map(|item| item.unwrap())
        .map(|item| (item.key().to_vec(), item.value().unwrap().to_vec()))
        .collect();
    assert_eq!(seen.len(), 200);
    for (key, found) in &seen {
        let key = u64::from_be_bytes(key[..].try_into().unwrap());
        assert_eq!(*found, value(key, 0));
        assert_eq!(snapshot.get(key.to_be_bytes()).unwrap().unwrap(), value(key, 0));
    }
    let held = db.gc().status().live_bytes;
    drop(snapshot);
    db.gc().run_once(GcOptions::new().discard_ratio(0.1).find_garbage(true)).unwrap();
    assert!(db.gc().status().live_bytes <= held - 200 * 4 * KIB as u64);
    assert_round(&db, 200, 11);
}

/// Takes one dead value off the dead sets of a closed store and puts one that lives on them.
fn tamper(fs: &Arc<MemFs>) {
    let manifest = fs.read(Path::new("/store/vlog/VLOG-MANIFEST")).unwrap();
    let store = StoreId(manifest[16..32].try_into().unwrap());
    let input = RecoveryInput { must_exist: true, ..RecoveryInput::default() };
    let (log, _) = ValueLog::open(fs.clone(), "/store/vlog", vlog::Options::new(store), input).unwrap();
    log.finish_recovery().unwrap();
    let (mut alive, mut dead) = (None, None);
    for of in log.statistics() {
        let dead_set = log.dead_set(of.segment).unwrap();
        let mut entries = log.entries(of.segment).unwrap();
        while let Some(entry) = entries.next().unwrap() {
            let which = if dead_set.contains(entry.position) { &mut dead } else { &mut alive };
            *which = Some(entry.pointer);
        }
    }
    log.mark_alive(&[dead.unwrap()]).unwrap();
    log.mark_dead(&[alive.unwrap()]).unwrap();
}

#[test]
fn a_check_finds_what_leaked_and_what_is_in_danger_and_a_rebuild_mends_both() {
    let fs = Arc::new(MemFs::new(7));
    let open = || options().gc(GcPolicy::Manual).vfs(fs.clone()).open("/store").unwrap();
    let db = open();
    overwrite(&db, 300, 0..3);
    db.compact(.., engine::CompactOptions::new()).unwrap();
    let exact = db.gc().check().unwrap();
    assert!(exact.is_exact() && exact.dead_records == 600 && exact.live_records == 300, "{exact:?}");
    db.close().unwrap();
    tamper(&fs);
    let db = open();
    let found = db.gc().check().unwrap();
    assert_eq!((found.leaked_records, found.endangered_records, found.dangling_entries), (1, 1, 0));
    assert!(found.leaked_bytes > 4 * KIB as u64 && found.endangered_bytes > 4 * KIB as u64);
    assert_eq!(db.gc().rebuild().unwrap(), found);
    assert!(db.gc().check().unwrap().is_exact());
    db.gc().run_once(GcOptions::new().discard_ratio(0.01)).unwrap();
    assert_round(&db, 300, 2);
    assert!(db.gc().check().unwrap().is_exact());
}
