//! Flushing immutable memtables to L0, and what goes with it: sealing segments, removing logs.
//!
//! Invariants
//! 1. Memtables of a keyspace are flushed in their order, oldest first, and only once nobody inserts into them.
//! 2. Before the edit that publishes the tables is written, every value that they point to is durable; and if another
//!    keyspace has unflushed data, so is every log that holds a commit of the memtable, so that a power loss cannot
//!    split a commit between a durable table and a lost log.
//! 3. The edit that adds the tables moves the keyspace's log number. A log goes once every keyspace's number is above it.
//! 4. What a newer entry hides from every reader is not written, and the edit says that its value is dead: known only
//!    once no view has the memtables.

use std::sync::Arc;

use base::{KeyspaceId, LogNumber, ValuePointer};
use lsm_levels::{BuildContext, FlushRetention, KeyspaceEdit, MergeCursor, TreeVersion, VersionEdit};

use crate::counters::add;
use crate::keyspace::KeyspaceState;
use crate::read::Source;
use crate::store::Store;
use crate::super_version::{MemtableHandle, SuperVersion};
use crate::workers::Job;
use crate::write::sync::LogPosition;
use crate::{Error, ErrorKind, Result};

/// Deaths of no more edits than this wait until they are made durable: each is read again after a crash.
const NOTED_TICKETS_MAX: usize = 32;

impl Store {
    /// Does one piece of the flusher's work; `false` if there is none.
    pub(crate) fn flush_step(&self) -> Result<bool> {
        if self.health.cause().is_some() {
            return Ok(false);
        }
        let worked = self.flush_oldest()?
            || self.seal_segment()?
            || self.remove_unneeded_logs()?
            || self.take_up_deaths()?
            || self.settle_due_deaths()?;
        self.remove_released_in_flusher();
        if worked {
            self.workers.note_success(Job::Flush);
        }
        Ok(worked)
    }

    /// Seals a full segment; `false` if there is none. From then on it can be collected.
    pub(crate) fn seal_segment(&self) -> Result<bool> {
        let sealed = self.value_log.seal_full()?;
        if sealed {
            self.workers.wake_collector();
        }
        Ok(sealed)
    }

    /// Flushes the immutable memtables that hold the oldest log, of any keyspace. Memtables that a recovery filled from
    /// one log go together, as the log is needed until the last of them is in a table.
    fn flush_oldest(&self) -> Result<bool> {
        let keyspaces = self.keyspaces.load_full();
        let oldest = keyspaces
            .iter()
            .filter_map(|keyspace| keyspace.pin().immutables.last().map(|memtable| (keyspace, memtable.log())))
            .min_by_key(|(_, log)| *log);
        let Some((keyspace, log)) = oldest else { return Ok(false) };
        let view = keyspace.pin_owned();
        let memtables: Vec<_> = view.immutables.iter().filter(|memtable| memtable.log() == log).cloned().collect();
        while !memtables.iter().all(|memtable| memtable.table.is_idle()) {
            if self.workers.is_stopping() {
                return Ok(false);
            }
            base::thread::yield_now();
        }
        // A commit that panicked is idle too, and only a part of it may be there.
        if self.health.cause().is_some() {
            return Ok(false);
        }
        self.flush_memtables(keyspace, &memtables)?;
        Ok(true)
    }

    fn flush_memtables(&self, keyspace: &Arc<KeyspaceState>, memtables: &[Arc<MemtableHandle>]) -> Result<()> {
        self.rotate_old_data_key();
        let next_log = log_after(&keyspace.pin(), memtables);
        let idle = self.move_idle_keyspaces(keyspace, next_log);
        self.make_durable_for(keyspace, &idle, next_log).inspect_err(|error| self.fail(error))?;
        let table_options = self.table_options();
        let new_table_id = || self.levels.new_table_id();
        let context = BuildContext {
            vfs: &self.vfs,
            dir: &self.files.dir,
            keys: self.keys.as_deref(),
            table_options: &table_options,
            ids: &new_table_id,
            target_file_bytes: u64::MAX,
            cancel: &self.workers.stop,
            pace: &|_| {},
        };
        let cursors = memtables.iter().map(|memtable| Source::Memtable(memtable.table.cursor())).collect();
        let retain = FlushRetention {
            discard_version: self.oracle.discard_version(),
            versions_to_keep: self.options.versions_to_keep,
        };
        let flushed = lsm_levels::flush(&context, &retain, MergeCursor::new(cursors))?;
        let mut added = KeyspaceEdit::new(keyspace.id);
        added.log_number = Some(next_log);
        added.added.clone_from(&flushed.tables);
        let mut edit = VersionEdit::of(added).with_last_version(self.oracle.last_assigned());
        edit.keyspaces.extend(idle.into_iter().map(|(id, log)| {
            let mut moved = KeyspaceEdit::new(id);
            moved.log_number = Some(log);
            moved
        }));
        let ceiling = self.version_lease();
        edit.version_ceiling = Some(ceiling);
        let ticket = self
            .apply_with_deaths(edit, &flushed.deaths)
            .inspect_err(|_| self.levels.discard_tables(&flushed.tables))?;
        // Whoever sees the memtables gone finds the ticket.
        let mut unapplied = self.unapplied_tickets.lock();
        self.install(keyspace, |view| without_memtables(view, memtables, self.version_of(keyspace)));
        unapplied.extend(ticket);
        drop(unapplied);
        self.commit_state.lock().order.raise_ceiling(ceiling);
        add(&self.counters.flushes, 1);
        self.update_pace();
        self.workers.wake_waiters();
        self.workers.wake_compactors();
        // The flush stands; should one of these fail, the next step tries it again.
        self.remove_unneeded_logs()?;
        self.take_up_deaths()?;
        Ok(())
    }

    /// Keyspaces without unflushed data need none of the older logs: they move on too, so that they keep no log, and a log
    /// that only they could need is not synced for their sake.
    ///
    /// They move no further than the flushing keyspace itself: the logs from there on may still be lost with the power,
    /// and that a keyspace needs only later ones would say that they cannot.
    fn move_idle_keyspaces(&self, flushing: &KeyspaceState, next_log: LogNumber) -> Vec<(KeyspaceId, LogNumber)> {
        let _commits = self.commit_state.lock();
        let keyspaces = self.keyspaces.load();
        let others = keyspaces.iter().filter(|keyspace| keyspace.id != flushing.id);
        others.filter_map(|keyspace| Some((keyspace.id, keyspace.pin().move_if_idle(next_log)?))).collect()
    }

    /// What must be durable before tables with a memtable's entries are published.
    fn make_durable_for(
        &self,
        keyspace: &KeyspaceState,
        idle: &[(KeyspaceId, LogNumber)],
        next_log: LogNumber,
    ) -> Result<()> {
        let is_idle = |id| idle.iter().any(|(idle, _)| *idle == id);
        let keyspaces = self.keyspaces.load();
        let others_unflushed = keyspaces.iter().any(|other| other.id != keyspace.id && !is_idle(other.id));
        if others_unflushed {
            // Everything before the log that followed on the memtable.
            self.syncer.sync_to(LogPosition { log: next_log, offset: 0 }, &self.value_log)
        } else {
            self.value_log.sync()?;
            Ok(())
        }
    }

    /// Writes an edit that also says that `deaths`, and the values of failed commits, are dead: they are on a list, under a
    /// ticket that the edit names, which is returned. If it fails, those of failed commits wait for the next one.
    fn apply_with_deaths(&self, mut edit: VersionEdit, deaths: &[ValuePointer]) -> Result<Option<u64>> {
        let failed = std::mem::take(&mut *self.values_without_entry.lock());
        if !failed.is_empty() {
            // A list names only what the power cannot take: else it would name nothing, or another record.
            self.value_log.sync().inspect_err(|_| self.values_without_entry.lock().extend(&failed))?;
        }
        let dead = [&failed, deaths].concat();
        if dead.is_empty() {
            return self.apply_edit(edit).map(|()| None);
        }
        let applied = self.levels.new_ticket().map_err(Error::from).and_then(|ticket| {
            self.prepare_deaths(ticket, &dead)?;
            edit.tickets_added.push(ticket);
            self.apply_edit(edit).inspect_err(|_| self.withdraw_deaths(ticket))?;
            Ok(Some(ticket))
        });
        if applied.is_err() {
            self.values_without_entry.lock().extend(failed);
        }
        applied
    }

    /// Removes a list of deaths that no edit names, unless one may after all.
    fn withdraw_deaths(&self, ticket: u64) {
        if self.levels.poisoned().is_none()
            && let Err(error) = self.value_log.clear_deaths(&[ticket])
        {
            tracing::warn!(%error, "a list of dead values stays behind until the store is opened again");
        }
    }

    /// Notes as dead what edits that stand have named; `false` if there is nothing.
    pub(crate) fn take_up_deaths(&self) -> Result<bool> {
        // Held meanwhile: noted by another too, a ticket could be cleared before this has read its list.
        let mut tickets = self.unapplied_tickets.lock();
        if tickets.is_empty() {
            return Ok(false);
        }
        self.note_deaths(&tickets)?;
        tickets.clear();
        Ok(true)
    }

    /// Has the value log count what tickets announced, in memory: writing its dead sets costs a sync for each segment, and
    /// those of segments that are soon collected need not be written at all. The tickets stay live until then.
    pub(crate) fn note_deaths(&self, tickets: &[u64]) -> Result<()> {
        self.pass_over_deaths(self.value_log.note_deaths(tickets)?);
        self.noted_tickets.lock().extend_from_slice(tickets);
        self.workers.wake_collector();
        self.workers.wake_flusher();
        Ok(())
    }

    /// Settles noted deaths once that costs a sync for each ticket or less; `false` if it is not worth it yet.
    fn settle_due_deaths(&self) -> Result<bool> {
        let tickets = self.noted_tickets.lock().len();
        let due = tickets > 0 && tickets >= self.value_log.unsettled_segments().min(NOTED_TICKETS_MAX);
        if due { self.settle_noted_deaths().map(|()| true) } else { Ok(false) }
    }

    /// Makes durable what tickets announced, so that the next edit clears them.
    fn settle_noted_deaths(&self) -> Result<()> {
        let tickets = self.noted_tickets.lock().clone();
        self.value_log.settle_deaths()?;
        self.noted_tickets.lock().retain(|ticket| !tickets.contains(ticket));
        self.levels.tickets_applied(&tickets);
        Ok(())
    }

    /// At the end of a run: after a clean one nobody looks for values without an entry.
    pub(crate) fn settle_deaths(&self) -> Result<()> {
        if !self.values_without_entry.lock().is_empty() {
            let ticket = self.apply_with_deaths(VersionEdit::default(), &[])?;
            self.unapplied_tickets.lock().extend(ticket);
        }
        self.take_up_deaths()?;
        self.settle_noted_deaths()
    }

    /// Writes an edit that stands for itself, and takes up what it clears.
    pub(crate) fn apply_edit(&self, edit: VersionEdit) -> Result<()> {
        match self.levels.apply(edit) {
            Ok(applied) => {
                self.levels.clear_tickets(self, &applied);
                self.fail_if_poisoned();
                Ok(())
            }
            Err(error) => Err(self.job_failed(error.into())),
        }
    }

    /// An edit may stand while the fresh manifest that was begun behind it is in doubt: whoever asks is told from now on.
    pub(crate) fn fail_if_poisoned(&self) {
        if let Some(cause) = self.levels.poisoned() {
            self.fail(&Error::new(ErrorKind::Poisoned, cause));
        }
    }

    /// A job that fails may be tried again: what it made is thrown away. Final is an error after which nobody knows what
    /// the manifest says, a failed sync of the value log, and one of names: with those, the names of files that others
    /// made meanwhile may be lost, and their own sync would not tell.
    pub(crate) fn job_failed(&self, error: Error) -> Error {
        let names_lost = error.file_error().is_some_and(|cause| {
            // A directory has to be opened for its sync: where it could not be, none was tried.
            cause.operation() == vfs::Operation::SyncDir && !cause.is_too_many_files()
        });
        // A job that was told to stop is the cause of nothing, whatever else is wrong.
        let was_stopped = error.kind() == ErrorKind::Closed;
        if !was_stopped && (names_lost || self.levels.poisoned().is_some() || self.value_log.has_failed()) {
            self.fail(&error);
        }
        error
    }

    /// The newest version of a keyspace's tree.
    pub(crate) fn version_of(&self, keyspace: &KeyspaceState) -> Arc<TreeVersion> {
        self.levels.version(keyspace.id).unwrap_or_else(|| Arc::clone(&keyspace.pin().version))
    }

    /// Lets readers see the newest version of a keyspace's tree.
    pub(crate) fn install_version(&self, keyspace: &KeyspaceState) {
        self.install(keyspace, |view| SuperVersion { version: self.version_of(keyspace), ..view.parts() });
    }

    /// Removes logs that no keyspace needs any more by what the manifest says, oldest first; `false` if there is none.
    pub(crate) fn remove_unneeded_logs(&self) -> Result<bool> {
        let needed_from = self.levels.keyspaces().iter().map(|keyspace| keyspace.log_number).min();
        let Some(needed_from) = needed_from else { return Ok(false) };
        self.syncer.forget_below(needed_from);
        let mut removed = false;
        loop {
            let oldest = self.live_logs.lock().first().map(|log| log.number);
            let Some(oldest) = oldest.filter(|oldest| *oldest < needed_from) else { return Ok(removed) };
            self.vfs.remove_file(&self.files.log(oldest))?;
            self.live_logs.lock().retain(|log| log.number != oldest);
            removed = true;
        }
    }
}

/// The oldest log that a keyspace needs once `memtables`, its oldest, are flushed.
fn log_after(view: &SuperVersion, memtables: &[Arc<MemtableHandle>]) -> LogNumber {
    let next = view.immutables.iter().rev().find(|other| !is_among(other, memtables));
    next.map_or(view.active.log(), |next| next.log())
}

fn without_memtables(
    view: &SuperVersion,
    memtables: &[Arc<MemtableHandle>],
    version: Arc<TreeVersion>,
) -> SuperVersion {
    let immutables = view.immutables.iter().filter(|other| !is_among(other, memtables)).cloned().collect();
    SuperVersion { immutables, version, ..view.parts() }
}

fn is_among(memtable: &Arc<MemtableHandle>, memtables: &[Arc<MemtableHandle>]) -> bool {
    memtables.iter().any(|other| Arc::ptr_eq(other, memtable))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::{EntryMeta, EntryRef, InternalKeyRef};
    use vfs::{Cause, Fault, FaultFs, FaultPlan, MemFs, Operation};

    use crate::{Error, ErrorKind, Options};

    /// A commit panics while it inserts; its memtable was switched already, and the flusher waited for the commit.
    #[test]
    fn a_memtable_in_which_a_commit_panicked_is_not_flushed() {
        let db = Options::new().inline_background().open_in_memory().unwrap();
        db.insert("half", "of a commit").unwrap();
        let store = &db.handle.store;
        store.replace_active(&store.commit_state.lock(), &store.default_keyspace, 0).unwrap();
        store.fail(&Error::new(ErrorKind::Internal, "a commit panicked"));
        assert!(!store.flush_oldest().unwrap());
        assert!(store.version_of(&store.default_keyspace).level0().is_empty());
    }

    /// Nobody has been told yet that the manifest takes no edits, when a close stops a compaction.
    #[test]
    fn a_job_that_was_stopped_is_not_the_cause_of_a_failure() {
        let faults = FaultFs::over_memory(MemFs::new(1), FaultPlan::none());
        let options = Options::new().vfs(Arc::new(faults.clone())).inline_background().manifest_edits_max(1);
        let db = options.open("/store").unwrap();
        faults.arm(Fault::on(Operation::Rename, Cause::Io).at_suffix("CURRENT.tmp"));
        while db.handle.levels.poisoned().is_none() {
            db.handle.levels.apply(lsm_levels::VersionEdit::default()).unwrap();
        }
        db.handle.job_failed(lsm_levels::Error::Cancelled.into());
        assert!(db.handle.health.cause().is_none());
        let error = db.close().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
    }

    /// A commit has its room, and its record in the log, when everything is to be flushed, but nothing of it is inserted.
    #[test]
    fn a_flush_of_everything_waits_for_a_commit_that_has_not_inserted_yet() {
        let db = Options::new().open_in_memory().unwrap();
        let keyspace = &db.handle.store.default_keyspace;
        let mut room = keyspace.pin().active.table.reserve(1_000).unwrap();
        std::thread::scope(|scope| {
            let flushing = scope.spawn(|| db.flush());
            while keyspace.pin().immutables.is_empty() && !flushing.is_finished() {
                std::thread::yield_now();
            }
            assert!(!flushing.is_finished(), "flushed without the commit");
            room.insert(InternalKeyRef::new(b"key", 1), EntryRef::new(EntryMeta::put(), b"value")).unwrap();
            drop(room);
            flushing.join().unwrap().unwrap();
        });
        assert_eq!(db.handle.store.version_of(keyspace).level0().len(), 1);
    }
    /// An edit that only sets numbers aside clears tickets too, and whoever asked for a number deletes no lists.
    #[test]
    fn lists_that_an_edit_of_numbers_has_cleared_go_with_the_next_edit() {
        let memory = MemFs::new(1);
        let options = Options::new().vfs(Arc::new(memory.clone())).gc(crate::GcPolicy::Manual).inline_background();
        let db = options.open("/store").unwrap();
        let store = &db.handle.store;
        (0..2).for_each(|round| db.insert("key", vec![round; 10_000]).unwrap());
        // As a flush, but for the edits that settle and clear.
        store.switch_all_memtables().unwrap();
        assert!(store.flush_oldest().unwrap());
        let named = |extension: &str| {
            let files = memory.files().into_iter();
            files.filter(|path| path.to_string_lossy().contains(extension)).collect::<Vec<_>>()
        };
        let manifest_bytes =
            || -> usize { named("/MANIFEST-").iter().map(|path| memory.read(path).unwrap().len()).sum() };
        assert_eq!((named(".deaths").len(), store.noted_tickets.lock().len()), (1, 1));
        store.settle_noted_deaths().unwrap();
        let before = manifest_bytes();
        while manifest_bytes() == before {
            store.levels.new_ticket().unwrap();
        }
        assert_eq!(named(".deaths").len(), 1);
        store.apply_edit(lsm_levels::VersionEdit::default()).unwrap();
        assert!(named(".deaths").is_empty(), "a list that no edit names any more stays");
        assert_eq!(db.gc().status().dead_bytes, store.value_log.record_totals().1);
        assert!(db.gc().check().unwrap().is_exact());
    }
}
