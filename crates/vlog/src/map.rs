//! The map of a collected segment: from the address of a record to where in the segment it stands.
//!
//! ```text
//! header details := records u64 | groups u32 | 0 u32
//! body           := group * | offset u32 * | position u32 *
//! group          := segment u32 | records before it u32
//! ```
//! Groups ascend by segment, offsets within a group; offset and position of a record have one index. Nothing is decoded
//! when it is opened: a lookup is two binary searches in the bytes, which are checked as a whole before the first; an
//! encrypted one is checked and decrypted when it is opened. The
//! header carries the segment's id and companion id.

use std::path::{Path, PathBuf};

use base::checksum::crc32_salted;
use base::sync::atomic::{AtomicBool, Ordering};
use base::{Corruption, SegmentId};
use bytes::Bytes;
use encryption::{FileCipher, TAG_LEN};
use vfs::Vfs;

use crate::fields::Fields;
use crate::file_name::map_path;
use crate::header::{FileHeader, FileKind, HEADER_LEN, HEADER_LEN_U64, Store};
use crate::record::Origin;
use crate::segment_header::SegmentHeader;
use crate::whole_file;
use crate::{Error, IoMode, Result};

const GROUP_LEN: usize = 8;
const WORD_LEN: usize = 4;
const CHECKSUM_LEN: usize = 4;

/// Gathers the places of records, ascending by address.
#[derive(Debug, Default)]
pub(crate) struct MapWriter {
    groups: Vec<(SegmentId, u32)>,
    offsets: Vec<u32>,
    positions: Vec<u32>,
}

impl MapWriter {
    pub(crate) fn push(&mut self, origin: Origin, position: u32) {
        if self.groups.last().is_none_or(|(segment, _)| *segment != origin.segment) {
            self.groups.push((origin.segment, self.offsets.len() as u32));
        }
        self.offsets.push(origin.offset);
        self.positions.push(position);
    }

    /// The segments that records came from, ascending.
    pub(crate) fn origins(&self) -> Vec<SegmentId> {
        self.groups.iter().map(|(segment, _)| *segment).collect()
    }

    /// Writes the map of a segment. It stands once the caller has synced the folder.
    pub(crate) fn finish(&self, vfs: &dyn Vfs, dir: &Path, store: Store<'_>, of: &SegmentHeader) -> Result<()> {
        let (mut header, cipher) =
            FileHeader::salted(vfs, FileKind::Map, store, u64::from(of.id.0), Some(of.companion))?;
        let (records, groups) = header.details.split_at_mut(8);
        records.copy_from_slice(&(self.offsets.len() as u64).to_le_bytes());
        if let Some(groups) = groups.first_chunk_mut::<4>() {
            *groups = (self.groups.len() as u32).to_le_bytes();
        }
        let mut body = Vec::with_capacity(self.groups.len() * GROUP_LEN + self.offsets.len() * 2 * WORD_LEN);
        for (segment, before) in &self.groups {
            body.extend_from_slice(&segment.0.to_le_bytes());
            body.extend_from_slice(&before.to_le_bytes());
        }
        self.offsets.iter().chain(&self.positions).for_each(|word| body.extend_from_slice(&word.to_le_bytes()));
        whole_file::replace(vfs, &map_path(dir, of.id), store, &header, cipher.as_ref(), &body)
    }
}

/// The map of one collected segment, open for lookups.
#[derive(Debug)]
pub(crate) struct SegmentMap {
    path: PathBuf,
    /// Of the whole file.
    bytes: Bytes,
    groups: usize,
    records: usize,
    checksum_start: u32,
    verified: AtomicBool,
}

impl SegmentMap {
    /// Opens the map of a collected segment, which must be there. Its body is checked with the first lookup.
    pub(crate) fn open(
        vfs: &dyn Vfs,
        dir: &Path,
        store: Store<'_>,
        of: &SegmentHeader,
        io_mode: IoMode,
    ) -> Result<Self> {
        let path = map_path(dir, of.id);
        let file = match vfs.open_read(&path) {
            Err(error) if error.is_not_found() => return Err(Error::corruption(&path, 0, "missing map")),
            other => other?,
        };
        let found = file.len()?;
        let bytes_max = store.whole_bytes_max;
        if found > bytes_max {
            return Err(Corruption::new(path, HEADER_LEN_U64, "file too long").with_values(bytes_max, found).into());
        }
        let mut head = vec![0; HEADER_LEN.min(usize::try_from(found).unwrap_or(HEADER_LEN))];
        file.read_exact_at(&mut head, 0)?;
        let header = FileHeader::decode(&path, FileKind::Map, store, &head)?;
        header.expect(&path, u64::from(of.id.0), Some(of.companion))?;
        let mut details = Fields::new(&header.details);
        let mut field = || details.u32().map_err(|error| Error::from(error.at(path.clone(), 88)));
        let [records, high, groups, reserved] = [field()?, field()?, field()?, field()?];
        if (high, reserved) != (0, 0) {
            return Err(Error::incompatible(&path, "map details", 0, format!("{high}, {reserved}")));
        }
        let (records, groups) = (records as usize, groups as usize);
        let cipher = header.cipher(&path, store)?;
        let tag_len = if cipher.is_some() { TAG_LEN } else { 0 };
        let expected = (HEADER_LEN + groups * GROUP_LEN + records * 2 * WORD_LEN + tag_len + CHECKSUM_LEN) as u64;
        if found != expected {
            let wrong = Corruption::new(path, found.min(expected), "length of a map").with_values(expected, found);
            return Err(wrong.into());
        }
        let checksum_start = header.checksum_start();
        let bytes = match io_mode {
            IoMode::Mapped if cipher.is_none() => file.map(found)?.into(),
            IoMode::Mapped | IoMode::Pread => {
                let mut bytes = vec![0; found as usize];
                file.read_exact_at(&mut bytes, 0)?;
                bytes.into()
            }
        };
        let map = Self { path, bytes, groups, records, checksum_start, verified: AtomicBool::new(false) };
        match cipher {
            Some(cipher) => map.decrypted(&cipher),
            None => Ok(map),
        }
    }

    /// The map with its body in plain, which is checked for that.
    fn decrypted(mut self, cipher: &FileCipher) -> Result<Self> {
        self.verify()?;
        let mut bytes = self.bytes.to_vec();
        let body_end = bytes.len() - CHECKSUM_LEN;
        let opened = bytes.get_mut(..body_end).and_then(|bytes| {
            let (header, body) = bytes.split_first_chunk_mut::<HEADER_LEN>()?;
            whole_file::open(cipher, header, body)
        });
        opened.ok_or_else(|| Error::corruption(&self.path, HEADER_LEN_U64, "map does not match its tag"))?;
        self.bytes = bytes.into();
        Ok(self)
    }

    /// Where the record of an address stands; `None` where the segment does not hold it.
    #[inline]
    pub(crate) fn find(&self, origin: Origin) -> Result<Option<u32>> {
        if !self.verified.load(Ordering::Relaxed) {
            self.verify()?;
        }
        let group = self.search(0, self.groups, 2, origin.segment.0);
        let Some(group) = group else { return Ok(None) };
        let first = self.word(group * 2 + 1) as usize;
        let end = if group + 1 < self.groups { self.word(group * 2 + 3) as usize } else { self.records };
        let offsets = self.groups * 2;
        let at = self.search(offsets + first, (end.saturating_sub(first)).min(self.records), 1, origin.offset);
        Ok(at.map(|at| self.word(offsets + self.records + first + at)))
    }

    /// Index of `wanted` among `count` ascending words, `stride` apart, from the one at `first` on.
    #[inline]
    fn search(&self, first: usize, count: usize, stride: usize, wanted: u32) -> Option<usize> {
        let (mut low, mut len) = (0, count);
        while len > 0 {
            let half = len / 2;
            let found = self.word(first + (low + half) * stride);
            if found == wanted {
                return Some(low + half);
            }
            if found < wanted {
                low += half + 1;
                len -= half + 1;
            } else {
                len = half;
            }
        }
        None
    }

    /// The word at an index of the body; a map that was checked has all that are asked for.
    #[inline]
    fn word(&self, index: usize) -> u32 {
        let at = HEADER_LEN + index * WORD_LEN;
        let word = self.bytes.get(at..).and_then(<[u8]>::first_chunk::<WORD_LEN>);
        word.map_or(u32::MAX, |word| u32::from_le_bytes(*word))
    }

    #[cold]
    fn verify(&self) -> Result<()> {
        let body_end = self.bytes.len() - CHECKSUM_LEN;
        let (body, stored) = (self.bytes.get(HEADER_LEN..body_end), self.bytes.last_chunk::<CHECKSUM_LEN>());
        let computed = crc32_salted(self.checksum_start, body.unwrap_or_default()).to_le_bytes();
        if stored != Some(&computed) {
            return Err(Error::corruption(&self.path, HEADER_LEN_U64, "map checksum"));
        }
        self.verified.store(true, Ordering::Relaxed);
        Ok(())
    }
}
