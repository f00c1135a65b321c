//! A table as versions hold it: what the manifest says of it, the open table, and the duty to remove the file.
//!
//! Invariant: a file is unlinked only after the edit that removed its table was durable ([`TableHandle::mark_obsolete`])
//! and the last version or cursor that held the handle is gone.

use std::path::PathBuf;

use base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use base::sync::{Arc, Mutex};
use base::{Corruption, TableId};
use sstable::{ReadOptions, Table, table_path};
use vfs::Vfs;

use crate::error::{Error, Result};
use crate::meta::TableMeta;

/// A table in one or more versions.
#[derive(Debug)]
pub struct TableHandle {
    meta: TableMeta,
    table: Arc<Table>,
    obsolete: AtomicBool,
    trash: Arc<Trash>,
}

impl TableHandle {
    /// Opens the table that `meta` speaks of.
    pub(crate) fn open(meta: TableMeta, read: &ReadOptions, trash: &Arc<Trash>) -> Result<Arc<Self>> {
        let options = ReadOptions { expected_size: Some(meta.file_size), ..read.clone() };
        let table = Table::open(&trash.vfs, &trash.dir, meta.id, options).map_err(|error| match error {
            sstable::Error::Vfs(error) if error.is_not_found() => {
                Corruption::new(table_path(&trash.dir, meta.id), 0, "a table that the manifest names is missing").into()
            }
            error => Error::from(error),
        })?;
        Ok(Arc::new(Self { meta, table, obsolete: AtomicBool::new(false), trash: Arc::clone(trash) }))
    }

    /// What the manifest says of the table.
    #[must_use]
    pub fn meta(&self) -> &TableMeta {
        &self.meta
    }

    /// The table's number.
    #[must_use]
    pub fn id(&self) -> TableId {
        self.meta.id
    }

    /// The open table.
    #[must_use]
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Lets the file go with the last holder. Requires: the edit that removed the table is durable.
    pub(crate) fn mark_obsolete(&self) {
        self.obsolete.store(true, Ordering::Release);
    }
}

impl Drop for TableHandle {
    fn drop(&mut self) {
        if self.obsolete.load(Ordering::Acquire) {
            self.trash.remove(self.meta.id);
        }
    }
}

/// Files that could not be removed. They are orphans until the store is opened again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemovalFailures {
    /// How many.
    pub count: u64,
    /// The error of the last one, in one line.
    pub last: Option<String>,
}

/// Removes files of tables, and keeps account of what failed.
#[derive(Debug)]
pub(crate) struct Trash {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    removed: AtomicU64,
    failures: Mutex<RemovalFailures>,
}

impl Trash {
    pub(crate) fn new(vfs: Arc<dyn Vfs>, dir: PathBuf) -> Arc<Self> {
        Arc::new(Self { vfs, dir, removed: AtomicU64::new(0), failures: Mutex::new(RemovalFailures::default()) })
    }

    pub(crate) fn remove(&self, id: TableId) {
        match self.vfs.remove_file(&table_path(&self.dir, id)) {
            Ok(()) => {
                self.removed.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => self.report(&error),
        }
    }

    pub(crate) fn report(&self, error: &dyn std::fmt::Display) {
        tracing::warn!(%error, "a file that is no longer needed could not be removed");
        let mut failures = self.failures.lock();
        failures.count += 1;
        failures.last = Some(error.to_string());
    }

    pub(crate) fn removed(&self) -> u64 {
        self.removed.load(Ordering::Relaxed)
    }

    pub(crate) fn failures(&self) -> RemovalFailures {
        self.failures.lock().clone()
    }
}

#[cfg(test)]
impl TableHandle {
    /// A handle that says what `meta` says, whatever the table holds: for what never reads tables.
    pub(crate) fn imagined(meta: TableMeta, table: &Arc<Table>) -> Arc<Self> {
        let trash = Trash::new(Arc::new(vfs::MemFs::new(1)), PathBuf::new());
        Arc::new(Self { meta, table: Arc::clone(table), obsolete: AtomicBool::new(false), trash })
    }
}
