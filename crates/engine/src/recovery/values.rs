//! Where values begin that no table points to, for a recovery that no log tells.
//!
//! A log's header says where the value log stood when the log was made; tables point to nothing behind that as long as
//! the log is the oldest that is needed. If the power goes before the header was ever synced, that is lost, but the
//! tables still know.

use std::sync::Arc;

use base::{Cursor, EntryKind, EntryRef, PointerPayload, ValueLogHead};
use lsm_levels::Levels;
use sstable::{CursorOptions, Table};

use crate::Result;
use crate::read::bad_entry;

/// The end of the last value that a table points to. Reads the tables that point into the newest segment of all, without
/// values.
pub(super) fn end_of_values_in_tables(levels: &Levels) -> Result<ValueLogHead> {
    let keyspaces = levels.keyspaces();
    let versions = keyspaces.iter().map(|keyspace| &keyspace.version);
    let tables: Vec<Arc<Table>> =
        versions.flat_map(|version| version.all_tables().map(|(_, table)| Arc::clone(table.table()))).collect();
    let newest = tables.iter().filter_map(|table| table.segments().last().copied()).max();
    let Some(segment) = newest else { return Ok(ValueLogHead::default()) };
    let mut end = ValueLogHead { segment, offset: 0 };
    for table in tables.iter().filter(|table| table.segments().last() == Some(&segment)) {
        let mut cursor = table.cursor(CursorOptions { fill_cache: false, read_ahead: true });
        cursor.seek_to_first()?;
        while cursor.valid() {
            let entry = EntryRef::decode(cursor.value()).map_err(bad_entry)?;
            if entry.meta.kind == EntryKind::Pointer {
                let pointer = PointerPayload::decode(entry.payload).map_err(bad_entry)?.pointer;
                let offset = pointer.offset.saturating_add(pointer.len);
                end = end.max(ValueLogHead { segment: pointer.segment, offset });
            }
            cursor.next()?;
        }
    }
    Ok(end)
}
