//! Walks a memtable in key order, both ways, while others insert.
//!
//! A cursor stands on a node, and nodes neither move nor go, so a concurrent insert never disturbs it: a move sees what
//! is there when it is made.
//!
//! Called by the engine, directly and within merges.

use std::convert::Infallible;
use std::fmt;

use base::sync::Arc;
use base::{Cursor, InternalKeyRef};

use crate::arena::Node;
use crate::index::LeafNumber;
use crate::lookahead::Lookahead;
use crate::memtable::Inner;
use crate::target::Target;

/// A position in a memtable, which it keeps alive. Where it is not valid, a move by one leaves it so, and it shows an empty
/// key and no value.
pub struct MemtableCursor {
    memtable: Arc<Inner>,
    node: Option<Node>,
    lookahead: Lookahead,
}

impl MemtableCursor {
    pub(crate) fn new(memtable: Arc<Inner>) -> Self {
        Self { memtable, node: None, lookahead: Lookahead::from(LeafNumber::NONE) }
    }

    #[inline]
    fn stand(&mut self, (node, leaf): (Option<Node>, LeafNumber)) {
        self.node = node;
        self.lookahead = Lookahead::from(leaf);
    }
}

impl Cursor for MemtableCursor {
    type Error = Infallible;

    #[inline]
    fn seek_to_first(&mut self) -> Result<(), Infallible> {
        self.stand(self.memtable.list.first());
        Ok(())
    }

    #[inline]
    fn seek_to_last(&mut self) -> Result<(), Infallible> {
        self.stand(self.memtable.list.last());
        Ok(())
    }

    #[inline]
    fn seek(&mut self, key: InternalKeyRef<'_>) -> Result<(), Infallible> {
        self.stand(self.memtable.list.at_or_after(&Target::new(key)));
        Ok(())
    }

    #[inline]
    fn seek_for_prev(&mut self, key: InternalKeyRef<'_>) -> Result<(), Infallible> {
        self.stand(self.memtable.list.at_or_before(&Target::new(key)));
        Ok(())
    }

    #[inline]
    fn next(&mut self) -> Result<(), Infallible> {
        if let Some(node) = self.node {
            self.lookahead.step(&self.memtable.list, node, true);
            self.node = self.memtable.list.next(node);
        }
        Ok(())
    }

    #[inline]
    fn prev(&mut self) -> Result<(), Infallible> {
        if let Some(node) = self.node {
            self.lookahead.step(&self.memtable.list, node, false);
            self.node = self.memtable.list.prev(node);
        }
        Ok(())
    }

    #[inline]
    fn valid(&self) -> bool {
        self.node.is_some()
    }

    #[inline]
    fn key(&self) -> InternalKeyRef<'_> {
        self.node.map_or(InternalKeyRef::new(&[], 0), |node| self.memtable.list.key(node))
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.node.map_or(&[], |node| self.memtable.list.arena().entry(node))
    }
}

impl fmt::Debug for MemtableCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemtableCursor").field("key", &self.node.map(|_| self.key())).finish_non_exhaustive()
    }
}
