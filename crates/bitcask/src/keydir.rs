//! The keydir: every key in memory with where its newest record is.
//!
//! A type parameter of the store. Two are here, [`HashKeydir`](crate::HashKeydir) and
//! [`OrderedKeydir`](crate::OrderedKeydir); another one may keep keys elsewhere. The store guards it by one lock: many
//! look, one changes.

use std::fmt;

use base::{ValuePointer, Version};

/// What the keydir knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeydirEntry {
    /// Where the record is. Merges move records and leave this as it is.
    pub pointer: ValuePointer,
    /// The place of the write in the order of all writes of the store.
    pub version: Version,
    /// Seconds since the Unix epoch from which on the key counts as deleted; 0 is never.
    pub expires_at: u64,
}

impl KeydirEntry {
    /// Whether a reader whose clock shows `now` does not see the key any more.
    #[must_use]
    pub const fn is_expired_at(&self, now: u64) -> bool {
        self.expires_at != 0 && self.expires_at <= now
    }
}

/// What became of an entry that was offered to a keydir.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// The key was not there.
    Added,
    /// It has taken the place of this one, which is older.
    Replaced(KeydirEntry),
    /// What is there is at least as new, and stays.
    Refused,
}

/// Some keys and their entries, copied out of a keydir.
pub type Page = Vec<(Vec<u8>, KeydirEntry)>;

/// Keys in a page, or as many more as a keydir cannot part.
pub(crate) const PAGE_KEYS: usize = 4 << 10;

/// Keys and entries that are offered at once.
#[derive(Debug, Default)]
pub struct Batch {
    keys: Vec<u8>,
    /// Where each key ends, and its entry.
    items: Vec<(usize, KeydirEntry)>,
}

impl Batch {
    /// Adds one.
    pub fn push(&mut self, key: &[u8], entry: KeydirEntry) {
        self.keys.extend_from_slice(key);
        self.items.push((self.keys.len(), entry));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Bytes of all keys.
    #[must_use]
    pub fn key_bytes(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The one with a number, from 0 in the order in which they were added.
    #[must_use]
    #[inline]
    pub fn get(&self, number: usize) -> Option<(&[u8], KeydirEntry)> {
        let (end, entry) = self.items.get(number)?;
        let start = number.checked_sub(1).and_then(|before| self.items.get(before)).map_or(0, |(end, _)| *end);
        Some((self.keys.get(start..*end)?, *entry))
    }

    /// All of them, in that order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], KeydirEntry)> {
        (0..self.len()).filter_map(|number| self.get(number))
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.items.clear();
    }
}

/// Every key of a store with its newest entry.
pub trait Keydir: fmt::Debug + Send + Sync + Sized + 'static {
    /// Where a walk over all keys stands; the default is before the first.
    type Cursor: Clone + fmt::Debug + Default + Send;

    /// Whether pages come in the order of their keys.
    const IS_ORDERED: bool;

    /// An empty one. `seed` is secret and random, so that nobody can choose keys that collide.
    fn new(seed: u64) -> Self;

    /// Makes room for this many more keys.
    fn reserve(&mut self, keys: usize);

    /// How many keys there are.
    fn len(&self) -> usize;

    /// Whether there is no key.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry of a key.
    fn find(&self, key: &[u8]) -> Option<KeydirEntry>;

    /// Puts an entry there, unless the key has one that is at least as new.
    fn offer(&mut self, key: &[u8], entry: KeydirEntry) -> Offer;

    /// Offers many at once, in any order, and tells what became of each.
    fn offer_all(&mut self, batch: &Batch, mut done: impl FnMut(&KeydirEntry, Offer)) {
        for (key, entry) in batch.iter() {
            let offer = self.offer(key, entry);
            done(&entry, offer);
        }
    }

    /// Takes a key out.
    fn remove(&mut self, key: &[u8]) -> Option<KeydirEntry>;

    /// Copies the keys behind the cursor, some thousands, to the end of `page`, and moves the cursor behind them; `false`
    /// where the walk ends with them. Whatever changes between two calls, a walk gives no key twice, and gives each that is
    /// there all the time.
    fn page(&self, cursor: &mut Self::Cursor, page: &mut Page) -> bool;
}
