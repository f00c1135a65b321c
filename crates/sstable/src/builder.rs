//! builder
use std::path::Path;
use std::sync::Arc;

use base::{InternalKeyRef, TableId};
use vfs::Vfs;

use crate::{Result, TableOptions, TableSummary};

/// Builds a table.
#[derive(Debug)]
pub struct TableBuilder {}

#[allow(missing_docs, clippy::missing_errors_doc, clippy::unimplemented, unused_variables, reason = "first light")]
impl TableBuilder {
    pub fn create(vfs: &Arc<dyn Vfs>, dir: &Path, id: TableId, options: TableOptions) -> Result<Self> {
        unimplemented!()
    }
    pub fn add(&mut self, key: InternalKeyRef<'_>, entry: &[u8]) -> Result<()> {
        unimplemented!()
    }
    pub fn entries(&self) -> u64 {
        unimplemented!()
    }
    pub fn estimated_size(&self) -> u64 {
        unimplemented!()
    }
    pub fn finish(self) -> Result<TableSummary> {
        unimplemented!()
    }
    pub fn abandon(self) -> Result<()> {
        unimplemented!()
    }
}
