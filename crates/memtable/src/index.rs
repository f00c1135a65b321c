//! A B+-tree over the nodes of the list, so that a search touches few cache lines: it finds a node near a key.
//!
//! The index advises, the list decides. Whoever searches takes a node from here, checks it against the key, and walks the
//! list from it; what the index says is never believed. So readers take no lock and need no consistent view: blocks are
//! arrays of atomics, which may be read while they change. A counter that is odd while blocks are split makes a reader try
//! again a few times, since a half-split tree may lead far astray; after that it goes with what it got.
//!
//! Writers hold a lock for the time of one insert into a block, after the node is in the list.
//!
//! Invariants, for who holds the lock
//! 1. Leaves hold nodes in key order, each node once. Every node whose insert has returned is in a leaf, unless the slabs had
//!    no room.
//! 2. An inner block has one child more than nodes. Its node `i` is after all nodes under child `i`, and at or before those
//!    under child `i + 1`.
//! 3. No leaf but the first is ever empty. Blocks are never freed or used for something else.
//!
//! Called by the list and its cursors.

mod slab;
mod slots;

use base::sync::Mutex;
use base::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::arena::{Arena, Node, node_bytes, prefetch};
use crate::target::Target;
use slab::Slab;
use slots::{Slots, WIDTH};

/// Times that a reader starts again where blocks were split under it.
const TRIES: usize = 4;

/// Deepest tree: 15 to the 8th are 2.5 billion nodes.
const DEPTH_MAX: usize = 8;

/// The number of no leaf.
const NONE: u32 = u32::MAX;

/// Nodes by key, approximately for readers.
pub(crate) struct Index {
    leaves: Slab<Leaf>,
    inners: Slab<Inner>,
    /// Depth of the tree (high half; 0 where the root is a leaf) and number of its root.
    root: AtomicU64,
    /// Odd while blocks are being split.
    splits: AtomicU64,
    writer: Mutex<Writer>,
}

#[derive(Default)]
#[repr(align(64))]
struct Leaf {
    slots: Slots,
    /// Number of the leaf behind this one plus 1, or 0.
    next: AtomicU32,
    /// Number of the leaf before this one plus 1, or 0.
    prev: AtomicU32,
}

#[derive(Default)]
#[repr(align(64))]
struct Inner {
    slots: Slots,
    children: [AtomicU32; WIDTH + 1],
}

struct Writer {
    leaves: u32,
    inners: u32,
}

/// What the index knows of a key's place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The leaf that the key belongs to.
    pub(crate) leaf: LeafNumber,
    /// A node that should be the last one before the key. The head where there is none.
    pub(crate) before: Node,
}

/// Names a leaf of the index, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeafNumber(u32);

impl LeafNumber {
    /// No leaf.
    pub(crate) const NONE: Self = Self(NONE);

    /// The leaf before all others. Splits add leaves behind, so it stays the first.
    pub(crate) const FIRST: Self = Self(0);

    /// As a number that [`from_word`](Self::from_word) takes.
    pub(crate) fn word(self) -> u32 {
        self.0
    }

    /// From what [`word`](Self::word) gave.
    pub(crate) fn from_word(word: u32) -> Self {
        Self(word)
    }
}

/// The inner blocks from the root to a leaf, each with the place of the child that was taken.
struct Path {
    steps: [(u32, usize); DEPTH_MAX],
    depth: usize,
    leaf: u32,
}

impl Index {
    /// An index for as many nodes as fit `capacity_bytes`.
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        let nodes_max = capacity_bytes / node_bytes(0, 0) + 1;
        // A leaf that is split was full, and leaves two with half of that at the least, or a full one and one with a single
        // node; the full one may then be split at once.
        let leaves_max = 2 + 2 * nodes_max.div_ceil(WIDTH / 2);
        let index = Self {
            leaves: Slab::new(leaves_max),
            inners: Slab::new(2 * leaves_max.div_ceil(WIDTH / 2) + DEPTH_MAX),
            root: AtomicU64::new(0),
            splits: AtomicU64::new(0),
            writer: Mutex::new(Writer { leaves: 1, inners: 0 }),
        };
        let _ = index.leaves.make(0);
        index
    }

    /// Where a key belongs, as far as can be told while others insert.
    #[inline]
    pub(crate) fn place(&self, arena: &Arena, target: &Target<'_>) -> Place {
        let mut place = Place { leaf: LeafNumber::NONE, before: Node::HEAD };
        for _ in 0..TRIES {
            let splits = self.splits.load(Ordering::Acquire);
            place = self.place_once(arena, target).unwrap_or(place);
            fence(Ordering::Acquire);
            if splits.is_multiple_of(2) && self.splits.load(Ordering::Relaxed) == splits {
                break;
            }
            base::sync::spin_loop();
        }
        place
    }

    #[inline]
    fn place_once(&self, arena: &Arena, target: &Target<'_>) -> Option<Place> {
        let (depth, mut number) = self.root();
        for level in (0..depth).rev() {
            let inner = self.inners.block(number)?;
            number = inner.child_of(arena, target).1;
            if level > 0 {
                self.inners.block(number)?.slots.prefetch();
            }
        }
        let slots = &self.leaves.block(number)?.slots;
        slots.prefetch();
        let slot = slots.count_before(arena, target, false);
        let behind = slots.node(slot).filter(|_| slot < slots.len());
        let before = match slot.checked_sub(1) {
            Some(slot) => slots.node(slot)?,
            None => behind.map_or(Node::HEAD, |behind| arena.back(behind)),
        };
        arena.prefetch(behind);
        arena.prefetch((before != Node::HEAD).then_some(before));
        Some(Place { leaf: LeafNumber(number), before })
    }

    /// Adds a node that was linked into the list behind `before`, and says which leaf took it and by how many bytes the index
    /// grew. `hint` may name the leaf of `before`.
    pub(crate) fn insert(
        &self,
        arena: &Arena,
        node: Node,
        target: &Target<'_>,
        before: Node,
        hint: LeafNumber,
    ) -> (LeafNumber, usize) {
        let mut writer = self.writer.lock();
        if let Some(leaf) = self.leaves.block(hint.0) {
            let slots = &leaf.slots;
            let slot = slots.count_before(arena, target, false);
            let follows = slot.checked_sub(1).and_then(|slot| slots.node(slot)) == Some(before);
            // Behind the last node of a leaf the next leaf may begin before the key: with a node that was linked behind
            // this one, but came to the index first.
            if follows && slots.len() < WIDTH && (slot < slots.len() || self.next_is_behind(arena, leaf, target)) {
                slots.insert(arena, slot, node, target.user_key());
                return (hint, 0);
            }
        }
        self.insert_from_root(&mut writer, arena, node, target).unwrap_or((LeafNumber::NONE, 0))
    }

    /// Whether the leaf behind `leaf` begins at or behind a key.
    fn next_is_behind(&self, arena: &Arena, leaf: &Leaf, target: &Target<'_>) -> bool {
        let next = leaf.next.load(Ordering::Relaxed).checked_sub(1);
        let next = next.and_then(|next| self.leaves.block(next));
        next.is_none_or(|next| next.slots.count_before(arena, target, false) == 0)
    }

    /// The last leaf, and the node that should be the last one.
    pub(crate) fn last_place(&self) -> Place {
        let (depth, root) = self.root();
        let last_child = |number: u32| {
            let inner = self.inners.block(number)?;
            Some(inner.child(inner.slots.len()))
        };
        let leaf = (0..depth).fold(root, |number, _| last_child(number).unwrap_or(0));
        let last_node = || {
            let slots = &self.leaves.block(leaf)?.slots;
            slots.node(slots.len().checked_sub(1)?)
        };
        Place { leaf: LeafNumber(leaf), before: last_node().unwrap_or(Node::HEAD) }
    }

    /// The leaf in which a walk goes on after `leaf`.
    pub(crate) fn leaf_beside(&self, leaf: LeafNumber, forward: bool) -> LeafNumber {
        let link = self.leaves.block(leaf.0).map(|leaf| if forward { &leaf.next } else { &leaf.prev });
        LeafNumber(link.map_or(NONE, |link| link.load(Ordering::Acquire).wrapping_sub(1)))
    }

    /// The node by which a walk enters a leaf.
    pub(crate) fn edge_node(&self, leaf: LeafNumber, forward: bool) -> Option<Node> {
        let slots = &self.leaves.block(leaf.0)?.slots;
        slots.node(if forward { 0 } else { slots.len().checked_sub(1)? })
    }

    /// Asks the processor for the nodes of a leaf.
    pub(crate) fn prefetch_nodes(&self, arena: &Arena, leaf: LeafNumber) {
        if let Some(leaf) = self.leaves.block(leaf.0) {
            leaf.slots.nodes().for_each(|node| arena.prefetch_entry(node));
        }
    }

    /// Asks the processor for a leaf.
    pub(crate) fn prefetch_leaf(&self, leaf: LeafNumber) {
        if let Some(leaf) = self.leaves.block(leaf.0) {
            leaf.slots.prefetch();
            prefetch(&leaf.next);
        }
    }

    fn root(&self) -> (usize, u32) {
        let root = self.root.load(Ordering::Acquire);
        ((root >> 32) as usize, root as u32)
    }

    fn set_root(&self, depth: usize, number: u32) {
        self.root.store((depth as u64) << 32 | u64::from(number), Ordering::Release);
    }

    /// Inserts by a search from the root. `None` where a slab has no room, which leaves the index as it was, but for splits.
    fn insert_from_root(
        &self,
        writer: &mut Writer,
        arena: &Arena,
        node: Node,
        target: &Target<'_>,
    ) -> Option<(LeafNumber, usize)> {
        let path = self.path(arena, target)?;
        let leaf = self.leaves.block(path.leaf)?;
        let slot = leaf.slots.count_before(arena, target, false);
        if leaf.slots.len() < WIDTH {
            leaf.slots.insert(arena, slot, node, target.user_key());
            return Some((LeafNumber(path.leaf), 0));
        }
        self.splits.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::Release);
        let grown = self.split_leaf(writer, arena, &path, slot, node, target);
        self.splits.fetch_add(1, Ordering::Release);
        grown
    }

    fn path(&self, arena: &Arena, target: &Target<'_>) -> Option<Path> {
        let (depth, mut number) = self.root();
        let mut path = Path { steps: [(0, 0); DEPTH_MAX], depth, leaf: 0 };
        for step in path.steps.iter_mut().take(depth) {
            let (slot, child) = self.inners.block(number)?.child_of(arena, target);
            *step = (number, slot);
            number = child;
        }
        path.leaf = number;
        Some(path)
    }

    /// Splits a full leaf and inserts a node into one of the two. At its end, only the node goes to the new leaf, so that
    /// ascending keys leave full leaves behind.
    fn split_leaf(
        &self,
        writer: &mut Writer,
        arena: &Arena,
        path: &Path,
        slot: usize,
        node: Node,
        target: &Target<'_>,
    ) -> Option<(LeafNumber, usize)> {
        let (leaf, number) = (self.leaves.block(path.leaf)?, writer.leaves);
        let right = self.leaves.make(number)?;
        let first = if slot == WIDTH { WIDTH } else { WIDTH / 2 };
        let separator = if slot == WIDTH { node } else { leaf.slots.node(first)? };
        let behind = leaf.next.load(Ordering::Relaxed);
        right.next.store(behind, Ordering::Release);
        right.prev.store(path.leaf + 1, Ordering::Release);
        right.slots.take_upper(arena, &leaf.slots, first);
        let (taker, taker_number, slot) =
            if slot > first || slot == WIDTH { (right, number, slot - first) } else { (leaf, path.leaf, slot) };
        taker.slots.insert(arena, slot, node, target.user_key());
        leaf.next.store(number + 1, Ordering::Release);
        if let Some(behind) = behind.checked_sub(1).and_then(|behind| self.leaves.block(behind)) {
            behind.prev.store(number + 1, Ordering::Release);
        }
        writer.leaves += 1;
        let inners_before = writer.inners;
        self.add_child(writer, arena, path, separator, number)?;
        let grown = size_of::<Leaf>() + (writer.inners - inners_before) as usize * size_of::<Inner>();
        Some((LeafNumber(taker_number), grown))
    }

    /// Adds a child to the inner blocks of a path, from the lowest up, splitting those that are full.
    fn add_child(
        &self,
        writer: &mut Writer,
        arena: &Arena,
        path: &Path,
        mut separator: Node,
        mut child: u32,
    ) -> Option<()> {
        for &(number, taken) in path.steps.iter().take(path.depth).rev() {
            let inner = self.inners.block(number)?;
            if inner.slots.len() < WIDTH {
                inner.insert(arena, taken, separator, child);
                return Some(());
            }
            let right_number = writer.inners;
            let right = self.inners.make(right_number)?;
            writer.inners += 1;
            if taken == WIDTH {
                // As with leaves: at the end, only what is new goes to the right. Its separator parts the two.
                right.set_child(0, child);
            } else {
                let middle = WIDTH / 2;
                let parting = inner.slots.node(middle)?;
                right.take_upper(arena, inner, middle);
                if taken > middle {
                    right.insert(arena, taken - middle - 1, separator, child);
                } else {
                    inner.insert(arena, taken, separator, child);
                }
                separator = parting;
            }
            child = right_number;
        }
        self.grow(writer, arena, separator, child)
    }

    /// Puts a new root over the old one and its new neighbour.
    fn grow(&self, writer: &mut Writer, arena: &Arena, separator: Node, child: u32) -> Option<()> {
        let (depth, old_root) = self.root();
        if depth == DEPTH_MAX {
            return None;
        }
        let root_number = writer.inners;
        let root = self.inners.make(root_number)?;
        writer.inners += 1;
        root.set_child(0, old_root);
        root.insert(arena, 0, separator, child);
        self.set_root(depth + 1, root_number);
        Some(())
    }
}

impl Inner {
    /// The place and the number of the child that a key belongs to.
    #[inline]
    fn child_of(&self, arena: &Arena, target: &Target<'_>) -> (usize, u32) {
        let place = self.slots.count_before(arena, target, true);
        (place, self.child(place))
    }

    /// Puts a separator into a slot, and the child behind it.
    fn insert(&self, arena: &Arena, slot: usize, separator: Node, child: u32) {
        for place in (slot + 1..=self.slots.len()).rev() {
            self.set_child(place + 1, self.child(place));
        }
        self.set_child(slot + 1, child);
        self.slots.insert(arena, slot, separator, arena.user_key(separator));
    }

    /// Fills an empty block with what `from` has behind its separator `middle`. Both that and the separator leave `from`.
    fn take_upper(&self, arena: &Arena, from: &Self, middle: usize) {
        for place in middle + 1..=from.slots.len() {
            self.set_child(place - middle - 1, from.child(place));
        }
        self.slots.take_upper(arena, &from.slots, middle + 1);
        from.slots.drop_last();
    }

    #[inline]
    fn child(&self, place: usize) -> u32 {
        self.children.get(place).map_or(0, |child| child.load(Ordering::Acquire))
    }

    fn set_child(&self, place: usize, child: u32) {
        if let Some(cell) = self.children.get(place) {
            cell.store(child, Ordering::Release);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
