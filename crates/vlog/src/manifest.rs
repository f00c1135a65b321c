//! The value log's manifest: which segments are sealed, and the counters. Rewritten whole.
//!
//! ```text
//! body    := next segment u32 | open from u32 | physical files u32 = 0 | dropped owners u32 = 0
//!          | segments u32 | segment *
//! segment := id u32 | location u8 = 0 (its own file) | flags u8 (1: it has a dead set) | end u32 | records u64
//!          | companion id 16 bytes | owners u32 | owner *
//! owner   := owner u32 | records u64 | bytes u64
//! ```
//! Ids from `next segment` on have never been used. A segment's file that is not listed is still to be sealed if its id
//! is at or above `open from`; below, it is a leftover. The number in the file's header counts its rewritings.
//!
//! Physical files that hold what is left of collected segments, their maps, and owners whose records are all dead have
//! their place; a program that does not know them refuses the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base::{Corruption, DecodeError, SegmentId, StoreId};
use vfs::Vfs;

use crate::fields::Fields;
use crate::file_name::manifest_path;
use crate::header::{CompanionId, FileHeader, FileKind, HEADER_LEN_U64};
use crate::hint::HintTotals;
use crate::{Error, Result, whole_file};

const LOCATION_OWN_FILE: u8 = 0;
const FLAG_DEAD_SET: u8 = 1;
const OWNER_LEN: usize = 20;
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
    /// Ascending by owner.
    pub(crate) owners: Vec<OwnerTotals>,
}

impl SealedSegment {
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
    pub(crate) segments: BTreeMap<SegmentId, SealedSegment>,
}

impl Manifest {
    /// The manifest of a new log. Id 0 is nobody's.
    pub(crate) fn empty() -> Self {
        let first = SegmentId(1);
        Self { generation: 0, next_segment: first, open_from: first, segments: BTreeMap::new() }
    }

    /// Reads the manifest of a folder; `None` where there is none.
    pub(crate) fn read(vfs: &dyn Vfs, dir: &Path, store: StoreId) -> Result<Option<Self>> {
        let path = manifest_path(dir);
        let Some((header, body)) = whole_file::read(vfs, &path, FileKind::Manifest, store)? else {
            return Ok(None);
        };
        let reader = BodyReader { fields: Fields::new(&body), len: body.len(), path };
        reader.read(header.number).map(Some)
    }

    /// Writes the next generation, durably: it stands once this returns, and the old one does if it fails.
    pub(crate) fn write(&mut self, vfs: &dyn Vfs, dir: &Path, store: StoreId) -> Result<()> {
        self.generation += 1;
        let header = FileHeader::salted(vfs, FileKind::Manifest, store, self.generation)?;
        whole_file::replace(vfs, &manifest_path(dir), &header, &self.encode_body())?;
        Ok(vfs.sync_dir(dir)?)
    }

    fn encode_body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        for field in [self.next_segment.0, self.open_from.0, 0, 0, count(self.segments.len())] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        for (id, segment) in &self.segments {
            out.extend_from_slice(&id.0.to_le_bytes());
            out.extend_from_slice(&[LOCATION_OWN_FILE, if segment.has_dead_set { FLAG_DEAD_SET } else { 0 }]);
            out.extend_from_slice(&segment.end.to_le_bytes());
            out.extend_from_slice(&segment.records.to_le_bytes());
            out.extend_from_slice(&segment.companion.0);
            out.extend_from_slice(&count(segment.owners.len()).to_le_bytes());
            segment.owners.iter().for_each(|totals| totals.encode_into(&mut out));
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

struct BodyReader<'a> {
    fields: Fields<'a>,
    len: usize,
    path: PathBuf,
}

impl<'a> BodyReader<'a> {
    fn read(mut self, generation: u64) -> Result<Manifest> {
        let next_segment = SegmentId(self.field(Fields::u32)?);
        let open_from = SegmentId(self.field(Fields::u32)?);
        for what in ["physical files of collected segments", "dropped owners"] {
            let count = self.field(Fields::u32)?;
            if count != 0 {
                return Err(Error::incompatible(&self.path, what, 0, count));
            }
        }
        if open_from > next_segment {
            return Err(self.wrong("open segments above the counter"));
        }
        let count = self.field(Fields::u32)? as usize;
        if count > self.fields.left() / SEGMENT_LEN_MIN {
            return Err(self.wrong("more segments than bytes"));
        }
        let mut segments = BTreeMap::new();
        for _ in 0..count {
            let (id, segment) = self.segment()?;
            let ascends = segments.last_key_value().is_none_or(|(last, _)| *last < id);
            if !ascends || id >= open_from {
                return Err(self.wrong("segments out of order"));
            }
            segments.insert(id, segment);
        }
        self.field(|fields| fields.end())?;
        Ok(Manifest { generation, next_segment, open_from, segments })
    }

    fn segment(&mut self) -> Result<(SegmentId, SealedSegment)> {
        let id = SegmentId(self.field(Fields::u32)?);
        let location = self.field(Fields::u8)?;
        if location != LOCATION_OWN_FILE {
            return Err(Error::incompatible(&self.path, "location of a segment", LOCATION_OWN_FILE, location));
        }
        let flags = self.field(Fields::u8)?;
        if flags & !FLAG_DEAD_SET != 0 {
            return Err(Error::incompatible(&self.path, "flags of a segment", FLAG_DEAD_SET, flags));
        }
        let segment = SealedSegment {
            end: self.field(Fields::u32)?,
            records: self.field(Fields::u64)?,
            companion: CompanionId(self.field(Fields::array)?),
            has_dead_set: flags & FLAG_DEAD_SET != 0,
            owners: self.field(OwnerTotals::decode_list)?,
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
