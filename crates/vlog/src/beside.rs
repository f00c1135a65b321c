//! A reader that opens a log beside its writer, without a lock: what it reads one after the other must be of one moment.
//!
//! The reader sees no record behind the ends that it found, so no record may be taken for dead, or be left out by a collection,
//! that was superseded there; and a tombstone may be dead because what it hides is, so no dead set may be newer than another.
//! Both hold where the manifest and each dead set that is read are those that were there before files were listed: a dead set
//! that is written again has another salt, a manifest the next generation.

use std::collections::BTreeMap;
use std::path::Path;

use base::SegmentId;
use encryption::SALT_LEN;
use vfs::Vfs;

use crate::file_name::{FileName, dead_path, manifest_path};
use crate::header::{FileHeader, FileKind, HEADER_LEN, Store};
use crate::manifest::Manifest;
use crate::recovery::{list, read_header};
use crate::{Error, Options, Result};

/// What tells a dead set from the one before it.
pub(crate) type DeadSalt = [u8; SALT_LEN];

/// What there was before a reader listed the files.
#[derive(Debug)]
pub(crate) struct Beside {
    generation: Option<u64>,
    salts: BTreeMap<SegmentId, DeadSalt>,
}

impl Beside {
    /// Looks at what there is; `None` for a log that nobody writes to meanwhile.
    pub(crate) fn look(vfs: &dyn Vfs, dir: &Path, options: &Options) -> Result<Option<Self>> {
        if !options.read_only || !options.stands_alone {
            return Ok(None);
        }
        let generation = generation(vfs, dir, options)?;
        let mut salts = BTreeMap::new();
        for (name, path) in list(vfs, dir)? {
            let FileName::Dead(id) = name else { continue };
            salts.extend(salt(vfs, &path, options.of_store())?.map(|salt| (id, salt)));
        }
        Ok(Some(Self { generation, salts }))
    }

    /// Refuses another manifest than there was.
    pub(crate) fn check_manifest(&self, dir: &Path, found: &Manifest) -> Result<()> {
        if self.generation == Some(found.generation) {
            Ok(())
        } else {
            Err(Error::Changed { path: manifest_path(dir) })
        }
    }

    /// Whether the writer has taken a segment off the list since: its files may be gone, and are no loss.
    pub(crate) fn is_taken_off(&self, vfs: &dyn Vfs, dir: &Path, options: &Options, id: SegmentId) -> Result<bool> {
        let now = Manifest::read(vfs, dir, options.of_store())?;
        let is_other = |now: &Manifest| self.generation != Some(now.generation);
        Ok(now.is_some_and(|now| is_other(&now) && id < now.open_from && !now.segments.contains_key(&id)))
    }

    /// What an error of opening comes from: files that are gone, where the writer has said so meanwhile.
    pub(crate) fn explain(&self, vfs: &dyn Vfs, dir: &Path, options: &Options, error: Error) -> Error {
        match generation(vfs, dir, options) {
            Ok(now) if now != self.generation => Error::Changed { path: manifest_path(dir) },
            _ => error,
        }
    }

    /// Refuses a dead set, or that there is none, where that was otherwise before files were listed or when they were opened.
    pub(crate) fn check(&self, dir: &Path, id: SegmentId, was_there: bool, found: Option<&DeadSalt>) -> Result<()> {
        let is_same = self.salts.get(&id) == found && found.is_some() == was_there;
        if is_same { Ok(()) } else { Err(Error::Changed { path: dead_path(dir, id) }) }
    }
}

fn generation(vfs: &dyn Vfs, dir: &Path, options: &Options) -> Result<Option<u64>> {
    Ok(Manifest::read(vfs, dir, options.of_store())?.map(|manifest| manifest.generation))
}

/// The salt of a dead set. One that is damaged has none: whoever reads it is told.
fn salt(vfs: &dyn Vfs, path: &Path, store: Store<'_>) -> Result<Option<DeadSalt>> {
    let file = match vfs.open_read(path) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let bytes = read_header(&*file, file.len()?.min(HEADER_LEN as u64))?;
    Ok(FileHeader::decode(path, FileKind::Dead, store, &bytes).ok().map(|header| header.salt))
}
