//! What is counted of a segment, and what becomes of its files once it was collected and nobody holds it any more.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use base::SegmentId;
use base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use base::sync::{Arc, Mutex};

use crate::dead_set::DeadSet;

/// What is counted of a segment; shared by all handles of it, so that it goes with the last of them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) records: AtomicU64,
    pub(crate) dead_records: AtomicU64,
    pub(crate) dead_bytes: AtomicU64,
    /// Whether a dead set was written.
    pub(crate) has_dead_set: AtomicBool,
    /// Set once no manifest lists the segment: its files may go with the last handle.
    retired: OnceLock<(SegmentId, Arc<Released>)>,
}

impl Tally {
    /// Notes what is dead now.
    pub(crate) fn note_dead(&self, dead: &DeadSet) {
        self.dead_records.store(dead.records(), Ordering::Relaxed);
        self.dead_bytes.store(dead.bytes(), Ordering::Relaxed);
    }

    /// Notes the dead set that stands now, on disk too.
    pub(crate) fn note_dead_set(&self, dead: &DeadSet) {
        self.note_dead(dead);
        self.has_dead_set.store(true, Ordering::Release);
    }

    /// Says that the files of the segment, of `bytes`, may go once nobody holds it.
    pub(crate) fn retire(&self, id: SegmentId, bytes: u64, released: &Arc<Released>) {
        // Only the first time counts, and there is no second: a segment is collected once.
        if self.retired.set((id, Arc::clone(released))).is_ok() {
            released.retired.lock().insert(id, Retired { bytes, stage: Stage::Held });
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if let Some((id, released)) = self.retired.take() {
            released.push(id);
        }
    }
}

type Listener = Box<dyn Fn() + Send + Sync>;

/// Collected segments that nobody holds any more, until their files are removed. No file is touched where the last
/// handle is dropped: that may be under any lock.
#[derive(Default)]
pub(crate) struct Released {
    segments: Mutex<Vec<SegmentId>>,
    /// Each segment that was collected and has files yet.
    retired: Mutex<BTreeMap<SegmentId, Retired>>,
    listener: OnceLock<Listener>,
}

struct Retired {
    bytes: u64,
    stage: Stage,
}

#[derive(PartialEq, Eq)]
enum Stage {
    /// Some set of segments may have it yet.
    Held,
    /// Its files are to be removed.
    Released,
    /// They could not be.
    Stuck,
}

impl Released {
    /// Calls `listener` whenever a segment is released, from wherever that happens: it must not wait for anything.
    pub(crate) fn listen(&self, listener: Listener) {
        let _ = self.listener.set(listener);
    }

    pub(crate) fn push(&self, id: SegmentId) {
        if let Some(retired) = self.retired.lock().get_mut(&id) {
            retired.stage = Stage::Released;
        }
        self.segments.lock().push(id);
        if let Some(listener) = self.listener.get() {
            listener();
        }
    }

    /// Keeps one that could not be removed. Nobody is told: it would be tried again at once.
    pub(crate) fn put_back(&self, id: SegmentId) {
        if let Some(retired) = self.retired.lock().get_mut(&id) {
            retired.stage = Stage::Stuck;
        }
        self.segments.lock().push(id);
    }

    /// The files of a segment are gone.
    pub(crate) fn removed(&self, id: SegmentId) {
        self.retired.lock().remove(&id);
    }

    /// How many collected segments have files yet, and their bytes.
    pub(crate) fn retired(&self) -> (usize, u64) {
        let retired = self.retired.lock();
        (retired.len(), retired.values().map(|retired| retired.bytes).sum())
    }

    /// How many of them are to be removed, and their bytes; not those for which that failed.
    pub(crate) fn released(&self) -> (usize, u64) {
        let retired = self.retired.lock();
        let released = retired.values().filter(|retired| retired.stage == Stage::Released);
        released.fold((0, 0), |(count, bytes), retired| (count + 1, bytes + retired.bytes))
    }

    pub(crate) fn take(&self) -> Vec<SegmentId> {
        std::mem::take(&mut *self.segments.lock())
    }
}

impl fmt::Debug for Released {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Released").field("segments", &*self.segments.lock()).finish_non_exhaustive()
    }
}
