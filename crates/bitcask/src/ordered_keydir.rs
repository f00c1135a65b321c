//! A keydir in the order of its keys, for walks over ranges.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::keydir::{Keydir, KeydirEntry, Offer, PAGE_KEYS, Page};

/// A keydir in the order of its keys.
#[derive(Debug, Default)]
pub struct OrderedKeydir(BTreeMap<Box<[u8]>, KeydirEntry>);

/// The keys that a walk has still to give. The default is all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// Where it begins.
    pub lower: Bound<Vec<u8>>,
    /// Where it ends.
    pub upper: Bound<Vec<u8>>,
}

impl KeyRange {
    /// The keys between two bounds.
    #[must_use]
    pub fn new(lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Self {
        Self { lower: lower.map(<[u8]>::to_vec), upper: upper.map(<[u8]>::to_vec) }
    }

    /// No key can be in it. The map's own `range` panics on some of these.
    fn is_empty(&self) -> bool {
        match (&self.lower, &self.upper) {
            (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
            (Bound::Included(lower) | Bound::Excluded(lower), Bound::Included(upper) | Bound::Excluded(upper)) => {
                lower >= upper
            }
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        }
    }
}

impl Default for KeyRange {
    fn default() -> Self {
        Self { lower: Bound::Unbounded, upper: Bound::Unbounded }
    }
}

impl Keydir for OrderedKeydir {
    type Cursor = KeyRange;

    const IS_ORDERED: bool = true;

    fn new(_seed: u64) -> Self {
        Self::default()
    }

    fn reserve(&mut self, _keys: usize) {}

    fn len(&self) -> usize {
        self.0.len()
    }

    fn find(&self, key: &[u8]) -> Option<KeydirEntry> {
        self.0.get(key).copied()
    }

    fn offer(&mut self, key: &[u8], entry: KeydirEntry) -> Offer {
        match self.0.get_mut(key) {
            Some(there) if entry.version > there.version => Offer::Replaced(std::mem::replace(there, entry)),
            Some(_) => Offer::Refused,
            None => {
                self.0.insert(key.into(), entry);
                Offer::Added
            }
        }
    }

    fn remove(&mut self, key: &[u8]) -> Option<KeydirEntry> {
        self.0.remove(key)
    }

    fn page(&self, cursor: &mut KeyRange, page: &mut Page) -> bool {
        if cursor.is_empty() {
            return false;
        }
        let bounds = (cursor.lower.as_ref().map(Vec::as_slice), cursor.upper.as_ref().map(Vec::as_slice));
        let before = page.len();
        page.extend(self.0.range::<[u8], _>(bounds).take(PAGE_KEYS).map(|(key, entry)| (key.to_vec(), *entry)));
        match page.last() {
            Some((last, _)) if page.len() - before == PAGE_KEYS => {
                cursor.lower = Bound::Excluded(last.clone());
                true
            }
            _ => false,
        }
    }
}
