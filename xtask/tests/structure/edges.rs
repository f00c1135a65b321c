//! Arrows between crates go down only. The table in `ARCHITECTURE.md` is the rule; this compares the packages with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::workspace::{Packages, packages, root};

/// Crate, and the crates of the workspace that it may use.
type Edges = BTreeMap<String, BTreeSet<String>>;

#[test]
fn crates_use_only_what_the_architecture_allows() {
    let allowed = table(&fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap());
    let violations = violations(&actual(&packages()), &allowed);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn the_table_has_no_cycle() {
    let mut left = table(&fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap());
    assert!(left.len() > 10, "the table was found");
    while !left.is_empty() {
        let before = left.len();
        let remaining: BTreeSet<String> = left.keys().cloned().collect();
        left.retain(|_, uses| !uses.is_disjoint(&remaining));
        assert!(left.len() < before, "a cycle among {:?}", left.keys());
    }
}

/// Reads the rows `` | `crate` | `used`, `used` | text | `` under the heading "Crate edges".
fn table(document: &str) -> Edges {
    let section = document.split("\n## ").find(|section| section.starts_with("Crate edges")).unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut columns = row.trim_matches('|').split('|');
        let names = |column: Option<&str>| -> BTreeSet<String> {
            column.unwrap_or_default().split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        (names(columns.next()).pop_first().unwrap(), names(columns.next()))
    })
    .collect()
}

/// Edges of every kind: a test that reaches around a layer ties the layers as much as code does.
fn actual(packages: &Packages) -> Edges {
    let members: BTreeSet<&str> =
        packages.values().filter(|package| package.is_member).map(|package| package.name.as_str()).collect();
    let mut edges = Edges::new();
    for package in packages.values().filter(|package| package.is_member) {
        let used = package.declared.iter().map(|dependency| dependency.name.replace('_', "-"));
        edges.insert(
            package.name.clone(),
            used.filter(|name| members.contains(name.as_str()) && *name != package.name).collect(),
        );
    }
    edges
}

fn violations(actual: &Edges, allowed: &Edges) -> Vec<String> {
    let mut violations = Vec::new();
    for (name, used) in actual {
        let Some(allowed) = allowed.get(name) else {
            violations.push(format!("{name} is not in the table of crate edges"));
            continue;
        };
        violations.extend(used.difference(allowed).map(|used| format!("{name} must not use {used}")));
    }
    violations.extend(
        allowed.keys().filter(|name| !actual.contains_key(*name)).map(|name| format!("there is no crate {name}")),
    );
    violations
}

#[test]
fn a_planted_edge_is_found() {
    let edges = |rows: &[(&str, &[&str])]| -> Edges {
        rows.iter()
            .map(|(name, used)| ((*name).to_owned(), used.iter().map(|&used| used.to_owned()).collect()))
            .collect()
    };
    let allowed = table(
        "# A\n\n## Crate edges\n\n| crate | uses |\n|---|---|\n| `a` | |\n| `b` | `a`, `c` | x |\n\n## B\n| `d` | |",
    );
    assert_eq!(allowed, edges(&[("a", &[]), ("b", &["a", "c"])]));
    assert!(violations(&edges(&[("a", &[]), ("b", &["a"])]), &allowed).is_empty());
    assert_eq!(violations(&edges(&[("a", &["b"]), ("b", &[])]), &allowed), ["a must not use b"]);
    assert_eq!(
        violations(&edges(&[("a", &[]), ("b", &[]), ("e", &[])]), &allowed),
        ["e is not in the table of crate edges"]
    );
    assert_eq!(violations(&edges(&[("a", &[])]), &allowed), ["there is no crate b"]);
}
