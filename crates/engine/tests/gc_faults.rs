//! Collections that meet failures, and the end of their store.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]
#![allow(clippy::disallowed_methods, reason = "a collection goes on while another thread closes the store")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use engine::{AutoGc, Db, ErrorKind, EventListener, GcEvent, GcOptions, GcPolicy, GcStep, Options};
use vfs::{FaultFs, FaultPlan, MemFs};

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
