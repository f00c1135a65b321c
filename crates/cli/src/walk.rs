//! Walks a folder: every file, link and empty folder below it, in the order of their keys.
//!
//! Invariants
//! 1. No link is followed below the root, so the walk ends and never leaves the root.
//! 2. Nothing is passed over in silence: what cannot be stored or read is found as [`Found::Unfit`].
//! 3. Memory is bounded by the names of one folder on each level of the path at hand.
//!
//! Keys are paths below the root with `/` between names, as bytes; order is that of keys, in which a folder `a` stands
//! behind a file `a-b`, since its files are `a/...`.

use std::ffi::{OsStr, OsString};
use std::fs::{self, FileType};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::marker::Marker;

/// What the walk came to.
#[derive(Debug)]
pub(crate) enum Found {
    /// Something to store under `key`; `path` is where it is.
    Fit { key: Vec<u8>, path: PathBuf, kind: Marker },
    /// Something that is left out, and why.
    Unfit { key: Vec<u8>, reason: String },
}

/// The walk; an iterator of what is found.
#[derive(Debug)]
pub(crate) struct Walk {
    root: PathBuf,
    open: Vec<Folder>,
    /// Told before the names that the folder did yield.
    broken: Option<Found>,
}

/// A folder and the names in it that are still to come, last first.
#[derive(Debug)]
struct Folder {
    key: Vec<u8>,
    names: Vec<Name>,
}

#[derive(Debug)]
struct Name {
    name: OsString,
    kind: FileType,
}

impl Walk {
    /// Starts at a folder, which may itself be reached through links.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub(crate) fn new(root: &Path) -> io::Result<Self> {
        let (names, error) = list(root)?;
        let broken = error.map(|error| Found::Unfit { key: b".".to_vec(), reason: error.to_string() });
        Ok(Self { root: root.to_owned(), open: vec![Folder { key: Vec::new(), names }], broken })
    }

    fn visit(&mut self, key: Vec<u8>, kind: FileType) -> Option<Found> {
        let path = self.root.join(OsStr::from_bytes(&key));
        if kind.is_dir() {
            return self.enter(key, path);
        }
        if kind.is_symlink() {
            return Some(Found::Fit { key, path, kind: Marker::Link });
        }
        if !kind.is_file() {
            return Some(Found::Unfit { key, reason: name_of(kind).to_owned() });
        }
        Some(match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.permissions().mode() & 0o100 != 0 => {
                Found::Fit { key, path, kind: Marker::Executable }
            }
            Ok(_) => Found::Fit { key, path, kind: Marker::File },
            Err(error) => Found::Unfit { key, reason: error.to_string() },
        })
    }

    fn enter(&mut self, key: Vec<u8>, path: PathBuf) -> Option<Found> {
        match list(&path) {
            Ok((names, None)) if names.is_empty() => Some(Found::Fit { key, path, kind: Marker::EmptyFolder }),
            Ok((names, error)) => {
                let reason = error.map(|error| error.to_string());
                self.broken = reason.map(|reason| Found::Unfit { key: key.clone(), reason });
                self.open.push(Folder { key, names });
                None
            }
            Err(error) => Some(Found::Unfit { key, reason: error.to_string() }),
        }
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(broken) = self.broken.take() {
                return Some(broken);
            }
            let folder = self.open.last_mut()?;
            let Some(name) = folder.names.pop() else {
                self.open.pop();
                continue;
            };
            let mut key = folder.key.clone();
            if !key.is_empty() {
                key.push(b'/');
            }
            key.extend_from_slice(name.name.as_bytes());
            if let Some(found) = self.visit(key, name.kind) {
                return Some(found);
            }
        }
    }
}

/// The names in a folder, last first, and the error that ended the listing early, if one did.
fn list(path: &Path) -> io::Result<(Vec<Name>, Option<io::Error>)> {
    let mut names = Vec::new();
    let mut error = None;
    for entry in fs::read_dir(path)? {
        match entry.and_then(|entry| Ok(Name { name: entry.file_name(), kind: entry.file_type()? })) {
            Ok(name) => names.push(name),
            Err(cause) => {
                error = Some(cause);
                break;
            }
        }
    }
    names.sort_unstable_by(|one, other| other.sort_key().cmp(one.sort_key()));
    Ok((names, error))
}

impl Name {
    /// As the keys below sort: a folder's name has a `/` behind it.
    fn sort_key(&self) -> impl Iterator<Item = u8> {
        let behind = self.kind.is_dir().then_some(b'/');
        self.name.as_bytes().iter().copied().chain(behind)
    }
}

fn name_of(kind: FileType) -> &'static str {
    if kind.is_socket() {
        "a socket"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_block_device() || kind.is_char_device() {
        "a device"
    } else {
        "neither a file, a folder nor a link"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_the_order_of_their_keys() {
        let root = std::env::temp_dir().join(format!("ratel-walk-{}", std::process::id()));
        for name in ["a-b", "a.b", "a/b", "a/c/d", "a0", "b/\u{fc}", "c/x/y/z", "A"] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::create_dir(root.join("a+")).unwrap();
        let keys: Vec<Vec<u8>> = Walk::new(&root)
            .unwrap()
            .map(|found| match found {
                Found::Fit { key, .. } => key,
                Found::Unfit { key, reason } => panic!("{key:?}: {reason}"),
            })
            .collect();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(keys.len(), 9);
        assert!(keys.is_sorted(), "{keys:?}");
    }
}
