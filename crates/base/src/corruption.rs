//! What is said of bytes that are not what they should be.

use std::fmt;
use std::path::PathBuf;

/// Bytes that do not decode, with no file at hand: whoever knows the file turns it into a [`Corruption`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    what: &'static str,
}

impl DecodeError {
    /// Says in a few words what is wrong.
    #[must_use]
    pub const fn new(what: &'static str) -> Self {
        Self { what }
    }

    /// The few words.
    #[must_use]
    pub const fn what(&self) -> &'static str {
        self.what
    }

    /// Names the file and the offset at which the bytes stand.
    #[must_use]
    pub fn at(self, path: impl Into<PathBuf>, offset: u64) -> Corruption {
        Corruption::new(path, offset, self.what)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

impl std::error::Error for DecodeError {}

/// Stored bytes that are damaged, cut, foreign or missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// The file.
    pub path: PathBuf,
    /// Where in the file the damaged piece starts, in bytes.
    pub offset: u64,
    /// What is wrong, in a few words.
    pub what: String,
    /// What should stand there, where that is known.
    pub expected: Option<String>,
    /// What does stand there, where that says anything.
    pub found: Option<String>,
}

impl Corruption {
    /// A corruption without expected and found values.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, offset: u64, what: impl Into<String>) -> Self {
        Self { path: path.into(), offset, what: what.into(), expected: None, found: None }
    }

    /// Adds what should stand there and what does.
    #[must_use]
    pub fn with_values(mut self, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        self.expected = Some(expected.to_string());
        self.found = Some(found.to_string());
        self
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}: {}", self.path.display(), self.offset, self.what)?;
        if let (Some(expected), Some(found)) = (&self.expected, &self.found) {
            write!(f, " (expected {expected}, found {found})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Corruption {}
