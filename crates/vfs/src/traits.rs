//! The one interface to files. Every layer above takes an `Arc<dyn Vfs>` and touches no file in any other way.
//!
//! Contract, held by one test suite over all implementations
//! 1. Nothing is ever overwritten: files are created new, appended to, cut, renamed and removed.
//! 2. Appended bytes can be read (`read_exact_at`, a new mapping) as soon as `append` returns, but for
//!    [`AppendMode::Buffered`], where `flush` or `sync` comes first. They survive the death of the process from then on.
//! 3. Bytes survive a power loss once `sync` returned after their append; a name, its removal or its renaming once
//!    `sync_dir` of the directory returned after it.
//! 4. A rename replaces its target atomically.
//! 5. A file that was removed stays readable through the handles and mappings that are open.

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Result;

/// A file system.
#[allow(clippy::missing_errors_doc, reason = "every call fails as its system call does, naming operation and path")]
pub trait Vfs: fmt::Debug + Send + Sync + 'static {
    /// Opens a file for reading at any offset.
    fn open_read(&self, path: &Path) -> Result<Arc<dyn ReadFile>>;

    /// Creates a file that must not exist, for appending.
    fn create_append(&self, path: &Path, options: AppendOptions) -> Result<Box<dyn AppendFile>>;

    /// Cuts a file to `len` bytes and syncs it.
    fn truncate(&self, path: &Path, len: u64) -> Result<()>;

    /// Renames a file, replacing `to` if it exists.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file's name.
    fn remove_file(&self, path: &Path) -> Result<()>;

    /// Gives a file a second name, which must not exist.
    fn hard_link(&self, from: &Path, to: &Path) -> Result<()>;

    /// Creates a directory and those above it that are missing, and syncs each directory that got a new entry. One that
    /// exists is made durable too: whoever created it may have died before its sync.
    fn create_dir_all(&self, path: &Path) -> Result<()>;

    /// Makes the names in a directory, their removals and renames durable.
    fn sync_dir(&self, path: &Path) -> Result<()>;

    /// The entries of a directory, sorted by name.
    fn list(&self, path: &Path) -> Result<Vec<DirEntry>>;

    /// What is at `path`, following links; `None` where there is nothing.
    fn metadata(&self, path: &Path) -> Result<Option<Metadata>>;

    /// Takes an advisory lock on the file at `path`, creating it if it is missing; `None` where another holder is in the
    /// way. A shared lock does not create: the file must exist. Held until the value is dropped; two locks within one
    /// process exclude each other as those of two processes do.
    fn lock(&self, path: &Path, kind: LockKind) -> Result<Option<Box<dyn FileLock>>>;

    /// Bytes that this process may still write to the file system of `path`.
    fn available_bytes(&self, path: &Path) -> Result<u64>;

    /// Whether the file system of `path` is a network one.
    fn mount_kind(&self, path: &Path) -> Result<MountKind>;

    /// Fills `bytes` with randomness fit for keys and salts.
    fn fill_random(&self, bytes: &mut [u8]) -> Result<()>;
}

/// A file open for reading.
#[allow(clippy::missing_errors_doc, reason = "every call fails as its system call does, naming operation and path")]
#[allow(clippy::len_without_is_empty, reason = "a file's length is a fallible question, not a container's")]
pub trait ReadFile: fmt::Debug + Send + Sync {
    /// The path under which it was opened.
    fn path(&self) -> &Path;

    /// Its length in bytes now, space allocated ahead included.
    fn len(&self) -> Result<u64>;

    /// Fills `buffer` from `offset`; fewer bytes than that are an error (`UnexpectedEof`).
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()>;

    /// Maps the first `len` bytes. `len` is checked against the file's length first, and against what was appended so far
    /// where an [`AppendFile`] of this process is still at work on the file; more is `UnexpectedEof`.
    fn map(&self, len: u64) -> Result<Mapping>;

    /// Says how a range is about to be used. Only a hint: it never fails.
    fn advise(&self, offset: u64, len: u64, advice: Advice);
}

/// A file open for appending, by one owner. Dropping it without [`finish`](Self::finish) leaves the file as a kill of the
/// process would: buffered bytes gone, space allocated ahead still there.
#[allow(clippy::missing_errors_doc, reason = "every call fails as its system call does, naming operation and path")]
#[allow(clippy::len_without_is_empty, reason = "nobody asks")]
pub trait AppendFile: fmt::Debug + Send {
    /// Where the file is.
    fn path(&self) -> &Path;

    /// Bytes appended so far: where the next append goes.
    fn len(&self) -> u64;

    /// Appends all of `bytes`. After an error the file may hold a part of them; [`cut`](Self::cut) removes it.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;

    /// Hands buffered bytes to the system. Does nothing in the other modes.
    fn flush(&mut self) -> Result<()>;

    /// Makes everything appended so far durable (data, length, allocation; not the name).
    fn sync(&mut self) -> Result<()>;

    /// A handle with which another thread can sync while this one appends.
    fn sync_handle(&self) -> Arc<dyn SyncHandle>;

    /// A reader of the same file.
    fn reader(&self) -> Result<Arc<dyn ReadFile>>;

    /// Drops everything behind `len`, which is at most [`len`](Self::len): the bytes behind it read as zeros or as the end
    /// of the file from then on. Nobody may hold a mapping of the dropped bytes.
    fn cut(&mut self, len: u64) -> Result<()>;

    /// Gives back space that was allocated but not used, and syncs. The file is then exactly [`len`](Self::len) long.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Syncs a file that someone else appends to.
pub trait SyncHandle: fmt::Debug + Send + Sync {
    /// Makes durable everything whose append returned before this call (for [`AppendMode::Buffered`]: whose flush did).
    ///
    /// # Errors
    /// When the system could not write; the unsynced bytes must then be taken for lost, and a retry proves nothing.
    fn sync(&self) -> Result<()>;
}

/// How appended bytes reach the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendMode {
    /// Copied into a mapping of the allocated file: no system call an append. Needs space allocated ahead.
    Mapped,
    /// One `write` an append.
    Written,
    /// Gathered in a buffer of this many bytes; for files that nobody reads before they are whole.
    Buffered(usize),
}

/// How a file for appending is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AppendOptions {
    /// How appended bytes reach the system.
    pub mode: AppendMode,
    /// Bytes to allocate ahead, in full, zero-filled; allocation goes on in steps of this size when they are used up.
    /// `0` allocates nothing ahead. For [`AppendMode::Mapped`] it is rounded up to a multiple of 64 KiB, and `0` stands for
    /// 1 MiB.
    pub preallocate_bytes: u64,
}

/// Mappings start at multiples of this, which all page sizes of our platforms divide.
const WINDOW_ALIGNMENT: u64 = 64 << 10;
/// The step of a mapped file whose creator named none.
const MAPPED_STEP_DEFAULT: u64 = 1 << 20;

impl AppendOptions {
    /// The step in which space is allocated; 0 for none, `None` where it is out of reach.
    pub(crate) fn step_bytes(self) -> Option<u64> {
        match (self.mode, self.preallocate_bytes) {
            (AppendMode::Mapped, 0) => Some(MAPPED_STEP_DEFAULT),
            (AppendMode::Mapped, bytes) => bytes.checked_next_multiple_of(WINDOW_ALIGNMENT),
            (AppendMode::Written | AppendMode::Buffered(_), bytes) => Some(bytes),
        }
    }
}

/// How a range is about to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// Soon.
    WillNeed,
    /// Front to back.
    Sequential,
    /// In no order.
    Random,
    /// Not again soon.
    DontNeed,
}

/// What a directory entry or a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// Anything else.
    Other,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name, without the directory.
    pub name: PathBuf,
    /// What it is; a symbolic link is [`FileKind::Other`], not followed.
    pub kind: FileKind,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// File, directory or other.
    pub kind: FileKind,
    /// Length in bytes (of a file).
    pub len: u64,
}

/// Whom a lock lets in beside its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockKind {
    /// Nobody.
    Exclusive,
    /// Other shared holders.
    Shared,
}

/// A held lock; dropping it frees it.
pub trait FileLock: fmt::Debug + Send + Sync {}

/// What kind of file system a path is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MountKind {
    /// A local disk or memory.
    Local,
    /// A network file system, by name; locks and mappings cannot be trusted there.
    Network(&'static str),
}

/// Read-only bytes of a file, or of memory, that stay valid while any clone lives.
#[derive(Clone)]
pub struct Mapping(Arc<dyn AsRef<[u8]> + Send + Sync>);

impl Mapping {
    /// Wraps anything that holds bytes.
    pub fn new(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self(Arc::new(owner))
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Mapping> for bytes::Bytes {
    fn from(mapping: Mapping) -> Self {
        Self::from_owner(mapping)
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("len", &self.len()).finish()
    }
}
