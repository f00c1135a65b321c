//! Compaction: what the compactor threads do, and `Db::compact`.

use std::sync::Arc;

use base::Version;
use base::limits::LEVELS;
use base::sync::atomic::Ordering;
use lsm_levels::{BuildContext, Compaction, CompactionContext, InFlight, Picker, PickerOptions, ValueDeaths};
use sstable::TableOptions;

use crate::counters::add;
use crate::keyspace::KeyspaceState;
use crate::read::Bounds;
use crate::store::Store;
use crate::super_version::SuperVersion;
use crate::workers::Job;
use crate::{Error, Result};

/// How a manual compaction is done.
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until a compaction is started with them"]
pub struct CompactOptions {
    _private: (),
}

impl CompactOptions {
    /// Everything in the range goes down to the lowest level that holds any of it.
    pub fn new() -> Self {
        Self::default()
    }
}

/// What a manual compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactReport {
    /// Bytes of tables read.
    pub bytes_read: u64,
    /// Bytes of tables written.
    pub bytes_written: u64,
    /// Entries that nobody can see any more and that were dropped.
    pub entries_dropped: u64,
}

impl CompactReport {
    pub(crate) fn add(&mut self, other: &Self) {
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
        self.entries_dropped += other.entries_dropped;
    }
}

/// What a compaction goes by, taken before its inputs are picked, in this order: nothing that arrives later is at or
/// below the discard version, and no memtable escapes by being flushed in between.
pub(crate) struct BeforePick {
    pub(crate) discard_version: Version,
    /// The oldest clock of any reader.
    pub(crate) expiry_now: u64,
    /// Held only where versions may be out of order, as it keeps memtables that were flushed meanwhile.
    unordered: Option<Arc<SuperVersion>>,
}

impl BeforePick {
    pub(crate) fn of(store: &Store, keyspace: &KeyspaceState) -> Self {
        let discard_version = store.oracle.discard_version();
        let expiry_now = store.oracle.oldest_now(store.clock.unix_seconds());
        let view = keyspace.pin_owned();
        Self { discard_version, expiry_now, unordered: (!view.ordered).then_some(view) }
    }
}

/// Counts a compaction as running, and tells everyone who waits when it ends, either way.
struct Running<'a>(&'a Store);

impl<'a> Running<'a> {
    fn new(store: &'a Store) -> Self {
        store.compactions_running.fetch_add(1, Ordering::AcqRel);
        Self(store)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.compactions_running.fetch_sub(1, Ordering::AcqRel);
        self.0.workers.wake_waiters();
    }
}

impl Store {
    /// Does one compaction that is due; `false` if none is.
    pub(crate) fn compact_step(&self) -> Result<bool> {
        if self.health.cause().is_some() {
            return Ok(false);
        }
        self.search_step();
        Ok(self.due_compaction()? || self.drop_expired()?)
    }

    /// Does one compaction that the shape of a tree asks for; `false` if none does.
    pub(crate) fn due_compaction(&self) -> Result<bool> {
        let picker = self.picker();
        for keyspace in self.keyspaces.load_full().iter() {
            let before = BeforePick::of(self, keyspace);
            if let Some(compaction) = self.levels.pick_compaction(keyspace.id, &picker, before.discard_version) {
                // Another compactor may find more to do beside this one.
                self.workers.wake_compactors();
                self.run_compaction(keyspace, &before, compaction)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn run_compaction(
        &self,
        keyspace: &Arc<KeyspaceState>,
        before: &BeforePick,
        job: Compaction,
    ) -> Result<CompactReport> {
        let _running = Running::new(self);
        let table_options = self.table_options();
        let new_table_id = || self.levels.new_table_id();
        let build = BuildContext {
            vfs: &self.vfs,
            dir: &self.files.dir,
            keys: self.keys.as_deref(),
            table_options: &table_options,
            ids: &new_table_id,
            target_file_bytes: self.options.table_size,
            cancel: &self.workers.stop,
            pace: &|_| {},
        };
        let context = CompactionContext {
            build,
            discard_version: before.discard_version,
            expiry_now: before.expiry_now,
            versions_to_keep: self.options.versions_to_keep,
            ordered: before.unordered.is_none(),
            memtables_hold_older: &|key, version| {
                before.unordered.as_ref().is_some_and(|view| memtables_hold_older(view, key, version))
            },
            grandparent_bytes_max: self.picker().options().grandparent_bytes_max,
        };
        let output = job.run(&context)?;
        let committed = self.levels.commit_compaction(output, self.oracle.last_assigned(), self, || {
            self.install_version(keyspace);
        });
        if let Err(lsm_levels::Error::DeathsNotApplied { ticket, .. }) = &committed {
            // The compaction stands all the same.
            self.unapplied_tickets.lock().push(*ticket);
            self.workers.wake_flusher();
        }
        let stats = committed?;
        self.fail_if_poisoned();
        add(if stats.bytes_written > 0 { &self.counters.compactions } else { &self.counters.moves }, 1);
        self.workers.note_success(Job::Compaction);
        // They may have passed over what this one held, and what it wrote may be due at another time.
        self.workers.wake_compactors();
        self.update_pace();
        Ok(CompactReport {
            bytes_read: stats.bytes_read.iter().sum(),
            bytes_written: stats.bytes_written,
            entries_dropped: stats.entries_read - stats.entries_written,
        })
    }

    /// Waits for compactions and collections that other threads run by hand, after those were told to stop.
    pub(crate) fn wait_for_jobs_by_hand(&self) {
        self.garbage.wait_for_turn();
        loop {
            let seen = self.workers.progress();
            if self.compactions_running.load(Ordering::Acquire) == 0 {
                return;
            }
            self.workers.wait_for_progress(seen, None);
        }
    }

    /// Moves everything within the bounds down, level by level. `in_between` is called before each compaction.
    pub(crate) fn compact_range(
        &self,
        keyspace: &Arc<KeyspaceState>,
        bounds: &Bounds,
        in_between: &dyn Fn() -> Result<()>,
    ) -> Result<CompactReport> {
        let picker = self.picker();
        let range = bounds.as_range();
        let began = self.levels.table_id_bound();
        let mut report = CompactReport::default();
        for level in 0..LEVELS {
            // What has come down to a level goes further; at the lowest it has just been written.
            let before = if self.is_lowest(keyspace, level) { began } else { self.levels.table_id_bound() };
            let is_wanted = |expiry_now| {
                let (version, nothing_held) = (self.version_of(keyspace), InFlight::default());
                picker.pick_range(&version, &nothing_held, level, range, before, expiry_now).is_some()
            };
            loop {
                self.check_writable()?;
                in_between()?;
                let seen = self.workers.progress();
                let before_pick = BeforePick::of(self, keyspace);
                let expiry_now = before_pick.expiry_now;
                match self.levels.pick_range(keyspace.id, &picker, level, range, before, expiry_now) {
                    Some(job) => {
                        let done = self.run_compaction(keyspace, &before_pick, job);
                        report.add(&done.map_err(|error| self.job_failed(error))?);
                    }
                    // Others hold it, and it may be picked once they are done.
                    None if is_wanted(expiry_now) => drop(self.workers.wait_for_progress(seen, None)),
                    None => break,
                }
            }
        }
        Ok(report)
    }

    /// Whether no level below holds any table.
    fn is_lowest(&self, keyspace: &KeyspaceState, level: usize) -> bool {
        let version = self.version_of(keyspace);
        (level + 1..LEVELS).all(|below| version.tables(below).is_empty())
    }

    pub(crate) fn picker(&self) -> Picker {
        let options = &self.options;
        Picker::new(PickerOptions {
            level0_runs_max: options.l0_compaction_trigger,
            level0_merge_runs_min: options.l0_compaction_trigger + 2,
            fanout: options.level_multiplier,
            ..PickerOptions::with_sizes(options.table_size, options.level_base_size)
        })
    }

    pub(crate) fn table_options(&self) -> [TableOptions; LEVELS] {
        let options = TableOptions {
            block_size: self.options.block_size,
            compression: self.options.compression,
            filter: self.options.filter,
            store: self.id,
            ..TableOptions::default()
        };
        [options; LEVELS]
    }

    /// Slows writers by how far L0, or what waits for compaction, has grown from the start of the slowdown to the stop.
    pub(crate) fn update_pace(&self) {
        let picker = self.picker();
        let (slow, stop) = (self.options.l0_slowdown_trigger as u64, self.options.l0_stop_trigger as u64);
        let pending_slow = self.options.level_base_size.saturating_mul(PENDING_SLOW_BASES);
        let debt_of = |keyspace: &Arc<KeyspaceState>| {
            let view = keyspace.pin();
            let runs = debt(view.version.level0_runs() as u64, slow, stop);
            runs.max(debt(picker.pending_bytes(&view.version), pending_slow, pending_slow.saturating_mul(4)))
        };
        self.pacer.set_debt(self.keyspaces.load().iter().filter_map(debt_of).max());
    }
}

/// Writers are slowed once this many times the base level waits for compaction.
const PENDING_SLOW_BASES: u64 = 8;

/// How far `amount` is from `slow` (0) to `stop` (1,000); `None` below.
fn debt(amount: u64, slow: u64, stop: u64) -> Option<u64> {
    let over = amount.checked_sub(slow)?;
    Some(over.saturating_mul(1_000) / stop.saturating_sub(slow).max(1))
}

fn memtables_hold_older(view: &SuperVersion, key: &[u8], version: Version) -> bool {
    view.memtables().any(|memtable| memtable.table.get(key, version.saturating_sub(1)).is_some())
}

impl ValueDeaths for Store {
    fn prepare(&self, ticket: u64, deaths: &[base::ValuePointer]) -> Result<(), lsm_levels::BoxError> {
        Ok(self.prepare_deaths(ticket, deaths)?)
    }

    fn apply(&self, ticket: u64) -> Result<bool, lsm_levels::BoxError> {
        self.note_deaths(&[ticket])?;
        Ok(false)
    }

    fn clear(&self, ticket: u64) -> Result<(), lsm_levels::BoxError> {
        Ok(self.value_log.clear_deaths(&[ticket]).map_err(Error::from)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    #[test]
    fn a_compaction_keeps_no_memtable_that_is_flushed_meanwhile() {
        let db = Options::new().inline_background().open_in_memory().unwrap();
        db.insert("a", "").unwrap();
        let memtable = Arc::downgrade(&db.handle.default_keyspace.pin().active);
        let before = BeforePick::of(&db.handle, &db.handle.default_keyspace);
        db.flush().unwrap();
        assert!(memtable.upgrade().is_none());
        drop(before);
    }
}
