//! What there is of garbage, and why it is still there.

use std::fmt;

use base::sync::atomic::Ordering;
use vlog::SegmentStatistics;

use crate::gc::choice::{is_worth_it, live_bytes};
use crate::store::Store;

/// The garbage of a store and its collection.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GcStatus {
    /// Whether a collection runs now.
    pub running: bool,
    /// Whether collections are held back.
    pub paused: bool,
    /// Bytes of all segments.
    pub total_bytes: u64,
    /// Bytes of records that are not known to be dead.
    pub live_bytes: u64,
    /// Bytes of records that are known to be dead.
    pub dead_bytes: u64,
    /// Bytes of garbage that flushes and compactions have still to find, as far as samples of the writes tell.
    pub surmised_dead_bytes: u64,
    /// Segments that were collected and whose files are still there, since a reader holds them or they are about to be
    /// removed.
    pub held_segments: usize,
    /// Bytes of those.
    pub held_bytes: u64,
    /// Collections since the store was opened.
    pub collections: u64,
    /// Bytes that they copied.
    pub bytes_rewritten: u64,
    /// Bytes that the value log became shorter by.
    pub bytes_reclaimed: u64,
    /// Each segment, oldest first.
    pub segments: Vec<SegmentStatus>,
}

/// One segment of the value log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SegmentStatus {
    /// Its number.
    pub segment: u32,
    /// Bytes of its file.
    pub file_bytes: u64,
    /// Its records, dead ones included.
    pub records: u64,
    /// Those that are dead.
    pub dead_records: u64,
    /// Bytes of records that are not known to be dead.
    pub live_bytes: u64,
    /// Bytes of records that are known to be dead.
    pub dead_bytes: u64,
    /// Whether it holds what was left of other segments.
    pub collected: bool,
    /// What automatic collection makes of it.
    pub verdict: GcVerdict,
}

/// Why a segment is, or is not, collected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GcVerdict {
    /// It has enough garbage, and goes when its turn comes.
    Due,
    /// It has enough garbage, but the log as a whole has too little for anything to be collected: no more than its target, or
    /// than a sixteenth of [`Options::value_log_file_size`](crate::Options::value_log_file_size) (of 512 MiB, if that is less),
    /// which is left alone.
    LittleInAll,
    /// So little of it is garbage that copying the rest is not worth it.
    LittleGarbage,
    /// It is appended to, or is still to be sealed.
    NotSealed,
    /// It could not be read, for this reason. Tried again once the store was opened anew, or, where its dead set is damaged,
    /// after [`Gc::rebuild`](crate::Gc::rebuild).
    Damaged(String),
    /// Collection is left to the caller.
    ManualOnly,
}

impl fmt::Display for GcVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Due => f.write_str("due"),
            Self::LittleInAll => f.write_str("left alone: the whole log has too little garbage"),
            Self::LittleGarbage => f.write_str("left alone: too little garbage"),
            Self::NotSealed => f.write_str("left alone: not sealed yet"),
            Self::Damaged(cause) => write!(f, "left alone: damaged: {cause}"),
            Self::ManualOnly => f.write_str("left to collections by hand"),
        }
    }
}

impl Store {
    pub(crate) fn gc_status(&self) -> GcStatus {
        let damaged = self.garbage.damaged();
        let outlook = self.outlook();
        let has_enough = |auto| outlook.is_over_target(auto) && outlook.dead > self.garbage_left_alone();
        let verdict = |of: &SegmentStatistics| match (damaged.get(&of.segment), self.options.gc.auto()) {
            (Some(cause), _) => GcVerdict::Damaged(cause.clone()),
            _ if !of.sealed => GcVerdict::NotSealed,
            (None, None) => GcVerdict::ManualOnly,
            (None, Some(_)) if !is_worth_it(of, 0.0) => GcVerdict::LittleGarbage,
            (None, Some(auto)) if has_enough(auto) => GcVerdict::Due,
            (None, Some(_)) => GcVerdict::LittleInAll,
        };
        let (held_segments, held_bytes) = self.value_log.retired_segments();
        let mut status = GcStatus {
            held_segments,
            held_bytes,
            running: self.garbage.is_running(),
            paused: self.garbage.is_paused(),
            surmised_dead_bytes: self.garbage.surmised_bytes(),
            collections: self.counters.gc_collections.load(Ordering::Relaxed),
            bytes_rewritten: self.counters.gc_bytes_rewritten.load(Ordering::Relaxed),
            bytes_reclaimed: self.counters.gc_bytes_reclaimed.load(Ordering::Relaxed),
            ..GcStatus::default()
        };
        for of in self.value_log.statistics() {
            status.total_bytes += of.file_bytes;
            status.live_bytes += live_bytes(&of);
            status.dead_bytes += of.dead_bytes;
            status.segments.push(SegmentStatus {
                segment: of.segment.0,
                file_bytes: of.file_bytes,
                records: of.records,
                dead_records: of.dead_records,
                live_bytes: live_bytes(&of),
                dead_bytes: of.dead_bytes,
                collected: of.collected,
                verdict: verdict(&of),
            });
        }
        status
    }
}
