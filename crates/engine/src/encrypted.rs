//! Keys of an encrypted store: found or made when it is opened, and changed while it is open.

use std::path::Path;
use std::sync::Arc;

use base::sync::atomic::Ordering;
use base::{Corruption, StoreId};
use encryption::{KEY_REGISTRY, KeyProvider, Keyring, StaticKey};
use lsm_levels::Levels;
use vfs::RealFs;

use crate::counters::add;
use crate::options::Options;
use crate::recovery::Access;
use crate::store::Store;
use crate::{Db, Error, ErrorKind, Result};

/// So long after one could not be made, a new data key is tried again.
const DATA_KEY_RETRY_SECONDS: u64 = 60;

/// The master key in a file: 32 bytes, or 64 hexadecimal digits that a line feed may end.
///
/// # Errors
/// [`Io`](ErrorKind::Io) when the file cannot be read, [`Encryption`](ErrorKind::Encryption) when it holds no key.
pub fn key_file(path: impl AsRef<Path>) -> Result<Arc<dyn KeyProvider>> {
    Ok(Arc::new(StaticKey::read(&RealFs::new(), path.as_ref())?))
}

/// The keys for a store that is about to be made.
pub(crate) fn create(options: &Options, dir: &Path, store: StoreId) -> Result<Option<Arc<Keyring>>> {
    let vfs = &options.vfs;
    // Of a making that was interrupted before there was a store: no file was ever sealed under its keys.
    let registry = dir.join(KEY_REGISTRY);
    if vfs.metadata(&registry)?.is_some() {
        vfs.remove_file(&registry)?;
    }
    let Some(provider) = &options.encryption else { return Ok(None) };
    let now = options.clock.unix_seconds();
    Ok(Some(Arc::new(Keyring::create(vfs, dir, store, Arc::clone(provider), now)?)))
}

/// The keys of a store that is there. One that was not encrypted gets its registry now, if it is opened for writing.
pub(crate) fn open(options: &Options, dir: &Path, access: Access) -> Result<Option<Arc<Keyring>>> {
    let Some(provider) = &options.encryption else { return Ok(None) };
    let (vfs, now) = (&options.vfs, options.clock.unix_seconds());
    if let Some(keys) = Keyring::open(vfs, dir, Arc::clone(provider))? {
        if access == Access::ReadWrite {
            // The key that is there is still good.
            match keys.rotate_if_older(options.data_key_lifetime, now) {
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "no new data key could be made; the one before is used on"),
            }
        }
        return Ok(Some(Arc::new(keys)));
    }
    let store = Levels::store_of_plain(vfs, dir).map_err(|error| match error {
        lsm_levels::Error::Key { path, .. } => {
            let registry = dir.join(KEY_REGISTRY);
            let message = format!("{}: missing, and {} is encrypted", registry.display(), path.display());
            Error::new(ErrorKind::Encryption, message)
        }
        error => error.into(),
    })?;
    match (store, access) {
        (Some(store), Access::ReadWrite) => {
            // It may be one that was put in place of an encrypted one.
            tracing::warn!(dir = %dir.display(), "the store was not encrypted; from now on what is written is");
            Ok(Some(Arc::new(Keyring::create_beside_plain(vfs, dir, store, Arc::clone(provider), now)?)))
        }
        (Some(_), Access::ReadOnly) => {
            tracing::warn!(dir = %dir.display(), "a master key was given, and the store is not encrypted");
            Ok(None)
        }
        (None, _) => Ok(None),
    }
}

/// Refuses keys of another store.
pub(crate) fn check_store(keys: Option<&Keyring>, store: StoreId) -> Result<()> {
    match keys {
        Some(keys) if keys.store() != store => {
            let corruption = Corruption::new(keys.path(), 12, "key registry of another store");
            Err(corruption.with_values(store, keys.store()).into())
        }
        _ => Ok(()),
    }
}

impl Store {
    /// Makes a new data key if the current one is older than it may get. Where that fails, the current one is used on, and
    /// it is tried again a while later: writing must not depend on it.
    pub(crate) fn rotate_old_data_key(&self) {
        let Some(keys) = &self.keys else { return };
        let now = self.clock.unix_seconds();
        if now < self.next_data_key_try.load(Ordering::Relaxed) {
            return;
        }
        match keys.rotate_if_older(self.options.data_key_lifetime, now) {
            Ok(None) => {}
            Ok(Some(id)) => tracing::info!(%id, "files are encrypted under a new data key from now on"),
            Err(error) => {
                tracing::warn!(%error, "no new data key could be made; the one before is used on");
                add(&self.counters.background_failures, 1);
                self.next_data_key_try.store(now + DATA_KEY_RETRY_SECONDS, Ordering::Relaxed);
            }
        }
    }

    fn keyring(&self) -> Result<&Keyring> {
        self.check_writable()?;
        self.keys
            .as_deref()
            .ok_or_else(|| Error::new(ErrorKind::Encryption, "the store was opened without a master key"))
    }
}

impl Db {
    /// Makes a new data key, durably. Files written from now on are encrypted under it; those that are there keep theirs
    /// until they are rewritten.
    ///
    /// # Errors
    /// [`Encryption`](ErrorKind::Encryption) when the store was opened without a master key, or its provider fails.
    pub fn rotate_data_key(&self) -> Result<()> {
        let store = &self.handle.store;
        store.keyring()?.rotate(store.clock.unix_seconds())?;
        Ok(())
    }

    /// Wraps the data keys under the current master key of `provider`, durably: from now on the store opens with that. No
    /// other file is touched.
    ///
    /// # Errors
    /// As [`rotate_data_key`](Self::rotate_data_key). Should the failure be one of syncing the directory, either key may be
    /// the one that opens the store.
    pub fn rotate_master_key(&self, provider: Arc<dyn KeyProvider>) -> Result<()> {
        Ok(self.handle.store.keyring()?.rewrap(provider)?)
    }
}
