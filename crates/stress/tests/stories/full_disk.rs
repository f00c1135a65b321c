//! A disk that is full and then is not, and one that cannot sync.

use engine::{CommitOutcome, Db, ErrorKind, Health, Keyspace, Read, WriteBatch};
use stress::content::bytes;
use vfs::{Cause, CrashMode, Fault, Operation};

use crate::common::{Disk, Gate, fill, flush_at_last, keyspace, makes_table, put, put_synced, synced, value_of};

fn try_put(keyspace: &Keyspace, key: &str, value: &[u8]) -> engine::Result<()> {
    keyspace.insert(key, value)
}

/// Keys `0..count`, but for the one that failed.
fn check_all_but(db: &Db, failed: u64, count: u64, value: impl Fn(u64) -> Vec<u8>, what: &str) {
    let default = keyspace(db, "default");
    for key in 0..count {
        let found = value_of(&default, &format!("{key}"));
        let wanted = (key != failed).then(|| value(key));
        assert!(found == wanted, "{what}: key {key} of {count}, {failed} failed");
    }
}

/// Wherever the record is torn, the next commits go to a new log, and the tear never hides them.
#[test]
fn a_log_torn_by_a_full_disk_hides_nothing_that_is_written_once_there_is_space() {
    for (suffix, len) in [(".wal", 100), (".wal", 3_000), (".vlog", 3_000)] {
        for torn_bytes in [0, 1, 40, 90, 2_000] {
            let what = format!("{suffix}, values of {len}, torn after {torn_bytes}");
            let disk = Disk::new(20);
            let db = disk.open();
            let default = keyspace(&db, "default");
            let value = |key: u64| bytes(key, len);
            for key in 0..3 {
                put(&default, &format!("{key}"), &value(key));
            }
            let fault = Fault::on(Operation::Append, Cause::NoSpace).at_suffix(suffix).after_bytes(torn_bytes);
            let id = disk.faults.arm(fault);
            let error = try_put(&default, "3", &value(3)).unwrap_err();
            assert_eq!(disk.faults.hits(id), 1);
            assert_eq!(error.kind(), ErrorKind::NoSpace, "{what}: {error}");
            assert_eq!(error.commit_outcome(), Some(CommitOutcome::NotApplied), "{what}");
            check_all_but(&db, 3, 3, value, &what);
            for key in 4..7 {
                put(&default, &format!("{key}"), &value(key));
            }
            assert!(matches!(db.health(), Health::Ok), "{what}");
            check_all_but(&disk.after_kill().open(), 3, 7, value, &what);
            put_synced(&db, &default, "7", &value(7));
            check_all_but(&disk.after_power_loss().open(), 3, 8, value, &what);
            let left = disk.after_kill();
            drop(left.open());
            check_all_but(&left.after_power_loss().open(), 3, 8, value, &what);
            db.close().unwrap();
            check_all_but(&disk.open(), 3, 8, value, &what);
        }
    }
}

/// The disk stays full for many writes, flushes included, and is then given space, again and again.
#[test]
fn a_disk_that_is_full_again_and_again_loses_nothing_that_was_acknowledged() {
    let disk = Disk::new(21);
    let db = disk.open_with_threads();
    let default = keyspace(&db, "default");
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    for round in 0..8 {
        disk.memory.set_capacity(disk.memory.used_bytes() + 100_000 + round * 37_000);
        for number in 0..400 {
            let key = format!("{round}/{number}");
            let len = if number % 3 == 0 { 900 } else { 200 };
            match try_put(&default, &key, &bytes(round * 1_000 + number, len)) {
                Ok(()) => acknowledged.push((key, round * 1_000 + number, len)),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                    assert_eq!(error.commit_outcome(), Some(CommitOutcome::NotApplied));
                    refused += 1;
                    if refused % 5 == 0 {
                        break;
                    }
                }
            }
        }
        disk.memory.set_capacity(u64::MAX >> 1);
    }
    assert!(refused >= 20, "the disk was seldom full: {refused}");
    put_synced(&db, &default, "last", b"one");
    let check = |db: &Db, what: &str| {
        let default = keyspace(db, "default");
        for (key, seed, len) in &acknowledged {
            assert!(value_of(&default, key) == Some(bytes(*seed, *len)), "{what}: {key} is lost");
        }
        assert_eq!(default.iter().count(), acknowledged.len() + 1, "{what}: a refused write is there");
    };
    check(&db, "the open store");
    check(&disk.after_kill().open(), "after a kill");
    check(&disk.after_power_loss().open(), "after a power loss");
    db.close().unwrap();
    check(&disk.open(), "after a close");
}

/// What a failed sync was to write is gone although a retry would succeed: nothing is ever called durable after it.
#[test]
fn after_a_failed_sync_nothing_is_acknowledged_until_the_store_is_reopened() {
    for suffix in [".wal", ".vlog"] {
        let disk = Disk::new(22);
        let db = disk.open();
        let default = keyspace(&db, "default");
        put_synced(&db, &default, "durable", &bytes(1, 2_000));
        let fault = Fault::on(Operation::Sync, Cause::Io).at_suffix(suffix).losing_unsynced();
        disk.faults.arm(fault);
        let mut batch = WriteBatch::new();
        batch.keyspace(&default).insert("doubtful", bytes(2, 2_000)).unwrap();
        let error = db.write_with(batch, synced()).unwrap_err();
        assert_eq!(error.commit_outcome(), Some(CommitOutcome::Unknown), "{suffix}: {error}");
        for _ in 0..3 {
            assert_eq!(try_put(&default, "later", b"x").unwrap_err().kind(), ErrorKind::ReadOnly, "{suffix}");
            assert!(db.sync().is_err() && db.flush().is_err(), "{suffix}");
        }
        assert_eq!(value_of(&default, "durable"), Some(bytes(1, 2_000)), "{suffix}: reads go on");
        assert!(db.close().is_err(), "{suffix}: a close would say that all is well");
        for left in [disk.after_power_loss(), disk.after_kill()] {
            let db = left.open();
            let default = keyspace(&db, "default");
            assert_eq!(value_of(&default, "durable"), Some(bytes(1, 2_000)), "{suffix}");
            let doubtful = value_of(&default, "doubtful");
            assert!(doubtful.is_none_or(|value| value == bytes(2, 2_000)), "{suffix}");
            put_synced(&db, &default, "later", b"y");
            assert_eq!(
                value_of(&keyspace(&left.after_power_loss().open(), "default"), "later").as_deref(),
                Some(&b"y"[..])
            );
        }
    }
}

/// An append that failed in a way that nobody knows ends the log: what was acknowledged before it is not durable yet, and
/// nobody may say that it is.
#[test]
fn after_a_failed_append_a_sync_vouches_for_nothing() {
    let disk = Disk::new(26);
    let db = disk.open();
    let default = keyspace(&db, "default");
    put(&default, "acknowledged", b"1");
    disk.faults.arm(Fault::on(Operation::Append, Cause::Io).at_suffix(".wal"));
    assert_eq!(try_put(&default, "doubtful", b"2").unwrap_err().commit_outcome(), Some(CommitOutcome::Unknown));
    let error = db.sync().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
    assert_eq!(value_of(&keyspace(&disk.after_kill().open(), "default"), "acknowledged").as_deref(), Some(&b"1"[..]));
}

/// A failed job in the background is tried again; a store whose manifest could not be synced is not trusted any more.
#[test]
fn a_flush_that_fails_for_a_while_loses_nothing() {
    let disk = Disk::new(23);
    let db = disk.open_with_threads();
    let default = keyspace(&db, "default");
    for (operation, suffix) in
        [(Operation::Create, ".sst.tmp"), (Operation::Append, ".sst.tmp"), (Operation::Rename, ".sst.tmp")]
    {
        let id = disk.faults.arm(Fault::on(operation, Cause::Io).at_suffix(suffix).times(2));
        fill(&disk, &default, suffix, 1);
        while disk.faults.hits(id) < 2 {
            std::thread::yield_now();
        }
        put_synced(&db, &default, "newest", suffix.as_bytes());
        flush_at_last(&db);
        let before = default.iter().count();
        assert_eq!(keyspace(&disk.after_power_loss().open(), "default").iter().count(), before);
    }
}

/// The log before ended whole, but nobody has synced it, and the disk was too full for the next one. The one made in the
/// end is synced at once, since only its start says where the other ends.
#[test]
fn a_log_that_follows_a_full_disk_is_not_durable_before_those_before_it() {
    let disk = Disk::new(24);
    let gate = Gate::default();
    let db = disk.open_with_threads();
    let default = keyspace(&db, "default");
    gate.install(&disk.faults, makes_table);
    disk.faults.arm(Fault::on(Operation::Create, Cause::NoSpace).at_suffix(".wal"));
    let refused = (0..).find(|key| try_put(&default, &format!("{key:05}"), &bytes(*key, 400)).is_err()).unwrap();
    for key in 0..3 {
        put(&default, &format!("{:05}", refused + key), &bytes(refused + key, 400));
    }
    let images: Vec<_> = (0..40).map(|seed| disk.crash(CrashMode::Random, seed)).collect();
    gate.open();
    check_prefixes(&images, |key| bytes(key, 400));
}

/// The log is cut after a torn append, and durable with the pointers in it, before the values that they point to.
#[test]
fn a_log_that_follows_a_full_disk_is_not_durable_before_the_values_of_those_before_it() {
    let disk = Disk::new(25);
    let db = disk.open();
    let default = keyspace(&db, "default");
    for key in 0..3 {
        put(&default, &format!("{key:05}"), &bytes(key, 2_000));
    }
    disk.faults.arm(Fault::on(Operation::Append, Cause::NoSpace).at_suffix(".wal").after_bytes(20));
    try_put(&default, "00003", b"small").unwrap_err();
    for key in 3..6 {
        put(&default, &format!("{key:05}"), &bytes(key, 2_000));
    }
    let images: Vec<_> = (0..40).map(|seed| disk.crash(CrashMode::Random, seed)).collect();
    check_prefixes(&images, |key| bytes(key, 2_000));
}

/// In each image a store opens that holds keys from 0 on without a hole.
fn check_prefixes(images: &[Disk], value: impl Fn(u64) -> Vec<u8>) {
    for (seed, image) in images.iter().enumerate() {
        let db = image.try_open().unwrap_or_else(|error| panic!("image {seed}: {error}"));
        let default = keyspace(&db, "default");
        for key in 0..default.iter().count() as u64 {
            assert!(value_of(&default, &format!("{key:05}")) == Some(value(key)), "image {seed}: {key} is lost");
        }
    }
}
