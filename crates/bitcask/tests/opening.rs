//! What an open reads, and what it makes of hint files that are gone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bitcask::{Bitcask, KeyRange, Keydir, KeydirEntry, Offer, Options, OrderedKeydir, Page};
use support::{DIR, contents, names, open, path, small, value};
use vfs::{MemFs, TraceFs, Vfs};

/// The share of a store with values of 1 KiB that an open may read.
const READ_PERCENT_MAX: u64 = 6;

/// A store of 20,000 keys of 16 bytes and values of 1 KiB, closed.
fn large() -> (MemFs, Options) {
    let fs = MemFs::volatile(1);
    let options = Options { max_file_size: 4 << 20, ..small(fs.clone()) };
    let store = Bitcask::open(DIR, options.clone()).unwrap();
    let value = value(1, 1 << 10);
    (0..20_000u128).for_each(|number| store.put(&number.to_be_bytes(), &value).unwrap());
    store.close().unwrap();
    (fs, options)
}

#[test]
fn an_open_reads_at_most_six_percent_of_a_store() {
    let (fs, options) = large();
    let traced = TraceFs::counting(Arc::new(fs));
    let store = Bitcask::open(DIR, Options { vfs: Arc::new(traced.clone()), ..options }).unwrap();
    assert_eq!(store.status().keys, 20_000);
    let bytes: u64 = store.status().files.iter().map(|file| file.bytes).sum();
    let found = traced.bytes();
    println!("read {} of {bytes} bytes", found.read);
    assert_eq!(found.mapped, 0, "nothing is read uncounted");
    assert!(found.read * 100 <= bytes * READ_PERCENT_MAX, "{found:?} of {bytes}");
    assert!(found.read * 100 > bytes, "keys have to be read: {found:?}");
}

#[test]
fn without_hint_files_the_records_are_read_and_a_writer_makes_the_hints_anew() {
    let fs = MemFs::new(1);
    let store = open(&fs);
    for number in 0..100u32 {
        store.put(&number.to_be_bytes(), &value(1, 100)).unwrap();
    }
    (0..50u32).for_each(|number| assert!(store.delete(&number.to_be_bytes()).unwrap()));
    store.close().unwrap();
    open(&fs).merge().unwrap();
    let store = open(&fs);
    let expected = contents(&store).unwrap();
    store.close().unwrap();
    let hints = names(&fs, ".hint");
    assert!(!hints.is_empty());
    let originals: Vec<Vec<u8>> = hints.iter().map(|name| fs.read(&path(name)).unwrap()).collect();
    hints.iter().for_each(|name| fs.remove_file(&path(name)).unwrap());
    let reader = Bitcask::open(DIR, Options { read_only: true, ..small(fs.clone()) }).unwrap();
    assert_eq!(contents(&reader).unwrap(), expected);
    assert_eq!(reader.recovery().lost_hints.len(), hints.len());
    assert!(names(&fs, ".hint").is_empty(), "a reader writes nothing");
    let store = open(&fs);
    assert_eq!(contents(&store).unwrap(), expected);
    assert_eq!(store.recovery().lost_hints.len(), hints.len());
    store.close().unwrap();
    let payload = |bytes: &[u8]| bytes[112..bytes.len() - 4].to_vec();
    for (name, original) in hints.iter().zip(&originals) {
        let anew = fs.read(&path(name)).unwrap();
        assert_eq!(anew.len(), original.len(), "{name}");
        assert_eq!(payload(&anew)[..30], payload(original)[..30], "{name}");
    }
    let store = open(&fs);
    assert!(store.recovery().lost_hints.is_empty());
    assert_eq!(contents(&store).unwrap(), expected);
}

#[test]
fn a_hint_file_with_any_byte_changed_is_not_believed() {
    let fs = MemFs::new(1);
    let store = open(&fs);
    store.put(b"a", b"1").unwrap();
    store.put(b"b", b"2").unwrap();
    store.put(b"a", b"3").unwrap();
    store.delete(b"b").unwrap();
    store.put(b"c", b"4").unwrap();
    let expected = contents(&store).unwrap();
    store.close().unwrap();
    let [name] = &names(&fs, ".hint")[..] else { panic!("one hint file") };
    let whole = fs.read(&path(name)).unwrap();
    for at in 0..whole.len() {
        // A format version that is newer is refused, as it should be.
        if (8..12).contains(&at) {
            continue;
        }
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs.write(&path(name), bytes).unwrap();
        let store = Bitcask::open(DIR, Options { read_only: true, ..small(fs.clone()) }).unwrap();
        assert_eq!(contents(&store).unwrap(), expected, "byte {at}");
        assert_eq!(store.recovery().lost_hints, [path(name)], "byte {at}");
        let live: u64 = store.status().files.iter().map(|file| file.live_records).sum();
        assert_eq!(live, 2, "byte {at}");
    }
}

/// Notes for how many keys room was made.
#[derive(Debug)]
struct Reserving(OrderedKeydir);

static RESERVED: AtomicUsize = AtomicUsize::new(0);

impl Keydir for Reserving {
    type Cursor = KeyRange;
    const IS_ORDERED: bool = true;

    fn new(seed: u64) -> Self {
        Self(OrderedKeydir::new(seed))
    }
    fn reserve(&mut self, keys: usize) {
        RESERVED.fetch_add(keys, Ordering::Relaxed);
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn find(&self, key: &[u8]) -> Option<KeydirEntry> {
        self.0.find(key)
    }
    fn offer(&mut self, key: &[u8], entry: KeydirEntry) -> Offer {
        self.0.offer(key, entry)
    }
    fn remove(&mut self, key: &[u8]) -> Option<KeydirEntry> {
        self.0.remove(key)
    }
    fn page(&self, cursor: &mut KeyRange, page: &mut Page) -> bool {
        self.0.page(cursor, page)
    }
}

#[test]
fn room_is_made_for_no_more_keys_than_the_hint_file_can_hold() {
    let fs = MemFs::volatile(1);
    let options = Options { max_file_size: 4 << 20, read_only: true, ..small(fs.clone()) };
    let store = Bitcask::open(DIR, Options { read_only: false, ..options.clone() }).unwrap();
    (0..10_000u32).for_each(|number| store.put(&number.to_be_bytes(), b"").unwrap());
    store.close().unwrap();
    let reserved = || {
        let store: Bitcask<Reserving> = Bitcask::open_with(DIR, options.clone()).unwrap();
        assert_eq!(store.status().keys, 10_000);
        RESERVED.swap(0, Ordering::Relaxed)
    };
    assert_eq!(reserved(), 10_000);
    let [name] = &names(&fs, ".hint")[..] else { panic!("one hint file") };
    // The manifest says what it said before.
    fs.edit(&path(name), |bytes| bytes.truncate(vlog::HEADER_LEN + 160)).unwrap();
    assert_eq!(reserved(), 10);
    fs.remove_file(&path(name)).unwrap();
    assert_eq!(reserved(), 0);
}

#[test]
fn a_torn_tail_is_cut_and_reported_with_its_place() {
    let fs = MemFs::new(1);
    let store = open(&fs);
    store.put(b"a", b"1").unwrap();
    store.put(b"b", &value(1, 500)).unwrap();
    drop(store);
    let [name] = &names(&fs, ".vlog")[..] else { panic!("one file") };
    let end = vlog::HEADER_LEN as u64 + vlog::record_len(1, 1) + vlog::record_len(1, 500);
    fs.edit(&path(name), |bytes| bytes.truncate(end as usize - 1)).unwrap();
    let store = open(&fs);
    let [tail] = &store.recovery().torn_tails[..] else { panic!("{:?}", store.recovery()) };
    assert_eq!((&tail.path, tail.offset), (&path(name), vlog::HEADER_LEN as u64 + vlog::record_len(1, 1)));
    assert!(tail.dropped_bytes > 500 && !tail.cause.is_empty(), "{tail:?}");
    assert_eq!(store.list_keys().collect::<Vec<_>>(), [b"a"]);
    store.put(b"c", b"1").unwrap();
    store.close().unwrap();
    let store = open(&fs);
    assert!(store.recovery().torn_tails.is_empty());
    assert_eq!(store.list_keys().count(), 2);
}

#[test]
fn an_open_that_finds_all_in_order_writes_nothing() {
    let fs = MemFs::new(1);
    let store = open(&fs);
    store.put(b"a", b"1").unwrap();
    store.close().unwrap();
    let traced = TraceFs::new(Arc::new(fs), DIR);
    Bitcask::open(DIR, small(traced.clone())).unwrap().close().unwrap();
    // The names that it found are made durable before anything rests on them.
    assert_eq!(traced.take_trace().mutations().to_string(), "sync directory .\n");
}
