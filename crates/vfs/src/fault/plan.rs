//! Which operations fail, how, and how often.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use crate::Operation;

/// Why an injected fault says it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The disk is full (`ENOSPC`).
    NoSpace,
    /// The user's quota is used up (`EDQUOT`).
    QuotaExceeded,
    /// The device failed (`EIO`).
    Io,
    /// The process has too many files open (`EMFILE`).
    TooManyFiles,
    /// Permission is lacking (`EACCES`).
    AccessDenied,
}

impl From<Cause> for io::Error {
    fn from(cause: Cause) -> Self {
        Self::from(match cause {
            Cause::NoSpace => Errno::NOSPC,
            Cause::QuotaExceeded => Errno::DQUOT,
            Cause::Io => Errno::IO,
            Cause::TooManyFiles => Errno::MFILE,
            Cause::AccessDenied => Errno::ACCESS,
        })
    }
}

/// A rule by which operations fail. Made with one of [`on`](Self::on), [`on_mutations`](Self::on_mutations) and
/// [`on_everything`](Self::on_everything); it strikes the first time it matches, once, before anything is done, unless
/// told otherwise.
#[derive(Clone)]
pub struct Fault {
    scope: Scope,
    cause: Cause,
    path: Option<Arc<PathPredicate>>,
    /// Matches to let pass first.
    pass: u64,
    /// Matches to strike after that.
    strikes: u64,
    pub(super) effect: Effect,
}

type PathPredicate = dyn Fn(&Path) -> bool + Send + Sync;

#[derive(Clone, Copy, Debug)]
enum Scope {
    One(Operation),
    Mutations,
    Everything,
}

/// What still happens of an operation that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    Nothing,
    /// All of it.
    Everything,
    /// An append's first bytes.
    FirstBytes(u64),
    /// The bytes that a sync was to write are lost for good.
    UnsyncedLost,
}

impl Fault {
    /// Fails `operation`. A file's `finish` counts as a sync too.
    #[must_use]
    pub fn on(operation: Operation, cause: Cause) -> Self {
        Self::new(Scope::One(operation), cause)
    }

    /// Fails whatever would change something; with [`nth`](Self::nth) and [`forever`](Self::forever), nothing gets to the
    /// disk from that change on.
    #[must_use]
    pub fn on_mutations(cause: Cause) -> Self {
        Self::new(Scope::Mutations, cause)
    }

    /// Fails every call.
    #[must_use]
    pub fn on_everything(cause: Cause) -> Self {
        Self::new(Scope::Everything, cause)
    }

    fn new(scope: Scope, cause: Cause) -> Self {
        Self { scope, cause, path: None, pass: 0, strikes: 1, effect: Effect::Nothing }
    }

    /// Only for paths (of a rename or link: the old one) of which `matches` is true.
    #[must_use]
    pub fn at_path(mut self, matches: impl Fn(&Path) -> bool + Send + Sync + 'static) -> Self {
        self.path = Some(Arc::new(matches));
        self
    }

    /// Only for file names that end in `suffix`.
    #[must_use]
    pub fn at_suffix(self, suffix: &'static str) -> Self {
        self.at_path(move |path| path.as_os_str().as_encoded_bytes().ends_with(suffix.as_bytes()))
    }

    /// Strikes first at the `nth` match, counted from 1.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.pass = nth.saturating_sub(1);
        self
    }

    /// Strikes this many matches in a row.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.strikes = times;
        self
    }

    /// Strikes from then on until it is disarmed.
    #[must_use]
    pub fn forever(self) -> Self {
        self.times(u64::MAX)
    }

    /// The operation is done and fails all the same.
    #[must_use]
    pub fn after_the_fact(mut self) -> Self {
        self.effect = Effect::Everything;
        self
    }

    /// The first `bytes` of an append land before it fails.
    #[must_use]
    pub fn after_bytes(mut self, bytes: u64) -> Self {
        self.effect = Effect::FirstBytes(bytes);
        self
    }

    /// What the failed sync was to write is lost for good, though readers see it until a crash: what Linux does. Needs a
    /// [`FaultFs::over_memory`](super::FaultFs::over_memory).
    #[must_use]
    pub fn losing_unsynced(mut self) -> Self {
        self.effect = Effect::UnsyncedLost;
        self
    }

    /// Whether this operation is one it is about.
    pub(super) fn matches(&self, operation: Operation, path: &Path) -> bool {
        let in_scope = match self.scope {
            Scope::One(Operation::Sync) => matches!(operation, Operation::Sync | Operation::Finish),
            Scope::One(one) => one == operation,
            Scope::Mutations => operation.is_mutation(),
            Scope::Everything => true,
        };
        in_scope && self.path.as_ref().is_none_or(|matches| matches(path))
    }

    /// Whether the match after `matches` others is one to strike.
    pub(super) fn strikes_after(&self, matches: u64) -> bool {
        matches.checked_sub(self.pass).is_some_and(|struck| struck < self.strikes)
    }

    pub(super) fn error(&self) -> io::Error {
        self.cause.into()
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("scope", &self.scope)
            .field("cause", &self.cause)
            .field("pass", &self.pass)
            .field("strikes", &self.strikes)
            .field("effect", &self.effect)
            .finish_non_exhaustive()
    }
}

/// The faults to start with; none by default.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan(pub(super) Vec<Fault>);

impl FaultPlan {
    /// No faults.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }
}

impl From<Fault> for FaultPlan {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

impl FromIterator<Fault> for FaultPlan {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        Self(faults.into_iter().collect())
    }
}
