//! The read-write transaction.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base::{EntryKind, EntryMeta, KeyspaceId, Version};
use txn_oracle::ReadMark;

use crate::batch::{Operation, check_sizes};
use crate::entry::Expiry;
use crate::handle::Handle;
use crate::keyspace::{KeyspaceState, foreign};
use crate::read::{PendingWrites, Read, Reader, sealed};
use crate::txn::validate::Validation;
use crate::txn::{Pending, ReadTracker};
use crate::{CommitInfo, Durability, Entry, Isolation, Keyspace, Result, Slice, WriteOptions};

/// How one transaction differs from the store's options.
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until a transaction is begun with them"]
pub struct TxnOptions {
    pub(crate) isolation: Option<Isolation>,
    pub(crate) write: WriteOptions,
}

impl TxnOptions {
    /// Those of the store.
    pub fn new() -> Self {
        Self::default()
    }

    /// What others may not do between the transaction's reads and its commit.
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = Some(isolation);
        self
    }

    /// What the commit survives.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.write = self.write.durability(durability);
        self
    }
}

/// A read-write transaction: reads see the store as it was at the beginning, with the transaction's own writes on top;
/// a commit makes all writes visible at once, unless another transaction wrote what this one read.
///
/// ```
/// use engine::{Options, Read};
///
/// let db = Options::new().open_in_memory()?;
/// let mut txn = db.begin();
/// txn.insert("a", "1")?;
/// assert_eq!(txn.get("a")?.as_deref(), Some(&b"1"[..]));
/// assert_eq!(db.get("a")?, None);
/// txn.commit()?;
/// assert_eq!(db.get("a")?.as_deref(), Some(&b"1"[..]));
/// # Ok::<(), engine::Error>(())
/// ```
#[must_use = "a transaction that is not committed is rolled back when dropped"]
pub struct Txn {
    handle: Arc<Handle>,
    mark: ReadMark,
    isolation: Isolation,
    options: WriteOptions,
    writes: BTreeMap<KeyspaceId, PendingWrites>,
    reads: ReadTracker,
    size_bytes: u64,
}

impl Txn {
    pub(crate) fn new(handle: Arc<Handle>, mark: ReadMark, options: TxnOptions) -> Self {
        let isolation = options.isolation.unwrap_or(handle.options.isolation);
        let (options, writes, reads) = (options.write, BTreeMap::new(), ReadTracker::new(isolation));
        Self { handle, mark, isolation, options, writes, reads, size_bytes: 0 }
    }

    /// Sets a key.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an empty or too long key or a too long value.
    pub fn insert(&mut self, key: impl Into<Slice>, value: impl Into<Slice>) -> Result<()> {
        self.insert_entry(Entry::new(key, value))
    }

    /// Sets a key, with time to live and user meta.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn insert_entry(&mut self, entry: Entry) -> Result<()> {
        self.put(KeyspaceId(0), entry)
    }

    /// Deletes a key. A key that is not there is no error.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn remove(&mut self, key: impl Into<Slice>) -> Result<()> {
        self.delete(KeyspaceId(0), key.into())
    }

    /// Reads a key that the transaction means to write: another commit to it is a conflict under every isolation but
    /// [`Isolation::Unchecked`].
    ///
    /// # Errors
    /// As [`Read::get`].
    pub fn get_for_update(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        self.note_for_update(KeyspaceId(0), key.as_ref());
        self.get(key)
    }

    /// Reads that do not count towards conflicts.
    pub fn untracked(&self) -> Untracked<'_> {
        Untracked { txn: self, state: &self.handle.default_keyspace, is_foreign: false }
    }

    /// The same verbs for another keyspace. Those of one of another store fail as an invalid argument.
    pub fn keyspace(&mut self, keyspace: &Keyspace) -> TxnKeyspace<'_> {
        let is_foreign = keyspace.is_foreign_to(&self.handle);
        TxnKeyspace { state: Arc::clone(&keyspace.state), is_foreign, txn: self }
    }

    /// The newest commit that its reads see.
    #[must_use]
    pub fn read_version(&self) -> Version {
        self.mark.version()
    }

    /// Number of keys that it writes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "is_empty is a question to the store, see is_read_only")]
    pub fn len(&self) -> usize {
        self.writes.values().map(BTreeMap::len).sum()
    }

    /// Whether it writes nothing. ([`Read::is_empty`] asks the same of what it sees.)
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.writes.is_empty()
    }

    /// Bytes of keys and values that it writes, replaced ones included.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Commits: all writes become visible at once, or none.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) when another transaction wrote what this one read, and what
    /// [`Db::write`](crate::Db::write) fails with.
    pub fn commit(self) -> Result<CommitInfo> {
        self.handle.check_writable()?;
        if self.writes.is_empty() {
            // Nothing to be kept, and nothing waited for.
            return Ok(CommitInfo { version: self.read_version(), durability: Durability::Os });
        }
        let reads = self
            .reads
            .that_count(|keyspace, key| self.writes.get(&keyspace).is_some_and(|writes| writes.contains_key(key)));
        let operations = self.operations();
        if reads.is_empty() {
            return self.handle.commit(operations, None, &self.options);
        }
        let mut validation = Validation::new(&self.mark, &reads);
        self.handle.commit(operations, Some(&mut validation), &self.options)
    }

    /// Gives up all writes; dropping the transaction does the same.
    pub fn rollback(self) {}

    fn operations(&self) -> impl Iterator<Item = Operation<'_>> + Clone {
        self.writes.iter().flat_map(|(keyspace, writes)| {
            writes.iter().map(|(key, pending)| Operation {
                keyspace: *keyspace,
                key,
                value: &pending.value,
                meta: pending.meta,
                expiry: pending.expiry,
            })
        })
    }

    fn put(&mut self, keyspace: KeyspaceId, entry: Entry) -> Result<()> {
        check_sizes(&entry.key, &entry.value)?;
        let meta = EntryMeta { discard_earlier: entry.discard_earlier, user_meta: entry.user_meta, ..EntryMeta::put() };
        let expires_at = entry.expiry.at(|| self.mark.now_seconds());
        let pending = Pending { value: entry.value, meta, expiry: entry.expiry, expires_at };
        self.set(keyspace, entry.key, pending);
        Ok(())
    }

    fn delete(&mut self, keyspace: KeyspaceId, key: Slice) -> Result<()> {
        check_sizes(&key, &[])?;
        let meta = EntryMeta::of(EntryKind::Delete);
        self.set(keyspace, key, Pending { value: Slice::default(), meta, expiry: Expiry::Never, expires_at: 0 });
        Ok(())
    }

    fn set(&mut self, keyspace: KeyspaceId, key: Slice, pending: Pending) {
        self.size_bytes += (key.len() + pending.value.len()) as u64;
        self.writes.entry(keyspace).or_default().insert(key, pending);
    }

    fn note_for_update(&self, keyspace: KeyspaceId, key: &[u8]) {
        if self.isolation != Isolation::Unchecked {
            self.reads.add_for_update(keyspace, key);
        }
    }

    fn reader_of<'a>(&'a self, keyspace: &'a KeyspaceState, tracked: bool) -> Reader<'a> {
        let counts = tracked && self.isolation != Isolation::Unchecked;
        Reader {
            handle: &self.handle,
            keyspace,
            mark: Cow::Borrowed(&self.mark),
            own_writes: self.writes.get(&keyspace.id),
            tracked: counts.then_some(&self.reads),
            is_foreign: false,
        }
    }
}

impl sealed::Sealed for Txn {
    #[allow(private_interfaces, reason = "sealed")]
    fn reader(&self) -> Reader<'_> {
        self.reader_of(&self.handle.default_keyspace, true)
    }
}

impl Read for Txn {}

impl fmt::Debug for Txn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Txn")
            .field("read_version", &self.read_version())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Reads of a transaction that do not count towards conflicts.
#[derive(Debug)]
pub struct Untracked<'a> {
    txn: &'a Txn,
    state: &'a KeyspaceState,
    is_foreign: bool,
}

impl sealed::Sealed for Untracked<'_> {
    #[allow(private_interfaces, reason = "sealed")]
    fn reader(&self) -> Reader<'_> {
        Reader { is_foreign: self.is_foreign, ..self.txn.reader_of(self.state, false) }
    }
}

impl Read for Untracked<'_> {}

/// The verbs of a [`Txn`] for one keyspace.
#[derive(Debug)]
pub struct TxnKeyspace<'a> {
    txn: &'a mut Txn,
    state: Arc<KeyspaceState>,
    is_foreign: bool,
}

impl TxnKeyspace<'_> {
    /// Sets a key.
    ///
    /// # Errors
    /// As [`Txn::insert`].
    pub fn insert(&mut self, key: impl Into<Slice>, value: impl Into<Slice>) -> Result<()> {
        self.insert_entry(Entry::new(key, value))
    }

    /// Sets a key, with time to live and user meta.
    ///
    /// # Errors
    /// As [`Txn::insert`].
    pub fn insert_entry(&mut self, entry: Entry) -> Result<()> {
        self.check()?;
        self.txn.put(self.state.id, entry)
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// As [`Txn::insert`].
    pub fn remove(&mut self, key: impl Into<Slice>) -> Result<()> {
        self.check()?;
        self.txn.delete(self.state.id, key.into())
    }

    /// Reads a key that the transaction means to write: see [`Txn::get_for_update`].
    ///
    /// # Errors
    /// As [`Read::get`].
    pub fn get_for_update(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        self.check()?;
        self.txn.note_for_update(self.state.id, key.as_ref());
        self.get(key)
    }

    /// Reads that do not count towards conflicts.
    pub fn untracked(&self) -> Untracked<'_> {
        Untracked { txn: self.txn, state: &self.state, is_foreign: self.is_foreign }
    }

    fn check(&self) -> Result<()> {
        if self.is_foreign { Err(foreign()) } else { Ok(()) }
    }
}

impl sealed::Sealed for TxnKeyspace<'_> {
    #[allow(private_interfaces, reason = "sealed")]
    fn reader(&self) -> Reader<'_> {
        Reader { is_foreign: self.is_foreign, ..self.txn.reader_of(&self.state, true) }
    }
}

impl Read for TxnKeyspace<'_> {}
