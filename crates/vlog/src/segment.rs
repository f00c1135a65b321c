//! A segment as readers see it: one file, of records that stand at their own addresses or, once collected, behind them.
//!
//! Invariants
//! 1. Bytes before `readable_bytes` never change, and only whole records stand there.
//! 2. A segment never grows once it is full; a sealed one is the whole file.
//! 3. A read gives the record that was written or an error that names file and offset, never something else.

use std::ops::Range;
use std::path::{Path, PathBuf};

use base::checksum::crc32_salted;
use base::sync::atomic::{AtomicU64, Ordering};
use base::sync::{Arc, RwLock};
use base::{Corruption, EntryMeta, InternalKey, InternalKeyRef, SegmentId, ValuePointer};
use bytes::{Buf as _, Bytes, BytesMut};
use encryption::FileCipher;
use vfs::ReadFile;

use crate::compressed::{Unreadable, decompress_value};
use crate::header::HEADER_LEN_U64;
use crate::map::SegmentMap;
use crate::read_ahead::ReadAhead;
use crate::record::{CHECKSUM_LEN, Origin, RECORD_HEADER_LEN, RECORD_OVERHEAD, RecordHeader, open_record};
use crate::segment_header::SegmentHeader;
use crate::tally::Tally;
use crate::{CompanionId, Error, IoMode, Options, Result};

/// A growing segment is mapped anew once this much was appended behind its mapping; reads behind it until then copy.
const REMAP_BYTES: u64 = 1 << 20;

const PAGE_BYTES: usize = 4 << 10;

/// A whole record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueRecord {
    /// Whose it is.
    pub owner: u32,
    /// Key and version.
    pub key: InternalKey,
    /// Kind, flags, user meta and expiry; whether the value is stored compressed.
    pub meta: EntryMeta,
    /// The value; where it is not stored compressed it keeps the segment's bytes alive.
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
        self.value_of(found)
    }

    /// As [`read`](Self::read), but a copy is taken from what was read ahead, if it is there.
    ///
    /// # Errors
    /// As [`SegmentSet::read`](crate::SegmentSet::read).
    pub fn read_near(&self, pointer: ValuePointer, ahead: Option<&ReadAhead>) -> Result<Bytes> {
        if ahead.is_some() && self.copies() {
            return self.read_with(pointer, ahead, Bytes::copy_from_slice);
        }
        self.read(pointer)
    }

    /// Hands the value behind a pointer to a record in this segment to `f` where it stands: in a mapping or in what was
    /// read ahead, without a shared counter, or else in a copy.
    ///
    /// # Errors
    /// As [`SegmentSet::read`](crate::SegmentSet::read).
    pub fn read_with<R>(
        &self,
        pointer: ValuePointer,
        ahead: Option<&ReadAhead>,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<R> {
        let (position, range) = self.place_of(pointer)?;
        let bytes = match self.near(&range, ahead) {
            Some(bytes) if self.header.cipher.is_none() => {
                let (header, start) = self.check(position, pointer, bytes, self.verify)?;
                return self.value_with(&FoundRecord { header, position, start, bytes }, f);
            }
            Some(bytes) => Bytes::copy_from_slice(bytes),
            None => self.bytes_at(range)?,
        };
        self.value_with(&self.judge(position, pointer, bytes, self.verify)?, f)
    }

    fn value_with<B: AsRef<[u8]>, R>(&self, found: &FoundRecord<B>, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        Ok(match self.decompressed(found)? {
            Some(value) => f(&value),
            None => f(found.stored()),
        })
    }

    fn value_of(&self, found: FoundRecord<Bytes>) -> Result<Bytes> {
        Ok(match self.decompressed(&found)? {
            Some(value) => value.into(),
            None => found.into_stored(),
        })
    }

    /// The value of a record that is stored compressed.
    fn decompressed<B: AsRef<[u8]>>(&self, found: &FoundRecord<B>) -> Result<Option<Vec<u8>>> {
        if !self.meta_of(&found.header)?.value_compressed {
            return Ok(None);
        }
        decompress_value(found.stored()).map(Some).map_err(|error| match error {
            Unreadable::Damaged(error) => error.at(self.path.clone(), u64::from(found.position)).into(),
            Unreadable::UnknownCodec(codec) => {
                Error::incompatible(&self.path, "the codec of a value", "up to 2", codec)
            }
        })
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
            let is_encrypted = self.header.cipher.is_some();
            let values = (key.text(is_encrypted), found_key.text(is_encrypted));
            return Err(self.wrong(found.position, "record of another key", values.0, values.1));
        }
        self.value_of(found)
    }

    /// Everything in the record behind a pointer to a record in this segment.
    ///
    /// # Errors
    /// As [`SegmentSet::read`](crate::SegmentSet::read).
    pub fn read_record(&self, pointer: ValuePointer) -> Result<ValueRecord> {
        let found = self.find(pointer, self.verify)?;
        let key = self.key_of(&found)?.to_owned();
        let meta = self.meta_of(&found.header)?;
        Ok(ValueRecord { owner: found.header.owner, key, meta, value: self.value_of(found)? })
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
        self.bytes_at(u64::from(start)..u64::from(end))
    }

    /// The record that these bytes, which stand at `position`, must be, verified.
    pub(crate) fn record_in(&self, bytes: Bytes, position: u32, pointer: ValuePointer) -> Result<FoundRecord<Bytes>> {
        self.judge(position, pointer, bytes, true)
    }

    #[inline]
    fn find(&self, pointer: ValuePointer, verify: bool) -> Result<FoundRecord<Bytes>> {
        let (position, range) = self.place_of(pointer)?;
        let bytes = self.bytes_at(range)?;
        self.judge(position, pointer, bytes, verify)
    }

    /// The position of the record of a pointer, and the bytes that it takes in the file, with its address in front where
    /// the segment was collected.
    #[inline]
    pub(crate) fn place_of(&self, pointer: ValuePointer) -> Result<(u32, Range<u64>)> {
        let Some(position) = self.position_of(pointer)? else {
            let asked = format!("record {} of segment {}", pointer.offset, pointer.segment);
            return Err(self.wrong(0, "no such record", asked, "nothing"));
        };
        Ok((position, self.range_at(position, pointer)?))
    }

    fn range_at(&self, position: u32, pointer: ValuePointer) -> Result<Range<u64>> {
        let start = u64::from(position);
        let end = start + u64::from(self.header.around_len()) + u64::from(pointer.len);
        let readable = self.readable_bytes();
        if start < HEADER_LEN_U64 || end > readable || (pointer.len as usize) <= RECORD_OVERHEAD {
            let expected = format!("{} bytes", pointer.len);
            return Err(self.wrong(position, "no such record", expected, format!("segment of {readable} bytes")));
        }
        Ok(start..end)
    }

    /// Bytes of the file, whatever they are. Requires: they are readable.
    fn bytes_at(&self, range: Range<u64>) -> Result<Bytes> {
        match &self.bytes {
            Bytewise::Whole(bytes) => Ok(bytes.slice(range.start as usize..range.end as usize)),
            Bytewise::Growing(mapping) => match self.grown(mapping, range.end)? {
                Some(mut bytes) => {
                    bytes.truncate(range.end as usize);
                    bytes.advance(range.start as usize);
                    Ok(bytes)
                }
                None => self.copied(range),
            },
            Bytewise::Pread => self.copied(range),
        }
    }

    /// The mapping of a growing segment, if it goes up to `end`. It is made anew when enough stands behind it.
    fn grown(&self, mapping: &RwLock<Bytes>, end: u64) -> Result<Option<Bytes>> {
        let mapped = {
            let bytes = mapping.read();
            if end <= bytes.len() as u64 {
                return Ok(Some(bytes.clone()));
            }
            bytes.len() as u64
        };
        let readable = self.readable_bytes();
        if readable - mapped < REMAP_BYTES {
            return Ok(None);
        }
        let newer: Bytes = self.file.map(readable)?.into();
        let mut bytes = mapping.write();
        if newer.len() > bytes.len() {
            *bytes = newer.clone();
        }
        Ok(Some(newer))
    }

    fn copied(&self, range: Range<u64>) -> Result<Bytes> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes.into())
    }

    /// Bytes of the file where they can be had without copy or shared counter.
    #[inline]
    pub(crate) fn near<'a>(&'a self, range: &Range<u64>, ahead: Option<&'a ReadAhead>) -> Option<&'a [u8]> {
        match &self.bytes {
            Bytewise::Whole(bytes) => bytes.get(range.start as usize..range.end as usize),
            Bytewise::Growing(_) | Bytewise::Pread => ahead?.get(self.header.id, range),
        }
    }

    /// Reads bytes of the file that are asked for soon. What comes back starts at that offset of the file and is to be
    /// kept until then; of a mapped segment there is nothing to keep. Requires: they are readable.
    pub(crate) fn fetch(&self, range: Range<u64>) -> Result<Option<(u64, Bytes)>> {
        match &self.bytes {
            Bytewise::Whole(bytes) => {
                touch(bytes.get(range.start as usize..range.end as usize).unwrap_or_default());
                Ok(None)
            }
            Bytewise::Growing(mapping) => match self.grown(mapping, range.end)? {
                Some(bytes) => {
                    touch(bytes.get(range.start as usize..range.end as usize).unwrap_or_default());
                    Ok(Some((0, bytes)))
                }
                None => Ok(Some((range.start, self.copied(range)?))),
            },
            Bytewise::Pread => Ok(Some((range.start, self.copied(range)?))),
        }
    }

    /// Whether what is read ahead of this segment is a copy.
    pub(crate) fn copies(&self) -> bool {
        matches!(self.bytes, Bytewise::Pread)
    }

    /// The record that the bytes must be, in plain.
    #[inline]
    fn judge(&self, position: u32, pointer: ValuePointer, bytes: Bytes, verify: bool) -> Result<FoundRecord<Bytes>> {
        let (header, start) = self.check(position, pointer, &bytes, verify)?;
        let bytes = match &self.header.cipher {
            Some(cipher) => {
                let decrypted = decrypted(cipher, position, &header, start, bytes)
                    .map_err(|error| Error::from(error.at(self.path.clone(), u64::from(position))))?;
                if verify {
                    self.meta_of(&header)?;
                }
                decrypted
            }
            None => bytes,
        };
        Ok(FoundRecord { header, position, start, bytes })
    }

    /// Checks that the bytes are one record as long as the pointer says, behind its address, and unchanged. Returns its
    /// header and where in the bytes it starts.
    #[inline]
    fn check(&self, position: u32, pointer: ValuePointer, bytes: &[u8], verify: bool) -> Result<(RecordHeader, usize)> {
        let decoded = |error: base::DecodeError| Error::from(error.at(self.path.clone(), u64::from(position)));
        let start = self.header.content.origin_len() as usize;
        if start > 0 {
            let origin = Origin::decode(bytes).map_err(decoded)?;
            let asked = Origin { segment: pointer.segment, offset: pointer.offset };
            if origin != asked {
                let (asked, found) = (format!("{asked:?}"), format!("{origin:?}"));
                return Err(self.wrong(position, "record of another address", asked, found));
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
            // Of a sealed record the tags come first: they tell a newer program from a forged byte.
            if self.header.cipher.is_none() {
                self.meta_of(&header)?;
            }
        }
        Ok((header, start))
    }

    fn meta_of(&self, header: &RecordHeader) -> Result<EntryMeta> {
        header.meta().map_err(|error| {
            Error::incompatible(&self.path, "record flags", error.what(), format!("{:#04x}", header.flags))
        })
    }

    fn key_of<'a>(&self, found: &'a FoundRecord<Bytes>) -> Result<InternalKeyRef<'a>> {
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
pub(crate) struct FoundRecord<B> {
    pub(crate) header: RecordHeader,
    position: u32,
    /// Where in the bytes the record starts; its address is before that.
    start: usize,
    bytes: B,
}

impl<B: AsRef<[u8]>> FoundRecord<B> {
    /// Header, key and value, without the checksum.
    pub(crate) fn covered(&self) -> &[u8] {
        self.part(0..self.header.value_end())
    }

    fn key(&self) -> &[u8] {
        self.part(RECORD_HEADER_LEN..self.header.value_start())
    }

    /// The value as it is stored.
    fn stored(&self) -> &[u8] {
        self.part(self.header.value_start()..self.header.value_end())
    }

    fn part(&self, range: Range<usize>) -> &[u8] {
        self.bytes.as_ref().get(self.start + range.start..self.start + range.end).unwrap_or_default()
    }
}

impl FoundRecord<Bytes> {
    /// The value as it is stored, which takes over the share in the segment's bytes.
    #[inline]
    fn into_stored(mut self) -> Bytes {
        self.bytes.truncate(self.start + self.header.value_end());
        self.bytes.advance(self.start + self.header.value_start());
        self.bytes
    }
}

/// Makes the system bring bytes into memory, and waits for it.
pub(crate) fn touch(bytes: &[u8]) {
    for page in bytes.chunks(PAGE_BYTES) {
        std::hint::black_box(page.first().copied());
    }
}
