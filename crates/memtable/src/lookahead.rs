//! Has the processor fetch the entries that a walk will come to.
//!
//! A list alone tells one node at a time, and each would be waited for. The index has a leaf's nodes side by side, so a walk
//! asks for all nodes of the leaf ahead when it enters the one before. It knows a leaf by its first node, which it cannot
//! miss, since nodes neither move nor go. What the index says may be out of date; then some nodes are waited for.
//!
//! Called by the cursor.

use crate::arena::Node;
use crate::index::LeafNumber;
use crate::list::List;

/// How far a walk has asked ahead.
#[derive(Clone, Copy)]
pub(crate) struct Lookahead {
    /// The leaf that the walk is in, and the one that was asked for.
    leaf: LeafNumber,
    ahead: LeafNumber,
    /// The node by which the walk enters the leaf ahead.
    entry: Option<Node>,
    /// Forward, backward, or not begun.
    forward: Option<bool>,
}

impl Lookahead {
    /// For a walk that begins in a leaf.
    #[inline]
    pub(crate) fn from(leaf: LeafNumber) -> Self {
        Self { leaf, ahead: LeafNumber::NONE, entry: None, forward: None }
    }

    /// Notes that the walk leaves `node`.
    #[inline]
    pub(crate) fn step(&mut self, list: &List, node: Node, forward: bool) {
        if self.forward != Some(forward) {
            // The walk begins, or turns: what lies around it comes first.
            self.forward = Some(forward);
            list.index().prefetch_nodes(list.arena(), self.leaf);
            self.ask(list, forward);
        } else if self.entry == Some(node) {
            self.leaf = self.ahead;
            self.ask(list, forward);
        }
    }

    fn ask(&mut self, list: &List, forward: bool) {
        let index = list.index();
        self.ahead = index.leaf_beside(self.leaf, forward);
        index.prefetch_nodes(list.arena(), self.ahead);
        index.prefetch_leaf(index.leaf_beside(self.ahead, forward));
        self.entry = index.edge_node(self.ahead, forward);
    }
}
