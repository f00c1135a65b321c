//! The sorted list: search, insert and steps over the nodes of an arena, by the advice of an index.
//!
//! Nodes are only ever added, and an internal key is there once. The list alone decides: an insert is linked by one
//! compare-and-swap behind the last node before its key, and a search believes no node of the index before it has compared
//! it. The index saves the way there.
//!
//! Invariants
//! 1. The list is sorted by internal key, and what was linked once stays.
//! 2. A node's link back names a node before it; walking the list from there reaches the node.
//! 3. Versions are raised before an entry can be found, the count of entries after.
//!
//! Called by the memtable, its reservations and its cursors.

use std::cmp::Ordering as Order;

use base::sync::atomic::{AtomicU64, Ordering};
use base::{EntryRef, InternalKeyRef, Version};

use crate::Inserted;
use crate::arena::{Arena, Node};
use crate::finger::Finger;
use crate::index::{Index, LeafNumber};
use crate::target::Target;

/// Sorted nodes in an arena.
pub(crate) struct List {
    arena: Arena,
    index: Index,
    counters: Counters,
}

/// What each insert writes, away from the cache line that each read reads.
#[repr(align(64))]
struct Counters {
    entries: AtomicU64,
    index_bytes: AtomicU64,
    /// Lowest and highest version; the lowest is above the highest while there is none.
    version_min: AtomicU64,
    version_max: AtomicU64,
}

/// Where a key belongs.
#[derive(Clone, Copy)]
struct Gap {
    /// The last node before the key.
    before: Node,
    /// The first node at or after the key.
    behind: Option<Node>,
    /// Whether `behind` is at the key.
    at_key: bool,
}

/// What an insert did.
pub(crate) struct Outcome {
    pub(crate) inserted: Inserted,
    /// Bytes that the node takes.
    pub(crate) node_bytes: usize,
    /// Bytes by which the index grew.
    pub(crate) index_bytes: usize,
}

impl List {
    /// An empty list.
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        Self {
            arena: Arena::new(capacity_bytes),
            index: Index::new(capacity_bytes),
            counters: Counters {
                entries: AtomicU64::new(0),
                index_bytes: AtomicU64::new(0),
                version_min: AtomicU64::new(Version::MAX),
                version_max: AtomicU64::new(0),
            },
        }
    }

    /// Where the nodes lie.
    #[inline]
    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    /// What a cursor looks ahead with.
    #[inline]
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.counters.entries.load(Ordering::Relaxed) as usize
    }

    /// Bytes of nodes, and of index blocks but for the first.
    pub(crate) fn used_bytes(&self) -> usize {
        self.arena.used_bytes() + self.counters.index_bytes.load(Ordering::Relaxed) as usize
    }

    /// Lowest and highest version inserted or being inserted.
    pub(crate) fn versions(&self) -> Option<(Version, Version)> {
        let min = self.counters.version_min.load(Ordering::Relaxed);
        let max = self.counters.version_max.load(Ordering::Relaxed);
        (min <= max).then_some((min, max))
    }

    /// The internal key of a node. Requires: not the head.
    #[inline]
    pub(crate) fn key(&self, node: Node) -> InternalKeyRef<'_> {
        InternalKeyRef::new(self.arena.user_key(node), self.arena.version(node))
    }

    /// Adds an entry where its key is new. `None` where the arena has no room.
    pub(crate) fn insert(&self, key: InternalKeyRef<'_>, entry: EntryRef<'_>, finger: &mut Finger) -> Option<Outcome> {
        let target = Target::new(key);
        let mut leaf = finger.leaf;
        let mut gap = self.gap_behind(finger.node, &target).unwrap_or_else(|| {
            let place = self.index.place(&self.arena, &target);
            leaf = place.leaf;
            self.gap_near(place.before, &target)
        });
        let duplicate = |node_bytes| Some(Outcome { inserted: Inserted::Duplicate, node_bytes, index_bytes: 0 });
        if gap.at_key {
            return duplicate(0);
        }
        let (node, node_bytes) = self.arena.allocate(key, entry)?;
        self.note_version(key.version);
        loop {
            self.arena.prepare_links(node, gap.before, gap.behind);
            if self.arena.publish_next(gap.before, gap.behind, node) {
                break;
            }
            gap = self.gap_near(gap.before, &target);
            if gap.at_key {
                return duplicate(node_bytes);
            }
        }
        if let Some(behind) = gap.behind {
            self.arena.set_back(behind, node);
        }
        let (leaf, index_bytes) = self.index.insert(&self.arena, node, &target, gap.before, leaf);
        self.counters.entries.fetch_add(1, Ordering::Relaxed);
        if index_bytes > 0 {
            self.counters.index_bytes.fetch_add(index_bytes as u64, Ordering::Relaxed);
        }
        *finger = Finger { node, leaf };
        Some(Outcome { inserted: Inserted::Added, node_bytes, index_bytes })
    }

    /// The first node at or after a key, and the leaf around there.
    #[inline]
    pub(crate) fn at_or_after(&self, target: &Target<'_>) -> (Option<Node>, LeafNumber) {
        let place = self.index.place(&self.arena, target);
        (self.gap_near(place.before, target).behind, place.leaf)
    }

    /// The last node at or before a key, and the leaf around there.
    pub(crate) fn at_or_before(&self, target: &Target<'_>) -> (Option<Node>, LeafNumber) {
        let place = self.index.place(&self.arena, target);
        let gap = self.gap_near(place.before, target);
        (if gap.at_key { gap.behind } else { not_head(gap.before) }, place.leaf)
    }

    /// The first node and leaf.
    pub(crate) fn first(&self) -> (Option<Node>, LeafNumber) {
        (self.arena.next(Node::HEAD), LeafNumber::FIRST)
    }

    /// The last node and leaf.
    pub(crate) fn last(&self) -> (Option<Node>, LeafNumber) {
        let place = self.index.last_place();
        let mut node = place.before;
        while let Some(next) = self.arena.next(node) {
            node = next;
        }
        (not_head(node), place.leaf)
    }

    /// The node behind `node`.
    #[inline]
    pub(crate) fn next(&self, node: Node) -> Option<Node> {
        self.arena.next(node)
    }

    /// The node before `node`, which is not the head.
    #[inline]
    pub(crate) fn prev(&self, node: Node) -> Option<Node> {
        let mut before = self.arena.back(node);
        while let Some(next) = self.arena.next(before) {
            if next == node {
                break;
            }
            before = next;
        }
        not_head(before)
    }

    /// The gap right behind `before`, if the key belongs there.
    #[inline]
    fn gap_behind(&self, before: Node, target: &Target<'_>) -> Option<Gap> {
        if before != Node::HEAD && target.order_of(&self.arena, before) != Order::Less {
            return None;
        }
        let behind = self.arena.next(before);
        let order = behind.map_or(Order::Greater, |behind| target.order_of(&self.arena, behind));
        (order != Order::Less).then_some(Gap { before, behind, at_key: order == Order::Equal })
    }

    /// The gap where a key belongs, by steps from a node near it.
    #[inline]
    fn gap_near(&self, near: Node, target: &Target<'_>) -> Gap {
        let mut before = near;
        while before != Node::HEAD && target.order_of(&self.arena, before) != Order::Less {
            before = self.arena.back(before);
        }
        loop {
            let behind = self.arena.next(before);
            let Some(next) = behind else { return Gap { before, behind, at_key: false } };
            match target.order_of(&self.arena, next) {
                Order::Less => before = next,
                order => return Gap { before, behind, at_key: order == Order::Equal },
            }
        }
    }

    /// Raises the bounds of the versions. Done before the entry can be found, so that nobody finds one outside them.
    fn note_version(&self, version: Version) {
        let Counters { version_min, version_max, .. } = &self.counters;
        if version < version_min.load(Ordering::Relaxed) {
            version_min.fetch_min(version, Ordering::Relaxed);
        }
        if version > version_max.load(Ordering::Relaxed) {
            version_max.fetch_max(version, Ordering::Relaxed);
        }
    }
}

fn not_head(node: Node) -> Option<Node> {
    (node != Node::HEAD).then_some(node)
}
