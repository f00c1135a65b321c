//! The arena: one zeroed allocation that holds every node of a skiplist, and the only unsafe code of the crate.
//!
//! A node is found by a 32-bit offset `n`, and lies around it:
//!
//! ```text
//! n - 4 (i + 1)  u32   link to the next node on level i, 0 = none; the tower grows downward and is cut to its height
//! n              u32   length of the encoded entry
//! n + 4          u16   length of the user key
//! n + 6          u8    height of the tower
//! n + 8          user key, zero-padded to 8 bytes at least: read as one big-endian number, its first 8 bytes order
//!                most keys, and they share a cache line with the lower links
//! t              u64   version                  t = n + 8 + the padded user key, rounded up to 4
//! t + 8          u32   link back to a node before this one on level 0
//! t + 12         encoded entry; the node's end is rounded up to 8
//! ```
//! It lives in memory only: integers are in native order.
//!
//! Invariants
//! 1. A [`Node`] is minted here alone, by [`Arena::allocate`] or by loading a link, and a link is only ever given nodes of
//!    its own arena. So each names a node whose bytes are complete, and whose tower reaches the level it was found on.
//! 2. Bytes handed out by `allocate` are written before `allocate` returns, and never again but for links and the back
//!    link, which are atomic. Nothing is freed before the arena is.
//! 3. A link is published with release and followed with acquire: whoever finds a node finds its bytes.
//!
//! Under `cfg(loom)` links are loom atomics in a side table by offset, and a loom cell a node watches its plain bytes, so
//! that a model fails when a node could be read before it was complete.
//!
//! Called by the skiplist only.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::num::NonZeroU32;
use std::ptr::NonNull;

use base::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use base::{ENTRY_META_LEN_MAX, EntryRef, InternalKeyRef, Version};

#[cfg(loom)]
mod modelled;
#[cfg(loom)]
type LinkRef<'a> = modelled::ModelledLink<'a>;
#[cfg(not(loom))]
type LinkRef<'a> = &'a AtomicU32;

/// Tallest tower. With one node in [`BRANCHING`] a level higher, this serves 16 million entries.
pub(crate) const HEIGHT_MAX: usize = if cfg!(loom) { 2 } else { 20 };

/// One node in this many reaches the next level.
pub(crate) const BRANCHING: u64 = 2;

const LINK_LEN: usize = 4;
const LENS_LEN: usize = 8;
const PREFIX_LEN: usize = 8;
const VERSION_LEN: usize = 8;
const NODE_ALIGN: usize = 8;
const CACHE_LINE: usize = 64;

/// The head's offset: its tower lies before it, and behind it room for a header and a key prefix that nobody reads.
const HEAD_OFFSET: u32 = (HEIGHT_MAX * LINK_LEN).next_multiple_of(NODE_ALIGN) as u32;
const HEAD_END: usize = HEAD_OFFSET as usize + LENS_LEN + PREFIX_LEN;

/// Most bytes of nodes that an arena holds, so that every offset fits 32 bits.
pub(crate) const CAPACITY_MAX: usize = u32::MAX as usize - HEAD_END - NODE_ALIGN;

/// The place of a node in its arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node(NonZeroU32);

impl Node {
    /// The node before all others. It has a full tower and no key.
    pub(crate) const HEAD: Self = match NonZeroU32::new(HEAD_OFFSET) {
        Some(offset) => Self(offset),
        None => unreachable!(),
    };

    fn from_word(word: u32) -> Option<Self> {
        NonZeroU32::new(word).map(Self)
    }

    const fn at(self) -> usize {
        self.0.get() as usize
    }
}

/// A node that threads hand to each other. Holds nodes of one arena only.
pub(crate) struct NodeCell(AtomicU32);

impl NodeCell {
    /// Holds `node`.
    pub(crate) fn new(node: Node) -> Self {
        Self(AtomicU32::new(node.0.get()))
    }

    /// The node, whose bytes the caller then sees.
    #[inline]
    pub(crate) fn load(&self) -> Node {
        Node::from_word(self.0.load(Ordering::Acquire)).unwrap_or(Node::HEAD)
    }

    /// Replaces the node, if it is another one.
    #[inline]
    pub(crate) fn store(&self, node: Node) {
        if self.0.load(Ordering::Relaxed) != node.0.get() {
            self.0.store(node.0.get(), Ordering::Release);
        }
    }
}

/// Memory for nodes, handed out front to back and freed as a whole.
pub(crate) struct Arena {
    start: NonNull<u8>,
    /// Bytes from `start` on, the head included.
    len: usize,
    allocation: NonNull<u8>,
    layout: Layout,
    /// Bytes handed out. May pass `len`, by requests that were refused.
    taken: AtomicU64,
    #[cfg(loom)]
    shadow: modelled::Shadow,
}

// SAFETY: the arena owns its allocation, whose plain bytes are written by one thread before they are published and are
// immutable after (invariants 2 and 3); links are atomics.
unsafe impl Send for Arena {}
// SAFETY: as for `Send`.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena for `capacity` bytes of nodes, at most [`CAPACITY_MAX`]. The system commits its pages as they are touched.
    pub(crate) fn new(capacity: usize) -> Self {
        let len = HEAD_END + capacity.min(CAPACITY_MAX);
        // A larger alignment asked of the allocator would make it clear the memory by hand, and so commit it.
        let Ok(layout) = Layout::from_size_align(len + CACHE_LINE, NODE_ALIGN) else {
            unreachable!("4 GiB and a cache line are a valid size on 64-bit processors")
        };
        // SAFETY: the layout's size is above zero.
        let Some(allocation) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        let skip = allocation.align_offset(CACHE_LINE).min(CACHE_LINE);
        // SAFETY: the layout has CACHE_LINE bytes on top of `len`.
        let start = unsafe { allocation.add(skip) };
        #[cfg(loom)]
        let shadow = modelled::Shadow::default();
        #[cfg(loom)]
        shadow.begin_node(HEAD_OFFSET as usize, (0..HEAD_OFFSET as usize).step_by(LINK_LEN));
        Self {
            start,
            len,
            allocation,
            layout,
            taken: AtomicU64::new(HEAD_END as u64),
            #[cfg(loom)]
            shadow,
        }
    }

    /// Bytes handed out to nodes, the head not counted.
    pub(crate) fn used_bytes(&self) -> usize {
        (self.taken.load(Ordering::Relaxed) as usize).min(self.len) - HEAD_END
    }

    /// Takes memory for a node, fills it but for its links, and says how many bytes it takes. `None` where the arena has no
    /// such room.
    ///
    /// Requires: `height` from 1 to [`HEIGHT_MAX`].
    pub(crate) fn allocate(
        &self,
        height: usize,
        key: InternalKeyRef<'_>,
        entry: EntryRef<'_>,
    ) -> Option<(Node, usize)> {
        debug_assert!((1..=HEIGHT_MAX).contains(&height), "height {height}");
        let mut meta = [0; ENTRY_META_LEN_MAX];
        let meta_len = entry.encode_meta(&mut meta);
        let meta = meta.get(..meta_len)?;
        let entry_len = meta.len() + entry.payload.len();
        let (key_len_word, entry_len_word) = (u16::try_from(key.user_key.len()).ok()?, u32::try_from(entry_len).ok()?);
        let size = node_bytes(height, key.user_key.len(), entry_len);
        let begin = usize::try_from(self.taken.fetch_add(size as u64, Ordering::Relaxed)).ok()?;
        if begin.checked_add(size)? > self.len {
            return None;
        }
        let at = begin + height * LINK_LEN;
        let node = Node::from_word(u32::try_from(at).ok()?)?;
        let version_at = at + version_offset(key.user_key.len());
        let entry_at = version_at + VERSION_LEN + LINK_LEN;
        #[cfg(loom)]
        self.shadow.begin_node(at, (begin..at).step_by(LINK_LEN).chain([entry_at - LINK_LEN]));
        // SAFETY: `begin..begin + size` lies within the arena (checked above) and belongs to this call alone: the counter
        // hands out each byte once. No link names the node before it is returned, so nobody reads these bytes while
        // they are written. By `node_bytes`, the key ends at or before `version_at`, and the entry at or before
        // `begin + size`. `at` is a multiple of 4, as are `begin` (sizes are multiples of 8, and so is HEAD_END) and
        // the arena's start; the version is written unaligned.
        unsafe {
            self.start.add(at).cast::<u32>().write(entry_len_word);
            self.start.add(at + 4).cast::<u16>().write(key_len_word);
            self.start.add(at + 6).write(height as u8);
            self.copy_in(at + LENS_LEN, key.user_key);
            self.start.add(version_at).cast::<Version>().write_unaligned(key.version);
            self.copy_in(entry_at, meta);
            self.copy_in(entry_at + meta.len(), entry.payload);
        }
        Some((node, size))
    }

    /// Copies `bytes` to `at`.
    ///
    /// # Safety
    /// `at..at + bytes.len()` is memory of this arena that the caller has taken and not published.
    #[inline]
    unsafe fn copy_in(&self, at: usize, bytes: &[u8]) {
        // SAFETY: by contract the target is in bounds and nobody else reads or writes it; `bytes` is borrowed from
        // elsewhere, since no borrow of unpublished memory exists.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(at).as_ptr(), bytes.len()) };
    }

    /// The node behind `node` on `level`. Requires: `node` was found on `level` or above.
    #[inline]
    pub(crate) fn next(&self, node: Node, level: usize) -> Option<Node> {
        Node::from_word(self.link(self.tower_at(node, level)).load(Ordering::Acquire))
    }

    /// Sets a link of a node that is not linked on `level` yet.
    #[inline]
    pub(crate) fn prepare_next(&self, node: Node, level: usize, next: Option<Node>) {
        self.link(self.tower_at(node, level)).store(word(next), Ordering::Relaxed);
    }

    /// Links `node` behind `before` on `level` if `next` still follows there.
    #[inline]
    pub(crate) fn publish_next(&self, before: Node, level: usize, next: Option<Node>, node: Node) -> bool {
        self.link(self.tower_at(before, level))
            .compare_exchange(word(next), word(Some(node)), Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }

    /// A node before `node` on level 0, the nearest one unless inserts raced. Requires: not the head.
    #[inline]
    pub(crate) fn back(&self, node: Node) -> Node {
        Node::from_word(self.link(self.back_at(node)).load(Ordering::Acquire)).unwrap_or(Node::HEAD)
    }

    /// Sets the link back. Requires: `node` is not the head, and `before` comes before it on level 0.
    #[inline]
    pub(crate) fn set_back(&self, node: Node, before: Node) {
        self.link(self.back_at(node)).store(word(Some(before)), Ordering::Release);
    }

    /// The first 8 bytes of the user key as a big-endian number, zero-padded. Requires: not the head.
    #[inline]
    pub(crate) fn prefix(&self, node: Node) -> u64 {
        debug_assert!(node != Node::HEAD, "the head has no key");
        self.watch_read(node);
        // SAFETY: a node's key field is in bounds and at least 8 bytes long (invariant 1), and immutable (invariant 2).
        // The array has no alignment needs.
        u64::from_be_bytes(unsafe { self.start.add(node.at() + LENS_LEN).cast::<[u8; PREFIX_LEN]>().read() })
    }

    /// The user key. Requires: not the head.
    #[inline]
    pub(crate) fn user_key(&self, node: Node) -> &[u8] {
        let (key_len, _) = self.lens(node);
        // SAFETY: the key field of a complete node is in bounds and immutable while the arena lives, which the returned
        // borrow ensures (invariants 1 and 2).
        unsafe { std::slice::from_raw_parts(self.start.add(node.at() + LENS_LEN).as_ptr(), key_len) }
    }

    /// The version. Requires: not the head.
    #[inline]
    pub(crate) fn version(&self, node: Node) -> Version {
        let (key_len, _) = self.lens(node);
        // SAFETY: the version field of a complete node is in bounds and immutable (invariants 1 and 2).
        unsafe { self.start.add(node.at() + version_offset(key_len)).cast::<Version>().read_unaligned() }
    }

    /// The encoded entry. Requires: not the head.
    #[inline]
    pub(crate) fn entry(&self, node: Node) -> &[u8] {
        let (key_len, entry_len) = self.lens(node);
        let entry_at = node.at() + version_offset(key_len) + VERSION_LEN + LINK_LEN;
        // SAFETY: as for `user_key`.
        unsafe { std::slice::from_raw_parts(self.start.add(entry_at).as_ptr(), entry_len) }
    }

    /// Asks the processor for a node's lower links and the first bytes of its key.
    #[inline]
    pub(crate) fn prefetch(&self, node: Option<Node>) {
        #[cfg(target_arch = "x86_64")]
        if let Some(node) = node {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a prefetch has no effect that a program could see, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.start.as_ptr().wrapping_add(node.at()).cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = node;
    }

    /// Lengths of user key and encoded entry.
    #[inline]
    fn lens(&self, node: Node) -> (usize, usize) {
        debug_assert!(node != Node::HEAD, "the head has no key");
        self.watch_read(node);
        // SAFETY: the length fields of a complete node are in bounds, aligned to 4, and immutable (invariants 1 and 2).
        unsafe {
            let entry_len = self.start.add(node.at()).cast::<u32>().read();
            let key_len = self.start.add(node.at() + 4).cast::<u16>().read();
            (usize::from(key_len), entry_len as usize)
        }
    }

    #[inline]
    fn tower_at(&self, node: Node, level: usize) -> usize {
        debug_assert!(level < self.height(node), "level {level} is above the tower of {node:?}");
        node.at() - LINK_LEN * (level + 1)
    }

    fn height(&self, node: Node) -> usize {
        if node == Node::HEAD {
            return HEIGHT_MAX;
        }
        self.watch_read(node);
        // SAFETY: the height field of a complete node is in bounds and immutable (invariants 1 and 2).
        usize::from(unsafe { self.start.add(node.at() + 6).read() })
    }

    #[inline]
    fn back_at(&self, node: Node) -> usize {
        let (key_len, _) = self.lens(node);
        node.at() + version_offset(key_len) + VERSION_LEN
    }

    /// The atomic word at `at`.
    #[cfg(not(loom))]
    #[inline]
    fn link(&self, at: usize) -> LinkRef<'_> {
        debug_assert!(at.is_multiple_of(LINK_LEN) && at + LINK_LEN <= self.len, "link at {at}");
        // SAFETY: `at` comes from `tower_at` with a level within the node's tower, or from `back_at`: it is in bounds and
        // a multiple of 4, as the arena's start is. These four bytes are reached as this atomic only; they start as
        // zero, from the zeroed allocation. The borrow ends with the arena's.
        unsafe { AtomicU32::from_ptr(self.start.add(at).cast().as_ptr()) }
    }

    /// The modelled atomic that stands for the word at `at`.
    #[cfg(loom)]
    fn link(&self, at: usize) -> LinkRef<'_> {
        self.shadow.link(at)
    }

    #[inline]
    fn watch_read(&self, _node: Node) {
        #[cfg(loom)]
        self.shadow.reads(_node.at());
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed once; `&mut self` shows that nobody borrows from it.
        unsafe { dealloc(self.allocation.as_ptr(), self.layout) };
    }
}

/// Bytes that a node takes.
pub(crate) const fn node_bytes(height: usize, user_key_len: usize, entry_len: usize) -> usize {
    let behind_tower = version_offset(user_key_len) + VERSION_LEN + LINK_LEN + entry_len;
    (height * LINK_LEN + behind_tower).next_multiple_of(NODE_ALIGN)
}

/// Where a node's version lies, from the node on.
const fn version_offset(user_key_len: usize) -> usize {
    let padded = if user_key_len < PREFIX_LEN { PREFIX_LEN } else { user_key_len };
    LENS_LEN + padded.next_multiple_of(LINK_LEN)
}

fn word(node: Option<Node>) -> u32 {
    node.map_or(0, |node| node.0.get())
}
