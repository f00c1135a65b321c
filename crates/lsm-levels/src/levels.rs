//! The tree of a store: its keyspaces' versions, the manifest that makes them durable, and the jobs in flight.
//!
//! Invariants
//! 1. An edit is durable before its versions are installed, and installed before anything acts on it.
//! 2. Numbers are handed out only below a bound that a durable edit has set.
//! 3. The file of a removed table goes only after the edit is durable and nobody holds the table.
//!
//! Lock order: `manifest` (held over the manifest's own writes), then `claims`, then `versions` (never held over I/O).
//! No caller's code runs under any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use base::limits::LEVELS;
use base::sync::{Arc, Mutex, RwLock};
use base::{KeyspaceId, LogNumber, StoreId, TableId, Version};
use vfs::Vfs;

use crate::claims::Claims;
use crate::commit::Manifest;
use crate::compaction::Compaction;
use crate::current::Current;
use crate::error::{Error, Result};
use crate::installer::versions_of;
use crate::manifest::{ManifestRecovery, ManifestWriter, recover, store_of_plain};
use crate::metrics::{LevelInfo, LevelTraffic, Traffic};
use crate::options::LevelsOptions;
use crate::orphans;
use crate::picker::{Picker, moments_of_expiry};
use crate::range::KeyRange;
use crate::state::{Counters, TreeState};
use crate::table_handle::{RemovalFailures, Trash};
use crate::targets::LevelTargets;
use crate::version::TreeVersion;

/// The first numbers of a new store. Keyspace 0 is the default one, which is not handed out.
const FIRST: Counters = Counters { table: 1, log: 1, ticket: 1, keyspace: 1 };

/// The tree of a store.
#[derive(Debug)]
pub struct Levels {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) dir: PathBuf,
    store: StoreId,
    pub(crate) options: LevelsOptions,
    pub(crate) manifest: Mutex<Manifest>,
    claims: Claims,
    pub(crate) versions: RwLock<BTreeMap<KeyspaceId, KeyspaceState>>,
    pub(crate) trash: Arc<Trash>,
    pub(crate) traffic: Traffic,
}

/// A keyspace at one moment.
#[derive(Clone, Debug)]
pub struct KeyspaceState {
    /// Its number.
    pub id: KeyspaceId,
    /// Its name.
    pub name: Arc<str>,
    /// Its options as the engine encoded them.
    pub options: Arc<[u8]>,
    /// The oldest write-ahead log that it still needs.
    pub log_number: LogNumber,
    /// Whether every version in a newer source is newer than all versions of that key in older ones.
    pub ordered: bool,
    /// The highest version of any tombstone dropped: what changed below it cannot be told any more.
    pub dropped_tombstone_version: Version,
    /// Its tables.
    pub version: Arc<TreeVersion>,
}

impl Levels {
    /// Makes a new, empty tree in a directory that exists.
    ///
    /// # Errors
    /// When there is a store already, or a file cannot be written.
    pub fn create(vfs: &Arc<dyn Vfs>, dir: &Path, store: StoreId, options: LevelsOptions) -> Result<Self> {
        if Current::read(vfs.as_ref(), dir)?.is_some() {
            return Err(Error::StoreExists { dir: dir.to_owned() });
        }
        orphans::remove_unfinished_store(vfs.as_ref(), dir)?;
        let state = TreeState { counters: FIRST, ..TreeState::new(store) };
        let number = LogNumber(1);
        let writer = ManifestWriter::start(vfs, dir, number, &state, options.read.keys.as_deref())?;
        Self::assemble(vfs, dir, options, state, number, Some(writer))
    }

    /// Opens the tree in a directory. Nothing is written: the first edit starts a fresh manifest.
    ///
    /// # Errors
    /// When there is no store, when the manifest or a table that it names is damaged, missing or unknown to this
    /// program, or when a file cannot be read.
    pub fn open(vfs: &Arc<dyn Vfs>, dir: &Path, options: LevelsOptions) -> Result<(Self, ManifestRecovery)> {
        let Some(current) = Current::read(vfs.as_ref(), dir)? else {
            return Err(orphans::without_current(vfs.as_ref(), dir)?);
        };
        let (mut state, recovery) = recover(vfs, dir, current, options.read.keys.as_deref())?;
        state.clean_shutdown = recovery.clean_shutdown;
        if recovery.clean_shutdown {
            // Not one version above the last may be handed out before an edit has taken the mark back.
            state.version_ceiling = state.last_version;
        }
        let levels = Self::assemble(vfs, dir, options, state, current.manifest, None)?;
        Ok((levels, recovery))
    }

    /// Makes durable what [`open`](Self::open) has read, before anything else is written: the last edit was perhaps never
    /// synced, and whoever acts on it would otherwise have acted on what a power loss takes back. Its torn tail goes.
    ///
    /// # Errors
    /// When the manifest cannot be cut or synced.
    pub fn settle_manifest(&self, recovery: &ManifestRecovery) -> Result<()> {
        // A fresh manifest holds all of it, synced.
        if recovery.clean_shutdown || self.manifest.lock().writer.is_some() {
            return Ok(());
        }
        Ok(wal::truncate_log(&self.vfs, &recovery.path, recovery.end)?)
    }

    /// The id of the store whose tree, not encrypted, is in a directory; `None` where there is no tree or its manifest tells
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Key`] where the tree is encrypted; otherwise as [`open`](Self::open).
    pub fn store_of_plain(vfs: &Arc<dyn Vfs>, dir: &Path) -> Result<Option<StoreId>> {
        match Current::read(vfs.as_ref(), dir)? {
            Some(current) => store_of_plain(vfs, dir, current),
            None => Ok(None),
        }
    }

    fn assemble(
        vfs: &Arc<dyn Vfs>,
        dir: &Path,
        mut options: LevelsOptions,
        state: TreeState,
        number: LogNumber,
        writer: Option<ManifestWriter>,
    ) -> Result<Self> {
        options.read.store = state.store;
        let trash = Trash::new(Arc::clone(vfs), dir.to_owned());
        let versions = versions_of(&state, &options.read, &trash)?;
        let store = state.store;
        let mut next = state.counters;
        if state.clean_shutdown {
            // The one in reserve.
            next.log = next.log.saturating_sub(1).max(FIRST.log);
        }
        let (applied_tickets, cleared_tickets, ended, poisoned) = (Vec::new(), Vec::new(), false, None);
        let manifest = Manifest { next, state, number, writer, ended, applied_tickets, cleared_tickets, poisoned };
        Ok(Self {
            vfs: Arc::clone(vfs),
            dir: dir.to_owned(),
            store,
            options,
            manifest: Mutex::new(manifest),
            claims: Claims::default(),
            versions: RwLock::new(versions),
            trash,
            traffic: Traffic::default(),
        })
    }

    /// The store's id.
    #[must_use]
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// The store's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The tables of a keyspace now.
    #[must_use]
    pub fn version(&self, keyspace: KeyspaceId) -> Option<Arc<TreeVersion>> {
        self.versions.read().get(&keyspace).map(|state| Arc::clone(&state.version))
    }

    /// A keyspace now.
    #[must_use]
    pub fn keyspace(&self, keyspace: KeyspaceId) -> Option<KeyspaceState> {
        self.versions.read().get(&keyspace).cloned()
    }

    /// All keyspaces, by number.
    #[must_use]
    pub fn keyspaces(&self) -> Vec<KeyspaceState> {
        self.versions.read().values().cloned().collect()
    }

    /// Picks the most urgent compaction of a keyspace and claims its inputs; `None` where nothing is to be done now.
    #[must_use]
    pub fn pick_compaction(
        &self,
        keyspace: KeyspaceId,
        picker: &Picker,
        discard_version: Version,
    ) -> Option<Compaction> {
        self.claim(keyspace, |state, in_flight| {
            // Elsewhere a tombstone at the bottom may have to stay for the sake of what is above it.
            let discard_version = if state.ordered { discard_version } else { 0 };
            picker.pick(&state.version, in_flight, discard_version)
        })
    }

    /// Picks and claims a table to be written anew for the sake of what has expired: see [`Picker::pick_expired`].
    #[must_use]
    pub fn pick_expired(
        &self,
        keyspace: KeyspaceId,
        picker: &Picker,
        discard_version: Version,
        expiry_now: u64,
        except: &BTreeSet<TableId>,
    ) -> Option<Compaction> {
        self.claim(keyspace, |state, in_flight| {
            picker.pick_expired(&state.version, in_flight, discard_version, expiry_now, except)
        })
    }

    /// From when on each table of a keyspace in which something expires, other than those of `except`, is worth writing anew
    /// for its sake, in seconds since the Unix epoch.
    #[must_use]
    pub fn moments_of_expiry(&self, keyspace: KeyspaceId, except: &BTreeSet<TableId>) -> Vec<u64> {
        let Some(version) = self.version(keyspace) else { return Vec::new() };
        let tables = moments_of_expiry(&version).filter(|(_, _, table)| !except.contains(&table.id()));
        tables.map(|(moment, _, _)| moment).collect()
    }

    /// Picks and claims a part of a compaction by hand: see [`Picker::pick_range`].
    #[must_use]
    pub fn pick_range(
        &self,
        keyspace: KeyspaceId,
        picker: &Picker,
        level: usize,
        range: KeyRange<'_>,
        before: TableId,
        expiry_now: u64,
    ) -> Option<Compaction> {
        self.claim(keyspace, |state, in_flight| {
            picker.pick_range(&state.version, in_flight, level, range, before, expiry_now)
        })
    }

    /// The version is read under the claims' lock: a claim is given back only after its edit was installed, so no table
    /// that has left can be picked.
    fn claim(
        &self,
        keyspace: KeyspaceId,
        choose: impl FnOnce(&KeyspaceState, &crate::claims::InFlight) -> Option<crate::picker::Pick>,
    ) -> Option<Compaction> {
        let (pick, claim, version) = self.claims.claim(keyspace, |in_flight| {
            let state = self.keyspace(keyspace)?;
            Some((choose(&state, in_flight)?, state.version))
        })?;
        Some(Compaction::new(version, pick, claim))
    }

    /// What each level of a keyspace holds, and how due it is.
    #[must_use]
    pub fn level_info(&self, keyspace: KeyspaceId, picker: &Picker) -> Vec<LevelInfo> {
        let Some(version) = self.version(keyspace) else { return Vec::new() };
        let targets = LevelTargets::of(&version, picker.options());
        let scores = self.claims.look(|in_flight| picker.scores(&version, in_flight));
        let info = |(level, score): (usize, f64)| {
            let tables = version.tables(level);
            let sum = |part: fn(&crate::meta::TableMeta) -> u64| tables.iter().map(|table| part(table.meta())).sum();
            LevelInfo {
                level,
                tables: tables.len(),
                bytes: version.level_bytes(level),
                target_bytes: targets.bytes(level),
                score,
                entries: sum(|meta| meta.entries),
                tombstones: sum(|meta| meta.tombstones),
                raw_bytes: sum(|meta| meta.user_key_bytes + meta.value_bytes),
            }
        };
        scores.into_iter().enumerate().map(info).collect()
    }

    /// Bytes read, written and moved by level since the tree was opened, over all keyspaces.
    #[must_use]
    pub fn traffic(&self) -> [LevelTraffic; LEVELS] {
        self.traffic.snapshot()
    }

    /// Files of tables that were removed since the tree was opened.
    #[must_use]
    pub fn removed_files(&self) -> u64 {
        self.trash.removed()
    }

    /// Files that were to be removed and could not be.
    #[must_use]
    pub fn removal_failures(&self) -> RemovalFailures {
        self.trash.failures()
    }

    /// Removes what earlier runs left: tables that no version has, half-written files, old manifests. To be called once
    /// the whole store has been recovered, before any job writes tables. `keep` is asked for each path.
    ///
    /// # Errors
    /// When the directory cannot be listed or a file cannot be removed; the rest is left then.
    pub fn remove_orphans(&self, keep: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
        if self.options.read_only {
            return Err(Error::ReadOnly);
        }
        let manifest = self.manifest.lock();
        orphans::remove(self.vfs.as_ref(), &self.dir, &manifest.state, manifest.number, keep)
    }
}
