//! Builds the versions that an edit leads to, before the edit is written, and installs them once it is durable.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base::limits::LEVELS;
use base::sync::Arc;
use base::{KeyspaceId, TableId};
use sstable::ReadOptions;

use crate::edit::{KeyspaceEdit, VersionEdit};
use crate::error::{Error, Result};
use crate::levels::KeyspaceState;
use crate::metrics::Traffic;
use crate::state::TreeState;
use crate::table_handle::{TableHandle, Trash};
use crate::version::TreeVersion;

/// Versions ready to be installed; afterwards, those that were replaced.
///
/// To be dropped outside every lock: with the last holder of a version, files of tables go.
#[derive(Debug)]
pub(crate) struct Installation {
    states: Vec<KeyspaceState>,
    /// Tables that leave for good.
    obsolete: Vec<Arc<TableHandle>>,
    traffic: Vec<Arrival>,
}

/// A table that arrives at a level.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    level: usize,
    bytes: u64,
    moved: bool,
}

impl Installation {
    /// Opens new tables and builds new versions. Changes nothing.
    pub(crate) fn prepare(
        state_of: impl Fn(KeyspaceId) -> Option<KeyspaceState>,
        edit: &VersionEdit,
        read: &ReadOptions,
        trash: &Arc<Trash>,
    ) -> Result<Self> {
        let mut installation = Self { states: Vec::new(), obsolete: Vec::new(), traffic: Vec::new() };
        for keyspace in &edit.keyspaces {
            let state = match (&keyspace.created, state_of(keyspace.id)) {
                (_, Some(state)) => state,
                (Some(created), None) => KeyspaceState {
                    id: keyspace.id,
                    name: created.name.as_str().into(),
                    options: created.options.as_slice().into(),
                    log_number: Default::default(),
                    ordered: true,
                    dropped_tombstone_version: 0,
                    version: Arc::new(TreeVersion::empty(keyspace.id)),
                },
                (None, None) => return Err(Error::UnknownKeyspace(keyspace.id)),
            };
            installation.prepare_keyspace(state, keyspace, read, trash)?;
        }
        Ok(installation)
    }

    fn prepare_keyspace(
        &mut self,
        mut state: KeyspaceState,
        edit: &KeyspaceEdit,
        read: &ReadOptions,
        trash: &Arc<Trash>,
    ) -> Result<()> {
        if let Some(options) = &edit.options {
            state.options = options.as_slice().into();
        }
        state.log_number = state.log_number.max(edit.log_number.unwrap_or_default());
        state.ordered = edit.ordered.unwrap_or(state.ordered);
        let dropped = edit.dropped_tombstone_version.unwrap_or(0);
        state.dropped_tombstone_version = state.dropped_tombstone_version.max(dropped);
        if !edit.removed.is_empty() || !edit.added.is_empty() {
            state.version = Arc::new(self.next_version(&state.version, edit, read, trash)?);
        }
        self.states.push(state);
        Ok(())
    }

    fn next_version(
        &mut self,
        version: &TreeVersion,
        edit: &KeyspaceEdit,
        read: &ReadOptions,
        trash: &Arc<Trash>,
    ) -> Result<TreeVersion> {
        let removed: BTreeSet<TableId> = edit.removed.iter().copied().collect();
        let mut leaving: HashMap<TableId, Arc<TableHandle>> = HashMap::new();
        let mut levels: [Vec<Arc<TableHandle>>; LEVELS] = Default::default();
        for (level, table) in version.all_tables() {
            if removed.contains(&table.id()) {
                leaving.insert(table.id(), Arc::clone(table));
            } else if let Some(tables) = levels.get_mut(level) {
                tables.push(Arc::clone(table));
            }
        }
        for added in &edit.added {
            let moved = leaving.remove(&added.meta.id);
            self.traffic.push(Arrival { level: added.level, bytes: added.meta.file_size, moved: moved.is_some() });
            let table = match moved {
                Some(table) => table,
                None => TableHandle::open(added.meta.clone(), read, trash)?,
            };
            if let Some(tables) = levels.get_mut(added.level) {
                tables.push(table);
            }
        }
        self.obsolete.extend(leaving.into_values());
        TreeVersion::build(version.keyspace(), levels)
    }

    /// Installs what was prepared, and keeps what it replaces. Requires: the edit is durable.
    pub(crate) fn install(&mut self, versions: &mut BTreeMap<KeyspaceId, KeyspaceState>, traffic: &Traffic) {
        for table in &self.obsolete {
            table.mark_obsolete();
        }
        for arrival in &self.traffic {
            if arrival.moved {
                traffic.add_moved(arrival.level, arrival.bytes);
            } else {
                traffic.add_written(arrival.level, arrival.bytes);
            }
        }
        for state in &mut self.states {
            let replaced = versions.insert(state.id, state.clone());
            if let Some(replaced) = replaced {
                *state = replaced;
            }
        }
    }

    /// Whether no keyspace changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }
}

/// Opens every table of a recovered state.
pub(crate) fn versions_of(
    state: &TreeState,
    read: &ReadOptions,
    trash: &Arc<Trash>,
) -> Result<BTreeMap<KeyspaceId, KeyspaceState>> {
    let mut versions = BTreeMap::new();
    for (id, record) in &state.keyspaces {
        let mut levels: [Vec<Arc<TableHandle>>; LEVELS] = Default::default();
        for table in record.tables.values() {
            if let Some(tables) = levels.get_mut(table.level) {
                tables.push(TableHandle::open(table.meta.clone(), read, trash)?);
            }
        }
        let state = KeyspaceState {
            id: *id,
            name: record.name.as_str().into(),
            options: record.options.as_slice().into(),
            log_number: record.log_number,
            ordered: record.ordered,
            dropped_tombstone_version: record.dropped_tombstone_version,
            version: Arc::new(TreeVersion::build(*id, levels)?),
        };
        versions.insert(*id, state);
    }
    Ok(versions)
}
