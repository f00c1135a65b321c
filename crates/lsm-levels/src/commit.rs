//! Edits on their way to disk and into the installed versions; numbers; the two phases of deaths.

use base::{KeyspaceId, LogNumber, TableId, Version};

use crate::compaction::{CompactionOutput, CompactionStats};
use crate::current::manifest_path;
use crate::deaths::ValueDeaths;
use crate::edit::{NewTable, VersionEdit};
use crate::edit_codec::EditRecord;
use crate::error::{Error, Result};
use crate::installer::Installation;
use crate::levels::Levels;
use crate::manifest::{AppendError, ManifestWriter, may_have_switched};
use crate::orphans;
use crate::output::remove_tables;
use crate::state::{Counters, TreeState};

/// How far ahead of their use numbers are reserved.
const LEASE: Counters = Counters { table: 1_024, log: 64, ticket: 256, keyspace: 16 };

/// What became of an edit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Death tickets that the manifest does not name any more: their lists can be deleted.
    pub cleared_tickets: Vec<u64>,
}

/// What is behind the manifest's lock.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) state: TreeState,
    /// The next number of each kind; at most those of `state.counters`.
    pub(crate) next: Counters,
    /// The live manifest's number.
    pub(crate) number: LogNumber,
    /// Made by the first edit after opening, as that edit's snapshot.
    pub(crate) writer: Option<ManifestWriter>,
    /// No edit is taken and no number handed out any more: the directory may be another's.
    pub(crate) ended: bool,
    /// Tickets that the value log has applied, to be cleared by the next edit.
    pub(crate) applied_tickets: Vec<u64>,
    /// Tickets that an edit of numbers has cleared: whoever makes the next edit is told.
    pub(crate) cleared_tickets: Vec<u64>,
    pub(crate) poisoned: Option<String>,
}

impl Levels {
    /// Makes an edit durable and installs the versions it leads to: all of it or, on error, nothing.
    ///
    /// # Errors
    /// [`Error::EditRefused`] where it does not fit, and then nothing was written; [`Error::ManifestFull`] where the disk
    /// was full, and then it is certainly not there; a failed write or sync otherwise poisons the manifest, since the
    /// edit may be there after all. The first edit after opening starts a fresh manifest: until `CURRENT` may name that,
    /// it fails with what failed, and is certainly not there.
    pub fn apply(&self, edit: VersionEdit) -> Result<Applied> {
        let (applied, installed) = self.apply_locked(&mut self.manifest.lock(), edit)?;
        // Outside the lock: with the last holder of a version, files go.
        drop(installed);
        Ok(applied)
    }

    fn apply_locked(&self, manifest: &mut Manifest, mut edit: VersionEdit) -> Result<(Applied, Installation)> {
        self.check_writable(manifest)?;
        manifest.state.resolve_places(&mut edit);
        manifest.state.check(&edit).map_err(|refusal| Error::EditRefused {
            what: refusal.what,
            keyspace: refusal.keyspace,
            table: refusal.table,
        })?;
        let mut installation = Installation::prepare(|id| self.keyspace(id), &edit, &self.options.read, &self.trash)?;
        edit.tickets_cleared.extend_from_slice(&manifest.applied_tickets);
        let counters = manifest.lease(edit.clean_shutdown);
        let record = EditRecord { snapshot: None, counters, edit };
        if manifest.writer.is_some() {
            manifest.append(&record)?;
            manifest.state.apply(&record.edit, counters);
        } else {
            let mut state = manifest.state.clone();
            state.apply(&record.edit, counters);
            self.switch(manifest, &state)?;
            manifest.state = state;
        }
        manifest.applied_tickets.clear();
        installation.install(&mut self.versions.write(), &self.traffic);
        // After the last edit the next run starts afresh anyway, and nobody would be told of a failure.
        if !manifest.state.clean_shutdown {
            self.rewrite_if_long(manifest);
        }
        let mut cleared_tickets = std::mem::take(&mut manifest.cleared_tickets);
        cleared_tickets.extend(record.edit.tickets_cleared);
        Ok((Applied { cleared_tickets }, installation))
    }

    /// Commits what a compaction did: the values that die are noted first, then the edit, then `install` makes readers
    /// see the new version, and only then the values count as dead.
    ///
    /// `install` runs without any lock of the tree; [`version`](Self::version) gives the new version by then.
    ///
    /// # Errors
    /// As [`apply`](Self::apply), and where the value log fails. Before the edit is durable, outputs are removed and
    /// inputs free again; [`Error::DeathsNotApplied`] alone comes after, when the compaction stands.
    pub fn commit_compaction(
        &self,
        output: CompactionOutput,
        last_version: Version,
        deaths: &dyn ValueDeaths,
        install: impl FnOnce(),
    ) -> Result<CompactionStats> {
        let written: Vec<TableId> = output.written().collect();
        let CompactionOutput { edit, deaths: dead, stats, claim, .. } = output;
        let committed = self.prepare_deaths(deaths, &dead).and_then(|ticket| {
            let mut edit = VersionEdit::of(edit).with_last_version(last_version);
            edit.tickets_added.extend(ticket);
            let applied = self.apply(edit).inspect_err(|_| {
                if let Some(list) = ticket.filter(|_| !self.is_poisoned()) {
                    self.clear_tickets(deaths, &Applied { cleared_tickets: vec![list] });
                }
            });
            Ok((applied?, ticket))
        });
        let (applied, ticket) = match committed {
            Ok(committed) => committed,
            Err(error) => {
                // Where the edit may be on disk after all, it may name the outputs.
                if !self.is_poisoned() {
                    remove_tables(self.vfs.as_ref(), &self.dir, written.into_iter());
                }
                return Err(error);
            }
        };
        for (level, bytes) in stats.bytes_read.iter().enumerate() {
            self.traffic.add_read(level, *bytes);
        }
        drop(claim);
        install();
        self.clear_tickets(deaths, &applied);
        if let Some(ticket) = ticket
            && deaths.apply(ticket).map_err(|source| Error::DeathsNotApplied { ticket, source })?
        {
            self.tickets_applied(&[ticket]);
        }
        Ok(stats)
    }

    fn prepare_deaths(&self, deaths: &dyn ValueDeaths, dead: &[base::ValuePointer]) -> Result<Option<u64>> {
        if dead.is_empty() {
            return Ok(None);
        }
        let ticket = self.new_ticket()?;
        deaths.prepare(ticket, dead).map_err(Error::DeathsNotPrepared)?;
        Ok(Some(ticket))
    }

    /// Deletes the lists of tickets that an edit has cleared. One that cannot be deleted goes when the store is opened.
    pub fn clear_tickets(&self, deaths: &dyn ValueDeaths, applied: &Applied) {
        for ticket in &applied.cleared_tickets {
            if let Err(error) = deaths.clear(*ticket) {
                self.trash.report(&error);
            }
        }
    }

    /// Notes tickets that the value log has applied: the next edit clears them.
    pub fn tickets_applied(&self, tickets: &[u64]) {
        self.manifest.lock().applied_tickets.extend_from_slice(tickets);
    }

    /// Removes tables that were written but not added, since their edit failed and is certainly not on disk.
    pub fn discard_tables(&self, tables: &[NewTable]) {
        if !self.is_poisoned() {
            remove_tables(self.vfs.as_ref(), &self.dir, tables.iter().map(|table| table.meta.id));
        }
    }

    /// Hands out the number of a table.
    ///
    /// # Errors
    /// When a further stretch of numbers had to be reserved and the edit failed; the same holds for the other numbers.
    pub fn new_table_id(&self) -> Result<TableId> {
        self.hand_out(|counters| &mut counters.table).map(TableId)
    }

    /// Hands out the number of a write-ahead log. The first one after a clean close was set aside by that close and needs
    /// no edit: a run that ended before its first edit may have had it, and left the file.
    #[allow(clippy::missing_errors_doc, reason = "told at new_table_id")]
    pub fn new_log_number(&self) -> Result<LogNumber> {
        self.hand_out(|counters| &mut counters.log).map(LogNumber)
    }

    /// Hands out a death ticket.
    #[allow(clippy::missing_errors_doc, reason = "told at new_table_id")]
    pub fn new_ticket(&self) -> Result<u64> {
        self.hand_out(|counters| &mut counters.ticket)
    }

    /// Hands out the number of a keyspace, from 1: number 0 is the default keyspace's.
    #[allow(clippy::missing_errors_doc, reason = "told at new_table_id")]
    pub fn new_keyspace_id(&self) -> Result<KeyspaceId> {
        let number = self.hand_out(|counters| &mut counters.keyspace)?;
        let limit = u64::from(u32::MAX);
        let number = u32::try_from(number);
        number.map(KeyspaceId).map_err(|_| Error::LimitExceeded {
            what: "keyspaces ever made",
            limit,
            found: limit + 1,
        })
    }

    fn hand_out(&self, counter: fn(&mut Counters) -> &mut u64) -> Result<u64> {
        let mut manifest = self.manifest.lock();
        self.check_writable(&manifest)?;
        let number = *counter(&mut manifest.next);
        if number >= *counter(&mut manifest.state.counters) {
            let (applied, installed) = self.apply_locked(&mut manifest, VersionEdit::default())?;
            manifest.cleared_tickets = applied.cleared_tickets;
            debug_assert!(installed.is_empty(), "an edit of numbers changes no version");
        }
        *counter(&mut manifest.next) += 1;
        Ok(number)
    }

    /// A bound above every table number handed out so far.
    #[must_use]
    pub fn table_id_bound(&self) -> TableId {
        TableId(self.manifest.lock().next.table)
    }

    /// The version up to which versions may be handed out.
    #[must_use]
    pub fn version_ceiling(&self) -> Version {
        self.manifest.lock().state.version_ceiling
    }

    /// The last version that an edit has told of.
    #[must_use]
    pub fn last_version(&self) -> Version {
        self.manifest.lock().state.last_version
    }

    /// Makes it durable that versions up to `to` may be handed out. After an unclean end the first new version lies
    /// above the ceiling, so none is ever handed out twice.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn raise_version_ceiling(&self, to: Version) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let raised = VersionEdit { version_ceiling: Some(to), ..VersionEdit::default() };
        let (applied, installed) = self.apply_locked(&mut manifest, raised)?;
        debug_assert!(installed.is_empty(), "an edit of numbers changes no version");
        manifest.cleared_tickets = applied.cleared_tickets;
        Ok(())
    }

    /// Marks the store as closed in order and ends the manifest; then as [`end`](Self::end).
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn close(&self, last_version: Version) -> Result<Applied> {
        let mut manifest = self.manifest.lock();
        let reserve_is_left = manifest.next.log < manifest.state.counters.log;
        if manifest.writer.is_none() && manifest.state.clean_shutdown && reserve_is_left {
            manifest.ended = true;
            return Ok(Applied::default());
        }
        let edit = VersionEdit { clean_shutdown: true, ..VersionEdit::default() }.with_last_version(last_version);
        let (applied, _) = self.apply_locked(&mut manifest, edit)?;
        if let Some(writer) = manifest.writer.take() {
            writer.close()?;
        }
        manifest.ended = true;
        Ok(applied)
    }

    /// Refuses every later edit and number, for before the directory's lock is given up: a job that still runs must not
    /// write to what may be another's by then.
    pub fn end(&self) {
        self.manifest.lock().ended = true;
    }

    /// Whether the next edit starts a fresh manifest, as the first one after opening does. It then syncs the directory
    /// before `CURRENT` names the new manifest, and so the names of all files that were made before the edit.
    #[must_use]
    pub fn next_edit_starts_manifest(&self) -> bool {
        self.manifest.lock().writer.is_none()
    }

    /// Why no edit is taken any more, if that is so.
    #[must_use]
    pub fn poisoned(&self) -> Option<String> {
        self.manifest.lock().poisoned.clone()
    }

    fn is_poisoned(&self) -> bool {
        self.manifest.lock().poisoned.is_some()
    }

    fn check_writable(&self, manifest: &Manifest) -> Result<()> {
        match &manifest.poisoned {
            _ if self.options.read_only => Err(Error::ReadOnly),
            _ if manifest.ended => Err(Error::Ended),
            Some(cause) => Err(Error::ManifestPoisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    fn rewrite_if_long(&self, manifest: &mut Manifest) {
        let is_long = manifest.writer.as_ref().is_some_and(|writer| {
            writer.edits() > self.options.manifest_edits_max
                || writer.appended_bytes() > self.options.manifest_bytes_max
        });
        if is_long && let Err(error) = self.start_afresh(manifest) {
            // The edit stands. The long manifest is whole and live, and the next edit tries again; unless `CURRENT` may
            // name the new one already: then the manifest is poisoned, and the next edit is told.
            tracing::warn!(%error, "the manifest could not be written afresh");
        }
    }

    fn start_afresh(&self, manifest: &mut Manifest) -> Result<()> {
        let state = manifest.state.clone();
        self.switch(manifest, &state)
    }

    /// Starts a fresh manifest with the whole of `state` and removes the old one.
    fn switch(&self, manifest: &mut Manifest, state: &TreeState) -> Result<()> {
        let number = orphans::next_manifest_number(self.vfs.as_ref(), &self.dir, manifest.number)?;
        let keys = self.options.read.keys.as_deref();
        let writer = ManifestWriter::start(&self.vfs, &self.dir, number, state, keys).inspect_err(|error| {
            if may_have_switched(error) {
                manifest.poisoned = Some(error.to_string());
            }
        })?;
        let old = std::mem::replace(&mut manifest.number, number);
        manifest.writer = Some(writer);
        if let Err(error) = self.vfs.remove_file(&manifest_path(&self.dir, old)) {
            self.trash.report(&error);
        }
        Ok(())
    }
}

impl Manifest {
    /// What an edit says of the counters: enough in reserve, or exactly what was handed out where nothing follows.
    fn lease(&self, last: bool) -> Counters {
        let lease = |next: u64, leased: u64, step: u64| match next.saturating_add(step / 2) {
            _ if last => next,
            soon if soon > leased => next.saturating_add(step),
            _ => leased,
        };
        let (next, leased) = (self.next, self.state.counters);
        Counters {
            table: lease(next.table, leased.table, LEASE.table),
            // One stays in reserve, so that the next run can make a log before its first edit.
            log: if last { next.log.saturating_add(1) } else { lease(next.log, leased.log, LEASE.log) },
            ticket: lease(next.ticket, leased.ticket, LEASE.ticket),
            keyspace: lease(next.keyspace, leased.keyspace, LEASE.keyspace),
        }
    }

    fn append(&mut self, record: &EditRecord) -> Result<()> {
        let Some(writer) = &mut self.writer else {
            return Err(Error::ManifestPoisoned { cause: "no manifest is open".to_owned() });
        };
        match writer.append(record) {
            Ok(()) => Ok(()),
            Err(AppendError::Absent(error @ wal::Error::Vfs(_))) => Err(Error::ManifestFull(error)),
            Err(AppendError::Absent(error)) => Err(error.into()),
            Err(AppendError::Unknown(error)) => {
                self.poisoned = Some(error.to_string());
                Err(error.into())
            }
        }
    }
}
