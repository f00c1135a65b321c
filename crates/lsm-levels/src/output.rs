//! Writes the tables of a flush or a compaction: cut at size, never inside a user key, gone again if the job fails.

use std::path::Path;

use base::limits::LEVELS;
use base::sync::Arc;
use base::sync::atomic::{AtomicBool, Ordering};
use base::{InternalKeyRef, TableId};
use encryption::Keyring;
use sstable::{TableBuilder, TableOptions, table_path};
use vfs::Vfs;

use crate::error::{Error, Result};
use crate::meta::TableMeta;

/// Bytes written between two calls of [`BuildContext::pace`].
const PACE_BYTES: u64 = 64 << 10;

/// Where tables are written and how.
#[derive(Clone, Copy)]
pub struct BuildContext<'a> {
    /// The file system.
    pub vfs: &'a Arc<dyn Vfs>,
    /// The store's directory.
    pub dir: &'a Path,
    /// With what tables are encrypted, if they are.
    pub keys: Option<&'a Keyring>,
    /// How tables of each level are written.
    pub table_options: &'a [TableOptions; LEVELS],
    /// Hands out numbers of tables, each once ([`Levels::new_table_id`](crate::Levels::new_table_id)).
    pub ids: &'a dyn Fn() -> Result<TableId>,
    /// A table ends at the first user key behind this many bytes.
    pub target_file_bytes: u64,
    /// The job stops with [`Error::Cancelled`] once this is set.
    pub cancel: &'a AtomicBool,
    /// Told every so often how many bytes were written; may wait.
    pub pace: &'a dyn Fn(u64),
}

impl std::fmt::Debug for BuildContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildContext").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl BuildContext<'_> {
    /// Fails once the job was asked to stop.
    pub(crate) fn check_cancelled(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// The tables that a job writes to one level. Dropped before [`finish`](Self::finish), it removes what it wrote.
pub(crate) struct OutputTables<'a> {
    context: &'a BuildContext<'a>,
    options: TableOptions,
    builder: Option<TableBuilder>,
    finished: Vec<TableMeta>,
    unpaced_bytes: u64,
}

impl<'a> OutputTables<'a> {
    pub(crate) fn new(context: &'a BuildContext<'a>, level: usize) -> Self {
        let options = context.table_options.get(level).copied().unwrap_or_default();
        Self { context, options, builder: None, finished: Vec::new(), unpaced_bytes: 0 }
    }

    /// Whether the table being written has reached its size. To be asked, and acted on, only between user keys.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.builder.as_ref().is_some_and(|builder| builder.estimated_size() >= self.context.target_file_bytes)
    }

    /// Bytes of the table being written.
    #[inline]
    pub(crate) fn current_bytes(&self) -> u64 {
        self.builder.as_ref().map_or(0, TableBuilder::estimated_size)
    }

    /// Adds an entry to the current table, or to a new one.
    #[inline]
    pub(crate) fn add(&mut self, key: InternalKeyRef<'_>, entry: &[u8]) -> Result<()> {
        match &mut self.builder {
            Some(builder) => builder.add(key, entry)?,
            None => self.start(key, entry)?,
        }
        self.unpaced_bytes += (key.user_key.len() + entry.len()) as u64;
        if self.unpaced_bytes >= PACE_BYTES {
            self.context.check_cancelled()?;
            (self.context.pace)(std::mem::take(&mut self.unpaced_bytes));
        }
        Ok(())
    }

    fn start(&mut self, key: InternalKeyRef<'_>, entry: &[u8]) -> Result<()> {
        let id = (self.context.ids)()?;
        let BuildContext { vfs, dir, keys, .. } = *self.context;
        let mut builder = TableBuilder::create(vfs, dir, id, self.options, keys)?;
        let added = builder.add(key, entry);
        self.builder = Some(builder);
        Ok(added?)
    }

    /// Ends the current table.
    pub(crate) fn cut(&mut self) -> Result<()> {
        if let Some(builder) = self.builder.take() {
            self.finished.push(TableMeta::from_summary(builder.finish()?));
        }
        Ok(())
    }

    /// Ends the last table and makes the names of all durable.
    pub(crate) fn finish(mut self) -> Result<Vec<TableMeta>> {
        self.cut()?;
        if !self.finished.is_empty() {
            self.context.vfs.sync_dir(self.context.dir)?;
        }
        Ok(std::mem::take(&mut self.finished))
    }
}

impl Drop for OutputTables<'_> {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.builder.take().map(TableBuilder::abandon) {
            tracing::warn!(%error, "a half-written table could not be removed");
        }
        let ids = self.finished.iter().map(|meta| meta.id);
        remove_tables(self.context.vfs.as_ref(), self.context.dir, ids);
    }
}

/// Removes tables that no version has. What cannot be removed is an orphan, until the store is opened again.
pub(crate) fn remove_tables(vfs: &dyn Vfs, dir: &Path, ids: impl Iterator<Item = TableId>) {
    for id in ids {
        if let Err(error) = vfs.remove_file(&table_path(dir, id)) {
            tracing::warn!(%error, "a table that was not published could not be removed");
        }
    }
}
