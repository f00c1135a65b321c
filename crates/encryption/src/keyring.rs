//! The data keys of an open store, and their registry on disk.
//!
//! Invariants
//! 1. A data key is durable in the registry before the first file is sealed under it.
//! 2. Data keys are never removed: any file of the store, or of a copy of it, may need one.
//! 3. Ids of data keys are random, so that a registry that was made anew is not taken for the one that was lost.
//! 4. The salt of the registry is drawn anew each time it is written.
//!
//! Lock order: a write of the registry holds `provider` over its calls to the system, and takes `keys` under it; `keys` is a
//! leaf, held for a look or a push. The provider, which is the caller's code, is asked under neither.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::StoreId;
use base::sync::atomic::{AtomicBool, Ordering};
use base::sync::{Mutex, RwLock};
use vfs::Vfs;

use crate::cipher::{FileCipher, KeyId, SALT_LEN};
use crate::derive::Secret;
use crate::error::{Error, KeyError, Result};
use crate::provider::{KeyProvider, MasterKey};
use crate::registry::{self, DataKey, KEY_REGISTRY, KEYS_MAX, REGISTRY_LEN_MAX, Registry};

/// How old a data key gets, where nobody says otherwise, before new files are sealed under the next.
pub const DATA_KEY_LIFETIME: Duration = Duration::from_secs(10 * 24 * 60 * 60);

/// The data keys of a store, shared by all that read and write its files.
pub struct Keyring {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    store: StoreId,
    /// Whether every file of the store is encrypted, since its first.
    none_plain: bool,
    provider: Mutex<Arc<dyn KeyProvider>>,
    /// Whether a new master key may or may not be the one that opens the registry. Changed under the lock of `provider`.
    in_doubt: AtomicBool,
    /// Oldest first; the last is the current one.
    keys: RwLock<Vec<DataKey>>,
}

impl Keyring {
    /// Makes the registry of a store that is about to be made, with its first data key. `now` is in seconds since the Unix
    /// epoch. Every file of the store is encrypted: one that says that it is not is refused.
    ///
    /// # Errors
    /// When the registry cannot be written, or the provider fails.
    pub fn create(
        vfs: &Arc<dyn Vfs>,
        dir: &Path,
        store: StoreId,
        provider: Arc<dyn KeyProvider>,
        now: u64,
    ) -> Result<Self> {
        Self::create_for(vfs, dir, store, provider, now, true)
    }

    /// As [`create`](Self::create), of a store that has files, which are not encrypted. They, and whoever can write files,
    /// are believed.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_beside_plain(
        vfs: &Arc<dyn Vfs>,
        dir: &Path,
        store: StoreId,
        provider: Arc<dyn KeyProvider>,
        now: u64,
    ) -> Result<Self> {
        Self::create_for(vfs, dir, store, provider, now, false)
    }

    fn create_for(
        vfs: &Arc<dyn Vfs>,
        dir: &Path,
        store: StoreId,
        provider: Arc<dyn KeyProvider>,
        now: u64,
        none_plain: bool,
    ) -> Result<Self> {
        let keyring = Self {
            vfs: Arc::clone(vfs),
            path: dir.join(KEY_REGISTRY),
            store,
            none_plain,
            provider: Mutex::new(provider),
            in_doubt: AtomicBool::new(false),
            keys: RwLock::new(Vec::new()),
        };
        keyring.rotate(now)?;
        Ok(keyring)
    }

    /// Reads the registry in `dir`; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or is wrapped under a master key that the provider does not have.
    pub fn open(vfs: &Arc<dyn Vfs>, dir: &Path, provider: Arc<dyn KeyProvider>) -> Result<Option<Self>> {
        let path = dir.join(KEY_REGISTRY);
        let Some(metadata) = vfs.metadata(&path)? else { return Ok(None) };
        let len = metadata.len.min(REGISTRY_LEN_MAX + 1);
        let mut bytes = vec![0; len as usize];
        vfs.open_read(&path)?.read_exact_at(&mut bytes, 0)?;
        let Registry { store, none_plain, keys } = Registry::decode(&path, &bytes, &*provider)?;
        let (vfs, in_doubt) = (Arc::clone(vfs), AtomicBool::new(false));
        let (provider, keys) = (Mutex::new(provider), RwLock::new(keys));
        Ok(Some(Self { vfs, path, store, none_plain, provider, in_doubt, keys }))
    }

    /// The store whose keys these are.
    #[must_use]
    pub const fn store(&self) -> StoreId {
        self.store
    }

    /// The registry's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Under which data key new files are sealed.
    #[must_use]
    pub fn current(&self) -> KeyId {
        self.keys.read().last().map_or(KeyId::NONE, |key| key.id)
    }

    /// Makes a new data key, durably, under which files are sealed from now on. Files that are there stay as they are.
    ///
    /// # Errors
    /// When the registry cannot be written or takes no more keys, or the provider fails. The current key is then still
    /// what it was.
    pub fn rotate(&self, now: u64) -> Result<KeyId> {
        loop {
            let provider = Arc::clone(&self.provider.lock());
            let master = provider.current().map_err(Error::Provider)?;
            let current = self.provider.lock();
            if !Arc::ptr_eq(&current, &provider) {
                continue; // Wrapped under another one meanwhile.
            }
            if self.in_doubt.load(Ordering::Acquire) {
                return Err(Error::InDoubt { path: self.path.clone() });
            }
            let mut keys = self.keys.read().clone();
            if keys.len() >= KEYS_MAX {
                return Err(Error::TooManyKeys { path: self.path.clone(), max: KEYS_MAX });
            }
            let key = self.draw_key(&keys, now)?;
            let id = key.id;
            keys.push(key.clone());
            self.write(keys, &master)?;
            self.keys.write().push(key);
            return Ok(id);
        }
    }

    /// [Rotates](Self::rotate) if the current key is older than `lifetime`. Costs a look where it is not. Where the registry
    /// takes no more keys, the current one stays.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate).
    pub fn rotate_if_older(&self, lifetime: Duration, now: u64) -> Result<Option<KeyId>> {
        let (created_at, count) = {
            let keys = self.keys.read();
            (keys.last().map_or(0, |key| key.created_at), keys.len())
        };
        if now.saturating_sub(created_at) <= lifetime.as_secs() || count >= KEYS_MAX {
            return Ok(None);
        }
        self.rotate(now).map(Some)
    }

    /// Wraps all data keys under the current master key of `provider`, durably, and goes on with that provider. No other
    /// file is touched.
    ///
    /// # Errors
    /// When the registry cannot be written, or the provider fails. Whether the old or the new master key opens the store
    /// is then open only if the failure was the sync of the directory; then no data key is made until this has been done
    /// again, lest the registry goes back to the old one when the new one may be all that is left.
    pub fn rewrap(&self, provider: Arc<dyn KeyProvider>) -> Result<()> {
        let master = provider.current().map_err(Error::Provider)?;
        let mut current = self.provider.lock();
        let keys = self.keys.read().clone();
        let written = self.write(keys, &master);
        let may_be_there = |error: &vfs::Error| error.operation() == vfs::Operation::SyncDir;
        match written {
            Ok(()) => {
                self.in_doubt.store(false, Ordering::Release);
                *current = provider;
                Ok(())
            }
            Err(Error::Vfs(error)) if may_be_there(&error) => {
                self.in_doubt.store(true, Ordering::Release);
                Err(error.into())
            }
            Err(error) => Err(error),
        }
    }

    /// Current key and the cipher of a new file.
    pub(crate) fn seal_with_current(&self, identity: &[u8], salt: &[u8; SALT_LEN]) -> (KeyId, FileCipher) {
        let keys = self.keys.read();
        #[expect(clippy::expect_used, reason = "create and decode leave at least one key, and none is ever removed")]
        let current = keys.last().expect("there is a current key");
        (current.id, FileCipher::new(&current.secret, identity, salt))
    }

    pub(crate) fn open_with(
        &self,
        id: KeyId,
        identity: &[u8],
        salt: &[u8; SALT_LEN],
    ) -> std::result::Result<FileCipher, KeyError> {
        let keys = self.keys.read();
        let key = keys.iter().rev().find(|key| key.id == id).ok_or(KeyError::UnknownKey(id))?;
        Ok(FileCipher::new(&key.secret, identity, salt))
    }

    fn draw_key(&self, keys: &[DataKey], now: u64) -> Result<DataKey> {
        let mut secret = Secret::default();
        self.vfs.fill_random(secret.as_mut_slice())?;
        loop {
            let mut id = [0; 4];
            self.vfs.fill_random(&mut id)?;
            let id = KeyId(u32::from_le_bytes(id));
            if id != KeyId::NONE && keys.iter().all(|key| key.id != id) {
                return Ok(DataKey { id, created_at: now, secret });
            }
        }
    }

    /// Refuses a file that is not encrypted where none can be.
    pub(crate) fn check_plain(&self) -> std::result::Result<(), KeyError> {
        if self.none_plain { Err(KeyError::NotEncrypted) } else { Ok(()) }
    }

    fn write(&self, keys: Vec<DataKey>, master: &MasterKey) -> Result<()> {
        let mut salt = [0; SALT_LEN];
        self.vfs.fill_random(&mut salt)?;
        let registry = Registry { store: self.store, none_plain: self.none_plain, keys };
        vfs::write_atomic(&*self.vfs, &self.path, &registry::encode(&registry, master, &salt))?;
        Ok(())
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("path", &self.path)
            .field("store", &self.store)
            .field("current", &self.current())
            .finish_non_exhaustive()
    }
}
