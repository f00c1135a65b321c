//! Scans that fetch values ahead: the same items whatever is fetched, nothing that nobody asked for, no more than allowed,
//! and every error where its value is asked for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test panics"
)]

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::rng::Rng;
use engine::{Db, ErrorKind, IoMode, Item, Keyspace, Options, Read, ScanOptions, Txn};
use vfs::{Cause, Fault, FaultFs, FaultPlan, MemFs, Operation, TraceFs, Vfs};

const STORE: &str = "/store";
const VALUE_LEN: usize = 1_000;
const MODES: [IoMode; 2] = [IoMode::Mapped, IoMode::Pread];

type Pair = (Vec<u8>, Vec<u8>);
type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn options(vfs: Arc<dyn Vfs>, io_mode: IoMode) -> Options {
    Options::new().vfs(vfs).io_mode(io_mode).inline_background().value_threshold(100).value_log_file_size(64 << 10)
}

fn key(number: u64) -> Vec<u8> {
    format!("key {number:06}").into_bytes()
}

fn value(number: u64) -> Vec<u8> {
    let mut value = vec![0; VALUE_LEN];
    Rng::new(number).fill(&mut value);
    value
}

/// Keys in the order of their values in the log, or scattered.
fn fill(db: &Db, count: u64, step: u64) {
    for number in 0..count {
        let number = number * step % count;
        db.insert(key(number), value(number)).unwrap();
    }
    db.flush().unwrap();
}

fn pair(item: engine::Result<Item>) -> Pair {
    let (key, value) = item.unwrap().into_pair().unwrap();
    (key.to_vec(), value.to_vec())
}

fn random_value(rng: &mut Rng) -> Vec<u8> {
    let mut value = vec![0; [10, 99, 100, 500, 3_000][rng.below(5) as usize]];
    rng.fill(&mut value);
    value
}

fn change(db: &Db, now: &mut Model, rng: &mut Rng) {
    let key = key(rng.below(60));
    match rng.below(30) {
        0 => db.flush().unwrap(),
        1 => drop(db.compact(.., engine::CompactOptions::new()).unwrap()),
        2..8 => {
            db.remove(&key).unwrap();
            now.remove(&key);
        }
        _ => {
            let value = random_value(rng);
            db.insert(&key, &value).unwrap();
            now.insert(key, value);
        }
    }
}

fn write_own(txn: &mut Txn, seen: &mut Model, rng: &mut Rng) {
    for _ in 0..rng.below(20) {
        let key = key(rng.below(60));
        if rng.one_in(3) {
            txn.remove(key.clone()).unwrap();
            seen.remove(&key);
        } else {
            let value = random_value(rng);
            txn.insert(key.clone(), value.clone()).unwrap();
            seen.insert(key, value);
        }
    }
}

/// Walks from both ends, and a cursor in all directions, over what changes below them.
fn walks_return_what_was_there(seed: u64) {
    let mut rng = Rng::new(seed);
    let db = options(Arc::new(MemFs::new(seed)), MODES[rng.below(2) as usize]).open(STORE).unwrap();
    let mut now = Model::new();
    for _ in 0..150 {
        change(&db, &mut now, &mut rng);
    }
    let (mut txn, mut seen) = (db.begin(), now.clone());
    if rng.one_in(2) {
        write_own(&mut txn, &mut seen, &mut rng);
    }
    let range = key(rng.below(30))..key(30 + rng.below(40));
    seen.retain(|key, _| range.contains(key));
    let reverse = rng.one_in(2);
    let options = ScanOptions::new()
        .range(range)
        .reverse(reverse)
        .prefetch_values([0, 1, 2, 3, 7, 32, usize::MAX][rng.below(7) as usize])
        .prefetch_bytes([0, 50, 2_000, 10_000, u64::MAX][rng.below(5) as usize]);
    let pairs: Vec<Pair> = seen.clone().into_iter().collect();
    let mut left: VecDeque<Pair> =
        if reverse { pairs.iter().rev().cloned().collect() } else { pairs.iter().cloned().collect() };
    let both_ends_after = rng.below(30);
    let (mut iter, mut cursor) = (txn.scan(options.clone()), txn.cursor(options).unwrap());
    // Where the cursor stands among the pairs.
    let mut at: Option<usize> = None;
    for step in 0..120 {
        if rng.one_in(4) {
            change(&db, &mut now, &mut rng);
        }
        if step >= both_ends_after && rng.one_in(4) {
            assert_eq!(iter.next_back().map(pair), left.pop_back());
        } else {
            assert_eq!(iter.next().map(pair), left.pop_front());
        }
        match rng.below(14) {
            0 => {
                let to = key(rng.below(70));
                cursor.seek(&to).unwrap();
                at = if reverse {
                    pairs.partition_point(|(key, _)| *key <= to).checked_sub(1)
                } else {
                    Some(pairs.partition_point(|(key, _)| *key < to)).filter(|at| *at < pairs.len())
                };
            }
            choice => {
                let onwards = choice < 11;
                if onwards { cursor.next() } else { cursor.prev() }.unwrap();
                let up = |at: usize| Some(at + 1).filter(|at| *at < pairs.len());
                at = at.and_then(|at| if onwards == reverse { at.checked_sub(1) } else { up(at) });
            }
        }
        let expected = at.map(|at| &pairs[at]);
        assert_eq!(cursor.key(), expected.map(|(key, _)| &key[..]));
        assert_eq!(cursor.version().is_some(), expected.is_some());
        if rng.one_in(2) {
            assert_eq!(cursor.value_with(<[u8]>::to_vec).unwrap().as_ref(), expected.map(|(_, value)| value));
        } else {
            assert_eq!(cursor.item().unwrap().map(|item| pair(Ok(item))).as_ref(), expected);
        }
    }
}

#[test]
fn what_is_fetched_ahead_changes_nothing_that_a_walk_returns() {
    for seed in 0..150 {
        println!("seed {seed}");
        walks_return_what_was_there(seed);
    }
}

/// More moves than a walk makes over one view, with a store that is replaced below it.
#[test]
fn a_long_scan_goes_on_over_newer_views_with_items_ahead() {
    for io_mode in MODES {
        let db = options(Arc::new(MemFs::new(1)), io_mode).open(STORE).unwrap();
        fill(&db, 3_000, 7);
        let snapshot = db.snapshot();
        let (mut iter, mut cursor) = (snapshot.iter(), snapshot.cursor(ScanOptions::new()).unwrap());
        cursor.rewind().unwrap();
        for number in 0..3_000 {
            if number % 500 == 250 {
                for number in (0..3_000).step_by(3) {
                    db.insert(key(number), b"replaced").unwrap();
                }
                db.flush().unwrap();
                db.compact(.., engine::CompactOptions::new()).unwrap();
            }
            assert_eq!(iter.next().map(pair), Some((key(number), value(number))));
            assert_eq!(cursor.key(), Some(&key(number)[..]));
            assert_eq!(cursor.value().unwrap().unwrap(), value(number));
            cursor.next().unwrap();
        }
        assert!(iter.next().is_none() && cursor.key().is_none());
    }
}

#[test]
fn a_walk_that_asks_for_no_value_reads_none() {
    let faults = FaultFs::over_memory(MemFs::new(1), FaultPlan::none());
    let db = options(Arc::new(faults.clone()), IoMode::Pread).open(STORE).unwrap();
    fill(&db, 200, 7);
    let fault = faults.arm(Fault::on(Operation::Read, Cause::Io).at_suffix(".vlog").forever());
    for all_versions in [false, true] {
        let options = ScanOptions::new().all_versions(all_versions);
        let lens = db.scan(options.clone()).map(|item| item.unwrap().value_len()).sum::<u64>();
        assert_eq!(lens, 200 * VALUE_LEN as u64);
        let mut cursor = db.cursor(options).unwrap();
        cursor.rewind().unwrap();
        let mut keys = 0;
        while cursor.key().is_some() {
            assert_eq!(cursor.item().unwrap().unwrap().value_len(), VALUE_LEN as u64);
            keys += 1;
            cursor.next().unwrap();
        }
        assert_eq!(keys, 200);
    }
    assert_eq!(faults.hits(fault), 0);

    faults.disarm_all();
    let before = faults.count(Operation::Read);
    let mut versions = db.scan(ScanOptions::new().all_versions(true));
    for _ in 0..10 {
        versions.next().unwrap().unwrap().value().unwrap();
    }
    assert_eq!(faults.count(Operation::Read) - before, 10 + reads_of_tables(&faults, &db), "one by one");
}

/// How many reads a walk over ten keys alone takes.
fn reads_of_tables(faults: &FaultFs, db: &Db) -> u64 {
    let before = faults.count(Operation::Read);
    let mut keys = db.iter();
    for _ in 0..10 {
        keys.next().unwrap().unwrap();
    }
    faults.count(Operation::Read) - before
}

#[test]
fn values_that_stand_together_are_read_together_in_whatever_order_they_are_asked_for() {
    let reads = |step: u64, prefetch: usize, reverse: bool| {
        let faults = FaultFs::over_memory(MemFs::new(1), FaultPlan::none());
        let db = options(Arc::new(faults.clone()), IoMode::Pread).open(STORE).unwrap();
        fill(&db, 500, step);
        let before = faults.count(Operation::Read);
        let options = ScanOptions::new().prefetch_values(prefetch).reverse(reverse);
        assert_eq!(db.scan(options).map(pair).count(), 500);
        faults.count(Operation::Read) - before
    };
    for reverse in [false, true] {
        let one_by_one = reads(1, 0, reverse);
        assert!(one_by_one > 500);
        assert!(reads(1, 32, reverse) < one_by_one / 5, "of {one_by_one}");
        assert!(reads(7, 32, reverse) <= one_by_one);
    }
}

#[test]
fn a_scan_reads_ahead_no_more_than_it_may() {
    let trace = TraceFs::counting(Arc::new(MemFs::new(1)));
    let db = options(Arc::new(trace.clone()), IoMode::Pread).open(STORE).unwrap();
    fill(&db, 400, 1);
    let values_read = || trace.bytes_by_extension()["vlog"].read;
    let record = (VALUE_LEN + 100) as u64;
    for (items, bytes) in [(8, 1 << 20), (1_000, 5 * record), (1_000, 10), (0, 1 << 20)] {
        let before = values_read();
        let mut scan = db.scan(ScanOptions::new().prefetch_values(items).prefetch_bytes(bytes));
        for taken in 1..=100 {
            scan.next().unwrap().unwrap().value().unwrap();
            let ahead = (items as u64 * record).min(bytes);
            let read = values_read() - before;
            assert!(read <= taken * record + ahead, "{read} bytes for {taken} items, {ahead} ahead at the most");
        }
        drop(scan);
        let before = values_read();
        assert_eq!(db.scan(ScanOptions::new().limit(3)).map(pair).count(), 3);
        assert!(values_read() - before <= 3 * record, "a limit bounds it too");
    }
}

/// Damages the values of some keys, and says in which file and at which offset.
fn damage(vfs: &MemFs, keys: &[u64]) -> Vec<(PathBuf, usize)> {
    let place = |number: &u64| {
        let wanted = value(*number);
        let segments = vfs.files().into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "vlog"));
        let mut found = segments.filter_map(|path| {
            let bytes = vfs.read(&path).unwrap();
            let at = bytes.windows(wanted.len()).position(|window| window == wanted)?;
            vfs.edit(&path, |bytes| bytes[at + 17] ^= 4).unwrap();
            Some((Path::new("/").join(path), at))
        });
        found.next().unwrap()
    };
    keys.iter().map(place).collect()
}

#[test]
fn a_damaged_value_is_an_error_of_its_own_item_and_of_no_other() {
    for io_mode in MODES {
        let vfs = MemFs::new(1);
        let db = options(Arc::new(vfs.clone()), io_mode).open(STORE).unwrap();
        fill(&db, 100, 7);
        db.close().unwrap();
        let damaged = [30, 31, 77];
        let places = damage(&vfs, &damaged);
        let db = options(Arc::new(vfs), io_mode).open_read_only(STORE).unwrap();
        let check = |number: u64, read: engine::Result<Vec<u8>>| match damaged.iter().position(|it| *it == number) {
            None => assert_eq!(read.unwrap(), value(number)),
            Some(which) => {
                let error = read.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corruption);
                let corruption = error.corruption().unwrap();
                assert_eq!(corruption.path, places[which].0);
                let value_at = places[which].1 as u64;
                assert!((value_at - 60..value_at).contains(&corruption.offset), "{corruption:?}");
            }
        };
        for reverse in [false, true] {
            let mut numbers: Vec<u64> = (0..100).collect();
            if reverse {
                numbers.reverse();
            }
            let mut scan = db.scan(ScanOptions::new().reverse(reverse));
            let mut cursor = db.cursor(ScanOptions::new().reverse(reverse)).unwrap();
            cursor.rewind().unwrap();
            for number in numbers {
                let item = scan.next().unwrap().unwrap();
                assert_eq!(item.key(), key(number));
                check(number, item.value().map(|value| value.to_vec()));
                check(
                    number,
                    cursor.value_with(<[u8]>::to_vec).map(|found| found.expect("the cursor stands on a key")),
                );
                cursor.next().unwrap();
            }
            assert!(scan.next().is_none() && cursor.key().is_none());
        }
    }
}

#[test]
fn what_cannot_be_fetched_ahead_is_read_again_when_it_is_asked_for() {
    let faults = FaultFs::over_memory(MemFs::new(1), FaultPlan::none());
    let db = options(Arc::new(faults.clone()), IoMode::Pread).open(STORE).unwrap();
    fill(&db, 100, 1);
    let mut scan = db.iter();
    assert_eq!(scan.next().map(pair), Some((key(0), value(0))));
    // The first step ahead fails to read; the values that it was for are there all the same, or an error each.
    faults.arm(Fault::on(Operation::Read, Cause::Io).at_suffix(".vlog"));
    assert_eq!(scan.next().map(pair), Some((key(1), value(1))));
    faults.arm(Fault::on(Operation::Read, Cause::Io).at_suffix(".vlog").forever());
    for number in 2..50 {
        let item = scan.next().unwrap().unwrap();
        assert_eq!(item.key(), key(number));
        let error = item.value().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains(".vlog"), "{error}");
    }
    faults.disarm_all();
    for number in 50..100 {
        assert_eq!(scan.next().map(pair), Some((key(number), value(number))));
    }
}

#[test]
fn an_item_that_outlives_its_scan_reads_anew_and_keeps_no_other_value() {
    let faults = FaultFs::over_memory(MemFs::new(1), FaultPlan::none());
    let db = options(Arc::new(faults.clone()), IoMode::Pread).open(STORE).unwrap();
    fill(&db, 100, 1);
    let mut scan = db.iter();
    scan.next().unwrap().unwrap().value().unwrap();
    let items: Vec<Item> = scan.by_ref().take(3).map(Result::unwrap).collect();
    let reads = || faults.count(Operation::Read);
    let before = reads();
    assert_eq!(items[1].value().unwrap(), value(2));
    assert_eq!(reads(), before, "it was fetched");
    drop(scan);
    assert_eq!(items[1].value().unwrap(), value(2));
    assert_eq!(reads(), before + 1, "what was fetched went with the scan");
    drop(db);
    assert_eq!(items[2].value().unwrap(), value(3));
}

#[test]
fn an_error_of_the_walk_comes_behind_the_items_before_it() {
    let faults = FaultFs::over_memory(MemFs::new(1), FaultPlan::none());
    let db = options(Arc::new(faults.clone()), IoMode::Pread).block_size(256).block_cache_size(0).open(STORE).unwrap();
    fill(&db, 300, 7);
    let mut scan = db.scan(ScanOptions::new().read_ahead(false));
    for number in 0..40 {
        assert_eq!(scan.next().map(pair), Some((key(number), value(number))));
    }
    faults.arm(Fault::on(Operation::Read, Cause::Io).at_suffix(".sst").forever());
    let mut given = 40;
    let error = loop {
        match scan.next().unwrap() {
            Ok(item) => assert_eq!(pair(Ok(item)), (key(given), value(given))),
            Err(error) => break error,
        }
        given += 1;
    };
    assert!(error.to_string().contains(".sst"), "{error}");
    assert!(scan.next().is_none() && scan.next_back().is_none());
}

/// The keys that a transaction was given are what it read, not those that were stepped over.
#[test]
fn what_was_stepped_over_is_not_counted_as_read() {
    let db = options(Arc::new(MemFs::new(1)), IoMode::Pread).open(STORE).unwrap();
    fill(&db, 100, 1);
    let conflicts = |changed: u64| {
        let mut txn = db.begin();
        assert_eq!(txn.iter().take(20).map(pair).count(), 20);
        db.insert(key(changed), value(changed)).unwrap();
        txn.insert("own", "").unwrap();
        txn.commit().is_err_and(|error| error.is_conflict())
    };
    assert!(conflicts(19));
    assert!(!conflicts(20), "the next one was stepped over, but not given");
}

#[test]
fn a_closed_store_ends_a_scan_that_has_items_ahead() {
    let db = options(Arc::new(MemFs::new(1)), IoMode::Pread).open(STORE).unwrap();
    fill(&db, 100, 1);
    let handle = db.clone();
    let other: Keyspace = db.keyspace("other", engine::KeyspaceOptions::new()).unwrap();
    let mut scan = handle.iter();
    let mut cursor = handle.cursor(ScanOptions::new()).unwrap();
    cursor.rewind().unwrap();
    for _ in 0..10 {
        scan.next().unwrap().unwrap().value().unwrap();
        cursor.value().unwrap();
        cursor.next().unwrap();
    }
    db.close().unwrap();
    assert_eq!(scan.next().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(cursor.next().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(other.get("x").unwrap_err().kind(), ErrorKind::Closed);
}
