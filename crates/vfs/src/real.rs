//! The file system of the machine.
//!
//! Invariants
//! 1. A file is created new or not at all, and a file whose creation failed half-way is not left behind.
//! 2. Whatever names the contract calls durable has been through `fsync` of the directory.
//! 3. What the disk has no room for is an error at allocation, never a fault in a mapping.

mod allocate;
mod append;
mod appending;
mod mount;
mod read;

use std::fs::{self, File, FileType, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::{
    AppendFile, AppendOptions, DirEntry, Error, FileKind, FileLock, LockKind, Metadata, MountKind, Operation, ReadFile,
    Result, Vfs,
};

/// The machine's file system. Clones are the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs(());

impl RealFs {
    /// The machine's file system.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl Vfs for RealFs {
    fn open_read(&self, path: &Path) -> Result<Arc<dyn ReadFile>> {
        let file = File::open(path).map_err(failed(Operation::Open, path))?;
        Ok(Arc::new(read::RealReadFile::new(Arc::new(file), path.into())))
    }

    fn create_append(&self, path: &Path, options: AppendOptions) -> Result<Box<dyn AppendFile>> {
        Ok(Box::new(append::RealAppendFile::create(path, options)?))
    }

    fn truncate(&self, path: &Path, len: u64) -> Result<()> {
        let cut = || {
            let file = OpenOptions::new().write(true).open(path)?;
            if file.metadata()?.len() < len {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            file.set_len(len)?;
            file.sync_all()
        };
        cut().map_err(|error| Error::new(Operation::Truncate, path, error).at(len))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(failed(Operation::Rename, from))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).map_err(failed(Operation::Remove, path))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        fs::hard_link(from, to).map_err(failed(Operation::Link, from))
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        if path.is_dir() {
            return sync_existing(parent);
        }
        self.create_dir_all(parent)?;
        match fs::create_dir(path) {
            // Another thread or process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) => return Err(Error::new(Operation::CreateDir, path, error)),
            Ok(()) => {}
        }
        self.sync_dir(parent)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        File::open(or_current(path)).and_then(|dir| dir.sync_all()).map_err(failed(Operation::SyncDir, path))
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        let list = || -> io::Result<Vec<DirEntry>> {
            fs::read_dir(or_current(path))?
                .map(|entry| {
                    let entry = entry?;
                    Ok(DirEntry { name: entry.file_name().into(), kind: kind_of(entry.file_type()?) })
                })
                .collect()
        };
        let mut entries = list().map_err(failed(Operation::List, path))?;
        entries.sort_unstable();
        Ok(entries)
    }

    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        match fs::metadata(or_current(path)) {
            Ok(found) => Ok(Some(Metadata { kind: kind_of(found.file_type()), len: found.len() })),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(Error::new(Operation::Stat, path, error)),
        }
    }

    fn lock(&self, path: &Path, kind: LockKind) -> Result<Option<Box<dyn FileLock>>> {
        // Never truncated: another holder's file stays as it is. `flock` belongs to the open file, and this one is opened
        // anew each time, so two locks of one process exclude each other.
        let mut options = OpenOptions::new();
        match kind {
            LockKind::Exclusive => options.read(true).write(true).create(true).truncate(false),
            LockKind::Shared => options.read(true),
        };
        let file = options.open(path).map_err(failed(Operation::Lock, path))?;
        let taken = match kind {
            LockKind::Exclusive => file.try_lock(),
            LockKind::Shared => file.try_lock_shared(),
        };
        match taken {
            Ok(()) => Ok(Some(Box::new(RealLock(file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Error::new(Operation::Lock, path, error)),
        }
    }

    fn available_bytes(&self, path: &Path) -> Result<u64> {
        let space =
            rustix::fs::statvfs(or_current(path)).map_err(|error| failed(Operation::Stat, path)(error.into()))?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn mount_kind(&self, path: &Path) -> Result<MountKind> {
        mount::kind(or_current(path)).map_err(failed(Operation::Stat, path))
    }

    fn fill_random(&self, bytes: &mut [u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            // Long requests come back short, and a signal interrupts them.
            let filled = rustix::io::retry_on_intr(|| {
                rustix::rand::getrandom(&mut *rest, rustix::rand::GetRandomFlags::empty())
            })
            .map_err(|error| failed(Operation::Entropy, Path::new("getrandom"))(error.into()))?;
            rest = rest.get_mut(filled..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Held until it is dropped, which closes the file.
#[derive(Debug)]
struct RealLock(#[expect(dead_code, reason = "held for its drop")] File);

impl FileLock for RealLock {}

/// Syncs the directory above one that was there already. Whoever made it may have died before its sync; where this
/// process may not read the directory above, it cannot have been the one who made it.
fn sync_existing(parent: &Path) -> Result<()> {
    match RealFs::new().sync_dir(parent) {
        Err(error) if error.io().kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

/// The parent of a plain name is the empty path, which the system does not take.
fn or_current(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn kind_of(file_type: FileType) -> FileKind {
    if file_type.is_file() {
        FileKind::File
    } else if file_type.is_dir() {
        FileKind::Dir
    } else {
        FileKind::Other
    }
}

/// Says what failed on which file.
fn failed(operation: Operation, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::new(operation, path, error)
}
