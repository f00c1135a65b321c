//! Appends records to a log, one for each commit.
//!
//! Invariants
//! 1. A record is whole in the file before its end offset is returned, and only then can a sync claim it.
//! 2. After an append that failed half-way nothing is appended until the log was cut to its last whole record and the
//!    cut is durable; so no byte is ever written behind a torn record, and none at a place where old bytes could return.
//! 3. An append allocates nothing: fragments are put together in one buffer that is as long as it will ever be.
//!
//! Called by whoever commits, under the commit lock.

use std::path::Path;

use base::sync::Arc;
use base::{LogNumber, ValueLogHead, limits};
use encryption::{FileCipher, Keyring, SALT_LEN};
use vfs::{AppendFile, AppendMode, AppendOptions, Vfs};

use crate::fragment::{BLOCK_LEN, FRAGMENT_HEADER_LEN, FragmentKind, Framing, Sealing, room};
use crate::header::{self, LOG_HEADER_LEN, LogHeader};
use crate::offsets::SyncedOffsets;
use crate::sync::LogSync;
use crate::{Error, Result};

/// Longest payload of a record in bytes: that of the longest commit.
pub const RECORD_LEN_MAX: u64 = limits::COMMIT_LEN_MAX;

/// A record longer than this reaches the file in more than one append.
const BUFFER_LEN: usize = 4 * BLOCK_LEN;

/// How a log file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WriterOptions {
    /// How appended bytes reach the system. A log is never buffered in the process: that is taken for
    /// [`AppendMode::Written`].
    pub mode: AppendMode,
    /// Bytes to allocate ahead, in full; 0 allocates none.
    pub preallocate_bytes: u64,
}

/// The one writer of a log.
///
/// Dropping it leaves the log as a crash would: readable, and without its closing record.
#[derive(Debug)]
pub struct LogWriter {
    file: Box<dyn AppendFile>,
    number: LogNumber,
    framing: Framing,
    sealing: Option<Sealing>,
    buffer: Vec<u8>,
    /// End of the last whole record.
    len: u64,
    damaged: bool,
    /// The closing record stands: nothing may follow but its proof.
    ended: bool,
    sync: Arc<LogSync>,
}

impl LogWriter {
    /// Creates the log file, which must not exist, and writes its header. Neither header nor name are durable yet: the
    /// first sync covers the header, and the caller syncs the directory. With `keys` the log is sealed.
    ///
    /// # Errors
    /// When the file cannot be created or written; no file is left behind then unless removing it fails too.
    pub fn create(
        vfs: &std::sync::Arc<dyn Vfs>,
        path: &Path,
        header: LogHeader,
        options: WriterOptions,
        keys: Option<&Keyring>,
    ) -> Result<Self> {
        let mut salt = [0; SALT_LEN];
        vfs.fill_random(&mut salt)?;
        let (key, cipher) = FileCipher::for_new_file(keys, &header.identity(), &salt);
        let WriterOptions { mode, preallocate_bytes } = options;
        let mode = if let AppendMode::Buffered(_) = mode { AppendMode::Written } else { mode };
        let mut file = vfs.create_append(path, AppendOptions { mode, preallocate_bytes })?;
        if let Err(error) = file.append(&header::encode(&header, key, &salt)) {
            drop(file);
            // The first error is the one to tell: a log without a whole header is an empty one to whoever finds it.
            let _ = vfs.remove_file(path);
            return Err(error.into());
        }
        let sync = Arc::new(LogSync::new(file.sync_handle()));
        let len = LOG_HEADER_LEN as u64;
        sync.note_appended(len);
        Ok(Self {
            file,
            number: header.number,
            framing: header::framing(&salt, header.number).sealed(cipher.is_some()),
            sealing: cipher.map(|cipher| Sealing { cipher, round: 0 }),
            // Longest content: all but the last byte of a full buffer, then one block's padding and fragment.
            buffer: Vec::with_capacity(BUFFER_LEN + 2 * BLOCK_LEN),
            len,
            damaged: false,
            ended: false,
            sync,
        })
    }

    /// Appends one record, whose payload is `parts` in order. `value_log_synced` is how far the value log is known to
    /// be durable; it goes in front, with the same of this log.
    ///
    /// Returns the offset up to which the log must be synced for this record to be durable. The record survives the
    /// death of the process from then on.
    ///
    /// # Errors
    /// When the payload is over [`RECORD_LEN_MAX`] (nothing is written), when the file takes no more bytes (the writer
    /// is then damaged until [`cut_to_last_record`](Self::cut_to_last_record)), after [`end`](Self::end), and after any
    /// failed sync.
    pub fn append(&mut self, value_log_synced: ValueLogHead, parts: &[&[u8]]) -> Result<u64> {
        let synced = SyncedOffsets { log: self.check_open()?, value_log: value_log_synced };
        let payload_len = parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.len() as u64));
        if payload_len > RECORD_LEN_MAX {
            return Err(Error::RecordTooLong { path: self.path().to_owned(), len: payload_len, max: RECORD_LEN_MAX });
        }
        self.append_record(synced, payload_len, parts)
    }

    /// End of the last whole record, in bytes from the start of the file.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a log has at least its header")]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// The log's number.
    #[must_use]
    pub const fn number(&self) -> LogNumber {
        self.number
    }

    /// Where the log is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// What another thread syncs this log with.
    #[must_use]
    pub fn sync_handle(&self) -> Arc<LogSync> {
        Arc::clone(&self.sync)
    }

    /// After a failed append: drops the partial record and makes that durable, so that the log ends whole.
    ///
    /// # Errors
    /// When the file cannot be cut (it may be tried again) or synced (it may not).
    pub fn cut_to_last_record(&mut self) -> Result<()> {
        if let Some(sealing) = &mut self.sealing {
            let damaged = || Error::Damaged { path: self.file.path().to_owned() };
            sealing.round = sealing.round.checked_add(1).ok_or_else(damaged)?;
        }
        self.file.cut(self.len)?;
        self.sync.sync_through(|| self.file.sync())?;
        self.damaged = false;
        Ok(())
    }

    /// Writes the closing record, after which nothing can be appended. It survives the death of the process from then
    /// on, and a power loss once the log was synced; [`close`](Self::close) does that, and can follow at leisure.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn end(&mut self) -> Result<()> {
        let synced = self.check_open()?;
        self.append_closing(synced)?;
        self.ended = true;
        Ok(())
    }

    /// Ends the log (its closing record may stand already, see [`end`](Self::end)): sync, a second closing record that
    /// says so, and unused space given back.
    ///
    /// The second record is the proof that all before it was durable: with it, damage anywhere in a closed log is told
    /// from a tail that was never written, even if nobody had synced the log before. Where the disk is too full for it
    /// the log is closed without.
    ///
    /// # Errors
    /// When the writer is damaged, or the file cannot be written or synced. The log may then lack its closing record.
    pub fn close(mut self) -> Result<()> {
        if !self.ended {
            self.end()?;
        }
        let proven = self.sync.sync_through(|| self.file.sync())?;
        match self.append_closing(proven) {
            Ok(()) => {}
            Err(Error::Vfs(error)) if error.is_no_space() => self.cut_to_last_record()?,
            Err(error) => return Err(error),
        }
        let Self { file, sync, .. } = self;
        sync.sync_through(|| file.finish())?;
        Ok(())
    }

    /// Whether a record may be appended; then, how far the log is durable.
    fn check_open(&self) -> Result<u64> {
        if self.damaged {
            return Err(Error::Damaged { path: self.path().to_owned() });
        }
        if self.ended {
            return Err(Error::Ended { path: self.path().to_owned() });
        }
        self.sync.synced_unless_failed()
    }

    fn append_closing(&mut self, log: u64) -> Result<()> {
        let synced = SyncedOffsets { log, ..SyncedOffsets::default() };
        self.buffer.clear();
        if self.framing.data_room(self.len).is_none() {
            self.buffer.resize(room(self.len), 0);
        }
        let offset = self.len + self.buffer.len() as u64;
        let closing = (FragmentKind::Closing, synced);
        self.framing.push(closing, offset, 0, &mut self.buffer, self.sealing.as_ref(), |_| {});
        self.flush_buffer(self.len)?;
        Ok(())
    }

    fn append_record(&mut self, synced: SyncedOffsets, payload_len: u64, parts: &[&[u8]]) -> Result<u64> {
        self.buffer.clear();
        let mut position = self.len;
        let mut parts = Parts { current: &[], rest: parts };
        let mut left = payload_len;
        let mut kinds = (FragmentKind::Full, FragmentKind::First);
        let mut synced_len = synced.encoded_len();
        loop {
            let offset = position + self.buffer.len() as u64;
            let Some(data_room) = self.framing.data_room(offset) else {
                self.buffer.resize(self.buffer.len() + room(offset), 0);
                continue;
            };
            let len = left.min((data_room - synced_len) as u64) as usize;
            left -= len as u64;
            let kind = if left == 0 { kinds.0 } else { kinds.1 };
            self.framing.push((kind, synced), offset, len, &mut self.buffer, self.sealing.as_ref(), |out| {
                parts.move_into(len, out);
            });
            if left == 0 {
                return self.flush_buffer(position);
            }
            kinds = (FragmentKind::Last, FragmentKind::Middle);
            synced_len = 0;
            if self.buffer.len() >= BUFFER_LEN {
                self.append_buffer()?;
                position += self.buffer.len() as u64;
                self.buffer.clear();
            }
        }
    }

    /// Appends the buffer, which goes to `position` and ends with a whole record.
    fn flush_buffer(&mut self, position: u64) -> Result<u64> {
        self.append_buffer()?;
        self.len = position + self.buffer.len() as u64;
        self.sync.note_appended(self.len);
        Ok(self.len)
    }

    fn append_buffer(&mut self) -> Result<()> {
        self.file.append(&self.buffer).inspect_err(|_| self.damaged = true)?;
        Ok(())
    }
}

/// What is left of the parts of a payload.
struct Parts<'a> {
    current: &'a [u8],
    rest: &'a [&'a [u8]],
}

impl Parts<'_> {
    /// Moves the next `len` bytes to the end of `out`.
    #[inline]
    fn move_into(&mut self, mut len: usize, out: &mut Vec<u8>) {
        while len > 0 {
            let (now, later) = self.current.split_at_checked(len).unwrap_or((self.current, &[]));
            out.extend_from_slice(now);
            len -= now.len();
            self.current = later;
            if len > 0 {
                let Some((next, rest)) = self.rest.split_first() else { return };
                self.current = next;
                self.rest = rest;
            }
        }
    }
}

// A fragment's data fits the two bytes of its length.
const _: () = assert!(BLOCK_LEN - FRAGMENT_HEADER_LEN <= u16::MAX as usize);
