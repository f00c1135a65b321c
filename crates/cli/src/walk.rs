//! Walks a folder: every file, link and empty folder below it, in the order of their keys.
//!
//! Invariants
//! 1. No link is followed below the root, so the walk ends and never leaves the root. This holds while another program
//!    changes the tree: each name is opened in the open folder it stands in, never through a path.
//! 2. What a name stands for is what is opened, not what was listed, and opening waits for nobody.
//! 3. Nothing is passed over in silence: what cannot be stored or read is found as [`Found::Unfit`].
//! 4. Memory is bounded by the names of one folder on each level of the path at hand, open files by four.
//!
//! Keys are paths below the root with `/` between names, as bytes; order is that of keys, in which a folder `a` stands
//! behind a file `a-b`, since its files are `a/...`.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, open, openat, readlinkat, statat};

use crate::marker::Marker;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// What the walk came to.
#[derive(Debug)]
pub(crate) enum Found {
    /// A file, and whether it is [`Marker::Executable`] or not.
    File { key: Vec<u8>, file: File, kind: Marker },
    /// A symbolic link.
    Link { key: Vec<u8>, target: Vec<u8> },
    /// A folder with nothing in it.
    EmptyFolder { key: Vec<u8> },
    /// Something that is left out, and why.
    Unfit { key: Vec<u8>, reason: String },
}

/// The walk; an iterator of what is found.
#[derive(Debug)]
pub(crate) struct Walk {
    root: OwnedFd,
    /// The last of `open`, as long as there are names in it.
    here: OwnedFd,
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
    name: CString,
    was_folder: bool,
}

/// What a name stands for.
enum Seen {
    File(File, Marker),
    Link(Vec<u8>),
    Folder(OwnedFd),
    Other(FileType),
}

impl Walk {
    /// Starts at a folder, which may itself be reached through links.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub(crate) fn new(root: &Path) -> io::Result<Self> {
        let root = open(root, FOLDER, Mode::empty())?;
        let (names, error) = list(&root)?;
        let broken = error.map(|error| Found::Unfit { key: b".".to_vec(), reason: error.to_string() });
        Ok(Self { here: root.try_clone()?, root, open: vec![Folder { key: Vec::new(), names }], broken })
    }

    fn visit(&mut self, key: Vec<u8>, name: &Name) -> Option<Found> {
        match look(&self.here, name) {
            Ok(Seen::File(file, kind)) => Some(Found::File { key, file, kind }),
            Ok(Seen::Link(target)) => Some(Found::Link { key, target }),
            Ok(Seen::Folder(folder)) => self.enter(key, folder),
            Ok(Seen::Other(kind)) => Some(Found::Unfit { key, reason: name_of(kind).to_owned() }),
            Err(error) => Some(Found::Unfit { key, reason: error.to_string() }),
        }
    }

    fn enter(&mut self, key: Vec<u8>, folder: OwnedFd) -> Option<Found> {
        match list(&folder) {
            Ok((names, None)) if names.is_empty() => Some(Found::EmptyFolder { key }),
            Ok((names, error)) => {
                let reason = error.map(|error| error.to_string());
                self.broken = reason.map(|reason| Found::Unfit { key: key.clone(), reason });
                self.open.push(Folder { key, names });
                self.here = folder;
                None
            }
            Err(error) => Some(Found::Unfit { key, reason: error.to_string() }),
        }
    }

    /// Goes back to the folder that is the last one now, from the root and name by name, so that not every folder on the
    /// way needs an open file.
    fn go_back(&mut self) {
        let Some(folder) = self.open.last_mut().filter(|folder| !folder.names.is_empty()) else { return };
        match reopen(&self.root, &folder.key) {
            Ok(here) => self.here = here,
            Err(error) => {
                folder.names.clear();
                self.broken = Some(Found::Unfit { key: folder.key.clone(), reason: error.to_string() });
            }
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
                self.go_back();
                continue;
            };
            let mut key = folder.key.clone();
            if !key.is_empty() {
                key.push(b'/');
            }
            key.extend_from_slice(name.name.as_bytes());
            if let Some(found) = self.visit(key, &name) {
                return Some(found);
            }
        }
    }
}

/// Opens what a name stands for. What is neither a file nor a folder is not opened, since that may do something.
fn look(folder: &OwnedFd, name: &Name) -> io::Result<Seen> {
    let name = name.name.as_c_str();
    match kind_of(&statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?) {
        FileType::RegularFile | FileType::Directory => {}
        FileType::Symlink => return Ok(Seen::Link(readlinkat(folder, name, Vec::new())?.into_bytes())),
        other => return Ok(Seen::Other(other)),
    }
    let opened = openat(folder, name, FILE | OFlags::NOFOLLOW, Mode::empty())?;
    let stat = fstat(&opened)?;
    Ok(match kind_of(&stat) {
        FileType::RegularFile if stat.st_mode & 0o100 != 0 => Seen::File(opened.into(), Marker::Executable),
        FileType::RegularFile => Seen::File(opened.into(), Marker::File),
        FileType::Directory => Seen::Folder(opened),
        other => Seen::Other(other),
    })
}

fn reopen(root: &OwnedFd, key: &[u8]) -> io::Result<OwnedFd> {
    let mut folder = root.try_clone()?;
    for name in key.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        folder = openat(&folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(folder)
}

/// The names in a folder, last first, and the error that ended the listing early, if one did.
fn list(folder: &OwnedFd) -> io::Result<(Vec<Name>, Option<io::Error>)> {
    let mut names = Vec::new();
    let mut error = None;
    for entry in Dir::read_from(folder)? {
        let name = entry.and_then(|entry| {
            let kind = match entry.file_type() {
                FileType::Unknown => kind_of(&statat(folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?),
                known => known,
            };
            Ok(Name { name: entry.file_name().to_owned(), was_folder: kind == FileType::Directory })
        });
        match name {
            Ok(name) if matches!(name.name.as_bytes(), b"." | b"..") => {}
            Ok(name) => names.push(name),
            Err(cause) => {
                error = Some(cause.into());
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
        self.name.as_bytes().iter().copied().chain(self.was_folder.then_some(b'/'))
    }
}

fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn name_of(kind: FileType) -> &'static str {
    match kind {
        FileType::Socket => "a socket",
        FileType::Fifo => "a named pipe",
        FileType::BlockDevice | FileType::CharacterDevice => "a device",
        _ => "neither a file, a folder nor a link",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    fn folder(test: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("ratel-walk-{test}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        root
    }

    fn make(root: &Path, files: &[&str]) {
        for name in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }

    /// What is found, as text.
    fn told(found: &Found) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match found {
            Found::File { key, .. } => text(key),
            Found::Link { key, target } => format!("{} -> {}", text(key), text(target)),
            Found::EmptyFolder { key } => format!("{}/", text(key)),
            Found::Unfit { key, reason } => format!("{}: {reason}", text(key)),
        }
    }

    #[test]
    fn files_come_in_the_order_of_their_keys() {
        let root = folder("order");
        make(&root, &["a-b", "a.b", "a/b", "a/c/d", "a0", "b/\u{fc}", "c/x/y/z", "A"]);
        fs::create_dir(root.join("a+")).unwrap();
        let found: Vec<String> = Walk::new(&root).unwrap().map(|found| told(&found)).collect();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, ["A", "a+/", "a-b", "a.b", "a/b", "a/c/d", "a0", "b/\u{fc}", "c/x/y/z"]);
    }

    #[test]
    fn what_changed_since_it_was_listed_is_neither_followed_nor_waited_for() {
        let root = folder("changed");
        make(&root, &["outside/secret", "tree/a", "tree/b", "tree/c", "tree/d/e"]);
        let tree = root.join("tree");
        let mut walk = Walk::new(&tree).unwrap();
        assert_eq!(told(&walk.next().unwrap()), "a");
        fs::remove_file(tree.join("b")).unwrap();
        symlink("../outside/secret", tree.join("b")).unwrap();
        fs::remove_file(tree.join("c")).unwrap();
        assert!(Command::new("mkfifo").arg(tree.join("c")).status().unwrap().success());
        fs::remove_dir_all(tree.join("d")).unwrap();
        symlink("../outside", tree.join("d")).unwrap();
        let found: Vec<String> = walk.map(|found| told(&found)).collect();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, ["b -> ../outside/secret", "c: a named pipe", "d -> ../outside"]);
    }

    #[test]
    fn a_folder_that_became_a_link_is_not_gone_back_through() {
        let root = folder("back");
        make(&root, &["outside/z", "tree/a/b/c", "tree/a/z", "tree/z"]);
        let tree = root.join("tree");
        let mut walk = Walk::new(&tree).unwrap();
        assert_eq!(told(&walk.next().unwrap()), "a/b/c");
        fs::rename(tree.join("a"), tree.join("moved")).unwrap();
        symlink("../outside", tree.join("a")).unwrap();
        let found: Vec<String> = walk.map(|found| told(&found)).collect();
        fs::remove_dir_all(&root).unwrap();
        assert!(matches!(&found[..], [a, z] if a.starts_with("a: ") && z == "z"), "{found:?}");
    }
}
