//! Reads a log from its start to where it ends, and tells a tail that never reached the disk from rot.
//!
//! The rule: bytes that are not a whole record are damage if they lie below the highest synced offset found anywhere in
//! the log, also behind them; otherwise they are the tail, the log ends before them, and the end says how much was
//! dropped. Nothing is ever skipped silently.
//!
//! Invariants
//! 1. A record is returned only if every fragment of it is whole and in sequence.
//! 2. Memory is bounded by one window and the longest record, which is no longer than the file and its limit.
//! 3. Once the log has ended or damage was reported, the answer never changes.

use std::path::Path;
use std::sync::Arc;

use base::Corruption;
use encryption::{FileCipher, Keyring};
use vfs::Vfs;

use crate::damage::{Damage, LogEnd, Skipped};
use crate::fragment::{Framing, is_zero};
use crate::header::{self, ExpectedLog, LOG_HEADER_LEN, LogHeader, Opened};
use crate::offsets::SyncedOffsets;
use crate::window::Window;
use crate::writer::RECORD_LEN_MAX;
use crate::{Error, Result, salt, tail};

mod assemble;
mod ending;

use assemble::{Bad, Found, Step};

/// What a reader makes of bytes that are not a whole record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RecoveryMode {
    /// Damage below what was durable is an error; above, it is the tail and the log ends.
    #[default]
    Default,
    /// Any is an error.
    AbsoluteConsistency,
    /// The log ends at the first, whatever lies behind, and the end reports it.
    PointInTime,
    /// Salvage: goes on at the next whole record; each stretch that was passed over is listed.
    SkipCorrupt,
}

/// One record: what one [`append`](crate::LogWriter::append) wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it starts, in bytes from the start of the file.
    pub offset: u64,
    /// Where it ends.
    pub end: u64,
    /// What was known to be durable when it was written.
    pub synced: SyncedOffsets,
    /// The bytes that were appended.
    pub payload: &'a [u8],
}

/// Reads a log front to back.
#[derive(Debug)]
pub struct LogReader {
    window: Window,
    mode: RecoveryMode,
    header: Option<LogHeader>,
    framing: Framing,
    /// What opens the fragments of a sealed log.
    cipher: Option<FileCipher>,
    /// Where the next record should start.
    position: u64,
    /// End of the last whole record.
    whole_end: u64,
    /// A record of several fragments, or a sealed one.
    assembled: Vec<u8>,
    record_len_max: u64,
    highest: SyncedOffsets,
    skipped: Vec<Skipped>,
    state: State,
}

#[derive(Debug)]
enum State {
    Reading,
    Ended(LogEnd),
    Corrupt(Corruption),
}

impl LogReader {
    /// Opens the log at `path` and reads its header.
    ///
    /// A header that is not whole makes an empty, torn log if nothing was written behind it, or if it is all zeros and
    /// no record behind it proves that the log had been synced: the header is not synced before the first record, and
    /// power may be lost in between.
    ///
    /// # Errors
    /// When the file cannot be read, is not the log that was asked for, its header is damaged, or it is encrypted and its
    /// key is not among `keys`.
    pub fn open(
        vfs: &Arc<dyn Vfs>,
        path: &Path,
        expect: ExpectedLog,
        mode: RecoveryMode,
        keys: Option<&Keyring>,
    ) -> Result<Self> {
        let mut reader = Self {
            window: Window::open(&**vfs, path)?,
            mode,
            header: None,
            framing: Framing::new(0, expect.number),
            cipher: None,
            position: 0,
            whole_end: 0,
            assembled: Vec::new(),
            record_len_max: RECORD_LEN_MAX,
            highest: SyncedOffsets::default(),
            skipped: Vec::new(),
            state: State::Reading,
        };
        reader.read_header(&expect, keys)?;
        Ok(reader)
    }

    /// The header; `None` where it is not whole.
    #[must_use]
    pub const fn header(&self) -> Option<&LogHeader> {
        self.header.as_ref()
    }

    /// The next record, or `None` once the log has ended; [`end`](Self::end) then tells how.
    ///
    /// # Errors
    /// When the file cannot be read, or damage is an error in this reader's mode.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>> {
        loop {
            match &self.state {
                State::Reading => {}
                State::Ended(_) => return Ok(None),
                State::Corrupt(corruption) => return Err(corruption.clone().into()),
            }
            match self.step()? {
                Step::Whole(found) => {
                    self.highest.raise(found.synced);
                    self.position = found.end;
                    self.whole_end = found.end;
                    return Ok(Some(self.record(&found)));
                }
                Step::Closing { end } => self.close(end)?,
                Step::Nothing { at } => self.stop(at)?,
                Step::Bad(bad) => self.judge(&bad)?,
            }
        }
    }

    /// How the log ended; `None` before [`next_record`](Self::next_record) has returned `None`.
    #[must_use]
    pub const fn end(&self) -> Option<&LogEnd> {
        match &self.state {
            State::Ended(end) => Some(end),
            State::Reading | State::Corrupt(_) => None,
        }
    }

    /// The highest synced offsets read so far; once the log has ended, those found anywhere in it, also behind its end.
    #[must_use]
    pub const fn highest_synced(&self) -> SyncedOffsets {
        self.highest
    }

    /// The highest synced offsets anywhere in the log, read ahead to its end without moving this reader.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn look_ahead_synced(&mut self) -> Result<SyncedOffsets> {
        if matches!(self.state, State::Reading) {
            let until = self.window.file_len();
            let ahead = tail::highest_synced(&mut self.window, &self.framing, self.position, until)?;
            self.highest.raise(ahead);
        }
        Ok(self.highest)
    }

    /// What a [`RecoveryMode::SkipCorrupt`] reader has passed over so far.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    fn read_header(&mut self, expect: &ExpectedLog, keys: Option<&Keyring>) -> Result<()> {
        let bytes = self.window.block_rest(0)?;
        let bytes = bytes.get(..LOG_HEADER_LEN).unwrap_or(bytes).to_vec();
        match header::decode(&bytes, self.window.path(), expect, keys) {
            Ok(Opened { header, framing, cipher }) => {
                self.header = Some(header);
                (self.framing, self.cipher) = (framing, cipher);
                self.position = LOG_HEADER_LEN as u64;
                self.whole_end = self.position;
            }
            Err(error) if header::is_whole(&bytes) => return Err(error),
            Err(error) => self.without_header(&bytes, expect, error)?,
        }
        Ok(())
    }

    /// Goes on without a whole header, or gives back the error that reading it gave.
    fn without_header(&mut self, bytes: &[u8], expect: &ExpectedLog, error: Error) -> Result<()> {
        let data_end = self.window.data_end(0)?;
        let framing = salt::recover(&mut self.window, &self.framing, data_end)?;
        if let Some(framing) = framing {
            self.highest = tail::highest_synced(&mut self.window, &framing, 0, data_end)?;
        }
        let nothing_behind = data_end <= LOG_HEADER_LEN as u64;
        let is_torn =
            self.highest.log == 0 && (is_zero(bytes) || (nothing_behind && header::may_become(bytes, expect.kind)));
        match (self.mode, framing) {
            (RecoveryMode::SkipCorrupt, Some(framing)) => {
                self.framing = framing;
                self.judge(&Bad::at(0, 0, Damage::Header))
            }
            (RecoveryMode::Default, _) if is_torn => self.end_torn(Damage::Header),
            (RecoveryMode::PointInTime | RecoveryMode::SkipCorrupt, _) => self.end_torn(Damage::Header),
            (RecoveryMode::Default | RecoveryMode::AbsoluteConsistency, _) => Err(error),
        }
    }

    fn record(&self, found: &Found) -> Record<'_> {
        let payload = match found.in_window {
            Some(len) => self.window.loaded(found.end - len as u64, len),
            None => &self.assembled,
        };
        Record { offset: found.start, end: found.end, synced: found.synced, payload }
    }
}

#[cfg(test)]
mod tests;
