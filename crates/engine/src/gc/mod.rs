//! Garbage collection of the value log, as its users see it. How it works inside is told at its parts: [`choice`] says
//! what is worth collecting, [`collector`] does it, [`found`] knows how much garbage there is.

mod choice;
mod collector;
mod event;
mod found;
mod pace;
mod policy;
mod repair;
mod status;
mod surmised;

use std::sync::Arc;

use base::SegmentId;

use crate::handle::Handle;
use crate::{Db, Error, Result};

pub(crate) use event::Events;
pub use event::{EventListener, GcEvent, GcStep};
pub(crate) use found::Garbage;
pub(crate) use pace::GcPace;
pub use policy::{AutoGc, GcPolicy};
pub use repair::GarbageCheck;
pub use status::{GcStatus, GcVerdict, SegmentStatus};

/// What one call of [`Gc::run_once`] collects.
#[derive(Clone, Copy, Debug)]
#[must_use = "options do nothing until a collection is started with them"]
pub struct GcOptions {
    discard_ratio: f64,
    dry_run: bool,
    find_garbage: bool,
}

impl GcOptions {
    /// Every segment of which at least half is known to be dead.
    pub fn new() -> Self {
        Self { discard_ratio: 0.5, dry_run: false, find_garbage: false }
    }

    /// Least dead part of a segment for it to be collected, above 0 and below 1 (default 0.5). Badger:
    /// `RunValueLogGC(discardRatio)`.
    pub fn discard_ratio(mut self, ratio: f64) -> Self {
        self.discard_ratio = ratio;
        self
    }

    /// Only says what would be collected, by the garbage that is known, and changes nothing: also where the store is open for
    /// reading only (default: false).
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Flushes, and compacts the tables that point to the value log, before anything is looked for, so that all garbage is
    /// known (default: false). Costs as much as the tables have bytes.
    pub fn find_garbage(mut self, find: bool) -> Self {
        self.find_garbage = find;
        self
    }
}

impl Default for GcOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// What a call of [`Gc::run_once`] did. Nothing to do is no error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcReport {
    /// Nothing was done, as another collection is running.
    pub already_running: bool,
    /// Nothing, or not all, was done, as collections are paused or the store is being closed.
    pub interrupted: bool,
    /// Numbers of the segments that were collected, or would be.
    pub segments: Vec<u32>,
    /// Bytes of their files.
    pub bytes_replaced: u64,
    /// Bytes of what was alive in them and was written anew, or would be.
    pub bytes_rewritten: u64,
}

impl GcReport {
    /// Bytes that the value log became shorter by, or would.
    #[must_use]
    pub fn bytes_reclaimed(&self) -> u64 {
        self.bytes_replaced.saturating_sub(self.bytes_rewritten)
    }

    fn add(&mut self, segments: &[SegmentId], replaced: u64, rewritten: u64) {
        self.segments.extend(segments.iter().map(|segment| segment.0));
        self.bytes_replaced += replaced;
        self.bytes_rewritten += rewritten;
    }
}

/// Garbage collection of a store's value log by hand, and what it does by itself. From [`Db::gc`].
///
/// ```
/// use engine::{GcOptions, GcPolicy, Options};
///
/// let db = Options::new().gc(GcPolicy::Manual).open_in_memory()?;
/// db.insert("large", vec![1; 100_000])?;
/// db.insert("large", vec![2; 100_000])?;
/// let report = db.gc().run_once(GcOptions::new().discard_ratio(0.3).find_garbage(true))?;
/// assert!(!report.already_running);
/// assert_eq!(db.get("large")?.as_deref(), Some(&[2; 100_000][..]));
/// # Ok::<(), engine::Error>(())
/// ```
#[derive(Debug)]
pub struct Gc {
    handle: Arc<Handle>,
}

impl Db {
    /// Garbage collection of the value log.
    #[must_use]
    pub fn gc(&self) -> Gc {
        Gc { handle: Arc::clone(&self.handle) }
    }
}

impl Gc {
    /// Collects every segment with enough known garbage, now and at full speed. Reads and writes go on meanwhile.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a discard ratio that is not above 0 and below 1,
    /// [`Corruption`](crate::ErrorKind::Corruption) where what is to be collected is damaged (it stays as it is;
    /// all others are collected), [`ReadOnly`](crate::ErrorKind::ReadOnly), [`NoSpace`](crate::ErrorKind::NoSpace) and
    /// [`Io`](crate::ErrorKind::Io) as writes.
    pub fn run_once(&self, options: GcOptions) -> Result<GcReport> {
        if !(options.discard_ratio > 0.0 && options.discard_ratio < 1.0) {
            let given = options.discard_ratio;
            return Err(Error::invalid(format!("a discard ratio must be above 0 and below 1, not {given}")));
        }
        if options.dry_run {
            self.handle.check_readable()?;
        } else {
            self.handle.check_writable()?;
        }
        self.handle.collect_by_hand(&options)
    }

    /// Holds collections back, automatic ones and those by hand, until what is returned is dropped. One that is running
    /// ends at its next step and has changed nothing then.
    #[must_use = "collections go on as soon as this is dropped"]
    pub fn pause(&self) -> GcPaused {
        self.handle.garbage.pause();
        self.handle.value_pacer.set_rate(None);
        GcPaused { handle: Arc::clone(&self.handle) }
    }

    /// What there is of garbage, segment by segment, and what collections have done. Reads no file.
    #[must_use]
    pub fn status(&self) -> GcStatus {
        self.handle.gc_status()
    }
}

/// Holds collections back while it lives. From [`Gc::pause`].
#[derive(Debug)]
pub struct GcPaused {
    handle: Arc<Handle>,
}

impl Drop for GcPaused {
    fn drop(&mut self) {
        self.handle.garbage.resume();
        self.handle.workers.wake_collector();
    }
}
