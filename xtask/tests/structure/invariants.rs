//! Every invariant that `ARCHITECTURE.md` names has its tests in the table of `docs/testing.md`, and these exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::workspace::{TextFile, root, tracked_files};

/// Invariant, and the tests that show it.
type Table = BTreeMap<String, Vec<String>>;

#[test]
fn every_invariant_has_a_test() {
    let page = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (names, table) = (names(&page("ARCHITECTURE.md")), table(&page("docs/testing.md")));
    assert!(names.len() > 30, "the section was found");
    let faults = faults(&names, &table, &functions(&tracked_files()));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Names of the section "Invariants" that bind what is built: `**Name.**` begins a paragraph or an item of a list.
fn names(document: &str) -> BTreeSet<String> {
    let section = section(document, "Invariants");
    let bold = section.lines().filter_map(|line| line.strip_prefix("- ").unwrap_or(line).strip_prefix("**"));
    let named = bold.filter_map(|line| line.split_once(".**"));
    named.filter(|(_, rest)| !rest.trim_start().starts_with("(later)")).map(|(name, _)| name.to_owned()).collect()
}

/// Reads the rows `` | name | `test`, `test` | ``.
fn table(document: &str) -> Table {
    let section = section(document, "Invariants and their tests");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let tests = |column: &str| column.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    rows.map(|(name, column)| (name.to_owned(), tests(column))).filter(|(name, _)| name != "invariant").collect()
}

fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let starts = |section: &&str| section.lines().next() == Some(heading);
    document.split("\n## ").find(starts).unwrap_or_default()
}

/// Names of all functions in files with tests.
fn functions(files: &[TextFile]) -> BTreeSet<&str> {
    let with_tests = files.iter().filter(|file| file.is_rust() && file.text.contains("#[test]"));
    let lines = with_tests.flat_map(|file| file.text.lines());
    lines.filter_map(|line| line.trim_start().strip_prefix("fn ")?.split('(').next()).collect()
}

fn faults(names: &BTreeSet<String>, table: &Table, functions: &BTreeSet<&str>) -> Vec<String> {
    let mut faults = Vec::new();
    for name in names {
        if table.get(name).is_none_or(Vec::is_empty) {
            faults.push(format!("no test is named for: {name}"));
        }
    }
    for (name, tests) in table {
        if !names.contains(name) {
            faults.push(format!("there is no such invariant: {name}"));
        }
        let missing = tests.iter().filter(|test| !functions.contains(test.as_str()));
        faults.extend(missing.map(|test| format!("{name}: there is no test {test}")));
    }
    faults
}

#[test]
fn planted_gaps_are_found() {
    let page = "# A\n\n## Invariants\n\n**One.** Text.\n\n**Two.** (later) Text.\n\n- **Three.** Text **bold**.\n\n## B\n**No.**";
    let names = names(page);
    assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), ["One", "Three"]);
    let page = "# T\n\n## Invariants and their tests\n\n| invariant | tests |\n|---|---|\n| One | `a`, `b` |\n| Four | `a` |\n";
    let file = TextFile::of("a.rs", "#[test]\nfn a() {}\n");
    let files = [file];
    let found = faults(&names, &table(page), &functions(&files));
    assert_eq!(found, ["no test is named for: Three", "there is no such invariant: Four", "One: there is no test b"]);
}
