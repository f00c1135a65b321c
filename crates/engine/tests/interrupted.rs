//! Commits that panic, and calls that meet a close.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]
#![allow(clippy::disallowed_methods, reason = "the tests start threads")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use engine::{CommitOutcome, Db, Durability, ErrorKind, Health, Options, WriteBatch, WriteOptions};
use vfs::{CrashMode, FaultFs, FaultPlan, MemFs, Operation, OperationRecord};

fn disk() -> (MemFs, FaultFs) {
    let memory = MemFs::new(1);
    (memory.clone(), FaultFs::over_memory(memory, FaultPlan::none()))
}

fn is_of(record: &OperationRecord, operation: Operation, extension: &str) -> bool {
    record.operation == operation && record.path.extension().is_some_and(|found| found == extension)
}

fn write_synced(db: &Db, key: &str) -> engine::Result<engine::CommitInfo> {
    let mut batch = WriteBatch::new();
    batch.insert(key, "")?;
    db.write_with(batch, WriteOptions::new().durability(Durability::Sync))
}

/// The record is in the log and its version is lost: another commit with that version would leave a log that does not
/// open.
#[test]
fn a_commit_that_panics_makes_the_store_read_only_and_leaves_a_log_that_opens() {
    for operation in [Operation::Append, Operation::Sync] {
        let (memory, faults) = disk();
        let db = Options::new().inline_background().vfs(Arc::new(faults.clone())).open("/store").unwrap();
        db.insert("before", "").unwrap();
        faults.on_mutation(move |record| assert!(!is_of(record, operation, "wal"), "planted"));
        assert!(catch_unwind(AssertUnwindSafe(|| write_synced(&db, "panics"))).is_err(), "{operation:?}");
        faults.clear_hook();
        for _ in 0..2 {
            let refused = db.insert("after", "").unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ReadOnly, "{operation:?}: {refused}");
            assert_eq!(refused.commit_outcome(), Some(CommitOutcome::NotApplied), "{operation:?}");
        }
        assert!(matches!(db.health(), Health::ReadOnly(_)), "{operation:?}");
        let left = memory.crash_image(CrashMode::KeepAll, 0);
        let again = Options::new().vfs(Arc::new(left)).open("/store").unwrap();
        assert!(again.get("before").unwrap().is_some() && again.get("after").unwrap().is_none(), "{operation:?}");
    }
}

#[test]
fn an_empty_commit_says_sync_only_if_it_has_synced() {
    let (memory, faults) = disk();
    let db = Options::new().inline_background().vfs(Arc::new(faults)).open("/store").unwrap();
    db.insert("before", "").unwrap();
    assert_eq!(db.begin().commit().unwrap().durability, Durability::Os);
    let options = WriteOptions::new().durability(Durability::Sync);
    assert_eq!(db.write_with(WriteBatch::new(), options).unwrap().durability, Durability::Sync);
    let left = memory.crash_image(CrashMode::DropUnsynced, 0);
    let again = Options::new().vfs(Arc::new(left)).open("/store").unwrap();
    assert!(again.get("before").unwrap().is_some());
}

/// The first close is held while it flushes; the store can be opened again as soon as the second has returned.
#[test]
fn a_second_close_returns_only_once_the_first_is_done() {
    let (_memory, faults) = disk();
    let db = Options::new().vfs(Arc::new(faults.clone())).open("/store").unwrap();
    db.insert("a", "").unwrap();
    let (held, is_held) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    faults.on_mutation(move |record| {
        if is_of(record, Operation::Create, "tmp") && held.send(()).is_ok() {
            let _ = may_go_on.lock().unwrap().recv();
        }
    });
    thread::scope(|scope| {
        let first = db.clone();
        scope.spawn(move || first.close().unwrap());
        is_held.recv().unwrap();
        let (closing, is_closing) = mpsc::channel();
        let (second, faults) = (db.clone(), faults.clone());
        let reopened = scope.spawn(move || {
            closing.send(()).unwrap();
            second.close().unwrap();
            Options::new().vfs(Arc::new(faults)).open("/store").map(drop)
        });
        is_closing.recv().unwrap();
        // Time for a close that does not wait.
        (0..10_000).for_each(|_| thread::yield_now());
        drop((go_on, is_held));
        reopened.join().unwrap().unwrap();
    });
}
