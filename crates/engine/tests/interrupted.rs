//! Commits that panic, and calls that meet a close.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]
#![allow(clippy::disallowed_methods, reason = "the tests start threads")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

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
