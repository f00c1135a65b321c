//! Iterators over items, from both ends.

use std::cmp::Ordering;
use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;

use crate::Result;
use crate::read::{Bounds, Item, MOVES_BEFORE_REPIN, OverlaidCursor, Reader, ScanOptions, Window};
use crate::txn::TrackedRange;

/// Items of a scan, in key order; `.rev()` and `next_back` walk from the other end. An error ends it, as an item.
pub struct Iter<'a> {
    reader: Reader<'a>,
    options: ScanOptions,
    bounds: Bounds,
    low: Option<OverlaidCursor<'a>>,
    high: Option<OverlaidCursor<'a>>,
    /// Of the one end that has moved; of none as soon as both have.
    window: Window,
    tracked: Option<TrackedRange<'a>>,
    left: usize,
    /// Steps since the views were last compared with the current one.
    moves: u32,
    done: bool,
}

impl<'a> Iter<'a> {
    /// A scan over `reader`. Nothing is pinned or opened before the first step.
    pub(crate) fn new(reader: Reader<'a>, options: ScanOptions) -> Self {
        let bounds = options.bounds.clone();
        let tracked = reader.tracked.map(|tracked| tracked.begin_range(reader.keyspace.id, bounds.clone()));
        let (window, left) = (Window::new(&options), options.limit.unwrap_or(usize::MAX));
        Self { reader, options, bounds, low: None, high: None, window, tracked, left, moves: 0, done: false }
    }

    fn step(&mut self, from_high: bool) -> Option<Result<Item>> {
        if self.done {
            return None;
        }
        let item = self.advance(from_high).transpose();
        if !matches!(item, Some(Ok(_))) {
            self.done = true;
            (self.low, self.high) = (None, None);
            self.window.clear();
        }
        item
    }

    fn advance(&mut self, from_high: bool) -> Result<Option<Item>> {
        self.reader.check()?;
        self.repin_if_due()?;
        if self.left == 0 {
            return Ok(None);
        }
        let Some(item) = self.take_next(from_high)? else {
            if let Some(tracked) = &mut self.tracked {
                tracked.exhausted();
            }
            return Ok(None);
        };
        self.left -= 1;
        if let Some(tracked) = &mut self.tracked {
            tracked.reached(item.key(), from_high);
        }
        Ok(Some(item))
    }

    /// The next item of one end, if there is one that the other end has not given.
    fn take_next(&mut self, from_high: bool) -> Result<Option<Item>> {
        let has_two_ends = if from_high { &self.low } else { &self.high }.is_some();
        if has_two_ends {
            // From here on an end stands on the item that it gave last, which is how the two meet.
            self.settle()?;
        } else if let Some(known) = self.window.take() {
            return known;
        }
        if !self.move_cursor(from_high)? {
            return Ok(None);
        }
        let (moved, other) = if from_high { (&mut self.high, &self.low) } else { (&mut self.low, &self.high) };
        let Some(moved) = moved else { return Ok(None) };
        if let Some(other) = other
            && (!other.valid() || has_met(moved, other, from_high))
        {
            return Ok(None);
        }
        if !has_two_ends && self.window.is_wanted(moved) {
            return self.window.fill(moved, !from_high, self.left, &*self.reader.handle.clock).map(Some);
        }
        moved.item().map(Some)
    }

    /// Lets each end stand on the item that it gave last.
    fn settle(&mut self) -> Result<()> {
        match self.low.as_mut().or(self.high.as_mut()) {
            Some(end) if self.window.is_ahead() => self.window.give_back(end),
            _ => Ok(()),
        }
    }

    /// Also the end that does not move lets its view go, and so do the items ahead.
    fn repin_if_due(&mut self) -> Result<()> {
        self.moves += 1;
        if self.moves == MOVES_BEFORE_REPIN {
            self.moves = 0;
            self.settle()?;
            for end in [&mut self.low, &mut self.high].into_iter().flatten() {
                self.reader.repin(end, &self.options);
            }
        }
        Ok(())
    }

    /// Moves one end to its next entry; `false` if there is none.
    fn move_cursor(&mut self, from_high: bool) -> Result<bool> {
        let (end, other) = if from_high { (&mut self.high, &self.low) } else { (&mut self.low, &self.high) };
        let valid = match end {
            Some(cursor) => {
                if from_high {
                    cursor.prev()?
                } else {
                    cursor.next()?
                }
                cursor.valid()
            }
            None => {
                let shared = other.as_ref().map(|other| Arc::clone(other.store().view()));
                let view = shared.unwrap_or_else(|| self.reader.pin());
                let cursor = end.insert(self.reader.cursor(&view, &self.options, self.bounds.clone()));
                if from_high {
                    cursor.seek_to_last()?
                } else {
                    cursor.seek_to_first()?
                }
                cursor.valid()
            }
        };
        Ok(valid)
    }
}

/// Whether the end that has just moved has come to what the other end has given already.
fn has_met(moved: &OverlaidCursor<'_>, other: &OverlaidCursor<'_>, from_high: bool) -> bool {
    let order = moved.user_key().cmp(other.user_key()).then_with(|| other.version().cmp(&moved.version()));
    order != if from_high { Ordering::Greater } else { Ordering::Less }
}

impl Iterator for Iter<'_> {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(self.options.reverse)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(!self.options.reverse)
    }
}

impl FusedIterator for Iter<'_> {}

impl fmt::Debug for Iter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("bounds", &self.bounds).field("done", &self.done).finish_non_exhaustive()
    }
}
