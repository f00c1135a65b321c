//! A file system in memory that keeps the strict contract and no more than it: what no sync has followed may be lost.
//!
//! It knows, for every file and every directory, what the imagined disk holds and which changes are on their way there,
//! so it can show what a power loss at this moment may leave ([`MemFs::crash_image`]). Tests also edit bytes
//! ([`MemFs::edit`]), fill the disk ([`MemFs::set_capacity`]) and lose what a failed sync leaves behind
//! ([`MemFs::drop_unsynced`]). [`MemFs::volatile`] keeps no such history: it is where a store in memory lives.
//!
//! Invariants
//! 1. Lock order: `gate`, then `tree`, then one file. Every change holds `gate` shared, a crash image holds it alone, so
//!    an image is of one moment.
//! 2. Sequence numbers follow cause and effect: a change that began after another returned has the higher number.
//! 3. A file without a name, live or durable or pending, and without an open handle or mapping, is freed.

mod append;
mod content;
mod crash;
mod node;
mod read;
mod space;
mod tree;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::rng::Rng;
use base::sync::atomic::{AtomicU64, Ordering};
use base::sync::{Mutex, RwLock};

use content::Content;
use node::Node;
use space::Space;
use tree::{Found, NameChange, Tree};

pub use crash::CrashMode;

use crate::{
    AppendFile, AppendOptions, DirEntry, Error, FileKind, FileLock, LockKind, Metadata, MountKind, Operation, ReadFile,
    Result, Vfs,
};

/// A file system in memory. Clones are the same.
#[derive(Clone)]
pub struct MemFs {
    inner: Arc<Inner>,
}

struct Inner {
    gate: RwLock<()>,
    tree: Mutex<Tree>,
    /// The next sequence number of a change, and the next number of a file.
    numbers: AtomicU64,
    entropy: Mutex<Rng>,
    space: Arc<Space>,
    mounts: Mutex<Vec<(PathBuf, MountKind)>>,
    keeps_history: bool,
}

impl MemFs {
    /// A strict one, empty, whose random bytes come from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_history(seed, true)
    }

    /// One that keeps no history: faster, no second copy of anything, and its only crash image is all of it.
    ///
    /// `seed` should be random where salts and ids drawn from this file system leave the process.
    #[must_use]
    pub fn volatile(seed: u64) -> Self {
        Self::with_history(seed, false)
    }

    fn with_history(seed: u64, keeps_history: bool) -> Self {
        Self {
            inner: Arc::new(Inner {
                gate: RwLock::new(()),
                tree: Mutex::new(Tree::new(keeps_history)),
                numbers: AtomicU64::new(0),
                entropy: Mutex::new(Rng::new(seed)),
                space: Arc::new(Space::new(u64::MAX >> 1)),
                mounts: Mutex::default(),
                keeps_history,
            }),
        }
    }

    /// Limits the sum of all files' lengths, space allocated ahead included; what would pass it fails as on a full disk.
    /// Files that are removed count until nothing can bring them back.
    pub fn set_capacity(&self, bytes: u64) {
        self.inner.space.set_capacity(bytes);
    }

    /// Says that all below a path is on such a file system. It changes nothing else.
    pub fn mount(&self, path: &Path, kind: MountKind) {
        self.inner.mounts.lock().push((path.to_owned(), kind));
    }

    /// The sum of all files' lengths, those included that are removed but still open or not yet removed durably.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.inner.space.used()
    }

    /// The paths of all files, below the root and sorted.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.inner.tree.lock().files()
    }

    /// All bytes of a file.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>> {
        Ok(self.file(Operation::Read, path)?.state.read().live.to_vec())
    }

    /// Puts a file there, durably, with its directory, replacing the bytes of one that exists.
    ///
    /// # Errors
    /// When a directory is in the way.
    pub fn write(&self, path: &Path, bytes: impl Into<Vec<u8>>) -> Result<()> {
        let content = Content::from(bytes.into());
        self.mutate(|_| {
            let mut tree = self.inner.tree.lock();
            match tree.find(path) {
                Some(Found::File(node)) => node.replace(content),
                Some(Found::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
                None => {
                    tree.create_dirs(path.parent().unwrap_or(Path::new("")))?;
                    let place = tree.free_place(path)?;
                    tree.link_durably(place, self.node(content));
                }
            }
            Ok(())
        })
        .map_err(|error| Error::new(Operation::Create, path, error))
    }

    /// Changes the bytes of a file, durably: cuts it, flips bits, anything. Mappings that are open keep the old ones.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let node = self.file(Operation::Read, path)?;
        let mut bytes = node.state.read().live.to_vec();
        change(&mut bytes);
        self.mutate(|_| node.replace(Content::from(bytes)));
        Ok(())
    }

    /// Makes the changes of a file since its last sync unsyncable, as a failed sync of Linux does: readers still see
    /// them, no later sync writes them. Its length stays.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn drop_unsynced(&self, path: &Path) -> Result<()> {
        let node = self.file(Operation::Sync, path)?;
        self.mutate(|sequence| node.drop_unsynced(sequence));
        Ok(())
    }

    /// Runs one change with its sequence number, while no crash image is taken.
    fn mutate<R>(&self, change: impl FnOnce(u64) -> R) -> R {
        let _gate = self.inner.gate.read();
        change(self.number())
    }

    fn number(&self) -> u64 {
        self.inner.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn node(&self, content: Content) -> Arc<Node> {
        Arc::new(Node::new(self.number(), content, self.inner.keeps_history, Arc::clone(&self.inner.space)))
    }

    fn file(&self, operation: Operation, path: &Path) -> Result<Arc<Node>> {
        self.inner.tree.lock().file(path).map_err(|error| Error::new(operation, path, error))
    }

    /// Changes names, under the lock of the tree.
    fn change_names(
        &self,
        operation: Operation,
        path: &Path,
        change: impl FnOnce(&Tree) -> io::Result<Option<NameChange>>,
    ) -> Result<()> {
        self.mutate(|sequence| {
            let mut tree = self.inner.tree.lock();
            if let Some(change) = change(&tree)? {
                tree.change(sequence, change);
            }
            Ok(())
        })
        .map_err(|error| Error::new(operation, path, error))
    }

    /// Creates an empty file.
    fn create(&self, operation: Operation, path: &Path) -> Result<Arc<Node>> {
        let node = self.node(Content::default());
        self.change_names(operation, path, |tree| {
            Ok(Some(NameChange::Link { to: tree.free_place(path)?, node: Arc::clone(&node) }))
        })?;
        Ok(node)
    }
}

impl Vfs for MemFs {
    fn open_read(&self, path: &Path) -> Result<Arc<dyn ReadFile>> {
        Ok(Arc::new(read::MemReadFile::new(self.file(Operation::Open, path)?, path.into())))
    }

    fn create_append(&self, path: &Path, options: AppendOptions) -> Result<Box<dyn AppendFile>> {
        let step = options
            .step_bytes()
            .ok_or_else(|| Error::new(Operation::Allocate, path, io::ErrorKind::FileTooLarge.into()))?;
        let node = self.create(Operation::Create, path)?;
        if step > 0
            && let Err(error) = self.mutate(|sequence| node.set_len(sequence, step))
        {
            self.remove_file(path)?;
            return Err(Error::new(Operation::Allocate, path, error));
        }
        Ok(Box::new(append::MemAppendFile::new(self.clone(), node, path.into(), options, step)))
    }

    fn truncate(&self, path: &Path, len: u64) -> Result<()> {
        let node = self.file(Operation::Truncate, path)?;
        self.mutate(|sequence| {
            if node.state.read().live.len() < len {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            node.set_len(sequence, len)?;
            node.sync();
            Ok(())
        })
        .map_err(|error| Error::new(Operation::Truncate, path, error).at(len))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.change_names(Operation::Rename, from, |tree| {
            let node = tree.file(from)?;
            match tree.find(to) {
                Some(Found::Dir) => Err(io::ErrorKind::IsADirectory.into()),
                // As POSIX has it, two names of one file both stay.
                Some(Found::File(target)) if Arc::ptr_eq(&target, &node) => Ok(None),
                _ => Ok(Some(NameChange::Rename { from: tree.place(from)?, to: tree.place(to)?, node })),
            }
        })
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.change_names(Operation::Remove, path, |tree| {
            tree.file(path)?;
            Ok(Some(NameChange::Unlink { from: tree.place(path)? }))
        })
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        self.change_names(Operation::Link, from, |tree| {
            Ok(Some(NameChange::Link { node: tree.file(from)?, to: tree.free_place(to)? }))
        })
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.mutate(|_| self.inner.tree.lock().create_dirs(path))
            .map_err(|error| Error::new(Operation::CreateDir, path, error))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.mutate(|_| self.inner.tree.lock().sync(path)).map_err(|error| Error::new(Operation::SyncDir, path, error))
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        let (files, dirs) =
            self.inner.tree.lock().list(path).map_err(|error| Error::new(Operation::List, path, error))?;
        let files = files.into_iter().map(|name| DirEntry { name: name.into(), kind: FileKind::File });
        let dirs = dirs.into_iter().map(|name| DirEntry { name: name.into(), kind: FileKind::Dir });
        let mut entries: Vec<DirEntry> = files.chain(dirs).collect();
        entries.sort_unstable();
        Ok(entries)
    }

    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        let found = self.inner.tree.lock().find(path);
        Ok(found.map(|found| match found {
            Found::File(node) => Metadata { kind: FileKind::File, len: node.state.read().live.len() },
            Found::Dir => Metadata { kind: FileKind::Dir, len: 0 },
        }))
    }

    fn lock(&self, path: &Path, kind: LockKind) -> Result<Option<Box<dyn FileLock>>> {
        let node = match self.file(Operation::Lock, path) {
            Err(error) if error.is_not_found() && kind == LockKind::Exclusive => {
                match self.create(Operation::Lock, path) {
                    // Another thread was faster.
                    Err(error) if error.io().kind() == io::ErrorKind::AlreadyExists => self.file(Operation::Lock, path),
                    created => created,
                }
            }
            found => found,
        }?;
        Ok(MemLock::take(node, kind).map(|lock| Box::new(lock) as Box<dyn FileLock>))
    }

    fn available_bytes(&self, _path: &Path) -> Result<u64> {
        Ok(self.inner.space.available())
    }

    fn mount_kind(&self, path: &Path) -> Result<MountKind> {
        let mounts = self.inner.mounts.lock();
        let mount =
            mounts.iter().filter(|(root, _)| path.starts_with(root)).max_by_key(|(root, _)| root.as_os_str().len());
        Ok(mount.map_or(MountKind::Local, |(_, kind)| *kind))
    }

    fn fill_random(&self, bytes: &mut [u8]) -> Result<()> {
        self.inner.entropy.lock().fill(bytes);
        Ok(())
    }
}

impl fmt::Debug for MemFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemFs").field("used_bytes", &self.used_bytes()).finish_non_exhaustive()
    }
}

/// A lock held on a file.
#[derive(Debug)]
struct MemLock {
    node: Arc<Node>,
    kind: LockKind,
}

impl MemLock {
    fn take(node: Arc<Node>, kind: LockKind) -> Option<Self> {
        let mut holders = node.holders.lock();
        let is_free = !holders.exclusive && (kind == LockKind::Shared || holders.shared == 0);
        if !is_free {
            return None;
        }
        match kind {
            LockKind::Exclusive => holders.exclusive = true,
            LockKind::Shared => holders.shared += 1,
        }
        drop(holders);
        Some(Self { node, kind })
    }
}

impl FileLock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        let mut holders = self.node.holders.lock();
        match self.kind {
            LockKind::Exclusive => holders.exclusive = false,
            LockKind::Shared => holders.shared -= 1,
        }
    }
}
