//! Collections that meet failures: what is damaged is passed over, a full disk is waited for, a close waits for its end.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]
#![allow(clippy::disallowed_methods, reason = "a collection goes on while another thread closes the store")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use engine::{AutoGc, Db, ErrorKind, EventListener, GcEvent, GcOptions, GcPolicy, GcStep, GcVerdict, Options};
use vfs::{Cause, Fault, FaultFs, FaultPlan, MemFs, Operation};

const KEYS: u64 = 60;

fn options(fs: &FaultFs) -> Options {
    Options::new()
        .vfs(Arc::new(fs.clone()))
        .memtable_size(64 << 10)
        .value_log_file_size(64 << 10)
        .gc(GcPolicy::Auto(AutoGc::new().garbage_target(0.1).garbage_cap(0.95)))
        .inline_background()
}

fn value(key: u64, round: u64) -> Vec<u8> {
    [key.to_be_bytes(), round.to_be_bytes()].concat().repeat(125)
}

fn overwrite(db: &Db, round: u64) {
    for key in 0..KEYS {
        db.insert(key.to_be_bytes(), value(key, round)).unwrap();
    }
}

fn check(db: &Db, round: u64) {
    for key in 0..KEYS {
        assert_eq!(db.get(key.to_be_bytes()).unwrap().unwrap(), value(key, round), "key {key}");
    }
}

fn faulty() -> FaultFs {
    FaultFs::over_memory(MemFs::new(1), FaultPlan::none())
}

#[test]
fn a_segment_that_cannot_be_read_is_passed_over_and_the_others_are_collected() {
    for by_hand in [false, true] {
        let fs = faulty();
        let db = if by_hand { options(&fs).gc(GcPolicy::Manual) } else { options(&fs) }.open("/store").unwrap();
        // Where nothing lives, nothing is read.
        db.insert("stays", value(0, 0)).unwrap();
        let unreadable = fs.arm(Fault::on(Operation::Open, Cause::Io).at_suffix("000001.hint").forever());
        let collect = || db.gc().run_once(GcOptions::new().discard_ratio(0.05).find_garbage(true));
        for round in 0..12 {
            overwrite(&db, round);
            if by_hand && round == 3 {
                let error = collect().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                assert!(error.to_string().contains("000001.hint"), "{error}");
            }
        }
        if by_hand {
            let report = collect().unwrap();
            assert!(!report.segments.is_empty() && !report.segments.contains(&1), "{report:?}");
        }
        let status = db.gc().status();
        let verdict = |segment| &status.segments.iter().find(|of| of.segment == segment).unwrap().verdict;
        assert!(matches!(verdict(1), GcVerdict::Damaged(cause) if cause.contains("000001.hint")), "{status:#?}");
        assert!(status.collections > 1 && status.bytes_reclaimed > 0, "{status:?}");
        assert!(fs.hits(unreadable) <= 2, "it was tried {} times", fs.hits(unreadable));
        assert_eq!(db.metrics().background.background_failures, u64::from(!by_hand));
        check(&db, 11);
        fs.disarm_all();
        db.close().unwrap();
        let db = options(&fs).gc(GcPolicy::Manual).open("/store").unwrap();
        db.gc().run_once(GcOptions::new().discard_ratio(0.05)).unwrap();
        assert!(
            db.gc().status().segments.iter().all(|of| of.segment != 1),
            "it can be read again, and is not collected"
        );
        check(&db, 11);
    }
}

#[test]
fn too_many_open_files_are_no_damage_of_a_segment() {
    let fs = faulty();
    let db = options(&fs).gc(GcPolicy::Manual).open("/store").unwrap();
    (0..3).for_each(|round| overwrite(&db, round));
    db.flush().unwrap();
    fs.arm(Fault::on(Operation::Open, Cause::TooManyFiles).at_suffix(".hint"));
    let collect = || db.gc().run_once(GcOptions::new().discard_ratio(0.05));
    assert_eq!(collect().unwrap_err().kind(), ErrorKind::Io);
    let is_damaged = |verdict: &GcVerdict| matches!(verdict, GcVerdict::Damaged(_));
    assert!(!db.gc().status().segments.iter().any(|of| is_damaged(&of.verdict)));
    assert!(collect().unwrap().bytes_reclaimed() > 0);
    check(&db, 2);
}

#[test]
fn a_disk_that_is_full_while_garbage_is_collected_loses_nothing_and_is_freed_once_it_can_be() {
    let fs = faulty();
    let db = options(&fs).open("/store").unwrap();
    fs.arm(Fault::on(Operation::Create, Cause::NoSpace).at_suffix(".vlog.tmp").times(3));
    fs.arm(Fault::on(Operation::Append, Cause::NoSpace).at_suffix(".vlog.tmp").times(2));
    fs.arm(Fault::on(Operation::Rename, Cause::NoSpace).at_suffix("VLOG-MANIFEST.tmp").nth(3).times(2));
    (0..12).for_each(|round| overwrite(&db, round));
    let status = db.gc().status();
    assert!(db.metrics().background.background_failures >= 5 && status.collections > 1, "{status:?}");
    let live = KEYS * 2_100;
    assert!(status.total_bytes < live * 3, "{status:?}");
    check(&db, 11);
    db.close().unwrap();
    check(&options(&fs).open("/store").unwrap(), 11);
}

/// Holds the first collection before it is listed, until it is told to go on.
#[derive(Default)]
struct HeldBeforeCommit {
    arrived: AtomicBool,
    goes_on: AtomicBool,
}

impl EventListener for HeldBeforeCommit {
    fn gc(&self, event: &GcEvent) {
        if matches!(event, GcEvent::Step(GcStep::Commit)) {
            self.arrived.store(true, Ordering::Release);
            while !self.goes_on.load(Ordering::Acquire) {
                thread::yield_now();
            }
        }
    }
}

/// Once the store is closed another process may open it, and what this one then lists would undo what that one did.
#[test]
fn a_close_waits_for_a_collection_by_hand() {
    let (fs, held) = (faulty(), Arc::new(HeldBeforeCommit::default()));
    let db = options(&fs).gc(GcPolicy::Manual).event_listener(held.clone()).open("/store").unwrap();
    (0..3).for_each(|round| overwrite(&db, round));
    db.flush().unwrap();
    thread::scope(|scope| {
        let gc = db.gc();
        let collecting = scope.spawn(move || gc.run_once(GcOptions::new().discard_ratio(0.05)));
        while !held.arrived.load(Ordering::Acquire) {
            thread::yield_now();
        }
        let closes = db.clone();
        let closing = scope.spawn(move || closes.close());
        while !db.is_closed() {
            thread::yield_now();
        }
        let opened = (0..5_000).find_map(|_| {
            thread::yield_now();
            options(&fs).open("/store").err().is_none_or(|error| error.kind() != ErrorKind::Locked).then_some(())
        });
        held.goes_on.store(true, Ordering::Release);
        assert!(opened.is_none(), "opened again while this store still collects");
        collecting.join().unwrap().unwrap();
        closing.join().unwrap().unwrap();
    });
    check(&options(&fs).open("/store").unwrap(), 2);
}
