//! Writes memtables to level 0.

use base::Cursor;

use crate::edit::{NewTable, Place};
use crate::error::{Error, Result};
use crate::output::{BuildContext, OutputTables};

/// Writes every entry of `cursor` to tables of level 0, which one edit should add with the keyspace's new log number.
///
/// Everything is kept: all versions, expired entries, tombstones. Tables are cut at the target size, never inside a
/// user key, so they are disjoint and form one run. They are synced, and so are their names. An empty cursor gives none.
///
/// Several memtables are flushed in one go through a [`MergeCursor`](crate::MergeCursor) over theirs.
///
/// # Errors
/// When the cursor or a file fails, or the job is cancelled. Nothing is left behind then.
pub fn flush<C: Cursor>(context: &BuildContext<'_>, mut cursor: C) -> Result<Vec<NewTable>>
where
    Error: From<C::Error>,
{
    let mut tables = OutputTables::new(context, 0);
    let mut last_user_key = Vec::new();
    context.check_cancelled()?;
    cursor.seek_to_first()?;
    while cursor.valid() {
        let key = cursor.key();
        if tables.is_full() && key.user_key != last_user_key.as_slice() {
            tables.cut()?;
        }
        tables.add(key, cursor.value())?;
        if tables.is_full() {
            last_user_key.clear();
            last_user_key.extend_from_slice(key.user_key);
        }
        cursor.next()?;
    }
    let tables = tables.finish()?;
    Ok(tables.into_iter().map(|meta| NewTable { level: 0, place: Place::Newest, meta }).collect())
}
