//! Memory is bounded by the largest value, whatever there is of entries: the kernel refuses the tool more than it needs.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Stdio};

use crate::folder::{Folder, difference};

/// Memory of its own that the tool may have in all; less than it is given to store.
const LIMIT_MIB: u64 = 256;
const FILE_MIB: u64 = 16;
const FILES: u64 = 24;

/// The tool, with memory of its own up to the limit.
fn limited(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let limited = format!("ulimit -d {} && exec \"$0\" \"$@\"", LIMIT_MIB << 10);
    command.args(["-c", &limited, env!("CARGO_BIN_EXE_ratel")]).args(arguments).current_dir(folder.path("."));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[track_caller]
fn ends_with(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {:?} {errors}", output.status);
    errors
}

fn make_file(folder: &Folder, name: &str, mib: u64) {
    // Nothing but a length: it reads as zeros and takes no room.
    File::create(folder.path(name)).unwrap().set_len(mib << 20).unwrap();
}

#[test]
fn a_folder_larger_than_memory_goes_in_and_out() {
    let folder = Folder::new("larger_than_memory");
    fs::create_dir(folder.path("tree")).unwrap();
    for number in 0..FILES {
        make_file(&folder, &format!("tree/{number}"), FILE_MIB);
    }
    const { assert!(FILES * FILE_MIB > LIMIT_MIB) };
    ends_with(&mut limited(&folder, &["import", "store", "--dir", "tree"]), 0);
    ends_with(&mut limited(&folder, &["verify", "store"]), 0);
    ends_with(&mut limited(&folder, &["export", "store", "--dir", "out"]), 0);
    assert_eq!(difference(&folder.path("tree"), &folder.path("out")), "");
}

#[test]
fn the_limit_is_one_and_a_file_over_it_is_left_out() {
    let folder = Folder::new("a_file_over_it");
    fs::create_dir(folder.path("tree")).unwrap();
    make_file(&folder, "tree/huge", LIMIT_MIB);
    fs::write(folder.path("tree/small"), "stored").unwrap();
    let errors = ends_with(&mut limited(&folder, &["import", "store", "--dir", "tree"]), 4);
    assert!(errors.contains("huge: ") && errors.contains("memory"), "{errors}");
    assert_eq!(folder.ratel(["scan", "store"]).ends_with(0).text(), "small\tstored\n");
}

#[test]
fn a_list_of_cut_names_may_be_larger_than_memory() {
    let folder = Folder::new("a_list_of_cut_names");
    let mut import = folder.command(["import", "store", "--tsv", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = import.stdin.take().unwrap();
    // Each byte of them takes four in the list.
    let (key, keys) = ("\u{1}".repeat(65_000), 1_100);
    for number in 0..keys {
        writeln!(input, "{number}{key}\t").unwrap();
    }
    drop(input);
    assert!(import.wait().unwrap().success());
    ends_with(&mut limited(&folder, &["export", "store", "--dir", "out", "--escape"]), 0);
    let list = fs::metadata(folder.path("out/~keys.tsv")).unwrap().len();
    assert!(list > LIMIT_MIB << 20, "{list}");
    assert_eq!(fs::read_dir(folder.path("out")).unwrap().count(), keys + 1);
}
