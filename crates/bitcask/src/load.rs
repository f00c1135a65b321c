//! Fills the keydir from the hint files, and from the records of a file whose hint file cannot be used.
//!
//! The newest version of a key wins, whatever the order of files: a merge puts old records into a new file. So tombstones
//! come last, when all files have been read. A record that is marked dead is as good as gone: what hid it may be gone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use base::sync::Arc;
use base::{EntryKind, SegmentId, Version};
use vfs::AppendMode;
use vlog::{DeadSet, Entries, Entry, RecoveryInput, TornTail, ValueLog};

use crate::identity::Identity;
use crate::index::Index;
use crate::keydir::{Batch, Keydir, KeydirEntry};
use crate::store::OWNER;
use crate::{Error, Options, Result};

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Ends of files that a crash cut, or the copying of a folder that was written to, and files behind such an end.
    pub torn_tails: Vec<TornTail>,
    /// Hint files that were missing or damaged: the records were read instead.
    pub lost_hints: Vec<PathBuf>,
    /// Records that were looked at, dead ones included.
    pub records: u64,
}

/// How often a reader begins anew where a writer marks and moves records meanwhile.
const READER_ATTEMPTS: u32 = 30;

/// What the files say.
pub(crate) struct Loaded<K> {
    pub(crate) index: Index<K>,
    /// The newest version of all.
    pub(crate) newest: Version,
    pub(crate) recovery: Recovery,
    /// Segments in need of a hint file.
    pub(crate) without_hint: Vec<SegmentId>,
}

/// Opens the log of a store and reads all its files.
pub(crate) fn open<K: Keydir>(dir: &Path, options: &Options, identity: Identity) -> Result<(ValueLog, Loaded<K>)> {
    let mut left = if options.read_only { READER_ATTEMPTS } else { 1 };
    loop {
        left -= 1;
        match open_once(dir, options, identity) {
            Err(Error::Log(vlog::Error::Changed { path })) if left > 0 => {
                tracing::debug!(path = %path.display(), "written by a merge, the store is read anew");
            }
            other => return other,
        }
    }
}

fn open_once<K: Keydir>(dir: &Path, options: &Options, identity: Identity) -> Result<(ValueLog, Loaded<K>)> {
    let log_options = vlog::Options {
        segment_bytes: options.max_file_size,
        mode: AppendMode::Written,
        io_mode: options.io_mode,
        read_only: options.read_only,
        stands_alone: true,
        ..vlog::Options::new(identity.store)
    };
    let input = RecoveryInput { must_exist: identity.is_made, ..RecoveryInput::default() };
    let (log, found) = ValueLog::open(Arc::clone(&options.vfs), dir, log_options, input)?;
    let mut seed = [0; 8];
    options.vfs.fill_random(&mut seed)?;
    let loaded = Loading::new(&log, u64::from_le_bytes(seed), found.torn_tails).load()?;
    Ok((log, loaded))
}

/// A keydir that is being filled.
struct Loading<'a, K> {
    log: &'a ValueLog,
    loaded: Loaded<K>,
    /// The newest tombstone of each key that has one.
    tombstones: HashMap<Vec<u8>, Version>,
    /// What was read and is not in the keydir yet.
    batch: Batch,
}

/// Entries that are put into the keydir at once, and the bytes of keys that are enough as well.
const BATCH_LEN: usize = 128 << 10;
const BATCH_KEY_BYTES: usize = 8 << 20;

/// Most keys that room is made for before they are read: as many as a file has records that was not merged.
const RESERVED_KEYS_MAX: u64 = 1 << 20;

impl<'a, K: Keydir> Loading<'a, K> {
    fn new(log: &'a ValueLog, seed: u64, torn_tails: Vec<TornTail>) -> Self {
        let recovery = Recovery { torn_tails, ..Recovery::default() };
        let loaded = Loaded { index: Index::new(seed), newest: 0, recovery, without_hint: Vec::new() };
        Self { log, loaded, tombstones: HashMap::new(), batch: Batch::default() }
    }

    /// Reads all files.
    fn load(mut self) -> Result<Loaded<K>> {
        let mut seen = 0u64;
        for file in self.log.statistics() {
            // Of later files only so many as had new keys before.
            let records = file.records;
            let keys = self.loaded.index.keydir.len() as u64;
            let share =
                if seen == 0 { records } else { records.min((records as f64 * keys as f64 / seen as f64) as u64) };
            self.load_segment(file.segment, share)?;
            seen = seen.saturating_add(records);
        }
        let Self { mut loaded, tombstones, .. } = self;
        loaded.recovery.records = seen;
        for (key, version) in tombstones {
            if loaded.index.keydir.find(&key).is_some_and(|older| older.version < version) {
                loaded.index.remove(&key);
            }
        }
        Ok(loaded)
    }

    /// `keys` are likely to be new.
    fn load_segment(&mut self, segment: SegmentId, keys: u64) -> Result<()> {
        let dead = self.log.dead_set(segment)?;
        let entries = self.log.entries(segment).map_err(Error::from);
        let from_hint = entries.and_then(|entries| {
            // The manifest may say anything.
            let keys = keys.min(entries.records_max()).min(RESERVED_KEYS_MAX);
            self.loaded.index.keydir.reserve(usize::try_from(keys).unwrap_or(0));
            self.take(entries, &dead)
        });
        match from_hint {
            Err(error) if error.is_corruption() => {
                // What was taken already is taken again, to the same effect.
                self.take(self.log.records(segment)?, &dead)?;
                if !self.log.is_collected_meanwhile(segment)? {
                    tracing::warn!(%error, "a hint file cannot be used, the records are read instead");
                    self.loaded.recovery.lost_hints.push(vlog::hint_path(self.log.dir(), segment));
                    self.loaded.without_hint.push(segment);
                }
                Ok(())
            }
            other => other,
        }
    }

    fn take(&mut self, mut entries: Entries, dead: &DeadSet) -> Result<()> {
        while let Some(entry) = entries.next()? {
            self.loaded.newest = self.loaded.newest.max(entry.key.version);
            if !dead.contains(entry.position) {
                self.take_one(&entry)?;
            }
        }
        self.flush();
        Ok(())
    }

    fn flush(&mut self) {
        self.loaded.index.offer_all(&self.batch);
        self.batch.clear();
    }

    #[inline]
    fn take_one(&mut self, entry: &Entry<'_>) -> Result<()> {
        let (key, version) = (entry.key.user_key, entry.key.version);
        if entry.owner != OWNER {
            return Err(foreign(self.log, entry, "record of another program"));
        }
        match entry.meta.kind {
            EntryKind::Put => {
                let (pointer, expires_at) = (entry.pointer, entry.meta.expires_at);
                self.batch.push(key, KeydirEntry { pointer, version, expires_at });
                if self.batch.len() >= BATCH_LEN || self.batch.key_bytes() >= BATCH_KEY_BYTES {
                    self.flush();
                }
            }
            EntryKind::Delete => match self.tombstones.get_mut(key) {
                Some(newest) => *newest = version.max(*newest),
                None => drop(self.tombstones.insert(key.to_vec(), version)),
            },
            EntryKind::Pointer | EntryKind::Merge | EntryKind::RangeDelete => {
                return Err(foreign(self.log, entry, "kind of record that no store has"));
            }
        }
        Ok(())
    }
}

#[cold]
fn foreign(log: &ValueLog, entry: &Entry<'_>, what: &'static str) -> Error {
    let found = format!("owner {}, {:?} at {}", entry.owner, entry.meta.kind, entry.pointer.offset);
    Error::incompatible(
        &vlog::segment_path(log.dir(), entry.pointer.segment),
        what,
        "puts and deletes of owner 0",
        found,
    )
}
