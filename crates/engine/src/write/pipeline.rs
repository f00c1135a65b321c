//! The commit pipeline.
//!
//! Alone, a commit runs inline from end to end: one uncontended lock, no hand-off, no system call. Among others, the
//! lock covers only what fixes the order (conflict check, version, log record); a committer that finds it taken waits a
//! moment and then parks, and each inserts its own records while the next is at the log. See
//! `docs/adr/0009-commit-pipeline.md`.
//!
//! Invariants
//! 1. The order of versions, of log records and of recorded writes is one: all three are taken under the commit lock.
//! 2. A version is taken only after its record is in the log; a commit that fails before leaves nothing behind.
//! 3. A version that was taken becomes visible or poisons the store; visible versions have no holes.
//! 4. A commit that panics makes the store read-only before it lets go of the commit lock or of its room: nobody gives
//!    its version away again, and no flush takes the half of it that is in a memtable.
//! 5. A commit that asked for `Sync` becomes visible only once it is durable.

use base::Version;
use txn_oracle::{AssignError, InFlight, Write};

use crate::batch::Operation;
use crate::error::CommitOutcome;
use crate::keyspace::find_keyspace;
use crate::options::Durability;
use crate::store::{CommitState, CommitTotals, Store};
use crate::txn::validate::Validation;
use crate::write::encode::{EncodedCommit, Encoding};
use crate::write::record;
use crate::write::room::{NoRoom, Room};
use crate::write::stall::Stall;
use crate::write::sync::LogPosition;
use crate::{Error, ErrorKind, Result};

/// Commits that may have a version without being visible; well below the oracle's number of slots.
const IN_FLIGHT_MAX: u64 = 512;

/// What a commit came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommitInfo {
    /// The version that all of its entries carry; for a commit without entries, the version that it read.
    pub version: Version,
    /// What it survives. An empty batch that asks for `Sync` waits until all commits up to its version are synced; a
    /// transaction without writes waits for nothing, and says `Os`.
    pub durability: Durability,
}

/// How one write differs from the store's options.
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until a batch is written with them"]
pub struct WriteOptions {
    pub(crate) durability: Option<Durability>,
    pub(crate) stall_timeout: Option<std::time::Duration>,
}

impl WriteOptions {
    /// Those of the store.
    pub fn new() -> Self {
        Self::default()
    }

    /// What this write survives.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// Longest time that the write waits for room; beyond it fails as
    /// [`Stalled`](crate::ErrorKind::Stalled). Without one it waits as long as it takes.
    pub fn stall_timeout(mut self, timeout: std::time::Duration) -> Self {
        self.stall_timeout = Some(timeout);
        self
    }
}

/// A commit that has its place in the order and its record in the log.
struct Ordered<'a> {
    in_flight: InFlight<'a>,
    position: LogPosition,
}

impl Store {
    /// Commits operations, after the conflict check that `validation` asks for.
    pub(crate) fn commit<'a>(
        &self,
        operations: impl Iterator<Item = Operation<'a>> + Clone,
        validation: Option<&mut Validation<'_>>,
        options: &WriteOptions,
    ) -> Result<CommitInfo> {
        self.check_writable().map_err(|error| error.outcome(CommitOutcome::NotApplied))?;
        let mut encoded = EncodedCommit::take();
        let result = self.encode(operations.clone(), &mut encoded).and_then(|()| {
            if encoded.len() == 0 {
                let (version, durability) =
                    (self.oracle.visible(), options.durability.unwrap_or(self.options.durability));
                if durability == Durability::Sync {
                    self.sync_all()?;
                }
                return Ok(CommitInfo { version, durability });
            }
            self.pacer.admit(encoded.bytes.len(), &*self.clock);
            if !encoded.separated.is_empty() {
                self.value_pacer.admit(usize::try_from(encoded.user_bytes).unwrap_or(usize::MAX), &*self.clock);
            }
            self.commit_encoded(&mut encoded, operations, validation, options)
        });
        encoded.give_back();
        result.map_err(|error| match error.commit_outcome() {
            Some(_) => error,
            None => error.outcome(CommitOutcome::NotApplied),
        })
    }

    fn encode<'a>(&self, operations: impl Iterator<Item = Operation<'a>>, encoded: &mut EncodedCommit) -> Result<()> {
        let keyspaces = self.keyspaces.load();
        let mut keyspace = &self.default_keyspace;
        for operation in operations {
            if keyspace.id != operation.keyspace {
                keyspace = find_keyspace(&keyspaces, operation.keyspace)?;
            }
            if operation.is_put() {
                keyspace.threshold.note(operation.value.len());
            }
            let separate_from = keyspace.threshold.get();
            let encoding = Encoding { separate_from, compression: self.options.value_compression };
            encoded.push(&operation, encoding, || self.clock.unix_seconds())?;
        }
        encoded.finish()
    }

    fn commit_encoded<'a>(
        &self,
        encoded: &mut EncodedCommit,
        operations: impl Iterator<Item = Operation<'a>> + Clone,
        mut validation: Option<&mut Validation<'_>>,
        options: &WriteOptions,
    ) -> Result<CommitInfo> {
        let durability = options.durability.unwrap_or(self.options.durability);
        if let Some(validation) = validation.as_deref_mut() {
            validation.before_the_lock(self)?;
        }
        let mut rooms = std::mem::take(&mut encoded.taken);
        let ordered = self.order(encoded, operations.clone(), validation, &mut rooms, options)?;
        let version = ordered.in_flight.version();
        let _watch = PanicWatch::new(self);
        // Before the room is given up: a flush that waits for that must not take half a commit for a whole one.
        let applied = insert_all(encoded, &mut rooms, version).inspect_err(|cause| self.fail(cause));
        rooms.clear();
        encoded.taken = rooms;
        let durable = applied.and_then(|()| match durability {
            Durability::Sync => self.syncer.sync_to(ordered.position, &self.value_log),
            Durability::Os => Ok(()),
        });
        if let Err(cause) = durable {
            self.fail(&cause);
            // Dropping the version keeps it, and all above it, from ever becoming visible.
            drop(ordered.in_flight);
            return Err(cause.outcome(CommitOutcome::Unknown));
        }
        ordered.in_flight.complete();
        self.oracle.wait_visible(version).map_err(|_| self.failure().outcome(CommitOutcome::Unknown))?;
        if self.garbage.is_sampling() {
            self.sample_hidden(operations, version);
        }
        if self.runs_background_inline() {
            self.run_background_inline();
        }
        Ok(CommitInfo { version, durability })
    }

    /// Takes the commit's place in the order: everything that happens under the commit lock.
    fn order<'a>(
        &self,
        encoded: &mut EncodedCommit,
        operations: impl Iterator<Item = Operation<'a>> + Clone,
        mut validation: Option<&mut Validation<'_>>,
        rooms: &mut Vec<Room>,
        options: &WriteOptions,
    ) -> Result<Ordered<'_>> {
        let mut stall = Stall::new(options.stall_timeout);
        loop {
            let seen = self.workers.progress();
            let mut state = self.commit_state.lock();
            let _watch = PanicWatch::new(self);
            self.check_writable()?;
            if let Some(validation) = validation.as_deref_mut()
                && !validation.under_the_lock(self, &mut state)?
            {
                drop(state);
                validation.before_the_lock(self)?;
                continue;
            }
            match self.reserve(&mut state, &encoded.rooms, rooms) {
                Ok(()) => return self.append(&mut state, encoded, operations, rooms),
                Err(NoRoom::Failed(error)) => return Err(error),
                Err(NoRoom::Behind) => {
                    drop(state);
                    self.wait_for_room(&mut stall, seen)?;
                }
            }
        }
    }

    /// Value log, write-ahead log, version: in this order.
    fn append<'a>(
        &self,
        state: &mut CommitState,
        encoded: &mut EncodedCommit,
        operations: impl Iterator<Item = Operation<'a>>,
        rooms: &[Room],
    ) -> Result<Ordered<'_>> {
        self.make_sure_of_a_version(state)?;
        let version = state.order.last_assigned() + 1;
        record::set_version(&mut encoded.bytes, version);
        if !encoded.separated.is_empty() {
            self.append_values(encoded, operations, rooms, version)?;
        }
        let position = match self.append_to_log(state, &encoded.bytes) {
            Ok(position) => position,
            Err(error) => return Err(self.log_append_failed(state, encoded, error)),
        };
        let in_flight = state.order.assign(&self.oracle).map_err(|error| {
            let error = match error {
                // A background job has just made the store read-only; the record is in the log all the same.
                AssignError::Poisoned(_) => self.failure(),
                error => {
                    let error = Error::with_source(ErrorKind::Internal, error.to_string(), error);
                    self.fail(&error);
                    error
                }
            };
            error.outcome(CommitOutcome::Unknown)
        })?;
        let writes = encoded.records().flatten().map(|record| Write::key(record.keyspace, record.key));
        state.order.record(&self.oracle, &in_flight, writes);
        state.totals.add(encoded);
        Ok(Ordered { in_flight, position })
    }

    /// After this, taking a version cannot fail but for a background job that makes the store read-only: there is one
    /// below the ceiling, and a slot for one more in flight.
    fn make_sure_of_a_version(&self, state: &mut CommitState) -> Result<()> {
        if self.oracle.poisoned().is_some() {
            return Err(self.failure());
        }
        if state.order.remaining_below_ceiling() == 0 {
            let ceiling = self.version_lease();
            self.levels.raise_version_ceiling(ceiling).map_err(|error| self.job_failed(error.into()))?;
            state.order.raise_ceiling(ceiling);
        }
        let next = state.order.last_assigned() + 1;
        if next - self.oracle.visible() > IN_FLIGHT_MAX {
            self.oracle.wait_visible(next - IN_FLIGHT_MAX).map_err(|_| self.failure())?;
        }
        Ok(())
    }

    fn append_to_log(&self, state: &mut CommitState, payload: &[u8]) -> Result<LogPosition> {
        let log = state.log.as_mut().ok_or_else(|| Error::new(ErrorKind::Internal, "no active log"))?;
        let before = log.len();
        let offset = log.append(self.value_log.synced(), &[payload])?;
        state.totals.log_bytes += offset - before;
        Ok(LogPosition { log: log.number(), offset })
    }

    /// Appends the commit's large values to the value log and puts their pointers into its records.
    fn append_values<'a>(
        &self,
        encoded: &mut EncodedCommit,
        operations: impl Iterator<Item = Operation<'a>>,
        rooms: &[Room],
        version: Version,
    ) -> Result<()> {
        let mut next = 0;
        for (position, operation) in operations.enumerate() {
            let Some(separated) = encoded.separated.get(next).copied() else { break };
            if separated.operation != position {
                continue;
            }
            let key = base::InternalKeyRef::new(operation.key, version);
            let (meta, stored) = encoded.stored(&separated, &operation);
            let appended = self.value_log.append(operation.keyspace.0, key, meta, stored);
            match appended {
                Ok(pointer) => encoded.patch(separated, pointer),
                Err(error) => {
                    self.values_without_entry(encoded, next);
                    return Err(self.value_append_failed(error.into()));
                }
            }
            next += 1;
        }
        let segments = self.value_log.segments();
        for room in rooms {
            room.memtable.hold_segments(&segments);
        }
        self.install_segments_if_new(&segments);
        self.garbage.begin_sampling();
        Ok(())
    }
}

/// Makes the store read-only if its thread begins to panic while it lives.
struct PanicWatch<'a> {
    store: &'a Store,
    /// A destructor may commit while its thread unwinds already.
    was_panicking: bool,
}

impl<'a> PanicWatch<'a> {
    fn new(store: &'a Store) -> Self {
        Self { store, was_panicking: std::thread::panicking() }
    }
}

impl Drop for PanicWatch<'_> {
    fn drop(&mut self) {
        if !self.was_panicking && std::thread::panicking() {
            self.store.fail(&Error::new(ErrorKind::Internal, "a commit panicked"));
        }
    }
}

impl CommitTotals {
    fn add(&mut self, commit: &EncodedCommit) {
        self.commits += 1;
        self.records += u64::from(commit.len());
        self.user_bytes += commit.user_bytes;
        self.value_log_bytes += commit.value_log_bytes();
    }
}

/// Inserts the records into the memtables that were reserved for them.
fn insert_all(encoded: &EncodedCommit, rooms: &mut [Room], version: Version) -> Result<()> {
    for record in encoded.records() {
        let record = record.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        let room = rooms
            .iter_mut()
            .find(|room| room.keyspace.id == record.keyspace)
            .ok_or_else(|| Error::new(ErrorKind::Internal, "no room was reserved for a keyspace of the commit"))?;
        room.reservation.insert(base::InternalKeyRef::new(record.key, version), record.entry)?;
    }
    Ok(())
}
