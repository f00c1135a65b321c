//! Segments that are not sealed, and how they become durable: oldest first, so that everything before the synced head
//! is durable whenever the head is read.

use base::ValueLogHead;
use base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use base::sync::{Arc, Mutex};
use vfs::{AppendFile, SyncHandle};

use crate::{Result, Segment, ValueLog};

/// What became of the file of an open segment.
#[derive(Debug)]
pub(crate) enum FileState {
    /// The writer appends to it.
    Active,
    /// Nothing will be appended to it.
    Full(Box<dyn AppendFile>),
    /// As long as its records are, and durable.
    Finished,
}

/// A segment that was made in this run and is not sealed.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub(crate) segment: Arc<Segment>,
    pub(crate) file: Mutex<FileState>,
    handle: Arc<dyn SyncHandle>,
    synced_bytes: AtomicU64,
    name_synced: AtomicBool,
}

impl OpenSegment {
    pub(crate) fn new(segment: Arc<Segment>, handle: Arc<dyn SyncHandle>) -> Self {
        let (synced_bytes, name_synced) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { segment, file: Mutex::new(FileState::Active), handle, synced_bytes, name_synced }
    }

    /// Where its last record ends.
    pub(crate) fn head(&self) -> ValueLogHead {
        self.head_at(self.segment.readable_bytes())
    }

    pub(crate) fn is_full(&self) -> bool {
        !matches!(&*self.file.lock(), FileState::Active)
    }

    /// Notes that its first `bytes` and its name are durable.
    pub(crate) fn note_synced(&self, bytes: u64) {
        self.synced_bytes.fetch_max(bytes, Ordering::AcqRel);
        self.name_synced.store(true, Ordering::Release);
    }

    /// Whether its name or its first `bytes` are not durable.
    fn is_dirty(&self, bytes: u64) -> bool {
        !self.name_synced.load(Ordering::Acquire) || self.synced_bytes.load(Ordering::Acquire) < bytes
    }

    fn head_at(&self, bytes: u64) -> ValueLogHead {
        ValueLogHead { segment: self.segment.id(), offset: u32::try_from(bytes).unwrap_or(u32::MAX) }
    }
}

impl ValueLog {
    /// Makes everything durable that was appended before the call, oldest segment first, and returns the head up to
    /// which all is. Appends go on meanwhile.
    ///
    /// # Errors
    /// [`Error::Vfs`](crate::Error::Vfs) where the system could not write. That is final: every later append and sync
    /// fails with the same cause, since nobody can tell any more what is on disk.
    pub fn sync(&self) -> Result<ValueLogHead> {
        let _turn = self.syncing.lock();
        self.failure.check()?;
        let dirty = self.dirty_segments();
        let Some((newest, bytes)) = dirty.last() else {
            return Ok(self.synced());
        };
        for (open, _) in &dirty {
            open.handle.sync().map_err(|cause| self.failure.latch(cause))?;
        }
        if dirty.iter().any(|(open, _)| !open.name_synced.load(Ordering::Acquire)) {
            self.vfs.sync_dir(&self.dir).map_err(|cause| self.failure.latch(cause))?;
        }
        self.synced.raise(newest.head_at(*bytes));
        for (open, bytes) in &dirty {
            open.note_synced(*bytes);
        }
        Ok(self.synced())
    }

    /// What is to be synced now, oldest first, each up to its bytes. All but the last are full, so nothing comes behind
    /// their bytes any more.
    fn dirty_segments(&self) -> Vec<(Arc<OpenSegment>, u64)> {
        let open_segments = self.open_segments.lock();
        let with_bytes = |open: &Arc<OpenSegment>| (Arc::clone(open), open.segment.readable_bytes());
        open_segments.iter().map(with_bytes).filter(|(open, bytes)| open.is_dirty(*bytes)).collect()
    }
}
