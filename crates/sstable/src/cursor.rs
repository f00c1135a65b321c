//! cursor
use base::{Cursor, InternalKeyRef};

use crate::{Error, Result};

/// A cursor over one table.
#[derive(Debug)]
pub struct TableCursor {}

#[allow(clippy::unimplemented, unused_variables, reason = "first light")]
impl Cursor for TableCursor {
    type Error = Error;
    fn seek_to_first(&mut self) -> Result<()> {
        unimplemented!()
    }
    fn seek_to_last(&mut self) -> Result<()> {
        unimplemented!()
    }
    fn seek(&mut self, key: InternalKeyRef<'_>) -> Result<()> {
        unimplemented!()
    }
    fn seek_for_prev(&mut self, key: InternalKeyRef<'_>) -> Result<()> {
        unimplemented!()
    }
    fn next(&mut self) -> Result<()> {
        unimplemented!()
    }
    fn prev(&mut self) -> Result<()> {
        unimplemented!()
    }
    fn valid(&self) -> bool {
        unimplemented!()
    }
    fn key(&self) -> InternalKeyRef<'_> {
        unimplemented!()
    }
    fn value(&self) -> &[u8] {
        unimplemented!()
    }
}
