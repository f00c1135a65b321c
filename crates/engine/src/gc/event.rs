//! What a store tells of garbage collection while it goes on.

use std::fmt;
use std::sync::Arc;

pub use vlog::CollectStep as GcStep;

use crate::Error;
use crate::gc::GcReport;

/// Is told of what a store does by itself. Each method does nothing unless it is written.
///
/// It is called by the thread that does the work, which waits for it, while no lock is held that a read or a write needs.
/// So it may read and write the store; it must neither close it nor drop its last handle, and a panic in a background
/// thread makes the store read-only.
pub trait EventListener: Send + Sync {
    /// Garbage collection of the value log has come to this.
    fn gc(&self, event: &GcEvent) {
        let _ = event;
    }
}

/// What garbage collection has come to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum GcEvent {
    /// The tree is to be flushed and compacted, so that garbage in it becomes known.
    Searching,
    /// These segments, by their numbers, are to be collected together.
    Began {
        /// Ascending.
        segments: Vec<u32>,
    },
    /// The next step of the collection begins.
    Step(GcStep),
    /// A piece was copied.
    Progress {
        /// Its length.
        bytes: u64,
    },
    /// The collection is over: its segments are replaced, unless the report says that it was interrupted.
    Ended {
        /// Of this collection alone.
        report: GcReport,
    },
    /// The collection has failed, and has changed nothing.
    Failed {
        /// Why.
        cause: Error,
    },
    /// What died in a segment cannot be noted, as its dead set is damaged, or a list of what died is: it leaks until
    /// [`Gc::rebuild`](crate::Gc::rebuild) finds it. Told once for each segment.
    Leaking {
        /// The segment, where it is one.
        segment: Option<u32>,
        /// The file, and what is wrong with it.
        cause: Error,
    },
    /// Files of segments that were collected are gone, as nobody reads them any more.
    Unlinked {
        /// Of how many segments.
        segments: usize,
    },
}

/// Whom the store tells, if anyone.
#[derive(Clone, Default)]
pub(crate) struct Events(pub(crate) Option<Arc<dyn EventListener>>);

impl Events {
    pub(crate) fn gc(&self, event: impl FnOnce() -> GcEvent) {
        if let Some(listener) = &self.0 {
            listener.gc(&event());
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a listener" } else { "none" })
    }
}
