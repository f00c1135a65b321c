//! A store whose last user was killed: every command says what it dropped.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::folder::Folder;

#[test]
fn every_command_tells_what_opening_dropped() {
    let folder = Folder::new("tells_what_opening_dropped");
    fs::create_dir(folder.path("tree")).unwrap();
    let store = folder.path("torn");
    kill_an_import(&folder);
    tear_the_last_log(&store);
    let commands: [&[&str]; 8] = [
        &["info", "store"],
        &["get", "store", "first"],
        &["scan", "store", "--keys-only"],
        &["verify", "store"],
        &["export", "store", "--dir", "out"],
        &["put", "store", "k", "v"],
        &["del", "store", "k"],
        &["import", "store", "--dir", "tree"],
    ];
    for arguments in commands {
        let copied = Command::new("cp").arg("-r").arg(&store).arg(folder.path("store")).status().unwrap();
        assert!(copied.success());
        folder.ratel(arguments).ends_with(0).says(".wal: dropped ").says(" from offset ");
        fs::remove_dir_all(folder.path("store")).unwrap();
    }
}

/// Leaves a store with a synced entry, and a log with a batch of larger ones that was not synced.
fn kill_an_import(folder: &Folder) {
    folder.ratel(["put", "torn", "first", "1"]).ends_with(0);
    let mut import = folder.command(["import", "torn", "--tsv", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = import.stdin.take().unwrap();
    // What is read beyond a batch's worth is only read once the batch is committed.
    let line = format!("key\t{}\n", "v".repeat(1 << 20));
    for _ in 0..6 {
        input.write_all(line.as_bytes()).unwrap();
    }
    import.kill().unwrap();
    import.wait().unwrap();
}

/// Damages the last byte that was written.
fn tear_the_last_log(store: &Path) {
    let logs = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
    let last = logs.filter(|path| path.extension().is_some_and(|extension| extension == "wal")).max().unwrap();
    let mut bytes = fs::read(&last).unwrap();
    *bytes.iter_mut().rfind(|byte| **byte != 0).unwrap() ^= 1;
    fs::write(last, bytes).unwrap();
}
