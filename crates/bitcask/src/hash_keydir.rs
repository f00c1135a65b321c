//! A keydir that is a hash table: the fastest to look into, without an order.
//!
//! It is many tables, by bits of the hash. So a table that grows moves few keys at a time, and a walk goes from table to
//! table, which a key never leaves: it copies some thousands of keys, or a thousandth of all where that is more.
//!
//! A table is a list of slots, and an index of their numbers by hash: filling it appends to the list and touches the index,
//! which is small, so a million keys are inserted without as many misses of the cache.

use base::{ValuePointer, Version};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::keydir::{Batch, Keydir, KeydirEntry, Offer, PAGE_KEYS, Page};

const TABLES: usize = 1 << 10;

/// A keydir that is a hash table.
#[derive(Debug)]
pub struct HashKeydir {
    seed: u64,
    tables: Vec<Table>,
    len: usize,
}

#[derive(Debug, Default)]
struct Table {
    /// Numbers of slots.
    index: HashTable<u32>,
    slots: Vec<Slot>,
}

/// A key and its entry, 48 bytes.
#[derive(Debug)]
struct Slot {
    key: Box<[u8]>,
    version: Version,
    expires_at: u64,
    pointer: ValuePointer,
    hash: u32,
}

impl Slot {
    fn new(key: &[u8], hash: u32, entry: KeydirEntry) -> Self {
        let KeydirEntry { pointer, version, expires_at } = entry;
        Self { key: key.into(), version, expires_at, pointer, hash }
    }

    fn entry(&self) -> KeydirEntry {
        KeydirEntry { pointer: self.pointer, version: self.version, expires_at: self.expires_at }
    }

    fn replace(&mut self, entry: KeydirEntry) -> KeydirEntry {
        let old = self.entry();
        (self.pointer, self.version, self.expires_at) = (entry.pointer, entry.version, entry.expires_at);
        old
    }
}

impl HashKeydir {
    /// The table of a key, and its hash there.
    #[inline]
    fn place(&self, key: &[u8]) -> (usize, u32) {
        let hash = xxh3_64_with_seed(key, self.seed);
        (hash as usize % TABLES, (hash >> 32) as u32)
    }
}

/// The index takes the lowest bits and the top seven.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[inline]
fn is_at(slots: &[Slot], number: u32, hash: u32, key: &[u8]) -> bool {
    slots.get(number as usize).is_some_and(|slot| slot.hash == hash && *slot.key == *key)
}

#[inline]
fn hash_at(slots: &[Slot], number: u32) -> u64 {
    slots.get(number as usize).map_or(0, |slot| spread(slot.hash))
}

impl Table {
    #[inline]
    fn find(&self, hash: u32, key: &[u8]) -> Option<&Slot> {
        let number = self.index.find(spread(hash), |number| is_at(&self.slots, *number, hash, key))?;
        self.slots.get(*number as usize)
    }

    #[inline]
    fn offer(&mut self, hash: u32, key: &[u8], entry: KeydirEntry) -> Offer {
        let Self { index, slots } = self;
        let is_there = |number: &u32| is_at(slots, *number, hash, key);
        match index.entry(spread(hash), is_there, |number| hash_at(slots, *number)) {
            Entry::Occupied(there) => match slots.get_mut(*there.get() as usize) {
                Some(slot) if entry.version > slot.version => Offer::Replaced(slot.replace(entry)),
                _ => Offer::Refused,
            },
            Entry::Vacant(room) => {
                // Keys take more memory than there is long before a number has no room.
                room.insert(slots.len() as u32);
                slots.push(Slot::new(key, hash, entry));
                Offer::Added
            }
        }
    }

    fn remove(&mut self, hash: u32, key: &[u8]) -> Option<KeydirEntry> {
        let Self { index, slots } = self;
        let there = index.find_entry(spread(hash), |number| is_at(slots, *number, hash, key)).ok()?;
        let (number, _) = there.remove();
        // The last slot moves to the free place, and its number with it.
        let last = slots.len().checked_sub(1)? as u32;
        if number != last
            && let Some(moved) = index.find_mut(hash_at(slots, last), |of| *of == last)
        {
            *moved = number;
        }
        Some(slots.swap_remove(number as usize).entry())
    }
}

/// Items that are looked up together.
const GATHER: usize = 16;

/// The numbers of places, those of one table after those of the one before: a counting sort.
fn by_table(places: &[(u32, u32)]) -> Vec<u32> {
    let mut starts = [0u32; TABLES + 1];
    for (table, _) in places {
        if let Some(count) = starts.get_mut(*table as usize + 1) {
            *count += 1;
        }
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    let mut numbers = vec![0; places.len()];
    for (number, (table, _)) in (0..).zip(places) {
        let Some(start) = starts.get_mut(*table as usize) else { continue };
        if let Some(to) = numbers.get_mut(*start as usize) {
            *to = number;
        }
        *start += 1;
    }
    numbers
}

impl Keydir for HashKeydir {
    /// The next table.
    type Cursor = usize;

    const IS_ORDERED: bool = false;

    fn new(seed: u64) -> Self {
        Self { seed, tables: (0..TABLES).map(|_| Table::default()).collect(), len: 0 }
    }

    fn reserve(&mut self, keys: usize) {
        // The fullest of the tables has more than its share: some three standard deviations.
        let share = keys / TABLES;
        let room = share + 3 * share.isqrt();
        for Table { index, slots } in &mut self.tables {
            slots.reserve(room);
            index.reserve(room, |number| hash_at(slots, *number));
        }
    }

    fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn find(&self, key: &[u8]) -> Option<KeydirEntry> {
        let (table, hash) = self.place(key);
        self.tables.get(table)?.find(hash, key).map(Slot::entry)
    }

    #[inline]
    fn offer(&mut self, key: &[u8], entry: KeydirEntry) -> Offer {
        let (table, hash) = self.place(key);
        let Some(table) = self.tables.get_mut(table) else { return Offer::Refused };
        let offer = table.offer(hash, key, entry);
        self.len += usize::from(offer == Offer::Added);
        offer
    }

    /// Table by table, each of which is at hand then: one after the other, keys in no order would miss the processor's caches
    /// several times each.
    fn offer_all(&mut self, batch: &Batch, mut done: impl FnMut(&KeydirEntry, Offer)) {
        let places: Vec<(u32, u32)> =
            batch.iter().map(|(key, _)| self.place(key)).map(|(t, h)| (t as u32, h)).collect();
        let order = by_table(&places);
        for numbers in order.chunks(GATHER) {
            // Looked up at once, so that the processor waits for them together.
            let gathered = numbers.iter().filter_map(|number| {
                let number = *number as usize;
                Some((batch.get(number)?, *places.get(number)?))
            });
            let mut items = [None; GATHER];
            items.iter_mut().zip(gathered).for_each(|(to, from)| *to = Some(from));
            for ((key, entry), (table, hash)) in items.into_iter().flatten() {
                let Some(table) = self.tables.get_mut(table as usize) else { continue };
                let offer = table.offer(hash, key, entry);
                self.len += usize::from(offer == Offer::Added);
                done(&entry, offer);
            }
        }
    }

    fn remove(&mut self, key: &[u8]) -> Option<KeydirEntry> {
        let (table, hash) = self.place(key);
        let removed = self.tables.get_mut(table)?.remove(hash, key);
        self.len -= usize::from(removed.is_some());
        removed
    }

    fn page(&self, cursor: &mut usize, page: &mut Page) -> bool {
        let before = page.len();
        while let Some(table) = self.tables.get(*cursor) {
            if page.len() > before && page.len() - before + table.slots.len() > PAGE_KEYS {
                return true;
            }
            page.extend(table.slots.iter().map(|slot| (slot.key.to_vec(), slot.entry())));
            *cursor += 1;
        }
        false
    }
}
