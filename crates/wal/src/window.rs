//! A log file seen through one buffer of a few blocks, whatever the file's length.

use std::path::Path;
use std::sync::Arc;

use vfs::{Advice, ReadFile, Vfs};

use crate::Result;
use crate::fragment::{BLOCK_LEN, room};

/// Bytes that one read fetches: a whole number of blocks.
const WINDOW_LEN: u64 = 8 * BLOCK_LEN as u64;

#[derive(Debug)]
pub(crate) struct Window {
    file: Arc<dyn ReadFile>,
    file_len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    pub(crate) fn open(vfs: &dyn Vfs, path: &Path) -> Result<Self> {
        let file = vfs.open_read(path)?;
        let file_len = file.len()?;
        file.advise(0, file_len, Advice::Sequential);
        Ok(Self { file, file_len, start: 0, bytes: Vec::new() })
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(crate) const fn file_len(&self) -> u64 {
        self.file_len
    }

    /// The file from `offset` to the end of its block or of the file.
    pub(crate) fn block_rest(&mut self, offset: u64) -> Result<&[u8]> {
        self.load(offset)?;
        Ok(self.loaded(offset, room(offset)))
    }

    /// At most `len` bytes at `offset` that the last [`block_rest`](Self::block_rest) showed.
    pub(crate) fn loaded(&self, offset: u64, len: usize) -> &[u8] {
        let from = offset.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let bytes = from.and_then(|from| self.bytes.get(from..)).unwrap_or_default();
        bytes.get(..len).unwrap_or(bytes)
    }

    /// Where the last byte at or behind `from` ends that is not zero; `from` where there is none.
    pub(crate) fn data_end(&self, from: u64) -> Result<u64> {
        Ok(vfs::data_end(&*self.file, from)?)
    }

    fn load(&mut self, offset: u64) -> Result<()> {
        let start = offset / WINDOW_LEN * WINDOW_LEN;
        if start >= self.file_len || (start == self.start && !self.bytes.is_empty()) {
            return Ok(());
        }
        let len = WINDOW_LEN.min(self.file_len - start) as usize;
        self.bytes.clear();
        self.start = start;
        self.bytes.resize(len, 0);
        if let Err(error) = self.file.read_exact_at(&mut self.bytes, start) {
            self.bytes.clear();
            return Err(error.into());
        }
        Ok(())
    }
}
