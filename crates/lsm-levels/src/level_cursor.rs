//! Cursors over the tables of a version: one table, or a sorted level as one run.

use base::sync::Arc;
use base::{Cursor, InternalKeyRef};
use sstable::{CursorOptions, TableCursor};

use crate::table_handle::TableHandle;

/// Walks disjoint tables in key order as if they were one, and opens a cursor on a table only when it gets there.
#[derive(Debug)]
pub struct LevelCursor {
    tables: Arc<[Arc<TableHandle>]>,
    /// The tables that are walked: `start..end` of `tables`.
    start: usize,
    end: usize,
    /// Which table `cursor` is of.
    position: usize,
    cursor: Option<TableCursor>,
    options: CursorOptions,
}

impl LevelCursor {
    /// Walks the tables at `positions`, which are disjoint and ascend.
    #[must_use]
    pub fn new(tables: Arc<[Arc<TableHandle>]>, positions: std::ops::Range<usize>, options: CursorOptions) -> Self {
        let end = positions.end.min(tables.len());
        Self { start: positions.start.min(end), end, position: 0, cursor: None, tables, options }
    }

    /// Number of tables that are walked.
    #[must_use]
    pub fn table_count(&self) -> usize {
        self.end - self.start
    }

    /// Puts a cursor on the table at `position`; `None`, and nowhere, outside the tables that are walked.
    fn open(&mut self, position: usize) -> Option<&mut TableCursor> {
        let inside = (self.start..self.end).contains(&position);
        let Some(handle) = self.tables.get(position).filter(|_| inside) else {
            self.cursor = None;
            return None;
        };
        if self.position != position || self.cursor.is_none() {
            self.position = position;
            self.cursor = Some(handle.table().cursor(self.options));
        }
        self.cursor.as_mut()
    }

    fn skip_forward(&mut self) -> sstable::Result<()> {
        while self.cursor.as_ref().is_some_and(|cursor| !cursor.valid()) {
            if let Some(cursor) = self.open(self.position + 1) {
                cursor.seek_to_first()?;
            }
        }
        Ok(())
    }

    fn skip_backward(&mut self) -> sstable::Result<()> {
        while self.cursor.as_ref().is_some_and(|cursor| !cursor.valid()) {
            let before = self.position.checked_sub(1);
            match before.and_then(|position| self.open(position)) {
                Some(cursor) => cursor.seek_to_last()?,
                None => self.cursor = None,
            }
        }
        Ok(())
    }
}

impl LevelCursor {
    fn seek_to_first_inner(&mut self) -> sstable::Result<()> {
        if let Some(cursor) = self.open(self.start) {
            cursor.seek_to_first()?;
        }
        self.skip_forward()
    }

    fn seek_to_last_inner(&mut self) -> sstable::Result<()> {
        match self.end.checked_sub(1).and_then(|position| self.open(position)) {
            Some(cursor) => cursor.seek_to_last()?,
            None => self.cursor = None,
        }
        self.skip_backward()
    }

    fn seek_inner(&mut self, key: InternalKeyRef<'_>) -> sstable::Result<()> {
        let walked = self.tables.get(self.start..self.end).unwrap_or_default();
        let behind = walked.partition_point(|table| table.meta().largest.as_ref() < key);
        if let Some(cursor) = self.open(self.start + behind) {
            cursor.seek(key)?;
        }
        self.skip_forward()
    }

    fn seek_for_prev_inner(&mut self, key: InternalKeyRef<'_>) -> sstable::Result<()> {
        let walked = self.tables.get(self.start..self.end).unwrap_or_default();
        let not_behind = walked.partition_point(|table| table.meta().smallest.as_ref() <= key);
        match (self.start + not_behind).checked_sub(1).and_then(|position| self.open(position)) {
            Some(cursor) => cursor.seek_for_prev(key)?,
            None => self.cursor = None,
        }
        self.skip_backward()
    }

    /// Leaves the cursor nowhere after an error, so that going on cannot skip entries.
    fn settle(&mut self, moved: sstable::Result<()>) -> sstable::Result<()> {
        if moved.is_err() {
            self.cursor = None;
        }
        moved
    }
}

impl Cursor for LevelCursor {
    type Error = sstable::Error;

    fn seek_to_first(&mut self) -> sstable::Result<()> {
        let moved = self.seek_to_first_inner();
        self.settle(moved)
    }

    fn seek_to_last(&mut self) -> sstable::Result<()> {
        let moved = self.seek_to_last_inner();
        self.settle(moved)
    }

    fn seek(&mut self, key: InternalKeyRef<'_>) -> sstable::Result<()> {
        let moved = self.seek_inner(key);
        self.settle(moved)
    }

    fn seek_for_prev(&mut self, key: InternalKeyRef<'_>) -> sstable::Result<()> {
        let moved = self.seek_for_prev_inner(key);
        self.settle(moved)
    }

    #[inline]
    fn next(&mut self) -> sstable::Result<()> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        let moved = cursor.next();
        if moved.is_ok() && cursor.valid() {
            return Ok(());
        }
        let moved = moved.and_then(|()| self.skip_forward());
        self.settle(moved)
    }

    #[inline]
    fn prev(&mut self) -> sstable::Result<()> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        let moved = cursor.prev();
        if moved.is_ok() && cursor.valid() {
            return Ok(());
        }
        let moved = moved.and_then(|()| self.skip_backward());
        self.settle(moved)
    }

    #[inline]
    fn valid(&self) -> bool {
        self.cursor.as_ref().is_some_and(Cursor::valid)
    }

    #[inline]
    fn key(&self) -> InternalKeyRef<'_> {
        self.cursor.as_ref().map_or(InternalKeyRef::new(&[], 0), Cursor::key)
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.cursor.as_ref().map_or(&[], Cursor::value)
    }
}

/// A cursor over one source of a version.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a handful a scan; a box would cost a hop an entry")]
pub enum RunCursor {
    /// A table of level 0.
    Table(TableCursor),
    /// A sorted level.
    Level(LevelCursor),
}

macro_rules! forward {
    ($self:expr, $cursor:ident => $call:expr) => {
        match $self {
            RunCursor::Table($cursor) => $call,
            RunCursor::Level($cursor) => $call,
        }
    };
}

impl Cursor for RunCursor {
    type Error = sstable::Error;

    fn seek_to_first(&mut self) -> sstable::Result<()> {
        forward!(self, cursor => cursor.seek_to_first())
    }

    fn seek_to_last(&mut self) -> sstable::Result<()> {
        forward!(self, cursor => cursor.seek_to_last())
    }

    fn seek(&mut self, key: InternalKeyRef<'_>) -> sstable::Result<()> {
        forward!(self, cursor => cursor.seek(key))
    }

    fn seek_for_prev(&mut self, key: InternalKeyRef<'_>) -> sstable::Result<()> {
        forward!(self, cursor => cursor.seek_for_prev(key))
    }

    #[inline]
    fn next(&mut self) -> sstable::Result<()> {
        forward!(self, cursor => cursor.next())
    }

    #[inline]
    fn prev(&mut self) -> sstable::Result<()> {
        forward!(self, cursor => cursor.prev())
    }

    #[inline]
    fn valid(&self) -> bool {
        forward!(self, cursor => cursor.valid())
    }

    #[inline]
    fn key(&self) -> InternalKeyRef<'_> {
        forward!(self, cursor => cursor.key())
    }

    #[inline]
    fn value(&self) -> &[u8] {
        forward!(self, cursor => cursor.value())
    }
}
