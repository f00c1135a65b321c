//! A file in memory, open for appending. What is buffered lives here and dies with it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::MemFs;
use super::node::Node;
use super::read::MemReadFile;
use crate::buffer::Buffer;
use crate::{AppendFile, AppendMode, AppendOptions, Error, Operation, ReadFile, Result, SyncHandle};

/// Keeps the same invariants as the append file of the machine, without its windows.
#[derive(Debug)]
pub(super) struct MemAppendFile {
    fs: MemFs,
    node: Arc<Node>,
    path: PathBuf,
    /// Where the next append goes, buffered bytes included.
    len: u64,
    /// Behind this the file holds zeros.
    dirty_end: u64,
    allocated: u64,
    /// Space is allocated in steps of this; 0 for never.
    step: u64,
    buffer: Option<Buffer>,
}

impl MemAppendFile {
    /// Appends to a new file, whose first step is allocated already.
    pub(super) fn new(fs: MemFs, node: Arc<Node>, path: PathBuf, options: AppendOptions, step: u64) -> Self {
        let buffer = match options.mode {
            AppendMode::Mapped | AppendMode::Written => None,
            AppendMode::Buffered(capacity) => Some(Buffer::new(capacity)),
        };
        node.publish_appended(Some(0));
        Self { fs, node, path, len: 0, dirty_end: 0, allocated: step, step, buffer }
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        let end = at.checked_add(bytes.len() as u64).ok_or_else(|| self.append_failed(io::ErrorKind::FileTooLarge))?;
        if self.step > 0 && end > self.allocated {
            let to = end
                .checked_next_multiple_of(self.step)
                .ok_or_else(|| self.append_failed(io::ErrorKind::FileTooLarge))?;
            self.fs
                .mutate(|sequence| self.node.set_len(sequence, to))
                .map_err(|error| Error::new(Operation::Allocate, &self.path, error).at(self.allocated))?;
            self.allocated = to;
        }
        self.dirty_end = self.dirty_end.max(end);
        self.fs
            .mutate(|sequence| self.node.write(sequence, at, bytes))
            .map_err(|error| Error::new(Operation::Append, &self.path, error).at(at))?;
        self.node.publish_appended(Some(end));
        Ok(())
    }

    fn append_failed(&self, kind: io::ErrorKind) -> Error {
        Error::new(Operation::Append, &self.path, kind.into()).at(self.len)
    }

    fn flush_buffer(&mut self) -> Result<()> {
        let Some(mut buffer) = self.buffer.take() else { return Ok(()) };
        let waiting = buffer.waiting();
        let written = if waiting.is_empty() {
            Ok(())
        } else {
            self.write_at(self.len - waiting.len() as u64, waiting).map(|()| buffer.clear())
        };
        self.buffer = Some(buffer);
        written
    }
}

impl AppendFile for MemAppendFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.as_ref().is_some_and(|buffer| !buffer.fits(bytes.len())) {
            self.flush_buffer()?;
        }
        match &mut self.buffer {
            Some(buffer) if buffer.fits(bytes.len()) => buffer.push(bytes),
            _ => self.write_at(self.len, bytes)?,
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.flush_buffer()
    }

    fn sync(&mut self) -> Result<()> {
        self.flush_buffer()?;
        self.fs.mutate(|_| self.node.sync());
        Ok(())
    }

    fn sync_handle(&self) -> Arc<dyn SyncHandle> {
        Arc::new(MemSyncHandle { fs: self.fs.clone(), node: Arc::clone(&self.node) })
    }

    fn reader(&self) -> Result<Arc<dyn ReadFile>> {
        Ok(Arc::new(MemReadFile::new(Arc::clone(&self.node), self.path.clone())))
    }

    fn cut(&mut self, len: u64) -> Result<()> {
        let refuse = |error: io::Error| Error::new(Operation::Truncate, &self.path, error).at(len);
        if len > self.len {
            return Err(refuse(io::ErrorKind::InvalidInput.into()));
        }
        let mut written = self.len;
        if let Some(buffer) = &mut self.buffer {
            let waiting = buffer.waiting().len();
            written -= waiting as u64;
            buffer.cut(usize::try_from(len.saturating_sub(written)).unwrap_or(waiting));
        }
        self.len = len;
        let keep = len.min(written);
        self.node.publish_appended(Some(keep));
        let cut = if self.step > 0 {
            // As on the machine: the dropped bytes are overwritten with zeros, and the space stays.
            let zeros = vec![0; self.dirty_end.saturating_sub(keep) as usize];
            self.fs.mutate(|sequence| self.node.write(sequence, keep, &zeros))
        } else {
            self.fs.mutate(|sequence| self.node.set_len(sequence, keep))
        };
        cut.map_err(refuse)?;
        self.dirty_end = keep;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.flush_buffer()?;
        if self.allocated > self.len || self.dirty_end > self.len {
            self.fs
                .mutate(|sequence| self.node.set_len(sequence, self.len))
                .map_err(|error| Error::new(Operation::Truncate, &self.path, error).at(self.len))?;
        }
        self.fs.mutate(|_| self.node.sync());
        Ok(())
    }
}

impl Drop for MemAppendFile {
    fn drop(&mut self) {
        self.node.publish_appended(None);
    }
}

/// Syncs a file that its owner appends to.
#[derive(Debug)]
struct MemSyncHandle {
    fs: MemFs,
    node: Arc<Node>,
}

impl SyncHandle for MemSyncHandle {
    fn sync(&self) -> Result<()> {
        self.fs.mutate(|_| self.node.sync());
        Ok(())
    }
}
