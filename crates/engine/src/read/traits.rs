//! The read methods that `Db`, `Keyspace`, `Snapshot` and `Txn` share.

use crate::read::{Cursor, Item, Iter, KeyRange, ScanOptions};
use crate::{Result, Slice};

/// Reading, the same from every place: [`Db`](crate::Db) and [`Keyspace`](crate::Keyspace) see the newest commits at
/// each call, a [`Snapshot`](crate::Snapshot) those of the moment when it was taken, a [`Txn`](crate::Txn) the same
/// with its own writes on top.
///
/// All methods of one iterator or cursor see one state, whatever is written, flushed or compacted meanwhile.
pub trait Read: sealed::Sealed {
    /// The value of a key.
    ///
    /// # Errors
    /// When a file cannot be read or is damaged, or the store was closed.
    fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        self.reader().get(key.as_ref())
    }

    /// The newest visible version of a key with all that is known of it; its value is read when asked for.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn get_item(&self, key: impl AsRef<[u8]>) -> Result<Option<Item>> {
        self.reader().get_item(key.as_ref())
    }

    /// Whether a key is there. Never reads the value log.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.get_item(key)?.is_some())
    }

    /// The values of several keys, all as of one version.
    fn multi_get<K: AsRef<[u8]>>(&self, keys: &[K]) -> Vec<Result<Option<Slice>>> {
        let reader = self.reader();
        keys.iter().map(|key| reader.get(key.as_ref())).collect()
    }

    /// All items in key order.
    #[allow(clippy::iter_not_returning_iterator, reason = "Iter is an iterator")]
    fn iter(&self) -> Iter<'_> {
        self.scan(ScanOptions::new())
    }

    /// The items with keys in a range.
    fn range(&self, range: impl KeyRange) -> Iter<'_> {
        self.scan(ScanOptions::new().range(range))
    }

    /// The items whose keys start with `prefix`.
    fn prefix(&self, prefix: impl AsRef<[u8]>) -> Iter<'_> {
        self.scan(ScanOptions::new().prefix(prefix))
    }

    /// The items that `options` ask for.
    fn scan(&self, options: ScanOptions) -> Iter<'_> {
        Iter::new(self.reader(), options)
    }

    /// Every version of one key that is still stored, newest first, tombstones included.
    fn versions(&self, key: impl AsRef<[u8]>) -> Iter<'_> {
        let mut options = ScanOptions::new().all_versions(true);
        options.bounds = crate::read::Bounds::of_key(key.as_ref());
        self.scan(options)
    }

    /// A cursor, standing nowhere yet.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn cursor(&self, options: ScanOptions) -> Result<Cursor<'_>> {
        Cursor::new(self.reader(), options)
    }

    /// The item with the least key.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn first(&self) -> Result<Option<Item>> {
        self.iter().next().transpose()
    }

    /// The item with the greatest key.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn last(&self) -> Result<Option<Item>> {
        self.iter().next_back().transpose()
    }

    /// Whether there is no key.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn is_empty(&self) -> Result<bool> {
        Ok(self.first()?.is_none())
    }
}

pub(crate) mod sealed {
    use crate::read::Reader;

    /// Keeps the set of read sources closed, and says how each reads.
    pub trait Sealed {
        #[doc(hidden)]
        #[allow(private_interfaces, reason = "sealed: nobody outside can name or call it")]
        fn reader(&self) -> Reader<'_>;
    }
}
