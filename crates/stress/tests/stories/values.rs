//! Which values of the value log are dead, known to the byte.

use std::sync::Arc;

use base::sync::Mutex;
use engine::{CompactOptions, Db, GcOptions, Keyspace, Read, ScanOptions, VerifyOptions};
use stress::content::bytes;
use vfs::{Cause, CrashMode, Fault, Operation};

use crate::common::{Disk, keyspace, put, put_synced, stored_len, value_of};

/// No record that an entry points to is dead; and after everything was compacted, each record is either that of a key, or
/// dead.
pub(crate) fn check_garbage(disk: &Disk, db: &Db, what: &str) {
    db.verify(VerifyOptions::new()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let (dead, not_live) = dead_and_not_live(disk, db);
    assert!(dead <= not_live, "{what}: {dead} bytes are dead, but {not_live} have no entry");
    db.compact(.., CompactOptions::new()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let (dead, not_live) = dead_and_not_live(disk, db);
    assert_eq!(dead, not_live, "{what}: not all that has no entry is dead; {:#?}", db.recovery_report());
}

/// Bytes of records that are known to be dead, and of those to which no stored version of any key points.
fn dead_and_not_live(disk: &Disk, db: &Db) -> (u64, u64) {
    let mut live = 0;
    for info in db.keyspaces() {
        for item in keyspace(db, &info.name).scan(ScanOptions::new().all_versions(true)) {
            let item = item.unwrap();
            if item.is_separated() {
                live += stored_len(item.key().len(), item.value_len() as usize);
            }
        }
    }
    let headers = (disk.file_names(".vlog").len() * vlog::HEADER_LEN) as u64;
    // A record that was collected says where it comes from.
    let status = db.gc().status();
    let collected = status.segments.iter().filter(|segment| segment.collected);
    live += collected.map(|segment| (segment.records - segment.dead_records) * 8).sum::<u64>();
    let usage = db.size_on_disk();
    (usage.value_log_dead_bytes, usage.value_log_bytes - headers - live)
}

/// Collects whatever is known to be dead.
pub(crate) fn collect(db: &Db) -> engine::GcReport {
    db.gc().run_once(GcOptions::new().discard_ratio(0.01)).unwrap()
}

/// Overwrites and removals of large values, with flushes, a compaction and collections.
fn churn(db: &Db, keyspace: &Keyspace) {
    for round in 0..4 {
        for number in 0..6 {
            put(keyspace, &format!("{number}"), &bytes(round * 10 + number, 5_000));
        }
        keyspace.remove(format!("{round}")).unwrap();
        put_synced(db, keyspace, "synced", &bytes(round, 600));
        db.flush().unwrap();
        collect(db);
    }
}

/// Before every change of files while deaths are found, announced, published and applied, and while what is left is
/// collected: whatever a crash leaves, no live value is dead, after the next compaction no dead one is taken for live, and
/// the next collection does no harm.
#[test]
fn garbage_is_known_to_the_byte_after_a_crash_at_any_change() {
    let disk = Disk::new(40);
    let images = Arc::new(Mutex::new(Vec::new()));
    let (memory, taken) = (disk.memory.clone(), Arc::clone(&images));
    disk.faults.on_mutation(move |record| {
        let is_buffered = record.operation == Operation::Append && crate::common::ends_with(&record.path, ".tmp");
        if is_buffered {
            return;
        }
        use CrashMode::{DropUnsynced, KeepAll, Prefix, Random};
        let modes = [KeepAll, DropUnsynced, Prefix, Random, Random, Random];
        for (mode, seed) in modes.into_iter().zip(record.number * 10..) {
            taken.lock().push((memory.crash_image(mode, seed), format!("{mode:?}, seed {seed}, before {record}")));
        }
    });
    let db = disk.open();
    let default = keyspace(&db, "default");
    churn(&db, &default);
    db.compact(.., CompactOptions::new()).unwrap();
    disk.faults.clear_hook();
    assert!(db.size_on_disk().value_log_dead_bytes > 0, "nothing has died");
    assert!(db.gc().status().collections > 0, "nothing was collected");
    check_garbage(&disk, &db, "the store itself");
    let images = std::mem::take(&mut *images.lock());
    println!("{} images", images.len());
    for (memory, what) in images {
        let disk = Disk::of(memory);
        let db = disk.open();
        check_garbage(&disk, &db, &what);
        collect(&db);
        check_garbage(&disk, &db, &format!("{what}; collected"));
        drop(db);
        let left = disk.after_power_loss();
        check_garbage(&left, &left.open(), &format!("{what}; and again"));
    }
}

/// The only keyspace with data is flushed, so that no log need be synced; its values must be all the same.
#[test]
fn values_are_durable_before_the_table_that_points_to_them() {
    let disk = Disk::new(43);
    let db = disk.open();
    let default = keyspace(&db, "default");
    for number in 0..8 {
        put(&default, &format!("{number}"), &bytes(number, 3_000));
    }
    db.flush().unwrap();
    let db = disk.after_power_loss().open();
    let default = keyspace(&db, "default");
    for number in 0..8 {
        assert_eq!(value_of(&default, &format!("{number}")), Some(bytes(number, 3_000)));
    }
}

/// A commit that fails behind its value: nothing will ever drop that value's entry, as there is none.
#[test]
fn the_value_of_a_failed_commit_is_dead() {
    let disk = Disk::new(41);
    let db = disk.open();
    let default = keyspace(&db, "default");
    put(&default, "flushed", &bytes(1, 900));
    db.flush().unwrap();
    put(&default, "logged", &bytes(2, 900));
    disk.faults.arm(Fault::on(Operation::Append, Cause::NoSpace).at_suffix(".wal"));
    default.insert("failed", bytes(3, 900)).unwrap_err();
    for left in [disk.after_kill(), disk.crash(CrashMode::KeepAll, 1)] {
        let db = left.open();
        assert_eq!(db.recovery_report().unreferenced_values, 1, "only the value of the failed commit has no entry");
        check_garbage(&left, &db, "after a crash");
    }
    put(&default, "later", &bytes(4, 900));
    check_garbage(&disk, &db, "without a crash");
    db.close().unwrap();
    check_garbage(&disk, &disk.open(), "after a close");
}

/// The value of a failed commit may be lost with the power, but not the knowledge of it: a death of what is not there must
/// not make another record look dead.
#[test]
fn a_failed_commit_whose_value_was_lost_with_the_power_takes_no_other_value_along() {
    let disk = Disk::new(43);
    let db = disk.open();
    let default = keyspace(&db, "default");
    put(&default, "lives", &bytes(1, 900));
    db.flush().unwrap();
    disk.faults.arm(Fault::on(Operation::Append, Cause::NoSpace).at_suffix(".wal"));
    default.insert("failed", bytes(3, 2_000)).unwrap_err();
    for (memory, what) in crate::collections::images_while(&disk, &[CrashMode::DropUnsynced], || db.close().unwrap()) {
        let left = Disk::of(memory);
        let db = left.open();
        crate::values::collect(&db);
        assert_eq!(value_of(&keyspace(&db, "default"), "lives"), Some(bytes(1, 900)), "{what}");
        check_garbage(&left, &db, &what);
    }
}

/// A value whose entry was flushed is in no memtable after a crash, although its log is still there.
#[test]
fn a_flushed_value_is_not_taken_for_one_without_an_entry() {
    let disk = Disk::new(42);
    let db = disk.open();
    let (busy, idle) = (keyspace(&db, "busy"), keyspace(&db, "idle"));
    put(&idle, "keeps", b"the log");
    put(&busy, "large", &bytes(1, 900));
    crate::common::fill(&disk, &busy, "fill", 1);
    assert_eq!(db.metrics().background.flushes, 1);
    let left = disk.after_kill();
    let db = left.open();
    assert_eq!(db.recovery_report().unreferenced_values, 0);
    check_garbage(&left, &db, "after a crash");
}
