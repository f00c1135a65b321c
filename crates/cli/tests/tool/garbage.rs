//! Garbage of the value log: collected, compared and mended.

use std::fs;

use crate::folder::Folder;

/// Two values that were overwritten and two that were not, a segment for every run of the tool.
fn overwritten(name: &str) -> Folder {
    let folder = Folder::new(name);
    for (key, byte) in [("a", b'1'), ("b", b'2'), ("a", b'3'), ("b", b'4'), ("c", b'5')] {
        fs::write(folder.path("value"), vec![byte; 50_000]).unwrap();
        folder.ratel(["put", "store", key, "--file", "value"]).ends_with(0);
    }
    folder
}

fn assert_values(folder: &Folder) {
    for (key, byte) in [("a", b'3'), ("b", b'4'), ("c", b'5')] {
        assert_eq!(folder.ratel(["get", "store", key]).ends_with(0).stdout, vec![byte; 50_000]);
    }
    folder.ratel(["verify", "store"]).ends_with(0);
}

fn value_log_bytes(folder: &Folder) -> u64 {
    let entries = fs::read_dir(folder.path("store/vlog")).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn what_was_overwritten_is_collected() {
    let folder = overwritten("what_was_overwritten");
    let before = value_log_bytes(&folder);
    let collected = folder.ratel(["gc", "store"]).ends_with(0).text().to_owned();
    assert!(collected.starts_with("collected 2 segments"), "{collected}");
    assert!(value_log_bytes(&folder) + 90_000 < before);
    assert_values(&folder);
    let nothing = folder.ratel(["gc", "store"]).ends_with(0).text().to_owned();
    assert!(nothing.starts_with("collected 0 segments"), "{nothing}");
    folder.ratel(["gc", "store", "--discard-ratio", "1.5"]).ends_with(2);
}

#[test]
fn what_leaked_is_found_and_mended() {
    let folder = overwritten("what_leaked");
    let exact = folder.ratel(["vlog", "check", "store"]).ends_with(0).text().to_owned();
    assert!(exact.contains("0 leaked"), "{exact}");
    let rebuilt = folder.ratel(["vlog", "rebuild", "store"]).ends_with(0).text().to_owned();
    assert!(rebuilt.contains("0 leaked"), "{rebuilt}");
    assert_values(&folder);
}
