//! What has expired leaves the store by itself: the entry, its value in the value log, and the file that held it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;
use std::time::Duration;

use base::clock::ManualClock;
use engine::{
    CompactOptions, Db, Entry, ErrorKind, GcPolicy, KeyspaceOptions, Options, Read, ScanOptions, VerifyOptions,
};
use vfs::MemFs;

const KEYS: u64 = 400;
const VALUE_LEN: usize = 4 << 10;
const TTL: Duration = Duration::from_hours(1);

fn options(clock: &Arc<ManualClock>) -> Options {
    let clock = Arc::<ManualClock>::clone(clock);
    Options::new().clock(clock).memtable_size(256 << 10).value_log_file_size(256 << 10)
}

fn value(key: u64) -> Vec<u8> {
    let mut value = vec![key as u8; VALUE_LEN];
    value[..8].copy_from_slice(&key.to_be_bytes());
    value
}

/// Every second key expires.
fn fill(db: &Db, keys: std::ops::Range<u64>) {
    for key in keys {
        let entry = Entry::new(key.to_be_bytes(), value(key));
        db.insert_entry(if key % 2 == 0 { entry.ttl(TTL) } else { entry }).unwrap();
    }
    db.flush().unwrap();
}

fn assert_living(db: &impl Read, keys: u64, is_living: impl Fn(u64) -> bool) {
    for key in 0..keys {
        let expected = is_living(key).then(|| value(key));
        assert_eq!(db.get(key.to_be_bytes()).unwrap().as_deref(), expected.as_deref(), "key {key}");
    }
}

fn living_records(db: &Db) -> u64 {
    db.gc().status().segments.iter().map(|segment| segment.records - segment.dead_records).sum()
}

fn wait_until(mut what: impl FnMut() -> bool) {
    while !what() {
        std::thread::yield_now();
    }
}

#[test]
fn values_that_expire_at_any_level_die_without_a_call() {
    for levels in 0..3 {
        let clock = Arc::new(ManualClock::new(1_000));
        let db = options(&clock).gc(GcPolicy::Manual).inline_background().open_in_memory().unwrap();
        for level in 0..levels {
            fill(&db, 0..KEYS);
            if level == 0 {
                db.compact(.., CompactOptions::new()).unwrap();
            }
        }
        fill(&db, 0..KEYS);
        clock.advance(TTL);
        db.insert("another", "").unwrap();
        db.flush().unwrap();
        let expired = db.versions(0_u64.to_be_bytes()).filter(|item| item.as_ref().unwrap().is_separated()).count();
        assert_eq!(expired, 0, "{levels} below: the entry stays, as a tombstone at most");
        assert_living(&db, KEYS, |key| key % 2 == 1);
        // What the entries hide is hidden still.
        db.compact(.., CompactOptions::new()).unwrap();
        assert_living(&db, KEYS, |key| key % 2 == 1);
        assert_eq!(living_records(&db), KEYS / 2, "{levels} below");
        assert_eq!(db.scan(ScanOptions::new().all_versions(true)).count() as u64, 1 + KEYS / 2);
        db.verify(VerifyOptions::new()).unwrap();
    }
}

#[test]
fn what_expires_later_is_left_alone() {
    let clock = Arc::new(ManualClock::new(1_000));
    let db = options(&clock).inline_background().open_in_memory().unwrap();
    fill(&db, 0..KEYS);
    db.compact(.., CompactOptions::new()).unwrap();
    let before = db.metrics().background.compactions;
    clock.advance(TTL - Duration::from_secs(1));
    db.insert("another", "").unwrap();
    db.flush().unwrap();
    assert_eq!(db.metrics().background.compactions, before);
    assert_living(&db, KEYS, |_| true);
}

#[test]
fn a_snapshot_keeps_what_expired_under_it_and_with_it_the_space_comes_back() {
    let clock = Arc::new(ManualClock::new(1_000));
    let db = options(&clock).open_in_memory().unwrap();
    fill(&db, 0..KEYS);
    let snapshot = db.snapshot();
    clock.advance(TTL);
    db.insert("another", "").unwrap();
    db.flush().unwrap();
    assert_living(&db, KEYS, |key| key % 2 == 1);
    assert_living(&snapshot, KEYS, |_| true);
    // Compactors are told of what stands in their way when they next look.
    db.compact(.., CompactOptions::new()).unwrap();
    assert_living(&snapshot, KEYS, |_| true);
    assert_eq!(living_records(&db), KEYS);
    drop(snapshot);
    wait_until(|| living_records(&db) == KEYS / 2);
    assert_living(&db, KEYS, |key| key % 2 == 1);
}

/// Each reader that comes has gone only after the next has come.
#[test]
fn readers_that_overlap_do_not_keep_what_expired_before_they_came() {
    let clock = Arc::new(ManualClock::new(1_000));
    let db = options(&clock).open_in_memory().unwrap();
    fill(&db, 0..KEYS);
    db.insert("another", "").unwrap();
    // All are of one version.
    let first = db.snapshot();
    clock.advance(TTL);
    // Wakes the compactors, whom the reader stops.
    db.flush().unwrap();
    let mut reader = db.snapshot();
    drop(first);
    wait_until(|| {
        reader = db.snapshot();
        living_records(&db) == KEYS / 2
    });
    assert_living(&reader, KEYS, |key| key % 2 == 1);
}

#[test]
fn a_table_that_cannot_be_read_is_left_as_it_is_and_in_nobodys_way() {
    let (clock, fs) = (Arc::new(ManualClock::new(1_000)), MemFs::new(1));
    let options = || options(&clock).gc(GcPolicy::Manual).inline_background().vfs(Arc::new(fs.clone()));
    let db = options().open("/store").unwrap();
    fill(&db, 0..KEYS);
    let tables =
        |fs: &MemFs| fs.files().into_iter().filter(|path| path.extension().is_some_and(|found| found == "sst"));
    let damaged: Vec<_> = tables(&fs).collect();
    db.close().unwrap();
    for path in &damaged {
        fs.edit(path, |bytes| bytes[100] ^= 1).unwrap();
    }
    let db = options().open("/store").unwrap();
    let other = db.keyspace("other", KeyspaceOptions::new()).unwrap();
    for key in 0..KEYS {
        other.insert_entry(Entry::new(key.to_be_bytes(), value(key)).ttl(TTL)).unwrap();
    }
    db.flush().unwrap();
    clock.advance(TTL);
    let failures = db.metrics().background.background_failures;
    for round in 0..10_u64 {
        other.insert(format!("another {round}"), "").unwrap();
        db.flush().unwrap();
    }
    assert_eq!(db.metrics().background.background_failures - failures, damaged.len() as u64, "once for each");
    assert!(damaged.iter().all(|path| fs.files().contains(path)));
    assert_eq!(other.versions(0_u64.to_be_bytes()).filter(|item| item.as_ref().unwrap().is_separated()).count(), 0);
    assert_eq!(db.get(1_u64.to_be_bytes()).unwrap_err().kind(), ErrorKind::Corruption);
}

/// By the machine's clock: nobody does anything while the time goes by.
#[test]
fn an_idle_store_gives_up_what_expires() {
    let db = Options::new().memtable_size(256 << 10).value_log_file_size(256 << 10).open_in_memory().unwrap();
    for key in 0..KEYS {
        db.insert_entry(Entry::new(key.to_be_bytes(), value(key)).ttl(Duration::from_secs(1))).unwrap();
    }
    db.flush().unwrap();
    wait_until(|| living_records(&db) == 0);
    assert_living(&db, KEYS, |_| false);
}

/// A day of data that live for an hour each takes the space of little more than an hour.
#[test]
fn ever_new_data_that_expire_take_bounded_space() {
    let clock = Arc::new(ManualClock::new(1_000));
    let db = options(&clock).inline_background().open_in_memory().unwrap();
    let an_hour = KEYS * VALUE_LEN as u64;
    let (mut written, mut most) = (0_u64, 0);
    for minute in 0..24 * 60_u64 {
        for key in written..(minute + 1) * KEYS / 60 {
            // Without an order in time.
            let key_bytes = key.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            db.insert_entry(Entry::new(key_bytes, value(key)).ttl(TTL)).unwrap();
        }
        written = (minute + 1) * KEYS / 60;
        clock.advance(Duration::from_secs(60));
        if minute % 10 == 9 {
            db.flush().unwrap();
            most = most.max(db.gc().status().total_bytes);
        }
    }
    assert!(most < 2 * an_hour, "{most} of {an_hour}");
    let entries = db.scan(ScanOptions::new().all_versions(true)).count() as u64;
    println!(
        "at most {most} bytes of values, {entries} entries in the end, for {an_hour} bytes and {KEYS} entries an hour"
    );
    assert!(entries < 2 * KEYS, "{entries} entries of {KEYS}");
}
