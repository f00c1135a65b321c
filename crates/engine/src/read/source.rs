//! The kinds of sources that a scan merges, in one type without dynamic calls.

use std::convert::Infallible;

use base::{Cursor, InternalKeyRef};
use lsm_levels::RunCursor;
use memtable::MemtableCursor;

/// A source of entries in internal key order.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a handful a scan; a box would cost a hop an entry")]
pub(crate) enum Source {
    Memtable(MemtableCursor),
    /// A table of L0 or a sorted level.
    Run(RunCursor),
}

macro_rules! forward {
    ($self:ident, $cursor:ident => $call:expr) => {
        match $self {
            Self::Memtable($cursor) => {
                let moved: Result<(), Infallible> = $call;
                let Ok(()) = moved;
                Ok(())
            }
            Self::Run($cursor) => $call,
        }
    };
}

impl Cursor for Source {
    type Error = sstable::Error;

    fn seek_to_first(&mut self) -> Result<(), Self::Error> {
        forward!(self, cursor => cursor.seek_to_first())
    }

    fn seek_to_last(&mut self) -> Result<(), Self::Error> {
        forward!(self, cursor => cursor.seek_to_last())
    }

    fn seek(&mut self, key: InternalKeyRef<'_>) -> Result<(), Self::Error> {
        forward!(self, cursor => cursor.seek(key))
    }

    fn seek_for_prev(&mut self, key: InternalKeyRef<'_>) -> Result<(), Self::Error> {
        forward!(self, cursor => cursor.seek_for_prev(key))
    }

    #[inline]
    fn next(&mut self) -> Result<(), Self::Error> {
        forward!(self, cursor => cursor.next())
    }

    #[inline]
    fn prev(&mut self) -> Result<(), Self::Error> {
        forward!(self, cursor => cursor.prev())
    }

    #[inline]
    fn valid(&self) -> bool {
        match self {
            Self::Memtable(cursor) => cursor.valid(),
            Self::Run(cursor) => cursor.valid(),
        }
    }

    #[inline]
    fn key(&self) -> InternalKeyRef<'_> {
        match self {
            Self::Memtable(cursor) => cursor.key(),
            Self::Run(cursor) => cursor.key(),
        }
    }

    #[inline]
    fn value(&self) -> &[u8] {
        match self {
            Self::Memtable(cursor) => cursor.value(),
            Self::Run(cursor) => cursor.value(),
        }
    }
}
