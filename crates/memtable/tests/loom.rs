//! Every interleaving of small stories on the shipped algorithm.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p memtable --release --test loom`. A block of the index holds three
//! nodes in a modelled build, so that the fourth entry splits a leaf.
#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use base::sync::Arc;
use base::sync::atomic::{AtomicBool, Ordering};
use base::{Cursor, EntryMeta, EntryRef, InternalKeyRef};
use loom::model::Builder;
use loom::thread;
use memtable::{Inserted, Memtable};

const ENTRY_BYTES: usize = Memtable::entry_bytes_max(1, 1);

/// Runs a story in all interleavings with at most `preemptions` switches away from a thread that could go on.
fn model(preemptions: usize, story: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(story);
}

fn insert(table: &Memtable, key: u8) -> Inserted {
    let mut room = table.reserve(ENTRY_BYTES).unwrap();
    room.insert(InternalKeyRef::new(&[key], u64::from(key)), EntryRef::new(EntryMeta::put(), &[key])).unwrap()
}

/// A table that holds `keys` already.
fn table_of(keys: &[u8]) -> Memtable {
    let table = Memtable::new(4_096);
    for key in keys {
        insert(&table, *key);
    }
    table
}

fn expect_entry(cursor: &impl Cursor) -> u8 {
    let key = cursor.key().user_key.first().copied().unwrap();
    assert_eq!(cursor.key().version, u64::from(key));
    assert_eq!(EntryRef::decode(cursor.value()).unwrap().payload, [key]);
    key
}

fn forward(table: &Memtable) -> Vec<u8> {
    let mut cursor = table.cursor();
    let mut keys = Vec::new();
    let Ok(()) = cursor.seek_to_first();
    while cursor.valid() {
        keys.push(expect_entry(&cursor));
        let Ok(()) = cursor.next();
    }
    keys
}

fn backward(table: &Memtable) -> Vec<u8> {
    let mut cursor = table.cursor();
    let mut keys = Vec::new();
    let Ok(()) = cursor.seek_to_last();
    while cursor.valid() {
        keys.insert(0, expect_entry(&cursor));
        let Ok(()) = cursor.prev();
    }
    keys
}

/// After all threads ended, every way of reading agrees.
fn expect_keys(table: &Memtable, keys: &[u8]) {
    assert_eq!((forward(table), backward(table)), (keys.to_vec(), keys.to_vec()));
    assert!(keys.iter().all(|key| table.get(&[*key], u64::MAX).is_some()));
    assert_eq!((table.len(), table.pending()), (keys.len(), 0));
}

#[test]
fn two_inserts_at_one_place_are_both_there_in_order() {
    model(3, || {
        let table = table_of(&[]);
        let other = table.clone();
        let inserting = thread::spawn(move || insert(&other, 2));
        assert_eq!(insert(&table, 1), Inserted::Added);
        assert_eq!(inserting.join().unwrap(), Inserted::Added);
        expect_keys(&table, &[1, 2]);
    });
}

#[test]
fn two_inserts_between_the_same_neighbours_are_both_there_in_order() {
    model(2, || {
        let table = table_of(&[1, 9]);
        let other = table.clone();
        let inserting = thread::spawn(move || insert(&other, 4));
        insert(&table, 5);
        inserting.join().unwrap();
        expect_keys(&table, &[1, 4, 5, 9]);
    });
}

#[test]
fn of_two_inserts_of_one_key_exactly_one_is_added() {
    model(3, || {
        let table = table_of(&[]);
        let other = table.clone();
        let inserting = thread::spawn(move || insert(&other, 5));
        let mine = insert(&table, 5);
        assert_ne!(mine, inserting.join().unwrap());
        expect_keys(&table, &[5]);
    });
}

#[test]
fn a_reader_finds_complete_entries_or_none() {
    model(3, || {
        let table = table_of(&[1]);
        let other = table.clone();
        let inserting = thread::spawn(move || insert(&other, 5));
        // The arena cells of the model fail where the bytes of a node that was found could still be being written.
        if let Some((version, entry)) = table.get(&[5], u64::MAX) {
            assert_eq!((version, EntryRef::decode(entry).unwrap().payload), (5, &[5][..]));
            assert!(table.versions().is_some_and(|(min, max)| (min, max) == (1, 5)));
        }
        assert!(matches!(forward(&table)[..], [1] | [1, 5]));
        inserting.join().unwrap();
        expect_keys(&table, &[1, 5]);
    });
}

#[test]
fn a_reader_finds_what_was_there_while_a_leaf_is_split() {
    model(3, || {
        let table = table_of(&[1, 5, 9]);
        let other = table.clone();
        let inserting = thread::spawn(move || insert(&other, 7));
        assert!([5, 9].iter().all(|key| table.get(&[*key], u64::MAX).is_some()));
        let mut cursor = table.cursor();
        let Ok(()) = cursor.seek_for_prev(InternalKeyRef::last_of(&[8]));
        assert!(matches!(expect_entry(&cursor), 5 | 7));
        inserting.join().unwrap();
        expect_keys(&table, &[1, 5, 7, 9]);
    });
}

#[test]
fn two_inserts_that_both_split_leave_all_entries() {
    model(2, || {
        let table = table_of(&[1, 5, 9]);
        let other = table.clone();
        let inserting = thread::spawn(move || insert(&other, 10));
        insert(&table, 3);
        inserting.join().unwrap();
        expect_keys(&table, &[1, 3, 5, 9, 10]);
    });
}

#[test]
fn a_cursor_that_walks_back_meets_what_was_there_before_whole_and_in_order() {
    model(2, || {
        let table = table_of(&[1, 9]);
        let other = table.clone();
        let inserting = thread::spawn(move || {
            insert(&other, 4);
            insert(&other, 6);
        });
        let seen = backward(&table);
        assert!(seen.is_sorted() && seen.starts_with(&[1]) && seen.ends_with(&[9]), "{seen:?}");
        inserting.join().unwrap();
        expect_keys(&table, &[1, 4, 6, 9]);
    });
}

#[test]
fn a_link_back_left_behind_by_two_racing_inserts_still_leads_to_the_nearest() {
    model(2, || {
        let table = table_of(&[9]);
        let other = table.clone();
        let inserting = thread::spawn(move || insert(&other, 3));
        insert(&table, 5);
        let seen = backward(&table);
        assert!(matches!(seen[..], [5, 9] | [3, 5, 9]), "{seen:?}");
        inserting.join().unwrap();
        expect_keys(&table, &[3, 5, 9]);
    });
}

#[test]
fn reservations_never_pass_the_capacity_and_give_all_back() {
    model(3, || {
        let table = Memtable::new(2 * ENTRY_BYTES - 1);
        let other = table.clone();
        let reserving = thread::spawn(move || other.reserve(ENTRY_BYTES).is_ok());
        let mine = table.reserve(ENTRY_BYTES);
        assert!(table.used_bytes() <= table.capacity_bytes());
        let mine = mine.map(drop).is_ok();
        let theirs = reserving.join().unwrap();
        // One may be refused for the other's sake, never both.
        assert!(mine || theirs);
        assert!(table.reserve(table.capacity_bytes()).is_ok() && table.is_idle());
    });
}

#[test]
fn of_two_reservations_of_which_one_fits_exactly_one_is_given() {
    model(3, || {
        let table = Memtable::new(2 * ENTRY_BYTES - 1);
        let other = table.clone();
        let reserving = thread::spawn(move || other.reserve(ENTRY_BYTES));
        let mine = table.reserve(ENTRY_BYTES);
        let theirs = reserving.join().unwrap();
        // Both are held until here.
        assert!(mine.is_ok() != theirs.is_ok(), "{mine:?}, {theirs:?}");
    });
}

#[test]
fn two_reservations_that_both_fit_can_both_insert() {
    model(2, || {
        let table = Memtable::new(2 * ENTRY_BYTES);
        let other = table.clone();
        let inserting = thread::spawn(move || insert(&other, 1));
        insert(&table, 2);
        inserting.join().unwrap();
        expect_keys(&table, &[1, 2]);
        assert!(table.used_bytes() <= table.capacity_bytes());
    });
}

#[test]
fn a_flush_that_waits_until_none_is_pending_misses_no_commit() {
    model(3, || {
        let table = table_of(&[]);
        let (writers, flushers) = (table.clone(), table.clone());
        let switched = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&switched);
        // As the write path does: room first, then the log (not shown), then the switch to a new memtable is allowed.
        let mut room = writers.reserve(ENTRY_BYTES).unwrap();
        let flushing = thread::spawn(move || {
            if seen.load(Ordering::Acquire) && flushers.is_idle() {
                assert_eq!(forward(&flushers), [7], "flushed without a commit");
            }
        });
        switched.store(true, Ordering::Release);
        room.insert(InternalKeyRef::new(&[7], 7), EntryRef::new(EntryMeta::put(), &[7])).unwrap();
        drop(room);
        flushing.join().unwrap();
        expect_keys(&table, &[7]);
    });
}
