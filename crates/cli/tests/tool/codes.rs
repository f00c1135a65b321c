//! Exit codes, as the README's table has them.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::folder::Folder;

#[test]
fn wrong_arguments_end_with_2() {
    let folder = Folder::new("wrong_arguments");
    let wrong: [&[&str]; 12] = [
        &[],
        &["nonsense"],
        &["get", "store"],
        &["import", "store"],
        &["import", "store", "--dir", "a", "--tsv", "b"],
        &["import", "store", "--dir", "a", "--compression", "best"],
        &["put", "store", "key"],
        &["put", "store", "key", "value", "--file", "f"],
        &["put", "store", "\\q", "value"],
        &["put", "store", "", "value"],
        &["del", "store"],
        &["scan", "store", "--limit", "x"],
    ];
    for arguments in wrong {
        folder.ratel(arguments).ends_with(2);
    }
    assert!(!folder.path("store").exists(), "none of them made a store");
}

#[test]
fn no_store_ends_with_7_and_makes_none() {
    let folder = Folder::new("no_store");
    let commands: [&[&str]; 6] = [
        &["get", "store", "k"],
        &["scan", "store"],
        &["del", "store", "k"],
        &["info", "store"],
        &["verify", "store"],
        &["export", "store", "--dir", "out"],
    ];
    for arguments in commands {
        folder.ratel(arguments).ends_with(7).says("store");
    }
    assert!(!folder.path("store").exists());
}

#[test]
fn a_folder_or_file_of_another_program_is_left_alone() {
    let folder = Folder::new("another_program");
    fs::create_dir(folder.path("photos")).unwrap();
    fs::write(folder.path("photos/one.jpg"), "x").unwrap();
    fs::write(folder.path("file"), "x").unwrap();
    for store in ["photos", "file"] {
        for arguments in [&["get", store, "k"][..], &["put", store, "k", "v"], &["info", store]] {
            let run = folder.ratel(arguments);
            assert!([1, 7].contains(&run.code), "{run:?}");
        }
    }
    assert_eq!(fs::read_dir(folder.path("photos")).unwrap().count(), 1, "nothing was added");
    assert_eq!(fs::read(folder.path("file")).unwrap(), b"x");
}

#[test]
fn a_store_that_is_open_elsewhere_ends_with_6() {
    let folder = Folder::new("open_elsewhere");
    let mut holder = folder.command(["import", "store", "--tsv", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = holder.stdin.take().unwrap();
    // A batch's worth is committed while the input is still open: from then on the store is surely open.
    let line = format!("key\t{}\n", "v".repeat(1 << 20));
    for _ in 0..6 {
        input.write_all(line.as_bytes()).unwrap();
    }
    folder.ratel(["put", "store", "k", "v"]).ends_with(6);
    folder.ratel(["get", "store", "key"]).ends_with(6);
    drop(input);
    assert_eq!(holder.wait_with_output().unwrap().status.code(), Some(0));
    folder.ratel(["put", "store", "k", "v"]).ends_with(0);
}

#[test]
fn help_and_version_end_with_0() {
    let folder = Folder::new("help_and_version");
    assert!(folder.ratel(["--help"]).ends_with(0).text().contains("Exit codes"));
    assert!(folder.ratel(["--version"]).ends_with(0).text().starts_with("ratel "));
}
