//! Which logs must be durable when, and what replay makes of them.

use engine::{ErrorKind, Read, WriteBatch};
use stress::content::bytes;
use vfs::{Cause, CrashMode, Fault, Operation};

use crate::common::{Disk, Gate, fill, keyspace, makes_table, number_of, put, put_synced, value_of};

#[test]
fn a_batch_over_two_keyspaces_of_which_one_was_flushed_is_whole_after_a_power_loss() {
    let disk = Disk::new(1);
    let db = disk.open();
    let (flushed, other) = (keyspace(&db, "flushed"), keyspace(&db, "other"));
    let mut batch = WriteBatch::new();
    batch.keyspace(&flushed).insert("half", "x").unwrap();
    batch.keyspace(&other).insert("half", "y").unwrap();
    db.write(batch).unwrap();
    fill(&disk, &flushed, "fill", 1);
    assert_eq!(db.metrics().background.flushes, 1);
    for (mode, seed) in [(CrashMode::DropUnsynced, 0), (CrashMode::Random, 1), (CrashMode::Random, 2)] {
        let db = disk.crash(mode, seed).open();
        assert_eq!(value_of(&keyspace(&db, "flushed"), "half").as_deref(), Some(&b"x"[..]));
        assert_eq!(value_of(&keyspace(&db, "other"), "half").as_deref(), Some(&b"y"[..]), "{mode:?}");
    }
}

#[test]
fn a_synced_commit_brings_with_it_those_of_an_older_log_that_nobody_had_synced() {
    let disk = Disk::new(2);
    let gate = Gate::default();
    let db = disk.open_with_threads();
    let default = keyspace(&db, "default");
    gate.install(&disk.faults, makes_table);
    let older = fill(&disk, &default, "older", 1);
    put_synced(&db, &default, "newer", b"synced");
    gate.wait_for_arrival();
    let left = disk.after_power_loss();
    gate.open();
    let db = left.open();
    let default = keyspace(&db, "default");
    assert_eq!(value_of(&default, "newer").as_deref(), Some(&b"synced"[..]));
    assert_eq!(default.prefix("older/").count() as u64, older, "a synced commit stands behind lost ones");
}

/// Flush of the first of two memtables, while the second waits and nobody has synced its log. A keyspace without data,
/// or one that is made now, needs neither log; to say so in the manifest would say that the second log is whole.
#[test]
fn an_idle_keyspace_does_not_vouch_for_a_log_that_may_be_lost() {
    let disk = Disk::new(3);
    let gate = Gate::default();
    let db = disk.open_with_threads();
    let (busy, _idle) = (keyspace(&db, "busy"), keyspace(&db, "idle"));
    let tables = std::sync::atomic::AtomicU64::new(0);
    gate.install(&disk.faults, move |record| {
        makes_table(record) && tables.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0
    });
    let first = fill(&disk, &busy, "first", 1);
    fill(&disk, &busy, "second", 1);
    gate.wait_for_arrival();
    let left = disk.after_power_loss();
    gate.open();
    let db = left.open();
    // The last key of a fill is the first of the next memtable.
    assert!(keyspace(&db, "busy").prefix("first/").count() as u64 >= first - 1, "a flushed memtable is lost");
}

#[test]
fn a_new_keyspace_does_not_vouch_for_a_log_that_may_be_lost() {
    let disk = Disk::new(4);
    let gate = Gate::default();
    let db = disk.open_with_threads();
    let busy = keyspace(&db, "busy");
    gate.install(&disk.faults, makes_table);
    fill(&disk, &busy, "first", 1);
    keyspace(&db, "new");
    gate.wait_for_arrival();
    let left = disk.after_power_loss();
    gate.open();
    let names: Vec<_> = left.open().keyspaces().into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["default", "busy", "new"]);
}

/// A recovery has cut a log, so that it has no closing record; only the first record of the next log says that it is
/// whole. The power goes before anything in that log was synced.
#[test]
fn a_log_that_was_cut_stays_whole_when_the_power_goes_right_after_the_recovery() {
    let disk = Disk::new(5);
    let db = disk.open();
    put(&keyspace(&db, "default"), "a", b"1");
    put(&keyspace(&db, "other"), "b", b"2");
    let killed = disk.after_kill();
    let recovered = killed.open();
    for _ in 0..2 {
        let db = killed.after_power_loss().open();
        assert_eq!(value_of(&keyspace(&db, "default"), "a").as_deref(), Some(&b"1"[..]));
        assert_eq!(value_of(&keyspace(&db, "other"), "b").as_deref(), Some(&b"2"[..]));
    }
    drop(recovered);
}

/// A log is kept for one keyspace alone; what it holds of another was flushed, overwritten and dropped since.
#[test]
fn a_log_kept_for_one_keyspace_revives_nothing_in_another() {
    let disk = Disk::new(6);
    let db = disk.open();
    let (busy, idle) = (keyspace(&db, "busy"), keyspace(&db, "idle"));
    put(&busy, "small", b"dead");
    put(&busy, "large", &bytes(1, 2_000));
    put(&idle, "kept", b"alive");
    let log = disk.file_names(".wal").last().cloned().unwrap();
    fill(&disk, &busy, "fill", 1);
    busy.remove("small").unwrap();
    busy.remove("large").unwrap();
    // The second of these makes enough tables in L0 for a compaction.
    fill(&disk, &busy, "fill", 2);
    let compactions = db.metrics().background.compactions;
    assert!(compactions > 0, "nothing was compacted: {:?}, {:#?}", db.metrics().background, db.tables());
    let tombstones: u64 = db.tables().iter().map(|table| table.tombstones).sum();
    assert_eq!(tombstones, 0, "the tombstones were not dropped: {:#?}", db.tables());
    assert!(disk.file_names(".wal").contains(&log), "the log is kept for the idle keyspace");
    for left in [disk.after_kill(), disk.after_power_loss()] {
        let db = left.open();
        let busy = keyspace(&db, "busy");
        assert_eq!(value_of(&busy, "small"), None, "a dropped entry is back");
        assert_eq!(value_of(&busy, "large"), None, "a dropped entry is back");
        assert_eq!(value_of(&keyspace(&db, "idle"), "kept").as_deref(), Some(&b"alive"[..]));
    }
}

#[test]
fn an_idle_keyspace_with_a_little_data_cannot_keep_logs_for_ever() {
    let disk = Disk::new(7);
    let db = disk.open();
    let (busy, idle) = (keyspace(&db, "busy"), keyspace(&db, "idle"));
    put(&idle, "little", b"data");
    for round in 0..12 {
        fill(&disk, &busy, &format!("{round}"), 1);
    }
    let logs = disk.file_names(".wal");
    assert!(logs.len() <= 6, "{} logs are kept", logs.len());
    assert!(number_of(&logs[0]) > 4, "the first log is kept: {logs:?}");
    assert_eq!(value_of(&keyspace(&disk.after_kill().open(), "idle"), "little").as_deref(), Some(&b"data"[..]));
}

/// A log in the middle is missing: a shorter store without a word would be wrong.
#[test]
fn a_missing_log_is_an_error() {
    let disk = Disk::new(8);
    let db = disk.open();
    let (busy, idle) = (keyspace(&db, "busy"), keyspace(&db, "idle"));
    put(&idle, "kept", b"alive");
    fill(&disk, &busy, "fill", 2);
    put_synced(&db, &idle, "newest", b"synced");
    for name in disk.file_names(".wal") {
        let left = disk.after_kill();
        vfs::Vfs::remove_file(&left.memory, &std::path::Path::new(crate::common::DIR).join(&name)).unwrap();
        match left.try_open() {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corruption, "without {name}: {error}"),
            Ok(_) => panic!("a store opens without {name}"),
        }
    }
}

/// Logs behind a torn one are removed by the recovery, which is itself interrupted: each names the one before it.
#[test]
fn a_recovery_that_is_interrupted_between_logs_to_remove_can_be_done_again() {
    let disk = Disk::new(9);
    let gate = Gate::default();
    let db = disk.open_with_threads();
    let default = keyspace(&db, "default");
    gate.install(&disk.faults, makes_table);
    fill(&disk, &default, "fill", 3);
    let images: Vec<_> = (0..40).map(|seed| disk.crash(CrashMode::Random, seed)).collect();
    gate.open();
    let mut interrupted = 0;
    for image in images {
        for removed in 1..=2 {
            let left = image.after_kill();
            let id = left.faults.arm(Fault::on(Operation::Remove, Cause::Io).at_suffix(".wal").nth(removed));
            let opened = left.try_open();
            if left.faults.hits(id) == 1 {
                interrupted += 1;
                opened.unwrap_err();
                left.after_kill().open();
                left.after_power_loss().open();
            }
        }
    }
    assert!(interrupted > 10, "there were seldom logs to remove: {interrupted}");
}
