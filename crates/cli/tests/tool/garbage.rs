//! Garbage of the value log: collected, compared and mended.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use crate::folder::Folder;
use crate::tree::paths_below;

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

/// Also where another process reads the store, which keeps whoever writes out.
#[test]
fn a_dry_run_says_what_would_go_and_why_the_store_leaves_it_and_changes_no_file() {
    let folder = overwritten("a_dry_run");
    folder.ratel(["gc", "store", "--discard-ratio", "0.99", "--dry-run"]).ends_with(0);
    let unknown = folder.ratel(["gc", "store", "--dry-run"]).ends_with(0).text().to_owned();
    assert!(unknown.starts_with("would collect 0 segments: 0 B in files, 0 B of them alive and to be"), "{unknown}");
    let folder = tampered("a_dry_run");
    delete(&folder, "copy", "c");
    let before = contents(&folder, "copy");
    let reader = File::open(folder.path("copy/LOCK")).unwrap();
    rustix::fs::flock(&reader, rustix::fs::FlockOperation::LockShared).unwrap();
    let would = folder.ratel(["gc", "copy", "--dry-run"]).ends_with(0).text().to_owned();
    assert_eq!(
        would.lines().collect::<Vec<_>>(),
        [
            "would collect 1 segment: 195.6 KiB in files, 48.9 KiB of them alive and to be written anew",
            "segment      1   195.6 KiB,  75.0 % dead: would be collected; by itself left alone: the whole log has too \
             little garbage",
        ]
    );
    let stays = folder.ratel(["gc", "copy", "--dry-run", "--discard-ratio", "0.8"]).ends_with(0).text().to_owned();
    assert!(stays.starts_with("would collect 0 segments") && stays.contains("% dead: would stay; by"), "{stays}");
    folder.ratel(["gc", "copy", "--dry-run", "--discard-ratio", "0"]).ends_with(2);
    assert!(contents(&folder, "copy") == before, "a dry run has changed a file");
    drop(reader);
    let did = folder.ratel(["gc", "copy"]).ends_with(0).text().to_owned();
    assert!(did.starts_with("collected 1 segment: 195.6 KiB in files, "), "{did}");
}

/// Every file of a store by its name, with what is in it.
fn contents(folder: &Folder, store: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |path: PathBuf| (path.clone(), fs::read(folder.path(store).join(path)).unwrap());
    paths_below(&folder.path(store)).into_iter().map(read).collect()
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

/// Four values in one segment, `a` known to be dead. What a tampered store needs lies beside it: the dead set of a copy that
/// went on and has `b` in it, and the one without.
fn tampered(name: &str) -> Folder {
    let folder = Folder::new(name);
    let line = |key: &str| format!("{key}\t{}\n", key.repeat(50_000));
    let lines: String = ["a", "b", "c", "d"].map(line).concat();
    folder.ratel_with_input(["import", "store", "--tsv", "-"], lines.as_bytes()).ends_with(0);
    delete(&folder, "store", "a");
    fs::copy(dead_set(&folder, "store"), folder.path("a is dead")).unwrap();
    let copied = Command::new("cp").arg("-r").arg(folder.path("store")).arg(folder.path("copy")).status().unwrap();
    assert!(copied.success());
    delete(&folder, "copy", "b");
    fs::copy(dead_set(&folder, "copy"), folder.path("a and b are dead")).unwrap();
    folder
}

/// Deletes a key, and has the tree say that its value is dead.
fn delete(folder: &Folder, store: &str, key: &str) {
    folder.ratel(["del", store, key]).ends_with(0);
    let collected = folder.ratel(["gc", store, "--discard-ratio", "0.99"]).ends_with(0).text().to_owned();
    assert!(collected.starts_with("collected 0 segments"), "{collected}");
}

fn dead_set(folder: &Folder, store: &str) -> PathBuf {
    folder.path(store).join("vlog/000001.dead")
}

fn assert_values_of(folder: &Folder, store: &str, keys: &[&str]) {
    for key in keys {
        assert_eq!(folder.ratel(["get", store, key]).ends_with(0).text(), key.repeat(50_000));
    }
    folder.ratel(["verify", store]).ends_with(0);
}

/// Runs a command and compares what it counts of what differs.
#[track_caller]
fn finds(folder: &Folder, command: &str, store: &str, code: i32, found: &str) {
    let text = folder.ratel(["vlog", command, store]).ends_with(code).text().to_owned();
    assert!(text.contains(found), "{found:?} is not in {text:?}");
}

const EXACT: &str = "0 leaked (0 B), 0 in danger (0 B); 0 entries without a value";

#[test]
fn a_dead_value_that_the_dead_set_misses_is_told_with_its_bytes_and_a_rebuild_adds_it() {
    let folder = tampered("a_dead_value_missed");
    fs::copy(folder.path("a is dead"), dead_set(&folder, "copy")).unwrap();
    let leaked = "compared 4 values: 2 alive, 1 dead, 1 leaked (48.9 KiB), 0 in danger (0 B)";
    // Nothing is lost by that.
    finds(&folder, "check", "copy", 0, leaked);
    finds(&folder, "rebuild", "copy", 0, leaked);
    finds(&folder, "check", "copy", 0, "compared 4 values: 2 alive, 2 dead, ");
    finds(&folder, "check", "copy", 0, EXACT);
    assert_eq!(
        fs::read(dead_set(&folder, "copy")).unwrap().len(),
        fs::read(folder.path("a and b are dead")).unwrap().len()
    );
    assert_values_of(&folder, "copy", &["c", "d"]);
}

#[test]
fn a_live_value_that_the_dead_set_names_ends_with_5_and_a_rebuild_saves_it() {
    let folder = tampered("a_live_value_named");
    fs::copy(folder.path("a and b are dead"), dead_set(&folder, "store")).unwrap();
    let endangered = "compared 4 values: 2 alive, 1 dead, 0 leaked (0 B), 1 in danger (48.9 KiB)";
    finds(&folder, "check", "store", 5, endangered);
    folder
        .ratel(["vlog", "check", "store"])
        .ends_with(5)
        .says("values are in danger or lost")
        .says("ratel vlog rebuild");
    finds(&folder, "rebuild", "store", 0, endangered);
    finds(&folder, "check", "store", 0, "compared 4 values: 3 alive, 1 dead, ");
    finds(&folder, "check", "store", 0, EXACT);
    let collected = folder.ratel(["gc", "store", "--discard-ratio", "0.1"]).ends_with(0).text().to_owned();
    assert!(collected.starts_with("collected 1 segment"), "{collected}");
    assert_values_of(&folder, "store", &["b", "c", "d"]);
}

#[test]
fn a_value_that_was_collected_though_it_lived_is_told_as_lost_and_no_rebuild_ends_with_0() {
    let folder = tampered("a_value_collected");
    fs::copy(folder.path("a and b are dead"), dead_set(&folder, "store")).unwrap();
    folder.ratel(["gc", "store", "--discard-ratio", "0.1"]).ends_with(0);
    finds(&folder, "check", "store", 5, "0 in danger (0 B); 1 entry without a value");
    finds(&folder, "rebuild", "store", 5, "0 in danger (0 B); 1 entry without a value");
    folder.ratel(["get", "store", "b"]).ends_with(5);
}

#[test]
fn a_dead_set_that_is_damaged_or_gone_ends_with_5_and_a_rebuild_makes_it_anew() {
    let folder = tampered("a_damaged_dead_set");
    for remove in [false, true] {
        let dead_set = dead_set(&folder, "store");
        let whole = fs::read(&dead_set).unwrap();
        if remove {
            fs::remove_file(&dead_set).unwrap();
        } else {
            fs::write(&dead_set, &whole[..whole.len() - 1]).unwrap();
        }
        for command in [&["get", "store", "b"][..], &["vlog", "check", "store"], &["put", "store", "e", "f"]] {
            folder.ratel(command).ends_with(5).says("000001.dead").says("; `ratel vlog rebuild` makes anew");
        }
        let rebuilt = folder.ratel(["vlog", "rebuild", "store"]).ends_with(0).says("000001.dead").text().to_owned();
        assert!(rebuilt.contains("3 alive, 0 dead, 1 leaked (48.9 KiB), 0 in danger"), "{rebuilt}");
        finds(&folder, "check", "store", 0, "compared 4 values: 3 alive, 1 dead, ");
        assert_eq!(fs::read(&dead_set).unwrap().len(), whole.len());
        assert_values_of(&folder, "store", &["b", "c", "d"]);
    }
}
