//! Threads insert while others read: nothing is lost, doubled or out of order, and nothing is seen half.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::collections::BTreeSet;

use base::rng::Rng;
use base::sync::Arc;
use base::sync::atomic::{AtomicU64, Ordering};
use base::{Cursor, EntryMeta, EntryRef, InternalKeyRef, thread};
use memtable::{Inserted, Memtable};

const WRITERS: u64 = 3;
const COMMITS: u64 = 6_000;
const BATCH: u64 = 4;

/// A key that no other (writer, number) has, spread over the key space; every third shares its first 8 bytes with others.
fn key_of(writer: u64, number: u64) -> Vec<u8> {
    let spread = Rng::new(writer << 32 | number).next_u64().to_be_bytes();
    match number % 3 {
        0 => [b"together", &spread[..], &[writer as u8]].concat(),
        1 => [&spread[..], &[writer as u8]].concat(),
        _ => [&b"run"[..], &number.to_be_bytes(), &[writer as u8]].concat(),
    }
}

/// The payload tells its key again, so that a half-written entry would show.
fn insert(table: &Memtable, writer: u64, commit: u64) {
    let keys: Vec<_> = (0..BATCH).map(|i| key_of(writer, commit * BATCH + i)).collect();
    let bytes = keys.iter().map(|key| Memtable::entry_bytes_max(key.len(), key.len())).sum();
    let mut room = table.reserve(bytes).unwrap();
    for key in &keys {
        let entry = EntryRef::new(EntryMeta::put(), key);
        assert_eq!(room.insert(InternalKeyRef::new(key, commit + 1), entry), Ok(Inserted::Added));
    }
}

fn expect_whole_entry(cursor: &impl Cursor) {
    let key = cursor.key().user_key;
    assert_eq!(EntryRef::decode(cursor.value()).unwrap().payload, key, "an entry that was not complete");
}

/// Walks forward and back and sees order, whole entries, and at least what was there at the start.
fn walk_both_ways(table: &Memtable) {
    let at_least = table.len();
    let mut cursor = table.cursor();
    for forward in [true, false] {
        let Ok(()) = if forward { cursor.seek_to_first() } else { cursor.seek_to_last() };
        let mut last: Option<Vec<u8>> = None;
        let mut walked = 0;
        while cursor.valid() {
            expect_whole_entry(&cursor);
            let key = cursor.key().user_key;
            let in_order = last.as_deref().is_none_or(|last| if forward { last < key } else { last > key });
            assert!(in_order, "{:?} then {}", last, key.escape_ascii());
            last = Some(key.to_vec());
            walked += 1;
            let Ok(()) = if forward { cursor.next() } else { cursor.prev() };
        }
        assert!(walked >= at_least, "{walked} of {at_least} entries");
    }
}

#[test]
fn concurrent_inserts_are_all_there_and_sorted_and_readers_see_whole_entries() {
    let table = Memtable::new(32 << 20);
    // How many commits each writer has finished: what a reader must find from then on.
    let finished: Arc<[AtomicU64; WRITERS as usize]> = Arc::default();
    let writers = (0..WRITERS).map(|writer| {
        let (table, finished) = (table.clone(), Arc::clone(&finished));
        let insert_all = move || {
            for commit in 0..COMMITS {
                insert(&table, writer, commit);
                finished[writer as usize].store(commit + 1, Ordering::Release);
            }
        };
        thread::spawn("writer", insert_all).unwrap()
    });
    let writers: Vec<_> = writers.collect();
    let mut rng = Rng::new(9);
    let done = || finished.iter().all(|finished| finished.load(Ordering::Acquire) == COMMITS);
    while !done() {
        walk_both_ways(&table);
        for _ in 0..500 {
            let writer = rng.below(WRITERS);
            let commits = finished[writer as usize].load(Ordering::Acquire);
            if commits > 0 {
                let key = key_of(writer, rng.below(commits * BATCH));
                let (_, entry) = table.get(&key, u64::MAX).expect("a finished commit is found");
                assert_eq!(EntryRef::decode(entry).unwrap().payload, key);
            }
        }
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let expected: BTreeSet<_> =
        (0..WRITERS).flat_map(|writer| (0..COMMITS * BATCH).map(move |number| key_of(writer, number))).collect();
    let mut cursor = table.cursor();
    let Ok(()) = cursor.seek_to_first();
    for key in &expected {
        assert_eq!(cursor.key().user_key, key);
        let Ok(()) = cursor.next();
    }
    assert!(!cursor.valid());
    walk_both_ways(&table);
    assert_eq!((table.len(), table.pending()), (expected.len(), 0));
    assert_eq!(table.versions(), Some((1, COMMITS)));
}

#[test]
fn of_equal_keys_inserted_at_once_exactly_one_stays() {
    let table = Memtable::new(4 << 20);
    let added = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (table, added) = (table.clone(), Arc::clone(&added));
            let insert_all = move || {
                for number in 0..3_000u64 {
                    let mut room = table.reserve(Memtable::entry_bytes_max(8, 1)).unwrap();
                    let key = number.reverse_bits().to_be_bytes();
                    let entry = EntryRef::new(EntryMeta::put(), &[7]);
                    let inserted = room.insert(InternalKeyRef::new(&key, 1), entry).unwrap();
                    added.fetch_add(u64::from(inserted == Inserted::Added), Ordering::Relaxed);
                }
            };
            thread::spawn(&format!("writer {writer}"), insert_all).unwrap()
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!((added.load(Ordering::Relaxed), table.len()), (3_000, 3_000));
}

#[test]
fn racing_reservations_never_pass_the_capacity() {
    let table = Memtable::new(200_000);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let table = table.clone();
            let fill = move || {
                let mut number = 0;
                while let Ok(mut room) = table.reserve(Memtable::entry_bytes_max(17, 17)) {
                    let key = [&key_of(writer, number)[..], &[0; 17]].concat();
                    let key = &key[..17];
                    room.insert(InternalKeyRef::new(key, 1), EntryRef::new(EntryMeta::put(), key)).unwrap();
                    number += 1;
                }
            };
            thread::spawn("writer", fill).unwrap()
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    // What the index took last may lie beyond the capacity; nodes may not.
    let node_bytes = {
        let one = Memtable::new(1_000);
        let mut room = one.reserve(Memtable::entry_bytes_max(17, 17)).unwrap();
        room.insert(InternalKeyRef::new(&[0; 17], 1), EntryRef::new(EntryMeta::put(), &[0; 17])).unwrap();
        one.used_bytes()
    };
    assert!(table.len() * node_bytes <= table.capacity_bytes(), "{table:?}");
    assert!(table.is_idle() && table.len() > 1_000, "{table:?}");
    walk_both_ways(&table);
}
