//! Documents: what they point to is there, and the usual ones exist.

use std::path::{Component, Path, PathBuf};

use crate::workspace::{TextFile, root, tracked_files};

const EXPECTED: [&str; 11] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "deny.toml",
    "rust-toolchain.toml",
    "docs/format.md",
    "docs/testing.md",
    ".ci/run",
];

#[test]
fn the_usual_documents_exist() {
    let missing: Vec<&str> = EXPECTED.into_iter().filter(|path| !root().join(path).is_file()).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
}

#[test]
fn links_of_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for file in tracked_files().iter().filter(|file| file.path.ends_with(".md")) {
        let folder = Path::new(&file.path).parent().unwrap();
        for target in links(&file.text) {
            let path = normal(&folder.join(&target));
            if path.starts_with("..") || !root().join(path).exists() {
                broken.push(format!("{}: {target}", file.path));
            }
        }
    }
    assert!(broken.is_empty(), "links to nowhere:\n{}", broken.join("\n"));
}

#[test]
fn pages_that_sources_name_exist() {
    let mut broken = Vec::new();
    for file in tracked_files() {
        broken.extend(
            pages(&file)
                .into_iter()
                .filter(|page| !root().join(page).exists())
                .map(|page| format!("{}: {page}", file.path)),
        );
    }
    assert!(broken.is_empty(), "pages that are not there:\n{}", broken.join("\n"));
}

/// Targets of `[text](target)` within the repository, without their fragments; code blocks aside.
fn links(text: &str) -> Vec<String> {
    let mut in_code = false;
    let mut links = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for rest in line.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !target.contains("://") && !target.contains("::") {
                links.push(path.to_owned());
            }
        }
    }
    links
}

/// Mentions of `docs/*.md`.
fn pages(file: &TextFile) -> Vec<String> {
    let mentions = file.text.match_indices("docs/").filter(|(at, _)| {
        !file.text[..*at].ends_with(|before: char| before.is_alphanumeric() || "/.-_".contains(before))
    });
    let named = mentions.map(|(at, _)| {
        let rest = &file.text[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"/._-".contains(c)).unwrap_or(rest.len());
        rest[..end].trim_end_matches('.')
    });
    named.filter(|page| page.ends_with(".md") && !page.contains("NNNN")).map(str::to_owned).collect()
}

fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir if normal.file_name().is_some() => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

#[test]
fn planted_links_are_found() {
    let text = "see [a](a/a.md#x), [b](https://b.org) and [c](../c.md)\n```\n[d](d.md)\n```\n[e](#here)";
    assert_eq!(links(text), ["a/a.md", "../c.md"]);
    // Put together from halves, so that this file does not name a page that is not there.
    let missing = ["docs/adr/", "0007-x.md"].concat();
    let source = TextFile::of("a.rs", &format!("//! See `{missing}`. And docs/format.md.\n// crates/{missing}"));
    assert_eq!(pages(&source), [missing.as_str(), "docs/format.md"]);
    assert_eq!(normal(Path::new("crates/base/../vfs/./x")), Path::new("crates/vfs/x"));
}
