//! Which files of this process are being appended to, and how far. A read mapping must not show bytes that are still to
//! be written; this is where it learns how far it may go, whoever opened the file and under whatever name.
//!
//! Written by `append`, asked by `read`. The lock is held for a look-up only.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, LazyLock};

use base::sync::Mutex;
use base::sync::atomic::{AtomicU64, Ordering};

/// Device and inode.
type FileId = (u64, u64);

static APPENDING: LazyLock<Mutex<HashMap<FileId, Arc<AtomicU64>>>> = LazyLock::new(Mutex::default);

/// How far one file has been appended; listed until it is dropped.
#[derive(Debug)]
pub(super) struct AppendedLen {
    id: FileId,
    len: Arc<AtomicU64>,
}

impl AppendedLen {
    /// Lists a file that was just created.
    pub(super) fn register(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        let id = (found.dev(), found.ino());
        let len = Arc::new(AtomicU64::new(0));
        APPENDING.lock().insert(id, Arc::clone(&len));
        Ok(Self { id, len })
    }

    /// Tells how far the file is appended now; the bytes before that happen before whoever learns it.
    #[inline]
    pub(super) fn publish(&self, len: u64) {
        self.len.store(len, Ordering::Release);
    }
}

impl Drop for AppendedLen {
    fn drop(&mut self) {
        // The file may be gone already, and its inode taken by a new one.
        let mut appending = APPENDING.lock();
        if appending.get(&self.id).is_some_and(|len| Arc::ptr_eq(len, &self.len)) {
            appending.remove(&self.id);
        }
    }
}

/// How many bytes of `file` may be mapped: its length, or less while it is being appended to.
pub(super) fn mappable_len(file: &File) -> io::Result<u64> {
    let found = file.metadata()?;
    let appending = APPENDING.lock().get(&(found.dev(), found.ino())).cloned();
    Ok(appending.map_or(found.len(), |len| len.load(Ordering::Acquire).min(found.len())))
}
