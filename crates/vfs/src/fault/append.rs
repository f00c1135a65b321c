//! A file open for appending, with faults.
//!
//! Invariant: `len` counts whole appends only. What a torn one left below is cut off before the next append, so that it
//! goes where it would have gone.

use std::path::Path;
use std::sync::Arc;

use super::{Effect, FaultFs, Strike};
use crate::{AppendFile, Operation, OperationRecord, ReadFile, Result, SyncHandle};

/// Passes appends on, or fails them, whole or in part.
#[derive(Debug)]
pub(super) struct FaultAppendFile {
    fs: FaultFs,
    inner: Box<dyn AppendFile>,
    len: u64,
}

impl FaultAppendFile {
    pub(super) fn new(fs: FaultFs, inner: Box<dyn AppendFile>) -> Self {
        Self { len: inner.len(), fs, inner }
    }

    fn record(&self, operation: Operation) -> OperationRecord {
        OperationRecord::new(operation, self.inner.path())
    }
}

impl AppendFile for FaultAppendFile {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let record = self.record(Operation::Append).at(self.len).bytes(bytes.len() as u64);
        let strike = self.fs.announce(record);
        if self.inner.len() > self.len {
            self.inner.cut(self.len)?;
        }
        let Some(Strike { effect, error }) = strike else {
            self.inner.append(bytes)?;
            self.len = self.inner.len();
            return Ok(());
        };
        let landing = match effect {
            Effect::Nothing | Effect::UnsyncedLost => 0,
            Effect::Everything => bytes.len(),
            Effect::FirstBytes(count) => bytes.len().min(usize::try_from(count).unwrap_or(usize::MAX)),
        };
        self.inner.append(bytes.get(..landing).unwrap_or_default())?;
        Err(error)
    }

    fn flush(&mut self) -> Result<()> {
        let record = self.record(Operation::Flush);
        self.fs.perform(record, || self.inner.flush())
    }

    fn sync(&mut self) -> Result<()> {
        let record = self.record(Operation::Sync);
        self.fs.perform_sync(record, || self.inner.sync())
    }

    fn sync_handle(&self) -> Arc<dyn SyncHandle> {
        let path = self.inner.path().to_owned();
        Arc::new(FaultSyncHandle { fs: self.fs.clone(), path, inner: self.inner.sync_handle() })
    }

    fn reader(&self) -> Result<Arc<dyn ReadFile>> {
        let inner = self.fs.perform(self.record(Operation::Open), || self.inner.reader())?;
        Ok(Arc::new(super::read::FaultReadFile::new(self.fs.clone(), inner)))
    }

    fn cut(&mut self, len: u64) -> Result<()> {
        let record = self.record(Operation::Truncate).at(len);
        // Checked against what was appended as a whole, of which the file below may have a part more.
        let below = if len > self.len { u64::MAX } else { len };
        self.fs.perform(record, || self.inner.cut(below))?;
        self.len = len;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if self.inner.len() > self.len {
            self.inner.cut(self.len)?;
        }
        let record = self.record(Operation::Finish).bytes(self.len);
        let Self { fs, inner, .. } = *self;
        fs.perform_sync(record, || inner.finish())
    }
}

/// Syncs, or fails to.
#[derive(Debug)]
struct FaultSyncHandle {
    fs: FaultFs,
    path: std::path::PathBuf,
    inner: Arc<dyn SyncHandle>,
}

impl SyncHandle for FaultSyncHandle {
    fn sync(&self) -> Result<()> {
        self.fs.perform_sync(OperationRecord::new(Operation::Sync, &self.path), || self.inner.sync())
    }
}
