//! A cursor over one table, in both directions.
//!
//! Entries of a block are decoded one at a time, each from its own place and the first key of its group: going back
//! costs what going forward does. A move allocates nothing once the key buffer has grown to the longest key.
//!
//! Invariant: while the cursor is valid, `key` holds the user key of the entry, and its first `key_shared` bytes are those
//! of the first key of the entry's group.

use std::ops::Range;
use std::sync::Arc;

use base::{Cursor, DecodeError, InternalKeyRef, Version};
use bytes::Bytes;

use crate::block::{Block, Layout};
use crate::read_ahead::ReadAhead;
use crate::{CursorOptions, Error, Result, Table};

/// A cursor over one table, which it keeps open.
#[derive(Debug)]
pub struct TableCursor {
    table: Arc<Table>,
    options: CursorOptions,
    read_ahead: ReadAhead,
    /// The block that is loaded; its number is meaningless while the layout has no entries.
    block: Bytes,
    layout: Layout,
    block_number: usize,
    entry: usize,
    group: usize,
    key: Vec<u8>,
    key_shared: usize,
    version: Version,
    value: Range<usize>,
    valid: bool,
}

impl TableCursor {
    pub(crate) fn new(table: Arc<Table>, options: CursorOptions) -> Self {
        Self {
            table,
            options,
            read_ahead: ReadAhead::default(),
            block: Bytes::new(),
            layout: Layout::default(),
            block_number: 0,
            entry: 0,
            group: usize::MAX,
            key: Vec::new(),
            key_shared: 0,
            version: 0,
            value: 0..0,
            valid: false,
        }
    }

    /// The encoded entry as bytes that outlive the cursor's position. Requires: [`valid`](Cursor::valid).
    #[must_use]
    pub fn value_bytes(&self) -> Bytes {
        self.block.slice_ref(self.value())
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The number of the block that the cursor stands in. Requires: [`valid`](Cursor::valid).
    pub(crate) const fn block_number(&self) -> usize {
        self.block_number
    }

    /// Loads a block, unless it is the one that is loaded.
    fn load(&mut self, number: usize) -> Result<()> {
        if self.layout.count() != 0 && self.block_number == number {
            return Ok(());
        }
        self.layout = Layout::default();
        self.group = usize::MAX;
        let place = self.table.place(number);
        let source = &self.table.source;
        if self.options.read_ahead {
            self.read_ahead.before(source, place, self.table.index.blocks_end());
        }
        self.block = source.fetch(place, self.options.fill_cache, self.read_ahead.buffer())?;
        self.layout = Layout::parse(&self.block).map_err(|error| source.corrupt(place, error))?;
        self.block_number = number;
        Ok(())
    }

    /// Stands on an entry of the loaded block.
    #[inline]
    fn stand_on(&mut self, entry: usize) -> Result<()> {
        match self.decode(entry) {
            Ok(()) => {
                self.entry = entry;
                self.valid = true;
                Ok(())
            }
            Err(error) => Err(self.corrupt(error)),
        }
    }

    #[inline]
    fn decode(&mut self, index: usize) -> std::result::Result<(), DecodeError> {
        let block = self.layout.of(&self.block);
        let entry = block.entry(index)?;
        let group = block.group_start(index);
        if group != self.group || entry.shared > self.key_shared {
            let group_key = block.group_key(index)?;
            let shared = group_key
                .get(..entry.shared)
                .ok_or(DecodeError::new("block entry shares more than its group's first key has"))?;
            self.key.clear();
            self.key.extend_from_slice(shared);
            self.group = group;
        } else {
            self.key.truncate(entry.shared);
        }
        self.key.extend_from_slice(entry.rest);
        self.key_shared = if index == group { self.key.len() } else { entry.shared };
        self.version = block.version(index);
        self.value = entry.value;
        Ok(())
    }

    fn corrupt(&self, error: DecodeError) -> Error {
        self.table.source.corrupt(self.table.place(self.block_number), error)
    }

    fn lower_bound(&self, key: InternalKeyRef<'_>) -> Result<usize> {
        self.block().lower_bound(key).map_err(|error| self.corrupt(error))
    }

    fn block(&self) -> Block<'_> {
        self.layout.of(&self.block)
    }

    /// Stands on the first entry of a block, or nowhere behind the last.
    fn enter_from_front(&mut self, number: usize) -> Result<()> {
        if number == self.table.block_count() {
            return Ok(());
        }
        self.load(number)?;
        self.stand_on(0)
    }

    /// Stands on the last entry of the block before `number`, or nowhere before the first.
    fn enter_from_back(&mut self, number: usize) -> Result<()> {
        let Some(number) = number.checked_sub(1) else { return Ok(()) };
        self.load(number)?;
        self.stand_on(self.layout.count() - 1)
    }
}

impl Cursor for TableCursor {
    type Error = Error;

    fn seek_to_first(&mut self) -> Result<()> {
        self.valid = false;
        self.enter_from_front(0)
    }

    fn seek_to_last(&mut self) -> Result<()> {
        self.valid = false;
        self.enter_from_back(self.table.block_count())
    }

    fn seek(&mut self, key: InternalKeyRef<'_>) -> Result<()> {
        self.valid = false;
        let number = self.table.index.find(key).unwrap_or(0);
        self.load(number)?;
        match self.lower_bound(key)? {
            entry if entry < self.layout.count() => self.stand_on(entry),
            _ => self.enter_from_front(number + 1),
        }
    }

    fn seek_for_prev(&mut self, key: InternalKeyRef<'_>) -> Result<()> {
        self.valid = false;
        let Some(number) = self.table.index.find(key) else { return Ok(()) };
        self.load(number)?;
        let entry = self.lower_bound(key)?;
        if entry < self.layout.count() {
            self.stand_on(entry)?;
            if self.key() == key {
                return Ok(());
            }
            self.valid = false;
        }
        match entry.checked_sub(1) {
            Some(before) => self.stand_on(before),
            None => self.enter_from_back(number),
        }
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        self.valid = false;
        let next = self.entry + 1;
        if next < self.layout.count() {
            return self.stand_on(next);
        }
        self.enter_from_front(self.block_number + 1)
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        self.valid = false;
        match self.entry.checked_sub(1) {
            Some(before) => self.stand_on(before),
            None => self.enter_from_back(self.block_number),
        }
    }

    #[inline]
    fn valid(&self) -> bool {
        self.valid
    }

    #[inline]
    fn key(&self) -> InternalKeyRef<'_> {
        InternalKeyRef::new(&self.key, self.version)
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.block.get(self.value.clone()).unwrap_or_default()
    }
}
