//! A file system that leaves out syncs, to show that a crash test notices.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use vfs::{
    AppendFile, AppendOptions, DirEntry, FileLock, LockKind, Metadata, MountKind, ReadFile, Result, SyncHandle, Vfs,
};

/// Leaves out every sync of the files and directories that a predicate names.
#[derive(Clone)]
pub struct ForgetfulFs {
    inner: Arc<dyn Vfs>,
    forgets: Arc<Forgets>,
}

type Forgets = dyn Fn(&Path) -> bool + Send + Sync;

impl ForgetfulFs {
    /// Over any file system. A file is known by the name under which it was created.
    pub fn new(inner: Arc<dyn Vfs>, forgets: impl Fn(&Path) -> bool + Send + Sync + 'static) -> Self {
        Self { inner, forgets: Arc::new(forgets) }
    }
}

impl fmt::Debug for ForgetfulFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForgetfulFs").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Vfs for ForgetfulFs {
    fn open_read(&self, path: &Path) -> Result<Arc<dyn ReadFile>> {
        self.inner.open_read(path)
    }

    fn create_append(&self, path: &Path, options: AppendOptions) -> Result<Box<dyn AppendFile>> {
        let inner = self.inner.create_append(path, options)?;
        Ok(if (self.forgets)(path) { Box::new(ForgetfulFile { inner }) } else { inner })
    }

    fn truncate(&self, path: &Path, len: u64) -> Result<()> {
        self.inner.truncate(path, len)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.inner.remove_file(path)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        self.inner.hard_link(from, to)
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.inner.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        if (self.forgets)(path) { Ok(()) } else { self.inner.sync_dir(path) }
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        self.inner.list(path)
    }

    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        self.inner.metadata(path)
    }

    fn lock(&self, path: &Path, kind: LockKind) -> Result<Option<Box<dyn FileLock>>> {
        self.inner.lock(path, kind)
    }

    fn available_bytes(&self, path: &Path) -> Result<u64> {
        self.inner.available_bytes(path)
    }

    fn mount_kind(&self, path: &Path) -> Result<MountKind> {
        self.inner.mount_kind(path)
    }

    fn fill_random(&self, bytes: &mut [u8]) -> Result<()> {
        self.inner.fill_random(bytes)
    }
}

/// A file whose syncs do nothing but hand on what is buffered.
#[derive(Debug)]
struct ForgetfulFile {
    inner: Box<dyn AppendFile>,
}

impl AppendFile for ForgetfulFile {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.inner.append(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        self.inner.flush()
    }

    fn sync(&mut self) -> Result<()> {
        self.inner.flush()
    }

    fn sync_handle(&self) -> Arc<dyn SyncHandle> {
        Arc::new(NoSync)
    }

    fn reader(&self) -> Result<Arc<dyn ReadFile>> {
        self.inner.reader()
    }

    fn cut(&mut self, len: u64) -> Result<()> {
        self.inner.cut(len)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.inner.flush()
    }
}

#[derive(Debug)]
struct NoSync;

impl SyncHandle for NoSync {
    fn sync(&self) -> Result<()> {
        Ok(())
    }
}
