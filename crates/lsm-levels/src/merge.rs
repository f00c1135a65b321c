//! Merges cursors into one, with a loser tree.
//!
//! Each inner node of a complete binary tree over the sources remembers the *loser* of the match that was played there;
//! the overall winner is kept apart. Moving the winner replays only the matches on its path to the root: about log2(n)
//! comparisons, most of them of sixteen-byte key prefixes kept in the nodes as one number. (Eight bytes are too few: keys
//! that share a word in front would all be compared in full; see `docs/adr/0008-compaction-scores-and-merge-loop.md`.)
//!
//! Invariants
//! 1. Forward, the winner stands on the least entry of all sources; in reverse on the greatest. Between equal internal
//!    keys the first source wins, in both directions, and the others' copies are skipped: an internal key is one entry.
//! 2. A contender's `tied` is set iff a source of the subtree it has won stands on the same internal key. What it has
//!    beaten cannot move before it does, so the mark cannot go stale.
//! 3. After an error the cursor stands nowhere until it is positioned anew.
//!
//! Nothing is allocated for an entry; a key is copied only where it stands in two sources or the direction changes.

use std::cmp::Ordering;

use base::{Cursor, InternalKey, InternalKeyRef};

/// A source in the tournament.
#[derive(Clone, Copy, Debug)]
struct Contender {
    /// Prefix of its user key; complemented in reverse, so that the lesser one always wins.
    prefix: u128,
    source: usize,
    exhausted: bool,
    tied: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    Reverse,
}

/// Several sorted sources as one, forward and reverse.
#[derive(Debug)]
pub struct MergeCursor<C> {
    sources: Vec<C>,
    /// Losers by node: node 1 is the root's match, the children of node `n` are `2n` and `2n + 1`, and the leaf of
    /// source `s` is `s + sources.len()`. Node 0 is unused.
    losers: Vec<Contender>,
    winner: Option<Contender>,
    direction: Direction,
    /// A key that is left behind, while its copies in other sources are passed.
    passed: InternalKey,
}

impl<C: Cursor> MergeCursor<C> {
    /// Merges `sources`, of which an earlier one wins where internal keys are equal.
    #[must_use]
    pub fn new(sources: Vec<C>) -> Self {
        let unplayed = Contender { prefix: 0, source: 0, exhausted: true, tied: false };
        let losers = vec![unplayed; sources.len()];
        Self { sources, losers, winner: None, direction: Direction::Forward, passed: InternalKey::default() }
    }

    /// Positions every source, then plays all matches.
    fn restart(
        &mut self,
        direction: Direction,
        mut position: impl FnMut(&mut C) -> Result<(), C::Error>,
    ) -> Result<(), C::Error> {
        self.winner = None;
        self.direction = direction;
        for source in &mut self.sources {
            position(source)?;
        }
        if !self.sources.is_empty() {
            let winner = self.play(1);
            self.crown(winner);
        }
        Ok(())
    }

    /// Plays all matches below and at `node`, and returns the winner.
    fn play(&mut self, node: usize) -> Contender {
        let leaves = self.sources.len();
        if node >= leaves {
            return self.contender(node - leaves);
        }
        let (left, right) = (self.play(2 * node), self.play(2 * node + 1));
        let (winner, loser) = self.decide(left, right);
        if let Some(slot) = self.losers.get_mut(node) {
            *slot = loser;
        }
        winner
    }

    /// Replays the matches on the path of a source that has moved.
    #[inline]
    fn replay(&mut self, source: usize) {
        let mut winner = self.contender(source);
        let mut node = (source + self.sources.len()) / 2;
        while node >= 1 {
            let Some(loser) = self.losers.get(node).copied() else { break };
            let (won, lost) = self.decide(winner, loser);
            if let Some(slot) = self.losers.get_mut(node) {
                *slot = lost;
            }
            winner = won;
            node /= 2;
        }
        self.crown(winner);
    }

    #[inline]
    fn crown(&mut self, winner: Contender) {
        self.winner = (!winner.exhausted).then_some(winner);
    }

    #[inline]
    fn contender(&self, source: usize) -> Contender {
        match self.sources.get(source) {
            Some(cursor) if cursor.valid() => {
                let prefix = match self.direction {
                    // Nobody to compare it with.
                    _ if self.sources.len() == 1 => 0,
                    Direction::Forward => key_prefix(cursor.key().user_key),
                    Direction::Reverse => !key_prefix(cursor.key().user_key),
                };
                Contender { prefix, source, exhausted: false, tied: false }
            }
            _ => Contender { prefix: u128::MAX, source, exhausted: true, tied: false },
        }
    }

    /// The winner and the loser of a match.
    #[inline]
    fn decide(&self, a: Contender, b: Contender) -> (Contender, Contender) {
        if a.prefix < b.prefix {
            return (a, b);
        }
        if b.prefix < a.prefix {
            return (b, a);
        }
        self.decide_by_key(a, b)
    }

    #[inline]
    fn decide_by_key(&self, a: Contender, b: Contender) -> (Contender, Contender) {
        if a.exhausted || b.exhausted {
            return if a.exhausted { (b, a) } else { (a, b) };
        }
        let (Some(left), Some(right)) = (self.sources.get(a.source), self.sources.get(b.source)) else {
            return (a, b);
        };
        let order = left.key().cmp(&right.key());
        match if self.direction == Direction::Forward { order } else { order.reverse() } {
            Ordering::Less => (a, b),
            Ordering::Greater => (b, a),
            Ordering::Equal if a.source < b.source => (Contender { tied: true, ..a }, b),
            Ordering::Equal => (Contender { tied: true, ..b }, a),
        }
    }

    /// Moves the winner's source one step in the direction of travel and finds the next winner.
    #[inline]
    fn step(&mut self, source: usize) -> Result<(), C::Error> {
        let direction = self.direction;
        if let Some(cursor) = self.sources.get_mut(source) {
            let moved = if direction == Direction::Forward { cursor.next() } else { cursor.prev() };
            if let Err(error) = moved {
                self.winner = None;
                return Err(error);
            }
        }
        self.replay(source);
        Ok(())
    }

    /// Leaves the entry, with its copies in other sources.
    #[inline]
    fn advance(&mut self) -> Result<(), C::Error> {
        match self.winner {
            None => Ok(()),
            Some(winner) if winner.tied => self.advance_past_copies(winner.source),
            Some(winner) => self.step(winner.source),
        }
    }

    #[cold]
    fn advance_past_copies(&mut self, source: usize) -> Result<(), C::Error> {
        if let Some(cursor) = self.sources.get(source) {
            self.passed.assign(cursor.key());
        }
        while let Some(winner) = self.winner {
            let Some(cursor) = self.sources.get(winner.source) else { break };
            if cursor.key() != self.passed.as_ref() {
                break;
            }
            self.step(winner.source)?;
        }
        Ok(())
    }

    /// Turns round: every source goes to the entry next to the current one in the new direction.
    #[cold]
    fn turn(&mut self, direction: Direction) -> Result<(), C::Error> {
        let Some(cursor) = self.winner.and_then(|winner| self.sources.get(winner.source)) else { return Ok(()) };
        let mut left = std::mem::take(&mut self.passed);
        left.assign(cursor.key());
        let turned = self.restart(direction, |source| {
            let step = match direction {
                Direction::Forward => {
                    source.seek(left.as_ref())?;
                    C::next
                }
                Direction::Reverse => {
                    source.seek_for_prev(left.as_ref())?;
                    C::prev
                }
            };
            if source.valid() && source.key() == left.as_ref() { step(source) } else { Ok(()) }
        });
        self.passed = left;
        turned
    }
}

impl<C: Cursor> Cursor for MergeCursor<C> {
    type Error = C::Error;

    fn seek_to_first(&mut self) -> Result<(), C::Error> {
        self.restart(Direction::Forward, C::seek_to_first)
    }

    fn seek_to_last(&mut self) -> Result<(), C::Error> {
        self.restart(Direction::Reverse, C::seek_to_last)
    }

    fn seek(&mut self, key: InternalKeyRef<'_>) -> Result<(), C::Error> {
        self.restart(Direction::Forward, |source| source.seek(key))
    }

    fn seek_for_prev(&mut self, key: InternalKeyRef<'_>) -> Result<(), C::Error> {
        self.restart(Direction::Reverse, |source| source.seek_for_prev(key))
    }

    #[inline]
    fn next(&mut self) -> Result<(), C::Error> {
        if self.direction == Direction::Forward { self.advance() } else { self.turn(Direction::Forward) }
    }

    #[inline]
    fn prev(&mut self) -> Result<(), C::Error> {
        if self.direction == Direction::Reverse { self.advance() } else { self.turn(Direction::Reverse) }
    }

    #[inline]
    fn valid(&self) -> bool {
        self.winner.is_some()
    }

    #[inline]
    fn key(&self) -> InternalKeyRef<'_> {
        self.winner.and_then(|winner| self.sources.get(winner.source)).map_or(InternalKeyRef::new(&[], 0), Cursor::key)
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.winner.and_then(|winner| self.sources.get(winner.source)).map_or(&[], Cursor::value)
    }
}

/// The first sixteen bytes as a big-endian number, zeros where there are fewer: orders as the bytes do, but for ties.
#[inline]
fn key_prefix(bytes: &[u8]) -> u128 {
    match bytes.first_chunk::<16>() {
        Some(chunk) => u128::from_be_bytes(*chunk),
        None => {
            let mut padded = [0; 16];
            padded.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            u128::from_be_bytes(padded)
        }
    }
}

#[cfg(test)]
mod tests;
