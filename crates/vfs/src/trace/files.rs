//! Open files whose calls are written down.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::sync::atomic::{AtomicU64, Ordering};

use super::{ByteCounts, TraceFs};
use crate::{Advice, AppendFile, Mapping, Operation, OperationRecord, ReadFile, Result, SyncHandle};

/// A file open for reading.
#[derive(Debug)]
pub(super) struct TraceReadFile {
    fs: TraceFs,
    inner: Arc<dyn ReadFile>,
}

impl TraceReadFile {
    pub(super) fn new(fs: TraceFs, inner: Arc<dyn ReadFile>) -> Self {
        Self { fs, inner }
    }

    fn record(&self, operation: Operation) -> OperationRecord {
        OperationRecord::new(operation, self.inner.path())
    }
}

impl ReadFile for TraceReadFile {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn len(&self) -> Result<u64> {
        self.fs.note(self.record(Operation::Stat), self.inner.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let len = buffer.len() as u64;
        self.fs.note(self.record(Operation::Read).at(offset).bytes(len), self.inner.read_exact_at(buffer, offset))?;
        self.fs.count(self.inner.path(), ByteCounts { read: len, ..ByteCounts::default() });
        Ok(())
    }

    fn map(&self, len: u64) -> Result<Mapping> {
        let mapping = self.fs.note(self.record(Operation::Map).bytes(len), self.inner.map(len))?;
        self.fs.count(self.inner.path(), ByteCounts { mapped: len, ..ByteCounts::default() });
        Ok(mapping)
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) {
        self.inner.advise(offset, len, advice);
    }
}

/// A file open for appending.
#[derive(Debug)]
pub(super) struct TraceAppendFile {
    fs: TraceFs,
    inner: Box<dyn AppendFile>,
    /// Bytes appended, for the sync handles.
    written: Arc<AtomicU64>,
}

impl TraceAppendFile {
    pub(super) fn new(fs: TraceFs, inner: Box<dyn AppendFile>) -> Self {
        Self { fs, inner, written: Arc::default() }
    }

    fn record(&self, operation: Operation) -> OperationRecord {
        OperationRecord::new(operation, self.inner.path())
    }
}

impl AppendFile for TraceAppendFile {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let len = bytes.len() as u64;
        let record = self.record(Operation::Append).at(self.inner.len()).bytes(len);
        self.fs.note(record, self.inner.append(bytes))?;
        self.written.fetch_add(len, Ordering::Relaxed);
        self.fs.count(self.inner.path(), ByteCounts { written: len, ..ByteCounts::default() });
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.fs.note(self.record(Operation::Flush), self.inner.flush())
    }

    fn sync(&mut self) -> Result<()> {
        self.fs.note(self.record(Operation::Sync), self.inner.sync())?;
        self.fs.count_synced(self.inner.path(), self.written.load(Ordering::Relaxed));
        Ok(())
    }

    fn sync_handle(&self) -> Arc<dyn SyncHandle> {
        Arc::new(TraceSyncHandle {
            fs: self.fs.clone(),
            path: self.inner.path().to_owned(),
            written: Arc::clone(&self.written),
            inner: self.inner.sync_handle(),
        })
    }

    fn reader(&self) -> Result<Arc<dyn ReadFile>> {
        let inner = self.fs.note(self.record(Operation::Open), self.inner.reader())?;
        Ok(Arc::new(TraceReadFile::new(self.fs.clone(), inner)))
    }

    fn cut(&mut self, len: u64) -> Result<()> {
        self.fs.note(self.record(Operation::Truncate).at(len), self.inner.cut(len))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let record = self.record(Operation::Finish).bytes(self.inner.len());
        let Self { fs, inner, written } = *self;
        let path = inner.path().to_owned();
        fs.note(record, inner.finish())?;
        fs.count_synced(&path, written.load(Ordering::Relaxed));
        Ok(())
    }
}

/// Syncs a file that its owner appends to.
#[derive(Debug)]
struct TraceSyncHandle {
    fs: TraceFs,
    path: PathBuf,
    written: Arc<AtomicU64>,
    inner: Arc<dyn SyncHandle>,
}

impl SyncHandle for TraceSyncHandle {
    fn sync(&self) -> Result<()> {
        let written = self.written.load(Ordering::Relaxed);
        self.fs.note(OperationRecord::new(Operation::Sync, &self.path), self.inner.sync())?;
        self.fs.count_synced(&self.path, written);
        Ok(())
    }
}
