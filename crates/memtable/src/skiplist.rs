//! The skiplist: search, insert and steps over the nodes of an arena.
//!
//! Nodes are only ever added, and an internal key is there once. An insert searches its place on every level, then links
//! the node from the bottom up, each link by compare-and-swap; a lost race walks on from where it stands.
//!
//! Invariants
//! 1. Each level is sorted by internal key, and holds a subset of the level below.
//! 2. A node that can be found on a level has its links on all levels below set for good, but for nodes that come between.
//! 3. A node's link back names a node before it; walking level 0 from there reaches the node.
//! 4. Versions and the count of entries are raised before, and after, the entry can be found, respectively.
//!
//! Called by the memtable, its reservations and its cursors.

use std::cmp::Ordering as Order;

use base::rng::Rng;
use base::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use base::{EntryRef, InternalKeyRef, Version};

use crate::Inserted;
use crate::arena::{Arena, BRANCHING, HEIGHT_MAX, Node};
use crate::finger::Finger;

/// Sorted nodes in an arena.
pub(crate) struct Skiplist {
    arena: Arena,
    /// Height of the tallest tower, or less: searching from lower down is slower, and as right.
    height: AtomicU32,
    seed: u64,
    counters: Counters,
}

/// What each insert writes, away from the cache line that each read reads.
#[repr(align(64))]
struct Counters {
    entries: AtomicU64,
    /// Lowest and highest version; the lowest is above the highest while there is none.
    version_min: AtomicU64,
    version_max: AtomicU64,
}

/// A key to search for, with the prefix that most compares need.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    prefix: u64,
    key: InternalKeyRef<'a>,
}

impl<'a> Target<'a> {
    /// Takes the prefix of `key`.
    #[inline]
    pub(crate) fn new(key: InternalKeyRef<'a>) -> Self {
        let prefix = key.user_key.first_chunk::<8>().map_or_else(
            || key.user_key.iter().chain([0; 8].iter()).take(8).fold(0, |prefix, byte| prefix << 8 | u64::from(*byte)),
            |first| u64::from_be_bytes(*first),
        );
        Self { prefix, key }
    }
}

/// Where a key belongs on one level.
#[derive(Clone, Copy)]
struct Gap {
    /// The last node before the key.
    before: Node,
    /// The first node at or after the key.
    behind: Option<Node>,
}

impl Skiplist {
    /// An empty list. The seed decides the towers' heights.
    pub(crate) fn new(capacity_bytes: usize, seed: u64) -> Self {
        Self {
            arena: Arena::new(capacity_bytes),
            height: AtomicU32::new(1),
            seed,
            counters: Counters {
                entries: AtomicU64::new(0),
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

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.counters.entries.load(Ordering::Relaxed) as usize
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

    /// Adds an entry where its key is new, and says how many bytes that took. `None` where the arena has no room.
    pub(crate) fn insert(
        &self,
        key: InternalKeyRef<'_>,
        entry: EntryRef<'_>,
        finger: &mut Finger,
    ) -> Option<(Inserted, usize)> {
        let target = Target::new(key);
        let height = self.draw_height();
        let mut gaps = finger.nodes().map(|before| Gap { before, behind: None });
        if !self.gaps_at_finger(&target, height, finger, &mut gaps) {
            self.gaps_from_top(&target, height, &mut gaps);
        }
        if self.is_at(gaps.first()?.behind, &target) {
            return Some((Inserted::Duplicate, 0));
        }
        let (node, taken_bytes) = self.arena.allocate(height, key, entry)?;
        self.note_version(key.version);
        for (level, gap) in gaps.iter_mut().take(height).enumerate() {
            if !self.link(node, level, gap, &target) {
                return Some((Inserted::Duplicate, taken_bytes));
            }
        }
        if let Some(behind) = gaps.first()?.behind {
            self.arena.set_back(behind, node);
        }
        if height > self.top() {
            self.height.fetch_max(height as u32, Ordering::Relaxed);
        }
        self.counters.entries.fetch_add(1, Ordering::Relaxed);
        finger.follow(node, height, gaps.map(|gap| gap.before));
        Some((Inserted::Added, taken_bytes))
    }

    /// The first node at or after a key.
    #[inline]
    pub(crate) fn at_or_after(&self, target: &Target<'_>) -> Option<Node> {
        self.bottom_gap(target).behind
    }

    /// The last node at or before a key.
    pub(crate) fn at_or_before(&self, target: &Target<'_>) -> Option<Node> {
        let gap = self.bottom_gap(target);
        if self.is_at(gap.behind, target) { gap.behind } else { not_head(gap.before) }
    }

    /// The first node.
    pub(crate) fn first(&self) -> Option<Node> {
        self.arena.next(Node::HEAD, 0)
    }

    /// The last node.
    pub(crate) fn last(&self) -> Option<Node> {
        let mut node = Node::HEAD;
        for level in (0..self.top()).rev() {
            while let Some(next) = self.arena.next(node, level) {
                node = next;
            }
        }
        not_head(node)
    }

    /// The node behind `node`.
    #[inline]
    pub(crate) fn next(&self, node: Node) -> Option<Node> {
        self.arena.next(node, 0)
    }

    /// The node before `node`, which is not the head.
    #[inline]
    pub(crate) fn prev(&self, node: Node) -> Option<Node> {
        let mut before = self.arena.back(node);
        while let Some(next) = self.arena.next(before, 0) {
            if next == node {
                break;
            }
            before = next;
        }
        not_head(before)
    }

    /// Links `node` on one level. False where level 0 turns out to hold its key already.
    fn link(&self, node: Node, level: usize, gap: &mut Gap, target: &Target<'_>) -> bool {
        loop {
            self.arena.prepare_next(node, level, gap.behind);
            if level == 0 {
                self.arena.set_back(node, gap.before);
            }
            if self.arena.publish_next(gap.before, level, gap.behind, node) {
                return true;
            }
            *gap = self.walk(gap.before, level, target, None);
            if level == 0 && self.is_at(gap.behind, target) {
                return false;
            }
        }
    }

    /// Finds the gaps below `height` from where the last insert was. False where the key does not belong there.
    #[inline]
    fn gaps_at_finger(
        &self,
        target: &Target<'_>,
        height: usize,
        finger: &Finger,
        gaps: &mut [Gap; HEIGHT_MAX],
    ) -> bool {
        gaps.iter_mut().zip(finger.nodes()).take(height).enumerate().all(|(level, (gap, before))| {
            let behind = self.arena.next(before, level);
            *gap = Gap { before, behind };
            (before == Node::HEAD || self.compare(before, target) == Order::Less)
                && behind.is_none_or(|behind| self.compare(behind, target) != Order::Less)
        })
    }

    /// Finds the gaps of all levels, those above the tallest tower up to `height` included.
    fn gaps_from_top(&self, target: &Target<'_>, height: usize, gaps: &mut [Gap; HEIGHT_MAX]) {
        let (mut before, mut known_behind) = (Node::HEAD, None);
        let top = self.top().max(height);
        for (level, gap) in gaps.iter_mut().enumerate().take(top).rev() {
            *gap = self.walk(before, level, target, known_behind);
            (before, known_behind) = (gap.before, gap.behind);
        }
    }

    #[inline]
    fn bottom_gap(&self, target: &Target<'_>) -> Gap {
        let mut gap = Gap { before: Node::HEAD, behind: None };
        for level in (0..self.top()).rev() {
            gap = self.walk(gap.before, level, target, gap.behind);
        }
        gap
    }

    /// Walks on one level from a node before the key to the gap where it belongs. `known_behind` is known not to be
    /// before the key, from the level above, and so need not be looked at.
    #[inline]
    fn walk(&self, from: Node, level: usize, target: &Target<'_>, known_behind: Option<Node>) -> Gap {
        let mut before = from;
        loop {
            let behind = self.arena.next(before, level);
            if let Some(below) = level.checked_sub(1) {
                self.arena.prefetch(self.arena.next(before, below));
            }
            match behind {
                Some(next) if behind != known_behind => {
                    if self.compare(next, target) != Order::Less {
                        return Gap { before, behind };
                    }
                    before = next;
                }
                _ => return Gap { before, behind },
            }
        }
    }

    #[inline]
    fn is_at(&self, node: Option<Node>, target: &Target<'_>) -> bool {
        node.is_some_and(|node| self.compare(node, target) == Order::Equal)
    }

    /// Orders a node, not the head, against a key.
    #[inline]
    fn compare(&self, node: Node, target: &Target<'_>) -> Order {
        self.arena.prefix(node).cmp(&target.prefix).then_with(|| self.compare_behind_prefix(node, target))
    }

    /// Orders a node against a key where both have the same first 8 bytes, padding included.
    fn compare_behind_prefix(&self, node: Node, target: &Target<'_>) -> Order {
        let (node_key, target_key) = (self.arena.user_key(node), target.key.user_key);
        let user_keys = match (node_key.get(8..), target_key.get(8..)) {
            (Some(node_rest), Some(target_rest)) => node_rest.cmp(target_rest),
            // One of them ends within the prefix, so it is the start of the other, which goes on with zeros or not at all.
            _ => node_key.len().cmp(&target_key.len()),
        };
        user_keys.then_with(|| target.key.version.cmp(&self.arena.version(node)))
    }

    fn top(&self) -> usize {
        self.height.load(Ordering::Relaxed) as usize
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

    /// Draws a height from the place that the next node will take, so that no generator has to be shared.
    fn draw_height(&self) -> usize {
        let mut rng = Rng::new(self.seed ^ self.arena.used_bytes() as u64);
        let mut bits = rng.next_u64();
        let mut height = 1;
        while height < HEIGHT_MAX && bits.is_multiple_of(BRANCHING) {
            bits /= BRANCHING;
            height += 1;
        }
        height
    }
}

fn not_head(node: Node) -> Option<Node> {
    (node != Node::HEAD).then_some(node)
}
