//! Files of two moments in one folder, as copying leaves them where a merge goes on meanwhile: what one of them says of
//! records that another does not have makes the folder be refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::Arc;

use bitcask::{Bitcask, Options};
use support::{DIR, log_of, log_on, names, path, small};
use vfs::{Cause, CrashMode, Fault, FaultFs, FaultPlan, MemFs, Operation, Vfs};

/// Files of one record each.
fn single(fs: &MemFs) -> Options {
    Options { max_file_size: 1, small_file_threshold: 0, ..small(fs.clone()) }
}

fn image(fs: &MemFs) -> MemFs {
    fs.crash_image(CrashMode::KeepAll, 1)
}

/// The newer folder with one file of the older one.
fn mixed(newer: &MemFs, older: &MemFs, name: &str) -> MemFs {
    let mixed = image(newer);
    mixed.write(&path(name), older.read(&path(name)).unwrap()).unwrap();
    mixed
}

fn assert_refused(fs: &MemFs, name: &str) {
    for read_only in [true, false] {
        let error = Bitcask::open(DIR, Options { read_only, ..single(fs) }).unwrap_err();
        assert!(error.is_corruption() && error.to_string().contains(name), "{name}: {error}");
    }
}

/// Two writes of a key in one file and its tombstone in another: moments before a mark, after it, and after that of the
/// tombstone.
fn marked() -> [MemFs; 3] {
    let fs = MemFs::new(1);
    let store = Bitcask::open(DIR, Options { max_file_size: 200, ..single(&fs) }).unwrap();
    store.put(b"key", b"1").unwrap();
    store.put(b"key", b"2").unwrap();
    store.put(b"other", &[7; 200]).unwrap();
    store.delete(b"key").unwrap();
    store.put(b"newest", &[7; 200]).unwrap();
    store.close().unwrap();
    let log = log_of(&fs);
    let pointers = |id: u32| {
        let mut entries = log.entries(base::SegmentId(id)).unwrap();
        std::iter::from_fn(|| entries.next().unwrap().map(|entry| entry.pointer)).collect::<Vec<_>>()
    };
    let (writes, tombstone) = (pointers(1), pointers(3));
    assert_eq!((writes.len(), tombstone.len()), (2, 1));
    log.mark_dead(&writes[..1]).unwrap();
    let first = image(&fs);
    log.mark_dead(&writes[1..]).unwrap();
    let second = image(&fs);
    log.mark_dead(&tombstone).unwrap();
    [first, second, image(&fs)]
}

#[test]
fn a_dead_set_from_before_that_of_a_tombstone_is_refused() {
    let [first, second, third] = marked();
    // The last one's file is gone where the tombstone was collected, too.
    assert_refused(&mixed(&third, &first, "000001.dead"), "000001.dead");
    // Before that what it hid may be alive in an older set.
    let before = mixed(&second, &first, "000001.dead");
    for whole in [&first, &second, &third, &before] {
        assert!(!Bitcask::open(DIR, single(whole)).unwrap().contains_key(b"key"));
    }
}

#[test]
fn a_dead_set_that_is_newer_than_the_manifest_is_refused() {
    let [first, second, third] = marked();
    assert_refused(&mixed(&second, &first, "VLOG-MANIFEST"), "000001.dead");
    assert_refused(&mixed(&third, &second, "VLOG-MANIFEST"), "000003.dead");
    assert_refused(&mixed(&third, &first, "VLOG-MANIFEST"), ".dead");
}

/// The run that wrote the dead set did not live to say so in the manifest.
#[test]
fn a_dead_set_that_was_written_last_is_listed_before_a_tombstone_dies() {
    let fs = MemFs::new(1);
    let store = Bitcask::open(DIR, single(&fs)).unwrap();
    store.put(b"key", b"1").unwrap();
    store.delete(b"key").unwrap();
    store.put(b"newest", b"1").unwrap();
    store.close().unwrap();
    let before = image(&fs);
    let faults = FaultFs::over_memory(fs.clone(), FaultPlan::none());
    let pointer = |id: u32| log_of(&before).entries(base::SegmentId(id)).unwrap().next().unwrap().unwrap().pointer;
    // The first manifest says what is to come, the second that it has.
    faults.arm(Fault::on(Operation::Rename, Cause::NoSpace).at_suffix("VLOG-MANIFEST.tmp").nth(2));
    log_on(&fs, Arc::new(faults)).mark_dead(&[pointer(1)]).unwrap_err();
    assert!(names(&fs, ".dead").contains(&"000001.dead".to_owned()));
    // What died is not found again, and so not marked again.
    log_of(&fs).mark_dead(&[pointer(2)]).unwrap();
    fs.remove_file(&path("000001.dead")).unwrap();
    assert_refused(&fs, "000001.dead");
}

/// The writer is another run by then, which has sealed the file that was copied while it was written to.
#[test]
fn a_manifest_that_has_left_out_what_the_copy_has_no_successor_of_is_refused() {
    let fs = MemFs::new(1);
    let store = Bitcask::open(DIR, single(&fs)).unwrap();
    store.put(b"key", b"1").unwrap();
    store.put(b"other", b"1").unwrap();
    drop(store);
    // The file of the newest write goes on.
    let store = Bitcask::open(DIR, Options { max_file_size: 2_000, ..single(&fs) }).unwrap();
    store.put(b"another", b"1").unwrap();
    let copied = names(&fs, ".vlog").pop().unwrap();
    let short = fs.read(&path(&copied)).unwrap();
    store.put(b"key", b"2").unwrap();
    store.close().unwrap();
    let store = Bitcask::open(DIR, single(&fs)).unwrap();
    assert_eq!(store.merge().unwrap().dead_records, 1);
    store.close().unwrap();
    let copy = image(&fs);
    copy.write(&path(&copied), short).unwrap();
    for kind in ["hint", "dead"] {
        let _ = copy.remove_file(&path(&copied.replace("vlog", kind)));
    }
    assert_refused(&copy, &copied);
}
