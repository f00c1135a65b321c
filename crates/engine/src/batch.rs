//! Atomic batches of writes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Weak};

use base::{EntryKind, EntryMeta, KeyspaceId, fingerprint, limits};

use crate::entry::Expiry;
use crate::handle::Handle;
use crate::keyspace::foreign;
use crate::{Entry, Error, Keyspace, Result};

/// Writes that become visible together or not at all.
///
/// Operations take effect in the order given; a later one on a key replaces an earlier one. An operation that is
/// refused (an empty or too long key) leaves the batch as it was.
///
/// ```
/// use engine::WriteBatch;
///
/// let mut batch = WriteBatch::new();
/// batch.insert("a", "1")?;
/// batch.insert("a", "2")?;
/// batch.remove("b")?;
/// assert_eq!(batch.len(), 2);
/// # Ok::<(), engine::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "a batch does nothing until it is written"]
pub struct WriteBatch {
    data: Vec<u8>,
    ops: Vec<Op>,
    newest_by_fingerprint: HashMap<u64, u32, BuildHasherDefault<FingerprintHasher>>,
    replaced: usize,
    /// The store whose keyspaces were named, if any was.
    store: Option<Weak<Handle>>,
}

/// One operation; its key and value stand one behind the other in the batch's data.
#[derive(Clone, Copy, Debug)]
struct Op {
    keyspace: KeyspaceId,
    meta: EntryMeta,
    expiry: Expiry,
    key_start: usize,
    key_len: usize,
    value_len: usize,
    /// An older operation with the same fingerprint, for the rare case that its key is another.
    older: Option<u32>,
    replaced: bool,
}

/// An operation as the write path takes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation<'a> {
    pub(crate) keyspace: KeyspaceId,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    /// Without the expiry, which depends on the clock at the time of the write.
    pub(crate) meta: EntryMeta,
    pub(crate) expiry: Expiry,
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key of the default keyspace.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an empty or too long key or a too long value.
    pub fn insert(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.push(KeyspaceId(0), key.as_ref(), value.as_ref(), EntryMeta::put(), Expiry::Never)
    }

    /// Sets a key of the default keyspace, with time to live and user meta.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn insert_entry(&mut self, entry: Entry) -> Result<()> {
        self.push_entry(KeyspaceId(0), &entry)
    }

    /// Deletes a key of the default keyspace. A key that is not there is no error.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn remove(&mut self, key: impl AsRef<[u8]>) -> Result<()> {
        self.push(KeyspaceId(0), key.as_ref(), &[], EntryMeta::delete(), Expiry::Never)
    }

    /// The same verbs for another keyspace; all keyspaces of a batch are of the store that it is written to, or it is
    /// refused as an invalid argument.
    pub fn keyspace(&mut self, keyspace: &Keyspace) -> BatchKeyspace<'_> {
        let is_foreign = self.is_foreign_to(&keyspace.handle);
        if self.store.is_none() {
            self.store = Some(Arc::downgrade(&keyspace.handle));
        }
        BatchKeyspace { id: keyspace.id(), is_foreign, batch: self }
    }

    /// Whether it names keyspaces of another store.
    pub(crate) fn is_foreign_to(&self, handle: &Arc<Handle>) -> bool {
        self.store.as_ref().is_some_and(|store| !std::ptr::eq(store.as_ptr(), Arc::as_ptr(handle)))
    }

    /// Number of keys written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len() - self.replaced
    }

    /// Whether nothing would be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Bytes of keys and values that the batch holds, replaced ones included.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.data.len() as u64
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.data.clear();
        self.ops.clear();
        self.newest_by_fingerprint.clear();
        self.replaced = 0;
        self.store = None;
    }

    pub(crate) fn push_entry(&mut self, keyspace: KeyspaceId, entry: &Entry) -> Result<()> {
        let meta = EntryMeta { discard_earlier: entry.discard_earlier, user_meta: entry.user_meta, ..EntryMeta::put() };
        self.push(keyspace, &entry.key, &entry.value, meta, entry.expiry)
    }

    pub(crate) fn push(
        &mut self,
        keyspace: KeyspaceId,
        key: &[u8],
        value: &[u8],
        meta: EntryMeta,
        expiry: Expiry,
    ) -> Result<()> {
        check_sizes(key, value)?;
        let position =
            u32::try_from(self.ops.len()).map_err(|_| Error::invalid("more than 4 billion operations in a batch"))?;
        let older = self.newest_by_fingerprint.insert(fingerprint(keyspace, key), position);
        self.mark_replaced(older, keyspace, key);
        let key_start = self.data.len();
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value);
        let (key_len, value_len) = (key.len(), value.len());
        self.ops.push(Op { keyspace, meta, expiry, key_start, key_len, value_len, older, replaced: false });
        Ok(())
    }

    fn mark_replaced(&mut self, mut candidate: Option<u32>, keyspace: KeyspaceId, key: &[u8]) {
        while let Some(op) = candidate.and_then(|position| self.ops.get_mut(position as usize)) {
            let same_key = self.data.get(op.key_start..op.key_start + op.key_len) == Some(key);
            if op.keyspace == keyspace && same_key && !op.replaced {
                op.replaced = true;
                self.replaced += 1;
                return;
            }
            candidate = op.older;
        }
    }

    /// The operations that count, in order: each pair of keyspace and key once.
    pub(crate) fn operations(&self) -> impl Iterator<Item = Operation<'_>> + Clone {
        self.ops.iter().filter(|op| !op.replaced).map(|op| {
            let bytes = self.data.get(op.key_start..op.key_start + op.key_len + op.value_len).unwrap_or_default();
            let (key, value) = bytes.split_at_checked(op.key_len).unwrap_or_default();
            Operation { keyspace: op.keyspace, key, value, meta: op.meta, expiry: op.expiry }
        })
    }
}

/// The verbs of a [`WriteBatch`] for one keyspace.
#[derive(Debug)]
pub struct BatchKeyspace<'a> {
    batch: &'a mut WriteBatch,
    id: KeyspaceId,
    is_foreign: bool,
}

impl BatchKeyspace<'_> {
    /// Sets a key.
    ///
    /// # Errors
    /// As [`WriteBatch::insert`].
    pub fn insert(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        let id = self.id;
        self.batch()?.push(id, key.as_ref(), value.as_ref(), EntryMeta::put(), Expiry::Never)
    }

    /// Sets a key, with time to live and user meta.
    ///
    /// # Errors
    /// As [`WriteBatch::insert`].
    pub fn insert_entry(&mut self, entry: Entry) -> Result<()> {
        let id = self.id;
        self.batch()?.push_entry(id, &entry)
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// As [`WriteBatch::insert`].
    pub fn remove(&mut self, key: impl AsRef<[u8]>) -> Result<()> {
        let id = self.id;
        self.batch()?.push(id, key.as_ref(), &[], EntryMeta::delete(), Expiry::Never)
    }

    fn batch(&mut self) -> Result<&mut WriteBatch> {
        if self.is_foreign { Err(foreign()) } else { Ok(self.batch) }
    }
}

/// Refuses what no format can hold.
pub(crate) fn check_sizes(key: &[u8], value: &[u8]) -> Result<()> {
    if key.is_empty() {
        return Err(Error::invalid("the empty key cannot be stored"));
    }
    if key.len() > limits::USER_KEY_LEN_MAX {
        let (len, max) = (key.len(), limits::USER_KEY_LEN_MAX);
        return Err(Error::invalid(format!("a key of {len} bytes is over the limit of {max}")));
    }
    if value.len() as u64 > limits::VALUE_LEN_MAX {
        let (len, max) = (value.len(), limits::VALUE_LEN_MAX);
        return Err(Error::invalid(format!("a value of {len} bytes is over the limit of {max}")));
    }
    Ok(())
}

impl Operation<'_> {
    /// Whether the operation sets a value, which may go to the value log.
    pub(crate) fn is_put(&self) -> bool {
        self.meta.kind == EntryKind::Put
    }
}

/// Takes a fingerprint, which is a hash already, as it is.
#[derive(Default)]
struct FingerprintHasher(u64);

impl Hasher for FingerprintHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_write_of_a_key_replaces_an_earlier_one_in_its_keyspace_only() {
        let mut batch = WriteBatch::new();
        batch.insert("a", "1").unwrap();
        batch.push(KeyspaceId(1), b"a", b"other", EntryMeta::put(), Expiry::Never).unwrap();
        batch.insert("b", "2").unwrap();
        batch.remove("a").unwrap();
        batch.insert("b", "3").unwrap();
        let left: Vec<_> = batch.operations().map(|op| (op.keyspace.0, op.key, op.value, op.meta.kind)).collect();
        assert_eq!(
            left,
            [
                (1, &b"a"[..], &b"other"[..], EntryKind::Put),
                (0, b"a", b"", EntryKind::Delete),
                (0, b"b", b"3", EntryKind::Put)
            ]
        );
        assert_eq!(batch.len(), 3);
        batch.clear();
        assert!(batch.is_empty());
        assert_eq!(batch.len(), 0);
    }

    #[test]
    fn an_operation_that_is_refused_leaves_the_batch_as_it_was() {
        let mut batch = WriteBatch::new();
        batch.insert("a", "1").unwrap();
        assert!(batch.insert("", "x").is_err());
        assert!(batch.insert(vec![0; limits::USER_KEY_LEN_MAX + 1], "x").is_err());
        assert!(batch.insert(vec![0; limits::USER_KEY_LEN_MAX], "x").is_ok());
        assert_eq!(batch.len(), 2);
    }
}
