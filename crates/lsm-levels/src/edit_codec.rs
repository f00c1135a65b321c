//! Version edits as bytes: one record of the manifest each.
//!
//! ```text
//! edit     := field*
//! field    := tag varint | length varint | bytes            an odd tag must be understood, an even one may be ignored
//!   1 snapshot    format version u32 | store id 16 bytes    first field of the first edit of a file, and only there
//!   3 counters    table varint | log varint | ticket varint | keyspace varint
//!   5 last version          varint
//!   7 version ceiling       varint
//!   9 tickets added         varint*
//!  11 tickets cleared       varint*
//!  13 clean shutdown        empty
//!  15 keyspace              id varint | keyspace field*
//! keyspace field := as field
//!   1 created               name length varint | name | options
//!   3 options               bytes
//!   5 log number            varint
//!   7 ordered               u8, 0 or 1
//!   9 dropped tombstone version   varint
//!  11 tables removed        id varint*
//!  13 table added           level varint | table
//!  15 dropped               empty; has its place, and is refused until dropping is built
//! table    := id | file size | sequence | smallest | largest | min version | max version | entries | tombstones
//!             | user key bytes | value bytes | stale bytes | number of segments | segment* | table field*
//!             all varints, but for the bounds: length varint and encoded internal key; segments are ascending, each
//!             but the first as its distance from the one before
//! table field := as field
//!   1 global version        varint; has its place, and is refused until ingest is built
//! ```
//! Integers outside varints are little-endian. Lengths are bounded by the record, which the log bounds by its checksum.

use base::{DecodeError, InternalKey, InternalKeyRef, KeyspaceId, LogNumber, SegmentId, StoreId, TableId, varint};
use sstable::TableExpiry;

use crate::edit::{KeyspaceEdit, NewKeyspace, NewTable, Place, VersionEdit};
use crate::meta::TableMeta;
use crate::state::Counters;

/// Version of the edits' format.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// An edit as it stands in the manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EditRecord {
    /// Set on the first edit of a file: it starts from nothing.
    pub(crate) snapshot: Option<StoreId>,
    pub(crate) counters: Counters,
    pub(crate) edit: VersionEdit,
}

/// Why bytes are not an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EditError {
    /// They are damaged.
    Damaged(DecodeError),
    /// They hold what must be understood and is not.
    Unknown { what: &'static str, found: u64 },
}

impl From<DecodeError> for EditError {
    fn from(error: DecodeError) -> Self {
        Self::Damaged(error)
    }
}

type Decoded<T> = Result<T, EditError>;

mod tag {
    pub(super) const SNAPSHOT: u64 = 1;
    pub(super) const COUNTERS: u64 = 3;
    pub(super) const LAST_VERSION: u64 = 5;
    pub(super) const VERSION_CEILING: u64 = 7;
    pub(super) const TICKETS_ADDED: u64 = 9;
    pub(super) const TICKETS_CLEARED: u64 = 11;
    pub(super) const CLEAN_SHUTDOWN: u64 = 13;
    pub(super) const KEYSPACE: u64 = 15;

    pub(super) mod keyspace {
        pub(in super::super) const CREATED: u64 = 1;
        pub(in super::super) const OPTIONS: u64 = 3;
        pub(in super::super) const LOG_NUMBER: u64 = 5;
        pub(in super::super) const ORDERED: u64 = 7;
        pub(in super::super) const DROPPED_TOMBSTONE_VERSION: u64 = 9;
        pub(in super::super) const TABLES_REMOVED: u64 = 11;
        pub(in super::super) const TABLE_ADDED: u64 = 13;
    }

    pub(super) mod table {
        pub(in super::super) const POINTED_BYTES: u64 = 2;
        pub(in super::super) const FIRST_EXPIRY: u64 = 4;
        pub(in super::super) const EXPIRY_EIGHTHS: u64 = 6;
    }
}

impl EditRecord {
    /// The bytes of the record.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(store) = self.snapshot {
            field(&mut out, tag::SNAPSHOT, |out| {
                out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
                out.extend_from_slice(&store.0);
            });
        }
        field(&mut out, tag::COUNTERS, |out| {
            let Counters { table, log, ticket, keyspace } = self.counters;
            [table, log, ticket, keyspace].into_iter().for_each(|counter| varint::push(counter, out));
        });
        let edit = &self.edit;
        optional_number(&mut out, tag::LAST_VERSION, edit.last_version);
        optional_number(&mut out, tag::VERSION_CEILING, edit.version_ceiling);
        numbers(&mut out, tag::TICKETS_ADDED, edit.tickets_added.iter().copied());
        numbers(&mut out, tag::TICKETS_CLEARED, edit.tickets_cleared.iter().copied());
        if edit.clean_shutdown {
            field(&mut out, tag::CLEAN_SHUTDOWN, |_| {});
        }
        for keyspace in &edit.keyspaces {
            field(&mut out, tag::KEYSPACE, |out| encode_keyspace(keyspace, out));
        }
        out
    }

    /// Reads a record.
    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut record = Self::default();
        let mut rest = bytes;
        while let Some((tag, value)) = next_field(&mut rest)? {
            match tag {
                tag::SNAPSHOT => record.snapshot = Some(decode_snapshot(value)?),
                tag::COUNTERS => record.counters = decode_counters(value)?,
                tag::LAST_VERSION => record.edit.last_version = Some(number(value)?),
                tag::VERSION_CEILING => record.edit.version_ceiling = Some(number(value)?),
                tag::TICKETS_ADDED => record.edit.tickets_added = decode_numbers(value)?,
                tag::TICKETS_CLEARED => record.edit.tickets_cleared = decode_numbers(value)?,
                tag::CLEAN_SHUTDOWN => record.edit.clean_shutdown = true,
                tag::KEYSPACE => record.edit.keyspaces.push(decode_keyspace(value)?),
                tag => ignore("tag of a version edit", tag)?,
            }
        }
        Ok(record)
    }
}

fn encode_keyspace(edit: &KeyspaceEdit, out: &mut Vec<u8>) {
    varint::push(u64::from(edit.id.0), out);
    if let Some(created) = &edit.created {
        field(out, tag::keyspace::CREATED, |out| {
            varint::push_bytes(created.name.as_bytes(), out);
            out.extend_from_slice(&created.options);
        });
    }
    if let Some(options) = &edit.options {
        field(out, tag::keyspace::OPTIONS, |out| out.extend_from_slice(options));
    }
    optional_number(out, tag::keyspace::LOG_NUMBER, edit.log_number.map(|number| number.0));
    optional_number(out, tag::keyspace::ORDERED, edit.ordered.map(u64::from));
    optional_number(out, tag::keyspace::DROPPED_TOMBSTONE_VERSION, edit.dropped_tombstone_version);
    numbers(out, tag::keyspace::TABLES_REMOVED, edit.removed.iter().map(|id| id.0));
    for added in &edit.added {
        field(out, tag::keyspace::TABLE_ADDED, |out| {
            varint::push(added.level as u64, out);
            encode_table(&added.meta, out);
        });
    }
}

fn decode_keyspace(bytes: &[u8]) -> Decoded<KeyspaceEdit> {
    let (id, mut rest) = varint::decode_u32(bytes)?;
    let mut edit = KeyspaceEdit::new(KeyspaceId(id));
    while let Some((tag, value)) = next_field(&mut rest)? {
        match tag {
            tag::keyspace::CREATED => edit.created = Some(decode_created(value)?),
            tag::keyspace::OPTIONS => edit.options = Some(value.to_vec()),
            tag::keyspace::LOG_NUMBER => edit.log_number = Some(LogNumber(number(value)?)),
            tag::keyspace::ORDERED => edit.ordered = Some(decode_flag(value)?),
            tag::keyspace::DROPPED_TOMBSTONE_VERSION => edit.dropped_tombstone_version = Some(number(value)?),
            tag::keyspace::TABLES_REMOVED => {
                edit.removed = decode_numbers(value)?.into_iter().map(TableId).collect();
            }
            tag::keyspace::TABLE_ADDED => edit.added.push(decode_added(value)?),
            tag => ignore("tag of a keyspace's edit", tag)?,
        }
    }
    Ok(edit)
}

fn encode_table(meta: &TableMeta, out: &mut Vec<u8>) {
    [meta.id.0, meta.file_size, meta.sequence].into_iter().for_each(|number| varint::push(number, out));
    for bound in [&meta.smallest, &meta.largest] {
        varint::push(bound.as_ref().encoded_len() as u64, out);
        bound.as_ref().encode_into(out);
    }
    [
        meta.min_version,
        meta.max_version,
        meta.entries,
        meta.tombstones,
        meta.user_key_bytes,
        meta.value_bytes,
        meta.stale_bytes,
        meta.segments.len() as u64,
    ]
    .into_iter()
    .for_each(|number| varint::push(number, out));
    let mut before = 0;
    for segment in &meta.segments {
        varint::push(u64::from(segment.0.wrapping_sub(before)), out);
        before = segment.0;
    }
    optional_number(out, tag::table::POINTED_BYTES, Some(meta.pointed_bytes).filter(|bytes| *bytes > 0));
    optional_number(out, tag::table::FIRST_EXPIRY, Some(meta.expiry.first).filter(|first| *first > 0));
    numbers(out, tag::table::EXPIRY_EIGHTHS, meta.expiry.eighths.iter().copied());
}

fn decode_added(bytes: &[u8]) -> Decoded<NewTable> {
    let (level, rest) = varint::decode(bytes)?;
    let level = usize::try_from(level).map_err(|_| DecodeError::new("level over 64 bits"))?;
    let meta = decode_table(rest)?;
    Ok(NewTable { level, place: Place::At(meta.sequence), meta })
}

fn decode_table(bytes: &[u8]) -> Decoded<TableMeta> {
    let rest = &mut { bytes };
    let mut meta = TableMeta {
        id: TableId(next_number(rest)?),
        file_size: next_number(rest)?,
        sequence: next_number(rest)?,
        smallest: next_bound(rest)?,
        largest: next_bound(rest)?,
        min_version: next_number(rest)?,
        max_version: next_number(rest)?,
        entries: next_number(rest)?,
        tombstones: next_number(rest)?,
        user_key_bytes: next_number(rest)?,
        value_bytes: next_number(rest)?,
        stale_bytes: next_number(rest)?,
        segments: next_segments(rest)?,
        pointed_bytes: 0,
        expiry: TableExpiry::default(),
    };
    while let Some((tag, value)) = next_field(rest)? {
        match tag {
            tag::table::POINTED_BYTES => meta.pointed_bytes = number(value)?,
            tag::table::FIRST_EXPIRY => meta.expiry.first = number(value)?,
            tag::table::EXPIRY_EIGHTHS => meta.expiry.eighths = decode_eighths(value)?,
            tag => ignore("tag of a table", tag)?,
        }
    }
    Ok(meta)
}

fn decode_eighths(bytes: &[u8]) -> Decoded<Vec<u64>> {
    let eighths = decode_numbers(bytes)?;
    if eighths.len() > 8 || !eighths.is_sorted() {
        return Err(DecodeError::new("moments of expiry are too many or do not ascend").into());
    }
    Ok(eighths)
}

fn next_segments(rest: &mut &[u8]) -> Decoded<Vec<SegmentId>> {
    let count = next_number(rest)?;
    // Each takes a byte at least, so a false count cannot ask for more memory than the record has bytes.
    let count = usize::try_from(count).ok().filter(|count| *count <= rest.len());
    let count = count.ok_or(DecodeError::new("more segments than bytes"))?;
    let mut segments = Vec::with_capacity(count);
    let mut before = 0u32;
    for position in 0..count {
        let distance = u32::try_from(next_number(rest)?).map_err(|_| DecodeError::new("segment over 32 bits"))?;
        if distance == 0 && position > 0 {
            return Err(DecodeError::new("segments do not ascend").into());
        }
        before = before.checked_add(distance).ok_or(DecodeError::new("segment over 32 bits"))?;
        segments.push(SegmentId(before));
    }
    Ok(segments)
}

fn next_bound(rest: &mut &[u8]) -> Decoded<InternalKey> {
    let (bound, behind) = varint::decode_bytes(rest)?;
    *rest = behind;
    Ok(InternalKeyRef::decode(bound)?.to_owned())
}

fn next_number(rest: &mut &[u8]) -> Decoded<u64> {
    let (number, behind) = varint::decode(rest)?;
    *rest = behind;
    Ok(number)
}

fn decode_snapshot(bytes: &[u8]) -> Decoded<StoreId> {
    let (version, store) = bytes.split_first_chunk::<4>().ok_or(DecodeError::new("snapshot mark cut short"))?;
    let version = u32::from_le_bytes(*version);
    if version != FORMAT_VERSION {
        return Err(EditError::Unknown { what: "format version of the manifest", found: u64::from(version) });
    }
    let store = <[u8; 16]>::try_from(store).map_err(|_| DecodeError::new("store id not of 16 bytes"))?;
    Ok(StoreId(store))
}

fn decode_counters(bytes: &[u8]) -> Decoded<Counters> {
    match decode_numbers(bytes)?.as_slice() {
        [table, log, ticket, keyspace] => {
            Ok(Counters { table: *table, log: *log, ticket: *ticket, keyspace: *keyspace })
        }
        _ => Err(DecodeError::new("not four counters").into()),
    }
}

fn decode_created(bytes: &[u8]) -> Decoded<NewKeyspace> {
    let (name, options) = varint::decode_bytes(bytes)?;
    let name = std::str::from_utf8(name).map_err(|_| DecodeError::new("name of a keyspace not UTF-8"))?;
    Ok(NewKeyspace { name: name.to_owned(), options: options.to_vec() })
}

fn decode_flag(bytes: &[u8]) -> Decoded<bool> {
    match bytes {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(DecodeError::new("flag neither 0 nor 1").into()),
    }
}

/// Appends a field whose bytes `fill` appends.
fn field(out: &mut Vec<u8>, tag: u64, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut value = Vec::new();
    fill(&mut value);
    varint::push(tag, out);
    varint::push_bytes(&value, out);
}

fn numbers(out: &mut Vec<u8>, tag: u64, numbers: impl ExactSizeIterator<Item = u64>) {
    if numbers.len() > 0 {
        field(out, tag, |out| numbers.for_each(|number| varint::push(number, out)));
    }
}

fn optional_number(out: &mut Vec<u8>, tag: u64, number: Option<u64>) {
    numbers(out, tag, number.into_iter());
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Decoded<Option<(u64, &'a [u8])>> {
    if rest.is_empty() {
        return Ok(None);
    }
    let (tag, behind) = varint::decode(rest)?;
    let (value, behind) = varint::decode_bytes(behind)?;
    *rest = behind;
    Ok(Some((tag, value)))
}

fn ignore(what: &'static str, tag: u64) -> Decoded<()> {
    if tag.is_multiple_of(2) { Ok(()) } else { Err(EditError::Unknown { what, found: tag }) }
}

fn number(bytes: &[u8]) -> Decoded<u64> {
    match varint::decode(bytes)? {
        (number, []) => Ok(number),
        _ => Err(DecodeError::new("bytes behind a number").into()),
    }
}

fn decode_numbers(mut bytes: &[u8]) -> Decoded<Vec<u64>> {
    let mut numbers = Vec::new();
    while !bytes.is_empty() {
        numbers.push(next_number(&mut bytes)?);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests;
