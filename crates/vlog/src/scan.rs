//! Walks the records of a segment front to back, each verified, in bounded memory.
//!
//! It judges nothing: where the records stop it says where and why, and whoever knows how far they must go decides
//! whether that is the end, a torn tail or corruption.

use std::path::PathBuf;

use base::checksum::Hasher;
use base::sync::Arc;
use base::{EntryMeta, InternalKeyRef, ValuePointer};
use vfs::ReadFile;

use crate::header::HEADER_LEN_U64;
use crate::record::{CHECKSUM_LEN, Origin, RECORD_HEADER_LEN, RECORD_OVERHEAD, RecordHeader, SEALS_LEN, open_key};
use crate::segment_header::SegmentHeader;
use crate::{Error, Result};

/// Bytes read at a time; more than the longest header and key.
const WINDOW_BYTES: usize = 256 << 10;

/// A record without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The address of the record.
    pub pointer: ValuePointer,
    /// Where in the segment's file it stands: at its offset, or elsewhere once it was collected.
    pub position: u32,
    /// Whose it is.
    pub owner: u32,
    /// Key and version.
    pub key: InternalKeyRef<'a>,
    /// Kind, flags, user meta and expiry.
    pub meta: EntryMeta,
}

impl Entry<'_> {
    /// Length of the value as it is stored, in bytes.
    #[must_use]
    pub fn value_len(&self) -> u32 {
        crate::value_len(self.pointer.len, self.key.user_key.len()).unwrap_or(0)
    }
}

/// What stands at a scanner's position.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    Record(Entry<'a>),
    /// No whole record: the limit was reached, or `cause` says what is wrong with the bytes there.
    End {
        cause: Option<&'static str>,
    },
}

/// Walks records from the header up to a limit.
#[derive(Debug)]
pub(crate) struct RecordScanner {
    file: Arc<dyn ReadFile>,
    path: PathBuf,
    header: SegmentHeader,
    position: u64,
    limit: u64,
    window: Vec<u8>,
    window_start: u64,
    key: Vec<u8>,
    /// Address of the last record, where one stands in front of it.
    origin: Option<Origin>,
}

impl RecordScanner {
    /// As many records as there is room for.
    pub(crate) fn records_max(&self) -> u64 {
        self.limit.saturating_sub(HEADER_LEN_U64) / (RECORD_OVERHEAD as u64 + 1)
    }

    /// A scanner of the bytes before `limit`, which the file must have.
    pub(crate) fn new(file: Arc<dyn ReadFile>, header: SegmentHeader, limit: u64) -> Self {
        let path = file.path().to_owned();
        let limit = limit.min(u64::from(u32::MAX));
        let (window, key) = (Vec::new(), Vec::new());
        Self { file, path, header, position: HEADER_LEN_U64, limit, window, window_start: 0, key, origin: None }
    }

    /// Where the last whole record ended.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next record.
    pub(crate) fn next(&mut self) -> Result<Step<'_>> {
        let start = self.position;
        if start >= self.limit {
            return Ok(Step::End { cause: None });
        }
        let end = |what| Ok(Step::End { cause: Some(what) });
        let origin_len = u64::from(self.header.content.origin_len());
        let header = match RecordHeader::decode(self.bytes_at(start + origin_len, RECORD_HEADER_LEN)?) {
            Ok(header) => header,
            Err(error) => return end(error.what()),
        };
        let record_end = start + u64::from(self.header.around_len()) + header.record_len();
        if record_end > self.limit {
            return end("record cut short");
        }
        if !self.verify(start, &header)? {
            return end("record checksum");
        }
        let meta = header.meta().map_err(|error| {
            Error::incompatible(&self.path, "record flags", error.what(), format!("{:#04x}", header.flags))
        })?;
        self.position = record_end;
        let origin = self.origin.unwrap_or(Origin { segment: self.header.id, offset: narrow(start) });
        let Origin { segment, offset } = origin;
        let pointer = ValuePointer { segment, len: narrow(header.record_len()), offset };
        let key = InternalKeyRef::decode(&self.key).map_err(|error| error.at(self.path.clone(), start))?;
        Ok(Step::Record(Entry { pointer, position: narrow(start), owner: header.owner, key, meta }))
    }

    /// The next record of a segment whose every byte up to the limit must be one.
    pub(crate) fn next_sealed(&mut self) -> Result<Option<Entry<'_>>> {
        let (path, position) = (self.path.clone(), self.position);
        match self.next()? {
            Step::Record(entry) => Ok(Some(entry)),
            Step::End { cause: None } => Ok(None),
            Step::End { cause: Some(what) } => Err(Error::corruption(&path, position, what)),
        }
    }

    /// Checks the record at `start` and keeps its key, and its address where one stands in front.
    fn verify(&mut self, mut start: u64, header: &RecordHeader) -> Result<bool> {
        let mut hasher = Hasher::new_with_initial(self.header.checksum_start);
        let (position, origin_len) = (start, self.header.content.origin_len());
        if origin_len > 0 {
            let origin = self.bytes_at(start, origin_len as usize)?;
            hasher.update(origin);
            let decoded = Origin::decode(origin);
            self.origin = Some(decoded.map_err(|error| error.at(self.path.clone(), start))?);
            start += u64::from(origin_len);
        }
        let mut key = std::mem::take(&mut self.key);
        // Now, as its window may be gone once the value was gone over.
        let associated = match self.header.cipher {
            Some(_) => self.bytes_at(position, origin_len as usize + RECORD_HEADER_LEN)?.to_vec(),
            None => Vec::new(),
        };
        let head = self.bytes_at(start, header.value_start())?;
        hasher.update(head);
        key.clear();
        key.extend_from_slice(head.get(RECORD_HEADER_LEN..).unwrap_or_default());
        self.key = key;
        let (mut at, value_end) = (start + header.value_start() as u64, start + header.value_end() as u64);
        while at < value_end {
            let wanted = (value_end - at).min(WINDOW_BYTES as u64) as usize;
            hasher.update(self.bytes_at(at, wanted)?);
            at += wanted as u64;
        }
        let Some(cipher) = self.header.cipher.clone() else {
            return Ok(self.bytes_at(value_end, CHECKSUM_LEN)? == hasher.finalize().to_le_bytes());
        };
        let tail = self.bytes_at(value_end, SEALS_LEN + CHECKSUM_LEN)?;
        let (seals, checksum) = tail.split_at_checked(SEALS_LEN).unwrap_or_default();
        hasher.update(seals);
        if checksum != hasher.finalize().to_le_bytes() {
            return Ok(false);
        }
        let seals = seals.to_vec();
        let opened = open_key(&cipher, position, &associated, &mut self.key, &seals);
        opened.map_err(|error| error.at(self.path.clone(), position))?;
        Ok(true)
    }

    /// `wanted` bytes (at most a window) from `at`, or fewer where the limit comes first.
    fn bytes_at(&mut self, at: u64, wanted: usize) -> Result<&[u8]> {
        let wanted = self.limit.saturating_sub(at).min(wanted as u64);
        if at < self.window_start || at + wanted > self.window_start + self.window.len() as u64 {
            self.window.resize(self.limit.saturating_sub(at).min(WINDOW_BYTES as u64) as usize, 0);
            self.window_start = at;
            if let Err(error) = self.file.read_exact_at(&mut self.window, at) {
                self.window.clear();
                return Err(error.into());
            }
        }
        let from = (at - self.window_start) as usize;
        Ok(self.window.get(from..from + wanted as usize).unwrap_or_default())
    }
}

/// Positions and lengths here are below the limit, which fits.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
