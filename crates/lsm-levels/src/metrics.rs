//! What the levels hold, and what has been moved through them.

use base::limits::LEVELS;
use base::sync::atomic::{AtomicU64, Ordering};

/// Bytes that went into and out of a level since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelTraffic {
    /// Bytes of tables read from this level by compaction.
    pub bytes_read: u64,
    /// Bytes of tables written to this level, by flush or compaction.
    pub bytes_written: u64,
    /// Bytes of tables that moved to this level without being written.
    pub bytes_moved: u64,
}

/// A level of a keyspace at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LevelInfo {
    /// The level.
    pub level: usize,
    /// Number of tables.
    pub tables: usize,
    /// Bytes of their files.
    pub bytes: u64,
    /// Bytes that the level should hold at most; 0 where it should be empty.
    pub target_bytes: u64,
    /// How due the level is for compaction: 1 and above is due.
    pub score: f64,
    /// Number of entries.
    pub entries: u64,
    /// Number of tombstones among them.
    pub tombstones: u64,
    /// Bytes of user keys and entries before compression.
    pub raw_bytes: u64,
}

/// Counters that are added to from many threads.
#[derive(Debug, Default)]
pub(crate) struct Traffic([Counters; LEVELS]);

#[derive(Debug, Default)]
struct Counters {
    read: AtomicU64,
    written: AtomicU64,
    moved: AtomicU64,
}

impl Traffic {
    pub(crate) fn add_read(&self, level: usize, bytes: u64) {
        if let Some(counters) = self.0.get(level) {
            counters.read.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn add_written(&self, level: usize, bytes: u64) {
        if let Some(counters) = self.0.get(level) {
            counters.written.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn add_moved(&self, level: usize, bytes: u64) {
        if let Some(counters) = self.0.get(level) {
            counters.moved.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> [LevelTraffic; LEVELS] {
        self.0.each_ref().map(|counters| LevelTraffic {
            bytes_read: counters.read.load(Ordering::Relaxed),
            bytes_written: counters.written.load(Ordering::Relaxed),
            bytes_moved: counters.moved.load(Ordering::Relaxed),
        })
    }
}
