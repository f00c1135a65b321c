//! What a proof says when the store did not do as it promised, or the proof itself could not go on.

use std::fmt;

/// The result of a step of a proof.
pub type Outcome<T = ()> = Result<T, Failure>;

/// A failed proof, in words; the first line says what was found, each later one what was being done.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// What was found.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// Adds what was being done.
    #[must_use]
    pub fn during(mut self, what: impl fmt::Display) -> Self {
        self.0.push_str(&format!("\n  during {what}"));
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        Self::new(format!("the store: {error}"))
    }
}

impl From<vfs::Error> for Failure {
    fn from(error: vfs::Error) -> Self {
        Self::new(format!("the file system: {error}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(format!("the system: {error}"))
    }
}

/// Fails a proof unless `holds`.
pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Failure::new(what())) }
}
