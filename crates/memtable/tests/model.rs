//! The memtable does what a sorted map of internal keys does, whatever the keys.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::ops::Bound;

use base::limits::{INLINE_VALUE_LEN_MAX, USER_KEY_LEN_MAX};
use base::rng::Rng;
use base::{Cursor, EntryMeta, EntryRef, InternalKeyRef, Version};
use memtable::{Inserted, Memtable, MemtableCursor};
use proptest::prelude::*;

type ModelKey = (Vec<u8>, Reverse<Version>);
type Model = BTreeMap<ModelKey, Vec<u8>>;

const VERSIONS: Version = 6;

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<u8>, Version, Vec<u8>),
    /// This many inserts of ascending keys that share their first bytes, in one reservation.
    InsertRun(Vec<u8>, u8),
    Get(Vec<u8>, Version),
    First,
    Last,
    Seek(Vec<u8>, Version),
    SeekForPrev(Vec<u8>, Version),
    Next,
    Prev,
}

/// Few bytes, so that keys meet: the start of one another, equal in their first 8 bytes, with zeros at the end, empty.
fn user_key() -> impl Strategy<Value = Vec<u8>> {
    let stems: [&[u8]; 5] = [b"", b"stemstem", b"stemste", b"stemstemstemstem", &[0; 8]];
    let stem = prop::sample::select(stems.to_vec());
    let rest = prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(b'a'), Just(0xff)], 0..5);
    (stem, rest).prop_map(|(stem, rest)| [stem, &rest].concat())
}

fn step() -> impl Strategy<Value = Step> {
    let payload = prop::collection::vec(any::<u8>(), 0..20);
    prop_oneof![
        8 => (user_key(), 0..VERSIONS, payload).prop_map(|(key, version, payload)| Step::Insert(key, version, payload)),
        1 => (user_key(), 1..70u8).prop_map(|(key, count)| Step::InsertRun(key, count)),
        2 => (user_key(), 0..VERSIONS).prop_map(|(key, version)| Step::Get(key, version)),
        1 => Just(Step::First),
        1 => Just(Step::Last),
        2 => (user_key(), 0..VERSIONS).prop_map(|(key, version)| Step::Seek(key, version)),
        2 => (user_key(), 0..VERSIONS).prop_map(|(key, version)| Step::SeekForPrev(key, version)),
        3 => Just(Step::Next),
        3 => Just(Step::Prev),
    ]
}

fn encoded(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    EntryRef::new(EntryMeta::put(), payload).encode_into(&mut out);
    out
}

fn insert(table: &Memtable, model: &mut Model, entries: &[(Vec<u8>, Version, Vec<u8>)]) {
    let bytes = entries.iter().map(|(key, _, payload)| Memtable::entry_bytes_max(key.len(), payload.len())).sum();
    let mut room = table.reserve(bytes).unwrap();
    for (key, version, payload) in entries {
        let entry = EntryRef::new(EntryMeta::put(), payload);
        let inserted = room.insert(InternalKeyRef::new(key, *version), entry).unwrap();
        let slot = model.entry((key.clone(), Reverse(*version)));
        let expected = if matches!(slot, Slot::Occupied(_)) { Inserted::Duplicate } else { Inserted::Added };
        assert_eq!(inserted, expected, "{}@{version}", key.escape_ascii());
        slot.or_insert_with(|| encoded(payload));
    }
    assert_eq!(room.left_bytes(), 0);
}

/// Moves the model as the cursor is moved.
fn moved(model: &Model, at: Option<ModelKey>, step: &Step) -> Option<ModelKey> {
    let found = match step {
        Step::First => model.keys().next(),
        Step::Last => model.keys().next_back(),
        Step::Seek(key, version) => model.range((key.clone(), Reverse(*version))..).next().map(|(key, _)| key),
        Step::SeekForPrev(key, version) => {
            model.range(..=(key.clone(), Reverse(*version))).next_back().map(|(key, _)| key)
        }
        Step::Next => model.range((Bound::Excluded(at?), Bound::Unbounded)).next().map(|(key, _)| key),
        Step::Prev => model.range(..at?).next_back().map(|(key, _)| key),
        Step::Insert(..) | Step::InsertRun(..) | Step::Get(..) => return at,
    };
    found.cloned()
}

fn expect_at(cursor: &MemtableCursor, model: &Model, at: Option<&ModelKey>) {
    assert_eq!(cursor.valid(), at.is_some());
    if let Some(key) = at {
        assert_eq!((cursor.key().user_key, cursor.key().version), (&key.0[..], key.1.0));
        assert_eq!(cursor.value(), &model[key][..]);
    }
}

/// A whole walk each way meets exactly the model's entries, and the figures agree.
fn expect_whole(table: &Memtable, model: &Model) {
    let mut cursor = table.cursor();
    let Ok(()) = cursor.seek_to_first();
    for (key, value) in model {
        assert_eq!((cursor.key(), cursor.value()), (InternalKeyRef::new(&key.0, key.1.0), &value[..]));
        let Ok(()) = cursor.next();
    }
    assert!(!cursor.valid());
    let Ok(()) = cursor.seek_to_last();
    for (key, value) in model.iter().rev() {
        assert_eq!((cursor.key(), cursor.value()), (InternalKeyRef::new(&key.0, key.1.0), &value[..]));
        let Ok(()) = cursor.prev();
    }
    assert!(!cursor.valid());
    let versions = model.keys().map(|(_, Reverse(version))| *version);
    assert_eq!(table.versions(), versions.clone().min().zip(versions.max()));
    assert_eq!((table.len(), table.is_empty(), table.pending()), (model.len(), model.is_empty(), 0));
    assert!(table.used_bytes() <= table.capacity_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn any_mix_of_inserts_reads_and_moves_agrees_with_a_sorted_map(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let table = Memtable::new(4 << 20);
        let (mut model, mut at) = (Model::new(), None);
        let mut cursor = table.cursor();
        for step in &steps {
            match step {
                Step::Insert(key, version, payload) => {
                    insert(&table, &mut model, &[(key.clone(), *version, payload.clone())]);
                }
                Step::InsertRun(stem, count) => {
                    let run: Vec<_> = (0..*count).map(|i| ([&stem[..], &[i]].concat(), 1, vec![i])).collect();
                    insert(&table, &mut model, &run);
                }
                Step::Get(key, version) => {
                    let from = (key.clone(), Reverse(*version));
                    let newest = model.range(from..).next().filter(|((found, _), _)| found == key);
                    let expected = newest.map(|((_, Reverse(version)), value)| (*version, &value[..]));
                    prop_assert_eq!(table.get(key, *version), expected);
                }
                Step::First => { let Ok(()) = cursor.seek_to_first(); }
                Step::Last => { let Ok(()) = cursor.seek_to_last(); }
                Step::Seek(key, version) => { let Ok(()) = cursor.seek(InternalKeyRef::new(key, *version)); }
                Step::SeekForPrev(key, version) => {
                    let Ok(()) = cursor.seek_for_prev(InternalKeyRef::new(key, *version));
                }
                Step::Next => { let Ok(()) = cursor.next(); }
                Step::Prev => { let Ok(()) = cursor.prev(); }
            }
            at = moved(&model, at, step);
            expect_at(&cursor, &model, at.as_ref());
        }
        expect_whole(&table, &model);
    }
}

#[test]
fn many_entries_in_any_order_come_back_sorted() {
    for (seed, stem) in [(1, &b""[..]), (2, b"the same sixteen"), (3, b"eight..."), (4, b"four")] {
        println!("seed {seed}, stem {}", stem.escape_ascii());
        let mut rng = Rng::new(seed);
        let table = Memtable::new(8 << 20);
        let mut model = Model::new();
        for _ in 0..20_000 {
            let number = rng.below(1 << 40).to_be_bytes();
            let key = [stem, &number[..rng.below(9) as usize]].concat();
            insert(&table, &mut model, &[(key, rng.below(3), vec![0; rng.below(30) as usize])]);
        }
        expect_whole(&table, &model);
        for ((key, Reverse(version)), value) in &model {
            assert_eq!(table.get(key, *version), Some((*version, &value[..])));
        }
    }
}

#[test]
fn ascending_and_descending_runs_come_back_sorted() {
    let table = Memtable::new(8 << 20);
    let mut model = Model::new();
    for number in 0..10_000u32 {
        insert(&table, &mut model, &[(number.to_be_bytes().to_vec(), 1, vec![])]);
        insert(&table, &mut model, &[([b"down", &(u32::MAX - number).to_be_bytes()[..]].concat(), 1, vec![])]);
    }
    expect_whole(&table, &model);
}

#[test]
fn many_versions_of_one_key_come_newest_first() {
    let table = Memtable::new(4 << 20);
    let mut model = Model::new();
    for version in 1..=5_000 {
        insert(&table, &mut model, &[(b"counter!".to_vec(), version * 2, version.to_be_bytes().to_vec())]);
    }
    expect_whole(&table, &model);
    assert_eq!(table.get(b"counter!", 7).map(|(version, _)| version), Some(6));
    assert_eq!(table.get(b"counter!", 1), None);
    assert_eq!(table.get(b"counter!", Version::MAX).map(|(version, _)| version), Some(10_000));
    assert_eq!(table.get(b"counter", Version::MAX), None);
    assert_eq!(table.get(b"counter!\0", Version::MAX), None);
}

#[test]
fn the_longest_keys_and_values_fit() {
    let table = Memtable::new(8 << 20);
    let mut model = Model::new();
    let long = vec![b'k'; USER_KEY_LEN_MAX];
    let longer_by_zero = [&long[..USER_KEY_LEN_MAX - 1], &[0]].concat();
    insert(
        &table,
        &mut model,
        &[
            (long.clone(), 1, vec![1; INLINE_VALUE_LEN_MAX]),
            (longer_by_zero, 1, vec![2; INLINE_VALUE_LEN_MAX - 1]),
            (long[..USER_KEY_LEN_MAX - 1].to_vec(), 1, vec![3]),
            (vec![], Version::MAX, vec![4; 100_000]),
            (vec![], 0, vec![]),
        ],
    );
    expect_whole(&table, &model);
    assert!(table.get(&long, 1).is_some_and(|(_, entry)| entry.ends_with(&[1; 1000])));
}

#[test]
fn expiry_and_flags_are_kept_to_the_byte() {
    let table = Memtable::new(1 << 12);
    let meta = EntryMeta { discard_earlier: true, user_meta: 0xa5, expires_at: u64::MAX, ..EntryMeta::put() };
    let entry = EntryRef::new(meta, b"payload");
    let mut room = table.reserve(Memtable::entry_bytes_max(1, 7)).unwrap();
    room.insert(InternalKeyRef::new(b"k", 3), entry).unwrap();
    let (_, found) = table.get(b"k", 3).unwrap();
    assert_eq!(EntryRef::decode(found).unwrap(), entry);
}
