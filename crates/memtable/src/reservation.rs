//! A share of a memtable's memory, and the right to insert into it.
//!
//! Invariants
//! 1. A reservation never uses more than it speaks for. Each insert is charged the most that it could take; what it took
//!    less, and what was never charged, is given back at the end.
//! 2. While a reservation lives it counts as pending; when that count falls, its entries can be found.
//!
//! Called by the engine, one reservation for each commit and memtable.

use std::fmt;

use base::sync::Arc;
use base::{EntryRef, InternalKeyRef};

use crate::Memtable;
use crate::finger::Finger;
use crate::memtable::Inner;

/// Room for entries that are about to be inserted. Reservations of one memtable may insert at the same time.
pub struct Reservation {
    memtable: Arc<Inner>,
    finger: Finger,
    uncharged_bytes: usize,
    /// Charged, but not taken.
    saved_bytes: usize,
}

/// What became of an insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The entry is in.
    Added,
    /// The same internal key is there already. The first entry stays.
    Duplicate,
}

/// An insert that does not keep to what was reserved: an error of the program. Nothing was inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry of up to {needed_bytes} bytes does not fit into the {left_bytes} bytes left of a reservation")]
pub struct OverReservation {
    /// The most that the entry could take.
    pub needed_bytes: usize,
    /// What the reservation still spoke for.
    pub left_bytes: usize,
}

impl Reservation {
    /// Requires: the budget has counted it.
    pub(crate) fn new(memtable: Arc<Inner>, bytes: usize) -> Self {
        let finger = memtable.finger.take();
        Self { memtable, finger, uncharged_bytes: bytes, saved_bytes: 0 }
    }

    /// Copies an entry into the memtable, where any reader finds it at once. Keys in ascending order are fastest.
    ///
    /// # Errors
    /// When the reservation has less left than the entry's [`Memtable::entry_bytes_max`].
    pub fn insert(&mut self, key: InternalKeyRef<'_>, entry: EntryRef<'_>) -> Result<Inserted, OverReservation> {
        let needed_bytes = Memtable::entry_bytes_max(key.user_key.len(), entry.payload.len());
        let over = OverReservation { needed_bytes, left_bytes: self.uncharged_bytes };
        let uncharged_bytes = self.uncharged_bytes.checked_sub(needed_bytes).ok_or(over)?;
        let outcome = self.memtable.list.insert(key, entry, &mut self.finger).ok_or(over)?;
        self.uncharged_bytes = uncharged_bytes;
        self.saved_bytes += needed_bytes.saturating_sub(outcome.node_bytes);
        if outcome.index_bytes > 0 {
            self.memtable.budget.charge(outcome.index_bytes);
        }
        Ok(outcome.inserted)
    }

    /// Bytes that are left for inserts.
    #[must_use]
    pub fn left_bytes(&self) -> usize {
        self.uncharged_bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memtable.finger.leave(self.finger);
        self.memtable.budget.finish(self.uncharged_bytes + self.saved_bytes);
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("left_bytes", &self.uncharged_bytes).finish_non_exhaustive()
    }
}
