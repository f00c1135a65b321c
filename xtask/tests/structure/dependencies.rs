//! No crate declares a dependency that it does not use.
//!
//! Textual: a dependency counts as used where a path starts with its name. That misses a use through a macro alone, which
//! no crate here has, and needs no nightly compiler.

use std::path::Path;

use crate::workspace::{Kind, Package, TextFile, packages, root, tracked_files};

#[test]
fn every_declared_dependency_is_used() {
    let files = tracked_files();
    let mut unused = Vec::new();
    for package in packages().values().filter(|package| package.is_member) {
        unused.extend(unused_of(package, &files).into_iter().map(|name| format!("{}: {name}", package.name)));
    }
    assert!(unused.is_empty(), "declared but not used:\n{}", unused.join("\n"));
}

fn unused_of(package: &Package, files: &[TextFile]) -> Vec<String> {
    let folder = package.folder.strip_prefix(root()).unwrap_or(&package.folder);
    let of_package: Vec<&TextFile> = files.iter().filter(|file| Path::new(&file.path).starts_with(folder)).collect();
    let used_in = |name: &str, folders: &[&str]| {
        of_package.iter().any(|file| {
            let inside = Path::new(&file.path).strip_prefix(folder).unwrap();
            folders.iter().any(|folder| inside.starts_with(folder)) && names(&file.text, name)
        })
    };
    let mut unused = Vec::new();
    for dependency in &package.declared {
        // Models are tests, but cargo has no dependencies of tests under a condition.
        let of_models = dependency.condition.as_deref() == Some("cfg(loom)");
        let folders: &[&str] = match dependency.kind {
            Kind::Normal if !of_models => &["src"],
            Kind::Build => &["build.rs"],
            Kind::Normal | Kind::Dev => &["src", "tests", "benches", "examples", "README.md"],
        };
        if !used_in(&dependency.name, folders) {
            unused.push(dependency.name.clone());
        }
    }
    unused
}

/// Whether a line of code, comments aside, has a path that starts with `name`.
fn names(text: &str, name: &str) -> bool {
    let code = text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
    code.flat_map(|line| line.match_indices(name).map(move |(at, _)| (line, at))).any(|(line, at)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + name.len()..];
        let starts = !before.is_some_and(|before| before.is_alphanumeric() || before == '_' || before == '"');
        starts
            && (after.starts_with("::")
                || after.starts_with("!")
                || (line.starts_with("use ") && after.starts_with([';', ' '])))
    })
}

#[test]
fn a_planted_unused_dependency_is_found() {
    assert!(names("use snap::raw;", "snap"));
    assert!(names("    let x = snap::compress(y);", "snap"));
    assert!(names("use snap as codec;", "snap"));
    assert!(!names("// snap::compress", "snap"));
    assert!(!names("let codec = \"snap\";", "snap"));
    assert!(!names("resnap::x()", "snap"));
    assert!(!names("let snap = 1;", "snap"));
}
