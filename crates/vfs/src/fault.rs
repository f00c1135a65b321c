//! A file system over another that fails where a plan says so, counts every operation, and calls a hook before each
//! change, so that a test can take a crash image there.
//!
//! Invariants
//! 1. No lock is held while the hook or the file system below runs: a hook may take images, arm and disarm.
//! 2. The hook is called before anything of the change is done, its faults included.

mod append;
mod plan;
mod read;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base::sync::Mutex;
use base::sync::atomic::{AtomicU64, Ordering};

use plan::Effect;
pub use plan::{Cause, Fault, FaultPlan};

use crate::{
    AppendFile, AppendOptions, DirEntry, Error, FileLock, LockKind, MemFs, Metadata, MountKind, Operation,
    OperationRecord, ReadFile, Result, Vfs,
};

/// A file system with faults. Clones are the same.
#[derive(Clone)]
pub struct FaultFs {
    inner: Arc<dyn Vfs>,
    state: Arc<State>,
}

/// Names an armed fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId(u64);

type Hook = dyn Fn(&OperationRecord) + Send + Sync;

struct State {
    /// The same as `inner`, where its unsynced bytes can be lost.
    memory: Option<MemFs>,
    faults: Mutex<BTreeMap<FaultId, Armed>>,
    next_fault: AtomicU64,
    counts: Mutex<BTreeMap<Operation, u64>>,
    mutations: AtomicU64,
    hook: Mutex<Option<Arc<Hook>>>,
}

struct Armed {
    fault: Fault,
    matches: u64,
    hits: u64,
}

/// A fault that strikes the operation at hand.
struct Strike {
    effect: Effect,
    error: Error,
}

impl FaultFs {
    /// Over any file system.
    #[must_use]
    pub fn new(inner: Arc<dyn Vfs>, plan: FaultPlan) -> Self {
        Self::with_memory(inner, None, plan)
    }

    /// Over one in memory, of which a failed sync can lose what it was to write.
    #[must_use]
    pub fn over_memory(memory: MemFs, plan: FaultPlan) -> Self {
        Self::with_memory(Arc::new(memory.clone()), Some(memory), plan)
    }

    fn with_memory(inner: Arc<dyn Vfs>, memory: Option<MemFs>, plan: FaultPlan) -> Self {
        let state = State {
            memory,
            faults: Mutex::default(),
            next_fault: AtomicU64::new(0),
            counts: Mutex::default(),
            mutations: AtomicU64::new(0),
            hook: Mutex::default(),
        };
        let fs = Self { inner, state: Arc::new(state) };
        for fault in plan.0 {
            fs.arm(fault);
        }
        fs
    }

    /// Adds a fault, which counts its matches from now on.
    pub fn arm(&self, fault: Fault) -> FaultId {
        let id = FaultId(self.state.next_fault.fetch_add(1, Ordering::Relaxed));
        self.state.faults.lock().insert(id, Armed { fault, matches: 0, hits: 0 });
        id
    }

    /// Takes a fault away.
    pub fn disarm(&self, id: FaultId) {
        self.state.faults.lock().remove(&id);
    }

    /// Takes all faults away.
    pub fn disarm_all(&self) {
        self.state.faults.lock().clear();
    }

    /// How often an armed fault has struck.
    #[must_use]
    pub fn hits(&self, id: FaultId) -> u64 {
        self.state.faults.lock().get(&id).map_or(0, |armed| armed.hits)
    }

    /// How often an operation was asked for, failed ones included. A file's `finish` counts as a sync too.
    #[must_use]
    pub fn count(&self, operation: Operation) -> u64 {
        self.state.counts.lock().get(&operation).copied().unwrap_or(0)
    }

    /// How many changes were asked for: the number of the last one.
    #[must_use]
    pub fn mutations(&self) -> u64 {
        self.state.mutations.load(Ordering::Relaxed)
    }

    /// Calls `hook` before each change, on the thread that makes it, in place of an earlier hook. The hook must not
    /// change this file system itself.
    pub fn on_mutation(&self, hook: impl Fn(&OperationRecord) + Send + Sync + 'static) {
        *self.state.hook.lock() = Some(Arc::new(hook));
    }

    /// Calls no hook any more.
    pub fn clear_hook(&self) {
        *self.state.hook.lock() = None;
    }

    /// Counts an operation, calls the hook, runs the operation, and fails it if a fault strikes.
    fn perform<T>(&self, record: OperationRecord, run: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.announce(record) {
            None => run(),
            Some(Strike { effect: Effect::Everything, error }) => run().and(Err(error)),
            Some(Strike { error, .. }) => Err(error),
        }
    }

    /// The same for a sync of the file at `path`.
    fn perform_sync<T>(&self, record: OperationRecord, run: impl FnOnce() -> Result<T>) -> Result<T> {
        let path = record.path.clone();
        match self.announce(record) {
            None => run(),
            Some(Strike { effect: Effect::Everything, error }) => run().and(Err(error)),
            Some(Strike { effect, error }) => {
                if let (Effect::UnsyncedLost, Some(memory)) = (effect, &self.state.memory) {
                    // A file that has lost its name has nothing to lose in a crash.
                    let _ = memory.drop_unsynced(&path);
                }
                Err(error)
            }
        }
    }

    /// Everything that comes before an operation. A fault that strikes is returned.
    fn announce(&self, mut record: OperationRecord) -> Option<Strike> {
        self.tally(record.operation);
        if record.operation.is_mutation() {
            record.number = self.state.mutations.fetch_add(1, Ordering::Relaxed) + 1;
            let hook = self.state.hook.lock().clone();
            if let Some(hook) = hook {
                hook(&record);
            }
        }
        self.strike(&record)
    }

    fn tally(&self, operation: Operation) {
        let mut counts = self.state.counts.lock();
        *counts.entry(operation).or_default() += 1;
        if operation == Operation::Finish {
            *counts.entry(Operation::Sync).or_default() += 1;
        }
    }

    /// The first armed fault that strikes; every one that matches counts the match.
    fn strike(&self, record: &OperationRecord) -> Option<Strike> {
        let mut strike = None;
        for armed in self.state.faults.lock().values_mut() {
            if !armed.fault.matches(record.operation, &record.path) {
                continue;
            }
            let strikes = armed.fault.strikes_after(armed.matches);
            armed.matches += 1;
            if strikes && strike.is_none() {
                armed.hits += 1;
                let mut error = Error::new(record.operation, &record.path, armed.fault.error());
                if let Some(offset) = record.offset {
                    error = error.at(offset);
                }
                strike = Some(Strike { effect: armed.fault.effect, error });
            }
        }
        strike
    }
}

impl Vfs for FaultFs {
    fn open_read(&self, path: &Path) -> Result<Arc<dyn ReadFile>> {
        let inner = self.perform(OperationRecord::new(Operation::Open, path), || self.inner.open_read(path))?;
        Ok(Arc::new(read::FaultReadFile::new(self.clone(), inner)))
    }

    fn create_append(&self, path: &Path, options: AppendOptions) -> Result<Box<dyn AppendFile>> {
        let create = || {
            if options.preallocate_bytes == 0 {
                return self.inner.create_append(path, options);
            }
            let record = OperationRecord::new(Operation::Allocate, path).bytes(options.preallocate_bytes);
            self.perform(record, || self.inner.create_append(path, options))
        };
        let inner = self.perform(OperationRecord::new(Operation::Create, path), create)?;
        Ok(Box::new(append::FaultAppendFile::new(self.clone(), inner)))
    }

    fn truncate(&self, path: &Path, len: u64) -> Result<()> {
        self.perform(OperationRecord::new(Operation::Truncate, path).at(len), || self.inner.truncate(path, len))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.perform(OperationRecord::new(Operation::Rename, from).to(to), || self.inner.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.perform(OperationRecord::new(Operation::Remove, path), || self.inner.remove_file(path))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        self.perform(OperationRecord::new(Operation::Link, from).to(to), || self.inner.hard_link(from, to))
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.perform(OperationRecord::new(Operation::CreateDir, path), || self.inner.create_dir_all(path))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.perform(OperationRecord::new(Operation::SyncDir, path), || self.inner.sync_dir(path))
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        self.perform(OperationRecord::new(Operation::List, path), || self.inner.list(path))
    }

    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        self.perform(OperationRecord::new(Operation::Stat, path), || self.inner.metadata(path))
    }

    fn lock(&self, path: &Path, kind: LockKind) -> Result<Option<Box<dyn FileLock>>> {
        self.perform(OperationRecord::new(Operation::Lock, path), || self.inner.lock(path, kind))
    }

    fn available_bytes(&self, path: &Path) -> Result<u64> {
        self.perform(OperationRecord::new(Operation::Stat, path), || self.inner.available_bytes(path))
    }

    fn mount_kind(&self, path: &Path) -> Result<MountKind> {
        self.perform(OperationRecord::new(Operation::Stat, path), || self.inner.mount_kind(path))
    }

    fn fill_random(&self, bytes: &mut [u8]) -> Result<()> {
        let record = OperationRecord::new(Operation::Entropy, Path::new("")).bytes(bytes.len() as u64);
        self.perform(record, || self.inner.fill_random(bytes))
    }
}

impl fmt::Debug for FaultFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultFs")
            .field("inner", &self.inner)
            .field("mutations", &self.mutations())
            .finish_non_exhaustive()
    }
}
