//! Room is spoken for before anything is written, and what is not needed comes back.
#![cfg(not(loom))]

use base::rng::Rng;
use base::{Cursor, EntryMeta, EntryRef, InternalKeyRef};
use memtable::{Full, Inserted, Memtable, OverReservation};

fn put(payload: &[u8]) -> EntryRef<'_> {
    EntryRef::new(EntryMeta::put(), payload)
}

#[test]
fn full_is_told_before_anything_is_written() {
    let table = Memtable::new(1_000);
    let first = table.reserve(900).unwrap();
    let full = table.reserve(101).unwrap_err();
    assert_eq!(full, Full { requested_bytes: 101, available_bytes: 100 });
    assert_eq!(full.to_string(), "memtable full: 101 bytes requested, 100 available");
    assert_eq!((table.len(), table.used_bytes(), table.pending()), (0, 0, 1));
    drop(first);
    table.reserve(1_000).unwrap();
    assert!(Memtable::new(0).reserve(1).is_err());
    assert!(table.reserve(usize::MAX).is_err());
}

#[test]
fn an_insert_beyond_its_reservation_is_refused_and_changes_nothing() {
    let table = Memtable::new(1 << 16);
    let bytes = Memtable::entry_bytes_max(3, 5);
    let mut room = table.reserve(bytes * 2 - 1).unwrap();
    room.insert(InternalKeyRef::new(b"one", 1), put(b"value")).unwrap();
    let (used, versions) = (table.used_bytes(), table.versions());
    let refused = room.insert(InternalKeyRef::new(b"two", 2), put(b"value"));
    assert_eq!(refused, Err(OverReservation { needed_bytes: bytes, left_bytes: bytes - 1 }));
    assert_eq!((table.len(), table.used_bytes(), table.versions()), (1, used, versions));
    let too_long = vec![0; base::limits::USER_KEY_LEN_MAX + 1];
    assert!(room.insert(InternalKeyRef::new(&too_long, 2), put(b"")).is_err());
}

#[test]
fn a_key_that_is_there_already_stays_and_costs_nothing() {
    let table = Memtable::new(1 << 16);
    let mut room = table.reserve(2 * Memtable::entry_bytes_max(1, 6)).unwrap();
    assert_eq!(room.insert(InternalKeyRef::new(b"k", 1), put(b"first")), Ok(Inserted::Added));
    let used = table.used_bytes();
    assert_eq!(room.insert(InternalKeyRef::new(b"k", 1), put(b"second")), Ok(Inserted::Duplicate));
    drop(room);
    assert_eq!((table.len(), table.used_bytes()), (1, used));
    assert!(table.get(b"k", 1).is_some_and(|(_, entry)| entry.ends_with(b"first")));
    table.reserve(table.capacity_bytes() - used).unwrap();
}

#[test]
fn what_a_reservation_did_not_need_comes_back_to_the_byte() {
    let seed = 11;
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    let table = Memtable::new(1 << 20);
    let mut refused = 0;
    for number in 0..40_000u32 {
        let payload = vec![1; rng.below(100) as usize];
        let surplus = rng.below(1_000) as usize;
        let Ok(mut room) = table.reserve(Memtable::entry_bytes_max(4, payload.len()) + surplus) else {
            refused += 1;
            continue;
        };
        room.insert(InternalKeyRef::new(&number.reverse_bits().to_be_bytes(), 1), put(&payload)).unwrap();
        assert_eq!(room.left_bytes(), surplus);
        drop(room);
        let available = table.reserve(usize::MAX).unwrap_err().available_bytes;
        assert_eq!(available, table.capacity_bytes() - table.used_bytes());
    }
    assert!(refused > 0 && table.used_bytes() <= table.capacity_bytes());
    assert!(table.used_bytes() > table.capacity_bytes() - 2_000, "{table:?}");
    let mut cursor = table.cursor();
    let Ok(()) = cursor.seek_to_first();
    let mut walked = 0;
    while cursor.valid() {
        walked += 1;
        let Ok(()) = cursor.next();
    }
    assert_eq!(walked, table.len());
}

#[test]
fn a_reservation_is_pending_until_it_is_dropped() {
    let table = Memtable::new(1 << 12);
    assert!(table.is_idle());
    let (first, second) = (table.reserve(10).unwrap(), table.reserve(0).unwrap());
    assert_eq!(table.pending(), 2);
    drop(first);
    assert!(!table.is_idle());
    drop(second);
    assert!(table.is_idle());
}

#[test]
fn a_cursor_outlives_every_handle() {
    let table = Memtable::new(1 << 12);
    let mut room = table.reserve(Memtable::entry_bytes_max(1, 1)).unwrap();
    room.insert(InternalKeyRef::new(b"k", 1), put(b"v")).unwrap();
    let mut cursor = table.cursor();
    drop((room, table));
    let Ok(()) = cursor.seek_to_last();
    assert_eq!(cursor.key(), InternalKeyRef::new(b"k", 1));
    assert!(cursor.value().ends_with(b"v"));
}

#[test]
fn the_worst_case_of_an_entry_grows_with_its_parts_and_never_overflows() {
    assert!(Memtable::entry_bytes_max(8, 0) <= Memtable::entry_bytes_max(9, 0));
    assert!(Memtable::entry_bytes_max(16, 100) > 16 + 100);
    assert_eq!(Memtable::entry_bytes_max(0, usize::MAX), usize::MAX);
    assert_eq!(Memtable::entry_bytes_max(65_536, 0), usize::MAX);
}
