//! The part of opening that writes: what an earlier run left is ended for good, and a new run begins beside it.

use std::sync::Arc;

use base::{LogNumber, Version};
use lsm_levels::{KeyspaceEdit, VersionEdit};
use wal::{LogWriter, RecoveryMode};

use crate::Result;
use crate::files::log_number;
use crate::keyspace::KeyspaceState;
use crate::recovery::values::end_of_values_in_tables;
use crate::recovery::{Opening, Parts};
use crate::store::Store;
use crate::super_version::{MemtableHandle, SuperVersion};

/// Versions that an edit of the manifest sets aside for commits to come.
const VERSION_LEASE: u64 = 1 << 20;

impl Opening {
    /// From here on files are written.
    pub(super) fn begin_writing(self, mut parts: Parts) -> Result<Arc<Store>> {
        let salvages = self.options.recovery_mode == RecoveryMode::SkipCorrupt && parts.report.dropped_bytes() > 0;
        if let Some(manifest) = &parts.manifest {
            parts.levels.settle_manifest(manifest)?;
        }
        self.end_logs(&parts)?;
        let damaged = parts.value_log.finish_recovery()?;
        if let Some(manifest) = &parts.manifest {
            parts.levels.tickets_applied(&manifest.tickets);
        }
        if !parts.report.clean_shutdown {
            let referenced = std::mem::take(&mut parts.replayed.referenced);
            let head = match parts.replayed.value_log_head {
                Some(head) => head,
                None => end_of_values_in_tables(&parts.levels)?,
            };
            let unreferenced = parts.value_log.mark_unreferenced_dead(head, referenced)?;
            parts.report.unreferenced_values = unreferenced.records;
            parts.report.unreferenced_bytes = unreferenced.bytes;
        }
        let store = Arc::new(self.assemble(parts)?);
        store.pass_over_deaths(damaged);
        store.begin_run()?;
        store.remove_orphans()?;
        if !store.value_log.segments().is_empty() {
            store.garbage.begin_sampling();
        }
        store.start_workers()?;
        if salvages {
            // The damaged logs are still there, and only this mode would read them again.
            store.flush_all()?;
        }
        Ok(store)
    }

    /// Cuts each log where what counts of it ends and makes it durable, so that a tail that was dropped once can never
    /// come back, and no later log is synced before it; logs behind the end go, the newest first, since each names the one
    /// before it. What a clean close has closed is so already; a run that ended before its first edit may have left a log
    /// behind that.
    fn end_logs(&self, parts: &Parts) -> Result<()> {
        let vfs = &self.options.vfs;
        for log in &parts.replayed.entered {
            if !(parts.report.clean_shutdown && log.closed) {
                wal::truncate_log(vfs, &self.files.log(log.number), log.end)?;
            }
        }
        for path in parts.replayed.set_aside.iter().rev() {
            vfs.remove_file(path)?;
            vfs.sync_dir(&self.files.dir)?;
        }
        Ok(())
    }
}

impl Store {
    /// Starts a run: a log and memtables to write to, and versions above all that an earlier run may have handed out.
    fn begin_run(&self) -> Result<()> {
        let mut state = self.commit_state.lock();
        self.begin_first_log(&mut state)?;
        let log = state.log.as_ref().map(LogWriter::number).unwrap_or_default();
        let ceiling = self.version_lease();
        let mut edit = VersionEdit::default().with_last_version(self.oracle.last_assigned());
        edit.version_ceiling = Some(ceiling);
        for keyspace in self.keyspaces.load().iter() {
            self.replace_empty_active(keyspace, log)?;
            if keyspace.pin().immutables.is_empty() {
                let mut moved = KeyspaceEdit::new(keyspace.id);
                moved.log_number = Some(log);
                edit.keyspaces.push(moved);
            }
        }
        self.apply_edit(edit)?;
        state.order.raise_ceiling(ceiling);
        drop(state);
        self.remove_unneeded_logs()?;
        Ok(())
    }

    /// The ceiling that an edit written now should set.
    pub(crate) fn version_lease(&self) -> Version {
        self.oracle.last_assigned().saturating_add(VERSION_LEASE)
    }

    /// Gives a keyspace a memtable of full size in the place of the empty one that it was opened with.
    fn replace_empty_active(&self, keyspace: &KeyspaceState, log: LogNumber) -> Result<()> {
        let capacity = self.memtable_capacity(0)?;
        self.install(keyspace, |view| {
            let segments = self.value_log.segments();
            let active = Arc::new(MemtableHandle::new(capacity, log, Arc::clone(&segments)));
            SuperVersion { active, segments, ..view.parts() }
        });
        Ok(())
    }

    /// Removes what no manifest names. Only after everything else of the recovery has succeeded.
    fn remove_orphans(&self) -> Result<()> {
        self.levels.remove_orphans(&|path| path.extension().is_some_and(|extension| extension == "wal"))?;
        self.value_log.remove_orphans()?;
        let live = self.live_logs.lock().clone();
        for entry in self.vfs.list(&self.files.dir)? {
            if let Some(number) = log_number(&entry.name)
                && !live.iter().any(|log| log.number == number)
            {
                self.vfs.remove_file(&self.files.log(number))?;
            }
        }
        Ok(())
    }
}
