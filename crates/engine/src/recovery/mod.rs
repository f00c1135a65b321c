//! Opening a store: from files to a store that goes on where the last one ended.
//!
//! In this order, nothing of which may be swapped: lock; manifest and tables; logs found; value log opened with what the
//! logs know to be durable; logs replayed, each pointer of the unsynced tail looked up; only then is anything written:
//! torn ends are cut and synced, segments sealed, a new log and manifest begun; leftovers go last. Nothing of an
//! earlier run is ever appended to.

mod begin;
mod directory;
mod logs;
mod report;
mod values;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base::sync::Mutex;
use base::sync::atomic::AtomicU64;
use base::{Corruption, KeyspaceId, LogNumber, StoreId};
use encryption::Keyring;
use lsm_levels::{KeyspaceEdit, Levels, LevelsOptions, ManifestRecovery, NewKeyspace, VersionEdit};
use sstable::{BlockCache, ReadOptions};
use txn_oracle::{Oracle, OracleOptions};
use vfs::FileLock;
use vlog::{RecoveryInput, ValueLog};

use crate::counters::Counters;
use crate::encrypted;
use crate::expiry::Expired;
use crate::files::StoreFiles;
use crate::gc::{Garbage, GcPace};
use crate::health::HealthLatch;
use crate::keyspace::{DEFAULT_NAME, KeyspaceOptions, KeyspaceState};
use crate::options::Options;
use crate::store::{CommitState, CommitTotals, EndedLog, LiveLog, Store};
use crate::super_version::{MemtableHandle, SuperVersion};
use crate::workers::Workers;
use crate::write::pacer::Pacer;
use crate::write::stall::Stalls;
use crate::write::sync::LogSyncer;
use crate::{Error, ErrorKind, Result};

pub use report::{DroppedTail, RecoveryReport};

use logs::{Logs, Needs, Replay, Replayed};

/// Capacity of a memtable that nothing is ever written to.
const MEMTABLE_BYTES_MIN: usize = 4 << 10;

/// Whether a store is opened to be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
}

/// Opens the store in `path`.
pub(crate) fn open(path: &Path, options: Options, access: Access) -> Result<Arc<Store>> {
    options.validate()?;
    let files = StoreFiles::new(path, options.value_dir.as_deref());
    let mut report = RecoveryReport::default();
    let locks = directory::prepare(&options, &files, access, &mut report)?;
    let is_new = options.vfs.metadata(&files.current())?.is_none();
    let block_cache = options
        .block_cache
        .clone()
        .unwrap_or_else(|| Arc::new(BlockCache::new(usize::try_from(options.block_cache_size).unwrap_or(usize::MAX))));
    let mut opening = Opening { options, files, access, is_new, block_cache, keys: None };
    let (levels, manifest) = opening.levels()?;
    encrypted::check_store(opening.keys.as_deref(), levels.store())?;
    if let Some(manifest) = &manifest {
        report.clean_shutdown = manifest.clean_shutdown;
        let cause = manifest.dropped_cause.clone().unwrap_or_default();
        report.drop_tail(&manifest.path, manifest.end, manifest.dropped_bytes, cause);
    }
    let keyspaces = levels.keyspaces();
    let needs: Vec<_> =
        keyspaces.iter().map(|keyspace| Needs { keyspace: keyspace.id, log: keyspace.log_number }).collect();
    let logs = Logs::find(&opening.options, &opening.files, levels.store(), &needs, opening.keys.as_deref())?;
    let value_log = opening.value_log(levels.store(), &logs, manifest.as_ref(), &mut report)?;
    let replay = Replay {
        vfs: &opening.options.vfs,
        needs: &needs,
        segments: &value_log.segments(),
        value_log_synced: logs.value_log_synced,
        mode: opening.options.recovery_mode,
        memtable_bytes: usize::try_from(opening.options.memtable_size).unwrap_or(usize::MAX),
    };
    let replayed = logs.replay(&replay, &mut report)?;
    let parts = Parts { levels, manifest, value_log, replayed, locks, report };
    match access {
        Access::ReadOnly => opening.assemble(parts).map(Arc::new),
        Access::ReadWrite => opening.begin_writing(parts),
    }
}

struct Opening {
    options: Options,
    files: StoreFiles,
    access: Access,
    is_new: bool,
    block_cache: Arc<BlockCache>,
    keys: Option<Arc<Keyring>>,
}

/// What the steps of opening have made.
struct Parts {
    levels: Levels,
    manifest: Option<ManifestRecovery>,
    value_log: ValueLog,
    replayed: Replayed,
    locks: Vec<Box<dyn FileLock>>,
    report: RecoveryReport,
}

impl Opening {
    /// The tree, and with it the keys.
    fn levels(&mut self) -> Result<(Levels, Option<ManifestRecovery>)> {
        let options = &self.options;
        let mut store = StoreId::default();
        if self.is_new {
            options.vfs.fill_random(&mut store.0)?;
            self.keys = encrypted::create(options, &self.files.dir, store)?;
        } else {
            self.keys = encrypted::open(options, &self.files.dir, self.access)?;
        }
        let mut read = ReadOptions::new(Arc::clone(&self.block_cache), store);
        (read.io_mode, read.verify, read.keys) = (options.io_mode, options.verify_blocks, self.keys.clone());
        let mut levels_options = LevelsOptions::new(read);
        levels_options.manifest_edits_max = u64::from(options.manifest_edits_max);
        levels_options.read_only = self.access == Access::ReadOnly;
        if self.is_new {
            let levels = Levels::create(&options.vfs, &self.files.dir, store, levels_options)?;
            create_default_keyspace(&levels)?;
            return Ok((levels, None));
        }
        let (levels, recovery) = Levels::open(&options.vfs, &self.files.dir, levels_options)?;
        if levels.keyspaces().is_empty() {
            // Whoever made the store may have been killed before its first edit; then there is nothing else yet.
            if let Some(rest) = directory::rest_of_a_store(&*options.vfs, &self.files)? {
                let what = format!("no edit of a keyspace, but there are files of one, such as {rest}");
                return Err(Corruption::new(recovery.path, recovery.end, what).into());
            }
            match self.access {
                Access::ReadWrite => create_default_keyspace(&levels)?,
                Access::ReadOnly => return Err(directory::not_there(&self.files.dir)),
            }
        }
        Ok((levels, Some(recovery)))
    }

    fn value_log(
        &self,
        store: StoreId,
        logs: &Logs,
        manifest: Option<&ManifestRecovery>,
        report: &mut RecoveryReport,
    ) -> Result<ValueLog> {
        let options = vlog::Options {
            segment_bytes: self.options.value_log_file_size,
            segment_entries: self.options.value_log_max_entries,
            io_mode: match self.options.io_mode {
                sstable::IoMode::Mapped => vlog::IoMode::Mapped,
                sstable::IoMode::Pread => vlog::IoMode::Pread,
            },
            verify: self.options.verify_values,
            read_only: self.access == Access::ReadOnly,
            keys: self.keys.clone(),
            forget_damaged_deaths: self.options.forget_damaged_deaths,
            ..vlog::Options::new(store)
        };
        let input = RecoveryInput {
            synced: logs.value_log_synced,
            live_tickets: manifest.map_or(&[], |manifest| &manifest.tickets),
            // It is durable before the first log is begun.
            must_exist: logs.is_any() || manifest.is_some_and(|manifest| manifest.last_version > 0),
        };
        directory::check_values(&self.options, &self.files, store, input.must_exist)?;
        let vfs = Arc::clone(&self.options.vfs);
        let (value_log, recovery) = ValueLog::open(vfs, &self.files.value_dir, options, input)?;
        for tail in recovery.torn_tails {
            report.drop_tail(tail.path, tail.offset, tail.dropped_bytes, tail.cause);
        }
        let forgotten = recovery.forgotten_deaths.into_iter();
        report
            .warnings
            .extend(forgotten.map(|cause| format!("{cause}: taken for empty until a rebuild of what is dead")));
        Ok(value_log)
    }

    fn assemble(self, parts: Parts) -> Result<Store> {
        let Parts { levels, manifest, value_log, mut replayed, locks, mut report } = parts;
        let logged = manifest.as_ref().map_or(0, |manifest| manifest.last_version).max(replayed.last_version);
        let first_unused = manifest.as_ref().map_or(1, |manifest| manifest.first_unused_version);
        let last_version = match self.access {
            // Nothing will be written: the newest commit is what there is.
            Access::ReadOnly => logged,
            // Whatever an earlier run may have handed out stays behind.
            Access::ReadWrite => logged.max(first_unused.saturating_sub(1)),
        };
        report.last_version = logged;
        let (oracle, order) = Oracle::new(last_version, last_version, &OracleOptions::default())
            .map_err(|error| Error::with_source(ErrorKind::Corruption, error.to_string(), error))?;
        let live_logs = replayed.entered.iter().map(|log| LiveLog { number: log.number, bytes: log.end }).collect();
        let mut keyspaces = Vec::new();
        for state in levels.keyspaces() {
            let memtables = replayed.memtables.remove(&state.id).unwrap_or_default();
            keyspaces.push(Arc::new(self.keyspace(&state, memtables, &value_log)?));
        }
        let default_keyspace = keyspaces
            .first()
            .filter(|keyspace| keyspace.id == KeyspaceId(0))
            .cloned()
            .ok_or_else(|| Error::new(ErrorKind::Corruption, "the manifest has no default keyspace"))?;
        let health = if self.access == Access::ReadOnly { HealthLatch::read_only() } else { HealthLatch::default() };
        let none_before = EndedLog { number: LogNumber(0), end: 0, closed: true };
        let previous_log = replayed.entered.last().copied().unwrap_or(none_before);
        Ok(Store {
            id: levels.store(),
            vfs: Arc::clone(&self.options.vfs),
            keys: self.keys,
            clock: Arc::clone(&self.options.clock),
            options: self.options,
            files: self.files,
            oracle,
            levels,
            value_log,
            block_cache: self.block_cache,
            keyspaces: ArcSwap::from_pointee(keyspaces),
            default_keyspace,
            commit_state: Mutex::new(CommitState { order, log: None, previous_log, totals: CommitTotals::default() }),
            install_lock: Mutex::new(()),
            creation_lock: Mutex::new(()),
            syncer: LogSyncer::new(),
            live_logs: Mutex::new(live_logs),
            values_without_entry: Mutex::new(Vec::new()),
            unapplied_tickets: Mutex::new(Vec::new()),
            noted_tickets: Mutex::new(Vec::new()),
            next_data_key_try: AtomicU64::new(0),
            garbage: Garbage::default(),
            expired: Expired::default(),
            gc_pace: GcPace::default(),
            compactions_running: AtomicU64::new(0),
            health,
            pacer: Pacer::new(64 << 20, 2 << 20, Duration::from_millis(1)),
            value_pacer: Pacer::new(1 << 30, 4 << 20, Duration::from_millis(100)),
            stalls: Stalls::default(),
            workers: Workers::new(),
            counters: Counters::default(),
            recovery_report: report,
            locks: Mutex::new(locks),
        })
    }

    /// A keyspace with what was replayed for it, all of it immutable, and an active memtable that takes nothing.
    fn keyspace(
        &self,
        state: &lsm_levels::KeyspaceState,
        memtables: Vec<Arc<MemtableHandle>>,
        value_log: &ValueLog,
    ) -> Result<KeyspaceState> {
        let options = KeyspaceOptions::decode(&state.options)
            .map_err(|error| Error::incompatible(&self.files.dir, error.what(), "a known option", "an unknown one"))?;
        let segments = value_log.segments();
        let view = SuperVersion {
            active: Arc::new(MemtableHandle::new(MEMTABLE_BYTES_MIN, state.log_number, Arc::clone(&segments))),
            immutables: memtables.into_iter().rev().collect(),
            version: Arc::clone(&state.version),
            segments,
            ordered: state.ordered,
        };
        Ok(KeyspaceState::new(state.id, state.name.to_string(), options, &self.options, view))
    }
}

fn create_default_keyspace(levels: &Levels) -> Result<()> {
    let mut keyspace = KeyspaceEdit::new(KeyspaceId(0));
    let options = KeyspaceOptions::new().encode();
    keyspace.created = Some(NewKeyspace { name: DEFAULT_NAME.to_owned(), options });
    keyspace.ordered = Some(true);
    levels.apply(VersionEdit::of(keyspace))?;
    Ok(())
}
