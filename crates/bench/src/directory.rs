//! The folder that a benchmark fills, and what is in it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Bytes of the blocks that `st_blocks` counts.
const BLOCK_BYTES: u64 = 512;

/// A folder that is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct ScratchDir {
    path: PathBuf,
}

impl ScratchDir {
    /// Makes a folder of this process's own below `parent`, or below the system's temporary folder.
    pub(crate) fn create(parent: Option<&Path>) -> Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let mut number = 0;
        loop {
            let path = parent.join(format!("ratel-bench-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(Error::file(&path, error)),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what is in it. The folder itself stays, so that nobody else can take its name.
    pub(crate) fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(&self.path).map_err(|error| Error::file(&self.path, error))? {
            let path = entry.map_err(|error| Error::file(&self.path, error))?.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|error| Error::file(&path, error))?;
        }
        Ok(())
    }

    /// Bytes on disk that its files take, allocated ahead or not.
    pub(crate) fn disk_bytes(&self) -> Result<u64> {
        Ok(DiskUse::of(&self.path)?.allocated)
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Copies a folder to one that is not there yet, and waits until the copy is on the disk.
pub(crate) fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to).map_err(|error| Error::file(to, error))?;
    for entry in fs::read_dir(from).map_err(|error| Error::file(from, error))? {
        let source = entry.map_err(|error| Error::file(from, error))?.path();
        let target = to.join(source.file_name().unwrap_or_default());
        if source.is_dir() {
            copy_dir(&source, &target)?;
            continue;
        }
        fs::copy(&source, &target).map_err(|error| Error::file(&source, error))?;
        fs::File::open(&target).and_then(|copy| copy.sync_all()).map_err(|error| Error::file(&target, error))?;
    }
    Ok(())
}

/// What the files of a folder take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DiskUse {
    /// Bytes of their blocks, as `du` counts them.
    pub(crate) allocated: u64,
    /// The sum of their lengths.
    pub(crate) apparent: u64,
}

impl DiskUse {
    /// Of all files below a folder.
    pub(crate) fn of(dir: &Path) -> Result<Self> {
        let at = |error| Error::file(dir, error);
        let mut sum = Self::default();
        for entry in fs::read_dir(dir).map_err(at)? {
            let entry = entry.map_err(at)?;
            // A store may remove a file at any moment.
            let Ok(metadata) = entry.metadata() else { continue };
            let part = if metadata.is_dir() {
                Self::of(&entry.path())?
            } else {
                Self { allocated: metadata.blocks() * BLOCK_BYTES, apparent: metadata.len() }
            };
            sum.allocated += part.allocated;
            sum.apparent += part.apparent;
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_all_files_and_folders() {
        let dir = ScratchDir::create(None).unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("below")).unwrap();
        fs::write(from.join("file"), b"one").unwrap();
        fs::write(from.join("below/file"), b"two").unwrap();
        copy_dir(&from, &to).unwrap();
        assert_eq!(fs::read(to.join("file")).unwrap(), b"one");
        assert_eq!(fs::read(to.join("below/file")).unwrap(), b"two");
        assert!(copy_dir(&from, &to).is_err(), "it is there already");
    }

    #[test]
    fn a_scratch_folder_counts_what_is_in_it_and_is_gone_in_the_end() {
        let dir = ScratchDir::create(None).unwrap();
        let other = ScratchDir::create(None).unwrap();
        assert_ne!(dir.path(), other.path());
        fs::create_dir(dir.path().join("below")).unwrap();
        fs::write(dir.path().join("below/file"), vec![1; 100_000]).unwrap();
        fs::File::open(dir.path().join("below/file")).unwrap().sync_all().unwrap();
        assert!(dir.disk_bytes().unwrap() >= 100_000);
        assert_eq!(DiskUse::of(dir.path()).unwrap().apparent, 100_000);
        dir.clear().unwrap();
        assert_eq!(dir.disk_bytes().unwrap(), 0);
        let path = dir.path().to_owned();
        drop(dir);
        assert!(!path.exists());
    }
}
