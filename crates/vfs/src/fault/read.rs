//! A file open for reading, with faults.

use std::path::Path;
use std::sync::Arc;

use super::FaultFs;
use crate::{Advice, Mapping, Operation, OperationRecord, ReadFile, Result};

/// Passes reads on, or fails them.
#[derive(Debug)]
pub(super) struct FaultReadFile {
    fs: FaultFs,
    inner: Arc<dyn ReadFile>,
}

impl FaultReadFile {
    pub(super) fn new(fs: FaultFs, inner: Arc<dyn ReadFile>) -> Self {
        Self { fs, inner }
    }

    fn record(&self, operation: Operation) -> OperationRecord {
        OperationRecord::new(operation, self.inner.path())
    }
}

impl ReadFile for FaultReadFile {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn len(&self) -> Result<u64> {
        self.fs.perform(self.record(Operation::Stat), || self.inner.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let record = self.record(Operation::Read).at(offset).bytes(buffer.len() as u64);
        self.fs.perform(record, || self.inner.read_exact_at(buffer, offset))
    }

    fn map(&self, len: u64) -> Result<Mapping> {
        self.fs.perform(self.record(Operation::Map).bytes(len), || self.inner.map(len))
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) {
        self.inner.advise(offset, len, advice);
    }
}
