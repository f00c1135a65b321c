//! Appends records to the active segment, and starts the next one.
//!
//! A roll creates a file and writes a header; what is expensive of ending the old segment (cutting, syncing, hint
//! file, manifest) is left to [`ValueLog::seal_full`].

use base::checksum::Hasher;
use base::sync::Arc;
use base::sync::atomic::Ordering;
use base::{EntryMeta, InternalKeyRef, SegmentId, ValueLogHead, ValuePointer};
use encryption::FileCipher;
use vfs::{AppendFile, AppendMode, AppendOptions};

use crate::file_name::segment_path;
use crate::header::HEADER_LEN_U64;
use crate::record::{RECORD_HEADER_LEN, RecordHeader, SEALS_LEN, seal};
use crate::segment_header::{Content, SegmentHeader};
use crate::sync::{FileState, OpenSegment};
use crate::{Options, Result, Segment, ValueLog, whole_file};

/// Up to this length a value is copied behind its key, so that a record is one `write`; longer ones are cheaper to
/// hand over by themselves.
const GATHER_VALUE_BYTES_MAX: usize = 8 << 10;

/// Sealing takes a copy of a value; one longer than this is not kept for the next.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

/// Segments are never told to be smaller than this.
const ROLL_BYTES_MIN: u64 = 1 << 20;

/// What appends need. Behind the writer's lock.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    active: Option<Active>,
    /// Header and key of the record that is being written.
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Active {
    file: Box<dyn AppendFile>,
    open: Arc<OpenSegment>,
    checksum_start: u32,
    cipher: Option<Arc<FileCipher>>,
    len: u64,
    records: u64,
    /// An append failed: what is behind `len` is unknown, and nothing may follow it.
    broken: bool,
}

impl Active {
    fn has_room(&self, record_len: u64, roll_bytes: u64, options: &Options) -> bool {
        let fits = self.len + record_len <= roll_bytes && self.records < options.segment_entries;
        !self.broken && (fits || self.records == 0)
    }

    /// Writes the record whose header and key are in `scratch`. Where it is not sealed, its bytes are gone over once by the
    /// checksum and once by the copy into the file.
    #[inline]
    fn write(&mut self, header: &RecordHeader, scratch: &mut Vec<u8>, value: &[u8], gather: bool) -> vfs::Result<()> {
        let mut hasher = Hasher::new_with_initial(self.checksum_start);
        if let Some(cipher) = &self.cipher {
            scratch.extend_from_slice(value);
            seal(cipher, self.len, scratch, 0, RECORD_HEADER_LEN, header.key_len());
            hasher.update(scratch);
            scratch.extend_from_slice(&hasher.finalize().to_le_bytes());
            return self.file.append(scratch);
        }
        hasher.update(scratch);
        hasher.update(value);
        let checksum = hasher.finalize().to_le_bytes();
        if gather {
            scratch.extend_from_slice(value);
            scratch.extend_from_slice(&checksum);
            return self.file.append(scratch);
        }
        self.file.append(scratch)?;
        self.file.append(value)?;
        self.file.append(&checksum)
    }
}

impl ValueLog {
    /// Appends one record and returns its address. It can be read at once, under a set that knows its segment; it is
    /// durable after a [`sync`](Self::sync). Starts a new segment where the active one has no room. With
    /// `value_compressed` in its meta, `value` is what [`compress_value`](crate::compress_value) made of it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for a key or value that cannot be stored,
    /// [`Error::Vfs`](crate::Error::Vfs) where the system could not write: the record is then cut off again, and the
    /// next append starts a new segment.
    pub fn append(&self, owner: u32, key: InternalKeyRef<'_>, meta: EntryMeta, value: &[u8]) -> Result<ValuePointer> {
        let header = RecordHeader::of(owner, key, meta, value)?;
        let len = header.record_len();
        let seals_len = if self.options.keys.is_some() { SEALS_LEN as u64 } else { 0 };
        let stored_len = len + seals_len;
        let mut writer = self.writer.lock();
        self.failure.check()?;
        let roll_bytes = self.roll_bytes.load(Ordering::Relaxed);
        if !writer.active.as_ref().is_some_and(|active| active.has_room(stored_len, roll_bytes, &self.options)) {
            self.roll(&mut writer)?;
        }
        let Writer { active: Some(active), scratch } = &mut *writer else {
            return Err(crate::Error::InvalidArgument("no active segment"));
        };
        let start = active.len;
        let gather = self.options.mode != AppendMode::Mapped && value.len() <= GATHER_VALUE_BYTES_MAX;
        scratch.clear();
        header.encode_with_key(key, scratch);
        if let Err(error) = active.write(&header, scratch, value, gather) {
            active.broken = true;
            if let Err(cut) = active.file.cut(start) {
                tracing::warn!(path = %active.open.segment.path().display(), %cut, "a failed append was not cut off");
            }
            return Err(error.into());
        }
        active.len = start + stored_len;
        scratch.clear();
        scratch.shrink_to(SCRATCH_BYTES_MAX);
        active.records += 1;
        active.open.segment.publish(active.len);
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Ok(ValuePointer { segment: active.open.segment.id(), len: narrow(len), offset: narrow(start) })
    }

    /// Ends the active segment, so that [`seal_full`](Self::seal_full) can seal it. The next append starts a new one.
    pub fn close_active(&self) {
        if let Some(active) = self.writer.lock().active.take() {
            retire(active);
        }
    }

    /// Bytes after which a record starts a new segment from now on: the more garbage is to be told apart from what
    /// lives, the smaller segments should be. At most [`Options::segment_bytes`], and at least 1 MiB or that.
    pub fn set_roll_bytes(&self, bytes: u64) {
        let most = self.options.segment_bytes;
        self.roll_bytes.store(bytes.clamp(ROLL_BYTES_MIN.min(most), most), Ordering::Relaxed);
    }

    /// Starts the next segment. Where that fails, everything is as it was.
    fn roll(&self, writer: &mut Writer) -> Result<()> {
        self.check_writable()?;
        let id = self.take_id(writer)?;
        // Also where it is not the active one any more: its end must be known until it is sealed.
        let newest = self.open_segments.lock().back().map(|open| open.head());
        let previous = newest.unwrap_or_default();
        let active = match self.create_segment(id, previous) {
            Ok(active) => active,
            Err(error) => {
                let path = segment_path(&self.dir, id);
                if let Err(left) = whole_file::remove_if_there(&*self.vfs, &path) {
                    tracing::warn!(path = %path.display(), %left, "a segment that was not made whole stays behind");
                }
                return Err(error);
            }
        };
        self.open_segments.lock().push_back(Arc::clone(&active.open));
        self.install(Arc::clone(&active.open.segment));
        tracing::debug!(segment = id.0, "value log rolled");
        if let Some(full) = writer.active.replace(active) {
            retire(full);
        }
        Ok(())
    }

    fn create_segment(&self, id: SegmentId, previous: ValueLogHead) -> Result<Active> {
        let (header, bytes) =
            SegmentHeader::create(&*self.vfs, self.options.of_store(), id, Content::Commits, previous)?;
        let preallocate_bytes = self.options.preallocate_bytes.min(self.roll_bytes.load(Ordering::Relaxed));
        let options = AppendOptions { mode: self.options.mode, preallocate_bytes };
        let mut file = self.vfs.create_append(&segment_path(&self.dir, id), options)?;
        file.append(&bytes)?;
        let (checksum_start, cipher) = (header.checksum_start, header.cipher.clone());
        let segment = Segment::growing(header, file.reader()?, &self.options);
        let open = Arc::new(OpenSegment::new(Arc::new(segment), file.sync_handle()));
        Ok(Active { file, open, checksum_start, cipher, len: HEADER_LEN_U64, records: 0, broken: false })
    }

    /// The next id that no segment ever had. It is used up even if its segment cannot be made.
    pub(crate) fn take_id(&self, _writer: &Writer) -> Result<SegmentId> {
        if self.lease.left() == 0 {
            self.commit(|manifest| self.extend_lease(manifest))?;
        }
        Ok(SegmentId(self.lease.next.fetch_add(1, Ordering::AcqRel)))
    }
}

/// Hands the file of a segment that will not grow to whoever seals it.
fn retire(active: Active) {
    *active.open.file.lock() = FileState::Full(active.file);
}
