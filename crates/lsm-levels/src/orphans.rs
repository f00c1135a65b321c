//! Files in the store's directory that nothing names: what an interrupted run left behind.
//!
//! Nothing is removed while a store is being recovered; only once it is known as a whole what is needed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base::{Corruption, LogNumber, TableId};
use vfs::Vfs;

use crate::current::{NAME, manifest_number, manifest_path};
use crate::error::{Error, Result};
use crate::state::TreeState;

/// What a file's name says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileName {
    Table(TableId),
    /// A file that was not renamed to its final name.
    Temporary,
    Manifest(LogNumber),
    /// Not a file of the tree.
    Other,
}

fn classify(name: &Path) -> FileName {
    if let Some(number) = manifest_number(name) {
        return FileName::Manifest(number);
    }
    let Some(text) = name.to_str() else { return FileName::Other };
    if text.ends_with(".sst.tmp") || text.strip_prefix(NAME) == Some(".tmp") {
        return FileName::Temporary;
    }
    let table = text.strip_suffix(".sst").and_then(|digits| digits.parse().ok()).map(TableId);
    let table = table.filter(|id| sstable::table_path(Path::new(""), *id) == name);
    table.map_or(FileName::Other, FileName::Table)
}

/// Removes every file of the tree that neither the state nor `keep` wants.
pub(crate) fn remove(
    vfs: &dyn Vfs,
    dir: &Path,
    state: &TreeState,
    manifest: LogNumber,
    keep: &dyn Fn(&Path) -> bool,
) -> Result<Vec<PathBuf>> {
    let needed: BTreeSet<TableId> =
        state.keyspaces.values().flat_map(|keyspace| keyspace.tables.keys().copied()).collect();
    let mut removed = Vec::new();
    for entry in vfs.list(dir)? {
        let orphan = match classify(&entry.name) {
            FileName::Table(id) => !needed.contains(&id),
            FileName::Temporary => true,
            FileName::Manifest(number) => number != manifest,
            FileName::Other => false,
        };
        let path = dir.join(&entry.name);
        if orphan && !keep(&path) {
            vfs.remove_file(&path)?;
            removed.push(path);
        }
    }
    Ok(removed)
}

/// Removes what an interrupted creation of a store left. Requires: there is no `CURRENT`.
pub(crate) fn remove_unfinished_store(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    match without_current(vfs, dir)? {
        Error::NoStore { .. } => {}
        damaged => return Err(damaged),
    }
    let first = manifest_path(dir, LogNumber(1));
    if vfs.metadata(&first)?.is_some() {
        vfs.remove_file(&first)?;
    }
    Ok(())
}

/// What it means that there is no `CURRENT`: no store, or the rest of one that has lost it. Only the first manifest is
/// ever there before `CURRENT` is.
pub(crate) fn without_current(vfs: &dyn Vfs, dir: &Path) -> Result<Error> {
    let has_store = vfs.list(dir)?.iter().any(|entry| match classify(&entry.name) {
        FileName::Table(_) => true,
        FileName::Manifest(number) => number > LogNumber(1),
        FileName::Temporary | FileName::Other => false,
    });
    Ok(if has_store {
        Corruption::new(dir.join(NAME), 0, "the file is missing, but there are others of a store").into()
    } else {
        Error::NoStore { dir: dir.to_owned() }
    })
}

/// A number above the live manifest's and those of manifests that never became live.
pub(crate) fn next_manifest_number(vfs: &dyn Vfs, dir: &Path, live: LogNumber) -> Result<LogNumber> {
    let names = vfs.list(dir)?;
    let highest = names.iter().filter_map(|entry| manifest_number(&entry.name)).fold(live, LogNumber::max);
    Ok(LogNumber(highest.0.saturating_add(1)))
}
