//! When the values of entries that a flush or a compaction drops count as dead: once the edit is durable and the view
//! without them installed, and not before.

use std::path::PathBuf;
use std::sync::Arc;

use base::sync::Mutex;
use engine::{CompactOptions, Db, Read};
use stress::content::bytes;
use vfs::{Cause, CrashMode, Fault, Operation, OperationRecord};

use crate::collections::roll;
use crate::common::{Disk, Gate, ends_with, keyspace, put, put_synced, stored_len};
use crate::values::{check_garbage, collect};

/// What drops the first version of a key.
#[derive(Clone, Copy, Debug)]
enum Job {
    Flush,
    Compaction,
}

const JOBS: [Job; 2] = [Job::Flush, Job::Compaction];

impl Job {
    /// The first version of `key` is in a sealed segment in which something else is known to be dead, and can be dropped.
    fn prepare(self, disk: &Disk, db: &Db) {
        let default = keyspace(db, "default");
        put(&default, "dies", &bytes(1, 9_000));
        put(&default, "dies", &bytes(2, 3_000));
        if matches!(self, Self::Flush) {
            db.flush().unwrap();
        }
        put_synced(db, &default, "key", &bytes(3, 3_000));
        if matches!(self, Self::Compaction) {
            db.flush().unwrap();
        }
        roll(disk, db, "roll");
        put_synced(db, &default, "key", &bytes(4, 3_000));
        if matches!(self, Self::Compaction) {
            db.flush().unwrap();
        }
        assert_eq!(values(db), [bytes(4, 3_000), bytes(3, 3_000)], "{self:?}: the first version is gone already");
    }

    fn run(self, db: &Db) {
        match self {
            Self::Flush => db.flush().unwrap(),
            Self::Compaction => drop(db.compact(.., CompactOptions::new()).unwrap()),
        }
    }
}

/// The values of all versions of the key that are stored, newest first.
fn values(db: &Db) -> Vec<Vec<u8>> {
    db.versions("key").map(|item| item.unwrap().value().unwrap().into()).collect()
}

fn is_manifest(record: &OperationRecord) -> bool {
    record.path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"MANIFEST"))
}

/// How far the edit of a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Edit {
    NotYet,
    /// What dies by it is on a list.
    Announced,
    Appended,
    /// Its sync begins.
    Syncing,
    Durable,
}

struct Watched {
    edit: Edit,
    /// What was noted too early.
    breaches: Vec<String>,
    /// Whether readers had the new view whenever a list of deaths was read, so as to be noted.
    views: Vec<bool>,
}

/// Looks at each change of files, and each time that deaths are to be noted, whether they may be.
fn watch(disk: &Disk, db: &Db) -> Arc<Mutex<Watched>> {
    let watched = Arc::new(Mutex::new(Watched { edit: Edit::NotYet, breaches: Vec::new(), views: Vec::new() }));
    let (dead_before, tables_before) = (db.gc().status().dead_bytes, tables(db));
    let (notes, sees) = (Arc::clone(&watched), db.clone());
    disk.faults.on_mutation(move |record| {
        let mut watched = notes.lock();
        watched.edit = match (watched.edit, record.operation) {
            (Edit::NotYet, Operation::Create) if ends_with(&record.path, ".deaths.tmp") => Edit::Announced,
            (Edit::Announced, Operation::Append) if is_manifest(record) => Edit::Appended,
            (Edit::Appended, Operation::Sync) if is_manifest(record) => Edit::Syncing,
            (Edit::Syncing, _) => Edit::Durable,
            (edit, _) => edit,
        };
        if sees.gc().status().dead_bytes > dead_before && (watched.edit < Edit::Durable || values(&sees).len() > 1) {
            let edit = watched.edit;
            watched.breaches.push(format!("before {record}, the edit being {edit:?}"));
        }
    });
    // It never strikes, but is asked at every opening of a file.
    let (notes, sees) = (Arc::clone(&watched), db.clone());
    disk.faults.arm(Fault::on(Operation::Open, Cause::Io).at_path(move |path| {
        if ends_with(path, ".deaths") {
            notes.lock().views.push(tables(&sees) != tables_before);
        }
        false
    }));
    watched
}

/// The tables of the view that a reader gets, found without reading any.
fn tables(db: &Db) -> Vec<PathBuf> {
    db.tables().into_iter().map(|table| table.path).collect()
}

/// Where a death is noted while a view can still reach the value, or before the edit is there for good, a collection in
/// between takes it from a reader.
#[test]
fn a_death_is_noted_only_once_no_view_reaches_the_value() {
    for job in JOBS {
        let disk = Disk::new(80);
        let db = disk.open();
        job.prepare(&disk, &db);
        let dead_before = db.gc().status().dead_bytes;
        let watched = watch(&disk, &db);
        job.run(&db);
        assert_eq!(values(&db), [bytes(4, 3_000)]);
        let noted = db.gc().status().dead_bytes - dead_before;
        assert_eq!(noted, stored_len("key".len(), 3_000), "{job:?}: bytes that are dead at once");
        // Something changes with the deaths noted, too.
        put(&keyspace(&db, "default"), "another", b"small");
        db.flush().unwrap();
        disk.faults.clear_hook();
        disk.faults.disarm_all();
        let watched = watched.lock();
        assert_eq!(watched.edit, Edit::Durable, "{job:?}");
        assert!(watched.breaches.is_empty(), "{job:?}: noted too early: {:#?}", watched.breaches);
        assert!(
            !watched.views.is_empty() && watched.views.iter().all(|is_new| *is_new),
            "{job:?}: {:?}",
            watched.views
        );
    }
}

/// Lets who is held go on, also where the test fails.
struct Held<'a>(&'a Gate);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// A collection runs while the edit is appended to the manifest or synced, and then the power goes: the edit is lost, and
/// what it would have dropped is there.
#[test]
fn a_collection_before_the_edit_is_durable_takes_nothing_that_the_edit_drops() {
    for (job, step) in JOBS.into_iter().flat_map(|job| [(job, Operation::Append), (job, Operation::Sync)]) {
        let what = format!("{job:?}, held at the {step:?} of its edit");
        let disk = Disk::new(81);
        let db = disk.open();
        job.prepare(&disk, &db);
        let gate = Gate::default();
        gate.install(&disk.faults, move |record| record.operation == step && is_manifest(record));
        std::thread::scope(|scope| {
            let running = scope.spawn(|| job.run(&db));
            gate.wait_for_arrival();
            let held = Held(&gate);
            assert!(!collect(&db).segments.is_empty(), "{what}: nothing was collected");
            assert_eq!(values(&db), [bytes(4, 3_000), bytes(3, 3_000)], "{what}: of a reader");
            let left = disk.after_power_loss();
            let after = left.open();
            assert_eq!(values(&after), [bytes(4, 3_000), bytes(3, 3_000)], "{what}: after a power loss");
            check_garbage(&left, &after, &format!("{what}: after a power loss"));
            for (mode, seed) in [(CrashMode::KeepAll, 0), (CrashMode::Random, 1), (CrashMode::Prefix, 2)] {
                let left = disk.crash(mode, seed);
                let after = left.open();
                assert_eq!(values(&after)[0], bytes(4, 3_000), "{what}: {mode:?}");
                check_garbage(&left, &after, &format!("{what}: {mode:?}"));
            }
            drop(held);
            running.join().unwrap();
        });
        disk.faults.clear_hook();
        assert_eq!(values(&db), [bytes(4, 3_000)], "{what}");
        let collections = db.gc().status().collections;
        assert!(!collect(&db).segments.is_empty() && collections > 0, "{what}: what died is not collected");
        check_garbage(&disk, &db, &what);
    }
}
