//! Syncs a log from any thread while its writer appends, and knows how far it is durable.
//!
//! Invariants
//! 1. `synced` never passes what a sync that succeeded had seen appended before it started.
//! 2. After one failure no sync is tried again: the system may have dropped the bytes, and a second try that "succeeds"
//!    would prove nothing. Every later call is told the first cause.
//!
//! Lock order: `failure` is held over the system call, so that concurrent callers share one sync; nothing else is
//! locked under it.

use std::fmt;
use std::sync::Arc;

use base::sync::Mutex;
use base::sync::atomic::{AtomicU64, Ordering};
use vfs::SyncHandle;

use crate::Result;

/// The value of `synced` after a failure.
const FAILED: u64 = u64::MAX;

/// Makes a log durable. Shared by the [`LogWriter`](crate::LogWriter) and whoever syncs for it.
pub struct LogSync {
    handle: Arc<dyn SyncHandle>,
    appended: AtomicU64,
    synced: AtomicU64,
    /// The first cause, and how far the log was durable before it.
    failure: Mutex<Option<(vfs::Error, u64)>>,
}

impl LogSync {
    pub(crate) fn new(handle: Arc<dyn SyncHandle>) -> Self {
        Self { handle, appended: AtomicU64::new(0), synced: AtomicU64::new(0), failure: Mutex::new(None) }
    }

    /// Makes durable every record whose append returned before this call, and returns the offset in the log up to which
    /// it is now durable. Costs nothing where that is so already.
    ///
    /// # Errors
    /// When the system could not write, now or at any earlier sync of this log.
    pub fn sync(&self) -> Result<u64> {
        self.run(false, || self.handle.sync())
    }

    /// The offset in the log up to which it is durable.
    #[must_use]
    pub fn synced(&self) -> u64 {
        match self.synced.load(Ordering::Acquire) {
            FAILED => self.failure.lock().as_ref().map_or(0, |(_, synced)| *synced),
            synced => synced,
        }
    }

    /// How far the log is durable, or why it never will be: one load on the way of every append.
    pub(crate) fn synced_unless_failed(&self) -> Result<u64> {
        match self.synced.load(Ordering::Acquire) {
            FAILED => self.run(true, || Ok(())),
            synced => Ok(synced),
        }
    }

    /// Notes that whole records now end at `end`.
    pub(crate) fn note_appended(&self, end: u64) {
        self.appended.store(end, Ordering::Release);
    }

    /// Syncs by other means, even if nothing was appended since the last time.
    pub(crate) fn sync_through(&self, sync: impl FnOnce() -> vfs::Result<()>) -> Result<u64> {
        self.run(true, sync)
    }

    fn run(&self, always: bool, sync: impl FnOnce() -> vfs::Result<()>) -> Result<u64> {
        let mut failure = self.failure.lock();
        if let Some((cause, _)) = &*failure {
            return Err(cause.duplicate().into());
        }
        // Under the lock, so that whoever waited for another caller's sync may find its own records covered by it.
        let appended = self.appended.load(Ordering::Acquire);
        let synced = self.synced.load(Ordering::Acquire);
        if !always && appended <= synced {
            return Ok(synced);
        }
        if let Err(cause) = sync() {
            *failure = Some((cause.duplicate(), synced));
            self.synced.store(FAILED, Ordering::Release);
            return Err(cause.into());
        }
        self.synced.store(appended, Ordering::Release);
        Ok(appended)
    }
}

impl fmt::Debug for LogSync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSync")
            .field("appended", &self.appended.load(Ordering::Relaxed))
            .field("synced", &self.synced.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}
