//! A file of the machine, open for reading.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{appending, failed};
use crate::{Advice, Error, Mapping, Operation, ReadFile, Result, map};

/// Reads with `pread`.
#[derive(Debug)]
pub(super) struct RealReadFile {
    file: Arc<File>,
    path: PathBuf,
}

impl RealReadFile {
    pub(super) fn new(file: Arc<File>, path: PathBuf) -> Self {
        Self { file, path }
    }
}

impl ReadFile for RealReadFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn len(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(failed(Operation::Stat, &self.path))?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.file
            .read_exact_at(buffer, offset)
            .map_err(|error| Error::new(Operation::Read, &self.path, error).at(offset))
    }

    fn map(&self, len: u64) -> Result<Mapping> {
        let map = || {
            if appending::mappable_len(&self.file)? < len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
            // The system refuses to map nothing.
            if len == 0 { Ok(Mapping::new([])) } else { map::map_read(&self.file, len).map(Mapping::new) }
        };
        map().map_err(|error| Error::new(Operation::Map, &self.path, error).at(len))
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) {
        let advice = match advice {
            Advice::WillNeed => rustix::fs::Advice::WillNeed,
            Advice::Sequential => rustix::fs::Advice::Sequential,
            Advice::Random => rustix::fs::Advice::Random,
            Advice::DontNeed => rustix::fs::Advice::DontNeed,
        };
        // A hint that the file system does not take changes nothing. A length of zero would mean "to the end".
        if let Some(len) = NonZeroU64::new(len) {
            let _ = rustix::fs::fadvise(&self.file, offset, Some(len), advice);
        }
    }
}
