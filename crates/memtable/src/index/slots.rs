//! The sorted slots of one block of the index: for each node eight bytes of its key, in one array that a search scans.
//!
//! The eight bytes are a *window* on the key behind a *stem* that all keys of the block share, so that keys with a long
//! common start are told apart too. Nodes with equal windows are compared in full.
//!
//! Invariants, for who holds the index's lock
//! 1. Nodes are sorted by internal key, and share the first `stem_len` bytes of their user keys.
//! 2. A slot's window is that of its node behind the stem.
//!
//! Others read while the holder writes, and may see slots half moved. Every node they get is a node of the list all the
//! same, and that is all they may rely on.
//!
//! Called by the index only.

use std::cmp::Ordering as Order;

use base::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::arena::{Arena, Node, NodeCell, PREFIX_LEN, prefetch};
use crate::target::{Target, shared_len, window};

/// Slots of a block: a scan of this many windows touches four cache lines.
pub(super) const WIDTH: usize = if cfg!(loom) { 3 } else { 30 };

/// Bytes of a new stem's window that lie before the first byte in which the block's keys differ, so that a key which differs a
/// little earlier does not move the window of the whole block.
const SLACK_LEN: usize = 2;

/// Up to [`WIDTH`] nodes in key order.
#[derive(Default)]
pub(super) struct Slots {
    len: AtomicU32,
    stem_len: AtomicU32,
    windows: [AtomicU64; WIDTH],
    nodes: [NodeCell; WIDTH],
}

impl Slots {
    /// Number of slots in use.
    #[inline]
    pub(super) fn len(&self) -> usize {
        (self.len.load(Ordering::Acquire) as usize).min(WIDTH)
    }

    /// The node in a slot.
    #[inline]
    pub(super) fn node(&self, slot: usize) -> Option<Node> {
        self.nodes.get(slot)?.load()
    }

    /// The nodes in use.
    #[inline]
    pub(super) fn nodes(&self) -> impl Iterator<Item = Option<Node>> {
        self.nodes.iter().take(self.len()).map(NodeCell::load)
    }

    /// Number of nodes before a key, nodes at the key included where `or_at`.
    #[inline]
    pub(super) fn count_before(&self, arena: &Arena, target: &Target<'_>, or_at: bool) -> usize {
        let len = self.len();
        let stem_len = self.stem_len.load(Ordering::Relaxed) as usize;
        if stem_len > 0 {
            match self.order_of_stem(arena, target, stem_len) {
                Order::Less => return len,
                Order::Greater => return 0,
                Order::Equal => {}
            }
        }
        let sought = target.window(stem_len);
        let windows = self.windows.iter().take(len);
        let mut lower = windows.map(|window| usize::from(window.load(Ordering::Relaxed) < sought)).sum::<usize>();
        let ties = self.windows.iter().take(len).skip(lower);
        let mut upper = lower + ties.take_while(|window| window.load(Ordering::Relaxed) == sought).count();
        while lower < upper {
            let middle = lower.midpoint(upper);
            let order = self.node(middle).map_or(Order::Greater, |node| target.order_of(arena, node));
            if order == Order::Less || (or_at && order == Order::Equal) {
                lower = middle + 1;
            } else {
                upper = middle;
            }
        }
        lower
    }

    /// Where the stem stands to a key: before it, after it, or at its start.
    fn order_of_stem(&self, arena: &Arena, target: &Target<'_>, stem_len: usize) -> Order {
        let Some(stem) = self.node(0).and_then(|node| arena.user_key(node).get(..stem_len)) else {
            return Order::Equal;
        };
        stem.cmp(target.user_key().get(..stem_len).unwrap_or(target.user_key()))
    }

    /// Asks the processor for the cache lines of all slots.
    #[inline]
    pub(super) fn prefetch(&self) {
        self.windows.iter().step_by(8).for_each(|window| prefetch(window));
        self.nodes.iter().step_by(16).for_each(|node| prefetch(node));
    }

    /// Puts a node into a slot and moves the later ones up. Requires: the lock, a free slot, and that it belongs there.
    pub(super) fn insert(&self, arena: &Arena, slot: usize, node: Node, user_key: &[u8]) {
        let (len, stem_len) = (self.len(), self.stem_len.load(Ordering::Relaxed) as usize);
        let shared = match self.node(0) {
            Some(any) if stem_len > 0 => shared_len(user_key, arena.user_key(any).get(..stem_len).unwrap_or_default()),
            Some(_) => 0,
            None => {
                self.stem_len.store(0, Ordering::Relaxed);
                0
            }
        };
        if shared < stem_len {
            self.set_stem(arena, shared.saturating_sub(SLACK_LEN));
        }
        // From the end down, so that a reader may see a node twice but seldom misses one.
        for at in (slot..len).rev() {
            self.copy(self, at, at + 1);
        }
        self.put(slot, window(user_key, self.stem_len.load(Ordering::Relaxed) as usize), node);
        self.set_len(len + 1);
    }

    /// Fills an empty block with the slots of `from` from `first` on, which leave it. Requires: the lock on both.
    pub(super) fn take_upper(&self, arena: &Arena, from: &Self, first: usize) {
        let len = from.len();
        self.stem_len.store(from.stem_len.load(Ordering::Relaxed), Ordering::Relaxed);
        for at in first..len {
            from.copy(self, at, at - first);
        }
        self.set_len(len - first);
        from.set_len(first);
        self.sharpen(arena);
        from.sharpen(arena);
    }

    /// Takes the last slot out of use. Requires: the lock, and that there is one.
    pub(super) fn drop_last(&self) {
        self.set_len(self.len().saturating_sub(1));
    }

    /// Moves the window to where the keys differ, if it tells them apart in its lower half only.
    fn sharpen(&self, arena: &Arena) {
        let Some(last_slot) = self.len().checked_sub(1) else { return };
        let [Some(first), Some(last)] = [self.windows.first(), self.windows.get(last_slot)] else { return };
        let differing = first.load(Ordering::Relaxed) ^ last.load(Ordering::Relaxed);
        if differing.leading_zeros() < u64::BITS / 2 {
            return;
        }
        let [Some(first), Some(last)] = [self.node(0), self.node(last_slot)] else { return };
        let shared = shared_len(arena.user_key(first), arena.user_key(last));
        if shared >= self.stem_len.load(Ordering::Relaxed) as usize + PREFIX_LEN / 2 {
            self.set_stem(arena, shared - SLACK_LEN);
        }
    }

    fn set_stem(&self, arena: &Arena, stem_len: usize) {
        self.stem_len.store(stem_len as u32, Ordering::Relaxed);
        for (slot, node) in self.windows.iter().zip(self.nodes()) {
            let bits = node.map_or(0, |node| window(arena.user_key(node), stem_len));
            slot.store(bits, Ordering::Relaxed);
        }
    }

    fn copy(&self, to: &Self, at: usize, to_at: usize) {
        if let (Some(window), Some(node)) = (self.windows.get(at), self.node(at)) {
            to.put(to_at, window.load(Ordering::Relaxed), node);
        }
    }

    fn put(&self, slot: usize, bits: u64, node: Node) {
        if let (Some(window), Some(cell)) = (self.windows.get(slot), self.nodes.get(slot)) {
            window.store(bits, Ordering::Relaxed);
            cell.store(Some(node));
        }
    }

    fn set_len(&self, len: usize) {
        self.len.store(len as u32, Ordering::Release);
    }
}
