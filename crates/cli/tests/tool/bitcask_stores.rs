//! Bitcask stores: listed, read and merged while they are closed.

use std::fs;

use bitcask::{Bitcask, MergeWindow, Options};

use crate::folder::Folder;

/// A store of five keys, each written ten times, of which one is deleted.
fn fill(folder: &Folder) -> Bitcask {
    let options = Options { max_file_size: 50_000, merge_window: MergeWindow::Never, ..Options::default() };
    let store = Bitcask::open(folder.path("store"), options).unwrap();
    for round in 0..10u8 {
        for key in ["a", "b", "c", "d\n", "e"] {
            store.put(key.as_bytes(), &vec![round; 10_000]).unwrap();
        }
    }
    assert!(store.delete(b"e").unwrap());
    store
}

fn size(folder: &Folder) -> u64 {
    fs::read_dir(folder.path("store")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn a_merge_gives_back_what_is_dead_and_leaves_the_rest() {
    let folder = Folder::new("a_merge_gives_back");
    fill(&folder).close().unwrap();
    let before = size(&folder);
    let said = folder.ratel(["bitcask", "merge", "store"]).ends_with(0);
    assert!(said.text().contains("46 records dead"), "{}", said.text());
    assert!(size(&folder) < before / 5, "{} of {before}", size(&folder));
    let mut keys: Vec<String> =
        folder.ratel(["bitcask", "list", "store"]).ends_with(0).text().lines().map(str::to_owned).collect();
    keys.sort();
    assert_eq!(keys, ["a", "b", "c", "d\\n"]);
    assert_eq!(folder.ratel(["bitcask", "get", "store", "d\\n"]).ends_with(0).stdout, [9; 10_000]);
    folder.ratel(["bitcask", "get", "store", "e"]).ends_with(3).says("there is no such key");
    let again = folder.ratel(["bitcask", "merge", "store", "--if-needed"]).ends_with(0);
    assert!(again.text().contains("looked at 0 files"), "{}", again.text());
}

#[test]
fn a_store_that_is_open_for_writing_can_be_read_and_not_merged() {
    let folder = Folder::new("a_store_that_is_open");
    let store = fill(&folder);
    folder.ratel(["bitcask", "merge", "store"]).ends_with(6).says("open for writing elsewhere");
    assert_eq!(folder.ratel(["bitcask", "list", "store"]).ends_with(0).text().lines().count(), 4);
    store.close().unwrap();
}

#[test]
fn what_is_no_bitcask_store_is_refused_and_left_alone() {
    let folder = Folder::new("what_is_no_bitcask");
    folder.ratel(["bitcask", "merge", "nowhere"]).ends_with(7).says("there is no store");
    assert!(!folder.path("nowhere").exists());
    folder.ratel(["put", "store", "key", "value"]).ends_with(0);
    folder.ratel(["bitcask", "merge", "store"]).ends_with(7).says("not a Bitcask store");
    folder.ratel(["get", "store", "key"]).ends_with(0);
    fs::write(folder.path("file"), "").unwrap();
    folder.ratel(["bitcask", "list", "file"]).ends_with(7);
}

#[test]
fn a_damaged_store_is_told_by_its_code_and_a_lost_hint_file_by_its_name() {
    let folder = Folder::new("a_damaged_bitcask");
    fill(&folder).close().unwrap();
    fs::remove_file(folder.path("store/000001.hint")).unwrap();
    folder.ratel(["bitcask", "list", "store"]).ends_with(0).says("000001.hint");
    let file = folder.path("store/000002.vlog");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    folder.ratel(["bitcask", "list", "store"]).ends_with(5).says("000002.vlog");
}
