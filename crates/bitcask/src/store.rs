//! The store: opening it, reading and writing single keys, closing it.
//!
//! Locks, in order: `merging`; `writer` (held over an append, so that versions are in the order of the log); `index`, never
//! held over a call of the file system; then the value log's own.
//!
//! Invariants
//! 1. A write is in the log before it is in the keydir.
//! 2. Whoever takes an entry from the keydir takes the set of files under the same lock: it has the entry's record for as
//!    long as the set is held, whatever a merge does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::sync::{Arc, Mutex, RwLock};
use base::{EntryMeta, InternalKeyRef, SegmentId, Version};
use bytes::Bytes;
use vfs::{FileKind, FileLock, LockKind};
use vlog::ValueLog;

use crate::hash_keydir::HashKeydir;
use crate::identity::{self, Identity};
use crate::index::Index;
use crate::keydir::{Keydir, KeydirEntry};
use crate::load::{self, Loaded, Recovery};
use crate::ordered_keydir::{KeyRange, OrderedKeydir};
use crate::worker::{Bell, Worker};
use crate::{Error, FileStatus, Keys, MergeReport, Options, Records, Result, SyncStrategy};

/// What the records of a store carry as their owner: nobody else is in its log.
pub(crate) const OWNER: u32 = 0;

/// A store whose keys are all in memory and whose values are all in a log.
///
/// Any number of threads may use it at once. Dropped without [`close`](Self::close), it leaves its files as the death of
/// the process would: nothing that was written is lost, and the next open reads the newest file once.
#[derive(Debug)]
pub struct Bitcask<K: Keydir = HashKeydir> {
    /// Goes before what it works on.
    worker: Option<Worker>,
    pub(crate) shared: Arc<Shared<K>>,
    recovery: Recovery,
}

#[derive(Debug)]
pub(crate) struct Shared<K> {
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) log: ValueLog,
    pub(crate) index: RwLock<Index<K>>,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) merging: Mutex<()>,
    pub(crate) bell: Arc<Bell>,
    /// When the interval of syncs began.
    pub(crate) last_sync: Mutex<Duration>,
    pub(crate) failure: Mutex<Option<Error>>,
    /// The writer's; freed when all else is gone.
    _lock: Option<Box<dyn FileLock>>,
}

#[derive(Debug)]
pub(crate) struct Writer {
    /// The version of the newest write.
    pub(crate) newest: Version,
    /// The segment that it went to.
    segment: SegmentId,
}

/// What a store is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Keys in the keydir, those included that have expired and wait for a merge.
    pub keys: u64,
    /// Its files, oldest first.
    pub files: Vec<FileStatus>,
}

impl Bitcask {
    /// Opens the store in `dir`, with a hash table for a keydir.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Self> {
        Self::open_with(dir, options)
    }
}

impl<K: Keydir> Bitcask<K> {
    /// Opens the store in `dir`, with a keydir of the caller's choice. Reads the hint files, about 3 % of a store with
    /// values of 1 KiB, and the newest file as a whole if the last writer did not close.
    ///
    /// # Errors
    /// [`Error::Locked`] where another handle may write to it, [`Error::Missing`] or [`Error::Foreign`] where there is no
    /// store, [`Error::Corruption`] and [`vlog::Error::Corruption`] where its files are damaged, [`vlog::Error::Changed`]
    /// where it is opened for reading and a writer changed the files that were being read again and again.
    pub fn open_with(dir: impl AsRef<Path>, options: Options) -> Result<Self> {
        options.validate()?;
        let (dir, vfs) = (dir.as_ref(), Arc::clone(&options.vfs));
        let (lock, identity) = enter(dir, &options)?;
        let (log, Loaded { index, newest, recovery, without_hint }) = load::open(dir, &options, identity)?;
        log.finish_recovery()?;
        if !options.read_only {
            for segment in without_hint {
                log.restore_hint(segment)?;
            }
            if !identity.is_made {
                identity.finish(&*vfs, dir)?;
            }
            log.remove_orphans()?;
        }
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            log,
            index: RwLock::new(index),
            writer: Mutex::new(Writer { newest, segment: SegmentId::default() }),
            merging: Mutex::new(()),
            bell: Arc::default(),
            last_sync: Mutex::new(options.clock.monotonic()),
            failure: Mutex::new(None),
            options,
            _lock: lock,
        });
        // Files that a merge has replaced go with the last walk over them.
        let bell = Arc::clone(&shared.bell);
        shared.log.on_release(move || bell.ring());
        let works = shared.options.background && !shared.options.read_only;
        let worker = if works { Some(Worker::start(&shared)?) } else { None };
        Ok(Self { worker, shared, recovery })
    }

    /// What opening found.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The value of a key, as long as it has not expired. One read of the file.
    ///
    /// # Errors
    /// [`vlog::Error::Corruption`] where the record is damaged, [`Error::Log`] where the system cannot read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let (entry, files) = {
            let index = self.shared.index.read();
            match index.keydir.find(key) {
                Some(entry) => (entry, self.shared.log.segments()),
                None => return Ok(None),
            }
        };
        if entry.is_expired_at(self.shared.options.clock.unix_seconds()) {
            return Ok(None);
        }
        Ok(Some(files.read_checked(entry.pointer, OWNER, InternalKeyRef::new(key, entry.version))?))
    }

    /// Whether a key is there. Reads no file.
    #[must_use]
    pub fn contains_key(&self, key: &[u8]) -> bool {
        let entry = self.shared.index.read().keydir.find(key);
        entry.is_some_and(|entry| !entry.is_expired_at(self.shared.options.clock.unix_seconds()))
    }

    /// Sets a key of 1 to 65,535 bytes to a value of up to 4 GiB - 128 KiB.
    ///
    /// # Errors
    /// [`vlog::Error::InvalidArgument`] for a key or value out of bounds, [`Error::ReadOnly`], [`Error::Log`] where the
    /// system cannot write. After an error of the sync, the value may or may not be there when the store is opened again.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let shared = &*self.shared;
        shared.check_writable()?;
        let lifetime = shared.options.expiry_secs;
        let expires_at = lifetime.map_or(0, |seconds| shared.options.clock.unix_seconds().saturating_add(seconds));
        let meta = EntryMeta { expires_at, ..EntryMeta::put() };
        let rolled = {
            let mut writer = shared.writer.lock();
            let version = writer.next_version()?;
            let pointer = shared.log.append(OWNER, InternalKeyRef::new(key, version), meta, value)?;
            shared.index.write().offer(key, KeydirEntry { pointer, version, expires_at });
            writer.note(version, pointer.segment)
        };
        shared.written(rolled)
    }

    /// Deletes a key, and says whether it was there. Nothing is written where it was not, but for one that has expired: a
    /// clock that steps back would show it again.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        let shared = &*self.shared;
        shared.check_writable()?;
        let (was_there, rolled) = {
            let mut writer = shared.writer.lock();
            let Some(entry) = shared.index.read().keydir.find(key) else { return Ok(false) };
            let version = writer.next_version()?;
            let pointer = shared.log.append(OWNER, InternalKeyRef::new(key, version), EntryMeta::delete(), &[])?;
            shared.index.write().remove(key);
            let was_there = !entry.is_expired_at(shared.options.clock.unix_seconds());
            (was_there, writer.note(version, pointer.segment))
        };
        shared.written(rolled).map(|()| was_there)
    }

    /// All keys, in bounded memory, while writes go on: each that is there all the time once, none twice. In the keydir's
    /// order if it has one.
    pub fn list_keys(&self) -> Keys<'_, K> {
        Keys::new(&self.shared, K::Cursor::default())
    }

    /// All keys with their values, as [`list_keys`](Self::list_keys).
    pub fn iter(&self) -> Records<'_, K> {
        Records::new(&self.shared, K::Cursor::default())
    }

    /// Folds a function over all keys and values, as [`iter`](Self::iter) gives them.
    ///
    /// # Errors
    /// As [`get`](Self::get), at the first value that cannot be read.
    pub fn fold<A>(&self, start: A, mut step: impl FnMut(A, &[u8], Bytes) -> A) -> Result<A> {
        self.iter().try_fold(start, |sum, record| record.map(|(key, value)| step(sum, &key, value)))
    }

    /// Makes everything durable that was written before.
    ///
    /// # Errors
    /// [`Error::Log`] where the system cannot write; that is final, every later write fails. Or what background work has
    /// failed with since the last call.
    pub fn sync(&self) -> Result<()> {
        self.shared.log.sync()?;
        self.shared.take_failure()
    }

    /// Merges all files in which something is dead, and small ones into larger ones, whatever the triggers say. The file
    /// that is written to is left out. Reads and writes go on. Waits for a merge that is under way.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Log`] where the system cannot read or write: what was merged
    /// until then stands. Or what background work has failed with since the last call.
    pub fn merge(&self) -> Result<MergeReport> {
        let report = self.shared.merge_all()?;
        self.shared.take_failure()?;
        Ok(report)
    }

    /// Whether a file calls for a merge, by the triggers of the options.
    #[must_use]
    pub fn needs_merge(&self) -> bool {
        !self.shared.triggered().is_empty()
    }

    /// What the store is made of. Reads no file.
    #[must_use]
    pub fn status(&self) -> Status {
        // A writer that waits in between would wait for ever if the lock were held over both.
        let keys = self.shared.index.read().keydir.len() as u64;
        Status { keys, files: self.shared.files() }
    }

    /// Ends the use of the store: seals what was written, with hint files, so that the next open reads these alone. A merge
    /// in the background is broken off; what it has moved until then stands.
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    pub fn close(mut self) -> Result<()> {
        drop(self.worker.take());
        if !self.shared.options.read_only {
            self.shared.log.seal_all()?;
            self.shared.log.remove_released()?;
        }
        self.shared.take_failure()
    }
}

impl Bitcask<OrderedKeydir> {
    /// The keys of a range with their values, in order.
    pub fn range(&self, range: KeyRange) -> Records<'_, OrderedKeydir> {
        Records::new(&self.shared, range)
    }

    /// Folds a function over the keys and values of a range, in order.
    ///
    /// # Errors
    /// As [`fold`](Self::fold).
    pub fn fold_range<A>(&self, range: KeyRange, start: A, mut step: impl FnMut(A, &[u8], Bytes) -> A) -> Result<A> {
        self.range(range).try_fold(start, |sum, record| record.map(|(key, value)| step(sum, &key, value)))
    }
}

impl<K: Keydir> Shared<K> {
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.options.read_only { Err(Error::ReadOnly { dir: self.dir.clone() }) } else { Ok(()) }
    }

    /// What comes behind a write.
    fn written(&self, rolled: bool) -> Result<()> {
        if rolled {
            if self.options.background { self.bell.ring() } else { self.background_step() }
        }
        match self.options.sync_strategy {
            SyncStrategy::Always => self.log.sync().map(drop).map_err(Error::from),
            SyncStrategy::Interval(_) if !self.options.background => self.sync_if_due(),
            SyncStrategy::Interval(_) | SyncStrategy::None => Ok(()),
        }
    }
}

impl Writer {
    fn next_version(&self) -> Result<Version> {
        self.newest.checked_add(1).ok_or(Error::InvalidArgument("all versions have been used"))
    }

    /// Notes what was written; whether that began a new segment.
    fn note(&mut self, version: Version, segment: SegmentId) -> bool {
        self.newest = version;
        std::mem::replace(&mut self.segment, segment) != segment
    }
}

/// Finds out which store is in a folder, makes one if need be, and takes the writer's lock.
fn enter(dir: &Path, options: &Options) -> Result<(Option<Box<dyn FileLock>>, Identity)> {
    let vfs = &*options.vfs;
    match vfs.metadata(dir)? {
        Some(found) if found.kind != FileKind::Dir => return Err(Error::InvalidArgument("a store is a folder")),
        Some(_) => {}
        None if options.read_only || !options.create_if_missing => return Err(Error::Missing { dir: dir.to_owned() }),
        None => vfs.create_dir_all(dir)?,
    }
    let found = Identity::read(vfs, dir)?;
    if options.read_only {
        return Ok((None, found.ok_or_else(|| Error::Missing { dir: dir.to_owned() })?));
    }
    if found.is_none() {
        // Before a lock is left in a folder of someone else.
        identity::check_free(vfs, dir)?;
        if !options.create_if_missing {
            return Err(Error::Missing { dir: dir.to_owned() });
        }
    }
    let path = identity::lock_path(dir);
    let lock = vfs.lock(&path, LockKind::Exclusive)?.ok_or(Error::Locked { path })?;
    // Whoever held the lock may have made it.
    let identity = match Identity::read(vfs, dir)? {
        Some(identity) => identity,
        None => Identity::create(vfs, dir)?,
    };
    Ok((Some(lock), identity))
}
