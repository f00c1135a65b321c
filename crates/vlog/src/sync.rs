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

    fn is_dirty(&self) -> bool {
        !self.name_synced.load(Ordering::Acquire)
            || self.synced_bytes.load(Ordering::Acquire) < self.segment.readable_bytes()
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
        let goal = self.head();
        let mut done = None;
        // Every segment before the goal's is full, so none of them can grow once it was passed.
        while let Some(open) = self.first_dirty(done, goal) {
            let bytes = open.segment.readable_bytes();
            open.handle.sync().map_err(|cause| self.failure.latch(cause))?;
            if !open.name_synced.load(Ordering::Acquire) {
                self.vfs.sync_dir(&self.dir).map_err(|cause| self.failure.latch(cause))?;
            }
            open.note_synced(bytes);
            self.synced.raise(open.head_at(bytes));
            done = Some(open.segment.id());
        }
        Ok(self.synced())
    }

    fn first_dirty(&self, done: Option<base::SegmentId>, goal: ValueLogHead) -> Option<Arc<OpenSegment>> {
        let open_segments = self.open_segments.lock();
        let mut wanted = open_segments
            .iter()
            .filter(|open| open.segment.id() <= goal.segment && done.is_none_or(|done| open.segment.id() > done));
        wanted.find(|open| open.is_dirty()).cloned()
    }
}
