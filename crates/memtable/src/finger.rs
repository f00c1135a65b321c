//! Where the last insert was: one node a level, so that the next key in order finds its place without a search.
//!
//! Each reservation has a finger of its own and leaves it to the next one through a shared copy. The copy is read and
//! written level by level without a lock. Two reservations may mix theirs: every level still names a node of that level,
//! which is all that an insert relies on, since it checks each against its key.
//!
//! Called by the skiplist's insert and by reservations.

use crate::arena::{HEIGHT_MAX, Node, NodeCell};

/// The last node before, or at, the place of an insert, for each level.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finger([Node; HEIGHT_MAX]);

impl Finger {
    /// The nodes from level 0 up.
    #[inline]
    pub(crate) fn nodes(&self) -> [Node; HEIGHT_MAX] {
        self.0
    }

    /// Moves to a node that was just linked on the levels below `height`; `before` is what precedes it on each level.
    #[inline]
    pub(crate) fn follow(&mut self, node: Node, height: usize, before: [Node; HEIGHT_MAX]) {
        for (level, (slot, before)) in self.0.iter_mut().zip(before).enumerate() {
            *slot = if level < height { node } else { before };
        }
    }
}

/// The finger that reservations leave to each other.
pub(crate) struct SharedFinger([NodeCell; HEIGHT_MAX]);

impl SharedFinger {
    /// Points at the head.
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| NodeCell::new(Node::HEAD)))
    }

    /// A copy to work with.
    #[inline]
    pub(crate) fn take(&self) -> Finger {
        Finger(std::array::from_fn(|level| self.0.get(level).map_or(Node::HEAD, NodeCell::load)))
    }

    /// Leaves a copy behind.
    #[inline]
    pub(crate) fn leave(&self, finger: &Finger) {
        for (cell, node) in self.0.iter().zip(finger.nodes()) {
            cell.store(node);
        }
    }
}
