//! Items that a walk has stepped over ahead of its caller, so that their values are fetched together.
//!
//! The values of neighbouring keys stand anywhere in the value log. Read one by one, each waits for the disk, or is a call,
//! before the next is known. A walk whose values are being asked for therefore steps ahead, a few items at first, and
//! fetches what their pointers name at once. Where that pays it steps over twice as many the next time; where not, since
//! all is in memory, it goes on item by item for a while before it tries again. Figures: docs/adr/0012-values-ahead.md.
//!
//! Invariants
//! 1. Of the cursor below, either what comes next is noted here, or it stands on the item that was given last.
//! 2. An error of the cursor is told when all items before it were given, that of a value when it is asked for.
//! 3. What is stepped over is bounded in items and in bytes; what was fetched is kept until the next step over some.

use std::collections::VecDeque;
use std::sync::Arc;

use base::clock::Clock;
use vlog::ReadAhead;

use crate::Result;
use crate::read::{Item, OverlaidCursor, ScanOptions};

const ITEMS_DEFAULT: usize = 32;
const BYTES_DEFAULT: u64 = 1 << 20;

/// More than this many items are taken for that many.
const ITEMS_MAX: usize = 4_096;

/// Items of a window that tries whether it pays.
const ITEMS_FIRST: usize = 4;

/// Steps after a window that did not pay before the next; twice as many each time.
const REST_FIRST: usize = 32;
const REST_MAX: usize = 1_024;

/// What comes behind the item that a walk has given last.
#[derive(Debug)]
pub(crate) struct Window {
    items: VecDeque<Item>,
    /// What is behind the items, if the cursor has left the last of them: the end, or an error.
    behind: Option<Result<()>>,
    /// Of the items, and of those that were given since it was made.
    ahead: Option<Arc<ReadAhead>>,
    /// Whether the disk was waited for the last time.
    is_slow: bool,
    is_forward: bool,
    /// Items of the next window.
    size: usize,
    /// Steps that are still to be made without one, and as many after the next that does not pay.
    rest: usize,
    rest_next: usize,
    items_max: usize,
    bytes_max: u64,
}

impl Window {
    pub(crate) fn new(options: &ScanOptions) -> Self {
        let wanted = options.prefetch_values.unwrap_or(ITEMS_DEFAULT).min(ITEMS_MAX);
        let items_max = if options.all_versions || wanted < 2 { 0 } else { wanted };
        Self {
            items: VecDeque::new(),
            behind: None,
            ahead: None,
            is_slow: false,
            is_forward: true,
            size: ITEMS_FIRST,
            rest: 0,
            rest_next: REST_FIRST,
            items_max,
            bytes_max: options.prefetch_bytes.unwrap_or(BYTES_DEFAULT),
        }
    }

    /// Whether it is time to step ahead of what `cursor` stands on.
    #[inline]
    pub(crate) fn is_wanted(&mut self, cursor: &OverlaidCursor<'_>) -> bool {
        if self.rest > 0 {
            self.rest -= 1;
            return false;
        }
        self.items_max > 0 && cursor.store().segments().was_read()
    }

    /// Whether the cursor stands on another place than the item that was given last.
    pub(crate) fn is_ahead(&self) -> bool {
        !self.items.is_empty() || self.behind.is_some()
    }

    /// What comes next, where that is known: an item, the end, or an error.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Result<Option<Item>>> {
        match self.items.pop_front() {
            Some(item) => Some(Ok(Some(item))),
            None => self.behind.take().map(|behind| behind.map(|()| None)),
        }
    }

    /// Takes the item on which `cursor` stands, and those behind it, `left` at the most. Requires: nothing is ahead.
    pub(crate) fn fill(
        &mut self,
        cursor: &mut OverlaidCursor<'_>,
        is_forward: bool,
        left: usize,
        clock: &dyn Clock,
    ) -> Result<Item> {
        let first = cursor.item()?;
        self.is_forward = is_forward;
        let mut bytes = bytes_of(&first);
        for _ in 1..self.size.min(self.items_max).min(left) {
            if bytes > self.bytes_max {
                break;
            }
            let moved = if is_forward { cursor.next() } else { cursor.prev() };
            match moved.and_then(|()| if cursor.valid() { cursor.item().map(Some) } else { Ok(None) }) {
                Ok(Some(item)) => {
                    bytes += bytes_of(&item);
                    self.items.push_back(item);
                }
                end => {
                    self.behind = Some(end.map(drop));
                    break;
                }
            }
        }
        self.fetch(first, cursor, clock)
    }

    /// Fetches the values of `first` and all items, up to the bound.
    fn fetch(&mut self, mut first: Item, cursor: &OverlaidCursor<'_>, clock: &dyn Clock) -> Result<Item> {
        let segments = cursor.store().segments();
        let (mut bytes, mut pointers) = (0, Vec::with_capacity(self.items.len() + 1));
        for item in std::iter::once(&first).chain(&self.items) {
            bytes += bytes_of(item);
            if bytes > self.bytes_max {
                break;
            }
            pointers.extend(item.pointer());
        }
        if pointers.is_empty() {
            segments.set_was_read(false);
            self.size = ITEMS_FIRST;
            return Ok(first);
        }
        let ahead = Arc::new(segments.read_ahead(pointers.into_iter(), self.is_slow, clock));
        std::iter::once(&mut first).chain(&mut self.items).for_each(|item| item.set_ahead(&ahead));
        if ahead.pays() {
            self.size = self.size.saturating_mul(2).min(self.items_max);
            self.rest_next = REST_FIRST;
        } else {
            self.size = ITEMS_FIRST;
            (self.rest, self.rest_next) = (self.rest_next, (2 * self.rest_next).min(REST_MAX));
        }
        (self.is_slow, self.ahead) = (ahead.is_slow(), Some(ahead));
        Ok(first)
    }

    /// Forgets what is ahead, for a cursor that is about to be moved anyway or dropped.
    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.behind = None;
        self.ahead = None;
        self.size = ITEMS_FIRST;
    }

    /// Puts the cursor back on the item that was given last and forgets what is ahead, but for the end. If an error comes
    /// next, this is it.
    pub(crate) fn give_back(&mut self, cursor: &mut OverlaidCursor<'_>) -> Result<()> {
        let Some(next) = self.items.front() else {
            return if matches!(self.behind, Some(Err(_))) { self.behind.take().unwrap_or(Ok(())) } else { Ok(()) };
        };
        if self.is_forward {
            cursor.seek(next.key())?;
            cursor.prev()?;
        } else {
            cursor.seek_for_prev(next.key())?;
            cursor.next()?;
        }
        self.clear();
        Ok(())
    }
}

fn bytes_of(item: &Item) -> u64 {
    item.key().len() as u64 + item.value_len()
}
