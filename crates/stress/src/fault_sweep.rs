//! A workload in which one change of files fails, or many in a row, and what a crash leaves after it.
//!
//! 1. A commit that is said not to be applied is not there, now or ever; one of unknown outcome is there whole or not.
//! 2. A store that says it is healthy goes on as if nothing had happened, and can be closed.
//! 3. Whatever failed: after a kill every acknowledged commit is there, after a power loss every synced one.

use std::fmt;
use std::sync::Arc;

use engine::{CommitOutcome, Db, Durability, ErrorKind, GcOptions, Health, KeyspaceOptions};
use vfs::{Cause, CrashMode, Fault, FaultFs, FaultId, FaultPlan, MemFs, Vfs};

use crate::failure::ensure;
use crate::history::{History, KEYSPACES, open_keyspaces};
use crate::power_loss::{DIR, Making, tiny_options};
use crate::{Failure, Outcome};

/// Commits of a run; enough for two flushes, a compaction, sealed segments and a fresh manifest.
const COMMITS: u64 = 72;
const SYNC_EVERY: u64 = 9;
const COLLECT_EVERY: u64 = 14;
/// An encrypted store gets another data key this often.
const ROTATE_EVERY: u64 = 11;
/// A commit is tried this often while the store stays healthy.
const TRIES: u64 = 4;

/// Which change fails, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultAt {
    /// Which change of files, from 1.
    pub change: u64,
    /// Why.
    pub cause: Cause,
    /// How many changes in a row fail.
    pub times: u64,
    /// What still happens.
    pub effect: Effect,
}

/// What still happens of a change that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// All of it: only the answer is an error.
    Everything,
    /// The first bytes of an append.
    FirstBytes(u64),
    /// Of a sync: what it was to write is lost for good.
    UnsyncedLost,
}

impl FaultAt {
    fn fault(self) -> Fault {
        let fault = Fault::on_mutations(self.cause).nth(self.change).times(self.times);
        match self.effect {
            Effect::Nothing => fault,
            Effect::Everything => fault.after_the_fact(),
            Effect::FirstBytes(bytes) => fault.after_bytes(bytes),
            Effect::UnsyncedLost => fault.losing_unsynced(),
        }
    }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Whether the fault has struck: the workload makes that many changes.
    pub struck: bool,
    /// Commits that failed and are not there.
    pub not_applied: u64,
    /// Commits that failed and may be there.
    pub unknown: u64,
    /// Whether the store was healthy at the end.
    pub healthy: bool,
}

impl fmt::Display for FaultAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { change, cause, times, effect } = self;
        write!(f, "{cause:?} at change {change}, {times} times, with {effect:?} done")
    }
}

/// Runs the workload with one fault and checks what it leaves.
///
/// # Errors
/// When something does not hold.
pub fn run(seed: u64, making: Making, fault: FaultAt) -> Outcome<Ran> {
    let memory = MemFs::new(seed);
    let faults = FaultFs::over_memory(memory.clone(), FaultPlan::none());
    let id = faults.arm(fault.fault());
    let mut run = Run { making, history: History::default(), acknowledged: 0, synced: 0, ran: Ran::default() };
    let lived = run.live(&faults, id);
    run.ran.struck = faults.hits(id) > 0;
    ensure(run.ran.struck || lived.is_ok(), || format!("a failure without a fault: {lived:?}"))?;
    let images = [(CrashMode::KeepAll, run.acknowledged), (CrashMode::DropUnsynced, run.synced)];
    for (mode, floor) in images.into_iter().chain([(CrashMode::Random, run.synced)]) {
        run.check_image(&memory.crash_image(mode, seed), floor)
            .map_err(|failure| failure.during(format!("{mode:?}")))?;
    }
    faults.disarm_all();
    // What the process leaves behind by itself is a kill too.
    run.check_image(&memory, run.acknowledged).map_err(|failure| failure.during("the next life"))?;
    lived?;
    Ok(run.ran)
}

struct Run {
    making: Making,
    history: History,
    acknowledged: u64,
    synced: u64,
    ran: Ran,
}

impl Run {
    /// Works until the end, or until the store does not go on.
    fn live(&mut self, faults: &FaultFs, fault: FaultId) -> Outcome {
        let fs: Arc<dyn Vfs> = Arc::new(faults.clone());
        let Ok(db) = tiny_options(fs, self.making).open(DIR) else { return Ok(()) };
        for name in KEYSPACES.iter().take(2) {
            if db.keyspace(name, KeyspaceOptions::new()).is_err() {
                return Ok(());
            }
        }
        while self.history.len() < COMMITS && self.commit(&db)? {
            if self.acknowledged.is_multiple_of(COLLECT_EVERY) {
                collect(&db)?;
            }
            if self.making.encrypted && self.acknowledged.is_multiple_of(ROTATE_EVERY) {
                told("a rotation", db.rotate_data_key())?;
            }
        }
        let shown = self.history.check(&db).map_err(|failure| failure.during("the check of the open store"))?;
        ensure(shown == self.acknowledged, || {
            format!("{shown} commits are shown, {} acknowledged", self.acknowledged)
        })?;
        self.ran.healthy = matches!(db.health(), Health::Ok);
        let hits = faults.hits(fault);
        match db.close() {
            Ok(()) => self.synced = self.acknowledged,
            Err(error) => {
                let struck_now = faults.hits(fault) > hits;
                ensure(!self.ran.healthy || struck_now, || format!("a healthy store cannot be closed: {error}"))?;
            }
        }
        Ok(())
    }

    /// Commits until it succeeds; `false` if the store does not go on.
    fn commit(&mut self, db: &Db) -> Outcome<bool> {
        let keyspaces = open_keyspaces(db)?;
        for run in 0..TRIES {
            let commit = self.history.push(run, keyspaces.len());
            let is_synced = commit.number.is_multiple_of(SYNC_EVERY);
            let durability = if is_synced { Durability::Sync } else { Durability::Os };
            let Err(error) = commit.write(db, &keyspaces, durability) else {
                self.acknowledged = commit.number;
                if is_synced {
                    self.synced = commit.number;
                }
                return Ok(true);
            };
            match error.commit_outcome() {
                Some(CommitOutcome::NotApplied) => {
                    self.ran.not_applied += 1;
                    self.history.truncate(self.acknowledged);
                }
                Some(CommitOutcome::Unknown) => {
                    self.ran.unknown += 1;
                    return Ok(false);
                }
                None => return Err(Failure::new(format!("a failed commit does not tell its outcome: {error}"))),
            }
        }
        Ok(false)
    }

    fn check_image(&self, memory: &MemFs, floor: u64) -> Outcome {
        let open = || tiny_options(Arc::new(memory.clone()), self.making).open(DIR);
        let db = open()?;
        let shown = self.history.check(&db)?;
        ensure(shown >= floor, || format!("{shown} commits are there, {floor} were durable"))?;
        let mut history = self.history.clone();
        history.truncate(shown);
        for name in KEYSPACES.iter().take(2) {
            db.keyspace(name, KeyspaceOptions::new())?;
        }
        history.push(99, 2).write(&db, &open_keyspaces(&db)?, Durability::Sync)?;
        db.close()?;
        let again = history.check(&open()?)?;
        ensure(again == shown + 1, || format!("{again} commits after a close, of {}", shown + 1))
    }
}

/// Collects by hand; what fails is tried again by the next collection.
fn collect(db: &Db) -> Outcome {
    told("a collection", db.gc().run_once(GcOptions::new().discard_ratio(0.05)).map(drop))
}

/// What fails is said in its kind.
fn told(what: &str, done: engine::Result<()>) -> Outcome {
    let Err(error) = done else { return Ok(()) };
    let is_known =
        matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::Io | ErrorKind::ReadOnly | ErrorKind::Poisoned);
    ensure(is_known, || format!("{what} fails with {:?}: {error}", error.kind()))
}
