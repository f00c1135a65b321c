//! The oracle that a store's threads share: what is visible, who reads where, and how a transaction validates itself.
//!
//! Invariants
//! 1. A mark is registered at the visible version, and the discard version is raised, under one short lock: no reader
//!    ever sits below the discard version, which is never above the visible one.
//! 2. A validation loads the visible version before it looks at the conflict table.
//!
//! Lock order: the caller's commit lock, then any one of the marks, the range list, the parking lot. The last three are
//! leaves: nothing is taken under them.

use std::fmt;
use std::sync::OnceLock;

use base::Version;
use base::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use base::sync::{Arc, Mutex};

use crate::commit_order::CommitOrder;
use crate::conflict_table::ConflictTable;
use crate::error::{Cause, OpenError, Poisoned, RegisterError};
use crate::fault::{Fault, Faults};
use crate::marks::{MarkKey, Marks};
use crate::options::OracleOptions;
use crate::read_mark::{Access, ReadMark};
use crate::validation::Validation;
use crate::watermark::{Padded, VERSION_MAX, Watermark};

/// A handle to the shared state; clones share it.
#[derive(Clone, Debug)]
pub struct Oracle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    watermark: Watermark,
    marks: Padded<Mutex<Marks>>,
    /// Open read-write marks. Changed under the marks' lock, read without: a commit that reads an old count either
    /// records for nobody, or leaves the mark that makes a transaction below it look every read up.
    read_write: Padded<AtomicUsize>,
    conflicts: ConflictTable,
    oldest_closed: OldestClosed,
    faults: Faults,
}

/// Who waits for the oldest mark to be closed.
#[derive(Default)]
struct OldestClosed {
    is_awaited: AtomicBool,
    listener: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl OldestClosed {
    fn tell(&self) {
        if let Some(listener) = self.listener.get() {
            listener();
        }
    }
}

impl fmt::Debug for OldestClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OldestClosed").field("is_awaited", &self.is_awaited).finish_non_exhaustive()
    }
}

impl Oracle {
    /// An oracle for a store whose newest version is `last_version` and that may assign versions up to
    /// `version_ceiling`, and the order of its commits for the inside of the caller's commit lock.
    ///
    /// # Errors
    /// When there is no version left, or an option is out of bounds.
    pub fn new(
        last_version: Version,
        version_ceiling: Version,
        options: &OracleOptions,
    ) -> Result<(Self, CommitOrder), OpenError> {
        options.check()?;
        if last_version >= VERSION_MAX {
            return Err(OpenError::VersionTooHigh { expected: VERSION_MAX - 1, found: last_version });
        }
        #[cfg(loom)]
        let faults = options.faults;
        #[cfg(not(loom))]
        let faults = Faults;
        let shared = Shared {
            watermark: Watermark::new(last_version, options.in_flight_max.next_power_of_two(), faults),
            marks: Padded(Mutex::new(Marks::default())),
            read_write: Padded(AtomicUsize::new(0)),
            conflicts: ConflictTable::new(options.conflict_slots.next_power_of_two()),
            oldest_closed: OldestClosed::default(),
            faults,
        };
        let order = CommitOrder::new(last_version, version_ceiling, options.recent_bytes_max);
        Ok((Self(Arc::new(shared)), order))
    }

    /// The newest version such that it and all before it can be read: one atomic load. A reader of one key pins what it
    /// reads first and asks this second; all others [`register`](Self::register).
    #[must_use]
    #[inline]
    pub fn visible(&self) -> Version {
        self.0.watermark.visible()
    }

    /// The newest version assigned, as far as this thread knows.
    #[must_use]
    pub fn last_assigned(&self) -> Version {
        self.0.watermark.assigned()
    }

    /// Registers a reader at the visible version, with the clock as the caller just read it. Whoever reads more than one
    /// key registers first and pins what it reads after.
    #[must_use]
    pub fn register(&self, access: Access, now_seconds: u64) -> ReadMark {
        let early = self.0.faults.plants(Fault::VisibleReadBeforeRegistering).then(|| self.visible());
        let mut marks = self.0.marks.0.lock();
        let key = marks.open(early.unwrap_or_else(|| self.visible()), now_seconds);
        self.count_read_write(access);
        drop(marks);
        ReadMark::new(self.clone(), key, access)
    }

    /// Registers a reader at an older version.
    ///
    /// # Errors
    /// When `version` is below the discard version or above the visible one.
    pub fn register_at(&self, version: Version, access: Access, now_seconds: u64) -> Result<ReadMark, RegisterError> {
        let mut marks = self.0.marks.0.lock();
        let (discard, visible) = (marks.discard(), self.visible());
        if version < discard {
            return Err(RegisterError::BelowDiscard { requested: version, discard });
        }
        if version > visible {
            return Err(RegisterError::AboveVisible { requested: version, visible });
        }
        let key = marks.open(version, now_seconds);
        self.count_read_write(access);
        drop(marks);
        Ok(ReadMark::new(self.clone(), key, access))
    }

    /// The highest version such that no reader, now or later, sees anything older than the newest entry at or below it:
    /// that of the oldest open mark, or the visible one. A compaction asks once, at its start.
    #[must_use]
    pub fn discard_version(&self) -> Version {
        let mut marks = self.0.marks.0.lock();
        let visible = self.visible();
        marks.raise_discard(visible)
    }

    /// The earliest time that an open reader counts with, or `current_seconds`: what had not expired then must stay.
    /// Readers that register later count with at least `current_seconds`.
    #[must_use]
    pub fn oldest_now(&self, current_seconds: u64) -> u64 {
        self.0.marks.0.lock().oldest_now_seconds(current_seconds)
    }

    /// Has `listener` called, from whichever thread closes it, when the oldest mark, by version or by time, is closed after a call of
    /// [`tell_when_oldest_closes`](Self::tell_when_oldest_closes): it must not wait for anything. Once.
    pub fn on_oldest_closed(&self, listener: impl Fn() + Send + Sync + 'static) {
        // Only the first listener counts.
        let _ = self.0.oldest_closed.listener.set(Box::new(listener));
    }

    /// Has the listener told, once, when the oldest mark is closed. Whoever asks for the discard version, or for the oldest
    /// time, afterwards either sees that it has risen or is told.
    pub fn tell_when_oldest_closes(&self) {
        self.0.oldest_closed.is_awaited.store(true, Ordering::Relaxed);
    }

    /// Version and time of the oldest open mark, for metrics.
    #[must_use]
    pub fn oldest_mark(&self) -> Option<(Version, u64)> {
        self.0.marks.0.lock().oldest().map(|oldest| (oldest.version, oldest.now_seconds))
    }

    /// Number of open marks, for metrics.
    #[must_use]
    pub fn open_marks(&self) -> u64 {
        self.0.marks.0.lock().count()
    }

    /// Whether commits must be recorded: one atomic load. [`CommitOrder::record`] asks by itself.
    #[must_use]
    #[inline]
    pub fn has_read_write(&self) -> bool {
        self.0.read_write.0.load(Ordering::Relaxed) > 0
    }

    /// Begins the part of a commit's validation that runs in the transaction's own thread. Pin what is looked at
    /// **after** this call.
    #[must_use]
    #[inline]
    pub fn validation(&self, mark: &ReadMark) -> Validation<'_> {
        let read_version = mark.version();
        let early = self.0.faults.plants(Fault::WatermarkReadLast).then(|| self.0.conflicts.filter(read_version));
        let up_to = self.visible();
        // Nothing became visible since the transaction began: there is nothing to look at.
        let filter = (up_to > read_version).then(|| early.unwrap_or_else(|| self.0.conflicts.filter(read_version)));
        Validation { conflicts: &self.0.conflicts, up_to, filter }
    }

    /// Returns once `version`, which has been assigned, is visible: at once if it is, else after a short spin, one yield
    /// and then asleep.
    ///
    /// # Errors
    /// When no more commits are taken and this version will never be visible.
    #[inline]
    pub fn wait_visible(&self, version: Version) -> Result<(), Poisoned> {
        self.0.watermark.wait(version)
    }

    /// Takes no more commits, with this cause unless there is one already (then the answer is false). Commits that have
    /// their version still become visible, unless one before them was lost.
    pub fn poison(&self, cause: Cause) -> bool {
        self.0.watermark.poison(cause)
    }

    /// Why no more commits are taken, if so.
    #[must_use]
    pub fn poisoned(&self) -> Option<Poisoned> {
        self.0.watermark.poisoned_by()
    }

    pub(crate) fn watermark(&self) -> &Watermark {
        &self.0.watermark
    }

    pub(crate) fn conflicts(&self) -> &ConflictTable {
        &self.0.conflicts
    }

    pub(crate) fn faults(&self) -> Faults {
        self.0.faults
    }

    /// One more mark beside an open one.
    pub(crate) fn add_mark(&self, key: MarkKey, access: Access) {
        let mut marks = self.0.marks.0.lock();
        marks.add(key);
        self.count_read_write(access);
    }

    #[inline]
    pub(crate) fn close_mark(&self, key: MarkKey, access: Access) {
        let mut marks = self.0.marks.0.lock();
        marks.close(key);
        if access == Access::ReadWrite {
            self.0.read_write.0.fetch_sub(1, Ordering::Relaxed);
        }
        if !self.0.oldest_closed.is_awaited.load(Ordering::Relaxed) {
            return;
        }
        let was_oldest = marks.oldest().is_none_or(|oldest| oldest > key) || marks.is_earlier(key);
        drop(marks);
        if was_oldest && self.0.oldest_closed.is_awaited.swap(false, Ordering::Relaxed) {
            self.0.oldest_closed.tell();
        }
    }

    fn count_read_write(&self, access: Access) {
        if access == Access::ReadWrite {
            self.0.read_write.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}
