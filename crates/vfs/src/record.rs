//! One call of a file system, as hooks and traces see it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::Operation;

/// What is done to which file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationRecord {
    /// Its number among the calls of the same file system that are counted with it, from 1.
    pub number: u64,
    /// What is done.
    pub operation: Operation,
    /// The file or directory.
    pub path: PathBuf,
    /// The other name of a rename or link.
    pub to: Option<PathBuf>,
    /// Where in the file, in bytes.
    pub offset: Option<u64>,
    /// How many bytes.
    pub len: Option<u64>,
}

impl OperationRecord {
    pub(crate) fn new(operation: Operation, path: &Path) -> Self {
        Self { number: 0, operation, path: path.into(), to: None, offset: None, len: None }
    }

    pub(crate) fn to(mut self, to: &Path) -> Self {
        self.to = Some(to.into());
        self
    }

    pub(crate) fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    pub(crate) fn bytes(mut self, len: u64) -> Self {
        self.len = Some(len);
        self
    }
}

impl fmt::Display for OperationRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation, self.path.display())?;
        if let Some(to) = &self.to {
            write!(f, " -> {}", to.display())?;
        }
        if let Some(len) = self.len {
            write!(f, ", {len} bytes")?;
        }
        if let Some(offset) = self.offset {
            write!(f, " at {offset}")?;
        }
        Ok(())
    }
}
