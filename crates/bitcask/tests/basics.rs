//! What one thread sees of a store: keys, walks, expiry, locks, folders of others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::clock::ManualClock;
use base::{SegmentId, ValuePointer};
use bitcask::{Batch, Bitcask, Error, HashKeydir, KeyRange, Keydir, KeydirEntry, Options, OrderedKeydir};
use support::{DIR, START, contents, names, open, path, small, value};
use vfs::{MemFs, Vfs};

#[test]
fn what_was_written_is_read_and_what_was_deleted_is_not() {
    let fs = MemFs::new(1);
    let store = open(&fs);
    assert_eq!(store.get(b"a").unwrap(), None);
    store.put(b"a", b"1").unwrap();
    store.put(b"b", b"").unwrap();
    store.put(b"a", b"2").unwrap();
    assert_eq!(store.get(b"a").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(store.get(b"b").unwrap().as_deref(), Some(&b""[..]), "an empty value is a value");
    assert!(store.contains_key(b"b") && !store.contains_key(b"c"));
    assert!(store.delete(b"a").unwrap());
    assert_eq!(store.get(b"a").unwrap(), None);
    store.close().unwrap();
    let store = open(&fs);
    assert_eq!(contents(&store).unwrap().into_keys().collect::<Vec<_>>(), [b"b"]);
    assert_eq!(store.status().keys, 1);
}

#[test]
fn deleting_what_is_not_there_writes_nothing() {
    let store = open(&MemFs::new(1));
    assert!(!store.delete(b"a").unwrap());
    assert!(store.status().files.is_empty());
    store.put(b"a", b"1").unwrap();
    assert!(store.delete(b"a").unwrap());
    assert!(!store.delete(b"a").unwrap());
    assert_eq!(store.status().files[0].records, 2);
}

#[test]
fn keys_and_values_out_of_bounds_are_refused_and_the_store_goes_on() {
    let store = open(&MemFs::new(1));
    for key in [vec![], vec![7; 65_536]] {
        let refused = store.put(&key, b"1").unwrap_err();
        assert!(matches!(refused, Error::Log(vlog::Error::InvalidArgument(_))), "{refused}");
        assert_eq!(store.get(&key).unwrap(), None);
        assert!(!store.delete(&key).unwrap());
    }
    store.put(&[7; 65_535], b"1").unwrap();
    store.put(b"a", &value(1, 100_000)).unwrap();
    assert_eq!(store.get(&[7; 65_535]).unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(store.get(b"a").unwrap().unwrap(), value(1, 100_000));
}

#[test]
fn a_walk_gives_each_key_once_and_those_that_come_meanwhile_at_most_once() {
    let options = Options { max_file_size: 100_000, ..small(MemFs::volatile(1)) };
    let store = Bitcask::open(DIR, options).unwrap();
    let key = |number: u32| format!("{number:06}").into_bytes();
    (0..20_000).for_each(|number| store.put(&key(number), &number.to_le_bytes()).unwrap());
    let mut seen = std::collections::BTreeSet::new();
    for (step, record) in store.iter().enumerate() {
        let (found, value) = record.unwrap();
        assert_eq!(
            &value[..4],
            &found[..6].iter().fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0')).to_le_bytes()
        );
        assert!(seen.insert(found));
        if step.is_multiple_of(500) {
            let number = step as u32;
            store.put(&key(number), &[&number.to_le_bytes()[..], b"new"].concat()).unwrap();
            store.put(&key(100_000 + number), &(100_000 + number).to_le_bytes()).unwrap();
            store.merge().unwrap();
        }
    }
    assert!((0..20_000).all(|number| seen.contains(&key(number))));
}

#[test]
fn ranges_come_in_order_whatever_their_bounds() {
    let options = Options { max_file_size: 100_000, ..small(MemFs::volatile(1)) };
    let store: Bitcask<OrderedKeydir> = Bitcask::open_with(DIR, options).unwrap();
    let key = |number: u32| format!("{number:05}").into_bytes();
    for number in (0..9_000).rev() {
        store.put(&key(number), &number.to_le_bytes()).unwrap();
    }
    assert!(store.list_keys().eq((0..9_000).map(key)));
    let found = |lower: Bound<u32>, upper: Bound<u32>| {
        let (lower, upper) = (lower.map(key), upper.map(key));
        let range = KeyRange::new(lower.as_ref().map(Vec::as_slice), upper.as_ref().map(Vec::as_slice));
        let push = |mut all: Vec<u32>, _: &[u8], value: bytes::Bytes| {
            all.push(u32::from_le_bytes(value[..].try_into().unwrap()));
            all
        };
        store.fold_range(range, Vec::new(), push).unwrap()
    };
    use Bound::{Excluded, Included, Unbounded};
    assert_eq!(found(Included(10), Excluded(13)), [10, 11, 12]);
    assert_eq!(found(Excluded(10), Included(13)), [11, 12, 13]);
    assert_eq!(found(Excluded(8_997), Unbounded), [8_998, 8_999]);
    assert_eq!(found(Unbounded, Excluded(2)), [0, 1]);
    assert!(found(Included(100), Included(8_900)).into_iter().eq(100..=8_900));
    for (lower, upper) in [(Excluded(5), Excluded(5)), (Included(6), Included(5)), (Included(5), Excluded(5))] {
        assert_eq!(found(lower, upper), []);
    }
}

/// Both keydirs hold the same, also through growth and removals.
fn keydir_as_a_map<K: Keydir>() {
    let fs = MemFs::volatile(1);
    let store: Bitcask<K> = Bitcask::open_with(DIR, small(fs)).unwrap();
    let mut expected = std::collections::BTreeMap::new();
    for number in 0..3_000u32 {
        let key = (number * 7 % 1_000).to_be_bytes();
        if number % 5 == 4 {
            assert_eq!(store.delete(&key).unwrap(), expected.remove(&key[..]).is_some());
        } else {
            store.put(&key, &number.to_le_bytes()).unwrap();
            expected.insert(key.to_vec(), number.to_le_bytes().to_vec());
        }
    }
    assert_eq!(contents(&store).unwrap(), expected);
    let files = store.status().files;
    let live: u64 = files.iter().map(|file| file.live_records).sum();
    assert_eq!(live, expected.len() as u64);
    assert_eq!(files.iter().map(|file| file.live_bytes).sum::<u64>(), live * vlog::record_len(4, 4));
}

#[test]
fn a_hash_table_and_a_map_hold_the_same() {
    keydir_as_a_map::<HashKeydir>();
    keydir_as_a_map::<OrderedKeydir>();
}

#[test]
fn a_key_that_was_deleted_once_it_had_expired_stays_away_though_the_clock_steps_back() {
    let (fs, clock) = (MemFs::new(1), Arc::new(ManualClock::new(START)));
    let options = Options { clock: clock.clone(), expiry_secs: Some(10), ..small(fs) };
    let store = Bitcask::open(DIR, options.clone()).unwrap();
    store.put(b"a", b"1").unwrap();
    clock.advance(Duration::from_secs(10));
    assert!(!store.delete(b"a").unwrap(), "it had expired");
    store.close().unwrap();
    let earlier = Arc::new(ManualClock::new(START));
    let store = Bitcask::open(DIR, Options { clock: earlier, ..options }).unwrap();
    assert_eq!(store.get(b"a").unwrap(), None);
    assert!(contents(&store).unwrap().is_empty());
}

#[test]
fn a_record_expires_when_it_was_to_when_it_was_written() {
    let (fs, clock) = (MemFs::new(1), Arc::new(ManualClock::new(START)));
    let options = Options { clock: clock.clone(), expiry_secs: Some(10), ..small(fs) };
    let store = Bitcask::open(DIR, options.clone()).unwrap();
    store.put(b"a", b"1").unwrap();
    clock.advance(Duration::from_secs(9));
    store.put(b"b", b"1").unwrap();
    assert_eq!(store.list_keys().count(), 2);
    clock.advance(Duration::from_secs(1));
    assert!(!store.contains_key(b"a") && store.get(b"a").unwrap().is_none());
    assert!(!store.delete(b"a").unwrap(), "what has expired is not there");
    assert_eq!(contents(&store).unwrap().into_keys().collect::<Vec<_>>(), [b"b"]);
    store.close().unwrap();
    let store = Bitcask::open(DIR, Options { expiry_secs: None, ..options }).unwrap();
    store.put(b"c", b"1").unwrap();
    clock.advance(Duration::from_secs(1_000_000));
    assert_eq!(store.list_keys().collect::<Vec<_>>(), [b"c"]);
}

#[test]
fn one_handle_writes_and_any_number_read() {
    let fs = MemFs::new(1);
    let store = open(&fs);
    store.put(b"a", b"1").unwrap();
    let second = Bitcask::open(DIR, small(fs.clone())).unwrap_err();
    assert!(matches!(&second, Error::Locked { path } if *path == support::path("LOCK")), "{second}");
    assert!(second.to_string().contains("read-only"), "{second}");
    let read_only = || Options { read_only: true, ..small(fs.clone()) };
    let readers = [Bitcask::open(DIR, read_only()).unwrap(), Bitcask::open(DIR, read_only()).unwrap()];
    store.put(b"b", b"1").unwrap();
    for reader in readers {
        assert_eq!(contents(&reader).unwrap().into_keys().collect::<Vec<_>>(), [b"a"], "what was there when it opened");
        assert!(matches!(reader.put(b"c", b"1"), Err(Error::ReadOnly { .. })));
        assert!(matches!(reader.delete(b"a"), Err(Error::ReadOnly { .. })));
        assert!(matches!(reader.merge(), Err(Error::ReadOnly { .. })));
        reader.close().unwrap();
    }
    drop(store);
    assert_eq!(open(&fs).list_keys().count(), 2, "the lock goes with its handle");
}

#[test]
fn reading_changes_no_file() {
    let fs = MemFs::new(1);
    drop(open(&fs).put(b"a", b"1"));
    let before = fs.files();
    let watched = vfs::TraceFs::new(Arc::new(fs.clone()), DIR);
    let options = Options { read_only: true, ..small(watched.clone()) };
    let store = Bitcask::open(DIR, options).unwrap();
    assert_eq!(contents(&store).unwrap().len(), 1);
    store.close().unwrap();
    assert_eq!(watched.take_trace().mutations().to_string(), "");
    assert_eq!(fs.files(), before);
}

#[test]
fn a_folder_of_someone_else_is_left_alone() {
    let fs = MemFs::new(1);
    fs.write(&path("notes.txt"), b"mine").unwrap();
    let refused = Bitcask::open(DIR, small(fs.clone())).unwrap_err();
    assert!(matches!(&refused, Error::Foreign { found, .. } if found == "notes.txt"), "{refused}");
    assert!(refused.is_incompatible());
    assert_eq!(names(&fs, ""), ["notes.txt"], "not even a lock was left");
    fs.write(Path::new("/file"), b"").unwrap();
    assert!(matches!(Bitcask::open("/file", small(fs)), Err(Error::InvalidArgument(_))));
}

#[test]
fn a_store_that_is_not_there_is_made_only_where_that_was_asked_for() {
    let fs = MemFs::new(1);
    let options = Options { create_if_missing: false, ..small(fs.clone()) };
    assert!(matches!(Bitcask::open(DIR, options.clone()), Err(Error::Missing { .. })));
    assert!(matches!(Bitcask::open(DIR, Options { read_only: true, ..small(fs.clone()) }), Err(Error::Missing { .. })));
    assert_eq!(fs.metadata(Path::new(DIR)).unwrap(), None);
    fs.create_dir_all(Path::new(DIR)).unwrap();
    assert!(matches!(Bitcask::open(DIR, options.clone()), Err(Error::Missing { .. })));
    assert!(names(&fs, "").is_empty());
    open(&fs).close().unwrap();
    Bitcask::open(DIR, options).unwrap().close().unwrap();
}

#[test]
fn options_that_cannot_be_are_refused_before_anything_is_touched() {
    let fs = MemFs::new(1);
    let refused = Bitcask::open(DIR, Options { max_file_size: 0, ..small(fs.clone()) });
    assert!(matches!(refused, Err(Error::InvalidArgument(_))));
    assert!(fs.files().is_empty());
}

fn batch_as_single_offers<K: Keydir>() {
    let mut rng = base::rng::Rng::new(1);
    let (mut one_by_one, mut at_once) = (K::new(7), K::new(7));
    at_once.reserve(5_000);
    for _ in 0..5 {
        let mut batch = Batch::default();
        let mut expected = std::collections::BTreeMap::new();
        for offset in 0..rng.below(3_000) as u32 {
            let key = vec![7; rng.below(40) as usize];
            let key = [&rng.below(2_000).to_be_bytes()[..], &key].concat();
            let pointer = ValuePointer { segment: SegmentId(1), len: 50, offset };
            let entry = KeydirEntry { pointer, version: rng.below(1_000), expires_at: 0 };
            expected.insert(offset, one_by_one.offer(&key, entry));
            batch.push(&key, entry);
        }
        let mut found = std::collections::BTreeMap::new();
        at_once.offer_all(&batch, |entry, offer| _ = found.insert(entry.pointer.offset, offer));
        assert_eq!(found, expected);
    }
    let all = |keydir: &K| {
        let (mut cursor, mut page) = (K::Cursor::default(), Vec::new());
        while keydir.page(&mut cursor, &mut page) {}
        page.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        assert_eq!(page.len(), keydir.len());
        page
    };
    assert!(one_by_one.len() > 1_000);
    assert_eq!(all(&at_once), all(&one_by_one));
}

#[test]
fn a_batch_does_what_its_offers_do_one_by_one() {
    batch_as_single_offers::<HashKeydir>();
    batch_as_single_offers::<OrderedKeydir>();
}
