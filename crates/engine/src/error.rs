//! The one error of the facade: a coarse kind, predicates, and the whole chain of causes behind it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use base::Corruption;

/// The result of a call of the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. One word in size; `Display` is one line and `source` leads to the cause.
#[derive(Clone)]
pub struct Error(Arc<Repr>);

#[derive(Debug)]
struct Repr {
    kind: ErrorKind,
    message: String,
    corruption: Option<Corruption>,
    outcome: Option<CommitOutcome>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Kinds of errors, coarse enough to branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Another transaction wrote what this one read; run it again.
    Conflict,
    /// A transaction is larger than the configured limit.
    TxnTooBig,
    /// An argument or option is out of its range.
    InvalidArgument,
    /// The store was opened for reading only, or has become so; the message says why.
    ReadOnly,
    /// The store was closed.
    Closed,
    /// Another process has the store open.
    Locked,
    /// A write waited longer than the stall timeout that the caller set.
    Stalled,
    /// A subscriber fell behind.
    Lagged,
    /// The disk or the quota is full; writes go on when space returns.
    NoSpace,
    /// A file could not be read or written.
    Io,
    /// Stored bytes are damaged, cut or missing; [`Error::corruption`] says where.
    Corruption,
    /// The store was written by a program, with an option or for a platform that this one does not fit.
    Incompatible,
    /// A key is missing or wrong, or encrypted bytes do not verify.
    Encryption,
    /// A merge operator failed or is missing.
    Merge,
    /// An earlier failure left the store unable to go on; reopen it.
    Poisoned,
    /// A fault of this program.
    Internal,
}

/// What became of a commit that returned an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommitOutcome {
    /// Nothing of it is or will be there.
    NotApplied,
    /// It may be there after a reopen, whole, or not.
    Unknown,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Repr { kind, message: message.into(), corruption: None, outcome: None, source: None }))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the store is closed")
    }

    pub(crate) fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let (message, source) = (message.into(), Some(source.into()));
        Self(Arc::new(Repr { kind, message, corruption: None, outcome: None, source }))
    }

    pub(crate) fn corrupt(corruption: Corruption) -> Self {
        let (message, corruption) = (corruption.to_string(), Some(corruption));
        Self(Arc::new(Repr { kind: ErrorKind::Corruption, message, corruption, outcome: None, source: None }))
    }

    pub(crate) fn incompatible(
        path: impl Into<PathBuf>,
        what: &str,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        let path = path.into();
        Self::new(ErrorKind::Incompatible, format!("{}: {what} (expected {expected}, found {found})", path.display()))
    }

    pub(crate) fn outcome(self, outcome: CommitOutcome) -> Self {
        let repr = &*self.0;
        Self(Arc::new(Repr {
            kind: repr.kind,
            message: repr.message.clone(),
            corruption: repr.corruption.clone(),
            outcome: Some(outcome),
            source: Some(Box::new(self.clone())),
        }))
    }

    /// The file operation that failed, where one is behind this error.
    pub(crate) fn file_error(&self) -> Option<&vfs::Error> {
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }

    /// The kind, to branch on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether another transaction was in the way: run this one again.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.kind() == ErrorKind::Conflict
    }

    /// Whether the same call may succeed later without anyone's doing.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), ErrorKind::Conflict | ErrorKind::Stalled | ErrorKind::NoSpace)
    }

    /// Whether the store must be reopened or restored.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self.kind(), ErrorKind::Poisoned | ErrorKind::Corruption)
    }

    /// For a failed commit: whether nothing of it is there, or whether that is not known.
    #[must_use]
    pub fn commit_outcome(&self) -> Option<CommitOutcome> {
        self.0.outcome
    }

    /// Where stored bytes are damaged, for [`ErrorKind::Corruption`].
    #[must_use]
    pub fn corruption(&self) -> Option<&Corruption> {
        self.0.corruption.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

impl From<vfs::Error> for Error {
    fn from(error: vfs::Error) -> Self {
        let kind = if error.is_no_space() { ErrorKind::NoSpace } else { ErrorKind::Io };
        Self::with_source(kind, error.to_string(), error)
    }
}

impl From<Corruption> for Error {
    fn from(corruption: Corruption) -> Self {
        Self::corrupt(corruption)
    }
}

/// What the kinds of the layers' errors are here.
macro_rules! from_layer {
    ($error:ty, $corruption:path, $vfs:path, $key:pat, $incompatible:pat => $other:ident) => {
        impl From<$error> for Error {
            fn from(error: $error) -> Self {
                match error {
                    $corruption(corruption) => Self::corrupt(*corruption),
                    $vfs(error) => error.into(),
                    error @ $key => encrypted(error),
                    error @ $incompatible => Self::with_source(ErrorKind::Incompatible, error.to_string(), error),
                    error => $other(error),
                }
            }
        }
    };
}

from_layer!(
    wal::Error, wal::Error::Corruption, wal::Error::Vfs, wal::Error::Key { .. },
    wal::Error::Incompatible { .. } => internal
);
from_layer!(
    vlog::Error, vlog::Error::Corruption, vlog::Error::Vfs, vlog::Error::Key { .. },
    vlog::Error::Incompatible { .. } => of_value_log
);
from_layer!(
    sstable::Error, sstable::Error::Corruption, sstable::Error::Vfs, sstable::Error::Key { .. },
    sstable::Error::Incompatible { .. } => internal
);
from_layer!(
    lsm_levels::Error, lsm_levels::Error::Corruption, lsm_levels::Error::Vfs, lsm_levels::Error::Key { .. },
    lsm_levels::Error::Incompatible { .. } | lsm_levels::Error::Unsupported { .. } => of_levels
);
from_layer!(
    encryption::Error, encryption::Error::Corruption, encryption::Error::Vfs,
    encryption::Error::WrongMasterKey { .. } | encryption::Error::Provider(_) | encryption::Error::NotAKey { .. }
        | encryption::Error::TooManyKeys { .. } | encryption::Error::InDoubt { .. },
    encryption::Error::Incompatible { .. } => internal
);

fn encrypted(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::with_source(ErrorKind::Encryption, error.to_string(), error)
}

fn of_value_log(error: vlog::Error) -> Error {
    let kind = match &error {
        vlog::Error::InvalidArgument(_) => ErrorKind::InvalidArgument,
        vlog::Error::ReadOnly { .. } => ErrorKind::ReadOnly,
        _ => ErrorKind::Internal,
    };
    Error::with_source(kind, error.to_string(), error)
}

fn of_levels(error: lsm_levels::Error) -> Error {
    let kind = match &error {
        lsm_levels::Error::Table(_) | lsm_levels::Error::Log(_) | lsm_levels::Error::ManifestFull(_) => {
            return of_layer_below(error);
        }
        _ if error.is_no_space() => ErrorKind::NoSpace,
        lsm_levels::Error::DeathsNotPrepared(cause) | lsm_levels::Error::DeathsNotApplied { source: cause, .. } => {
            // The value log's error, as the engine handed it down.
            cause.downcast_ref().map_or(ErrorKind::Internal, Error::kind)
        }
        lsm_levels::Error::Cancelled | lsm_levels::Error::Ended => ErrorKind::Closed,
        lsm_levels::Error::ManifestPoisoned { .. } => ErrorKind::Poisoned,
        lsm_levels::Error::ReadOnly => ErrorKind::ReadOnly,
        lsm_levels::Error::LimitExceeded { .. } | lsm_levels::Error::NoStore { .. } => ErrorKind::InvalidArgument,
        _ => ErrorKind::Internal,
    };
    Error::with_source(kind, error.to_string(), error)
}

fn of_layer_below(error: lsm_levels::Error) -> Error {
    match error {
        lsm_levels::Error::Table(error) => error.into(),
        lsm_levels::Error::Log(error) | lsm_levels::Error::ManifestFull(error) => error.into(),
        error => internal(error),
    }
}

fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::with_source(ErrorKind::Internal, error.to_string(), error)
}

impl From<memtable::Full> for Error {
    fn from(error: memtable::Full) -> Self {
        internal(error)
    }
}

impl From<memtable::OverReservation> for Error {
    fn from(error: memtable::OverReservation) -> Self {
        internal(error)
    }
}
