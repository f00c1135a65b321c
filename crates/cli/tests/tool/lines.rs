//! Entries as text: what `scan` prints, `import` reads.

use std::io::Read as _;
use std::process::Stdio;

use crate::folder::Folder;
use crate::tree::Random;

/// TSV of odd keys and values, in key order.
const ODD: &str = "\\x00\t\n\\t\\n\\\\\tx\\r\\ny\n a \t b \nkey\tvalue\n\\xff\\xfe\t\\x80\n";

#[test]
fn what_scan_prints_import_reads() {
    let folder = Folder::new("what_scan_prints");
    folder.ratel_with_input(["import", "one", "--tsv", "-"], ODD.as_bytes()).ends_with(0);
    let printed = folder.ratel(["scan", "one"]).ends_with(0);
    assert_eq!(printed.text(), ODD);
    let json = folder.ratel(["scan", "one", "--jsonl"]).ends_with(0);
    folder.ratel_with_input(["import", "two", "--jsonl", "-"], &json.stdout).ends_with(0);
    assert_eq!(folder.ratel(["scan", "two"]).ends_with(0).text(), ODD);
}

#[test]
fn json_lines_keep_user_meta_and_bytes() {
    let folder = Folder::new("json_lines_keep");
    let lines = "{\"key_base64\":\"/w==\",\"user_meta\":9,\"value\":\"a\\\"\\u00fc\"}\n";
    folder.ratel_with_input(["import", "store", "--jsonl", "-"], lines.as_bytes()).ends_with(0);
    let printed = folder.ratel(["scan", "store", "--jsonl"]).ends_with(0);
    assert_eq!(printed.text(), "{\"key_base64\":\"/w==\",\"user_meta\":9,\"value\":\"a\\\"\u{fc}\"}\n");
}

#[test]
fn large_values_are_compressed_where_import_is_told_to() {
    let folder = Folder::new("large_values_are_compressed");
    let text: String = (0..20).map(|number| format!("key{number}\t{}\n", "words and words ".repeat(500))).collect();
    let bytes_of_values = |store: &str, options: &[&str]| -> u64 {
        let arguments = [&["import", store, "--tsv", "-"], options].concat();
        folder.ratel_with_input(arguments, text.as_bytes()).ends_with(0);
        let files = std::fs::read_dir(folder.path(store).join("vlog")).unwrap().map(Result::unwrap);
        let segments = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "vlog"));
        segments.map(|file| file.metadata().unwrap().len()).sum()
    };
    let plain = bytes_of_values("plain", &[]);
    for codec in ["snappy", "zstd", "adaptive"] {
        assert!(bytes_of_values(codec, &["--value-compression", codec]) < plain / 5, "{codec}");
        let read = folder.ratel(["scan", codec]).ends_with(0);
        assert_eq!(read.text(), folder.ratel(["scan", "plain"]).ends_with(0).text());
        folder.ratel(["verify", codec]).ends_with(0);
    }
    assert_eq!(bytes_of_values("none", &["--value-compression", "none"]), plain);
}

#[test]
fn any_bytes_survive_the_way_through_text() {
    let folder = Folder::new("any_bytes_survive");
    let mut random = Random::new(7);
    for number in 0..20 {
        let value = random.bytes(number * 50);
        std::fs::write(folder.path("value"), &value).unwrap();
        folder.ratel(["put", "one", &format!("k\\x{number:02x}"), "--file", "value"]).ends_with(0);
    }
    let text = folder.ratel(["scan", "one"]).ends_with(0);
    folder.ratel_with_input(["import", "two", "--tsv", "-"], &text.stdout).ends_with(0);
    for number in [0, 10, 19] {
        let key = format!("k\\x{number:02x}");
        let (one, two) = (folder.ratel(["get", "one", &key]), folder.ratel(["get", "two", &key]));
        assert_eq!(one.ends_with(0).stdout, two.ends_with(0).stdout);
    }
}

#[test]
fn a_scan_shows_the_part_that_is_asked_for() {
    let folder = Folder::new("a_scan_shows");
    folder.ratel_with_input(["import", "store", "--tsv", "-"], b"a\t1\nb/1\t2\nb/2\t3\nb0\t4\nc\t5\n").ends_with(0);
    for (arguments, expected) in [
        (&["--keys-only"][..], "a\nb/1\nb/2\nb0\nc\n"),
        (&["--prefix", "b/"], "b/1\t2\nb/2\t3\n"),
        (&["--prefix", "b\\x2f", "--reverse"], "b/2\t3\nb/1\t2\n"),
        (&["--limit", "2", "--keys-only"], "a\nb/1\n"),
        (&["--limit", "2", "--reverse", "--keys-only"], "c\nb0\n"),
        (&["--limit", "0"], ""),
        (&["--prefix", "d"], ""),
    ] {
        let run = folder.ratel(["scan", "store"].iter().chain(arguments)).ends_with(0);
        assert_eq!(run.text(), expected, "{arguments:?}");
    }
}

#[test]
fn a_bad_line_is_named_and_what_stood_before_it_is_stored() {
    let folder = Folder::new("a_bad_line");
    folder
        .ratel_with_input(["import", "store", "--tsv", "-"], b"a\t1\nb\t2\nbad\nc\t3\n")
        .ends_with(2)
        .says("line 3: ");
    assert_eq!(folder.ratel(["scan", "store"]).ends_with(0).text(), "a\t1\nb\t2\n");
    folder.ratel_with_input(["import", "store", "--jsonl", "-"], b"{\"key\":\"x\"}").ends_with(2).says("line 1: ");
}

#[test]
fn a_key_that_no_store_can_hold_is_left_out_and_named() {
    let folder = Folder::new("a_key_that_no_store");
    let lines = format!("a\t1\n{}\tx\nb\t2\n", "k".repeat(65_536));
    folder.ratel_with_input(["import", "store", "--tsv", "-"], lines.as_bytes()).ends_with(4).says("1 entry left out");
    assert_eq!(folder.ratel(["scan", "store", "--keys-only"]).ends_with(0).text(), "a\nb\n");
}

#[test]
fn what_was_left_out_is_named_when_a_bad_line_ends_the_import() {
    let folder = Folder::new("left_out_and_bad");
    let lines = format!("a\t1\n{}\tx\nbad\n", "k".repeat(65_536));
    let run = folder.ratel_with_input(["import", "store", "--tsv", "-"], lines.as_bytes()).ends_with(2);
    let run = run.says("1 entry left out").says("line 3: ");
    assert!(run.text().starts_with("imported 1 entry"), "{}", run.text());
}

#[test]
fn a_reader_that_stops_early_is_no_error() {
    let folder = Folder::new("a_reader_that_stops");
    let lines: String = (0..20_000).map(|number| format!("key {number}\tvalue of some length {number}\n")).collect();
    folder.ratel_with_input(["import", "store", "--tsv", "-"], lines.as_bytes()).ends_with(0);
    let mut child = folder.command(["scan", "store"]).stdin(Stdio::null()).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut [0; 100]).unwrap();
    drop(output);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert!(ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
}
