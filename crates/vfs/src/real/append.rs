//! A file of the machine, open for appending, in each of the three modes.
//!
//! Invariants
//! 1. `len <= dirty_end`, and with space allocated ahead `dirty_end <= allocated` = the file's length. Behind `dirty_end`
//!    the file holds zeros.
//! 2. A mapped window covers allocated space only, and starts at a multiple of the step.
//! 3. `len` moves only when all bytes of an append are where they belong; what a failed append left lies before
//!    `dirty_end`, is overwritten by the next append and zeroed by `cut`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::appending::AppendedLen;
use super::read::RealReadFile;
use super::{allocate, failed};
use crate::buffer::Buffer;
use crate::map::AppendWindow;
use crate::{AppendFile, AppendMode, AppendOptions, Error, Operation, ReadFile, Result, SyncHandle};

/// An append file; see the module.
#[derive(Debug)]
pub(super) struct RealAppendFile {
    file: Arc<File>,
    path: PathBuf,
    /// Where the next append goes, buffered bytes included.
    len: u64,
    appended: AppendedLen,
    dirty_end: u64,
    allocated: u64,
    /// Space is allocated in steps of this; 0 for never.
    step: u64,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Mapped(Option<AppendWindow>),
    Written,
    Buffered(Buffer),
}

impl RealAppendFile {
    /// Creates the file and allocates its first step. On failure there is no file.
    pub(super) fn create(path: &Path, options: AppendOptions) -> Result<Self> {
        let step = options.step_bytes().ok_or_else(|| too_large(path))?;
        let sink = match options.mode {
            AppendMode::Mapped => Sink::Mapped(None),
            AppendMode::Written => Sink::Written,
            AppendMode::Buffered(capacity) => Sink::Buffered(Buffer::new(capacity)),
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(failed(Operation::Create, path))?;
        let start = || {
            let appended = AppendedLen::register(&file).map_err(failed(Operation::Create, path))?;
            if step > 0 {
                allocate::extend(&file, 0, step).map_err(failed(Operation::Allocate, path))?;
            }
            Ok(appended)
        };
        match start() {
            Ok(appended) => Ok(Self {
                file: Arc::new(file),
                path: path.into(),
                len: 0,
                appended,
                dirty_end: 0,
                allocated: step,
                step,
                sink,
            }),
            Err(error) => {
                // Ours alone, since it was created new. The first error is the one to tell.
                let _ = fs::remove_file(path);
                Err(error)
            }
        }
    }

    fn append_mapped(&mut self, bytes: &[u8]) -> Result<()> {
        let mut at = self.len;
        let mut rest = bytes;
        while !rest.is_empty() {
            let Sink::Mapped(window) = &mut self.sink else { break };
            let copied = match window {
                Some(window) => window.copy_in(at, rest).map_err(|error| self.append_failed(error))?,
                None => 0,
            };
            if copied == 0 {
                self.open_window(at)?;
                continue;
            }
            at += copied as u64;
            self.dirty_end = self.dirty_end.max(at);
            rest = rest.get(copied..).unwrap_or_default();
        }
        self.len = at;
        self.appended.publish(at);
        Ok(())
    }

    /// Maps the step in which `at` lies, allocating it first if need be.
    #[cold]
    fn open_window(&mut self, at: u64) -> Result<()> {
        let start = at - at % self.step;
        let end = start.checked_add(self.step).ok_or_else(|| too_large(&self.path))?;
        self.allocate_up_to(end)?;
        let len = usize::try_from(self.step).map_err(|_| too_large(&self.path))?;
        let window = AppendWindow::new(&self.file, start, len)
            .map_err(|error| Error::new(Operation::Map, &self.path, error).at(start))?;
        self.sink = Sink::Mapped(Some(window));
        Ok(())
    }

    fn write_at_len(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.write_at(self.len, bytes)?;
        self.len = end;
        self.appended.publish(end);
        Ok(())
    }

    fn append_buffered(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.buffer_takes(bytes) {
            self.flush_buffer()?;
            if !self.buffer_takes(bytes) {
                return self.write_at_len(bytes);
            }
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn buffer_takes(&mut self, bytes: &[u8]) -> bool {
        let Sink::Buffered(buffer) = &mut self.sink else { return false };
        let fits = buffer.fits(bytes.len());
        if fits {
            buffer.push(bytes);
        }
        fits
    }

    fn flush_buffer(&mut self) -> Result<()> {
        let Sink::Buffered(buffer) = &mut self.sink else { return Ok(()) };
        if buffer.waiting().is_empty() {
            return Ok(());
        }
        // Taken out and put back, since the write needs the rest of `self`; on failure it is put back as it was.
        let mut taken = std::mem::replace(buffer, Buffer::new(0));
        let written = self.write_at(self.len - taken.waiting().len() as u64, taken.waiting());
        if written.is_ok() {
            taken.clear();
            self.appended.publish(self.len);
        }
        self.sink = Sink::Buffered(taken);
        written.map(|_| ())
    }

    /// Writes to allocated space, or behind the end where none is allocated ahead. Returns where the bytes end.
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<u64> {
        let end = at.checked_add(bytes.len() as u64).ok_or_else(|| too_large(&self.path))?;
        if self.step > 0 && end > self.allocated {
            let to = end.checked_next_multiple_of(self.step).ok_or_else(|| too_large(&self.path))?;
            self.allocate_up_to(to)?;
        }
        // Also what a failed write may have left.
        self.dirty_end = self.dirty_end.max(end);
        self.file.write_all_at(bytes, at).map_err(|error| self.append_failed(error))?;
        Ok(end)
    }

    fn allocate_up_to(&mut self, end: u64) -> Result<()> {
        if end > self.allocated {
            allocate::extend(&self.file, self.allocated, end)
                .map_err(|error| Error::new(Operation::Allocate, &self.path, error).at(self.allocated))?;
            self.allocated = end;
        }
        Ok(())
    }

    fn append_failed(&self, error: io::Error) -> Error {
        Error::new(Operation::Append, &self.path, error).at(self.len)
    }
}

impl AppendFile for RealAppendFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn len(&self) -> u64 {
        self.len
    }

    #[inline]
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        match self.sink {
            Sink::Mapped(_) => self.append_mapped(bytes),
            Sink::Written => self.write_at_len(bytes),
            Sink::Buffered(_) => self.append_buffered(bytes),
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.flush_buffer()
    }

    fn sync(&mut self) -> Result<()> {
        self.flush_buffer()?;
        self.file.sync_data().map_err(failed(Operation::Sync, &self.path))
    }

    fn sync_handle(&self) -> Arc<dyn SyncHandle> {
        Arc::new(RealSyncHandle { file: Arc::clone(&self.file), path: self.path.clone() })
    }

    fn reader(&self) -> Result<Arc<dyn ReadFile>> {
        Ok(Arc::new(RealReadFile::new(Arc::clone(&self.file), self.path.clone())))
    }

    fn cut(&mut self, len: u64) -> Result<()> {
        let refuse = |error: io::Error| Error::new(Operation::Truncate, &self.path, error).at(len);
        if len > self.len {
            return Err(refuse(io::ErrorKind::InvalidInput.into()));
        }
        let mut written = self.len;
        if let Sink::Buffered(buffer) = &mut self.sink {
            let waiting = buffer.waiting().len();
            written -= waiting as u64;
            buffer.cut(usize::try_from(len.saturating_sub(written)).unwrap_or(waiting));
        }
        self.len = len;
        let keep = len.min(written);
        self.appended.publish(keep);
        if self.step > 0 {
            // By the system and not through the window, which stays as it is.
            allocate::write_zeros(&self.file, keep, self.dirty_end).map_err(refuse)?;
        } else {
            self.file.set_len(keep).map_err(refuse)?;
        }
        self.dirty_end = keep;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.flush_buffer()?;
        self.sink = Sink::Written;
        if self.allocated > self.len || self.dirty_end > self.len {
            self.file
                .set_len(self.len)
                .map_err(|error| Error::new(Operation::Truncate, &self.path, error).at(self.len))?;
        }
        // All, since the cut of the length is nothing that the data needs.
        self.file.sync_all().map_err(failed(Operation::Sync, &self.path))
    }
}

/// Syncs by `fdatasync`, which writes pages dirtied through a mapping as well.
#[derive(Debug)]
struct RealSyncHandle {
    file: Arc<File>,
    path: PathBuf,
}

impl SyncHandle for RealSyncHandle {
    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(failed(Operation::Sync, &self.path))
    }
}

fn too_large(path: &Path) -> Error {
    Error::new(Operation::Append, path, io::ErrorKind::FileTooLarge.into())
}
