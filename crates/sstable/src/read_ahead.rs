//! Asks for blocks before they are wanted, once a cursor has read some in sequence.
//!
//! A mapped file is told which range comes next; from one that is not mapped, many blocks are read with one call. The
//! range starts small and doubles while the sequence holds, so that a short scan reads little that it does not use.

use std::ops::Range;

use bytes::Bytes;

use crate::block_source::{BlockPlace, BlockSource};

/// Blocks read in sequence before anything is asked for.
const SEQUENTIAL_BLOCKS_MIN: i64 = 2;
const WINDOW_BYTES_FIRST: u64 = 64 << 10;
const WINDOW_BYTES_MAX: u64 = 1 << 20;

/// What one cursor has read and asked for.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    last: Option<usize>,
    /// Blocks read in sequence: positive going forward, negative going back.
    run: i64,
    window_bytes: u64,
    /// The part of a mapped file that was asked for last.
    asked: Range<u64>,
    /// What was read ahead of a file that is not mapped, and from where.
    buffer: (u64, Bytes),
}

impl ReadAhead {
    /// Notes that a block is about to be read, and asks for those behind it if that has become worth it. `end` is where
    /// the last block ends.
    pub(crate) fn before(&mut self, source: &BlockSource, place: BlockPlace, end: u64) {
        self.run = match self.last {
            Some(last) if last + 1 == place.number => self.run.max(0) + 1,
            Some(last) if last == place.number + 1 => self.run.min(0) - 1,
            Some(last) if last == place.number => self.run,
            _ => 0,
        };
        self.last = Some(place.number);
        if self.run.abs() < SEQUENTIAL_BLOCKS_MIN {
            self.window_bytes = 0;
        } else if source.mapped().is_some() {
            self.advise(source, place, end);
        } else {
            self.fill(source, place, end);
        }
    }

    /// Bytes read ahead and where they start in the file.
    pub(crate) fn buffer(&self) -> Option<(u64, &Bytes)> {
        let (start, bytes) = &self.buffer;
        (!bytes.is_empty()).then_some((*start, bytes))
    }

    fn advise(&mut self, source: &BlockSource, place: BlockPlace, end: u64) {
        let block = place.offset..place.offset + place.len as u64;
        let margin = self.window_bytes / 2;
        let left = if self.run > 0 {
            block.end + margin >= self.asked.end && self.asked.end < end
        } else {
            block.start < self.asked.start + margin && self.asked.start > 0
        };
        let elsewhere = block.start < self.asked.start || block.end > self.asked.end;
        if !left && !elsewhere {
            return;
        }
        let fresh = self.window_bytes == 0 || elsewhere;
        self.grow();
        let next = if self.run > 0 {
            let from = if fresh { block.start } else { self.asked.end };
            from..(from + self.window_bytes).min(end)
        } else {
            let to = if fresh { block.end } else { self.asked.start };
            to.saturating_sub(self.window_bytes)..to
        };
        source.will_need(next.clone());
        self.asked = if fresh { next } else { self.asked.start.min(next.start)..self.asked.end.max(next.end) };
    }

    fn fill(&mut self, source: &BlockSource, place: BlockPlace, end: u64) {
        let block = place.offset..place.offset + place.len as u64;
        let (start, bytes) = &self.buffer;
        if *start <= block.start && block.end <= start + bytes.len() as u64 {
            return;
        }
        self.grow();
        let range = if self.run > 0 {
            block.start..(block.start + self.window_bytes).min(end).max(block.end)
        } else {
            block.end.saturating_sub(self.window_bytes).min(block.start)..block.end
        };
        // What cannot be read ahead is told when it is wanted: a scan may well end before that.
        let bytes = source.read(range.start, (range.end - range.start) as usize).unwrap_or_default();
        self.buffer = (range.start, Bytes::from(bytes));
    }

    fn grow(&mut self) {
        self.window_bytes = (self.window_bytes * 2).clamp(WINDOW_BYTES_FIRST, WINDOW_BYTES_MAX);
    }
}
