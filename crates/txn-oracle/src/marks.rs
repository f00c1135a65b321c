//! Marks of open readers: which versions must stay readable, and since when they count time.
//!
//! Invariants
//! 1. Entries ascend by (version, seconds), each pair once.
//! 2. The first and the last entry have open marks; at most about half of those between have none.
//! 3. No open mark is below `discard`, and `discard` only grows.
//! 4. No mark counts with an earlier time than one that was given out before as the oldest.
//!
//! Called by `Oracle` under its lock, which both a registration and a raise of the discard version hold while they read
//! the visible version: a registration either is seen by the raise, or reads a visible version that is not below it.

use std::collections::VecDeque;

use base::Version;

/// Entries without open marks that are not worth a pass.
const RELEASED_SLACK: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MarkKey {
    pub(crate) version: Version,
    pub(crate) now_seconds: u64,
}

#[derive(Debug)]
struct Entry {
    key: MarkKey,
    open: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Marks {
    entries: VecDeque<Entry>,
    /// Entries without open marks.
    released: usize,
    discard: Version,
    newest_now_seconds: u64,
}

impl Marks {
    /// Registers a mark at `version`, which is not below `discard`. Time does not step back: a caller that read the
    /// clock before another and comes later gets the other's time.
    #[inline]
    pub(crate) fn open(&mut self, version: Version, now_seconds: u64) -> MarkKey {
        self.newest_now_seconds = self.newest_now_seconds.max(now_seconds);
        let key = MarkKey { version, now_seconds: self.newest_now_seconds };
        self.add(key);
        key
    }

    /// Registers one more mark of an open pair.
    pub(crate) fn add(&mut self, key: MarkKey) {
        match self.entries.back_mut() {
            Some(last) if last.key == key => last.open += 1,
            Some(last) if last.key > key => self.add_between(key),
            _ => self.entries.push_back(Entry { key, open: 1 }),
        }
    }

    fn add_between(&mut self, key: MarkKey) {
        let at = self.entries.partition_point(|entry| entry.key < key);
        match self.entries.get_mut(at) {
            Some(entry) if entry.key == key => {
                self.released -= usize::from(entry.open == 0);
                entry.open += 1;
            }
            _ => self.entries.insert(at, Entry { key, open: 1 }),
        }
    }

    /// Takes one mark of an open pair away.
    #[inline]
    pub(crate) fn close(&mut self, key: MarkKey) {
        let at = match self.entries.back() {
            Some(last) if last.key == key => self.entries.len() - 1,
            _ => self.entries.partition_point(|entry| entry.key < key),
        };
        let Some(entry) = self.entries.get_mut(at) else {
            debug_assert!(false, "a mark that is not registered was closed");
            return;
        };
        debug_assert_eq!(entry.key, key);
        entry.open -= 1;
        if entry.open == 0 {
            self.released += 1;
            self.drop_released();
        }
    }

    fn drop_released(&mut self) {
        while self.entries.pop_back_if(|last| last.open == 0).is_some() {
            self.released -= 1;
        }
        while self.entries.pop_front_if(|first| first.open == 0).is_some() {
            self.released -= 1;
        }
        if self.released > self.entries.len() / 2 + RELEASED_SLACK {
            self.entries.retain(|entry| entry.open > 0);
            self.released = 0;
        }
    }

    /// The oldest open mark.
    pub(crate) fn oldest(&self) -> Option<MarkKey> {
        self.entries.front().map(|first| first.key)
    }

    /// The earliest time that an open mark counts with, or `current_seconds` if that is earlier. No later mark counts
    /// with an earlier time, though its caller may have read the clock before.
    pub(crate) fn oldest_now_seconds(&mut self, current_seconds: u64) -> u64 {
        self.newest_now_seconds = self.newest_now_seconds.max(current_seconds);
        self.times().fold(current_seconds, u64::min)
    }

    /// Whether all open marks count with a later time than `key`.
    pub(crate) fn is_earlier(&self, key: MarkKey) -> bool {
        self.times().all(|now_seconds| now_seconds > key.now_seconds)
    }

    fn times(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().filter(|entry| entry.open > 0).map(|entry| entry.key.now_seconds)
    }

    /// Number of open marks.
    pub(crate) fn count(&self) -> u64 {
        self.entries.iter().map(|entry| entry.open).sum()
    }

    pub(crate) fn discard(&self) -> Version {
        self.discard
    }

    /// Raises the discard version to the oldest open mark, or to `visible` where there is none.
    pub(crate) fn raise_discard(&mut self, visible: Version) -> Version {
        let oldest = self.oldest().map_or(visible, |oldest| oldest.version);
        debug_assert!(oldest >= self.discard, "a reader below what it needs");
        self.discard = oldest;
        oldest
    }

    #[cfg(test)]
    pub(crate) fn entries_len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use base::rng::Rng;

    use super::*;

    #[test]
    fn oldest_and_oldest_now_are_those_of_the_open_marks_whatever_the_order() {
        for seed in 0..50 {
            println!("seed {seed}");
            let mut rng = Rng::new(seed);
            let mut marks = Marks::default();
            let mut open: Vec<MarkKey> = Vec::new();
            let (mut visible, mut now) = (0, 0);
            for _ in 0..400 {
                visible += rng.below(2);
                now += rng.below(2);
                match rng.below(5) {
                    0 | 1 => open.push(marks.open(visible, now - rng.below(2).min(now))),
                    2 => {
                        let discard = marks.discard();
                        open.push(marks.open(discard + rng.below(visible - discard + 1), now));
                    }
                    3 if !open.is_empty() => {
                        let again = open[rng.below(open.len() as u64) as usize];
                        marks.add(again);
                        open.push(again);
                    }
                    _ if !open.is_empty() => {
                        marks.close(open.swap_remove(rng.below(open.len() as u64) as usize));
                    }
                    _ => {}
                }
                assert_eq!(marks.oldest().map(|key| key.version), open.iter().map(|key| key.version).min());
                let oldest_now = open.iter().map(|key| key.now_seconds).fold(now, u64::min);
                assert_eq!(marks.oldest_now_seconds(now), oldest_now);
                assert_eq!(marks.count(), open.len() as u64);
                if rng.one_in(10) {
                    let discard = marks.raise_discard(visible);
                    assert!(discard <= visible && open.iter().all(|key| key.version >= discard));
                }
            }
        }
    }

    #[test]
    fn one_old_mark_does_not_make_a_million_closed_ones_stay() {
        let mut marks = Marks::default();
        let old = marks.open(1, 1);
        let mut overlapping = marks.open(2, 2);
        for version in 3..10_000 {
            let next = marks.open(version, version);
            marks.close(overlapping);
            overlapping = next;
            assert!(marks.entries_len() <= 2 * (2 + RELEASED_SLACK) + 2);
        }
        marks.close(overlapping);
        assert_eq!(marks.oldest(), Some(old));
        marks.close(old);
        assert_eq!(marks.entries_len(), 0);
    }
}
