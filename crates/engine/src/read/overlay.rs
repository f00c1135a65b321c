//! A transaction's own writes, laid over what it reads from the store.
//!
//! Without own writes this is the cursor below, at the price of one branch. With them, the two are walked side by side;
//! on the same key the own write is shown, or hides it if it deletes.

use std::collections::BTreeMap;
use std::ops::Bound;

use base::Version;

use crate::read::{Item, VisibleCursor};
use crate::txn::Pending;
use crate::{Result, Slice};

/// The pending writes of one keyspace, in key order.
pub(crate) type PendingWrites = BTreeMap<Slice, Pending>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

/// A cursor over the store with a transaction's own writes on top.
#[derive(Debug)]
pub(crate) struct OverlaidCursor<'a> {
    store: VisibleCursor,
    own: Option<Own<'a>>,
}

#[derive(Debug)]
struct Own<'a> {
    writes: &'a PendingWrites,
    current: Option<(&'a Slice, &'a Pending)>,
    direction: Direction,
    read_version: Version,
    now: u64,
}

/// Which of the two the cursor stands on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Store,
    Own,
    /// Both have the key; the own write counts.
    Both,
}

impl<'a> OverlaidCursor<'a> {
    pub(crate) fn new(
        store: VisibleCursor,
        writes: Option<&'a PendingWrites>,
        read_version: Version,
        now: u64,
    ) -> Self {
        let own = writes.filter(|writes| !writes.is_empty()).map(|writes| {
            let direction = Direction::Forward;
            Own { writes, current: None, direction, read_version, now }
        });
        Self { store, own }
    }

    /// The part that walks the store.
    pub(crate) fn store(&self) -> &VisibleCursor {
        &self.store
    }

    pub(crate) fn store_mut(&mut self) -> &mut VisibleCursor {
        &mut self.store
    }

    pub(crate) fn valid(&self) -> bool {
        self.store.valid() || self.own.as_ref().is_some_and(|own| own.current.is_some())
    }

    /// The user key. Requires: [`valid`](Self::valid).
    pub(crate) fn user_key(&self) -> &[u8] {
        match (&self.own, self.shown()) {
            (Some(Own { current: Some((key, _)), .. }), Shown::Own | Shown::Both) => key,
            _ => self.store.key().user_key,
        }
    }

    /// The version; that of the transaction's reads for an own write. Requires: [`valid`](Self::valid).
    pub(crate) fn version(&self) -> Version {
        match (&self.own, self.shown()) {
            (Some(own), Shown::Own | Shown::Both) => own.read_version,
            _ => self.store.key().version,
        }
    }

    /// Requires: [`valid`](Self::valid).
    pub(crate) fn item(&self) -> Result<Item> {
        match (&self.own, self.shown()) {
            (Some(Own { current: Some((key, pending)), read_version, .. }), Shown::Own | Shown::Both) => {
                Ok(pending.item(key, *read_version))
            }
            _ => self.store.item(),
        }
    }

    /// The part that walks the store, if that is what is shown.
    pub(crate) fn store_cursor(&self) -> Option<&VisibleCursor> {
        (self.valid() && self.shown() == Shown::Store).then_some(&self.store)
    }

    pub(crate) fn seek_to_first(&mut self) -> Result<()> {
        self.store.seek_to_first()?;
        let lower = self.store.bounds().lower.clone();
        self.seek_own(Direction::Forward, Bound::Included(&lower));
        self.pass_hidden()
    }

    pub(crate) fn seek_to_last(&mut self) -> Result<()> {
        self.store.seek_to_last()?;
        let upper = self.store.bounds().upper.clone();
        self.seek_own(Direction::Backward, upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded));
        self.pass_hidden()
    }

    pub(crate) fn seek(&mut self, user_key: &[u8]) -> Result<()> {
        self.store.seek(user_key)?;
        let from = user_key.max(&self.store.bounds().lower[..]).to_vec();
        self.seek_own(Direction::Forward, Bound::Included(&from));
        self.pass_hidden()
    }

    pub(crate) fn seek_for_prev(&mut self, user_key: &[u8]) -> Result<()> {
        if !self.store.bounds().is_below_upper(user_key) {
            return self.seek_to_last();
        }
        self.store.seek_for_prev(user_key)?;
        self.seek_own(Direction::Backward, Bound::Included(user_key));
        self.pass_hidden()
    }

    /// Requires: [`valid`](Self::valid), as does `prev`.
    pub(crate) fn next(&mut self) -> Result<()> {
        if self.own.is_none() {
            return self.store.next();
        }
        self.turn(Direction::Forward)?;
        self.step()?;
        self.pass_hidden()
    }

    pub(crate) fn prev(&mut self) -> Result<()> {
        if self.own.is_none() {
            return self.store.prev();
        }
        self.turn(Direction::Backward)?;
        self.step()?;
        self.pass_hidden()
    }

    fn shown(&self) -> Shown {
        let Some(Own { current: Some((own_key, _)), direction, .. }) = &self.own else { return Shown::Store };
        if !self.store.valid() {
            return Shown::Own;
        }
        let order = self.store.key().user_key.cmp(own_key);
        let order = if *direction == Direction::Forward { order } else { order.reverse() };
        match order {
            std::cmp::Ordering::Less => Shown::Store,
            std::cmp::Ordering::Equal => Shown::Both,
            std::cmp::Ordering::Greater => Shown::Own,
        }
    }

    /// Moves off the current key, in the current direction.
    fn step(&mut self) -> Result<()> {
        let shown = self.shown();
        let Some(own) = &mut self.own else { return Ok(()) };
        let forward = own.direction == Direction::Forward;
        if shown != Shown::Store {
            own.advance(self.store.bounds());
        }
        if shown != Shown::Own && self.store.valid() {
            if forward { self.store.next()? } else { self.store.prev()? }
        }
        Ok(())
    }

    /// Passes over own deletions and the keys that they hide.
    fn pass_hidden(&mut self) -> Result<()> {
        while let Some(Own { current: Some((_, pending)), now, .. }) = &self.own {
            if self.shown() == Shown::Store || !pending.is_deleted_at(*now) {
                return Ok(());
            }
            self.step()?;
        }
        Ok(())
    }

    /// Makes both cursors stand where the other direction expects them.
    fn turn(&mut self, direction: Direction) -> Result<()> {
        if self.own.as_ref().is_none_or(|own| own.direction == direction) {
            return Ok(());
        }
        let key = self.user_key().to_vec();
        match direction {
            Direction::Forward => self.store.seek(&key)?,
            Direction::Backward => self.store.seek_for_prev(&key)?,
        }
        self.seek_own(direction, Bound::Included(&key));
        Ok(())
    }

    fn seek_own(&mut self, direction: Direction, from: Bound<&[u8]>) {
        let Some(own) = &mut self.own else { return };
        own.direction = direction;
        own.current = match direction {
            Direction::Forward => own.writes.range::<[u8], _>((from, Bound::Unbounded)).next(),
            Direction::Backward => own.writes.range::<[u8], _>((Bound::Unbounded, from)).next_back(),
        };
        own.keep_within(self.store.bounds());
    }
}

impl Own<'_> {
    fn advance(&mut self, bounds: &crate::read::Bounds) {
        let Some((key, _)) = self.current else { return };
        let behind = Bound::Excluded(&key[..]);
        self.current = match self.direction {
            Direction::Forward => self.writes.range::<[u8], _>((behind, Bound::Unbounded)).next(),
            Direction::Backward => self.writes.range::<[u8], _>((Bound::Unbounded, behind)).next_back(),
        };
        self.keep_within(bounds);
    }

    fn keep_within(&mut self, bounds: &crate::read::Bounds) {
        self.current = self.current.filter(|(key, _)| bounds.contains(key));
    }
}
