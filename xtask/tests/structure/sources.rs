//! House rules of source files.

use std::fs;

use crate::workspace::{TextFile, packages, tracked_files};

/// Lines of a file, tests included.
const FILE_LINES_MAX: usize = 800;

/// Crates that may hold `unsafe` code, and what for.
const UNSAFE_CRATES: [(&str, &str); 4] = [
    ("memtable", "the arena of the list"),
    ("vfs", "mapped files"),
    ("schema", "generated accessors"),
    ("bench", "calls into the C library of a peer, behind a feature"),
];

#[test]
fn every_file_opens_with_what_it_is() {
    let without: Vec<String> =
        sources().iter().filter(|file| !opens_with_docs(&file.text)).map(|file| file.path.clone()).collect();
    assert!(without.is_empty(), "no module documentation at the top of:\n{}", without.join("\n"));
}

fn opens_with_docs(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.next().is_some_and(|line| line.starts_with("//!") || line.starts_with("#![doc"))
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<String> = sources().iter().filter_map(too_long).collect();
    assert!(long.is_empty(), "over {FILE_LINES_MAX} lines:\n{}", long.join("\n"));
}

fn too_long(file: &TextFile) -> Option<String> {
    let lines = file.text.lines().count();
    (lines > FILE_LINES_MAX).then(|| format!("{}: {lines}", file.path))
}

#[test]
fn sources_are_ascii() {
    let mut found = Vec::new();
    for file in sources() {
        let lines = file.text.lines().enumerate().filter(|(_, line)| !line.is_ascii());
        found.extend(lines.map(|(number, line)| format!("{}:{}: {line}", file.path, number + 1)));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn unsafe_code_is_forbidden_where_it_is_not_named() {
    for package in packages().values().filter(|package| package.is_member) {
        let excepted = UNSAFE_CRATES.iter().any(|(name, _)| *name == package.name);
        for root in &package.roots {
            let forbids = fs::read_to_string(root).unwrap().contains("#![forbid(unsafe_code)]");
            assert!(forbids || excepted, "{}: unsafe code is not forbidden in {}", package.name, root.display());
        }
    }
}

#[test]
fn no_file_speaks_of_the_machine_it_was_written_on() {
    let mut found = Vec::new();
    for file in tracked_files() {
        found.extend(foreign_words(&file.text).into_iter().map(|place| format!("{}:{place}", file.path)));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Put together from halves, so that this file does not hold them.
fn forbidden_words() -> [String; 8] {
    [
        ["/wo", "rk/"].concat(),
        ["/tmp/", "ratel"].concat(),
        ["/ro", "ot/"].concat(),
        ["INVAR", "IANTS"].concat(),
        ["DESI", "GN.md"].concat(),
        ["STY", "LE.md"].concat(),
        ["to", "do!("].concat(),
        ["unimple", "mented!("].concat(),
    ]
}

fn foreign_words(text: &str) -> Vec<String> {
    let words = forbidden_words();
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for word in &words {
            // A path inside another is nobody's machine.
            let starts =
                |at: usize| !line[..at].ends_with(|before: char| before.is_alphanumeric() || "._-".contains(before));
            if line.match_indices(word.as_str()).any(|(at, _)| starts(at)) {
                found.push(format!("{}: {word}", number + 1));
            }
        }
    }
    found
}

fn sources() -> Vec<TextFile> {
    tracked_files().into_iter().filter(|file| file.is_rust() && !file.is_generated()).collect()
}

#[test]
fn planted_faults_are_found() {
    assert!(opens_with_docs("\n//! What it is.\n"));
    assert!(opens_with_docs("#![doc = include_str!(\"../README.md\")]\n"));
    assert!(!opens_with_docs("use std::fs;\n//! Too late.\n"));
    assert!(too_long(&TextFile::of("a.rs", &"x\n".repeat(FILE_LINES_MAX))).is_none());
    assert!(too_long(&TextFile::of("a.rs", &"x\n".repeat(FILE_LINES_MAX + 1))).is_some());
    for word in forbidden_words() {
        assert_eq!(foreign_words(&format!("fine\nsee {word}x")), [format!("2: {word}")]);
    }
    let [folder, ..] = forbidden_words();
    assert!(foreign_words(&format!("target{folder}x")).is_empty());
}
