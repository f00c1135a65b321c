//! The hint file of a sealed segment: what its records are, without their values.
//!
//! ```text
//! file    := header | chunk * | last chunk
//! chunk   := records u32, not 0 | payload length u32 | entry * | checksum u32
//! entry   := flags u8 | user meta u8 | owner varint | gap varint | value length varint | expires at varint
//!          | user key length varint | user key | version complement u64, big-endian | origin
//! origin  := of a collected segment alone: segment u32 | offset u32
//! last    := 0 u32 | payload length u32 | records u64 | end u32 | owners u32 | owner * | checksum u32
//! owner   := owner u32 | records u64 | bytes u64
//! ```
//! In an encrypted file the payload of each chunk is sealed, with its tag behind it, which its length counts: the position is
//! the chunk's offset in the file, associated is its head.
//!
//! `gap` is the distance from the end of the record before (of the header, for the first). A checksum is the CRC-32 of
//! its chunk, started from the CRC-32 of the file's salt. A chunk's payload is under 132 KiB, so that a reader needs
//! bounded memory however many records there are. The header carries the segment's id and companion id.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base::checksum::{Hasher, crc32_salted};
use base::limits::USER_KEY_LEN_MAX;
use base::sync::Arc;
use base::{Corruption, DecodeError, EntryMeta, InternalKeyRef, VERSION_SUFFIX_LEN, ValuePointer, varint};
use encryption::{FileCipher, TAG_LEN};
use vfs::{AppendFile, ReadFile, Vfs};

use crate::fields::Fields;
use crate::file_name::{hint_path, temporary_path};
use crate::header::{FileHeader, FileKind, HEADER_LEN, HEADER_LEN_U64, Store};
use crate::manifest::OwnerTotals;
use crate::record::{ORIGIN_LEN, Origin, record_len};
use crate::scan::Entry;
use crate::segment_header::{Content, SegmentHeader};
use crate::whole_file::{WHOLE_BYTES_MAX, create_afresh};
use crate::{Error, Result};

/// A chunk is closed once its payload has this many bytes.
const CHUNK_FILL_BYTES: usize = 64 << 10;
const CHUNK_PAYLOAD_BYTES_MAX: usize =
    CHUNK_FILL_BYTES + USER_KEY_LEN_MAX + 2 + 6 * varint::LEN_MAX + ORIGIN_LEN + TAG_LEN;
/// Of a key of one byte, with every varint as short as can be.
const ENTRY_LEN_MIN: usize = 7 + 1 + VERSION_SUFFIX_LEN;
const CHUNK_HEAD_LEN: usize = 8;
const CHECKSUM_LEN: usize = 4;

/// What a finished hint file says of its segment as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HintTotals {
    pub(crate) records: u64,
    /// Where the last record ends.
    pub(crate) end: u32,
    pub(crate) owners: Vec<OwnerTotals>,
}

/// Writes a hint file under a temporary name.
#[derive(Debug)]
pub(crate) struct HintWriter<'a> {
    vfs: &'a dyn Vfs,
    path: PathBuf,
    file: Box<dyn AppendFile>,
    of: SegmentHeader,
    checksum_start: u32,
    cipher: Option<FileCipher>,
    /// Head and payload of the chunk that is being filled.
    chunk: Vec<u8>,
    chunk_records: u32,
    end: u32,
    owners: BTreeMap<u32, OwnerTotals>,
}

impl<'a> HintWriter<'a> {
    pub(crate) fn create(vfs: &'a dyn Vfs, dir: &Path, store: Store<'_>, of: &SegmentHeader) -> Result<Self> {
        let (header, cipher) = FileHeader::salted(vfs, FileKind::Hint, store, u64::from(of.id.0), Some(of.companion))?;
        let path = hint_path(dir, of.id);
        let mut file = create_afresh(vfs, &temporary_path(&path))?;
        file.append(&header.encode())?;
        let mut chunk = Vec::with_capacity(CHUNK_FILL_BYTES + (4 << 10));
        chunk.resize(CHUNK_HEAD_LEN, 0);
        let checksum_start = header.checksum_start();
        let (end, owners) = (HEADER_LEN as u32, BTreeMap::new());
        Ok(Self { vfs, path, file, of: of.clone(), checksum_start, cipher, chunk, chunk_records: 0, end, owners })
    }

    /// Adds a record that stands behind all those added before.
    pub(crate) fn add(&mut self, entry: &Entry<'_>) -> Result<()> {
        let out = &mut self.chunk;
        out.extend_from_slice(&[entry.meta.flags(), entry.meta.user_meta]);
        varint::push(u64::from(entry.owner), out);
        varint::push(u64::from(entry.position.saturating_sub(self.end)), out);
        varint::push(u64::from(entry.value_len()), out);
        varint::push(entry.meta.expires_at, out);
        varint::push(entry.key.user_key.len() as u64, out);
        entry.key.encode_into(out);
        if self.of.content == Content::Collected {
            let origin = Origin { segment: entry.pointer.segment, offset: entry.pointer.offset };
            out.extend_from_slice(&origin.encode());
        }
        let len = entry.pointer.len.saturating_add(self.of.around_len());
        self.end = entry.position.saturating_add(len);
        self.chunk_records += 1;
        let totals = self.owners.entry(entry.owner).or_insert(OwnerTotals { owner: entry.owner, ..Default::default() });
        totals.records += 1;
        totals.bytes += u64::from(len);
        if out.len() >= CHUNK_HEAD_LEN + CHUNK_FILL_BYTES { self.close_chunk() } else { Ok(()) }
    }

    /// Writes the last chunk, syncs the file and gives it its name. It stands once the caller has synced the folder.
    pub(crate) fn finish(mut self) -> Result<HintTotals> {
        if self.chunk_records > 0 {
            self.close_chunk()?;
        }
        let owners: Vec<OwnerTotals> = std::mem::take(&mut self.owners).into_values().collect();
        let records = owners.iter().map(|totals| totals.records).sum();
        let totals = HintTotals { records, end: self.end, owners };
        self.chunk.extend_from_slice(&totals.records.to_le_bytes());
        self.chunk.extend_from_slice(&totals.end.to_le_bytes());
        self.chunk.extend_from_slice(&(totals.owners.len() as u32).to_le_bytes());
        totals.owners.iter().for_each(|owner| owner.encode_into(&mut self.chunk));
        self.close_chunk()?;
        self.file.finish()?;
        self.vfs.rename(&temporary_path(&self.path), &self.path)?;
        Ok(totals)
    }

    fn close_chunk(&mut self) -> Result<()> {
        let tag_len = if self.cipher.is_some() { TAG_LEN } else { 0 };
        let payload_len = (self.chunk.len() - CHUNK_HEAD_LEN + tag_len) as u32;
        if let Some((head, _)) = self.chunk.split_first_chunk_mut::<CHUNK_HEAD_LEN>() {
            let (records, len) = head.split_at_mut(4);
            records.copy_from_slice(&self.chunk_records.to_le_bytes());
            len.copy_from_slice(&payload_len.to_le_bytes());
        }
        if let (Some(cipher), Some((head, payload))) =
            (&self.cipher, self.chunk.split_first_chunk_mut::<CHUNK_HEAD_LEN>())
        {
            let tag = cipher.seal_in_place(self.file.len(), 0, head, payload);
            self.chunk.extend_from_slice(&tag);
        }
        let checksum = crc32_salted(self.checksum_start, &self.chunk);
        self.chunk.extend_from_slice(&checksum.to_le_bytes());
        self.file.append(&self.chunk)?;
        self.chunk.truncate(CHUNK_HEAD_LEN);
        self.chunk_records = 0;
        Ok(())
    }
}

/// Reads a hint file front to back.
#[derive(Debug)]
pub(crate) struct HintReader {
    file: Arc<dyn ReadFile>,
    path: PathBuf,
    of: SegmentHeader,
    checksum_start: u32,
    cipher: Option<FileCipher>,
    file_len: u64,
    /// Where the chunk that is being read starts, and where the next one does.
    chunk_start: u64,
    next_chunk: u64,
    payload: Vec<u8>,
    /// Where the next entry stands in the payload.
    at: usize,
    chunk_left: u32,
    records: u64,
    end: u32,
    expected: Option<HintTotals>,
    done: bool,
}

impl HintReader {
    /// Opens the hint file of a segment, which must be there, and must come to the totals that the manifest has, where
    /// that lists it.
    pub(crate) fn open(
        vfs: &dyn Vfs,
        dir: &Path,
        store: Store<'_>,
        of: &SegmentHeader,
        expected: Option<HintTotals>,
    ) -> Result<Self> {
        let path = hint_path(dir, of.id);
        let file = match vfs.open_read(&path) {
            Err(error) if error.is_not_found() => return Err(Error::corruption(&path, 0, "missing hint file")),
            other => other?,
        };
        let file_len = file.len()?;
        let mut bytes = vec![0; HEADER_LEN.min(usize::try_from(file_len).unwrap_or(HEADER_LEN))];
        file.read_exact_at(&mut bytes, 0)?;
        let header = FileHeader::decode(&path, FileKind::Hint, store, &bytes)?;
        header.expect(&path, u64::from(of.id.0), Some(of.companion))?;
        Ok(Self {
            file,
            cipher: header.cipher(&path, store)?,
            path,
            of: of.clone(),
            checksum_start: header.checksum_start(),
            file_len,
            chunk_start: HEADER_LEN_U64,
            next_chunk: HEADER_LEN_U64,
            payload: Vec::new(),
            at: 0,
            chunk_left: 0,
            records: 0,
            end: HEADER_LEN as u32,
            expected,
            done: false,
        })
    }

    /// As many entries as the file has room for.
    pub(crate) fn entries_max(&self) -> u64 {
        self.file_len.saturating_sub(HEADER_LEN_U64) / ENTRY_LEN_MIN as u64
    }

    /// The next entry; `None` only once the last chunk was read and agrees with the entries.
    pub(crate) fn next(&mut self) -> Result<Option<Entry<'_>>> {
        if self.chunk_left == 0 && !self.done {
            self.read_chunk()?;
        }
        if self.done {
            return Ok(None);
        }
        let (path, chunk_start) = (&self.path, self.chunk_start);
        let wrong = |error: DecodeError| Error::from(error.at(path.clone(), chunk_start));
        let rest = self.payload.get(self.at..).unwrap_or_default();
        let (entry, left) = decode_entry(rest, &self.of, self.end).map_err(wrong)?;
        self.at = self.payload.len() - left;
        self.end = entry.position.saturating_add(entry.pointer.len).saturating_add(self.of.around_len());
        self.chunk_left -= 1;
        self.records += 1;
        if self.chunk_left == 0 && left != 0 {
            return Err(wrong(DecodeError::new("bytes behind the last entry of a chunk")));
        }
        Ok(Some(entry))
    }

    fn read_chunk(&mut self) -> Result<()> {
        self.chunk_start = self.next_chunk;
        let start = self.chunk_start;
        let left = self.file_len.saturating_sub(start);
        let overhead = (CHUNK_HEAD_LEN + CHECKSUM_LEN) as u64;
        if left < overhead {
            return Err(self.wrong("hint file cut short"));
        }
        let mut head = [0; CHUNK_HEAD_LEN];
        self.file.read_exact_at(&mut head, start)?;
        let mut fields = Fields::new(&head);
        let records = fields.u32().map_err(|error| error.at(self.path.clone(), start))?;
        let payload_len = fields.u32().map_err(|error| error.at(self.path.clone(), start))? as usize;
        // The last one is as long as there are owners.
        let longest = if records > 0 { CHUNK_PAYLOAD_BYTES_MAX as u64 } else { WHOLE_BYTES_MAX };
        if payload_len as u64 > left - overhead || payload_len as u64 > longest {
            return Err(self.wrong("length of a chunk"));
        }
        self.payload.resize(payload_len + CHECKSUM_LEN, 0);
        self.file.read_exact_at(&mut self.payload, start + CHUNK_HEAD_LEN as u64)?;
        let stored = self.payload.split_off(payload_len);
        let mut hasher = Hasher::new_with_initial(self.checksum_start);
        hasher.update(&head);
        hasher.update(&self.payload);
        let computed = hasher.finalize();
        if stored != computed.to_le_bytes() {
            return Err(self.wrong("chunk checksum"));
        }
        if let Some(cipher) = &self.cipher {
            let opened = self.payload.split_last_chunk_mut::<TAG_LEN>().and_then(|(payload, tag)| {
                cipher.open_in_place(start, 0, &head, payload, tag).ok()?;
                Some(payload.len())
            });
            let Some(len) = opened else { return Err(self.wrong("chunk does not match its tag")) };
            self.payload.truncate(len);
        }
        self.next_chunk = start + overhead + payload_len as u64;
        (self.at, self.chunk_left) = (0, records);
        if records == 0 { self.read_totals() } else { Ok(()) }
    }

    fn read_totals(&mut self) -> Result<()> {
        let start = self.chunk_start;
        let totals = decode_totals(&self.payload).map_err(|error| error.at(self.path.clone(), start))?;
        if self.next_chunk != self.file_len {
            return Err(Error::corruption(&self.path, self.next_chunk, "bytes behind the last chunk"));
        }
        let differ = |expected: &dyn std::fmt::Debug, found: &dyn std::fmt::Debug| {
            let values = (format!("{expected:?}"), format!("{found:?}"));
            Err(Corruption::new(self.path.clone(), start, "totals of a hint file")
                .with_values(values.0, values.1)
                .into())
        };
        if (totals.records, totals.end) != (self.records, self.end) {
            return differ(&(totals.records, totals.end), &(self.records, self.end));
        }
        if let Some(expected) = self.expected.as_ref().filter(|expected| **expected != totals) {
            return differ(expected, &totals);
        }
        self.done = true;
        Ok(())
    }

    fn wrong(&self, what: &'static str) -> Error {
        Error::corruption(&self.path, self.chunk_start, what)
    }
}

fn decode_entry<'a>(
    bytes: &'a [u8],
    of: &SegmentHeader,
    end: u32,
) -> std::result::Result<(Entry<'a>, usize), DecodeError> {
    let mut fields = Fields::new(bytes);
    let (flags, user_meta) = (fields.u8()?, fields.u8()?);
    let owner = fields.varint_u32()?;
    let gap = fields.varint_u32()?;
    let value_len = fields.varint_u32()?;
    let expires_at = fields.varint()?;
    let key_len = fields.varint()?;
    if key_len == 0 || key_len > USER_KEY_LEN_MAX as u64 {
        return Err(DecodeError::new("length of a key"));
    }
    let key_len = key_len as usize;
    let key = InternalKeyRef::decode(fields.bytes(key_len + VERSION_SUFFIX_LEN)?)?;
    let meta = EntryMeta::from_parts(flags, user_meta, expires_at)?;
    let position = end.checked_add(gap);
    let len = u32::try_from(record_len(key_len, value_len as usize)).ok();
    let (Some(position), Some(len)) = (position, len) else {
        return Err(DecodeError::new("record over 4 GiB"));
    };
    let Origin { segment, offset } = match of.content {
        Content::Commits => Origin { segment: of.id, offset: position },
        Content::Collected => Origin::decode(&fields.array::<ORIGIN_LEN>()?)?,
    };
    Ok((Entry { pointer: ValuePointer { segment, len, offset }, position, owner, key, meta }, fields.left()))
}

fn decode_totals(payload: &[u8]) -> std::result::Result<HintTotals, DecodeError> {
    let mut fields = Fields::new(payload);
    let (records, end) = (fields.u64()?, fields.u32()?);
    let owners = OwnerTotals::decode_list(&mut fields)?;
    fields.end()?;
    Ok(HintTotals { records, end, owners })
}
