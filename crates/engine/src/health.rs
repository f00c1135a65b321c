//! Whether the store may be written to, and if not, why: the first cause, for ever.

use std::fmt;

use base::sync::OnceLock;
use base::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, ErrorKind, Result};

/// How a store is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Health {
    /// Reads and writes go on.
    Ok,
    /// Writers are held until flush and compaction catch up.
    Stalled,
    /// Reads go on, writes fail with this cause.
    ReadOnly(Error),
}

/// The latches behind [`Health`].
#[derive(Default)]
pub(crate) struct HealthLatch {
    closed: AtomicBool,
    failed: AtomicBool,
    cause: OnceLock<Error>,
}

impl HealthLatch {
    /// A store opened for reading only.
    pub(crate) fn read_only() -> Self {
        let latch = Self::default();
        latch.fail(Error::new(ErrorKind::ReadOnly, "the store is open for reading only"));
        latch
    }

    /// Remembers the first cause; later ones change nothing.
    pub(crate) fn fail(&self, cause: Error) {
        let _ = self.cause.set(cause);
        self.failed.store(true, Ordering::Release);
    }

    pub(crate) fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn cause(&self) -> Option<Error> {
        self.failed.load(Ordering::Acquire).then(|| self.cause.get().cloned()).flatten()
    }

    pub(crate) fn check_readable(&self) -> Result<()> {
        if self.is_closed() { Err(Error::closed()) } else { Ok(()) }
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_readable()?;
        match self.cause() {
            None => Ok(()),
            Some(cause) => Err(refusal(&cause)),
        }
    }
}

/// What a write is told after the store has become read-only.
fn refusal(cause: &Error) -> Error {
    if cause.kind() == ErrorKind::ReadOnly {
        return cause.clone();
    }
    Error::with_source(ErrorKind::ReadOnly, format!("the store is read-only since a failure: {cause}"), cause.clone())
}

impl fmt::Debug for HealthLatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthLatch").field("closed", &self.is_closed()).field("cause", &self.cause()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cause_stays() {
        let latch = HealthLatch::default();
        latch.check_writable().unwrap();
        latch.fail(Error::new(ErrorKind::Io, "first"));
        latch.fail(Error::new(ErrorKind::Io, "second"));
        let error = latch.check_writable().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnly);
        assert!(error.to_string().contains("first"), "{error}");
        latch.check_readable().unwrap();
        assert!(latch.close() && !latch.close());
        assert_eq!(latch.check_readable().unwrap_err().kind(), ErrorKind::Closed);
    }
}
