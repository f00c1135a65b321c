//! A segment as readers see it.
//!
//! Invariants
//! 1. Bytes before `readable_bytes` never change, and only whole records stand there.
//! 2. A segment never grows once it is full; a sealed one is the whole file.
//! 3. A read gives the record that was written or an error that names file and offset, never something else.

use std::path::{Path, PathBuf};

use base::checksum::crc32_salted;
use base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use base::sync::{Arc, RwLock};
use base::{Corruption, EntryMeta, InternalKey, InternalKeyRef, SegmentId, ValuePointer};
use bytes::Bytes;
use vfs::ReadFile;

use crate::dead_set::DeadSet;
use crate::header::HEADER_LEN_U64;
use crate::record::{RECORD_HEADER_LEN, RECORD_OVERHEAD, RecordHeader};
use crate::segment_header::SegmentHeader;
use crate::{CompanionId, Error, IoMode, Result};

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

/// What is counted of a segment; shared by all handles of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) records: AtomicU64,
    pub(crate) dead_records: AtomicU64,
    pub(crate) dead_bytes: AtomicU64,
    /// Whether a dead set was written.
    pub(crate) has_dead_set: AtomicBool,
}

impl Tally {
    /// Notes the dead set that stands now.
    pub(crate) fn note_dead_set(&self, dead: &DeadSet) {
        self.dead_records.store(dead.records(), Ordering::Relaxed);
        self.dead_bytes.store(dead.bytes(), Ordering::Relaxed);
        self.has_dead_set.store(true, Ordering::Release);
    }
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

/// One value-log file, open for reading. Holding it keeps its bytes readable.
#[derive(Debug)]
pub struct Segment {
    header: SegmentHeader,
    path: PathBuf,
    file: Arc<dyn ReadFile>,
    bytes: Bytewise,
    readable: AtomicU64,
    verify: bool,
    tally: Arc<Tally>,
}

impl Segment {
    /// A segment that is, or was, appended to in this run.
    pub(crate) fn growing(header: SegmentHeader, file: Arc<dyn ReadFile>, io_mode: IoMode, verify: bool) -> Self {
        let bytes = match io_mode {
            IoMode::Mapped => Bytewise::Growing(RwLock::new(Bytes::new())),
            IoMode::Pread => Bytewise::Pread,
        };
        let path = file.path().to_owned();
        let readable = AtomicU64::new(HEADER_LEN_U64);
        Self { header, path, file, bytes, readable, verify, tally: Arc::default() }
    }

    /// A segment that is whole, `len` bytes long.
    pub(crate) fn whole(
        header: SegmentHeader,
        file: Arc<dyn ReadFile>,
        len: u64,
        io_mode: IoMode,
        verify: bool,
        tally: Arc<Tally>,
    ) -> Result<Self> {
        let bytes = match io_mode {
            IoMode::Mapped => Bytewise::Whole(file.map(len)?.into()),
            IoMode::Pread => Bytewise::Pread,
        };
        let path = file.path().to_owned();
        Ok(Self { header, path, file, bytes, readable: AtomicU64::new(len), verify, tally })
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

    /// The random id that its hint file and dead set carry too.
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

    /// The value behind a pointer into this segment.
    ///
    /// # Errors
    /// As [`SegmentSet::read`](crate::SegmentSet::read).
    pub fn read(&self, pointer: ValuePointer) -> Result<Bytes> {
        let record = self.record_bytes(pointer)?;
        let header = self.judge(pointer, &record, self.verify)?;
        Ok(record.slice(header.value_start()..header.value_end()))
    }

    /// The value behind a pointer into this segment, if the record is the one of this owner and key, and whole.
    ///
    /// # Errors
    /// As [`SegmentSet::read_checked`](crate::SegmentSet::read_checked).
    pub fn read_checked(&self, pointer: ValuePointer, owner: u32, key: InternalKeyRef<'_>) -> Result<Bytes> {
        let record = self.record_bytes(pointer)?;
        let header = self.judge(pointer, &record, true)?;
        let found = self.key_of(pointer, &header, &record)?;
        if header.owner != owner {
            return Err(self.wrong(pointer, "record of another owner", owner, header.owner));
        }
        if found != key {
            return Err(self.wrong(pointer, "record of another key", format!("{key:?}"), format!("{found:?}")));
        }
        Ok(record.slice(header.value_start()..header.value_end()))
    }

    /// Everything in the record behind a pointer into this segment.
    ///
    /// # Errors
    /// As [`SegmentSet::read`](crate::SegmentSet::read).
    pub fn read_record(&self, pointer: ValuePointer) -> Result<ValueRecord> {
        let record = self.record_bytes(pointer)?;
        let header = self.judge(pointer, &record, self.verify)?;
        let key = self.key_of(pointer, &header, &record)?.to_owned();
        let meta = self.meta_of(&header)?;
        Ok(ValueRecord {
            owner: header.owner,
            key,
            meta,
            value: record.slice(header.value_start()..header.value_end()),
        })
    }

    /// The bytes that a pointer names, whatever they are.
    fn record_bytes(&self, pointer: ValuePointer) -> Result<Bytes> {
        let start = u64::from(pointer.offset);
        let end = start + u64::from(pointer.len);
        let readable = self.readable_bytes();
        if pointer.segment != self.header.id {
            return Err(self.wrong(pointer, "pointer into another segment", self.header.id, pointer.segment));
        }
        if start < HEADER_LEN_U64 || end > readable || (pointer.len as usize) <= RECORD_OVERHEAD {
            let expected = format!("{} bytes", pointer.len);
            return Err(self.wrong(pointer, "no such record", expected, format!("segment of {readable} bytes")));
        }
        match &self.bytes {
            Bytewise::Whole(bytes) => Ok(bytes.slice(start as usize..end as usize)),
            Bytewise::Growing(mapping) => match self.grown(mapping, start, end, readable)? {
                Some(bytes) => Ok(bytes),
                None => self.copied(pointer),
            },
            Bytewise::Pread => self.copied(pointer),
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

    fn copied(&self, pointer: ValuePointer) -> Result<Bytes> {
        let mut record = vec![0; pointer.len as usize];
        self.file.read_exact_at(&mut record, u64::from(pointer.offset))?;
        Ok(record.into())
    }

    /// Checks that the bytes are one record as long as the pointer says, and unchanged.
    #[inline]
    fn judge(&self, pointer: ValuePointer, record: &[u8], verify: bool) -> Result<RecordHeader> {
        let header = RecordHeader::decode(record)
            .map_err(|error| Error::from(error.at(self.path.clone(), u64::from(pointer.offset))))?;
        if header.record_len() != u64::from(pointer.len) {
            return Err(self.wrong(pointer, "record length", pointer.len, header.record_len()));
        }
        if verify {
            let (Some(covered), Some(stored)) = (record.get(..header.value_end()), record.last_chunk::<4>()) else {
                return Err(self.wrong(pointer, "record length", pointer.len, record.len()));
            };
            let computed = crc32_salted(self.header.checksum_start, covered);
            let stored = u32::from_le_bytes(*stored);
            if computed != stored {
                let (computed, stored) = (format!("{computed:#010x}"), format!("{stored:#010x}"));
                return Err(self.wrong(pointer, "record checksum", computed, stored));
            }
            self.meta_of(&header)?;
        }
        Ok(header)
    }

    fn meta_of(&self, header: &RecordHeader) -> Result<EntryMeta> {
        header.meta().map_err(|error| {
            Error::incompatible(&self.path, "record flags", error.what(), format!("{:#04x}", header.flags))
        })
    }

    fn key_of<'a>(&self, pointer: ValuePointer, header: &RecordHeader, record: &'a [u8]) -> Result<InternalKeyRef<'a>> {
        let key = record.get(RECORD_HEADER_LEN..header.value_start()).unwrap_or_default();
        InternalKeyRef::decode(key).map_err(|error| error.at(self.path.clone(), u64::from(pointer.offset)).into())
    }

    #[cold]
    fn wrong(
        &self,
        pointer: ValuePointer,
        what: &'static str,
        expected: impl std::fmt::Display,
        found: impl std::fmt::Display,
    ) -> Error {
        Corruption::new(self.path.clone(), u64::from(pointer.offset), what).with_values(expected, found).into()
    }
}
