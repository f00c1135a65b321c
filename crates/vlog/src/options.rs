//! How a value log is opened.

use std::sync::Arc;

use base::{StoreId, ValueLogHead};
use encryption::Keyring;
use vfs::AppendMode;

use crate::header::Store;
use crate::whole_file::WHOLE_BYTES_MAX;
use crate::{Error, Result};

/// Where reads of values get their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum IoMode {
    /// From a mapping of the segment, in place. A device error then ends the process.
    #[default]
    Mapped,
    /// By one positioned read a value, into memory of its own. Every device error is a typed error.
    Pread,
}

/// How a value log is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The store that the files belong to; a file of another store is refused.
    pub store: StoreId,
    /// Bytes after which the next record starts a new segment, at most 4 GiB - 1 (default 256 MiB). A record that is
    /// longer than this gets a segment of its own.
    pub segment_bytes: u64,
    /// Records after which the next one starts a new segment (default 1,048,576).
    pub segment_entries: u64,
    /// How records are appended: written (default), one to three system calls each, or mapped, none. Written is faster
    /// from 16 KiB on, and with syncs. Buffered is refused: records are read before they are synced.
    pub mode: AppendMode,
    /// Bytes that a segment is allocated ahead by (default 16 MiB; never more than `segment_bytes`).
    pub preallocate_bytes: u64,
    /// Where reads get their bytes.
    pub io_mode: IoMode,
    /// Whether every read verifies the record's checksum (default true).
    pub verify: bool,
    /// Whether nothing may be written.
    pub read_only: bool,
    /// The keys of encrypted files; what is written is encrypted if there are any (default none).
    pub keys: Option<Arc<Keyring>>,
    /// Whether dead sets and death lists that are damaged or missing are taken for empty (default false), instead of keeping the
    /// log from opening: for whoever knows from elsewhere what lives, and says then what is dead.
    pub forget_damaged_deaths: bool,
    /// Bytes of dead sets that are kept until they are settled: with more they are settled at once (default 16 MiB).
    pub unsettled_bytes_max: u64,
    /// Bytes of the longest file that is written or read whole: a death list, dead set, map or manifest (default 1 GiB, which
    /// is also the most). One that would be longer is refused before it is written.
    pub whole_bytes_max: u64,
    /// Whether the log is all there is (default false): no other one tells how far it goes. It then ends before the first gap
    /// that a crash has left between its segments, and a folder that was copied while it was appended to opens as a prefix.
    pub stands_alone: bool,
}

impl Options {
    /// The defaults, for a store.
    #[must_use]
    pub fn new(store: StoreId) -> Self {
        Self {
            store,
            segment_bytes: 256 << 20,
            segment_entries: 1 << 20,
            mode: AppendMode::Written,
            preallocate_bytes: 16 << 20,
            io_mode: IoMode::Mapped,
            verify: true,
            read_only: false,
            keys: None,
            forget_damaged_deaths: false,
            unsettled_bytes_max: 16 << 20,
            whole_bytes_max: WHOLE_BYTES_MAX,
            stands_alone: false,
        }
    }

    pub(crate) fn of_store(&self) -> Store<'_> {
        Store { id: self.store, keys: self.keys.as_deref(), whole_bytes_max: self.whole_bytes_max }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if self.segment_bytes == 0 || self.segment_bytes > u64::from(u32::MAX) {
            return Err(Error::InvalidArgument("segment_bytes must be from 1 to 4 GiB - 1"));
        }
        if self.segment_entries == 0 {
            return Err(Error::InvalidArgument("segment_entries must be at least 1"));
        }
        if self.whole_bytes_max > WHOLE_BYTES_MAX {
            return Err(Error::InvalidArgument("whole_bytes_max must be at most 1 GiB"));
        }
        if self.forget_damaged_deaths && self.stands_alone {
            return Err(Error::InvalidArgument(
                "a log that stands alone cannot forget what is dead: nobody else knows it",
            ));
        }
        if matches!(self.mode, AppendMode::Buffered(_)) {
            return Err(Error::InvalidArgument("a value log cannot be appended to through a buffer"));
        }
        Ok(())
    }
}

/// What whoever opens a value log knows of it from elsewhere, such as a write-ahead log and a manifest.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecoveryInput<'a> {
    /// Up to here the log is known to have been synced: damage before it is corruption, damage behind it is the tail
    /// of a crash.
    pub synced: ValueLogHead,
    /// Death tickets that may have to be applied still; the lists of all others are orphans.
    pub live_tickets: &'a [u64],
    /// Whether the log was made before, so that an empty folder means that it was lost.
    pub must_exist: bool,
}
