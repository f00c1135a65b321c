//! The value log's manifest: which segments are sealed, and the counters. Rewritten whole.
//!
//! ```text
//! body    := next segment u32 | open from u32 | dropped owners u32 = 0 | segments u32 | segment *
//! details := of a log that stands alone: segment u32 | offset u32 | 0 u64, else zeros
//! segment := id u32 | content u8 | flags u8 (1: it has a dead set, 2: which names a manifest) | end u32 | records u64
//!          | companion id 16 bytes | owners u32 | owner * | origins | with flag 2: generation u64
//! owner   := owner u32 | records u64 | bytes u64
//! origins := of a collected segment alone: segments u32 | segment u32 *, ascending
//! content := 0 (records of commits) | 1 (records that were collected from other segments)
//! ```
//! Ids from `next segment` on have never been used. A file of commits that is not listed is still to be sealed if its id
//! is at or above `open from`; below, and if it was collected, it is a leftover. The number in the file's header counts
//! its rewritings.
//!
//! The details of a log that stands alone are a head of the log: all that killed a record, up to this manifest, was synced
//! before it. A segment's generation is that of the manifest that its dead set names, or that of an earlier one.
//!
//! A segment that was collected is not listed any more; one other lists it among its origins, if anything of it is left.
//! So an address is in one file, and the whole of a collection is one manifest. Owners whose records are all dead have
//! their place; a program that does not know them refuses the file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use base::{Corruption, DecodeError, SegmentId, ValueLogHead};
use vfs::Vfs;

use crate::fields::Fields;
use crate::file_name::manifest_path;
use crate::header::{CompanionId, FileHeader, FileKind, HEADER_LEN_U64, Store};
use crate::hint::HintTotals;
use crate::segment_header::Content;
use crate::{Error, Result, whole_file};

const FLAG_DEAD_SET: u8 = 1;
const FLAG_DEAD_SET_AFTER: u8 = 2;
const OWNER_LEN: usize = 20;
const ORIGIN_LEN: usize = 4;
const SEGMENT_LEN_MIN: usize = 38;

/// What one owner has in a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnerTotals {
    /// Whose.
    pub owner: u32,
    /// Records.
    pub records: u64,
    /// Their bytes, headers and checksums included.
    pub bytes: u64,
}

/// A sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealedSegment {
    pub(crate) companion: CompanionId,
    /// Length of the file, which is where the last record ends.
    pub(crate) end: u32,
    pub(crate) records: u64,
    pub(crate) has_dead_set: bool,
    /// The manifest that its dead set was written after, at least; 0 where that is not known.
    pub(crate) dead_set_after: u64,
    /// Ascending by owner.
    pub(crate) owners: Vec<OwnerTotals>,
    /// The segments whose records a collected one holds, ascending; `None` for one of commits.
    pub(crate) origins: Option<Vec<SegmentId>>,
}

impl SealedSegment {
    pub(crate) fn content(&self) -> Content {
        if self.origins.is_some() { Content::Collected } else { Content::Commits }
    }

    /// What its hint file must come to.
    pub(crate) fn totals(&self) -> HintTotals {
        HintTotals { records: self.records, end: self.end, owners: self.owners.clone() }
    }
}

/// What the manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) generation: u64,
    pub(crate) next_segment: SegmentId,
    pub(crate) open_from: SegmentId,
    /// Of a log that stands alone: behind all that killed a record that is dead, or was when it was left out.
    pub(crate) deaths_before: ValueLogHead,
    pub(crate) segments: BTreeMap<SegmentId, SealedSegment>,
}

impl Manifest {
    /// The manifest of a new log. Id 0 is nobody's.
    pub(crate) fn empty() -> Self {
        let first = SegmentId(1);
        let deaths_before = ValueLogHead::default();
        Self { generation: 0, next_segment: first, open_from: first, deaths_before, segments: BTreeMap::new() }
    }

    /// Reads the manifest of a folder; `None` where there is none.
    pub(crate) fn read(vfs: &dyn Vfs, dir: &Path, store: Store<'_>) -> Result<Option<Self>> {
        let path = manifest_path(dir);
        let Some((header, body)) = whole_file::read(vfs, &path, FileKind::Manifest, store)? else {
            return Ok(None);
        };
        let reader = BodyReader { fields: Fields::new(&body), len: body.len(), path };
        reader.read(&header).map(Some)
    }

    /// Writes the next generation, durably: it stands once this returns, and the old one does if it fails.
    pub(crate) fn write(&mut self, vfs: &dyn Vfs, dir: &Path, store: Store<'_>) -> Result<()> {
        self.generation += 1;
        let (mut header, cipher) =
            FileHeader::salted(vfs, FileKind::Manifest, store, self.generation, Some(CompanionId::default()))?;
        let ValueLogHead { segment, offset } = self.deaths_before;
        let (head, _) = header.details.split_at_mut(8);
        head.copy_from_slice(&(u64::from(offset) << 32 | u64::from(segment.0)).to_le_bytes());
        whole_file::replace(vfs, &manifest_path(dir), store, &header, cipher.as_ref(), &self.encode_body())?;
        Ok(vfs.sync_dir(dir)?)
    }

    fn encode_body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        for field in [self.next_segment.0, self.open_from.0, 0, count(self.segments.len())] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        for (id, segment) in &self.segments {
            out.extend_from_slice(&id.0.to_le_bytes());
            let flags = match (segment.has_dead_set, segment.dead_set_after) {
                (false, _) => 0,
                (true, 0) => FLAG_DEAD_SET,
                (true, _) => FLAG_DEAD_SET | FLAG_DEAD_SET_AFTER,
            };
            out.extend_from_slice(&[segment.content() as u8, flags]);
            out.extend_from_slice(&segment.end.to_le_bytes());
            out.extend_from_slice(&segment.records.to_le_bytes());
            out.extend_from_slice(&segment.companion.0);
            out.extend_from_slice(&count(segment.owners.len()).to_le_bytes());
            segment.owners.iter().for_each(|totals| totals.encode_into(&mut out));
            if let Some(origins) = &segment.origins {
                out.extend_from_slice(&count(origins.len()).to_le_bytes());
                origins.iter().for_each(|origin| out.extend_from_slice(&origin.0.to_le_bytes()));
            }
            if flags & FLAG_DEAD_SET_AFTER != 0 {
                out.extend_from_slice(&segment.dead_set_after.to_le_bytes());
            }
        }
        out
    }
}

impl OwnerTotals {
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.owner.to_le_bytes());
        out.extend_from_slice(&self.records.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
    }

    /// Reads a count and that many totals, which must ascend by owner.
    pub(crate) fn decode_list(fields: &mut Fields<'_>) -> std::result::Result<Vec<Self>, DecodeError> {
        let count = fields.u32()? as usize;
        if count > fields.left() / OWNER_LEN {
            return Err(DecodeError::new("more owners than bytes"));
        }
        let mut owners: Vec<Self> = Vec::with_capacity(count);
        for _ in 0..count {
            let totals = Self { owner: fields.u32()?, records: fields.u64()?, bytes: fields.u64()? };
            if owners.last().is_some_and(|last| last.owner >= totals.owner) {
                return Err(DecodeError::new("owners out of order"));
            }
            owners.push(totals);
        }
        Ok(owners)
    }
}

/// Reads a count and that many segments, which must ascend.
fn decode_origins(fields: &mut Fields<'_>) -> std::result::Result<Vec<SegmentId>, DecodeError> {
    let count = fields.u32()? as usize;
    if count > fields.left() / ORIGIN_LEN {
        return Err(DecodeError::new("more origins than bytes"));
    }
    let mut origins: Vec<SegmentId> = Vec::with_capacity(count);
    for _ in 0..count {
        let origin = SegmentId(fields.u32()?);
        if origins.last().is_some_and(|last| *last >= origin) {
            return Err(DecodeError::new("origins out of order"));
        }
        origins.push(origin);
    }
    Ok(origins)
}

struct BodyReader<'a> {
    fields: Fields<'a>,
    len: usize,
    path: PathBuf,
}

impl<'a> BodyReader<'a> {
    fn read(mut self, header: &FileHeader) -> Result<Manifest> {
        let deaths_before = self.deaths_before(&header.details)?;
        let next_segment = SegmentId(self.field(Fields::u32)?);
        let open_from = SegmentId(self.field(Fields::u32)?);
        let dropped = self.field(Fields::u32)?;
        if dropped != 0 {
            return Err(Error::incompatible(&self.path, "dropped owners", 0, dropped));
        }
        if open_from > next_segment {
            return Err(self.wrong("open segments above the counter"));
        }
        let count = self.field(Fields::u32)? as usize;
        if count > self.fields.left() / SEGMENT_LEN_MIN {
            return Err(self.wrong("more segments than bytes"));
        }
        let mut segments: BTreeMap<SegmentId, SealedSegment> = BTreeMap::new();
        let mut addresses = BTreeSet::new();
        for _ in 0..count {
            let (id, segment) = self.segment()?;
            let ascends = segments.last_key_value().is_none_or(|(last, _)| *last < id);
            let bound = if segment.content() == Content::Commits { open_from } else { next_segment };
            if !ascends || id >= bound {
                return Err(self.wrong("segments out of order"));
            }
            let own = [id];
            let origins = segment.origins.as_deref().unwrap_or(&own);
            if !origins.iter().all(|origin| *origin < open_from && addresses.insert(*origin)) {
                return Err(self.wrong("addresses of one segment in two files"));
            }
            segments.insert(id, segment);
        }
        self.field(|fields| fields.end())?;
        Ok(Manifest { generation: header.number, next_segment, open_from, deaths_before, segments })
    }

    fn deaths_before(&self, details: &[u8; 16]) -> Result<ValueLogHead> {
        let mut fields = Fields::new(details);
        let damaged = |error: DecodeError| Error::from(error.at(self.path.clone(), 88));
        let segment = SegmentId(fields.u32().map_err(damaged)?);
        let offset = fields.u32().map_err(damaged)?;
        match fields.u64().map_err(damaged)? {
            0 => Ok(ValueLogHead { segment, offset }),
            found => Err(Error::incompatible(&self.path, "details of a manifest", 0, found)),
        }
    }

    fn segment(&mut self) -> Result<(SegmentId, SealedSegment)> {
        let id = SegmentId(self.field(Fields::u32)?);
        let content = self.field(Fields::u8)?;
        let Some(content) = Content::from_u32(u32::from(content)) else {
            return Err(Error::incompatible(&self.path, "content of a segment", Content::Collected as u32, content));
        };
        let flags = self.field(Fields::u8)?;
        if ![0, FLAG_DEAD_SET, FLAG_DEAD_SET | FLAG_DEAD_SET_AFTER].contains(&flags) {
            let known = FLAG_DEAD_SET | FLAG_DEAD_SET_AFTER;
            return Err(Error::incompatible(&self.path, "flags of a segment", known, flags));
        }
        let segment = SealedSegment {
            end: self.field(Fields::u32)?,
            records: self.field(Fields::u64)?,
            companion: CompanionId(self.field(Fields::array)?),
            has_dead_set: flags & FLAG_DEAD_SET != 0,
            owners: self.field(OwnerTotals::decode_list)?,
            origins: match content {
                Content::Commits => None,
                Content::Collected => Some(self.field(decode_origins)?),
            },
            dead_set_after: if flags & FLAG_DEAD_SET_AFTER != 0 { self.field(Fields::u64)? } else { 0 },
        };
        let records = segment.owners.iter().fold(0u64, |sum, totals| sum.saturating_add(totals.records));
        let bytes = segment.owners.iter().fold(HEADER_LEN_U64, |sum, totals| sum.saturating_add(totals.bytes));
        if records != segment.records || bytes != u64::from(segment.end) {
            return Err(self.wrong("owners do not add up to their segment"));
        }
        Ok((id, segment))
    }

    fn field<T>(&mut self, read: impl FnOnce(&mut Fields<'a>) -> std::result::Result<T, DecodeError>) -> Result<T> {
        let offset = self.offset();
        read(&mut self.fields).map_err(|error| error.at(self.path.clone(), offset).into())
    }

    fn wrong(&self, what: &'static str) -> Error {
        Corruption::new(self.path.clone(), self.offset(), what).into()
    }

    fn offset(&self) -> u64 {
        HEADER_LEN_U64 + (self.len - self.fields.left()) as u64
    }
}
