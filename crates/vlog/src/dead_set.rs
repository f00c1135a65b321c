//! Which records of a segment are dead: garbage that no entry of the tree points to any more. Records are named by their
//! positions in the file, which are their offsets until they are collected.
//!
//! ```text
//! header details := dead records u64 | their bytes u64
//! body           := offset varint, then for each further one the distance from that before varint
//!                 | in a log that stands alone: generation varint
//! ```
//! A dead set only grows, but for a repair, and is replaced whole, so applying the same deaths twice changes nothing and a crash leaves
//! the old set or the new one. It carries its segment's companion id: a set of another life is refused. The generation is that of
//! a manifest that was durable before: one that an older manifest stands beside is of another moment.

use std::collections::BTreeMap;
use std::path::Path;

use base::{Corruption, varint};
use vfs::Vfs;

use crate::beside::DeadSalt;
use crate::fields::Fields;
use crate::file_name::dead_path;
use crate::header::{FileHeader, FileKind, HEADER_LEN_U64, Store};
use crate::segment_header::SegmentHeader;
use crate::{Error, Result, whole_file};

/// Which records of a segment are dead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadSet {
    /// Ascending.
    offsets: Vec<u32>,
    bytes: u64,
    /// The manifest that was there before the set was; 0 where the log does not stand alone.
    after: u64,
}

impl DeadSet {
    /// How many records are dead.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.offsets.len() as u64
    }

    /// How many bytes they take, headers and checksums included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the record that starts at `offset` is dead.
    #[must_use]
    pub fn contains(&self, offset: u32) -> bool {
        self.offsets.binary_search(&offset).is_ok()
    }

    /// Where the dead records start, ascending.
    #[must_use]
    pub fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// Memory that it takes.
    pub(crate) fn used_bytes(&self) -> u64 {
        size_of_val(self.offsets.as_slice()) as u64
    }

    /// The manifest that was there before the set was; 0 where that is not known.
    pub(crate) fn after(&self) -> u64 {
        self.after
    }

    /// Names the manifest that is there.
    pub(crate) fn set_after(&mut self, generation: u64) {
        self.after = generation;
    }

    /// A set of records given by offset and length, ascending by offset.
    pub(crate) fn of(records: impl Iterator<Item = (u32, u32)>) -> Self {
        let mut set = Self::default();
        for (offset, len) in records {
            set.offsets.push(offset);
            set.bytes += u64::from(len);
        }
        set
    }

    /// Adds records given by offset and length, and says how many were not dead before.
    pub(crate) fn add(&mut self, records: &[(u32, u32)]) -> u64 {
        let before = self.offsets.len();
        let mut fresh = Vec::new();
        for (offset, len) in records {
            if self.offsets.get(..before).is_none_or(|known| known.binary_search(offset).is_err()) {
                fresh.push((*offset, *len));
            }
        }
        fresh.sort_unstable();
        fresh.dedup_by_key(|(offset, _)| *offset);
        let added = fresh.iter().map(|(_, len)| u64::from(*len)).sum();
        self.bytes = self.bytes.saturating_add(added);
        self.offsets.extend(fresh.iter().map(|(offset, _)| *offset));
        self.offsets.sort_unstable();
        (self.offsets.len() - before) as u64
    }

    /// Removes records given by position and length, and says how many were dead.
    pub(crate) fn remove(&mut self, records: &[(u32, u32)]) -> u64 {
        let before = self.offsets.len();
        let lengths: BTreeMap<u32, u32> = records.iter().copied().collect();
        let mut removed = 0;
        self.offsets.retain(|offset| match lengths.get(offset) {
            Some(len) => {
                removed += u64::from(*len);
                false
            }
            None => true,
        });
        self.bytes = self.bytes.saturating_sub(removed);
        (before - self.offsets.len()) as u64
    }

    /// Reads the dead set of a segment; `None` where it has none.
    pub(crate) fn read(vfs: &dyn Vfs, dir: &Path, store: Store<'_>, of: &SegmentHeader) -> Result<Option<Self>> {
        Ok(Self::read_salted(vfs, dir, store, of)?.map(|(set, _)| set))
    }

    /// The same with the salt of its file.
    pub(crate) fn read_salted(
        vfs: &dyn Vfs,
        dir: &Path,
        store: Store<'_>,
        of: &SegmentHeader,
    ) -> Result<Option<(Self, DeadSalt)>> {
        let path = dead_path(dir, of.id);
        let Some((header, body)) = whole_file::read(vfs, &path, FileKind::Dead, store)? else {
            return Ok(None);
        };
        header.expect(&path, u64::from(of.id.0), Some(of.companion))?;
        Self::decode(&header, &body).map_err(|error| error.at(path.clone(), HEADER_LEN_U64).into()).and_then(|set| {
            if set.offsets.first().is_some_and(|first| u64::from(*first) < HEADER_LEN_U64) {
                return Err(Corruption::new(path, HEADER_LEN_U64, "dead record inside the header").into());
            }
            Ok(Some((set, header.salt)))
        })
    }

    /// Writes the dead set of a segment. It stands once the caller has synced the folder.
    pub(crate) fn write(&self, vfs: &dyn Vfs, dir: &Path, store: Store<'_>, of: &SegmentHeader) -> Result<()> {
        let (mut header, cipher) =
            FileHeader::salted(vfs, FileKind::Dead, store, u64::from(of.id.0), Some(of.companion))?;
        let (records, bytes) = header.details.split_at_mut(8);
        records.copy_from_slice(&self.records().to_le_bytes());
        bytes.copy_from_slice(&self.bytes.to_le_bytes());
        let mut body = Vec::with_capacity(self.offsets.len() * 2);
        let mut last = 0;
        for offset in &self.offsets {
            varint::push(u64::from(offset - last), &mut body);
            last = *offset;
        }
        if self.after > 0 {
            varint::push(self.after, &mut body);
        }
        whole_file::replace(vfs, &dead_path(dir, of.id), store, &header, cipher.as_ref(), &body)
    }

    fn decode(header: &FileHeader, body: &[u8]) -> std::result::Result<Self, base::DecodeError> {
        let mut details = Fields::new(&header.details);
        let (records, bytes) = (details.u64()?, details.u64()?);
        if records > body.len() as u64 {
            return Err(base::DecodeError::new("more dead records than bytes"));
        }
        let mut fields = Fields::new(body);
        let mut offsets: Vec<u32> = Vec::with_capacity(records as usize);
        for _ in 0..records {
            let distance = fields.varint_u32()?;
            let offset = match offsets.last() {
                None => Some(distance),
                Some(last) if distance > 0 => last.checked_add(distance),
                Some(_) => None,
            };
            offsets.push(offset.ok_or(base::DecodeError::new("dead records out of order"))?);
        }
        let after = if fields.left() > 0 { fields.varint()? } else { 0 };
        fields.end()?;
        Ok(Self { offsets, bytes, after })
    }
}

/// The error for a dead set that the manifest knows of and that is gone.
pub(crate) fn missing(dir: &Path, of: &SegmentHeader) -> Error {
    Error::corruption(&dead_path(dir, of.id), 0, "missing dead set")
}
