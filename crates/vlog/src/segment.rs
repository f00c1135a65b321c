//! A segment as readers see it: one file, of records that stand at their own addresses or, once collected, behind them.
//!
//! Invariants
//! 1. Bytes before `readable_bytes` never change, and only whole records stand there.
//! 2. A segment never grows once it is full; a sealed one is the whole file.
//! 3. A read gives the record that was written or an error that names file and offset, never something else.

use std::path::{Path, PathBuf};

use base::checksum::crc32_salted;
use base::sync::atomic::{AtomicU64, Ordering};
use base::sync::{Arc, RwLock};
use base::{Corruption, EntryMeta, InternalKey, InternalKeyRef, SegmentId, ValuePointer};
use bytes::{Bytes, BytesMut};
use encryption::FileCipher;
use vfs::ReadFile;

use crate::header::HEADER_LEN_U64;
use crate::map::SegmentMap;
use crate::record::{CHECKSUM_LEN, Origin, RECORD_HEADER_LEN, RECORD_OVERHEAD, RecordHeader, open_record};
use crate::segment_header::SegmentHeader;
use crate::tally::Tally;
use crate::{CompanionId, Error, IoMode, Options, Result};

/// A growing segment is mapped anew once this much was appended behind its mapping; reads behind it until then copy.
const REMAP_BYTES: u64 = 1 << 20;

/// A whole record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueRecord {
    /// Whose it is.
    pub owner: u32,
    /// Key and version.
    pub key: InternalKey,
    /// Kind, flags, user meta and expiry.
    pub meta: EntryMeta,
    /// The value; it keeps the segment's bytes alive.
    pub value: Bytes,
}

/// Where the bytes of a segment come from.
#[derive(Debug)]
enum Bytewise {
    /// One positioned read each.
    Pread,
    /// A mapping of the whole sealed file.
    Whole(Bytes),
    /// A mapping of what stood there when it was made.
    Growing(RwLock<Bytes>),
}

/// What a segment has beside its records when they were collected from others.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) map: SegmentMap,
    /// The segments of the records' addresses, ascending.
    pub(crate) origins: Vec<SegmentId>,
}

/// One value-log file, open for reading. Holding it keeps its bytes readable.
#[derive(Debug)]
pub struct Segment {
    header: SegmentHeader,
    path: PathBuf,
    file: Arc<dyn ReadFile>,
    bytes: Bytewise,
    collected: Option<Collected>,
    readable: AtomicU64,
    verify: bool,
    tally: Arc<Tally>,
}

impl Segment {
    /// A segment that is, or was, appended to in this run.
    pub(crate) fn growing(header: SegmentHeader, file: Arc<dyn ReadFile>, options: &Options) -> Self {
        let bytes = match options.io_mode {
            IoMode::Mapped => Bytewise::Growing(RwLock::new(Bytes::new())),
            IoMode::Pread => Bytewise::Pread,
        };
        let path = file.path().to_owned();
        let readable = AtomicU64::new(HEADER_LEN_U64);
        Self { header, path, file, bytes, collected: None, readable, verify: options.verify, tally: Arc::default() }
    }

    /// A segment that is whole, `len` bytes long.
    pub(crate) fn whole(
        header: SegmentHeader,
        file: Arc<dyn ReadFile>,
        len: u64,
        collected: Option<Collected>,
        options: &Options,
        tally: Arc<Tally>,
    ) -> Result<Self> {
        let bytes = match options.io_mode {
            IoMode::Mapped => Bytewise::Whole(file.map(len)?.into()),
            IoMode::Pread => Bytewise::Pread,
        };
        let path = file.path().to_owned();
        let readable = AtomicU64::new(len);
        Ok(Self { header, path, file, bytes, collected, readable, verify: options.verify, tally })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.header.id
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it holds what was left of other segments.
    #[must_use]
    pub fn is_collected(&self) -> bool {
        self.collected.is_some()
    }

    /// The segments that its records' addresses name, ascending: itself, or those that were collected into it.
    #[must_use]
    pub fn addresses(&self) -> &[SegmentId] {
        match &self.collected {
            None => std::slice::from_ref(&self.header.id),
            Some(collected) => &collected.origins,
        }
    }

    /// The random id that its hint file, dead set and map carry too.
    #[must_use]
    pub fn companion(&self) -> CompanionId {
        self.header.companion
    }

    /// Bytes from the start of the file to the end of its last whole record.
    #[must_use]
    pub fn readable_bytes(&self) -> u64 {
        self.readable.load(Ordering::Acquire)
    }

    pub(crate) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    pub(crate) fn file(&self) -> &Arc<dyn ReadFile> {
        &self.file
    }

    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Lets readers see one more record, which ends at `end`.
    pub(crate) fn publish(&self, end: u64) {
        self.tally.records.fetch_add(1, Ordering::Relaxed);
        self.readable.store(end, Ordering::Release);
    }

    /// The value behind a pointer to a record in this segment.
    ///
    /// # Errors
    /// As [`SegmentSet::read`](crate::SegmentSet::read).
    pub fn read(&self, pointer: ValuePointer) -> Result<Bytes> {
        let found = self.find(pointer, self.verify)?;
        Ok(found.value())
    }

    /// The value behind a pointer to a record in this segment, if the record is the one of this owner and key, and whole.
    ///
    /// # Errors
    /// As [`SegmentSet::read_checked`](crate::SegmentSet::read_checked).
    pub fn read_checked(&self, pointer: ValuePointer, owner: u32, key: InternalKeyRef<'_>) -> Result<Bytes> {
        let found = self.find(pointer, true)?;
        let found_key = self.key_of(&found)?;
        if found.header.owner != owner {
            return Err(self.wrong(found.position, "record of another owner", owner, found.header.owner));
        }
        if found_key != key {
            let values = (format!("{key:?}"), format!("{found_key:?}"));
            return Err(self.wrong(found.position, "record of another key", values.0, values.1));
        }
        Ok(found.value())
    }

    /// Everything in the record behind a pointer to a record in this segment.
    ///
    /// # Errors
    /// As [`SegmentSet::read`](crate::SegmentSet::read).
    pub fn read_record(&self, pointer: ValuePointer) -> Result<ValueRecord> {
        let found = self.find(pointer, self.verify)?;
        let key = self.key_of(&found)?.to_owned();
        let meta = self.meta_of(&found.header)?;
        Ok(ValueRecord { owner: found.header.owner, key, meta, value: found.value() })
    }

    /// Where the record of a pointer stands in the file; `None` where the segment does not hold it.
    #[inline]
    pub(crate) fn position_of(&self, pointer: ValuePointer) -> Result<Option<u32>> {
        match &self.collected {
            None => Ok((pointer.segment == self.header.id).then_some(pointer.offset)),
            Some(collected) => collected.map.find(Origin { segment: pointer.segment, offset: pointer.offset }),
        }
    }

    /// The bytes of records that a hint file gave, from the start of one to the end of another.
    pub(crate) fn bytes_between(&self, start: u32, end: u32) -> Result<Bytes> {
        let readable = self.readable_bytes();
        if u64::from(start) < HEADER_LEN_U64 || end < start || u64::from(end) > readable {
            let found = format!("segment of {readable} bytes");
            return Err(self.wrong(start, "no such record", format!("bytes up to {end}"), found));
        }
        self.bytes(u64::from(start), u64::from(end), readable)
    }

    /// The record that these bytes, which stand at `position`, must be, verified.
    pub(crate) fn record_in(&self, bytes: Bytes, position: u32, pointer: ValuePointer) -> Result<FoundRecord> {
        self.judge(position, pointer, bytes, true)
    }

    #[inline]
    fn find(&self, pointer: ValuePointer, verify: bool) -> Result<FoundRecord> {
        let Some(position) = self.position_of(pointer)? else {
            let asked = format!("record {} of segment {}", pointer.offset, pointer.segment);
            return Err(self.wrong(0, "no such record", asked, "nothing"));
        };
        let bytes = self.bytes_at(position, pointer)?;
        self.judge(position, pointer, bytes, verify)
    }

    /// The bytes that a pointer names, whatever they are, with its address in front where the segment was collected.
    fn bytes_at(&self, position: u32, pointer: ValuePointer) -> Result<Bytes> {
        let start = u64::from(position);
        let end = start + u64::from(self.header.around_len()) + u64::from(pointer.len);
        let readable = self.readable_bytes();
        if start < HEADER_LEN_U64 || end > readable || (pointer.len as usize) <= RECORD_OVERHEAD {
            let expected = format!("{} bytes", pointer.len);
            return Err(self.wrong(position, "no such record", expected, format!("segment of {readable} bytes")));
        }
        self.bytes(start, end, readable)
    }

    #[inline]
    fn bytes(&self, start: u64, end: u64, readable: u64) -> Result<Bytes> {
        match &self.bytes {
            Bytewise::Whole(bytes) => Ok(bytes.slice(start as usize..end as usize)),
            Bytewise::Growing(mapping) => match self.grown(mapping, start, end, readable)? {
                Some(bytes) => Ok(bytes),
                None => self.copied(start, end),
            },
            Bytewise::Pread => self.copied(start, end),
        }
    }

    /// A slice of the mapping of a growing segment, which is made anew when enough stands behind it.
    fn grown(&self, mapping: &RwLock<Bytes>, start: u64, end: u64, readable: u64) -> Result<Option<Bytes>> {
        let mapped = {
            let bytes = mapping.read();
            if end <= bytes.len() as u64 {
                return Ok(Some(bytes.slice(start as usize..end as usize)));
            }
            bytes.len() as u64
        };
        if readable - mapped < REMAP_BYTES {
            return Ok(None);
        }
        let newer: Bytes = self.file.map(readable)?.into();
        let record = newer.slice(start as usize..end as usize);
        let mut bytes = mapping.write();
        if newer.len() > bytes.len() {
            *bytes = newer;
        }
        Ok(Some(record))
    }

    fn copied(&self, start: u64, end: u64) -> Result<Bytes> {
        let mut record = vec![0; (end - start) as usize];
        self.file.read_exact_at(&mut record, start)?;
        Ok(record.into())
    }

    /// Checks that the bytes are one record as long as the pointer says, behind its address, and unchanged.
    #[inline]
    fn judge(&self, position: u32, pointer: ValuePointer, bytes: Bytes, verify: bool) -> Result<FoundRecord> {
        let decoded = |error: base::DecodeError| Error::from(error.at(self.path.clone(), u64::from(position)));
        let start = self.header.content.origin_len() as usize;
        if start > 0 {
            let origin = Origin::decode(&bytes).map_err(decoded)?;
            if (origin.segment, origin.offset) != (pointer.segment, pointer.offset) {
                let asked = Origin { segment: pointer.segment, offset: pointer.offset };
                return Err(self.wrong(
                    position,
                    "record of another address",
                    format!("{asked:?}"),
                    format!("{origin:?}"),
                ));
            }
        }
        let header = RecordHeader::decode(bytes.get(start..).unwrap_or_default()).map_err(decoded)?;
        if header.record_len() != u64::from(pointer.len) {
            return Err(self.wrong(position, "record length", pointer.len, header.record_len()));
        }
        if verify {
            let Some((covered, stored)) = bytes.split_last_chunk::<CHECKSUM_LEN>() else {
                return Err(self.wrong(position, "record length", pointer.len, bytes.len()));
            };
            let computed = crc32_salted(self.header.checksum_start, covered);
            let stored = u32::from_le_bytes(*stored);
            if computed != stored {
                let (computed, stored) = (format!("{computed:#010x}"), format!("{stored:#010x}"));
                return Err(self.wrong(position, "record checksum", computed, stored));
            }
        }
        let bytes = match &self.header.cipher {
            Some(cipher) => decrypted(cipher, position, &header, start, bytes).map_err(decoded)?,
            None => bytes,
        };
        if verify {
            self.meta_of(&header)?;
        }
        Ok(FoundRecord { header, position, start, bytes })
    }

    fn meta_of(&self, header: &RecordHeader) -> Result<EntryMeta> {
        header.meta().map_err(|error| {
            Error::incompatible(&self.path, "record flags", error.what(), format!("{:#04x}", header.flags))
        })
    }

    fn key_of<'a>(&self, found: &'a FoundRecord) -> Result<InternalKeyRef<'a>> {
        InternalKeyRef::decode(found.key())
            .map_err(|error| error.at(self.path.clone(), u64::from(found.position)).into())
    }

    #[cold]
    fn wrong(
        &self,
        position: u32,
        what: &'static str,
        expected: impl std::fmt::Display,
        found: impl std::fmt::Display,
    ) -> Error {
        Corruption::new(self.path.clone(), u64::from(position), what).with_values(expected, found).into()
    }
}

/// The bytes of a sealed record in plain, in memory of their own.
fn decrypted(
    cipher: &FileCipher,
    position: u32,
    header: &RecordHeader,
    start: usize,
    bytes: Bytes,
) -> std::result::Result<Bytes, base::DecodeError> {
    let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
    let record_len = bytes.len().saturating_sub(CHECKSUM_LEN);
    let record = bytes.get_mut(..record_len).unwrap_or_default();
    open_record(cipher, u64::from(position), record, start + RECORD_HEADER_LEN, header.key_len())?;
    Ok(bytes.freeze())
}

/// A record where it was found.
#[derive(Debug)]
pub(crate) struct FoundRecord {
    pub(crate) header: RecordHeader,
    position: u32,
    /// Where in the bytes the record starts; its address is before that.
    start: usize,
    bytes: Bytes,
}

impl FoundRecord {
    /// Header, key and value, without the checksum.
    pub(crate) fn covered(&self) -> &[u8] {
        self.bytes.get(self.start..self.start + self.header.value_end()).unwrap_or_default()
    }

    fn key(&self) -> &[u8] {
        let key = self.start + RECORD_HEADER_LEN..self.start + self.header.value_start();
        self.bytes.get(key).unwrap_or_default()
    }

    #[inline]
    fn value(&self) -> Bytes {
        self.bytes.slice(self.start + self.header.value_start()..self.start + self.header.value_end())
    }
}
