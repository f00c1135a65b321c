//! Exit codes, as the README's table has them.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::folder::Folder;
use crate::tree::paths_below;

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
    fs::create_dir(folder.path("leveldb")).unwrap();
    fs::write(folder.path("leveldb/CURRENT"), "MANIFEST-000002\n").unwrap();
    fs::write(folder.path("leveldb/MANIFEST-000002"), "x").unwrap();
    for store in ["photos", "file", "leveldb"] {
        for arguments in [&["get", store, "k"][..], &["put", store, "k", "v"], &["info", store]] {
            folder.ratel(arguments).ends_with(7).says(store);
        }
    }
    assert_eq!(fs::read_dir(folder.path("photos")).unwrap().count(), 1, "nothing was added");
    assert_eq!(fs::read_dir(folder.path("leveldb")).unwrap().count(), 2, "nor here");
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
fn a_result_that_cannot_be_printed_is_an_error_and_what_was_left_out_is_named_before() {
    let folder = Folder::new("cannot_be_printed");
    let left_out = "{\"key\":\"/k\",\"value\":\"v\"}\n{\"key\":\"k\",\"value\":\"v\"}\n";
    folder.ratel_with_input(["import", "store", "--jsonl", "-"], left_out.as_bytes()).ends_with(0);
    fs::create_dir(folder.path("tree")).unwrap();
    let _listener = UnixListener::bind(folder.path("tree/socket")).unwrap();
    for (arguments, named) in [
        (&["export", "store", "--dir", "out"][..], "/k: an absolute path"),
        (&["import", "store", "--dir", "tree"], "socket: a socket"),
        (&["verify", "store"], ""),
        (&["scan", "store"], ""),
        (&["info", "store"], ""),
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = folder.command(arguments).stdout(full).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(8), "{arguments:?}: {errors}");
        assert!(errors.contains(named) && errors.contains("standard output: No space left"), "{arguments:?}: {errors}");

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = folder.command(arguments).stdout(writer).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let code = if named.is_empty() { 0 } else { 4 };
        assert_eq!(output.status.code(), Some(code), "a reader that has gone: {arguments:?}: {errors}");
        assert!(errors.contains(named), "{arguments:?}: {errors}");

        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let status = folder.command(arguments).stderr(full).status().unwrap();
        assert_eq!(status.code(), Some(code), "nowhere to complain: {arguments:?}");
    }
}

#[test]
fn help_and_version_end_with_0() {
    let folder = Folder::new("help_and_version");
    assert!(folder.ratel(["--help"]).ends_with(0).text().contains("Exit codes"));
    assert!(folder.ratel(["--version"]).ends_with(0).text().starts_with("ratel "));
}

#[test]
fn a_damaged_store_ends_with_5_and_names_the_file() {
    let folder = Folder::new("a_damaged_store");
    let value = "v".repeat(5_000);
    folder.ratel_with_input(["import", "store", "--tsv", "-"], format!("a\t1\nb\t{value}\n").as_bytes()).ends_with(0);
    folder.ratel(["verify", "store"]).ends_with(0);
    folder.ratel(["put", "store", "/above", "1"]).ends_with(0);
    for kind in ["sst", "vlog"] {
        let path = largest_file(&folder.path("store"), kind);
        let whole = fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        // In a table the first block comes first; in a segment the value is nearly all there is.
        let place = if kind == "sst" { 0 } else { damaged.len() / 2 };
        damaged[place] ^= 1;
        fs::write(&path, damaged).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        folder.ratel(["verify", "store"]).ends_with(5).says(name);
        if kind == "vlog" {
            let run = folder.ratel(["export", "store", "--dir", "out"]).ends_with(5).says(name);
            run.says("1 key left out").says("/above: an absolute path");
        }
        fs::write(&path, whole).unwrap();
    }
    folder.ratel(["verify", "store"]).ends_with(0);
}

fn largest_file(store: &Path, kind: &str) -> PathBuf {
    let files =
        paths_below(store).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == kind));
    let largest = files.max_by_key(|path| fs::metadata(store.join(path)).unwrap().len());
    store.join(largest.expect("a store with a table and a segment"))
}

#[test]
fn info_tells_what_is_there_and_what_opening_found() {
    let folder = Folder::new("info_tells");
    let value = "v".repeat(5_000);
    folder.ratel_with_input(["import", "store", "--tsv", "-"], format!("a\t1\nb\t{value}\n").as_bytes()).ends_with(0);
    let run = folder.ratel(["info", "store", "--tables"]).ends_with(0);
    for part in ["keyspace default", "in 1 table", "2 entries, a to b", "ended in order", "dropped     0 bytes"] {
        assert!(run.text().contains(part), "{part:?} is missing:\n{}", run.text());
    }
}

#[test]
fn a_benchmark_prints_a_json_object_for_each_workload() {
    let folder = Folder::new("a_benchmark_prints");
    let arguments = ["bench", "fillrandom,readrandom", "--num", "2000", "--json", "--dir", "."];
    let run = folder.ratel(arguments).ends_with(0);
    let lines: Vec<serde_json::Value> = run.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{}", run.text());
    for (line, name) in lines.iter().zip(["fillrandom", "readrandom"]) {
        assert_eq!(line["workload"], name);
        assert_eq!(line["ops"], 2000);
        for figure in FIGURES {
            assert!(line.get(figure).is_some(), "{figure} is missing: {line}");
        }
    }
    assert_eq!(fs::read_dir(folder.path(".")).unwrap().count(), 0, "the store is gone");
    folder.ratel(["bench", "nonsense"]).ends_with(2).says("nonsense");
}

/// What each line has besides the workload's name.
const FIGURES: [&str; 15] = [
    "threads",
    "ops",
    "seconds",
    "ops_per_second",
    "mb_per_second",
    "p50_us",
    "p99_us",
    "p999_us",
    "max_us",
    "bytes_written",
    "write_amplification",
    "space_amplification",
    "cpu_seconds",
    "peak_rss_bytes",
    "peak_anon_bytes",
];
