//! Manifests: versions of dependencies stand in one place, each with its reason, and every crate has what a crate needs.

use std::fs;

use crate::workspace::{TextFile, packages, root, tracked_files};

/// Crates that someone may pick alone: each has an example that compiles and a benchmark.
const LAYERS: [&str; 9] =
    ["vfs", "wal", "memtable", "sstable", "vlog", "lsm-levels", "txn-oracle", "engine", "bitcask"];

#[test]
fn members_take_their_dependencies_from_the_workspace() {
    let mut own = Vec::new();
    for file in tracked_files().iter().filter(|file| is_member_manifest(file)) {
        own.extend(own_versions(&file.text).into_iter().map(|line| format!("{}: {line}", file.path)));
    }
    assert!(own.is_empty(), "versions belong into the root's Cargo.toml:\n{}", own.join("\n"));
}

fn is_member_manifest(file: &TextFile) -> bool {
    file.path.ends_with("/Cargo.toml") && (file.path.starts_with("crates/") || file.path.starts_with("xtask/"))
}

/// Lines of dependency sections that do not inherit.
fn own_versions(manifest: &str) -> Vec<String> {
    let sections = manifest
        .split("\n[")
        .filter(|section| section.lines().next().is_some_and(|line| line.ends_with("dependencies]")));
    let lines = sections.flat_map(|section| section.lines().skip(1));
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    // A crate may name itself, to turn on a feature for its own tests.
    let inherits = |line: &&str| line.contains("workspace = true") || line.contains("{ path = \".\"");
    lines.filter(|line| !inherits(line)).map(str::to_owned).collect()
}

#[test]
fn every_dependency_of_the_workspace_has_its_reason() {
    let bare = without_reason(&fs::read_to_string(root().join("Cargo.toml")).unwrap());
    assert!(bare.is_empty(), "no reason given for {bare:?}");
}

fn without_reason(manifest: &str) -> Vec<String> {
    let section =
        manifest.split("\n[").find(|section| section.starts_with("workspace.dependencies]")).unwrap_or_default();
    let lines = section.lines().skip(1).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter(|line| !line.contains("path = ") && !line.contains(" # ")).map(str::to_owned).collect()
}

#[test]
fn every_layer_has_an_example_and_a_benchmark() {
    for name in LAYERS {
        let folder = root().join("crates").join(name);
        let readme = fs::read_to_string(folder.join("README.md")).unwrap();
        assert!(has_example(&readme), "{name}: no example in its README");
        let library = fs::read_to_string(folder.join("src/lib.rs")).unwrap();
        assert!(
            library.contains("#![doc = include_str!(\"../README.md\")]"),
            "{name}: the README is not its documentation"
        );
        let benches = fs::read_dir(folder.join("benches")).map(Iterator::count).unwrap_or_default();
        assert!(benches > 0, "{name}: no benchmark");
    }
}

/// Whether one of the code blocks is compiled by rustdoc: fences alternate between opening and closing ones.
fn has_example(readme: &str) -> bool {
    let opening = readme.lines().filter_map(|line| line.strip_prefix("```")).step_by(2);
    opening.into_iter().any(|language| language.is_empty() || language == "rust" || language == "no_run")
}

#[test]
fn every_member_has_the_lints_and_the_licence_of_the_workspace() {
    for package in packages().values().filter(|package| package.is_member) {
        let manifest = fs::read_to_string(package.folder.join("Cargo.toml")).unwrap();
        for line in [
            "[lints]\nworkspace = true",
            "license.workspace = true",
            "edition.workspace = true",
            "rust-version.workspace = true",
        ] {
            assert!(manifest.contains(line), "{}: {line:?} is missing", package.name);
        }
    }
}

#[test]
fn planted_lines_are_found() {
    assert!(has_example("a\n```text\nx\n```\n```\nlet x = 1;\n```\n"));
    assert!(!has_example("a\n```text\nx\n```\n```rust,ignore\nlet x = 1;\n```\n"));
    let manifest = "[package]\nname = \"x\"\n\n[dependencies]\na.workspace = true\nb = \"1\"\nx = { path = \".\", features = [\"y\"] }\n\n[dev-dependencies]\nc = { version = \"2\" }\n";
    assert_eq!(own_versions(manifest), ["b = \"1\"", "c = { version = \"2\" }"]);
    let root = "[workspace]\n\n[workspace.dependencies]\n# why\nx = { path = \"x\" }\na = \"1\" # fast\nb = \"2\"\n\n[profile.dev]\ny = 1\n";
    assert_eq!(without_reason(root), ["b = \"2\""]);
}
