//! Writes memtables to level 0.

use std::num::NonZeroU32;

use base::{Cursor, EntryKind, EntryRef, InternalKeyRef, PointerPayload, ValuePointer, Version};

use crate::edit::{NewTable, Place};
use crate::error::{Error, Result};
use crate::output::{BuildContext, OutputTables};
use crate::retention::{Retention, Verdict};

/// What a flush may leave out.
#[derive(Clone, Copy, Debug)]
pub struct FlushRetention {
    /// No reader sees anything older than the newest entry at or below this version.
    pub discard_version: Version,
    /// How many versions of a key stay at or below the discard version.
    pub versions_to_keep: NonZeroU32,
}

impl FlushRetention {
    /// Everything stays.
    #[must_use]
    pub fn everything() -> Self {
        Self { discard_version: 0, versions_to_keep: NonZeroU32::MAX }
    }
}

/// What a flush wrote.
#[derive(Debug, Default)]
pub struct Flushed {
    /// The tables, for one edit that also moves the keyspace's log number.
    pub tables: Vec<NewTable>,
    /// Values that lose their entry by that edit.
    pub deaths: Vec<ValuePointer>,
    /// Entries left out, since a newer one hides them.
    pub shadowed: u64,
}

/// Writes the entries of `cursor` to tables of level 0, which one edit should add with the keyspace's new log number.
///
/// What a newer entry of the same memtables hides from every reader is left out, so that a value that was overwritten
/// soon dies soon. All else is kept: tombstones and expired entries too, as something older may be below. Tables are cut at
/// the target size, never inside a user key, so they are disjoint and form one run. They are synced, and so are their
/// names. An empty cursor gives none.
///
/// Several memtables are flushed in one go through a [`MergeCursor`](crate::MergeCursor) over theirs.
///
/// # Errors
/// When the cursor or a file fails, or the job is cancelled. Nothing is left behind then.
pub fn flush<C: Cursor>(context: &BuildContext<'_>, retain: &FlushRetention, mut cursor: C) -> Result<Flushed>
where
    Error: From<C::Error>,
{
    // No reader's clock counts here: an expired entry stays, and is judged by a compaction.
    let mut retention = Retention::new(retain.discard_version, 0, retain.versions_to_keep);
    let mut tables = OutputTables::new(context, 0);
    let mut flushed = Flushed::default();
    let mut user_key: Vec<u8> = Vec::new();
    context.check_cancelled()?;
    cursor.seek_to_first()?;
    while cursor.valid() {
        let key = cursor.key();
        if key.user_key != user_key.as_slice() {
            user_key.clear();
            user_key.extend_from_slice(key.user_key);
            retention.start_key();
            if tables.is_full() {
                tables.cut()?;
            }
        }
        let entry = EntryRef::decode(cursor.value()).map_err(|error| damaged(context, error))?;
        if judge(&mut retention, key, &entry) == Verdict::Shadowed {
            flushed.shadowed += 1;
            if entry.meta.kind == EntryKind::Pointer {
                let payload = PointerPayload::decode(entry.payload).map_err(|error| damaged(context, error))?;
                flushed.deaths.push(payload.pointer);
            }
        } else {
            tables.add(key, cursor.value())?;
        }
        cursor.next()?;
    }
    let metas = tables.finish()?;
    flushed.tables = metas.into_iter().map(|meta| NewTable { level: 0, place: Place::Newest, meta }).collect();
    Ok(flushed)
}

/// Kinds that stand for more than one version of a key hide nothing.
#[inline]
fn judge(retention: &mut Retention, key: InternalKeyRef<'_>, entry: &EntryRef<'_>) -> Verdict {
    match entry.meta.kind {
        EntryKind::Put | EntryKind::Pointer | EntryKind::Delete => retention.judge(key.version, &entry.meta),
        EntryKind::Merge | EntryKind::RangeDelete => Verdict::Keep,
    }
}

#[cold]
fn damaged(context: &BuildContext<'_>, error: base::DecodeError) -> Error {
    error.at(context.dir.to_owned(), 0).into()
}
