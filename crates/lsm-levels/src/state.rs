//! What all edits of a manifest add up to. Pure: edits in, the state out.

use std::collections::{BTreeMap, BTreeSet};

use base::limits::{KEYSPACE_NAME_LEN_MAX, KEYSPACES_MAX, LEVELS};
use base::{KeyspaceId, LogNumber, StoreId, TableId, Version};

use crate::edit::{KeyspaceEdit, NewKeyspace, NewTable, Place, VersionEdit};
use crate::meta::TableMeta;

/// Longest encoded options of a keyspace in bytes.
pub(crate) const KEYSPACE_OPTIONS_LEN_MAX: usize = 64 << 10;

/// Numbers of which all below may have been handed out. They are raised by a durable edit before they are used, so none
/// is ever handed out twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) table: u64,
    pub(crate) log: u64,
    pub(crate) ticket: u64,
    pub(crate) keyspace: u64,
}

impl Counters {
    /// The greater of each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            table: self.table.max(other.table),
            log: self.log.max(other.log),
            ticket: self.ticket.max(other.ticket),
            keyspace: self.keyspace.max(other.keyspace),
        }
    }
}

/// Why an edit does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) what: &'static str,
    pub(crate) keyspace: KeyspaceId,
    pub(crate) table: TableId,
}

/// A table and its level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlacedTable {
    pub(crate) level: usize,
    pub(crate) meta: TableMeta,
}

/// A keyspace as its edits left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyspaceRecord {
    pub(crate) name: String,
    pub(crate) options: Vec<u8>,
    pub(crate) log_number: LogNumber,
    pub(crate) ordered: bool,
    pub(crate) dropped_tombstone_version: Version,
    /// The place of the next run of level 0.
    pub(crate) next_sequence: u64,
    pub(crate) tables: BTreeMap<TableId, PlacedTable>,
}

/// A store's tree as its edits left it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TreeState {
    pub(crate) store: StoreId,
    pub(crate) counters: Counters,
    pub(crate) last_version: Version,
    pub(crate) version_ceiling: Version,
    pub(crate) clean_shutdown: bool,
    pub(crate) tickets: BTreeSet<u64>,
    pub(crate) keyspaces: BTreeMap<KeyspaceId, KeyspaceRecord>,
}

impl TreeState {
    /// The state of a new store.
    pub(crate) fn new(store: StoreId) -> Self {
        Self { store, ..Self::default() }
    }

    /// Gives every table that an edit adds to level 0 its place.
    pub(crate) fn resolve_places(&self, edit: &mut VersionEdit) {
        for keyspace in &mut edit.keyspaces {
            let newest = self.keyspaces.get(&keyspace.id).map_or(1, |record| record.next_sequence);
            for added in keyspace.added.iter_mut().filter(|added| added.level == 0) {
                added.meta.sequence = match added.place {
                    Place::Newest => newest,
                    Place::At(sequence) => sequence,
                };
                added.place = Place::At(added.meta.sequence);
            }
        }
    }

    /// Whether the edit fits. Overlaps are found when the version is built.
    pub(crate) fn check(&self, edit: &VersionEdit) -> Result<(), Refusal> {
        let mut seen = BTreeSet::new();
        for keyspace in &edit.keyspaces {
            let refuse = |what| Err(Refusal { what, keyspace: keyspace.id, table: TableId(0) });
            if !seen.insert(keyspace.id) {
                return refuse("a keyspace stands in the edit twice");
            }
            if keyspace.options.as_ref().is_some_and(|options| options.len() > KEYSPACE_OPTIONS_LEN_MAX) {
                return refuse("the options of a keyspace are too long");
            }
            match (&keyspace.created, self.keyspaces.get(&keyspace.id)) {
                (Some(created), None) => self.check_created(keyspace, created)?,
                (Some(_), Some(_)) => return refuse("a keyspace of this number exists"),
                (None, None) => return refuse("there is no such keyspace"),
                (None, Some(record)) => {
                    if keyspace.log_number.is_some_and(|number| number < record.log_number) {
                        return refuse("the log number of a keyspace goes back");
                    }
                }
            }
            self.check_tables(keyspace)?;
        }
        Ok(())
    }

    fn check_created(&self, keyspace: &KeyspaceEdit, created: &NewKeyspace) -> Result<(), Refusal> {
        let refuse = |what| Err(Refusal { what, keyspace: keyspace.id, table: TableId(0) });
        if self.keyspaces.len() >= KEYSPACES_MAX {
            return refuse("there are too many keyspaces");
        }
        if created.name.is_empty() || created.name.len() > KEYSPACE_NAME_LEN_MAX {
            return refuse("the name of a keyspace is empty or too long");
        }
        if created.options.len() > KEYSPACE_OPTIONS_LEN_MAX {
            return refuse("the options of a keyspace are too long");
        }
        if self.keyspaces.values().any(|record| record.name == created.name) {
            return refuse("a keyspace of this name exists");
        }
        Ok(())
    }

    fn check_tables(&self, keyspace: &KeyspaceEdit) -> Result<(), Refusal> {
        let refuse = |what, table| Err(Refusal { what, keyspace: keyspace.id, table });
        let existing = self.keyspaces.get(&keyspace.id).map(|record| &record.tables);
        let mut removed = BTreeSet::new();
        for id in &keyspace.removed {
            if !removed.insert(*id) || existing.is_none_or(|tables| !tables.contains_key(id)) {
                return refuse("a table to be removed is not there", *id);
            }
        }
        let mut added = BTreeSet::new();
        for NewTable { level, meta, .. } in &keyspace.added {
            if *level >= LEVELS {
                return refuse("a level beyond the last", meta.id);
            }
            let remains = existing.is_some_and(|tables| tables.contains_key(&meta.id)) && !removed.contains(&meta.id);
            if remains || !added.insert(meta.id) {
                return refuse("a table to be added is there already", meta.id);
            }
            if meta.smallest > meta.largest || meta.min_version > meta.max_version {
                return refuse("the bounds of a table are crossed", meta.id);
            }
        }
        Ok(())
    }

    /// Applies an edit that [`check`](Self::check) has let pass.
    pub(crate) fn apply(&mut self, edit: &VersionEdit, counters: Counters) {
        // The last edit of a run knows exactly what was handed out.
        self.counters = if edit.clean_shutdown { counters } else { self.counters.max(counters) };
        self.last_version = self.last_version.max(edit.last_version.unwrap_or(0));
        self.version_ceiling = self.version_ceiling.max(edit.version_ceiling.unwrap_or(0));
        self.clean_shutdown = edit.clean_shutdown;
        self.tickets.extend(&edit.tickets_added);
        for ticket in &edit.tickets_cleared {
            self.tickets.remove(ticket);
        }
        for keyspace in &edit.keyspaces {
            self.apply_keyspace(keyspace);
        }
    }

    fn apply_keyspace(&mut self, edit: &KeyspaceEdit) {
        let record = self.keyspaces.entry(edit.id).or_insert_with(|| {
            let created = edit.created.clone().unwrap_or(NewKeyspace { name: String::new(), options: Vec::new() });
            KeyspaceRecord {
                name: created.name,
                options: created.options,
                log_number: LogNumber(0),
                ordered: true,
                dropped_tombstone_version: 0,
                next_sequence: 1,
                tables: BTreeMap::new(),
            }
        });
        if let Some(options) = &edit.options {
            record.options.clone_from(options);
        }
        record.log_number = record.log_number.max(edit.log_number.unwrap_or_default());
        record.ordered = edit.ordered.unwrap_or(record.ordered);
        let dropped = edit.dropped_tombstone_version.unwrap_or(0);
        record.dropped_tombstone_version = record.dropped_tombstone_version.max(dropped);
        for id in &edit.removed {
            record.tables.remove(id);
        }
        for NewTable { level, meta, .. } in &edit.added {
            if *level == 0 {
                record.next_sequence = record.next_sequence.max(meta.sequence.saturating_add(1));
            }
            record.tables.insert(meta.id, PlacedTable { level: *level, meta: meta.clone() });
        }
    }

    /// The edit that leads from nothing to this state.
    pub(crate) fn to_edit(&self) -> VersionEdit {
        let keyspaces = self.keyspaces.iter().map(|(id, record)| KeyspaceEdit {
            id: *id,
            created: Some(NewKeyspace { name: record.name.clone(), options: record.options.clone() }),
            options: None,
            log_number: Some(record.log_number),
            ordered: Some(record.ordered),
            dropped_tombstone_version: Some(record.dropped_tombstone_version),
            removed: Vec::new(),
            added: record
                .tables
                .values()
                .map(|table| NewTable {
                    level: table.level,
                    place: Place::At(table.meta.sequence),
                    meta: table.meta.clone(),
                })
                .collect(),
        });
        VersionEdit {
            keyspaces: keyspaces.collect(),
            last_version: Some(self.last_version),
            version_ceiling: Some(self.version_ceiling),
            tickets_added: self.tickets.iter().copied().collect(),
            tickets_cleared: Vec::new(),
            clean_shutdown: self.clean_shutdown,
        }
    }
}
