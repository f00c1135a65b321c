//! Garbage that is only surmised: bytes that writes hide, by the version of the write.
//!
//! What a write hides is garbage once no reader is below its version, and a search finds it then. What readers still
//! keep stays surmised until they have gone.

use std::collections::VecDeque;

use base::Version;

/// Samples are put together so that no more than this many stand.
const MARKS_MAX: usize = 128;

#[derive(Clone, Copy, Debug)]
struct Mark {
    /// The newest write of these.
    by: Version,
    bytes: u64,
}

/// What is surmised, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Surmised {
    marks: VecDeque<Mark>,
}

impl Surmised {
    /// The write of version `by` hides `bytes`.
    pub(crate) fn hide(&mut self, by: Version, bytes: u64) {
        let newest = self.marks.back().map_or(0, |mark| mark.by);
        self.marks.push_back(Mark { by: by.max(newest), bytes });
        if self.marks.len() >= MARKS_MAX {
            self.put_together();
        }
    }

    /// Leaves half as many marks, or fewer, each of not much more than its share.
    fn put_together(&mut self) {
        let share = self.total() / (MARKS_MAX as u64 / 4);
        let mut marks: VecDeque<Mark> = VecDeque::with_capacity(MARKS_MAX);
        for mark in self.marks.drain(..) {
            match marks.back_mut() {
                Some(last) if last.bytes + mark.bytes <= share => {
                    *last = Mark { by: mark.by, bytes: last.bytes + mark.bytes };
                }
                _ => marks.push_back(mark),
            }
        }
        self.marks = marks;
    }

    /// `bytes` of it, the oldest, have become known.
    pub(crate) fn found(&mut self, mut bytes: u64) {
        while let Some(oldest) = self.marks.front_mut() {
            if oldest.bytes > bytes {
                oldest.bytes -= bytes;
                return;
            }
            bytes -= oldest.bytes;
            self.marks.pop_front();
        }
    }

    /// A search that began when every reader saw `discard` has ended: what it did not find is not there.
    pub(crate) fn searched(&mut self, discard: Version) {
        while self.marks.pop_front_if(|oldest| oldest.by <= discard).is_some() {}
    }

    /// What a search would find now that every reader sees `discard`.
    pub(crate) fn findable(&self, discard: Version) -> u64 {
        self.marks.iter().take_while(|mark| mark.by <= discard).map(|mark| mark.bytes).sum()
    }

    pub(crate) fn total(&self) -> u64 {
        self.findable(Version::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_readers_keep_is_found_once_they_have_gone() {
        let mut surmised = Surmised::default();
        (1..=10).for_each(|version| surmised.hide(version, 10));
        assert_eq!((surmised.findable(4), surmised.total()), (40, 100));
        // A search finds 30 of the 40: the rest of them was never there, and what is above stays.
        surmised.found(30);
        surmised.searched(4);
        assert_eq!((surmised.findable(4), surmised.findable(10)), (0, 60));
        surmised.found(1_000);
        assert_eq!(surmised.total(), 0);
    }

    #[test]
    fn many_samples_take_little_room_and_lose_nothing() {
        let mut surmised = Surmised::default();
        (1..=100_000).for_each(|version| surmised.hide(version, 3));
        assert!(surmised.marks.len() < MARKS_MAX);
        assert_eq!(surmised.total(), 300_000);
        let half = surmised.findable(50_000);
        assert!((140_000..=150_000).contains(&half), "{half}");
        surmised.searched(50_000);
        assert_eq!(surmised.total(), 300_000 - half);
    }
}
