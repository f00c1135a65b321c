//! Where the last insert was, so that the next key in order finds its place without a search.
//!
//! Each reservation has a finger of its own and leaves it to the next one through a shared copy. The copy is read and
//! written without a lock. Two reservations may mix theirs, which does no harm: an insert checks both parts.
//!
//! Called by the list's insert and by reservations.

use base::sync::atomic::{AtomicU32, Ordering};

use crate::arena::{Node, NodeCell};
use crate::index::LeafNumber;

/// The last insert of a reservation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finger {
    /// The node that was inserted.
    pub(crate) node: Node,
    /// The leaf of the index that took it.
    pub(crate) leaf: LeafNumber,
}

/// The finger that reservations leave to each other.
pub(crate) struct SharedFinger {
    node: NodeCell,
    leaf: AtomicU32,
}

impl SharedFinger {
    /// Points at the head.
    pub(crate) fn new() -> Self {
        Self { node: NodeCell::default(), leaf: AtomicU32::new(LeafNumber::NONE.word()) }
    }

    /// A copy to work with.
    #[inline]
    pub(crate) fn take(&self) -> Finger {
        let leaf = LeafNumber::from_word(self.leaf.load(Ordering::Acquire));
        Finger { node: self.node.load().unwrap_or(Node::HEAD), leaf }
    }

    /// Leaves a copy behind.
    #[inline]
    pub(crate) fn leave(&self, finger: Finger) {
        self.node.store(Some(finger.node));
        self.leaf.store(finger.leaf.word(), Ordering::Release);
    }
}
