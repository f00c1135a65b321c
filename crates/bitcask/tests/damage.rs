//! Each file of a store cut at every length, and with each byte changed: an error that names a file, or a prefix of the
//! writes with a report; never other data.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use bitcask::{Bitcask, Options};
use support::{DIR, History, contents, path, small, value};
use vfs::{CrashMode, MemFs, Vfs};

/// A store with a merged file, sealed ones, and one that was left open; what was written to it.
fn fixture() -> (MemFs, History) {
    let fs = MemFs::new(1);
    let options = Options { max_file_size: 300, small_file_threshold: 0, ..small(fs.clone()) };
    let mut history = History::default();
    let store = Bitcask::open(DIR, options.clone()).unwrap();
    let mut put = |store: &Bitcask, key: u8, number: u64| {
        let value = value(number, 30);
        history.push(&[key], Some(&value));
        store.put(&[key], &value).unwrap();
    };
    (0..12u8).for_each(|number| put(&store, number % 5, u64::from(number)));
    store.merge().unwrap();
    (12..20u8).for_each(|number| put(&store, number % 7, u64::from(number)));
    history.push(&[2], None);
    store.delete(&[2]).unwrap();
    drop(store);
    (fs, history)
}

/// Opens a damaged store. Returns whether that was an error. Of the file that was left open nobody knows how far it went.
fn check(fs: &MemFs, history: &History, what: &str, left_open: bool) -> bool {
    let options = Options { read_only: true, ..small(fs.clone()) };
    let found =
        Bitcask::open(DIR, options).and_then(|store| contents(&store).map(|found| (found, store.recovery().clone())));
    match found {
        Err(error) => {
            assert!(error.is_corruption() || error.is_incompatible(), "{what}: {error}");
            assert!(error.to_string().contains(DIR), "{what}: {error} names no file");
            true
        }
        Ok((found, recovery)) => {
            let writes = history.find(&found, 0..=history.0.len()).unwrap_or_else(|| panic!("{what}: not a prefix"));
            let is_whole = writes == history.0.len() || found == history.state(history.0.len());
            assert!(is_whole || left_open || !recovery.torn_tails.is_empty(), "{what}: lost without a word");
            false
        }
    }
}

#[test]
fn no_byte_can_change_and_no_file_be_cut_unnoticed() {
    let (whole, history) = fixture();
    let newest = support::names(&whole, ".vlog").pop().unwrap();
    let (mut errors, mut prefixes) = (0, 0);
    let mut count = |is_error| if is_error { errors += 1 } else { prefixes += 1 };
    for entry in whole.list(std::path::Path::new(DIR)).unwrap() {
        let name = entry.name.to_str().unwrap().to_owned();
        let bytes = whole.read(&path(&name)).unwrap();
        let fs = whole.crash_image(CrashMode::KeepAll, 1);
        // Space allocated ahead is all alike.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let left_open = name == newest;
        for len in 0..used {
            fs.write(&path(&name), &bytes[..len]).unwrap();
            count(check(&fs, &history, &format!("{name} cut to {len}"), left_open));
        }
        for at in 0..used {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            fs.write(&path(&name), changed).unwrap();
            count(check(&fs, &history, &format!("{name} changed at {at}"), false));
        }
        let gone = whole.crash_image(CrashMode::KeepAll, 1);
        gone.remove_file(&path(&name)).unwrap();
        if name != "LOCK" {
            count(check(&gone, &history, &format!("{name} gone"), left_open));
        }
    }
    base::show!("bitcask damage: {errors} refused, {prefixes} opened as a prefix");
    assert!(errors > 1_000 && prefixes > 100);
}
