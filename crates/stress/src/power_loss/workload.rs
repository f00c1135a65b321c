//! The workload: commits to two keyspaces, of which only one is ever flushed, and later to a third.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use base::sync::Mutex;
use engine::{Db, Durability, GcOptions, Keyspace, KeyspaceOptions, Options};
use vfs::{Operation, OperationRecord};

use crate::Outcome;
use crate::failure::ensure;
use crate::history::{History, KEYSPACES};
use crate::power_loss::DIR;

/// Commits of the workload.
const COMMITS: u64 = 84;
/// Commits after which the third keyspace is made, in the middle of a log with commits that no sync has followed.
const LATE_KEYSPACE_AFTER: u64 = 37;
/// One commit in this many is synced. Between two of them, logs are switched.
const SYNC_EVERY: u64 = 13;
/// After one commit in this many, known garbage is collected by hand; otherwise that happens by itself.
const COLLECT_EVERY: u64 = 19;
/// After one commit in this many, an encrypted store gets another data key.
const ROTATE_EVERY: u64 = 20;

/// What the workload has done so far, as the taker of an image sees it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    past: Mutex<Past>,
}

/// What was done before a crash.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    /// All commits that were tried; at most the last is not acknowledged.
    pub(super) history: History,
    pub(super) acknowledged: u64,
    /// The newest commit that is durable together with all before it.
    pub(super) synced: u64,
    /// Keyspaces whose creation was acknowledged, the default one included.
    pub(super) keyspaces: usize,
}

impl Progress {
    pub(super) fn past(&self) -> Past {
        self.past.lock().clone()
    }

    fn note(&self, change: impl FnOnce(&mut Past)) {
        change(&mut self.past.lock());
    }
}

/// How often each thing happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Commits.
    pub commits: u64,
    /// Flushes of memtables.
    pub flushes: u64,
    /// Compactions that wrote tables.
    pub compactions: u64,
    /// Collections of value-log segments.
    pub collections: u64,
    /// Those among them that were asked for.
    pub collections_by_hand: u64,
    /// Log files made.
    pub log_switches: u64,
    /// Hint files written: segments sealed.
    pub segment_seals: u64,
    /// Manifests written.
    pub manifest_switches: u64,
    /// Registries of data keys written.
    pub key_registries: u64,
}

impl Events {
    /// Counts what a change of files shows.
    pub(super) fn note(&mut self, record: &OperationRecord) {
        let name = record.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if record.operation != Operation::Create {
            return;
        }
        if name.ends_with(".wal") {
            self.log_switches += 1;
        } else if name.contains(".hint") {
            self.segment_seals += 1;
        } else if name.starts_with("MANIFEST-") {
            self.manifest_switches += 1;
        } else if name.starts_with("KEYREGISTRY") {
            self.key_registries += 1;
        }
    }
}

impl fmt::Display for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commits, flushes, compactions, collections, collections_by_hand, .. } = self;
        let Self { log_switches, segment_seals, manifest_switches, key_registries, .. } = self;
        write!(f, "{commits} commits, {flushes} flushes, {compactions} compactions, ")?;
        write!(f, "{collections} collections, {collections_by_hand} of them by hand, {log_switches} log switches, ")?;
        write!(
            f,
            "{segment_seals} segment seals, {manifest_switches} manifest switches, {key_registries} key registries"
        )
    }
}

/// Runs the workload to its end, the closing of the store included, or until a check has failed.
pub(super) fn run(options: Options, encrypted: bool, progress: &Progress, stop: &AtomicBool) -> Outcome<Events> {
    let db = options.open(DIR)?;
    let mut keyspaces: Vec<Keyspace> = Vec::new();
    for name in KEYSPACES.iter().take(2) {
        keyspaces.push(db.keyspace(name, KeyspaceOptions::new())?);
        progress.note(|past| past.keyspaces = keyspaces.len());
    }
    let mut by_hand = 0;
    for number in 1..=COMMITS {
        if stop.load(Ordering::Acquire) {
            return Ok(Events::default());
        }
        commit_next(&db, &keyspaces, progress)?;
        if number == LATE_KEYSPACE_AFTER {
            let late = KEYSPACES.last().copied().unwrap_or_default();
            keyspaces.push(db.keyspace(late, KeyspaceOptions::new())?);
            progress.note(|past| past.keyspaces = keyspaces.len());
        }
        if encrypted && number.is_multiple_of(ROTATE_EVERY) {
            db.rotate_data_key()?;
        }
        if number.is_multiple_of(COLLECT_EVERY) {
            by_hand += collect(&db, false)?;
        }
        if number == COMMITS / 2 {
            db.sync()?;
            progress.note(|past| past.synced = past.acknowledged);
        }
    }
    let flushed: BTreeSet<String> = db.tables().into_iter().map(|table| table.keyspace).collect();
    ensure(flushed.iter().eq(["default"]), || format!("{flushed:?} have tables, only the default keyspace should"))?;
    by_hand += collect(&db, true)?;
    let background = db.metrics().background;
    let (flushes, compactions) = (background.flushes, background.compactions);
    let collections = db.gc().status().collections;
    db.close()?;
    progress.note(|past| past.synced = past.acknowledged);
    let events = Events { commits: COMMITS, flushes, compactions, ..Events::default() };
    Ok(Events { collections, collections_by_hand: by_hand, ..events })
}

/// Collects by hand what is worth it. Returns how many collections that took.
fn collect(db: &Db, find_garbage: bool) -> Outcome<u64> {
    let before = db.gc().status().collections;
    db.gc().run_once(GcOptions::new().discard_ratio(0.05).find_garbage(find_garbage))?;
    Ok(db.gc().status().collections - before)
}

fn commit_next(db: &Db, keyspaces: &[Keyspace], progress: &Progress) -> Outcome {
    let mut past = progress.past.lock();
    let commit = past.history.push(0, keyspaces.len());
    drop(past);
    let is_synced = commit.number.is_multiple_of(SYNC_EVERY);
    commit.write(db, keyspaces, if is_synced { Durability::Sync } else { Durability::Os })?;
    progress.note(|past| {
        past.acknowledged = commit.number;
        if is_synced {
            past.synced = commit.number;
        }
    });
    Ok(())
}
