//! What the recovery modes make of a damaged write-ahead log, and that what they left opens as usual afterwards.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{Db, Durability, ErrorKind, Options, Read, RecoveryMode, Result, WriteBatch, WriteOptions};
use vfs::{CrashMode, MemFs, Vfs};

const DIR: &str = "/store";
const COMMITS: usize = 12;
const DAMAGED: usize = 5;
const MODES: [RecoveryMode; 4] =
    [RecoveryMode::Default, RecoveryMode::AbsoluteConsistency, RecoveryMode::PointInTime, RecoveryMode::SkipCorrupt];

fn open(disk: &MemFs, mode: RecoveryMode) -> Result<Db> {
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    Options::new().vfs(vfs).inline_background().value_threshold(512).recovery_mode(mode).open(DIR)
}

fn key(commit: usize) -> String {
    format!("key {commit:02}")
}

fn value(commit: usize, len: usize) -> Vec<u8> {
    format!("value {commit:02};").into_bytes().into_iter().cycle().take(len).collect()
}

fn write(db: &Db, commit: usize, len: usize, durability: Durability) {
    let mut batch = WriteBatch::new();
    batch.insert(key(commit), value(commit, len)).unwrap();
    db.write_with(batch, WriteOptions::new().durability(durability)).unwrap();
}

/// A killed store of synced commits, the last of which may not be synced.
fn killed(last: Durability) -> MemFs {
    let disk = MemFs::new(1);
    let db = open(&disk, RecoveryMode::Default).unwrap();
    for commit in 0..COMMITS {
        write(&db, commit, 100, if commit + 1 < COMMITS { Durability::Sync } else { last });
    }
    disk.crash_image(CrashMode::KeepAll, 1)
}

fn log_of(disk: &MemFs) -> PathBuf {
    disk.files().into_iter().rfind(|path| path.extension().is_some_and(|extension| extension == "wal")).unwrap()
}

/// Flips a byte of a commit's value.
fn damage(disk: &MemFs, file: &Path, commit: usize) {
    let value = value(commit, 50);
    disk.edit(file, |bytes| {
        let at = bytes.windows(value.len()).position(|window| window == value).unwrap();
        bytes[at + 20] ^= 1;
    })
    .unwrap();
}

fn commits_of(db: &Db) -> Vec<String> {
    db.iter().map(|item| String::from_utf8(item.unwrap().key().to_vec()).unwrap()).collect()
}

fn all_but(left_out: impl Fn(usize) -> bool) -> Vec<String> {
    (0..COMMITS).filter(|commit| !left_out(*commit)).map(key).collect()
}

/// Opens a copy; what it holds then, it holds when it is opened again as usual, killed in between or not.
fn opened(disk: &MemFs, mode: RecoveryMode, file: &Path) -> Result<Vec<String>> {
    let disk = disk.crash_image(CrashMode::KeepAll, 2);
    let db = open(&disk, mode)?;
    let report = db.recovery_report();
    assert!(report.dropped.iter().any(|tail| tail.path.ends_with(file) && tail.bytes > 0), "{mode:?}: {report:?}");
    let commits = commits_of(&db);
    write(&db, 99, 100, Durability::Sync);
    let mut with_new = commits.clone();
    with_new.push(key(99));
    for crash in [CrashMode::KeepAll, CrashMode::DropUnsynced] {
        let db = open(&disk.crash_image(crash, 3), RecoveryMode::Default).unwrap();
        assert_eq!(commits_of(&db), with_new, "{mode:?}, after {crash:?}");
    }
    db.close().unwrap();
    assert_eq!(commits_of(&open(&disk, RecoveryMode::Default).unwrap()), with_new, "{mode:?}");
    Ok(commits)
}

#[test]
fn damage_in_what_was_synced_is_an_error_the_end_or_passed_over() {
    let disk = killed(Durability::Sync);
    let log = log_of(&disk);
    damage(&disk, &log, DAMAGED);
    for mode in MODES {
        let outcome = opened(&disk, mode, &log);
        match mode {
            RecoveryMode::Default | RecoveryMode::AbsoluteConsistency => {
                let error = outcome.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corruption, "{mode:?}: {error}");
            }
            RecoveryMode::PointInTime => assert_eq!(outcome.unwrap(), all_but(|commit| commit >= DAMAGED)),
            RecoveryMode::SkipCorrupt => assert_eq!(outcome.unwrap(), all_but(|commit| commit == DAMAGED)),
        }
    }
}

#[test]
fn a_torn_commit_that_was_not_synced_is_an_error_only_to_absolute_consistency() {
    let disk = killed(Durability::Os);
    let log = log_of(&disk);
    damage(&disk, &log, COMMITS - 1);
    for mode in MODES {
        let outcome = opened(&disk, mode, &log);
        if mode == RecoveryMode::AbsoluteConsistency {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Corruption);
        } else {
            assert_eq!(outcome.unwrap(), all_but(|commit| commit == COMMITS - 1), "{mode:?}");
        }
    }
}

#[test]
fn a_damaged_start_of_the_log_loses_no_commit_to_a_salvage() {
    let disk = killed(Durability::Sync);
    let log = log_of(&disk);
    // The header has 128 bytes; the start record is behind it, and the commits are behind that.
    disk.edit(&log, |bytes| bytes[150] ^= 1).unwrap();
    assert_eq!(opened(&disk, RecoveryMode::Default, &log).unwrap_err().kind(), ErrorKind::Corruption);
    assert_eq!(opened(&disk, RecoveryMode::SkipCorrupt, &log).unwrap(), all_but(|_| false));
}

#[test]
fn a_commit_whose_value_is_lost_is_passed_over_alone() {
    let disk = killed(Durability::Sync);
    let db = open(&disk, RecoveryMode::Default).unwrap();
    // After this one, what was replayed is flushed, which syncs the value log.
    write(&db, 0, 100, Durability::Os);
    write(&db, 20, 2_000, Durability::Os);
    write(&db, 21, 100, Durability::Os);
    let disk = disk.crash_image(CrashMode::KeepAll, 1);
    let (log, segment) = (log_of(&disk), disk.files().into_iter().rfind(|path| path.ends_with("000001.vlog")).unwrap());
    damage(&disk, &segment, 20);
    assert_eq!(opened(&disk, RecoveryMode::Default, &log).unwrap(), all_but(|_| false));
    assert_eq!(opened(&disk, RecoveryMode::AbsoluteConsistency, &log).unwrap_err().kind(), ErrorKind::Corruption);
    let mut salvaged = all_but(|_| false);
    salvaged.push(key(21));
    assert_eq!(opened(&disk, RecoveryMode::SkipCorrupt, &log).unwrap(), salvaged);
}
