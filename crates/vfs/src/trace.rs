//! A file system over another that writes down every call and counts bytes: for golden traces, in which a lost sync is a
//! line that is missing, and for write amplification.

mod files;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::sync::Mutex;

use crate::{
    AppendFile, AppendOptions, DirEntry, FileLock, LockKind, Metadata, MountKind, Operation, OperationRecord, ReadFile,
    Result, Vfs,
};

/// A file system that is watched. Clones are the same.
#[derive(Clone)]
pub struct TraceFs {
    inner: Arc<dyn Vfs>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Paths are shown relative to this.
    base: PathBuf,
    records_calls: bool,
    calls: Mutex<Vec<TracedCall>>,
    bytes: Mutex<BTreeMap<PathBuf, ByteCounts>>,
}

/// One call and whether it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedCall {
    /// What was asked for.
    pub record: OperationRecord,
    /// What went wrong, if it did.
    pub failure: Option<std::io::ErrorKind>,
}

/// Calls in the order in which they returned. Shown as one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace(pub Vec<TracedCall>);

/// Bytes that went to and from a file, or several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteCounts {
    /// Bytes appended.
    pub written: u64,
    /// Bytes read by `read_exact_at`.
    pub read: u64,
    /// Bytes mapped; which of them were looked at, nobody knows.
    pub mapped: u64,
    /// Of the bytes appended, those that a sync followed.
    pub synced: u64,
}

impl AddAssign for ByteCounts {
    fn add_assign(&mut self, other: Self) {
        self.written += other.written;
        self.read += other.read;
        self.mapped += other.mapped;
        self.synced += other.synced;
    }
}

impl TraceFs {
    /// Records every call, its path shown relative to `base` (and as it is where it is not below that).
    #[must_use]
    pub fn new(inner: Arc<dyn Vfs>, base: impl Into<PathBuf>) -> Self {
        let state = State { base: base.into(), records_calls: true, ..State::default() };
        Self { inner, state: Arc::new(state) }
    }

    /// Counts bytes and records no calls, so that it can watch for hours.
    #[must_use]
    pub fn counting(inner: Arc<dyn Vfs>) -> Self {
        Self { inner, state: Arc::default() }
    }

    /// Takes the calls so far, so that the next trace starts here.
    #[must_use]
    pub fn take_trace(&self) -> Trace {
        Trace(std::mem::take(&mut *self.state.calls.lock()))
    }

    /// The bytes of one file, under the name it was opened or created with.
    #[must_use]
    pub fn bytes_of(&self, path: &Path) -> ByteCounts {
        self.state.bytes.lock().get(path).copied().unwrap_or_default()
    }

    /// The bytes of all files by the end of the name they were created with, from the last full stop on (`"wal"`); empty
    /// for a name without.
    #[must_use]
    pub fn bytes_by_extension(&self) -> BTreeMap<String, ByteCounts> {
        let mut sums = BTreeMap::<String, ByteCounts>::new();
        for (path, bytes) in self.state.bytes.lock().iter() {
            let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
            *sums.entry(extension).or_default() += *bytes;
        }
        sums
    }

    /// The bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> ByteCounts {
        self.state.bytes.lock().values().fold(ByteCounts::default(), |mut sum, bytes| {
            sum += *bytes;
            sum
        })
    }

    /// Writes a call down when it is done.
    fn note<T>(&self, record: OperationRecord, done: Result<T>) -> Result<T> {
        if self.state.records_calls {
            let shown = |path: PathBuf| self.state.shown(path);
            let mut calls = self.state.calls.lock();
            let number = calls.len() as u64 + 1;
            let record = OperationRecord { number, path: shown(record.path), to: record.to.map(shown), ..record };
            calls.push(TracedCall { record, failure: done.as_ref().err().map(|error| error.io().kind()) });
        }
        done
    }

    /// Adds bytes of a file.
    fn count(&self, path: &Path, bytes: ByteCounts) {
        let mut counts = self.state.bytes.lock();
        match counts.get_mut(path) {
            Some(sum) => *sum += bytes,
            None => {
                counts.insert(path.to_owned(), bytes);
            }
        }
    }

    /// Notes that all bytes appended to a file so far are synced; `written` is how many it was when the sync began.
    fn count_synced(&self, path: &Path, written: u64) {
        if let Some(sum) = self.state.bytes.lock().get_mut(path) {
            sum.synced = sum.synced.max(written);
        }
    }
}

impl State {
    fn shown(&self, path: PathBuf) -> PathBuf {
        match path.strip_prefix(&self.base) {
            Ok(below) if below.as_os_str().is_empty() => PathBuf::from("."),
            Ok(below) => below.to_owned(),
            Err(_) => path,
        }
    }
}

impl Trace {
    /// The calls that change something, without those that only look.
    #[must_use]
    pub fn mutations(mut self) -> Self {
        self.0.retain(|call| call.record.operation.is_mutation());
        self
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|call| writeln!(f, "{call}"))
    }
}

impl fmt::Display for TracedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.record)?;
        match self.failure {
            Some(kind) => write!(f, " (failed: {kind})"),
            None => Ok(()),
        }
    }
}

impl Vfs for TraceFs {
    fn open_read(&self, path: &Path) -> Result<Arc<dyn ReadFile>> {
        let inner = self.note(OperationRecord::new(Operation::Open, path), self.inner.open_read(path))?;
        Ok(Arc::new(files::TraceReadFile::new(self.clone(), inner)))
    }

    fn create_append(&self, path: &Path, options: AppendOptions) -> Result<Box<dyn AppendFile>> {
        let mut record = OperationRecord::new(Operation::Create, path);
        if options.preallocate_bytes > 0 {
            record = record.bytes(options.preallocate_bytes);
        }
        let inner = self.note(record, self.inner.create_append(path, options))?;
        Ok(Box::new(files::TraceAppendFile::new(self.clone(), inner)))
    }

    fn truncate(&self, path: &Path, len: u64) -> Result<()> {
        self.note(OperationRecord::new(Operation::Truncate, path).at(len), self.inner.truncate(path, len))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.note(OperationRecord::new(Operation::Rename, from).to(to), self.inner.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.note(OperationRecord::new(Operation::Remove, path), self.inner.remove_file(path))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        self.note(OperationRecord::new(Operation::Link, from).to(to), self.inner.hard_link(from, to))
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.note(OperationRecord::new(Operation::CreateDir, path), self.inner.create_dir_all(path))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.note(OperationRecord::new(Operation::SyncDir, path), self.inner.sync_dir(path))
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        self.note(OperationRecord::new(Operation::List, path), self.inner.list(path))
    }

    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        self.note(OperationRecord::new(Operation::Stat, path), self.inner.metadata(path))
    }

    fn lock(&self, path: &Path, kind: LockKind) -> Result<Option<Box<dyn FileLock>>> {
        self.note(OperationRecord::new(Operation::Lock, path), self.inner.lock(path, kind))
    }

    fn available_bytes(&self, path: &Path) -> Result<u64> {
        self.note(OperationRecord::new(Operation::Stat, path), self.inner.available_bytes(path))
    }

    fn mount_kind(&self, path: &Path) -> Result<MountKind> {
        self.note(OperationRecord::new(Operation::Stat, path), self.inner.mount_kind(path))
    }

    fn fill_random(&self, bytes: &mut [u8]) -> Result<()> {
        let record = OperationRecord::new(Operation::Entropy, Path::new("")).bytes(bytes.len() as u64);
        self.note(record, self.inner.fill_random(bytes))
    }
}

impl fmt::Debug for TraceFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceFs").field("inner", &self.inner).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}
