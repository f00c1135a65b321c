//! What a version edit will kill: written and synced before the edit, applied to the dead sets after it.
//!
//! ```text
//! header details := pointers u64 | 0 u64; the header's number is the ticket
//! body           := pointer *, ascending by segment and offset
//! pointer        := distance of the segment from that before varint | offset varint | length varint
//! ```

use std::path::Path;

use base::{DecodeError, SegmentId, ValuePointer, varint};
use vfs::Vfs;

use crate::fields::Fields;
use crate::file_name::deaths_path;
use crate::header::{CompanionId, FileHeader, FileKind, HEADER_LEN_U64, Store};
use crate::{Error, Result, whole_file};

/// Writes the list of a ticket. It stands once the caller has synced the folder.
pub(crate) fn write(vfs: &dyn Vfs, dir: &Path, store: Store<'_>, ticket: u64, dead: &[ValuePointer]) -> Result<()> {
    let mut sorted = dead.to_vec();
    sorted.sort_unstable_by_key(|pointer| (pointer.segment, pointer.offset));
    sorted.dedup();
    let (mut header, cipher) = FileHeader::salted(vfs, FileKind::Deaths, store, ticket, Some(CompanionId::default()))?;
    if let Some(count) = header.details.first_chunk_mut::<8>() {
        *count = (sorted.len() as u64).to_le_bytes();
    }
    let mut body = Vec::with_capacity(sorted.len() * 6);
    let mut last = 0;
    for pointer in &sorted {
        varint::push(u64::from(pointer.segment.0 - last), &mut body);
        varint::push(u64::from(pointer.offset), &mut body);
        varint::push(u64::from(pointer.len), &mut body);
        last = pointer.segment.0;
    }
    whole_file::replace(vfs, &deaths_path(dir, ticket), store, &header, cipher.as_ref(), &body)
}

/// Adds the list of a ticket, which must be there, to `dead`.
pub(crate) fn read(
    vfs: &dyn Vfs,
    dir: &Path,
    store: Store<'_>,
    ticket: u64,
    dead: &mut Vec<ValuePointer>,
) -> Result<()> {
    let path = deaths_path(dir, ticket);
    let Some((header, body)) = whole_file::read(vfs, &path, FileKind::Deaths, store)? else {
        return Err(Error::corruption(&path, 0, "missing death list"));
    };
    header.expect(&path, ticket, None)?;
    decode(&header, &body, dead).map_err(|error| error.at(path, HEADER_LEN_U64).into())
}

fn decode(header: &FileHeader, body: &[u8], dead: &mut Vec<ValuePointer>) -> std::result::Result<(), DecodeError> {
    let count = Fields::new(&header.details).u64()?;
    let mut fields = Fields::new(body);
    let mut segment = 0u32;
    for _ in 0..count {
        let distance = fields.varint_u32()?;
        segment = segment.checked_add(distance).ok_or(DecodeError::new("segment over 32 bits"))?;
        let (offset, len) = (fields.varint_u32()?, fields.varint_u32()?);
        dead.push(ValuePointer { segment: SegmentId(segment), len, offset });
    }
    fields.end()
}
