//! Nothing is written twice at one position, and no number is used twice.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use base::rng::Rng;
use base::sync::Mutex;
use engine::{ErrorKind, GcOptions};
use stress::content::bytes;
use vfs::{Cause, CrashMode, Fault, Operation};

use crate::common::{DIR, Disk, fill, keyspace, number_of, put, put_synced, value_of};

/// A commit whose value did not reach the disk ends the replay. What comes after it is of the same lengths, so it would
/// stand at the same places of the same files, were any of them appended to.
#[test]
fn a_dead_tail_never_comes_back() {
    let disk = Disk::new(30);
    let db = disk.open();
    let default = keyspace(&db, "default");
    put_synced(&db, &default, "first", &bytes(1, 2_000));
    let segment = Path::new(DIR).join("vlog").join(disk.file_names(".vlog").last().unwrap());
    let end = disk.memory.read(&segment).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    put(&default, "second", &bytes(2, 2_000));
    put(&default, "third", b"small");
    let mut left = disk.after_kill();
    left.memory.edit(&segment, |bytes| bytes[end + 1..].fill(0)).unwrap();
    for life in 0..4 {
        let db = left.open();
        let default = keyspace(&db, "default");
        assert_eq!(value_of(&default, "first"), Some(bytes(1, 2_000)));
        assert_eq!(value_of(&default, "second"), (life > 1).then(|| bytes(life - 1, 2_000)), "life {life}");
        assert_eq!(value_of(&default, "third"), None, "a dead tail is back in life {life}");
        match life {
            0 => assert!(db.recovery_report().dropped_bytes() > 0),
            _ => put(&default, "second", &bytes(life, 2_000)),
        }
        left = left.after_kill();
    }
}

/// Crash after crash, and every file name that carries a number is made once.
#[test]
fn no_number_is_used_twice_over_many_crashes() {
    let seed = base::proof::seed(31);
    let mut disk = Disk::new(seed);
    let made = Arc::new(Mutex::new(BTreeSet::new()));
    let (mut rng, mut collections) = (Rng::new(seed), 0);
    for life in 0..40 {
        let made = Arc::clone(&made);
        disk.faults.on_mutation(move |record| {
            let name = record.path.file_name().unwrap().to_str().unwrap();
            let name = name.strip_suffix(".tmp").unwrap_or(name);
            // A hint file or dead set may be written anew: it goes with its segment, which is not.
            let is_counted = [".wal", ".sst", ".vlog", ".deaths"].iter().any(|end| name.ends_with(end));
            if record.operation == Operation::Create && is_counted {
                assert!(made.lock().insert(name.to_owned()), "life {life} makes {name} again");
            }
        });
        let db = disk.open();
        let default = keyspace(&db, "default");
        for number in 0..rng.below(60) {
            put(&default, &format!("small/{}", number % 30), &bytes(life, 400));
            put(&default, &format!("large/{}", number % 5), &bytes(life, 3_000));
        }
        if rng.one_in(3) {
            fill(&disk, &default, "fill", 1);
        }
        if rng.one_in(2) {
            collections +=
                db.gc().run_once(GcOptions::new().discard_ratio(0.05).find_garbage(true)).unwrap().segments.len();
        }
        let modes = [CrashMode::DropUnsynced, CrashMode::KeepAll, CrashMode::Random, CrashMode::Prefix];
        let mode = modes[rng.below(4) as usize];
        disk = disk.crash(mode, rng.next_u64());
    }
    assert!(collections > 20, "only {collections} segments were collected");
    let names = made.lock();
    for kind in [".wal", ".sst", ".vlog", ".deaths"] {
        let numbers: Vec<_> = names.iter().filter(|name| name.ends_with(kind)).map(|name| number_of(name)).collect();
        println!("{} {kind} files, the last {:?}", numbers.len(), numbers.iter().max());
        assert!(numbers.len() > 2, "too few {kind} files to tell");
    }
}

/// A version that readers may have seen is never given to another commit.
#[test]
fn no_version_is_used_twice_over_many_crashes() {
    let seed = base::proof::seed(32);
    let mut disk = Disk::new(seed);
    let (mut newest, mut rng) = (0, Rng::new(seed));
    for life in 0..30 {
        let db = disk.open();
        for number in 0..=rng.below(5) {
            let mut batch = engine::WriteBatch::new();
            batch.insert("key", format!("{life}/{number}")).unwrap();
            let version = db.write(batch).unwrap().version;
            assert!(version > newest, "life {life}: version {version} again, {newest} was handed out");
            newest = version;
        }
        if rng.one_in(3) {
            db.flush().unwrap();
        }
        let mode = [CrashMode::DropUnsynced, CrashMode::KeepAll, CrashMode::Random][rng.below(3) as usize];
        disk = disk.crash(mode, rng.next_u64());
    }
    assert!(disk.open().get("key").unwrap().is_some() || newest > 0);
}

/// The manifest has lost the edit that made a keyspace; a log has a commit to it.
#[test]
fn a_commit_to_a_keyspace_that_was_never_made_is_corruption() {
    let disk = Disk::new(33);
    let db = disk.open();
    let manifest = disk.memory.files().into_iter().find(|path| is_manifest(path)).unwrap();
    let len = disk.memory.read(&manifest).unwrap().len();
    put(&keyspace(&db, "new"), "key", b"value");
    let left = disk.after_kill();
    left.memory.edit(&manifest, |bytes| bytes.truncate(len)).unwrap();
    let error = left.try_open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corruption);
    assert!(error.to_string().contains("never made"), "{error}");
}

fn is_manifest(path: &Path) -> bool {
    path.file_name().unwrap().to_str().unwrap().starts_with("MANIFEST-")
}

/// A run after a clean close takes the log number in reserve, and dies before an edit says so.
#[test]
fn a_log_that_a_run_left_before_its_first_edit_is_neither_made_again_nor_taken_for_durable() {
    let disk = Disk::new(32);
    let db = disk.open();
    put(&keyspace(&db, "default"), "before", b"1");
    db.close().unwrap();
    let id = disk.faults.arm(Fault::on(Operation::Create, Cause::Io).at_path(is_manifest));
    disk.try_open().unwrap_err();
    assert_eq!(disk.faults.hits(id), 1);
    let left = disk.file_names(".wal").last().cloned().unwrap();
    for interrupted in [disk.after_kill(), disk.crash(CrashMode::KeepNames, 1)] {
        let db = interrupted.open();
        let logs = interrupted.file_names(".wal");
        assert!(logs.last().unwrap() > &left, "{left} is made again: {logs:?}");
        let default = keyspace(&db, "default");
        put(&default, "unsynced", b"2");
        put_synced(&db, &default, "after", b"3");
        for (mode, seed) in [(CrashMode::DropUnsynced, 0), (CrashMode::Random, 1), (CrashMode::Random, 2)] {
            let db = interrupted.crash(mode, seed).open();
            let default = keyspace(&db, "default");
            for (key, value) in [("before", b"1"), ("unsynced", b"2"), ("after", b"3")] {
                assert_eq!(value_of(&default, key).as_deref(), Some(&value[..]), "{mode:?}");
            }
        }
    }
}
