//! Walks over all keys, or a range of them, while writes go on.
//!
//! A walk copies a page of keys at a time, so its memory is bounded; see [`Keydir::page`] for what it gives. A page comes
//! with the files that its entries point into, so a merge takes nothing away from under it.

use base::InternalKeyRef;
use base::sync::Arc;
use bytes::Bytes;
use vlog::SegmentSet;

use crate::Result;
use crate::keydir::{Keydir, KeydirEntry, Page};
use crate::store::{OWNER, Shared};

/// The keys of a store. Made by [`Bitcask::list_keys`](crate::Bitcask::list_keys).
#[derive(Debug)]
pub struct Keys<'a, K: Keydir>(Walk<'a, K>);

/// The keys of a store with their values. Made by [`Bitcask::iter`](crate::Bitcask::iter).
#[derive(Debug)]
pub struct Records<'a, K: Keydir>(Walk<'a, K>);

impl<'a, K: Keydir> Keys<'a, K> {
    pub(crate) fn new(store: &'a Shared<K>, from: K::Cursor) -> Self {
        Self(Walk::new(store, from, false))
    }
}

impl<'a, K: Keydir> Records<'a, K> {
    pub(crate) fn new(store: &'a Shared<K>, from: K::Cursor) -> Self {
        Self(Walk::new(store, from, true))
    }
}

impl<K: Keydir> Iterator for Keys<'_, K> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        self.0.next().map(|(key, _)| key)
    }
}

impl<K: Keydir> Iterator for Records<'_, K> {
    type Item = Result<(Vec<u8>, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, entry) = self.0.next()?;
        let read = self.0.files.read_checked(entry.pointer, OWNER, InternalKeyRef::new(&key, entry.version));
        Some(read.map(|value| (key, value)).map_err(Into::into))
    }
}

#[derive(Debug)]
struct Walk<'a, K: Keydir> {
    store: &'a Shared<K>,
    cursor: K::Cursor,
    page: std::vec::IntoIter<(Vec<u8>, KeydirEntry)>,
    files: Arc<SegmentSet>,
    has_more: bool,
    /// Values are wanted too: where keys have no order, they come by their place in the files.
    by_place: bool,
}

impl<'a, K: Keydir> Walk<'a, K> {
    fn new(store: &'a Shared<K>, cursor: K::Cursor, with_values: bool) -> Self {
        let by_place = with_values && !K::IS_ORDERED;
        Self { store, cursor, page: Vec::new().into_iter(), files: store.log.segments(), has_more: true, by_place }
    }

    fn next(&mut self) -> Option<(Vec<u8>, KeydirEntry)> {
        let now = self.store.options.clock.unix_seconds();
        loop {
            if let Some(found) = self.page.find(|(_, entry)| !entry.is_expired_at(now)) {
                return Some(found);
            }
            if !self.has_more {
                return None;
            }
            self.turn();
        }
    }

    fn turn(&mut self) {
        let mut page = Page::new();
        {
            let index = self.store.index.read();
            self.has_more = index.keydir.page(&mut self.cursor, &mut page);
            self.files = self.store.log.segments();
        }
        if self.by_place {
            page.sort_unstable_by_key(|(_, entry)| (entry.pointer.segment, entry.pointer.offset));
        }
        self.page = page.into_iter();
    }
}
