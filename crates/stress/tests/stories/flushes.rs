//! What a flush may publish, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use engine::{CommitOutcome, CompactOptions, ErrorKind, Read, WriteBatch, WriteOptions};
use stress::content::bytes;
use vfs::{Cause, Fault, Operation};

use crate::common::{DIR, Disk, Gate, fill, flush_at_last, keyspace, makes_table, put, tiny, value_of};

/// The first memtable cannot be flushed for a while, and a newer one that holds a tombstone waits behind it. Flushed and
/// compacted first, the tombstone would be gone before what it hides arrives.
#[test]
fn memtables_of_a_keyspace_are_flushed_in_their_order() {
    let disk = Disk::new(10);
    let gate = Gate::default();
    let db = disk.open_with_threads();
    let default = keyspace(&db, "default");
    gate.install(&disk.faults, makes_table);
    put(&default, "key", b"old");
    fill(&disk, &default, "fill", 1);
    default.remove("key").unwrap();
    fill(&disk, &default, "fill", 1);
    gate.wait_for_arrival();
    // Once for the flush that waits, and twice more when it is tried again.
    let fault = disk.faults.arm(Fault::on(Operation::Create, Cause::Io).at_suffix(".sst.tmp").times(3));
    gate.open();
    while disk.faults.hits(fault) < 3 {
        assert_eq!(value_of(&default, "key"), None);
        thread::yield_now();
    }
    flush_at_last(&db);
    db.compact(.., CompactOptions::new()).unwrap();
    assert_eq!(value_of(&default, "key"), None, "a removed key is back");
    let db = disk.after_power_loss().open();
    assert_eq!(value_of(&keyspace(&db, "default"), "key"), None, "a removed key is back");
}

/// Commits so large that inserting them takes a while, and memtables that are switched and flushed all the time.
#[test]
fn a_memtable_is_flushed_only_once_nobody_inserts_into_it() {
    const ROUNDS: u64 = 12;
    const KEYS: u64 = 3_000;
    let disk = Disk::new(11);
    let db = disk.open_with_threads();
    let (default, done) = (keyspace(&db, "default"), Arc::new(AtomicBool::new(false)));
    let flusher = {
        let (db, done) = (db.clone(), Arc::clone(&done));
        thread::spawn(move || {
            while !done.load(Ordering::Acquire) {
                db.flush().unwrap();
            }
        })
    };
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let (db, default) = (db.clone(), default.clone());
            thread::spawn(move || {
                for round in 0..ROUNDS {
                    let mut batch = WriteBatch::new();
                    for key in 0..KEYS {
                        batch.keyspace(&default).insert(format!("{writer}/{round}/{key}"), bytes(key, 20)).unwrap();
                    }
                    db.write(batch).unwrap();
                    let found = default.prefix(format!("{writer}/{round}/")).count() as u64;
                    assert_eq!(found, KEYS, "an acknowledged commit has lost keys");
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    done.store(true, Ordering::Release);
    flusher.join().unwrap();
    db.flush().unwrap();
    for left in [disk.after_power_loss(), disk.after_kill()] {
        let db = left.open();
        assert_eq!(keyspace(&db, "default").iter().count() as u64, 2 * ROUNDS * KEYS);
    }
}

/// Nothing can be flushed, and a write does not want to wait for that any longer.
#[test]
fn a_write_that_finds_no_room_in_its_time_is_stalled_and_not_applied() {
    let disk = Disk::new(28);
    let gate = Gate::default();
    let db = disk.open_with_threads();
    let default = keyspace(&db, "default");
    gate.install(&disk.faults, makes_table);
    let options = WriteOptions::new().stall_timeout(Duration::from_millis(1));
    let write = |key: u64| {
        let mut batch = WriteBatch::new();
        batch.keyspace(&default).insert(format!("{key:05}"), bytes(key, 400)).unwrap();
        db.write_with(batch, options.clone())
    };
    let (written, error) = (0..).find_map(|key| write(key).err().map(|error| (key, error))).unwrap();
    assert_eq!(error.kind(), ErrorKind::Stalled, "{error}");
    assert_eq!(error.commit_outcome(), Some(CommitOutcome::NotApplied));
    assert!(db.metrics().background.stalls > 0);
    gate.open();
    put(&default, "a write that waits", b"goes on");
    assert_eq!(default.iter().count() as u64, written + 1);
}

/// Whoever opens the store once the lock is free must be alone in the directory.
#[test]
fn a_close_waits_for_a_compaction_that_another_thread_runs() {
    let disk = Disk::new(27);
    let gate = Gate::default();
    let db = tiny().l0_compaction_trigger(12).vfs(disk.vfs()).open(DIR).unwrap();
    let default = keyspace(&db, "default");
    for key in ["a", "b"] {
        put(&default, "both", b"overlap");
        put(&default, key, b"1");
        db.flush().unwrap();
    }
    gate.install(&disk.faults, makes_table);
    thread::scope(|scope| {
        scope.spawn(|| db.compact(.., CompactOptions::new()));
        gate.wait_for_arrival();
        let closing = scope.spawn(|| db.clone().close());
        while !db.is_closed() {
            thread::yield_now();
        }
        // Turns enough for a close that does not wait.
        for _ in 0..1_000 {
            thread::yield_now();
        }
        assert!(!closing.is_finished(), "the store is closed while a compaction writes to it");
        assert_eq!(disk.try_open().unwrap_err().kind(), ErrorKind::Locked);
        gate.open();
        closing.join().unwrap().unwrap();
    });
    let db = disk.open();
    assert_eq!(keyspace(&db, "default").iter().count(), 3);
    assert!(db.recovery_report().clean_shutdown);
}
