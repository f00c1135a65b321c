//! One key at a time.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use crate::folder::Folder;

#[test]
fn a_value_comes_back_byte_by_byte() {
    let folder = Folder::new("a_value_comes_back");
    folder.ratel(["put", "store", "key", "a\\x00b\\n"]).ends_with(0);
    assert_eq!(folder.ratel(["get", "store", "key"]).ends_with(0).stdout, b"a\0b\n");
    folder.ratel(["put", "store", "key", ""]).ends_with(0);
    assert_eq!(folder.ratel(["get", "store", "key"]).ends_with(0).stdout, b"");
}

#[test]
fn keys_may_be_typed_raw_or_escaped() {
    let folder = Folder::new("keys_may_be_typed");
    let raw = OsStr::from_bytes(b"\xff\xc3\xbc");
    folder.ratel([OsStr::new("put"), OsStr::new("store"), raw, OsStr::new("v")]).ends_with(0);
    assert_eq!(folder.ratel(["get", "store", "\\xff\\xc3\\xbc"]).ends_with(0).stdout, b"v");
    folder.ratel(["put", "store", "--", "-dash", "w"]).ends_with(0);
    assert_eq!(folder.ratel(["get", "store", "--", "-dash"]).ends_with(0).stdout, b"w");
}

#[test]
fn a_value_may_come_from_a_file_or_standard_input() {
    let folder = Folder::new("a_value_may_come");
    let value: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    fs::write(folder.path("file"), &value).unwrap();
    folder.ratel(["put", "store", "file", "--file", "file"]).ends_with(0);
    assert_eq!(folder.ratel(["get", "store", "file"]).ends_with(0).stdout, value);
    folder.ratel_with_input(["put", "store", "input", "--file", "-"], b"raw \\x00").ends_with(0);
    assert_eq!(folder.ratel(["get", "store", "input"]).ends_with(0).stdout, b"raw \\x00");
}

#[test]
fn deleted_keys_are_gone_and_others_stay() {
    let folder = Folder::new("deleted_keys");
    folder.ratel_with_input(["import", "store", "--tsv", "-"], b"a\t1\nb\t2\nc\t3\n").ends_with(0);
    folder.ratel(["del", "store", "a", "c", "never there"]).ends_with(0);
    assert_eq!(folder.ratel(["scan", "store", "--keys-only"]).ends_with(0).text(), "b\n");
    folder.ratel(["get", "store", "a"]).ends_with(3).says("a: there is no such key");
}
