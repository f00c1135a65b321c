//! What goes wrong with files: always the operation, the path and the system's cause.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of a file operation.
pub type Result<T> = std::result::Result<T, Error>;

/// What was being done to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is the system call of that name, or what it says")]
pub enum Operation {
    Open,
    Create,
    CreateDir,
    Allocate,
    Append,
    Flush,
    Read,
    Map,
    Sync,
    SyncDir,
    Finish,
    Truncate,
    Rename,
    Remove,
    Link,
    List,
    Stat,
    Lock,
    Entropy,
}

impl Operation {
    /// Whether it changes what a crash may leave. (A lock may create its file; nothing depends on that.)
    #[must_use]
    pub fn is_mutation(self) -> bool {
        match self {
            Self::Create
            | Self::CreateDir
            | Self::Allocate
            | Self::Append
            | Self::Flush
            | Self::Sync
            | Self::SyncDir
            | Self::Finish
            | Self::Truncate
            | Self::Rename
            | Self::Remove
            | Self::Link => true,
            Self::Open | Self::Read | Self::Map | Self::List | Self::Stat | Self::Lock | Self::Entropy => false,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::CreateDir => "create directory",
            Self::Allocate => "allocate space for",
            Self::Append => "append to",
            Self::Flush => "flush",
            Self::Read => "read",
            Self::Map => "map",
            Self::Sync => "sync",
            Self::SyncDir => "sync directory",
            Self::Finish => "finish",
            Self::Truncate => "truncate",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::Link => "link",
            Self::List => "list",
            Self::Stat => "stat",
            Self::Lock => "lock",
            Self::Entropy => "draw random bytes for",
        })
    }
}

/// A failed file operation.
#[derive(Debug)]
pub struct Error {
    operation: Operation,
    path: PathBuf,
    offset: Option<u64>,
    source: io::Error,
}

impl Error {
    /// Names what was done to which file.
    pub fn new(operation: Operation, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self { operation, path: path.into(), offset: None, source }
    }

    /// Adds where in the file, in bytes.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// What was being done.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// The file or directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where in the file, in bytes, where that is known.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// The system's cause.
    #[must_use]
    pub fn io(&self) -> &io::Error {
        &self.source
    }

    /// Whether the disk or the quota is full, which clears by itself.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether the process or the system has too many files open: nothing was done, and it clears by itself.
    #[must_use]
    pub fn is_too_many_files(&self) -> bool {
        use rustix::io::Errno;
        matches!(Errno::from_io_error(&self.source), Some(Errno::MFILE | Errno::NFILE))
    }

    /// Whether the file is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether the read went past the end of the file.
    #[must_use]
    pub fn is_unexpected_eof(&self) -> bool {
        self.source.kind() == io::ErrorKind::UnexpectedEof
    }

    /// A copy, for an error that many waiters must be told.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let source = match self.source.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(self.source.kind(), self.source.to_string()),
        };
        Self { operation: self.operation, path: self.path.clone(), offset: self.offset, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}", self.operation, self.path.display())?;
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset}")?;
        }
        write!(f, ": {}", self.source)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
