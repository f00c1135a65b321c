//! The directory of a store before anything in it is read: is it one of ours, may we have it, is it on a disk.

use std::path::Path;

use base::{Corruption, StoreId};
use encryption::KEY_REGISTRY;
use lsm_levels::CURRENT_HEAD;
use vfs::{FileKind, FileLock, LockKind, MountKind, Vfs};
use vlog::ValueLog;

use crate::files::StoreFiles;
use crate::options::Options;
use crate::recovery::{Access, RecoveryReport};
use crate::{Error, ErrorKind, Result};

/// What the magic of a manifest, log or table begins with, and how long it is.
const MAGIC: &[u8] = b"RATEL";
const MAGIC_LEN: u64 = 8;

/// Makes the directory if it may, refuses one that is not a store's, and locks it.
pub(super) fn prepare(
    options: &Options,
    files: &StoreFiles,
    access: Access,
    report: &mut RecoveryReport,
) -> Result<Vec<Box<dyn FileLock>>> {
    let vfs = &*options.vfs;
    match vfs.metadata(&files.dir)? {
        Some(metadata) if metadata.kind != FileKind::Dir => {
            return Err(Error::incompatible(&files.dir, "not a store", "a directory", "something else"));
        }
        Some(_) => {}
        None if access == Access::ReadOnly || !options.create_if_missing => return Err(not_there(&files.dir)),
        None => vfs.create_dir_all(&files.dir)?,
    }
    refuse_foreign(vfs, files, access, options.create_if_missing)?;
    let mut locks = vec![lock(options, &files.lock(), access)?];
    let is_new = vfs.metadata(&files.current())?.is_none();
    // A folder within the store's own may be missing as the store was killed while it was made.
    if !is_new && files.has_own_value_dir() && vfs.metadata(&files.value_dir)?.is_none() {
        return Err(values_elsewhere(files, None, "no such folder"));
    }
    if files.has_own_value_dir() {
        if access == Access::ReadWrite {
            vfs.create_dir_all(&files.value_dir)?;
        }
        // A reader makes none: the store's own lock keeps its writer out, and no other store's may write there.
        if access == Access::ReadWrite || vfs.metadata(&files.value_lock())?.is_some() {
            locks.push(lock(options, &files.value_lock(), access)?);
        }
        if is_new && let Some(owner) = ValueLog::owner(vfs, &files.value_dir)? {
            return Err(values_elsewhere(files, None, &format!("those of store {owner}")));
        }
    }
    warn_of_network(vfs, files, report)?;
    Ok(locks)
}

/// Refuses a folder that is not that of the store's values, instead of beginning a value log there. Where the folder was given,
/// that is what is wrong; where it is the store's own, its files are lost, unless there always was another.
pub(super) fn check_values(options: &Options, files: &StoreFiles, store: StoreId, must_exist: bool) -> Result<()> {
    let owner = ValueLog::owner(&*options.vfs, &files.value_dir)?;
    let is_given = options.value_dir.is_some();
    match owner {
        Some(owner) if owner != store && is_given => {
            Err(values_elsewhere(files, Some(store), &format!("those of store {owner}")))
        }
        None if must_exist && is_given => Err(values_elsewhere(files, Some(store), "no value log")),
        None if must_exist => {
            let what = format!("missing value log of store {store}; one with a folder of its own is opened with that");
            Err(Corruption::new(vlog::manifest_path(&files.value_dir), 0, what).into())
        }
        _ => Ok(()),
    }
}

fn values_elsewhere(files: &StoreFiles, store: Option<StoreId>, found: &str) -> Error {
    let id = store.map_or_else(String::new, |store| format!(", which is store {store}"));
    let expected = format!("those of {}{id}", files.dir.display());
    Error::incompatible(&files.value_dir, "not the folder of this store's values", expected, found)
}

fn warn_of_network(vfs: &dyn Vfs, files: &StoreFiles, report: &mut RecoveryReport) -> Result<()> {
    let value_dir = files.has_own_value_dir().then_some(&files.value_dir);
    for dir in std::iter::once(&files.dir).chain(value_dir) {
        if vfs.metadata(dir)?.is_some()
            && let MountKind::Network(name) = vfs.mount_kind(dir)?
        {
            let place = dir.display();
            let warning = format!("{place} is on a network file system ({name}): its locks and syncs may not hold");
            tracing::warn!("{warning}");
            report.warnings.push(warning);
        }
    }
    Ok(())
}

/// A directory is a store's by what its `CURRENT` begins with or, where that is damaged or missing, by a file with the
/// magic of one; a new store's only if it holds nothing but what making one may have left.
fn refuse_foreign(vfs: &dyn Vfs, files: &StoreFiles, access: Access, may_create: bool) -> Result<()> {
    if let Some(metadata) = vfs.metadata(&files.current())? {
        let is_ours = (metadata.kind == FileKind::File
            && part(vfs, &files.current(), 0, CURRENT_HEAD.len())? == CURRENT_HEAD.as_bytes())
            || holds_magic(vfs, files)?;
        if is_ours {
            return Ok(());
        }
        let found = "that of another program";
        return Err(Error::incompatible(files.current(), "not a store", "the CURRENT of a store", found));
    }
    if let Some(rest) = rest_of_a_store(vfs, files)?
        && holds_magic(vfs, files)?
    {
        let what = format!("the file is missing, but there are others of a store, such as {rest}");
        return Err(Corruption::new(files.current(), 0, what).into());
    }
    if access == Access::ReadOnly || !may_create {
        return Err(not_there(&files.dir));
    }
    for entry in vfs.list(&files.dir)? {
        let name = entry.name.to_str().unwrap_or_default();
        let may_be_left = ["LOCK", "vlog", "CURRENT.tmp", KEY_REGISTRY, "KEYREGISTRY.tmp"].contains(&name)
            || (name == FIRST_MANIFEST && is_unfinished(vfs, &files.dir.join(&entry.name))?);
        if !may_be_left {
            let found = format!("no CURRENT, but {}", entry.name.display());
            return Err(Error::incompatible(&files.dir, "not a store", "a store or an empty directory", found));
        }
    }
    // The value log is begun behind CURRENT: where it has files, that one was lost, and the keys of those files must stay.
    if files.has_own_value_dir() && vfs.metadata(&files.dir.join(KEY_REGISTRY))?.is_none() {
        return Ok(());
    }
    let values = if vfs.metadata(&files.value_dir)?.is_some() { vfs.list(&files.value_dir)? } else { Vec::new() };
    if let Some(rest) = values.iter().find(|entry| entry.name != Path::new("LOCK")) {
        let rest = files.value_dir.join(&rest.name);
        let what = format!("the file is missing, but there are others of a store, such as {}", rest.display());
        return Err(Corruption::new(files.current(), 0, what).into());
    }
    Ok(())
}

/// The manifest that is there before `CURRENT` is.
const FIRST_MANIFEST: &str = "MANIFEST-000001";

/// Whether a manifest may be one of ours, whose beginning may not have reached the disk.
fn is_unfinished(vfs: &dyn Vfs, manifest: &Path) -> Result<bool> {
    let begins = part(vfs, manifest, 0, MAGIC.len())?;
    Ok(MAGIC.starts_with(&begins) || begins.iter().all(|byte| *byte == 0))
}

/// Whether a manifest, log or table begins or ends as ours do.
fn holds_magic(vfs: &dyn Vfs, files: &StoreFiles) -> Result<bool> {
    for entry in vfs.list(&files.dir)? {
        let name = entry.name.to_str().unwrap_or_default();
        if !name.starts_with("MANIFEST-") && ![".sst", ".wal"].iter().any(|extension| name.ends_with(extension)) {
            continue;
        }
        let path = files.dir.join(&entry.name);
        let Some(metadata) = vfs.metadata(&path)?.filter(|metadata| metadata.kind == FileKind::File) else { continue };
        for offset in [0, metadata.len.saturating_sub(MAGIC_LEN)] {
            if part(vfs, &path, offset, MAGIC.len())? == MAGIC {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Up to `len` bytes of a file, fewer where it ends before.
fn part(vfs: &dyn Vfs, path: &Path, offset: u64, len: usize) -> Result<Vec<u8>> {
    let file = vfs.open_read(path)?;
    let rest = usize::try_from(file.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; rest.min(len)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// The name of a table or log, which only a store that has been written to has.
pub(super) fn rest_of_a_store(vfs: &dyn Vfs, files: &StoreFiles) -> Result<Option<String>> {
    let names = vfs.list(&files.dir)?.into_iter().filter_map(|entry| entry.name.to_str().map(str::to_owned));
    let mut data = names.filter(|name| [".sst", ".wal"].iter().any(|extension| name.ends_with(extension)));
    Ok(data.next())
}

/// Takes the lock that keeps other processes out, or lets fellow readers in.
fn lock(options: &Options, path: &Path, access: Access) -> Result<Box<dyn FileLock>> {
    let kind = if access == Access::ReadOnly { LockKind::Shared } else { LockKind::Exclusive };
    options.vfs.lock(path, kind)?.ok_or_else(|| {
        let message = format!("{} is held: another process, or another handle, has the store open", path.display());
        Error::new(ErrorKind::Locked, message)
    })
}

pub(super) fn not_there(dir: &Path) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("{} holds no store", dir.display()))
}
