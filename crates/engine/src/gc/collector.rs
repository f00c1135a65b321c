//! Collects garbage: one step at a time in a background thread, or all that there is by hand.
//!
//! If more of the log is garbage than the target allows, a step collects what of the known part is most worth it. Once
//! enough is only surmised, it also asks for a search, which a compactor makes meanwhile: memtables are flushed, and the
//! tables that point to values compacted, so that the tree says what is dead. An idle store does nothing, and a store that
//! is only written to once does neither. Files of collected segments that nobody holds any more are removed by the flusher.
//!
//! A collection holds nothing that commits or reads wait for. Its pace follows that of the writers, faster the nearer
//! garbage is to its cap; from half the way on writers of large values are slowed, so that it stays below.

use std::ops::ControlFlow;
use std::path::Path;

use base::{EntryKind, EntryRef, PointerPayload, SegmentId, ValuePointer, Version};
use lsm_levels::TreeVersion;
use vlog::{CollectContext, Collection, SegmentStatistics};

use crate::batch::Operation;
use crate::counters::add;
use crate::gc::choice::{choose, choose_small, is_worth_it, live_bytes, record_bytes};
use crate::gc::{AutoGc, GcEvent, GcOptions, GcReport};
use crate::read::Bounds;
use crate::store::Store;
use crate::workers::Job;
use crate::{Error, Result};

/// Segments are kept to this part of what lives, so that garbage can be told apart from it and little waits in the one
/// that is appended to; within the bounds of the option and this minimum.
const SEGMENTS_WANTED: u64 = 96;
const ROLL_BYTES_MIN: u64 = 8 << 20;

/// A log with less than a file of the longest, or than this, may be garbage to a larger part; less than this part of it is
/// left alone.
const SMALL_LOG_BYTES: u64 = 512 << 20;
const GARBAGE_PART_MIN: u64 = 16;

/// Garbage is searched for once at least so large a part of the value log is surmised.
const SEARCH_PART_MIN: f64 = 0.02;

/// What one more part of the log that is garbage and not known adds to the bytes written for each byte that a user writes:
/// between that of keys overwritten alike, 5, and of some overwritten far more often, 2.3, near the usual target.
const COST_OF_UNKNOWN: f64 = 3.5;

/// With more segments than this to be removed the flusher is behind, and the collector helps it first.
const RELEASED_SEGMENTS_MAX: usize = 2;

/// Every so many large writes, and every so many others, one looks at what it hides.
const SAMPLE_LARGE: u64 = 16;
const SAMPLE_OTHER: u64 = 64;

/// Bytes a second that collection goes at without writers, at the target and at the cap.
const RATE_AT_TARGET: f64 = 64e6;
const RATE_AT_CAP: f64 = 2e9;

/// Bytes of values a second that are taken half the way between target and cap, and at the cap.
const WRITE_RATE_FIRST: f64 = 1e9;
const WRITE_RATE_LAST: f64 = 4e6;

/// What a choice is made by.
pub(super) struct Outlook {
    segments: Vec<SegmentStatistics>,
    total: u64,
    pub(super) dead: u64,
    surmised: u64,
    /// Bytes of the tables that point to values, and of the memtables: what a search for garbage writes.
    pointing_tables: u64,
}

impl Outlook {
    fn garbage(&self) -> u64 {
        (self.dead + self.surmised).min(self.total)
    }

    /// Whether more of the log is garbage, as far as it can be told, than it may be.
    pub(super) fn is_over_target(&self, auto: &AutoGc) -> bool {
        self.garbage() as f64 > self.total as f64 * auto.garbage_target
    }

    /// How much has to be surmised for a search: so much that what searches write, and what is copied for want of them, is
    /// least in sum; but no more than half the target, so that enough is known when it is reached.
    fn search_at(&self, auto: &AutoGc) -> u64 {
        let total = self.total as f64;
        let best = (self.pointing_tables as f64 * total / COST_OF_UNKNOWN).sqrt();
        best.max(total * SEARCH_PART_MIN).min(total * auto.garbage_target / 2.0) as u64
    }
}

impl Store {
    /// Does one piece of automatic collection; `false` if there is none to do.
    pub(crate) fn gc_step(&self) -> Result<bool> {
        if self.health.cause().is_some() {
            return Ok(false);
        }
        self.tell_what_is_untold();
        let worked = self.collect_step();
        if !matches!(worked, Ok(true)) {
            // The flusher removes files meanwhile, unless it has failed.
            self.remove_released_if_possible();
        }
        worked
    }

    fn collect_step(&self) -> Result<bool> {
        let Some(auto) = self.options.gc.auto().filter(|_| !self.garbage.is_paused()) else {
            self.value_pacer.set_rate(None);
            return Ok(false);
        };
        let Some(_turn) = self.garbage.take_turn().filter(|_| !self.workers.is_stopping()) else { return Ok(false) };
        if self.value_log.released_segments().0 > RELEASED_SEGMENTS_MAX {
            self.remove_released_if_possible();
        }
        let outlook = self.outlook();
        self.hold_back_writers(auto, self.garbage_part(outlook.garbage(), outlook.total));
        let roll_bytes = self.set_roll_bytes(&outlook);
        let floor = self.garbage_left_alone();
        if outlook.is_over_target(auto) {
            let is_due = outlook.surmised > outlook.search_at(auto).max(floor);
            let is_asked = is_due && self.garbage.ask_for_search();
            if is_due {
                self.workers.wake_compactors();
            }
            let chosen = if outlook.dead > floor { choose(&outlook.segments, 0.0, roll_bytes) } else { Vec::new() };
            if !chosen.is_empty() {
                return self.collect_or_pass_over(&chosen, &|bytes| self.pace_collection(auto, bytes));
            }
            if is_asked {
                return Ok(true);
            }
        }
        let small = choose_small(&outlook.segments, roll_bytes);
        if small.is_empty() {
            return Ok(false);
        }
        self.collect_or_pass_over(&small, &|bytes| self.pace_collection(auto, bytes))
    }

    pub(crate) fn collect_by_hand(&self, options: &GcOptions) -> Result<GcReport> {
        let is_held_back = || self.garbage.is_paused() || self.workers.is_stopping();
        let mut report = GcReport::default();
        if options.dry_run {
            report.already_running = self.garbage.is_running();
            report.interrupted = !report.already_running && is_held_back();
            if !report.already_running && !report.interrupted {
                self.add_what_would_go(options.discard_ratio, &mut report);
            }
            return Ok(report);
        }
        let Some(turn) = self.garbage.take_turn() else {
            report.already_running = true;
            return Ok(report);
        };
        self.remove_released_if_possible();
        if options.find_garbage && !is_held_back() {
            self.find_garbage(&|| Ok(())).map_err(|error| self.job_failed(error))?;
        }
        // Full segments that the flusher has yet to seal.
        while self.seal_segment().map_err(|error| self.job_failed(error))? {}
        // What comes later is left to the next call, or this one might never end.
        let newest = self.value_log.statistics().iter().map(|of| of.segment).max();
        let unpaced = |_| ControlFlow::Continue(());
        let mut damage = None;
        loop {
            if is_held_back() {
                report.interrupted = true;
                break;
            }
            let mut outlook = self.outlook();
            outlook.segments.retain(|of| Some(of.segment) <= newest);
            let chosen = choose(&outlook.segments, options.discard_ratio, self.set_roll_bytes(&outlook));
            if chosen.is_empty() {
                break;
            }
            match self.collect(&chosen, &unpaced) {
                Ok(Some(done)) => report.add(&chosen, done.bytes_replaced, done.bytes_written),
                Ok(None) => report.interrupted = true,
                Err(error) if self.note_damage(&chosen, &error) => damage = damage.or(Some(self.job_failed(error))),
                Err(error) => return Err(self.job_failed(error)),
            }
        }
        self.remove_released_if_possible();
        drop(turn);
        self.workers.wake_collector();
        damage.map_or(Ok(report), Err)
    }

    /// What a collection by hand would replace and write anew, by what is known.
    fn add_what_would_go(&self, discard_ratio: f64, report: &mut GcReport) {
        for of in self.outlook().segments.iter().filter(|of| is_worth_it(of, discard_ratio)) {
            report.add(&[of.segment], of.file_bytes, live_bytes(of));
        }
    }

    /// Says what `deaths` will kill, and counts it as found.
    pub(crate) fn prepare_deaths(&self, ticket: u64, deaths: &[ValuePointer]) -> Result<()> {
        if let Some(lost) = self.value_log.prepare_deaths(ticket, deaths)? {
            tracing::warn!(cause = %lost, "an entry goes whose value was lost before");
            add(&self.counters.background_failures, 1);
        }
        let bytes = deaths.iter().map(|pointer| u64::from(pointer.len)).sum();
        add(&self.counters.value_bytes_died, bytes);
        self.garbage.note_found(bytes);
        Ok(())
    }

    /// Of every few writes, sees what they hide: garbage that a flush or a compaction will find. A sample that cannot be
    /// read is none: whoever reads the key is told.
    pub(crate) fn sample_hidden<'a>(&self, operations: impl Iterator<Item = Operation<'a>>, version: Version) {
        let large = self.options.value_threshold as usize;
        for (operation, number) in operations.zip(version..) {
            let stride = if operation.value.len() >= large { SAMPLE_LARGE } else { SAMPLE_OTHER };
            // Not every so many: commits of large and small values in turn would meet with that.
            if !number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(8).is_multiple_of(stride) {
                continue;
            }
            let Ok(keyspace) = self.keyspace_by_id(operation.keyspace) else { continue };
            let hidden = keyspace.pin().get(operation.key, version - 1, |_, encoded, _| {
                let entry = EntryRef::decode(encoded).ok().filter(|entry| entry.meta.kind == EntryKind::Pointer);
                let payload = entry.and_then(|entry| PointerPayload::decode(entry.payload).ok());
                Ok(payload.map_or(0, |payload| u64::from(payload.pointer.len)))
            });
            let before = self.garbage.note_hidden(number, hidden.ok().flatten().unwrap_or(0) * stride);
            if self.is_new_mark(before, self.garbage.surmised_bytes()) {
                // The collector may be waiting for the disk, and the writers would go on as before.
                if let Some(auto) = self.options.gc.auto().filter(|_| !self.garbage.is_paused()) {
                    self.hold_back_writers(auto, self.garbage_part_now());
                }
                self.workers.wake_collector();
            }
        }
    }

    /// Whether the collector should look again, as about a segment's worth of garbage is surmised that was not before.
    fn is_new_mark(&self, before: u64, after: u64) -> bool {
        let mark = self.options.value_log_file_size.min(ROLL_BYTES_MIN) / 2;
        before / mark < after / mark
    }

    pub(super) fn outlook(&self) -> Outlook {
        let damaged = self.garbage.damaged();
        let mut segments = self.value_log.statistics();
        segments.retain(|of| !damaged.contains_key(&of.segment));
        let total = segments.iter().map(record_bytes).sum();
        let dead = segments.iter().map(|of| of.dead_bytes).sum();
        let (surmised, pointing_tables) = (self.findable_bytes(), self.pointing_table_bytes());
        Outlook { segments, total, dead, surmised, pointing_tables }
    }

    fn set_roll_bytes(&self, outlook: &Outlook) -> u64 {
        let wanted = outlook.total.saturating_sub(outlook.dead) / SEGMENTS_WANTED;
        let most = self.options.value_log_file_size;
        let roll_bytes = wanted.clamp(ROLL_BYTES_MIN.min(most), most);
        self.value_log.set_roll_bytes(roll_bytes);
        roll_bytes
    }

    /// Bytes of garbage that a search would find. Where readers keep more than is left alone, the collector is told when the
    /// oldest of them has gone.
    fn findable_bytes(&self) -> u64 {
        let findable = self.garbage.findable_bytes(self.oracle.discard_version());
        if self.garbage.surmised_bytes().saturating_sub(findable) <= self.garbage_left_alone() {
            return findable;
        }
        self.oracle.tell_when_oldest_closes();
        self.garbage.findable_bytes(self.oracle.discard_version())
    }

    /// Bytes of the tables that a search writes anew, and of the memtables.
    fn pointing_table_bytes(&self) -> u64 {
        let mut bytes = 0;
        for keyspace in self.keyspaces.load().iter() {
            let view = keyspace.pin();
            if let Some(bounds) = pointing_range(&view.version) {
                let range = bounds.as_range();
                let tables = view.version.all_tables().map(|(_, table)| table.meta());
                let tables = tables.filter(|meta| range.overlaps(&meta.smallest.user_key, &meta.largest.user_key));
                bytes += tables.map(|meta| meta.file_size).sum::<u64>();
            }
            bytes += view.memtables().map(|memtable| memtable.table.used_bytes() as u64).sum::<u64>();
        }
        bytes
    }

    /// Searches for garbage if collection asks for that, which goes on meanwhile with what is known. Compactions that are due
    /// are done in between. A search that fails is told, and made again once there is more to find.
    pub(crate) fn search_step(&self) {
        let Some(_search) = self.garbage.begin_search() else { return };
        let discard = self.oracle.discard_version();
        if let Err(error) = self.find_garbage(&|| self.due_compaction().map(drop)) {
            self.garbage.note_searched(discard);
            if !self.workers.is_stopping() {
                self.note_failed_job(Job::Compaction, self.job_failed(error));
            }
        }
        self.workers.wake_collector();
    }

    /// Has flushes and compactions drop what newer entries hide, so that their values are known to be dead. `in_between`
    /// is called before each compaction.
    fn find_garbage(&self, in_between: &dyn Fn() -> Result<()>) -> Result<()> {
        let discard = self.oracle.discard_version();
        add(&self.counters.gc_searches, 1);
        tracing::debug!(surmised = self.garbage.surmised_bytes(), "the tree is compacted to find garbage");
        self.options.events.gc(|| GcEvent::Searching);
        self.flush_for_garbage()?;
        for keyspace in self.keyspaces.load_full().iter() {
            if let Some(bounds) = pointing_range(&keyspace.pin().version) {
                self.compact_range(keyspace, &bounds, in_between)?;
            }
        }
        self.take_up_deaths()?;
        self.garbage.note_searched(discard);
        Ok(())
    }

    /// As a flush of everything, but where background work runs in the caller's thread: this is a part of that.
    fn flush_for_garbage(&self) -> Result<()> {
        if !self.runs_background_inline() {
            return self.flush_all();
        }
        self.switch_all_memtables()?;
        while self.flush_step()? {}
        Ok(())
    }

    /// Collects, and where a segment is damaged notes that. `false` if it was held back.
    fn collect_or_pass_over(&self, segments: &[SegmentId], pace: &dyn Fn(u64) -> ControlFlow<()>) -> Result<bool> {
        match self.collect(segments, pace) {
            Ok(done) => {
                self.workers.note_success(Job::Collection);
                Ok(done.is_some())
            }
            Err(error) if self.note_damage(segments, &error) => {
                self.note_failed_job(Job::Collection, self.job_failed(error));
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Where what could not be read is one of `segments`, notes that, so that it is in nobody's way; `false` if it is none.
    /// That too many files are open says nothing of any.
    fn note_damage(&self, segments: &[SegmentId], error: &Error) -> bool {
        let corrupt = error.corruption().map(|corruption| corruption.path.as_path());
        let unread = error.file_error().filter(|cause| !cause.is_too_many_files()).map(vfs::Error::path);
        let named = corrupt.or(unread).and_then(segment_of).filter(|named| segments.contains(named));
        if let Some(damaged) = named {
            self.garbage.note_damaged(damaged, &error.to_string());
        }
        named.is_some()
    }

    fn collect(&self, segments: &[SegmentId], pace: &dyn Fn(u64) -> ControlFlow<()>) -> Result<Option<Collection>> {
        let events = &self.options.events;
        let stop = || self.garbage.is_paused() || self.workers.is_stopping();
        let pace = |bytes| {
            if bytes > 0 {
                events.gc(|| GcEvent::Progress { bytes });
            }
            if stop() { ControlFlow::Break(()) } else { pace(bytes) }
        };
        let step = |step| events.gc(|| GcEvent::Step(step));
        events.gc(|| GcEvent::Began { segments: segments.iter().map(|segment| segment.0).collect() });
        let outcome = self.value_log.collect(segments, &CollectContext { pace: &pace, step: &step });
        let done =
            outcome.map_err(Error::from).inspect_err(|cause| events.gc(|| GcEvent::Failed { cause: cause.clone() }))?;
        let mut report = GcReport { interrupted: done.is_none(), ..GcReport::default() };
        if let Some(done) = &done {
            self.install_segments();
            add(&self.counters.gc_collections, 1);
            add(&self.counters.gc_bytes_rewritten, done.bytes_written);
            add(&self.counters.gc_bytes_reclaimed, done.bytes_replaced.saturating_sub(done.bytes_written));
            report.add(segments, done.bytes_replaced, done.bytes_written);
        }
        events.gc(|| GcEvent::Ended { report });
        Ok(done)
    }

    /// Removes the files of collected segments that nobody holds any more. One that cannot be removed is told and tried again
    /// when the next one is to go, and in nobody's way.
    fn remove_released_if_possible(&self) {
        self.remove_released_in_flusher();
        self.tell_what_is_untold();
    }

    /// As [`remove_released_if_possible`](Self::remove_released_if_possible), but leaves it to the collector to tell of it: a
    /// listener may wait for the flusher.
    pub(crate) fn remove_released_in_flusher(&self) {
        match self.value_log.remove_released() {
            Ok(0) => {}
            Ok(segments) => {
                self.garbage.note_unlinked(segments);
                self.workers.wake_collector();
            }
            Err(error) => self.note_failed_job(Job::Collection, self.job_failed(error.into())),
        }
    }

    /// Tells of what was noted elsewhere.
    fn tell_what_is_untold(&self) {
        for event in self.garbage.take_untold() {
            self.options.events.gc(|| event);
        }
        let segments = self.garbage.take_unlinked();
        if segments > 0 {
            self.options.events.gc(|| GcEvent::Unlinked { segments });
        }
    }

    /// Waits as long as `bytes` that were just copied should have taken.
    fn pace_collection(&self, auto: &AutoGc, bytes: u64) -> ControlFlow<()> {
        let part = self.garbage_part_now();
        self.hold_back_writers(auto, part);
        let over = ((part - auto.garbage_target) / (auto.slowdown_start() - auto.garbage_target)).clamp(0.0, 1.0);
        let written = self.gc_pace.written_per_second(self.commit_state.lock().totals.value_log_bytes, &*self.clock);
        let follow = (written * 2.0).max(RATE_AT_TARGET);
        let rate = follow * (RATE_AT_CAP / follow).max(1.0).powf(over);
        let rate = auto.bytes_per_second_max.map_or(rate, |most| rate.min(most as f64));
        self.gc_pace.copied(bytes, rate, &*self.clock);
        while self.gc_pace.wait_a_while(&*self.clock) {
            if self.garbage.is_paused() || self.workers.is_stopping() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// A log with less than this is not worth much haste.
    fn small_log_bytes(&self) -> u64 {
        self.options.value_log_file_size.min(SMALL_LOG_BYTES)
    }

    /// So many bytes of garbage are not worth a collection, whatever the log comes to.
    pub(super) fn garbage_left_alone(&self) -> u64 {
        self.small_log_bytes() / GARBAGE_PART_MIN
    }

    fn garbage_part_now(&self) -> f64 {
        let (total, dead) = self.value_log.record_totals();
        self.garbage_part(dead + self.findable_bytes(), total)
    }

    /// The part of the log that is garbage, what was collected and has files yet included; of a small log, what it would be
    /// of a larger one.
    fn garbage_part(&self, garbage: u64, total: u64) -> f64 {
        // No more than that: where a reader has gone that held much, writers are not to blame.
        let released = self.value_log.released_segments().1.min(total / GARBAGE_PART_MIN);
        let (garbage, total) = (garbage.min(total) + released, total + released);
        garbage as f64 / total.max(self.small_log_bytes()) as f64
    }

    /// Slows writers of large values from half the way between target and cap on.
    fn hold_back_writers(&self, auto: &AutoGc, garbage_part: f64) {
        let start = auto.slowdown_start();
        let over = (garbage_part - start) / (auto.cap() - start);
        let rate = WRITE_RATE_FIRST * (WRITE_RATE_LAST / WRITE_RATE_FIRST).powf(over.min(1.0));
        self.value_pacer.set_rate((over > 0.0).then_some(rate as u64));
    }
}

/// From the first key of a table that points to values to the last one; `None` where none does.
fn pointing_range(version: &TreeVersion) -> Option<Bounds> {
    let pointing = || version.all_tables().map(|(_, table)| table).filter(|table| !table.table().segments().is_empty());
    let first = pointing().map(|table| &table.meta().smallest.user_key).min()?;
    let last = pointing().map(|table| &table.meta().largest.user_key).max()?;
    Some(Bounds::between(first, last))
}

/// The segment whose file, or companion file, is at `path`.
fn segment_of(path: &Path) -> Option<SegmentId> {
    path.file_stem()?.to_str()?.parse().ok().map(SegmentId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_of_large_values_wait_while_there_is_too_much_garbage_and_not_while_collection_is_paused() {
        let db = crate::Options::new().inline_background().open_in_memory().unwrap();
        let held_back = || {
            let before = db.metrics().paced_by_garbage.0;
            (0..10).for_each(|_| db.insert("key", vec![1; 100_000]).unwrap());
            db.metrics().paced_by_garbage.0 - before
        };
        let auto = AutoGc::new();
        let _nobody_else = db.handle.garbage.take_turn();
        db.handle.hold_back_writers(&auto, auto.slowdown_start());
        assert_eq!(held_back(), 0);
        db.handle.hold_back_writers(&auto, auto.cap());
        assert!(held_back() > 0);
        let paused = db.gc().pause();
        assert_eq!(held_back(), 0);
        drop(paused);
        assert!(db.handle.garbage_part(1 << 20, 1 << 20) < 0.01, "a small log");
        assert_eq!(db.handle.garbage_part(1 << 30, 4 << 30), 0.25);
    }

    #[test]
    fn writers_see_by_themselves_that_there_is_too_much_garbage_while_the_collector_is_busy() {
        let options = crate::Options::new().value_log_file_size(256 << 10).inline_background();
        let db = options.open_in_memory().unwrap();
        let _busy = db.handle.garbage.take_turn();
        (0..200).for_each(|_| db.insert("key", vec![1; 10_000]).unwrap());
        assert!(db.metrics().paced_by_garbage.0 > 0);
    }

    fn search_at(total: u64, pointing_tables: u64, target: f64) -> u64 {
        let outlook = Outlook { segments: Vec::new(), total, dead: 0, surmised: 0, pointing_tables };
        outlook.search_at(&AutoGc::new().garbage_target(target))
    }

    #[test]
    fn the_more_a_search_writes_the_more_has_to_be_surmised() {
        // A search of 35 bytes at 100 surmised bytes: 0.35 a byte, and half of 3.5 of a tenth of the log for what is unknown.
        assert_eq!(search_at(1_000, 35, 0.5), 100);
        assert_eq!(search_at(1_000, 140, 0.5), 200);
        assert_eq!(search_at(1_000, 1, 0.5), 20, "a fiftieth of the log is always worth it");
        assert_eq!(search_at(1_000, 1_000, 0.3), 150, "half the target is as much as may be unknown");
    }
}
