//! What becomes of the list of what dies with an edit where that edit fails, and once it is cleared.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::{CompactOptions, Db, ErrorKind, GcPolicy, Options, Result};
use vfs::{Cause, CrashMode, Fault, FaultFs, FaultId, FaultPlan, MemFs, Operation};

const STORE: &str = "/store";

fn options(fs: &FaultFs) -> Options {
    Options::new().vfs(Arc::new(fs.clone())).gc(GcPolicy::Manual).inline_background()
}

fn lists(memory: &MemFs) -> Vec<PathBuf> {
    let mut files = memory.files();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "deaths"));
    files
}

fn is_manifest(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("MANIFEST-"))
}

/// Fails changes of the manifest once there is a list of deaths: the edit that names it is the next.
fn fail_edit_with_deaths(fs: &FaultFs, operation: Operation, cause: Cause) -> FaultId {
    let listed = Arc::new(AtomicBool::new(false));
    let is_listed = Arc::clone(&listed);
    fs.on_mutation(move |record| {
        if record.operation == Operation::Rename && record.path.to_string_lossy().ends_with(".deaths.tmp") {
            listed.store(true, Ordering::Relaxed);
        }
    });
    fs.arm(
        Fault::on(operation, cause)
            .at_path(move |path| is_listed.load(Ordering::Relaxed) && is_manifest(path))
            .forever(),
    )
}

/// What kills one value: a flush that leaves out what is hidden, or a compaction.
type Killer = (&'static str, fn(&Db), fn(&Db) -> Result<()>);

const KILLERS: [Killer; 2] = [
    ("flush", |db| (0..2).for_each(|round| put(db, round)), Db::flush),
    (
        "compaction",
        |db| {
            for round in 0..2 {
                put(db, round);
                db.flush().unwrap();
            }
        },
        |db| db.compact(.., CompactOptions::new()).map(drop),
    ),
];

fn put(db: &Db, round: u8) {
    db.insert("key", vec![round; 10_000]).unwrap();
}

fn dead_records(db: &Db) -> u64 {
    db.gc().status().segments.iter().map(|of| of.dead_records).sum()
}

/// One value is dead, known to be so, and stays that over an open after a crash and one after a close.
fn assert_one_is_dead(db: Db, memory: &MemFs, what: &str) {
    assert_eq!(dead_records(&db), 1, "{what}");
    let crashed = FaultFs::over_memory(memory.crash_image(CrashMode::KeepAll, 1), FaultPlan::none());
    assert_eq!(dead_records(&options(&crashed).open(STORE).unwrap()), 1, "{what}");
    assert!(db.gc().check().unwrap().is_exact(), "{what}");
    assert_eq!(db.get("key").unwrap().unwrap(), vec![1; 10_000]);
    db.close().unwrap();
    assert!(lists(memory).is_empty(), "{what}: nothing names a list after a close");
}

#[test]
fn the_list_of_an_edit_that_failed_goes_and_its_deaths_come_with_the_next() {
    for (what, prepare, kill) in KILLERS {
        let memory = MemFs::new(1);
        let fs = FaultFs::over_memory(memory.clone(), FaultPlan::none());
        let db = options(&fs).open(STORE).unwrap();
        prepare(&db);
        let failing = fail_edit_with_deaths(&fs, Operation::Append, Cause::NoSpace);
        assert_eq!(kill(&db).unwrap_err().kind(), ErrorKind::NoSpace, "{what}");
        assert!(fs.hits(failing) > 0, "{what}: there was no list");
        assert!(lists(&memory).is_empty(), "{what}: a list stays that no edit names");
        assert_eq!(dead_records(&db), 0, "{what}: dead without an edit that says so");
        fs.disarm(failing);
        kill(&db).unwrap();
        assert_one_is_dead(db, &memory, what);
    }
}

#[test]
fn the_list_of_a_failed_edit_that_cannot_be_removed_kills_nothing_and_goes_with_the_next_open() {
    for (what, prepare, kill) in KILLERS {
        let memory = MemFs::new(1);
        let fs = FaultFs::over_memory(memory.clone(), FaultPlan::none());
        let db = options(&fs).open(STORE).unwrap();
        prepare(&db);
        let failing = fail_edit_with_deaths(&fs, Operation::Append, Cause::NoSpace);
        let kept = fs.arm(Fault::on(Operation::Remove, Cause::Io).at_suffix(".deaths").forever());
        kill(&db).unwrap_err();
        [failing, kept].into_iter().for_each(|fault| fs.disarm(fault));
        let left = lists(&memory);
        assert!(!left.is_empty(), "{what}");
        let killed = memory.crash_image(CrashMode::KeepAll, 1);
        let again = options(&FaultFs::over_memory(killed.clone(), FaultPlan::none())).open(STORE).unwrap();
        assert_eq!(again.get("key").unwrap().unwrap(), vec![1; 10_000]);
        assert!(left.iter().all(|list| !lists(&killed).contains(list)), "{what}");
        kill(&db).unwrap();
        assert_eq!(dead_records(&db), 1);
        drop(db);
        let db = options(&fs).open(STORE).unwrap();
        assert!(left.iter().all(|list| !lists(&memory).contains(list)), "{what}");
        assert_one_is_dead(db, &memory, what);
    }
}

/// The edit may be on disk after all, and then names the list.
#[test]
fn the_list_of_an_edit_that_nobody_knows_of_stays() {
    for (what, prepare, kill) in KILLERS {
        let memory = MemFs::new(1);
        let fs = FaultFs::over_memory(memory.clone(), FaultPlan::none());
        let db = options(&fs).open(STORE).unwrap();
        prepare(&db);
        let failing = fail_edit_with_deaths(&fs, Operation::Sync, Cause::Io);
        kill(&db).unwrap_err();
        assert!(fs.hits(failing) > 0, "{what}: there was no list");
        fs.disarm(failing);
        assert_eq!(lists(&memory).len(), 1, "{what}");
        drop(db);
        let db = options(&fs).open(STORE).unwrap();
        assert_eq!(dead_records(&db), 1, "{what}: the edit was there");
        assert!(db.gc().check().unwrap().is_exact());
        db.close().unwrap();
        assert!(lists(&memory).is_empty(), "{what}");
    }
}
