//! What collecting garbage must not do: collections in the middle of everything else, and the rules that they rest on.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use base::rng::Rng;
use base::sync::Mutex;
use engine::{CompactOptions, Db, GcOptions, GcStatus, Read, ScanOptions};
use stress::content::bytes;
use vfs::{CrashMode, MemFs, Operation};

use crate::common::{Disk, ends_with, fill, keyspace, put, put_synced, value_of};
use crate::values::{check_garbage, collect};

fn collected(status: &GcStatus) -> usize {
    status.segments.iter().filter(|segment| segment.collected).count()
}

/// Fills the active segment, so that it is sealed.
pub(crate) fn roll(disk: &Disk, db: &Db, prefix: &str) {
    let default = keyspace(db, "default");
    let segments = disk.file_names(".vlog").len();
    let rolled = (0..40).any(|number| {
        put(&default, &format!("{prefix}/{number}"), &bytes(number, 4_000));
        disk.file_names(".vlog").len() > segments
    });
    assert!(rolled, "no segment was full");
}

/// The power goes before the edit that drops entries is durable, and what comes back is collected at once: what the lost
/// edit would have killed lives.
#[test]
fn deaths_of_an_edit_that_is_lost_are_lost_with_it_whatever_is_collected() {
    let disk = Disk::new(81);
    let db = disk.open();
    let default = keyspace(&db, "default");
    for number in 0..12 {
        put_synced(&db, &default, &format!("{number}"), &bytes(number, 3_000));
    }
    db.flush().unwrap();
    roll(&disk, &db, "first");
    db.sync().unwrap();
    let images = images_while(&disk, &[CrashMode::DropUnsynced, CrashMode::Random, CrashMode::KeepAll], || {
        for number in (0..12).step_by(2) {
            default.remove(format!("{number}")).unwrap();
        }
        db.flush().unwrap();
        db.compact(.., CompactOptions::new()).unwrap();
        assert!(!collect(&db).segments.is_empty(), "nothing was collected");
    });
    for (memory, what) in images {
        collect_and_compare(Disk::of(memory), &what);
    }
}

/// A program is killed before it has synced the edit. The next one reads it all the same, and then the power goes, which
/// takes the edit back: nothing that was done in between may stand on it.
#[test]
fn deaths_of_an_edit_that_was_read_but_never_synced_count_only_once_it_is() {
    let disk = Disk::new(83);
    let db = disk.open();
    let default = keyspace(&db, "default");
    for number in 0..12 {
        put_synced(&db, &default, &format!("{number}"), &bytes(number, 3_000));
    }
    db.flush().unwrap();
    roll(&disk, &db, "first");
    db.sync().unwrap();
    let killed = images_while(&disk, &[CrashMode::KeepAll], || {
        for number in (0..12).step_by(2) {
            default.remove(format!("{number}")).unwrap();
        }
        db.flush().unwrap();
        db.compact(.., CompactOptions::new()).unwrap();
    });
    for (memory, killed) in killed {
        let disk = Disk::of(memory);
        for (memory, lost) in images_while(&disk, &[CrashMode::DropUnsynced], || drop(disk.open())) {
            collect_and_compare(Disk::of(memory), &format!("{killed}; {lost}"));
        }
    }
}

/// What a power loss leaves in each mode, at each change of a file.
pub(crate) fn images_while(disk: &Disk, modes: &'static [CrashMode], work: impl FnOnce()) -> Vec<(MemFs, String)> {
    let images = Arc::new(Mutex::new(Vec::new()));
    let (memory, taken) = (disk.memory.clone(), Arc::clone(&images));
    disk.faults.on_mutation(move |record| {
        for (mode, seed) in modes.iter().zip(record.number..) {
            taken.lock().push((memory.crash_image(*mode, seed), format!("{mode:?}, seed {seed}, before {record}")));
        }
    });
    work();
    disk.faults.clear_hook();
    std::mem::take(&mut *images.lock())
}

/// Opens what a crash has left of twelve values, of which the even ones were removed, and collects all there is: what was
/// there before is there, and nothing else.
fn collect_and_compare(disk: Disk, what: &str) {
    let db = disk.open();
    let before: Vec<_> = (0..12).map(|number| db.get(format!("{number}")).unwrap().map(Vec::from)).collect();
    collect(&db);
    for item in db.scan(ScanOptions::new().all_versions(true)) {
        item.unwrap().value().unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    let options = GcOptions::new().discard_ratio(0.01).find_garbage(true);
    db.gc().run_once(options).unwrap_or_else(|error| panic!("{what}: {error}"));
    for (number, value) in before.iter().enumerate() {
        let whole = bytes(number as u64, 3_000);
        assert!(value.as_ref().is_none_or(|value| *value == whole) && (value.is_some() || number % 2 == 0), "{what}");
        assert_eq!(value_of(&keyspace(&db, "default"), &format!("{number}")), *value, "{what}: key {number}");
    }
    check_garbage(&disk, &db, what);
}

/// A log is kept for an idle keyspace. What it points to was flushed, and collected since; nothing replays those entries.
#[test]
fn values_that_were_flushed_and_collected_live_although_their_log_is_still_kept() {
    let disk = Disk::new(82);
    let db = disk.open();
    let (busy, idle) = (keyspace(&db, "default"), keyspace(&db, "idle"));
    put(&idle, "keeps", b"the log");
    for number in 0..8 {
        put(&busy, &format!("{number}"), &bytes(number, 3_000));
        put(&busy, "dies", &bytes(number, 2_000));
    }
    roll(&disk, &db, "roll");
    fill(&disk, &busy, "fill", 1);
    assert_eq!(db.tables().iter().filter(|table| table.keyspace == "idle").count(), 0, "the log is kept for nobody");
    assert!(!collect(&db).segments.is_empty(), "nothing was collected");
    for left in [disk.after_kill(), disk.crash(CrashMode::Random, 1)] {
        let db = left.open();
        assert_eq!(db.recovery_report().unreferenced_values, 0);
        collect(&db);
        check_garbage(&left, &db, "after a crash");
        let default = keyspace(&db, "default");
        for number in 0..8 {
            assert_eq!(value_of(&default, &format!("{number}")), Some(bytes(number, 3_000)), "key {number}");
        }
    }
}

/// The power takes a log that was never synced, and spares the values, which were collected in the meantime: nothing will
/// ever drop an entry of theirs.
#[test]
fn values_whose_log_is_lost_are_dead_also_where_they_were_collected_to() {
    let disk = Disk::new(83);
    let db = disk.open();
    let default = keyspace(&db, "default");
    put(&default, "stays", &bytes(1, 3_000));
    put(&default, "dies", &bytes(2, 9_000));
    put(&default, "dies", &bytes(3, 3_000));
    db.flush().unwrap();
    put(&default, "lost", &bytes(4, 3_000));
    roll(&disk, &db, "lost");
    assert!(!collect(&db).segments.is_empty(), "nothing was collected");
    let left = disk.after_power_loss();
    let after = left.open();
    let found = keyspace(&after, "default");
    assert_eq!(value_of(&found, "lost"), None, "an unsynced log has survived");
    assert_eq!(value_of(&found, "stays"), Some(bytes(1, 3_000)));
    assert_eq!(value_of(&found, "dies"), Some(bytes(3, 3_000)));
    assert!(after.recovery_report().unreferenced_values > 0);
    check_garbage(&left, &after, "after a power loss");
    collect(&after);
    check_garbage(&left, &after, "collected");
    put(&found, "lost", &bytes(5, 3_000));
    let again = left.after_kill();
    let db = again.open();
    assert_eq!(value_of(&keyspace(&db, "default"), "lost"), Some(bytes(5, 3_000)));
    check_garbage(&again, &db, "after a second crash");
    // Only the process died: everything is there, and lives.
    let left = disk.after_kill();
    let db = left.open();
    assert_eq!(db.recovery_report().unreferenced_values, 0);
    assert_eq!(value_of(&keyspace(&db, "default"), "lost"), Some(bytes(4, 3_000)));
    check_garbage(&left, &db, "after a kill");
}

/// A process dies between the removals of a collected segment's files; those that come after it have other numbers, and
/// inherit neither deaths nor maps.
#[test]
fn what_a_removal_leaves_behind_is_inherited_by_nobody() {
    let disk = Disk::new(84);
    let db = disk.open();
    let images = Arc::new(Mutex::new(Vec::new()));
    let (memory, taken) = (disk.memory.clone(), Arc::clone(&images));
    disk.faults.on_mutation(move |record| {
        let is_companion = [".vlog", ".hint", ".dead", ".map"].iter().any(|end| ends_with(&record.path, end));
        if record.operation == Operation::Remove && is_companion {
            for (mode, seed) in [CrashMode::KeepAll, CrashMode::Random].into_iter().zip(record.number..) {
                taken.lock().push((memory.crash_image(mode, seed), format!("{mode:?}, seed {seed}, before {record}")));
            }
        }
    });
    let default = keyspace(&db, "default");
    for round in 0..4 {
        for number in 0..10 {
            put_synced(&db, &default, &format!("{number}"), &bytes(round * 10 + number, 3_000));
        }
        roll(&disk, &db, "roll");
        db.flush().unwrap();
        db.compact(.., CompactOptions::new()).unwrap();
        collect(&db);
    }
    disk.faults.clear_hook();
    let images = std::mem::take(&mut *images.lock());
    assert!(images.len() > 30, "{} images", images.len());
    for (memory, what) in images {
        let disk = Disk::of(memory);
        let db = disk.open();
        let listed: BTreeSet<u64> = db.gc().status().segments.iter().map(|of| of.segment.into()).collect();
        for end in [".vlog", ".hint", ".dead", ".map"] {
            let files = disk.file_names(end).into_iter().map(|name| crate::common::number_of(&name));
            let orphans: Vec<_> = files.filter(|number| !listed.contains(number)).collect();
            assert!(orphans.is_empty(), "{what}: {end} of {orphans:?} stay");
        }
        roll(&disk, &db, "new");
        collect(&db);
        check_garbage(&disk, &db, &what);
        let default = keyspace(&db, "default");
        assert!((0..10).all(|number| value_of(&default, &format!("{number}")).is_some()), "{what}");
    }
}

/// A physical file holds what is left of many; collecting it moves all of that, however often. What is kept beside the
/// values is bounded by what lives.
#[test]
fn what_collections_keep_is_bounded_after_a_hundred_rounds_of_churn() {
    const KEYS: u64 = 120;
    let disk = Disk::new(85);
    let db = disk.open();
    let default = keyspace(&db, "default");
    let mut rng = Rng::new(base::proof::seed(85));
    let mut newest = vec![0; KEYS as usize];
    for round in 1..=100 {
        for _ in 0..40 {
            let key = rng.below(KEYS);
            newest[key as usize] = round;
            put(&default, &format!("{key}"), &bytes(key << 32 | round, 1_000));
        }
        db.gc().run_once(GcOptions::new().discard_ratio(0.2).find_garbage(true)).unwrap();
    }
    db.gc().run_once(GcOptions::new().discard_ratio(0.05).find_garbage(true)).unwrap();
    let status = db.gc().status();
    let living = newest.iter().filter(|round| **round > 0).count() as u64;
    assert!(status.collections > 50 && collected(&status) > 0, "{status:?}");
    // What lives, a segment that is appended to, and less than a twentieth of garbage in each of the others.
    assert!(status.total_bytes < (living * 1_100) * 11 / 10 + (64 << 10), "{status:?}");
    for end in [".hint", ".dead", ".map"] {
        let files = disk.file_names(end).len();
        assert!(files <= status.segments.len(), "{files} {end} files of {} segments", status.segments.len());
    }
    let bytes_of = |end: &str| -> usize {
        let files = disk.memory.files();
        files
            .iter()
            .filter(|path| ends_with(path, end))
            .map(|path| disk.memory.read(&Path::new("/").join(path)).unwrap().len())
            .sum()
    };
    let (maps, dead_sets) = (bytes_of(".map"), bytes_of(".dead"));
    let bound = status.segments.len() * 256 + living as usize * 40;
    assert!(maps < bound && dead_sets < bound, "{maps} bytes of maps, {dead_sets} of dead sets, {living} values");
    for (key, round) in newest.iter().enumerate().filter(|(_, round)| **round > 0) {
        assert_eq!(value_of(&default, &format!("{key}")), Some(bytes((key as u64) << 32 | round, 1_000)), "key {key}");
    }
    check_garbage(&disk, &db, "after all");
    let left = disk.after_kill();
    check_garbage(&left, &left.open(), "after a kill");
}

/// A value is read long after its entry was found in a memtable: that was flushed since, the value overwritten, its entry
/// compacted away, its segment collected, and the collected segment collected again.
#[test]
fn a_value_that_is_read_late_is_there_whatever_was_collected_and_its_space_comes_back() {
    let disk = Disk::new(86);
    let db = disk.open();
    let default = keyspace(&db, "default");
    let mut late = Vec::new();
    for number in 0..30 {
        put(&default, "!", &bytes(number, 3_000));
        // A scan pins its view before the value's segment is there, or after.
        late.push((default.iter().next().unwrap().unwrap(), number));
        roll(&disk, &db, &format!("{}", number % 2));
        db.flush().unwrap();
        db.compact(.., CompactOptions::new()).unwrap();
        collect(&db);
    }
    for (item, number) in &late {
        assert_eq!(item.value().unwrap(), bytes(*number, 3_000), "version {number}");
    }
    let held = disk.file_names(".vlog").len();
    drop(late);
    collect(&db);
    let status = db.gc().status();
    assert!(held > status.segments.len(), "nothing was held");
    assert_eq!(disk.file_names(".vlog").len(), status.segments.len(), "files of collected segments stay");
    check_garbage(&disk, &db, "after all");
}

/// The memtable of an idle keyspace points into a segment that is collected: it finds its value in the new one.
#[test]
fn a_memtable_that_is_not_flushed_keeps_no_file_that_was_collected() {
    let disk = Disk::new(87);
    let db = disk.open();
    let (idle, busy) = (keyspace(&db, "idle"), keyspace(&db, "busy"));
    put(&busy, "dies", &bytes(1, 9_000));
    put(&idle, "stays", &bytes(2, 3_000));
    put(&busy, "dies", &bytes(3, 3_000));
    roll(&disk, &db, "roll");
    fill(&disk, &busy, "fill", 1);
    assert!(db.tables().iter().all(|table| table.keyspace == "busy"), "the idle keyspace was flushed");
    assert!(!collect(&db).segments.is_empty(), "nothing was collected");
    assert_eq!(disk.file_names(".vlog").len(), db.gc().status().segments.len(), "files of collected segments stay");
    assert_eq!(value_of(&idle, "stays"), Some(bytes(2, 3_000)));
    let left = disk.after_kill();
    let db = left.open();
    assert_eq!(value_of(&keyspace(&db, "idle"), "stays"), Some(bytes(2, 3_000)));
    check_garbage(&left, &db, "after a kill");
}
