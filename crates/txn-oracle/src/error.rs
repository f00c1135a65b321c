//! What can go wrong: typed, one line each.

use std::error::Error as StdError;
// A cause is written once and read after; it takes no part in what loom models, and must unsize to a trait object.
use std::sync::Arc;

use base::Version;

/// Why no more commits are taken; shared by every error that reports it.
pub type Cause = Arc<dyn StdError + Send + Sync + 'static>;

/// The order of commits is broken for good: a commit was lost on its way, or the caller said so.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no more commits are taken: {cause}")]
pub struct Poisoned {
    /// The first cause; later ones are not kept.
    #[source]
    pub cause: Cause,
}

/// A commit had its version and then neither became complete nor could be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("commit {version} was dropped before it was complete")]
pub struct LostCommit {
    /// The version that will never be visible.
    pub version: Version,
}

/// Why a commit got no version. Nothing has changed when one of these comes back.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssignError {
    /// Every version below the ceiling is used: raise the ceiling in the manifest, then here, and try again.
    #[error("version ceiling {ceiling} is reached")]
    CeilingReached {
        /// The last version that may be assigned.
        ceiling: Version,
    },
    /// As many commits as there are slots have a version and are not visible yet: wait until `wait_for` is visible, and
    /// try again.
    #[error("{in_flight_max} commits are in flight, none more fits until {wait_for} is visible")]
    TooManyInFlight {
        /// Number of slots.
        in_flight_max: usize,
        /// The version whose slot the next commit takes.
        wait_for: Version,
    },
    /// No more commits are taken.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// Why an oracle was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The newest version of the store leaves none to assign, so whatever recorded it is wrong.
    #[error("last version is {found}, expected at most {expected}")]
    VersionTooHigh {
        /// The highest version there is.
        expected: Version,
        /// What was given.
        found: Version,
    },
    /// An option is outside its bounds.
    #[error("{option} is {found}, expected {expected_min} to {expected_max}")]
    OptionOutOfRange {
        /// Name of the option.
        option: &'static str,
        /// Smallest value.
        expected_min: usize,
        /// Greatest value.
        expected_max: usize,
        /// What was given.
        found: usize,
    },
}

/// Why no mark was registered at the version asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Entries that a reader at this version would need may be gone.
    #[error("version {requested} is below the discard version {discard}")]
    BelowDiscard {
        /// The version asked for.
        requested: Version,
        /// The lowest version that can still be read.
        discard: Version,
    },
    /// Commits at or below this version are still on their way, so that reads at it would not be stable.
    #[error("version {requested} is above the visible version {visible}")]
    AboveVisible {
        /// The version asked for.
        requested: Version,
        /// The newest version that can be read.
        visible: Version,
    },
}
