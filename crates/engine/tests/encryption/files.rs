//! The files of a store: their kinds, and what is seen of them over time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use vfs::MemFs;

/// Kinds of files that a store has, once it has collected.
pub(crate) const KINDS: [&str; 11] = [
    "KEYREGISTRY",
    "MANIFEST",
    "VLOG-MANIFEST",
    "collected vlog",
    "dead",
    "deaths",
    "hint",
    "map",
    "sst",
    "vlog",
    "wal",
];

/// What kind of file it is; one that is not whole yet is of the kind that it becomes.
pub(crate) fn kind(path: &Path, bytes: &[u8]) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    let name = name.strip_suffix(".tmp").unwrap_or(name);
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match (name.split_once('.'), name.rsplit_once('-')) {
        // Content 1 in its header: what was left of other segments.
        (Some((number, "vlog")), _) if digits(number) && bytes.get(88) == Some(&1) => "collected vlog".to_owned(),
        (Some((number, extension)), _) if digits(number) => extension.to_owned(),
        (_, Some((stem, number))) if digits(number) => stem.to_owned(),
        _ => name.to_owned(),
    }
}

pub(crate) fn assert_all_kinds(seen: &BTreeSet<String>) {
    let missing: Vec<_> = KINDS.iter().filter(|kind| !seen.contains(**kind)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?} among {seen:?}");
}

/// What was seen of the files of a store, each state of each file once.
#[derive(Default)]
pub(crate) struct Seen {
    states: BTreeMap<PathBuf, Vec<u8>>,
    pub(crate) kinds: BTreeSet<String>,
    pub(crate) unfinished: BTreeSet<String>,
    pub(crate) count: u64,
}

impl Seen {
    /// Files that are not as they were last seen.
    pub(crate) fn changed(&mut self, memory: &MemFs) -> Vec<(PathBuf, Vec<u8>)> {
        let mut changed = Vec::new();
        for path in memory.files() {
            let bytes = memory.read(&path).unwrap();
            if self.states.get(&path) == Some(&bytes) {
                continue;
            }
            self.count += 1;
            let kind = kind(&path, &bytes);
            if path.extension().is_some_and(|extension| extension == "tmp") && !bytes.is_empty() {
                self.unfinished.insert(kind.clone());
            }
            self.kinds.insert(kind);
            self.states.insert(path.clone(), bytes.clone());
            changed.push((path, bytes));
        }
        changed
    }
}

pub(crate) fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|at| at == text.as_bytes())
}
