//! Writes files below one folder, whatever the keys say.
//!
//! Invariants
//! 1. Nothing is created, replaced or followed outside the folder. A key that is absolute, has an empty, `.` or `..` name or
//!    a NUL byte, or passes through something that is not a folder (a link above all) is refused.
//! 2. What stands at a file's place is unlinked and made anew, never written through: neither a link there nor another
//!    name of the same file takes the bytes.
//! 3. A folder in the way is never removed.
//!
//! Names are checked one by one before each use. That holds against any keys and against links that stand in the folder
//! already; it is no defence against another process that changes the folder at the same time.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::escape::escape;
use crate::marker::Marker;

/// Longest path in bytes that a link may hold.
const TARGET_LEN_MAX: usize = 4_095;

/// The folder that is written to.
#[derive(Debug)]
pub(crate) struct Output {
    root: PathBuf,
    /// Names of the folders on the way to the last file: they are known to be folders, and none is ever removed.
    verified: Vec<Vec<u8>>,
}

/// Why a key was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The key is no name that could be written.
    #[error("{0}")]
    Name(&'static str),
    /// Something is in the way.
    #[error("{name:?} {what}")]
    InTheWay { name: String, what: &'static str },
    /// The value is none that its kind can have.
    #[error("{0}")]
    Value(&'static str),
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Output {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or is not a folder.
    pub(crate) fn create(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        Ok(Self { root: root.canonicalize()?, verified: Vec::new() })
    }

    /// Writes what `kind` says at the place that `key` names.
    ///
    /// # Errors
    /// A refusal leaves everything as it was, but for folders on the way and a file whose writing failed half-way.
    pub(crate) fn write(&mut self, key: &[u8], kind: Marker, value: &[u8]) -> Result<(), Refusal> {
        let (name, folders) = parse(key)?;
        check_value(kind, value)?;
        self.enter(&folders)?;
        let path = self.path(&folders).join(OsStr::from_bytes(name));
        match kind {
            Marker::File => write_file(&path, value, 0o666),
            Marker::Executable => write_file(&path, value, 0o777),
            Marker::Link => write_link(&path, value),
            Marker::EmptyFolder => write_folder(&path),
        }
        .map_err(|error| self.explain(key, error))
    }

    /// A new file right below the folder, in the place of one that may be there.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub(crate) fn create_file(&self, name: &str) -> Result<File, Refusal> {
        create_file(&self.root.join(name), 0o666).map_err(|error| self.explain(name.as_bytes(), error))
    }

    /// Makes sure that each name on the way is a folder itself, creating those that are missing.
    fn enter(&mut self, folders: &[&[u8]]) -> Result<(), Refusal> {
        let common = self.verified.iter().zip(folders).take_while(|(verified, name)| verified == *name).count();
        self.verified.truncate(common);
        for (depth, name) in folders.iter().enumerate().skip(common) {
            let way = folders.get(..=depth).unwrap_or(folders);
            let path = self.path(way);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(metadata) => {
                    let what = if metadata.is_symlink() { "is a link" } else { "is not a folder" };
                    return Err(Refusal::InTheWay { name: escape(&way.join(&b'/')), what });
                }
                Err(error) if error.kind() == ErrorKind::NotFound => DirBuilder::new().create(&path)?,
                Err(error) => return Err(error.into()),
            }
            self.verified.push(name.to_vec());
        }
        Ok(())
    }

    fn path(&self, folders: &[&[u8]]) -> PathBuf {
        let mut path = self.root.clone();
        path.extend(folders.iter().map(|name| OsStr::from_bytes(name)));
        path
    }

    fn explain(&self, key: &[u8], error: io::Error) -> Refusal {
        match error.kind() {
            ErrorKind::IsADirectory => Refusal::InTheWay { name: escape(key), what: "is a folder" },
            ErrorKind::AlreadyExists => Refusal::InTheWay { name: escape(key), what: "is in the way" },
            _ => error.into(),
        }
    }
}

/// Splits a key into its last name and those of the folders on the way.
fn parse(key: &[u8]) -> Result<(&[u8], Vec<&[u8]>), Refusal> {
    if key.is_empty() {
        return Err(Refusal::Name("empty"));
    }
    if key.starts_with(b"/") {
        return Err(Refusal::Name("an absolute path"));
    }
    if key.contains(&0) {
        return Err(Refusal::Name("has a NUL byte"));
    }
    let mut names: Vec<&[u8]> = key.split(|byte| *byte == b'/').collect();
    for name in &names {
        match *name {
            b"" => return Err(Refusal::Name("has an empty name between slashes or at its end")),
            b"." => return Err(Refusal::Name("has a name \".\"")),
            b".." => return Err(Refusal::Name("has a name \"..\"")),
            _ => {}
        }
    }
    let name = names.pop().ok_or(Refusal::Name("empty"))?;
    Ok((name, names))
}

/// Any program may have set a byte of user meta that reads as a kind: no value is lost to that.
fn check_value(kind: Marker, value: &[u8]) -> Result<(), Refusal> {
    match kind {
        Marker::EmptyFolder if !value.is_empty() => {
            Err(Refusal::Value("marked as an empty folder, but has a value; --escape writes it as a file"))
        }
        Marker::Link if value.is_empty() || value.len() > TARGET_LEN_MAX || value.contains(&0) => Err(Refusal::Value(
            "the value of a link is empty, too long or has a NUL byte; --escape writes it as a file",
        )),
        _ => Ok(()),
    }
}

fn write_file(path: &Path, value: &[u8], mode: u32) -> io::Result<()> {
    create_file(path, mode)?.write_all(value)
}

fn create_file(path: &Path, mode: u32) -> io::Result<File> {
    make_room(path)?;
    // A name that exists, a link included, makes this fail: nothing is followed.
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

fn write_link(path: &Path, target: &[u8]) -> io::Result<()> {
    make_room(path)?;
    symlink(OsStr::from_bytes(target), path)
}

fn write_folder(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => DirBuilder::new().create(path),
        Err(error) => Err(error),
    }
}

/// Unlinks what an earlier export may have left.
fn make_room(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_name_no_place_below_are_refused() {
        for key in ["", "/", "/etc/passwd", "..", "../a", "a/..", "a/../b", ".", "./a", "a/./b", "a//b", "a/", "a\0b"] {
            assert!(matches!(parse(key.as_bytes()), Err(Refusal::Name(_))), "{key:?}");
        }
    }

    #[test]
    fn odd_names_are_names() {
        for key in ["...", "..a", "a..", "-", "a b", "\\", "\n", "~", "a/...", "\u{1F980}"] {
            assert!(parse(key.as_bytes()).is_ok(), "{key:?}");
        }
        assert!(parse(b"\xff/\xfe").is_ok());
    }
}
