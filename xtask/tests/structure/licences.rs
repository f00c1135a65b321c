//! Every package that is built has a licence that `deny.toml` allows.

use std::collections::BTreeSet;
use std::fs;

use crate::workspace::{packages, root};

#[test]
fn every_licence_is_allowed() {
    let allowed = allowed(&fs::read_to_string(root().join("deny.toml")).unwrap());
    assert!(allowed.contains("MIT"), "the list was found");
    let mut refused = Vec::new();
    for package in packages().values() {
        let licence = package.licence.as_deref().unwrap_or_default();
        if !permits(licence, &allowed) {
            refused.push(format!("{} {}: {licence:?}", package.name, package.version));
        }
    }
    assert!(refused.is_empty(), "not in the list of deny.toml:\n{}", refused.join("\n"));
}

/// The names in quotes between `allow = [` and `]` of the section `[licenses]`.
fn allowed(deny: &str) -> BTreeSet<String> {
    let section = deny.split("\n[").find(|section| section.starts_with("licenses]")).unwrap_or_default();
    let list = section.split("allow = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap_or_default();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Evaluates a licence expression (SPDX, and the older form with a slash) against the allowed names.
fn permits(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    either(&mut rest, allowed) == Some(true) && rest.is_empty()
}

fn either(rest: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let mut result = both(rest, allowed)?;
    while rest.first() == Some(&"OR") {
        *rest = &rest[1..];
        result |= both(rest, allowed)?;
    }
    Some(result)
}

fn both(rest: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let mut result = one(rest, allowed)?;
    while rest.first() == Some(&"AND") {
        *rest = &rest[1..];
        result &= one(rest, allowed)?;
    }
    Some(result)
}

fn one(rest: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let (first, tail) = rest.split_first()?;
    *rest = tail;
    if *first == "(" {
        let inside = either(rest, allowed)?;
        let (close, tail) = rest.split_first()?;
        *rest = tail;
        return (*close == ")").then_some(inside);
    }
    if let ["WITH", exception, tail @ ..] = *rest {
        *rest = tail;
        return Some(allowed.contains(&format!("{first} WITH {exception}")));
    }
    Some(allowed.contains(*first))
}

#[test]
fn a_planted_licence_is_refused() {
    let allowed: BTreeSet<String> =
        ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"].map(str::to_owned).into();
    for good in
        ["MIT", "MIT/GPL-3.0", "(MIT OR GPL-3.0) AND Unicode-3.0", "Apache-2.0 WITH LLVM-exception", "GPL-3.0 OR MIT"]
    {
        assert!(permits(good, &allowed), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT WITH strings", "(MIT", "MIT)", "MIT MIT", "OR"] {
        assert!(!permits(bad, &allowed), "{bad}");
    }
}
