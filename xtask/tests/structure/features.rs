//! Every feature of every crate is either built by the gate or left out for a reason: `xtask/features.txt` says which.

use std::collections::BTreeSet;

use crate::workspace::{Packages, packages};

const LIST: &str = include_str!("../../features.txt");

#[test]
fn every_feature_is_in_the_list() {
    let found: BTreeSet<String> = features(&packages());
    let listed: BTreeSet<String> = LIST.lines().filter_map(entry).collect();
    assert_eq!(listed, found, "xtask/features.txt (left) and the features that crates have (right) differ");
}

/// `package/feature`, or `# without package/feature: reason`.
fn entry(line: &str) -> Option<String> {
    let line = line.trim();
    if let Some(left_out) = line.strip_prefix("# without ") {
        let (feature, reason) = left_out.split_once(": ").expect("a reason behind the feature that is left out");
        assert!(!reason.is_empty());
        return Some(feature.to_owned());
    }
    (!line.is_empty() && !line.starts_with('#')).then(|| line.to_owned())
}

fn features(packages: &Packages) -> BTreeSet<String> {
    let members = packages.values().filter(|package| package.is_member);
    let named =
        members.flat_map(|package| package.features.iter().map(|feature| format!("{}/{feature}", package.name)));
    named.filter(|name| !name.ends_with("/default")).collect()
}

#[test]
fn lines_of_the_list_are_understood() {
    assert_eq!(entry("engine/bytes_1").as_deref(), Some("engine/bytes_1"));
    assert_eq!(entry("# without bench/peers: needs C++").as_deref(), Some("bench/peers"));
    assert_eq!(entry("# a comment"), None);
    assert_eq!(entry(""), None);
}
