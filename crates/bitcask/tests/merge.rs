//! What a merge takes away, what it must leave, and when it starts by itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use base::ValuePointer;
use base::clock::ManualClock;
use bitcask::{Bitcask, MergeReport, MergeWindow, Options};
use support::{DIR, START, contents, log_of, names, open, small, value};
use vfs::{Cause, Fault, FaultFs, FaultPlan, MemFs, Operation};

/// Keys with versions of all records that are not dead, oldest first.
fn alive(fs: &MemFs) -> Vec<(String, u64, ValuePointer)> {
    let log = log_of(fs);
    let mut all = Vec::new();
    for of in log.statistics() {
        let dead = log.dead_set(of.segment).unwrap();
        let mut entries = log.entries(of.segment).unwrap();
        while let Some(entry) = entries.next().unwrap() {
            if !dead.contains(entry.position) {
                let key = String::from_utf8(entry.key.user_key.to_vec()).unwrap();
                all.push((key, entry.key.version, entry.pointer));
            }
        }
    }
    all.sort_by_key(|(_, version, _)| *version);
    all
}

fn versions(fs: &MemFs) -> Vec<(String, u64)> {
    alive(fs).into_iter().map(|(key, version, _)| (key, version)).collect()
}

/// Files of one record each.
fn single(fs: &MemFs) -> Options {
    Options { max_file_size: 1, small_file_threshold: 0, ..small(fs.clone()) }
}

#[test]
fn what_is_dead_goes_and_what_lives_stays() {
    let fs = MemFs::new(1);
    let store = open(&fs);
    for round in 0..5u64 {
        for key in 0..40u64 {
            store.put(&key.to_be_bytes(), &value(key * 10 + round, 60)).unwrap();
        }
    }
    (0..10u64).for_each(|key| assert!(store.delete(&key.to_be_bytes()).unwrap()));
    let expected = contents(&store).unwrap();
    store.close().unwrap();
    let store = open(&fs);
    let before: u64 = store.status().files.iter().map(|file| file.bytes).sum();
    let report = store.merge().unwrap();
    // All but 30, and the newest record of all, which is a tombstone.
    assert_eq!(report.dead_records, 5 * 40 + 10 - 30 - 1);
    let after: u64 = store.status().files.iter().map(|file| file.bytes).sum();
    assert_eq!(report.freed_bytes, before - after);
    assert!(after < before / 4, "{after} of {before}");
    assert_eq!(contents(&store).unwrap(), expected);
    assert_eq!(store.merge().unwrap().dead_records, 0);
    store.close().unwrap();
    assert_eq!(contents(&open(&fs)).unwrap(), expected);
}

#[test]
fn a_merge_of_a_store_in_order_does_nothing() {
    let fs = MemFs::new(1);
    let store = Bitcask::open(DIR, Options { small_file_threshold: 0, ..small(fs.clone()) }).unwrap();
    assert_eq!(store.merge().unwrap(), MergeReport::default());
    (0..50u32).for_each(|key| store.put(&key.to_be_bytes(), &value(1, 100)).unwrap());
    assert_eq!(store.merge().unwrap(), MergeReport::default());
}

#[test]
fn small_files_become_one() {
    let fs = MemFs::new(1);
    let options = Options { max_file_size: 10_000, ..small(fs.clone()) };
    for key in 0..20u32 {
        let store = Bitcask::open(DIR, options.clone()).unwrap();
        store.put(&key.to_be_bytes(), &value(1, 100)).unwrap();
        store.close().unwrap();
    }
    let store = Bitcask::open(DIR, options).unwrap();
    assert_eq!(store.status().files.len(), 20);
    store.merge().unwrap();
    assert_eq!(store.status().files.len(), 1);
    assert_eq!(names(&fs, ".vlog").len(), 1);
    assert_eq!(contents(&store).unwrap().len(), 20);
    let file = store.status().files[0];
    store.merge().unwrap();
    assert_eq!(store.status().files, [file], "once");
}

#[test]
fn merged_files_stay_within_the_limit_of_files() {
    let fs = MemFs::new(1);
    let options = Options { max_file_size: 5_000, ..small(fs.clone()) };
    let store = Bitcask::open(DIR, options).unwrap();
    (0..200u32).for_each(|key| store.put(&key.to_be_bytes(), &value(1, 300)).unwrap());
    (0..200u32).step_by(3).for_each(|key| assert!(store.delete(&key.to_be_bytes()).unwrap()));
    store.merge().unwrap();
    assert!(store.status().files.iter().all(|file| file.bytes <= 5_000), "{:?}", store.status().files);
    assert_eq!(contents(&store).unwrap().len(), 133);
}

#[test]
fn what_cannot_be_moved_keeps_nothing_else_from_being_moved() {
    let memory = MemFs::new(1);
    let fs = FaultFs::over_memory(memory.clone(), FaultPlan::none());
    let store = Bitcask::open(DIR, Options { max_file_size: 5_000, ..small(fs.clone()) }).unwrap();
    (0..200u32).for_each(|key| store.put(&key.to_be_bytes(), &value(1, 300)).unwrap());
    (0..200u32).step_by(3).for_each(|key| assert!(store.delete(&key.to_be_bytes()).unwrap()));
    let before = names(&memory, ".vlog");
    let fault = fs.arm(Fault::on(Operation::Create, Cause::NoSpace).at_suffix(".vlog.tmp"));
    assert!(store.merge().unwrap_err().is_no_space());
    assert_eq!(fs.hits(fault), 1);
    let left = names(&memory, ".vlog").into_iter().filter(|name| before.contains(name)).count();
    assert!(left < 5 && before.len() > 10, "{left} of {}", before.len());
    assert_eq!(contents(&store).unwrap().len(), 133);
}

/// The bug of many a Bitcask: a tombstone is merged away while an older file still has the key.
#[test]
fn a_deleted_key_does_not_come_back_though_its_tombstone_is_merged_and_its_record_is_not() {
    let fs = MemFs::new(1);
    // The record is in a file that no merge picks; the tombstone is in one that triggers.
    let options = Options {
        max_file_size: 1_000,
        frag_threshold: 100,
        dead_bytes_threshold: 1 << 40,
        small_file_threshold: 0,
        ..small(fs.clone())
    };
    let store = Bitcask::open(DIR, options.clone()).unwrap();
    store.put(b"zombie", b"alive").unwrap();
    store.put(b"keep-1", &value(1, 800)).unwrap();
    store.delete(b"zombie").unwrap();
    store.put(b"x", &value(2, 800)).unwrap();
    store.put(b"x", &value(3, 900)).unwrap();
    store.close().unwrap();
    for _ in 0..3 {
        let store = Bitcask::open(DIR, Options { merge_window: MergeWindow::Always, ..options.clone() }).unwrap();
        store.put(b"roll", &value(4, 900)).unwrap();
        store.put(b"roll", &value(4, 901)).unwrap();
        assert_eq!(store.get(b"zombie").unwrap(), None);
        store.close().unwrap();
        assert_eq!(open(&fs).get(b"zombie").unwrap(), None);
    }
    assert!(versions(&fs).iter().all(|(key, _)| key != "zombie"), "{:?}", versions(&fs));
}

#[test]
fn a_tombstone_goes_after_what_it_hides_and_not_before() {
    let fs = MemFs::new(1);
    let store = Bitcask::open(DIR, single(&fs)).unwrap();
    store.put(b"a", b"1").unwrap();
    store.delete(b"a").unwrap();
    store.put(b"b", b"1").unwrap();
    store.close().unwrap();
    assert_eq!(versions(&fs), [("a".to_owned(), 1), ("a".to_owned(), 2), ("b".to_owned(), 3)]);
    // A death of the tombstone alone is what would bring the key back: this is what the merge must not do.
    let tombstone = alive(&fs)[1].2;
    let planted = fs.crash_image(vfs::CrashMode::KeepAll, 1);
    log_of(&planted).mark_dead(&[tombstone]).unwrap();
    assert!(open(&planted).contains_key(b"a"), "the planted fault shows");
    let store = Bitcask::open(DIR, single(&fs)).unwrap();
    store.merge().unwrap();
    store.close().unwrap();
    assert_eq!(versions(&fs), [("b".to_owned(), 3)]);
    assert_eq!(names(&fs, ".vlog"), ["000003.vlog"]);
}

#[test]
fn a_record_that_expired_hides_what_is_older_until_both_are_gone() {
    let (fs, clock) = (MemFs::new(1), Arc::new(ManualClock::new(START)));
    let options = Options { clock: clock.clone(), ..single(&fs) };
    let store = Bitcask::open(DIR, options.clone()).unwrap();
    store.put(b"a", b"for ever").unwrap();
    store.close().unwrap();
    let store = Bitcask::open(DIR, Options { expiry_secs: Some(10), ..options.clone() }).unwrap();
    store.put(b"a", b"for a while").unwrap();
    store.put(b"b", b"for a while").unwrap();
    store.put(b"c", b"newest").unwrap();
    store.close().unwrap();
    clock.advance(Duration::from_secs(11));
    let store = Bitcask::open(DIR, Options { expiry_grace_time: 5, ..options.clone() }).unwrap();
    assert!(contents(&store).unwrap().is_empty());
    assert_eq!(store.merge().unwrap().dead_records, 1, "in grace, only what was replaced is dead");
    assert_eq!(store.status().keys, 3);
    store.close().unwrap();
    assert_eq!(versions(&fs).len(), 3);
    let store = Bitcask::open(DIR, options.clone()).unwrap();
    assert_eq!(store.merge().unwrap().dead_records, 2);
    assert_eq!(store.status().keys, 1, "the keydir forgets them, all but the newest record");
    store.close().unwrap();
    assert_eq!(versions(&fs), [("c".to_owned(), 4)]);
}

#[test]
fn no_version_is_used_twice_though_the_newest_record_is_a_tombstone() {
    let fs = MemFs::new(1);
    for round in 0..4u64 {
        let store = open(&fs);
        store.put(b"a", b"1").unwrap();
        store.delete(b"a").unwrap();
        store.close().unwrap();
        open(&fs).merge().unwrap();
        assert_eq!(versions(&fs), [("a".to_owned(), 2 * round + 2)]);
    }
}

#[test]
fn what_superseded_a_record_is_durable_before_it_dies() {
    let fs = MemFs::new(1);
    let store = Bitcask::open(DIR, Options { max_file_size: 200, ..small(fs.clone()) }).unwrap();
    store.put(b"a", b"old").unwrap();
    store.sync().unwrap();
    store.put(b"fill", &value(1, 200)).unwrap();
    // In a file that is written to still, and that nobody has synced.
    store.put(b"a", b"new").unwrap();
    let lost = fs.crash_image(vfs::CrashMode::DropUnsynced, 1);
    assert_eq!(open(&lost).get(b"a").unwrap().as_deref(), Some(&b"old"[..]));
    store.merge().unwrap();
    let image = fs.crash_image(vfs::CrashMode::DropUnsynced, 1);
    assert_eq!(open(&image).get(b"a").unwrap().as_deref(), Some(&b"new"[..]));
}

#[test]
fn a_reader_that_began_before_a_merge_reads_on() {
    let fs = MemFs::new(1);
    let store = open(&fs);
    (0..50u32).for_each(|key| store.put(&key.to_be_bytes(), &value(u64::from(key), 100)).unwrap());
    let mut walk = store.iter();
    let first = walk.next().unwrap().unwrap();
    (0..50u32).for_each(|key| store.put(&key.to_be_bytes(), b"new").unwrap());
    store.merge().unwrap();
    let rest: Vec<_> = walk.map(Result::unwrap).collect();
    assert_eq!(rest.len(), 49);
    for (key, found) in rest.iter().chain([&first]) {
        let number = u32::from_be_bytes(key[..].try_into().unwrap());
        assert_eq!(found, &value(u64::from(number), 100), "its page was copied before");
    }
    assert!(names(&fs, ".vlog").len() > store.status().files.len(), "what the walk held is there");
    store.merge().unwrap();
    assert_eq!(names(&fs, ".vlog").len(), store.status().files.len(), "what nobody holds is removed");
}

#[test]
fn a_merge_starts_by_itself_where_a_trigger_and_the_window_say_so() {
    let fs = MemFs::new(1);
    let clock = Arc::new(ManualClock::new(START - START % 86_400 + 12 * 3_600));
    let options = Options {
        max_file_size: 3_000,
        merge_window: MergeWindow::Hours { from: 2, to: 4 },
        clock: clock.clone(),
        ..small(fs)
    };
    let store = Bitcask::open(DIR, options).unwrap();
    let write = |rounds: u64| {
        (0..rounds * 50).for_each(|number| store.put(&(number % 10).to_be_bytes(), &value(number, 100)).unwrap());
    };
    write(4);
    assert!(store.needs_merge());
    let files = store.status().files.len();
    assert!(files > 5, "at noon nothing is merged");
    clock.advance(Duration::from_secs(15 * 3_600));
    write(1);
    assert!(store.status().files.len() <= 3, "at three it is: {:?}", store.status().files);
    assert_eq!(contents(&store).unwrap().len(), 10);
}

#[test]
fn everything_that_expired_calls_for_a_merge() {
    let (fs, clock) = (MemFs::new(1), Arc::new(ManualClock::new(START)));
    let options = Options { clock: clock.clone(), expiry_secs: Some(60), ..small(fs) };
    let store = Bitcask::open(DIR, options).unwrap();
    (0..60u32).for_each(|key| store.put(&key.to_be_bytes(), &value(1, 100)).unwrap());
    assert!(!store.needs_merge());
    clock.advance(Duration::from_secs(61));
    assert!(store.needs_merge());
    store.merge().unwrap();
    assert!(!store.needs_merge());
    let files = store.status().files;
    assert_eq!(files.len(), 1, "the one that is written to: {files:?}");
}

/// Nobody writes, so nothing but the interval has anyone look.
#[test]
fn what_expires_while_nobody_writes_is_merged_at_the_next_look() {
    let (fs, clock) = (MemFs::new(1), Arc::new(ManualClock::new(START)));
    let options = Options { clock: clock.clone(), expiry_secs: Some(60), ..small(fs) };
    let store = Bitcask::open(DIR, options.clone()).unwrap();
    (0..60u32).for_each(|key| store.put(&key.to_be_bytes(), &value(1, 100)).unwrap());
    store.close().unwrap();
    let options = Options {
        background: true,
        merge_window: MergeWindow::Always,
        merge_check_interval: Duration::from_millis(1),
        ..options
    };
    let store = Bitcask::open(DIR, options).unwrap();
    assert!(!store.needs_merge() && store.status().files.len() > 3);
    clock.advance(Duration::from_secs(61));
    while store.status().files.len() > 1 {
        base::thread::yield_now();
    }
    assert_eq!(store.list_keys().count(), 0);
}
