//! Stores in memory that a test crashes.

use std::path::Path;
use std::sync::Arc;

use base::sync::{Condvar, Mutex};
use engine::{Db, Durability, Keyspace, KeyspaceOptions, Options, StaticKey, WriteBatch, WriteOptions};
use stress::content::bytes;
use vfs::{CrashMode, FaultFs, FaultPlan, MemFs, Operation, OperationRecord, Vfs};

pub(crate) const DIR: &str = "/store";

/// The file system of one life of a store.
pub(crate) struct Disk {
    pub(crate) memory: MemFs,
    pub(crate) faults: FaultFs,
}

impl Disk {
    pub(crate) fn new(seed: u64) -> Self {
        Self::of(MemFs::new(seed))
    }

    pub(crate) fn of(memory: MemFs) -> Self {
        Self { faults: FaultFs::over_memory(memory.clone(), FaultPlan::none()), memory }
    }

    /// What is left after a crash.
    pub(crate) fn crash(&self, mode: CrashMode, seed: u64) -> Self {
        Self::of(self.memory.crash_image(mode, seed))
    }

    pub(crate) fn after_power_loss(&self) -> Self {
        self.crash(CrashMode::DropUnsynced, 0)
    }

    pub(crate) fn after_kill(&self) -> Self {
        self.crash(CrashMode::KeepAll, 0)
    }

    pub(crate) fn vfs(&self) -> Arc<dyn Vfs> {
        Arc::new(self.faults.clone())
    }

    /// A store without threads of its own.
    pub(crate) fn open(&self) -> Db {
        self.try_open().unwrap()
    }

    pub(crate) fn try_open(&self) -> engine::Result<Db> {
        let db = tiny().vfs(self.vfs()).inline_background().open(DIR)?;
        // Each life of an encrypted store has a data key of its own.
        if crate::ENCRYPTED {
            db.rotate_data_key()?;
        }
        Ok(db)
    }

    /// A store with a thread that flushes and one that compacts.
    pub(crate) fn open_with_threads(&self) -> Db {
        tiny().vfs(self.vfs()).open(DIR).unwrap()
    }

    pub(crate) fn file_names(&self, extension: &str) -> Vec<String> {
        let name = |path: std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        self.memory.files().into_iter().map(name).filter(|name| name.ends_with(extension)).collect()
    }
}

pub(crate) fn tiny() -> Options {
    let options = Options::new();
    let options = if crate::ENCRYPTED { options.encryption(Arc::new(StaticKey::new(&[7; 32]))) } else { options };
    options
        .memtable_size(64 << 10)
        .num_memtables(4)
        .value_threshold(512)
        .value_log_file_size(64 << 10)
        .gc(engine::GcPolicy::Manual)
        .l0_compaction_trigger(2)
        .level_base_size(64 << 10)
        .table_size(16 << 10)
}

/// Bytes that a record takes in a segment.
pub(crate) fn stored_len(key_len: usize, value_len: usize) -> u64 {
    // Of an encrypted one, key and value have a tag of 16 bytes each.
    vlog::record_len(key_len, value_len) + if crate::ENCRYPTED { 32 } else { 0 }
}

pub(crate) fn keyspace(db: &Db, name: &str) -> Keyspace {
    db.keyspace(name, KeyspaceOptions::new()).unwrap()
}

pub(crate) fn synced() -> WriteOptions {
    WriteOptions::new().durability(Durability::Sync)
}

/// Writes one key as one commit.
pub(crate) fn put(keyspace: &Keyspace, key: &str, value: &[u8]) {
    keyspace.insert(key, value).unwrap();
}

/// Writes one key as one commit that waits for the disk.
pub(crate) fn put_synced(db: &Db, keyspace: &Keyspace, key: &str, value: &[u8]) {
    let mut batch = WriteBatch::new();
    batch.keyspace(keyspace).insert(key, value).unwrap();
    db.write_with(batch, synced()).unwrap();
}

pub(crate) fn value_of(keyspace: &Keyspace, key: &str) -> Option<Vec<u8>> {
    keyspace.get(key).unwrap().map(Into::into)
}

/// Writes small values to a keyspace until `switches` more logs were made: its memtable was full as often. Returns how
/// many keys that took.
pub(crate) fn fill(disk: &Disk, keyspace: &Keyspace, prefix: &str, switches: u64) -> u64 {
    let newest_log = || disk.file_names(".wal").last().map_or(0, |name| number_of(name));
    let until = newest_log() + switches;
    let filled = (0..10_000).find(|count| {
        put(keyspace, &format!("{prefix}/{count:05}"), &bytes(*count, 400));
        newest_log() >= until
    });
    filled.expect("no switch") + 1
}

/// Flushes as soon as the failures that were injected are used up: until then the store says why it cannot.
pub(crate) fn flush_at_last(db: &Db) {
    while let Err(error) = db.flush() {
        assert_eq!(error.kind(), engine::ErrorKind::Io, "{error}");
        std::thread::yield_now();
    }
}

/// The number in the name of a file.
pub(crate) fn number_of(name: &str) -> u64 {
    name.split('.').next().unwrap().parse().unwrap()
}

/// Holds threads at a change of files until the test lets them go on.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    state: Arc<(Mutex<GateState>, Condvar)>,
}

#[derive(Default)]
struct GateState {
    open: bool,
    waiting: u64,
}

impl Gate {
    /// Holds every change for which `holds` is true.
    pub(crate) fn install(&self, faults: &FaultFs, holds: impl Fn(&OperationRecord) -> bool + Send + Sync + 'static) {
        let gate = self.clone();
        faults.on_mutation(move |record| {
            if holds(record) {
                gate.pass();
            }
        });
    }

    fn pass(&self) {
        let (state, changed) = &*self.state;
        let mut state = state.lock();
        state.waiting += 1;
        changed.notify_all();
        while !state.open {
            changed.wait(&mut state);
        }
    }

    /// Waits until a thread is held.
    pub(crate) fn wait_for_arrival(&self) {
        let (state, changed) = &*self.state;
        let mut state = state.lock();
        while state.waiting == 0 {
            changed.wait(&mut state);
        }
    }

    /// Lets all go on, now and later.
    pub(crate) fn open(&self) {
        let (state, changed) = &*self.state;
        state.lock().open = true;
        changed.notify_all();
    }
}

/// Whether a change is the creation of a table.
pub(crate) fn makes_table(record: &OperationRecord) -> bool {
    record.operation == Operation::Create && ends_with(&record.path, ".sst.tmp")
}

pub(crate) fn ends_with(path: &Path, end: &str) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(end.as_bytes())
}
