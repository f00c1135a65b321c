//! The names of a file system in memory: as they are now, as the imagined disk has them, and the changes in between.
//!
//! Invariants
//! 1. In each directory, `live` is `durable` with all pending changes applied in order.
//! 2. A rename is one change, within a directory or across two: it happens as a whole or not at all.
//! 3. Directories are durable from their creation on, since `create_dir_all` syncs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::node::Node;

/// Names of a directory, without directories in it.
pub(super) type Names = BTreeMap<OsString, Arc<Node>>;

/// All directories, by path below the root.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) dirs: BTreeMap<PathBuf, Dir>,
    pub(super) pending: Vec<PendingName>,
    keeps_history: bool,
}

/// One directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Dir {
    pub(super) live: Names,
    pub(super) durable: Names,
}

/// A change of names that no sync has followed.
#[derive(Clone, Debug)]
pub(super) struct PendingName {
    /// Its place in the order of all changes of the file system.
    pub(super) sequence: u64,
    pub(super) change: NameChange,
}

/// A change of names.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Link { to: Place, node: Arc<Node> },
    Unlink { from: Place },
    Rename { from: Place, to: Place, node: Arc<Node> },
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) name: OsString,
}

/// What is at a path.
pub(super) enum Found {
    File(Arc<Node>),
    Dir,
}

impl NameChange {
    fn touches(&self, dir: &Path) -> bool {
        match self {
            Self::Link { to, .. } => to.dir == dir,
            Self::Unlink { from } => from.dir == dir,
            Self::Rename { from, to, .. } => from.dir == dir || to.dir == dir,
        }
    }

    /// Makes the change in the live or in the durable names.
    pub(super) fn apply(&self, dirs: &mut BTreeMap<PathBuf, Dir>, names: fn(&mut Dir) -> &mut Names) {
        let (removed, added) = match self {
            Self::Link { to, node } => (None, Some((to, node))),
            Self::Unlink { from } => (Some(from), None),
            Self::Rename { from, to, node } => (Some(from), Some((to, node))),
        };
        if let Some(place) = removed
            && let Some(dir) = dirs.get_mut(&place.dir)
        {
            names(dir).remove(&place.name);
        }
        if let Some((place, node)) = added
            && let Some(dir) = dirs.get_mut(&place.dir)
        {
            names(dir).insert(place.name.clone(), Arc::clone(node));
        }
    }
}

impl Tree {
    /// The root alone.
    pub(super) fn new(keeps_history: bool) -> Self {
        Self { dirs: BTreeMap::from([(PathBuf::new(), Dir::default())]), pending: Vec::new(), keeps_history }
    }

    pub(super) fn keeps_history(&self) -> bool {
        self.keeps_history
    }

    /// What is at `path`.
    pub(super) fn find(&self, path: &Path) -> Option<Found> {
        let path = below_root(path);
        if self.dirs.contains_key(&path) {
            return Some(Found::Dir);
        }
        let place = place(&path)?;
        self.dirs.get(&place.dir)?.live.get(&place.name).cloned().map(Found::File)
    }

    /// The file at `path`.
    pub(super) fn file(&self, path: &Path) -> io::Result<Arc<Node>> {
        match self.find(path) {
            Some(Found::File(node)) => Ok(node),
            Some(Found::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// A place for a new name: its directory exists and it is free.
    pub(super) fn free_place(&self, path: &Path) -> io::Result<Place> {
        if self.find(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.place(path)
    }

    /// A place in a directory that exists.
    pub(super) fn place(&self, path: &Path) -> io::Result<Place> {
        place(&below_root(path))
            .filter(|place| self.dirs.contains_key(&place.dir))
            .ok_or(io::ErrorKind::NotFound.into())
    }

    /// Makes a change now, and notes it for the disk.
    pub(super) fn change(&mut self, sequence: u64, change: NameChange) {
        change.apply(&mut self.dirs, |dir| &mut dir.live);
        if self.keeps_history {
            self.pending.push(PendingName { sequence, change });
        }
    }

    /// Makes the changes of one directory durable.
    pub(super) fn sync(&mut self, path: &Path) -> io::Result<()> {
        let path = below_root(path);
        if !self.dirs.contains_key(&path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let Self { dirs, pending, .. } = self;
        for synced in pending.extract_if(.., |pending| pending.change.touches(&path)) {
            synced.change.apply(dirs, |dir| &mut dir.durable);
        }
        Ok(())
    }

    /// Puts a name there, now and on the disk.
    pub(super) fn link_durably(&mut self, place: Place, node: Arc<Node>) {
        if let Some(dir) = self.dirs.get_mut(&place.dir) {
            if self.keeps_history {
                dir.durable.insert(place.name.clone(), Arc::clone(&node));
            }
            dir.live.insert(place.name, node);
        }
    }

    /// Creates a directory and those above it.
    pub(super) fn create_dirs(&mut self, path: &Path) -> io::Result<()> {
        let path = below_root(path);
        for dir in path.ancestors() {
            if let Some(Found::File(_)) = self.find(dir) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
        }
        for dir in path.ancestors() {
            self.dirs.entry(dir.to_owned()).or_default();
        }
        Ok(())
    }

    /// The names of the files and of the directories in a directory.
    pub(super) fn list(&self, path: &Path) -> io::Result<(Vec<OsString>, Vec<OsString>)> {
        let path = below_root(path);
        let files = match self.dirs.get(&path) {
            Some(dir) => dir.live.keys().cloned().collect(),
            None if self.find(&path).is_some() => return Err(io::ErrorKind::NotADirectory.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let dirs = self.dirs.keys().filter(|dir| dir.parent() == Some(&path)).filter_map(|dir| dir.file_name());
        Ok((files, dirs.map(OsString::from).collect()))
    }

    /// The paths of all files, sorted.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.dirs.iter().flat_map(|(path, dir)| dir.live.keys().map(|name| path.join(name))).collect()
    }
}

/// A path without root and current directory, and with `..` resolved: relative paths start at the root here.
fn below_root(path: &Path) -> PathBuf {
    let mut below = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => below.push(name),
            Component::ParentDir => {
                below.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    below
}

fn place(path: &Path) -> Option<Place> {
    Some(Place { dir: path.parent()?.to_owned(), name: path.file_name()?.to_owned() })
}
