//! The store as its users hold it.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base::{EntryMeta, KeyspaceId, ValueLogHead, limits};
use lsm_levels::{KeyspaceEdit, NewKeyspace, VersionEdit};
use txn_oracle::Access as TxnAccess;

use crate::batch::{Operation, check_sizes};
use crate::compact::{CompactOptions, CompactReport};
use crate::entry::Expiry;
use crate::error::CommitOutcome;
use crate::handle::Handle;
use crate::health::Health;
use crate::keyspace::{KeyspaceState, check_name, foreign};
use crate::read::{Bounds, KeyRange, Read, Reader, sealed};
use crate::recovery::{Access, RecoveryReport, open};
use crate::store::Store;
use crate::super_version::{MemtableHandle, SuperVersion};
use crate::workers::Job;
use crate::write::sync::LogPosition;
use crate::{
    CommitInfo, Entry, Error, ErrorKind, Keyspace, KeyspaceInfo, KeyspaceOptions, Options, Result, Slice, Snapshot,
    Txn, TxnOptions, WriteBatch, WriteOptions,
};

/// An open store: a cheap handle, cloned and shared at will.
///
/// ```
/// use engine::{Db, Read};
///
/// # let dir = std::env::temp_dir().join(format!("ratel-doc-{}", std::process::id()));
/// let db = Db::open(&dir)?;
/// db.insert("hello", "world")?;
/// assert_eq!(db.get("hello")?.as_deref(), Some(&b"world"[..]));
/// db.close()?;
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), engine::Error>(())
/// ```
#[derive(Clone)]
pub struct Db {
    pub(crate) handle: Arc<Handle>,
}

impl Db {
    /// Opens a store with the default options, making it if it is not there.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(path)
    }

    pub(crate) fn open_with(path: &Path, options: Options, access: Access) -> Result<Self> {
        Ok(Self { handle: Arc::new(Handle { store: open(path, options, access)? }) })
    }

    /// Closes the store for all clones: flushes what is in memory, waits for background work, and reports what failed.
    /// Later calls, and reads of snapshots and iterators that are still held, fail with
    /// [`Closed`](crate::ErrorKind::Closed). Closing twice is no error; the second waits for the first.
    ///
    /// # Errors
    /// When something could not be written. Every acknowledged commit is in the logs all the same.
    pub fn close(self) -> Result<()> {
        self.handle.close()
    }

    /// The store's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.handle.files.dir
    }

    /// Whether a clone of this handle has closed the store.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.handle.health.is_closed()
    }

    /// The state of the store now, held for reading.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mark = self.handle.oracle.register(TxnAccess::ReadOnly, self.handle.clock.unix_seconds());
        Snapshot { handle: Arc::clone(&self.handle), mark }
    }

    /// Begins a read-write transaction.
    #[doc(alias = "begin_write")]
    #[doc(alias = "transaction")]
    pub fn begin(&self) -> Txn {
        self.begin_with(TxnOptions::new())
    }

    /// Begins a read-write transaction that differs from the store's options.
    pub fn begin_with(&self, options: TxnOptions) -> Txn {
        let mark = self.handle.oracle.register(TxnAccess::ReadWrite, self.handle.clock.unix_seconds());
        Txn::new(Arc::clone(&self.handle), mark, options)
    }

    /// Runs `f` on a snapshot.
    ///
    /// # Errors
    /// What `f` fails with.
    pub fn view<T, E: From<Error>>(&self, f: impl FnOnce(&Snapshot) -> Result<T, E>) -> Result<T, E> {
        self.handle.check_readable()?;
        f(&self.snapshot())
    }

    /// Runs `f` in a transaction and commits it; an error of `f` rolls it back.
    ///
    /// # Errors
    /// What `f` fails with, and as [`Txn::commit`].
    pub fn update<T, E: From<Error>>(&self, f: impl FnOnce(&mut Txn) -> Result<T, E>) -> Result<T, E> {
        self.handle.check_writable()?;
        let mut txn = self.begin();
        let value = f(&mut txn)?;
        txn.commit()?;
        Ok(value)
    }

    /// The value of a key, as of the newest commit.
    ///
    /// # Errors
    /// When a file cannot be read or is damaged, or the store was closed.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        self.handle.get_now(&self.handle.default_keyspace, key.as_ref())
    }

    /// Sets a key, as a commit of its own.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    #[doc(alias = "set")]
    #[doc(alias = "put")]
    pub fn insert(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.handle.write_one(KeyspaceId(0), key.as_ref(), value.as_ref(), EntryMeta::put(), Expiry::Never)
    }

    /// Sets a key with time to live and user meta, as a commit of its own.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn insert_entry(&self, entry: Entry) -> Result<()> {
        self.handle.write_entry(KeyspaceId(0), &entry)
    }

    /// Deletes a key, as a commit of its own. A key that is not there is no error.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    #[doc(alias = "delete")]
    pub fn remove(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.handle.write_one(KeyspaceId(0), key.as_ref(), &[], EntryMeta::delete(), Expiry::Never)
    }

    /// Writes a batch: all of it becomes visible at once, or nothing.
    ///
    /// # Errors
    /// [`ReadOnly`](crate::ErrorKind::ReadOnly), [`NoSpace`](crate::ErrorKind::NoSpace),
    /// [`Io`](crate::ErrorKind::Io); [`Error::commit_outcome`] tells whether the batch may be there after a reopen.
    pub fn write(&self, batch: WriteBatch) -> Result<CommitInfo> {
        self.write_with(batch, WriteOptions::new())
    }

    /// Writes a batch with options of its own.
    ///
    /// # Errors
    /// As [`write`](Self::write), and [`Stalled`](crate::ErrorKind::Stalled) where a stall timeout was set.
    pub fn write_with(&self, batch: WriteBatch, options: WriteOptions) -> Result<CommitInfo> {
        if batch.is_foreign_to(&self.handle) {
            return Err(foreign().outcome(CommitOutcome::NotApplied));
        }
        self.handle.commit(batch.operations(), None, &options)
    }

    /// Opens a keyspace, making it if it is not there. Stored options stand where `options` leaves them unset.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an empty or too long name.
    pub fn keyspace(&self, name: &str, options: KeyspaceOptions) -> Result<Keyspace> {
        let state = self.handle.open_keyspace(name, &options)?;
        Ok(Keyspace { handle: Arc::clone(&self.handle), state })
    }

    /// All keyspaces, by number; the first is the default one.
    #[must_use]
    pub fn keyspaces(&self) -> Vec<KeyspaceInfo> {
        let info = |state: &Arc<KeyspaceState>| KeyspaceInfo {
            name: state.name.clone(),
            id: state.id.0,
            options: state.options(),
        };
        self.handle.keyspaces.load().iter().map(info).collect()
    }

    /// Returns once every commit that was acknowledged before is on stable storage.
    ///
    /// # Errors
    /// When the disk could not write; the store is read-only from then on. When it was so before, with the first cause.
    pub fn sync(&self) -> Result<()> {
        self.handle.check_readable()?;
        if self.handle.is_read_only_open() { Ok(()) } else { self.handle.sync_all() }
    }

    /// Writes all memtables to tables, and returns once they are there.
    ///
    /// # Errors
    /// When a table could not be written.
    pub fn flush(&self) -> Result<()> {
        self.handle.check_writable()?;
        self.handle.flush_all()
    }

    /// Compacts a range of all keyspaces down to the lowest level that holds any of it, after a flush.
    ///
    /// # Errors
    /// When a table could not be read or written.
    #[doc(alias = "flatten")]
    pub fn compact(&self, range: impl KeyRange, _options: CompactOptions) -> Result<CompactReport> {
        self.flush()?;
        let bounds = Bounds::of_range(&range);
        let mut report = CompactReport::default();
        for keyspace in self.handle.keyspaces.load_full().iter() {
            report.add(&self.handle.compact_range(keyspace, &bounds, &|| Ok(()))?);
        }
        Ok(report)
    }

    /// How the store is.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.handle.health.cause() {
            Some(cause) => Health::ReadOnly(cause),
            None if self.handle.stalls.is_stalled() => Health::Stalled,
            None => Health::Ok,
        }
    }

    /// What opening the store found and dropped.
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.handle.recovery_report
    }
}

impl sealed::Sealed for Db {
    #[allow(private_interfaces, reason = "sealed")]
    fn reader(&self) -> Reader<'_> {
        self.handle.reader_of(&self.handle.default_keyspace)
    }
}

impl Read for Db {
    fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        Self::get(self, key)
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("path", &self.path()).field("health", &self.health()).finish()
    }
}

impl Keyspace {
    /// The value of a key, as of the newest commit.
    ///
    /// # Errors
    /// As [`Db::get`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        self.handle.get_now(&self.state, key.as_ref())
    }

    /// Sets a key, as a commit of its own.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn insert(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.handle.write_one(self.state.id, key.as_ref(), value.as_ref(), EntryMeta::put(), Expiry::Never)
    }

    /// Sets a key with time to live and user meta, as a commit of its own.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn insert_entry(&self, entry: Entry) -> Result<()> {
        self.handle.write_entry(self.state.id, &entry)
    }

    /// Deletes a key, as a commit of its own.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn remove(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.handle.write_one(self.state.id, key.as_ref(), &[], EntryMeta::delete(), Expiry::Never)
    }
}

impl sealed::Sealed for Keyspace {
    #[allow(private_interfaces, reason = "sealed")]
    fn reader(&self) -> Reader<'_> {
        self.handle.reader_of(&self.state)
    }
}

impl Read for Keyspace {
    fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        Self::get(self, key)
    }
}

impl Handle {
    fn reader_of<'a>(&'a self, keyspace: &'a KeyspaceState) -> Reader<'a> {
        let mark = Cow::Owned(self.oracle.register(TxnAccess::ReadOnly, self.clock.unix_seconds()));
        Reader { handle: self, keyspace, mark, own_writes: None, tracked: None, is_foreign: false }
    }

    fn close(&self) -> Result<()> {
        // Held to the end, so that whoever closes as well waits for it. Taken before every other lock.
        let mut locks = self.locks.lock();
        if !self.health.close() {
            return Ok(());
        }
        let ended = if self.is_read_only_open() { Ok(()) } else { self.store.end_run() };
        self.store.stop_workers();
        self.store.wait_for_jobs_by_hand();
        // Nothing is written any more, although keyspaces and iterators may still be held: no edit is taken, so no log can
        // be begun, and whoever is under the commit lock by now is the last to append to one.
        self.store.levels.end();
        self.store.commit_state.lock().log = None;
        locks.clear();
        ended
    }
}

/// A memtable that waits for its flush, and its keyspace.
type Waiting = (Arc<KeyspaceState>, Arc<MemtableHandle>);

impl Store {
    fn write_one(&self, keyspace: KeyspaceId, key: &[u8], value: &[u8], meta: EntryMeta, expiry: Expiry) -> Result<()> {
        check_sizes(key, value)?;
        let operation = Operation { keyspace, key, value, meta, expiry };
        self.commit(std::iter::once(operation), None, &WriteOptions::new()).map(drop)
    }

    fn write_entry(&self, keyspace: KeyspaceId, entry: &Entry) -> Result<()> {
        let meta = EntryMeta { discard_earlier: entry.discard_earlier, user_meta: entry.user_meta, ..EntryMeta::put() };
        self.write_one(keyspace, &entry.key, &entry.value, meta, entry.expiry)
    }

    fn open_keyspace(&self, name: &str, options: &KeyspaceOptions) -> Result<Arc<KeyspaceState>> {
        check_name(name)?;
        let _creation = self.creation_lock.lock();
        if let Some(found) = self.keyspaces.load().iter().find(|keyspace| keyspace.name == name) {
            return self.update_keyspace(found, options);
        }
        self.check_writable()?;
        if self.keyspaces.load().len() >= limits::KEYSPACES_MAX {
            return Err(Error::invalid(format!("a store has at most {} keyspaces", limits::KEYSPACES_MAX)));
        }
        self.create_keyspace(name, options)
    }

    /// The edit is durable before any log record can name the keyspace, and the active log, from which on the keyspace
    /// needs all, cannot end meanwhile: both under the commit lock, as this is rare.
    fn create_keyspace(&self, name: &str, options: &KeyspaceOptions) -> Result<Arc<KeyspaceState>> {
        let id = self.levels.new_keyspace_id().map_err(|error| self.job_failed(error.into()))?;
        let mut state = self.commit_state.lock();
        self.check_writable()?;
        if state.log.is_none() {
            self.begin_log(&mut state)?;
        }
        let log = state.log.as_ref().map(wal::LogWriter::number).unwrap_or_default();
        // That the keyspace needs no older log says that they are whole, so they must be durable.
        let older = LogPosition { log, offset: 0 };
        self.syncer.sync_to(older, &self.value_log).inspect_err(|error| self.fail(error))?;
        let mut edit = KeyspaceEdit::new(id);
        edit.created = Some(NewKeyspace { name: name.to_owned(), options: options.encode() });
        edit.log_number = Some(log);
        edit.ordered = Some(true);
        self.apply_edit(VersionEdit::of(edit))?;
        let capacity = self.memtable_capacity(0)?;
        let version =
            self.levels.version(id).ok_or_else(|| Error::new(ErrorKind::Internal, "a keyspace without a tree"))?;
        // Until it is among the others, nobody gives it the segments of a collection.
        let _install = self.install_lock.lock();
        let segments = self.value_log.segments();
        let view = SuperVersion {
            active: Arc::new(MemtableHandle::new(capacity, log, Arc::clone(&segments))),
            immutables: Vec::new(),
            version,
            segments,
            ordered: true,
        };
        let keyspace = Arc::new(KeyspaceState::new(id, name.to_owned(), options.clone(), &self.options, view));
        let mut keyspaces = Vec::clone(&self.keyspaces.load());
        keyspaces.push(Arc::clone(&keyspace));
        self.keyspaces.store(Arc::new(keyspaces));
        drop(state);
        Ok(keyspace)
    }

    /// Given options replace stored ones. The handle that was open before keeps what it had.
    fn update_keyspace(&self, found: &Arc<KeyspaceState>, given: &KeyspaceOptions) -> Result<Arc<KeyspaceState>> {
        let options = given.over(&found.options());
        if options != found.options() {
            self.check_writable()?;
            let mut edit = KeyspaceEdit::new(found.id);
            edit.options = Some(options.encode());
            self.apply_edit(VersionEdit::of(edit))?;
            found.set_options(options);
        }
        Ok(Arc::clone(found))
    }

    pub(crate) fn sync_all(&self) -> Result<()> {
        // After a failure nothing can be said of what was acknowledged before it and is not yet durable.
        self.check_writable()?;
        let state = self.commit_state.lock();
        // Without an active log, since the disk was full, the one before it may still have to be synced.
        let previous = LogPosition { log: state.previous_log.number, offset: state.previous_log.end };
        let position = state.log.as_ref().map_or(previous, |log| LogPosition { log: log.number(), offset: log.len() });
        drop(state);
        self.syncer.sync_to(position, &self.value_log).inspect_err(|error| self.fail(error))
    }

    /// Switches every memtable that holds anything and waits until those are flushed.
    pub(crate) fn flush_all(&self) -> Result<()> {
        let (_, waiting) = self.switch_all_memtables()?;
        self.wait_until_flushed(&waiting)
    }

    /// Switches every memtable that holds anything. Returns all that wait for their flush, and a position of the value log
    /// such that what they or tables hold is before it, and what commits write from now on is not.
    pub(crate) fn switch_all_memtables(&self) -> Result<(ValueLogHead, Vec<Waiting>)> {
        let mut waiting = Vec::new();
        let mut state = self.commit_state.lock();
        let head = self.value_log.head();
        let keyspaces = self.keyspaces.load_full();
        if keyspaces.iter().any(|keyspace| keyspace.pin().active.is_in_use()) {
            self.begin_log(&mut state)?;
        }
        for keyspace in keyspaces.iter() {
            if keyspace.pin().active.is_in_use() {
                self.replace_active(&state, keyspace, 0)?;
            }
            let immutables = &keyspace.pin().immutables;
            waiting.extend(immutables.iter().map(|memtable| (Arc::clone(keyspace), Arc::clone(memtable))));
        }
        Ok((head, waiting))
    }

    pub(crate) fn wait_until_flushed(&self, waiting: &[Waiting]) -> Result<()> {
        let is_flushed = |(keyspace, memtable): &Waiting| {
            !keyspace.pin().immutables.iter().any(|other| Arc::ptr_eq(other, memtable))
        };
        let began = self.workers.progress();
        loop {
            let seen = self.workers.progress();
            if waiting.iter().all(is_flushed) {
                return Ok(());
            }
            if let Some(cause) = self.health.cause() {
                return Err(cause);
            }
            // A close that could not write has ended the flusher all the same.
            if self.workers.is_stopping() {
                return Err(Error::closed());
            }
            if let Some(cause) = self.workers.failure_since(Job::Flush, began) {
                return Err(cause);
            }
            if self.runs_background_inline() {
                self.run_background_inline();
            } else {
                self.workers.wake_flusher();
                self.workers.wait_for_progress(seen, None);
            }
        }
    }

    /// The end of a run: everything flushed, segments sealed, the last log ended, the manifest marked as closed.
    fn end_run(&self) -> Result<()> {
        let check_health = || self.health.cause().map_or(Ok(()), Err);
        check_health()?;
        self.flush_all()?;
        self.stop_workers();
        self.wait_for_jobs_by_hand();
        check_health()?;
        self.settle_deaths()?;
        self.value_log.seal_all()?;
        let mut state = self.commit_state.lock();
        if let Some(log) = state.log.take() {
            log.close()?;
        }
        let applied = self.levels.close(self.oracle.last_assigned())?;
        self.levels.clear_tickets(self, &applied);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flush has switched the memtable when a close, which cannot write, ends the flusher: nobody is left to wait for.
    #[test]
    fn a_flush_that_meets_a_close_does_not_wait_for_ever() {
        let db = Options::new().open_in_memory().unwrap();
        let store = &db.handle.store;
        let reservation = store.default_keyspace.pin().active.table.reserve(1_000);
        db.insert("unflushed", "").unwrap();
        store.replace_active(&store.commit_state.lock(), &store.default_keyspace, 0).unwrap();
        let waiting = (Arc::clone(&store.default_keyspace), Arc::clone(&store.default_keyspace.pin().immutables[0]));
        store.stop_workers();
        assert_eq!(store.wait_until_flushed(&[waiting]).unwrap_err().kind(), ErrorKind::Closed);
        drop(reservation);
    }
}
