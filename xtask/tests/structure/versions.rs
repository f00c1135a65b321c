//! One version of each dependency in what is shipped: two of one crate are two copies of its bugs, and types that do not fit.

use std::collections::{BTreeMap, BTreeSet};

use crate::workspace::{Kind, Packages, packages};

/// Packages of which two versions are shipped, with the reason why that cannot be helped.
const EXCEPTIONS: [(&str, &str); 0] = [];

#[test]
fn one_version_of_each_dependency() {
    let packages = packages();
    let shipped = duplicates(&packages, &closure(&packages, &[Kind::Normal, Kind::Build]));
    let all = duplicates(&packages, &closure(&packages, &[Kind::Normal, Kind::Build, Kind::Dev]));
    println!("several versions among what only tests and benchmarks use: {all:?}");
    let excepted: BTreeSet<&str> = EXCEPTIONS.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<&str> = shipped.keys().map(String::as_str).collect();
    assert_eq!(found, excepted, "several versions are shipped (or an exception is no longer needed): {shipped:?}");
}

/// Ids of all packages that the members reach through dependencies of the given kinds.
fn closure(packages: &Packages, kinds: &[Kind]) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut left: Vec<&String> =
        packages.iter().filter(|(_, package)| package.is_member && package.name != "xtask").map(|(id, _)| id).collect();
    while let Some(id) = left.pop() {
        if !reached.insert(id.clone()) {
            continue;
        }
        let package = &packages[id];
        // What a dependency's own tests need is never built.
        let follows = |kind: &Kind| kinds.contains(kind) && (package.is_member || *kind != Kind::Dev);
        left.extend(package.resolved.iter().filter(|next| next.kinds.iter().any(follows)).map(|next| &next.id));
    }
    reached
}

fn duplicates(packages: &Packages, ids: &BTreeSet<String>) -> BTreeMap<String, Vec<String>> {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in ids.iter().map(|id| &packages[id]) {
        versions.entry(package.name.clone()).or_default().push(package.version.clone());
    }
    versions.retain(|_, versions| versions.len() > 1);
    versions
}

#[test]
fn a_planted_second_version_is_found() {
    use crate::workspace::{Package, Resolved};

    let package = |name: &str, version: &str, is_member, resolved: &[(&str, Kind)]| Package {
        name: name.to_owned(),
        version: version.to_owned(),
        is_member,
        resolved: resolved.iter().map(|&(id, kind)| Resolved { id: id.to_owned(), kinds: vec![kind] }).collect(),
        ..Package::default()
    };
    let mut packages = Packages::new();
    packages.insert("m".to_owned(), package("m", "0", true, &[("x1", Kind::Normal), ("y", Kind::Dev)]));
    packages.insert("x1".to_owned(), package("x", "1", false, &[]));
    packages.insert("y".to_owned(), package("y", "1", false, &[("x2", Kind::Normal)]));
    packages.insert("x2".to_owned(), package("x", "2", false, &[]));
    assert!(duplicates(&packages, &closure(&packages, &[Kind::Normal])).is_empty());
    let with_tests = duplicates(&packages, &closure(&packages, &[Kind::Normal, Kind::Dev]));
    assert_eq!(with_tests["x"], ["1", "2"]);
}
