//! The arena: one zeroed allocation that holds every node of the list, and the only unsafe code of the crate.
//!
//! A node is found by its 32-bit offset, a multiple of 8, and lies there as:
//!
//! ```text
//! 0    u32   link to the next node, 0 = none
//! 4    u32   length of the encoded entry
//! 8    u16   length of the user key, then two zero bytes
//! 12   u32   link back to a node before this one
//! 16   user key, zero-padded to 8 bytes at least: its first 8 bytes as a big-endian number order most keys, and share a
//!      cache line with the links
//! t    u64   version                  t = 16 + the padded user key, rounded up to 4
//! t+8  encoded entry; the node's end is rounded up to 8
//! ```
//! It lives in memory only: integers are in native order.
//!
//! Invariants
//! 1. A [`Node`] is minted here alone, by [`Arena::allocate`] or by loading a link, and a link, or a
//!    [`NodeCell`], is only ever given nodes of its own arena. So each names a node whose bytes are complete.
//! 2. Bytes handed out by `allocate` are written before `allocate` returns, and never again but for the two links,
//!    which are atomic. Nothing is freed before the arena is.
//! 3. A link is published with release and followed with acquire: whoever finds a node finds its bytes.
//!
//! Under `cfg(loom)` links are loom atomics in a side table by offset, and a loom cell a node watches its plain bytes, so
//! that a model fails when a node could be read before it was complete.
//!
//! Called by the list and its index only.

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

/// Bytes of a user key that a node's prefix holds.
pub(crate) const PREFIX_LEN: usize = 8;

const ENTRY_LEN_AT: usize = 4;
const KEY_LEN_AT: usize = 8;
const BACK_AT: usize = 12;
const KEY_AT: usize = 16;
const VERSION_LEN: usize = 8;
const LINK_LEN: usize = 4;
const NODE_ALIGN: usize = 8;
const CACHE_LINE: usize = 64;

/// The head's offset; 0 would be no node.
const HEAD_OFFSET: u32 = NODE_ALIGN as u32;
const HEAD_END: usize = HEAD_OFFSET as usize + KEY_AT + PREFIX_LEN;

/// Most bytes of nodes that an arena holds, so that every offset fits 32 bits.
pub(crate) const CAPACITY_MAX: usize = u32::MAX as usize - HEAD_END - NODE_ALIGN;

/// The place of a node in its arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node(NonZeroU32);

impl Node {
    /// The node before all others. It has no key.
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

/// A node, or none, that threads hand to each other. Holds nodes of one arena only.
#[derive(Default)]
pub(crate) struct NodeCell(AtomicU32);

impl NodeCell {
    /// The node if there is one, whose bytes the caller then sees.
    #[inline]
    pub(crate) fn load(&self) -> Option<Node> {
        Node::from_word(self.0.load(Ordering::Acquire))
    }

    /// Replaces the node.
    #[inline]
    pub(crate) fn store(&self, node: Option<Node>) {
        self.0.store(word(node), Ordering::Release);
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
        shadow.begin_node(HEAD_OFFSET as usize, [HEAD_OFFSET as usize]);
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
    pub(crate) fn allocate(&self, key: InternalKeyRef<'_>, entry: EntryRef<'_>) -> Option<(Node, usize)> {
        let mut meta = [0; ENTRY_META_LEN_MAX];
        let meta_len = entry.encode_meta(&mut meta);
        let meta = meta.get(..meta_len)?;
        let entry_len = meta.len() + entry.payload.len();
        let key_len_word = u16::try_from(key.user_key.len()).ok()?;
        let entry_len_word = u32::try_from(entry_len).ok()?;
        let size = node_bytes(key.user_key.len(), entry_len);
        let at = usize::try_from(self.taken.fetch_add(size as u64, Ordering::Relaxed)).ok()?;
        if at.checked_add(size)? > self.len {
            return None;
        }
        let node = Node::from_word(u32::try_from(at).ok()?)?;
        let version_at = at + version_offset(key.user_key.len());
        let entry_at = version_at + VERSION_LEN;
        #[cfg(loom)]
        self.shadow.begin_node(at, [at, at + BACK_AT]);
        // SAFETY: `at..at + size` lies within the arena (checked above) and belongs to this call alone: the counter hands
        // out each byte once. No link names the node before it is returned, so nobody reads these bytes while they are
        // written. By `node_bytes`, the key ends at or before `version_at`, and the entry at or before `at + size`. `at`
        // is a multiple of 8, since HEAD_END and all sizes are, and so is the arena's start: the two lengths are
        // aligned. The version is written unaligned.
        unsafe {
            self.start.add(at + ENTRY_LEN_AT).cast::<u32>().write(entry_len_word);
            self.start.add(at + KEY_LEN_AT).cast::<u16>().write(key_len_word);
            self.copy_in(at + KEY_AT, key.user_key);
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

    /// The node behind `node`.
    #[inline]
    pub(crate) fn next(&self, node: Node) -> Option<Node> {
        Node::from_word(self.link(node.at()).load(Ordering::Acquire))
    }

    /// Sets the links of a node that is not linked yet.
    #[inline]
    pub(crate) fn prepare_links(&self, node: Node, before: Node, next: Option<Node>) {
        self.link(node.at()).store(word(next), Ordering::Relaxed);
        self.link(node.at() + BACK_AT).store(word(Some(before)), Ordering::Relaxed);
    }

    /// Links `node` behind `before` if `next` still follows there.
    #[inline]
    pub(crate) fn publish_next(&self, before: Node, next: Option<Node>, node: Node) -> bool {
        self.link(before.at())
            .compare_exchange(word(next), word(Some(node)), Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }

    /// A node before `node`, the nearest one unless inserts raced. Requires: not the head.
    #[inline]
    pub(crate) fn back(&self, node: Node) -> Node {
        debug_assert!(node != Node::HEAD, "the head has no link back");
        Node::from_word(self.link(node.at() + BACK_AT).load(Ordering::Acquire)).unwrap_or(Node::HEAD)
    }

    /// Sets the link back. Requires: `node` is not the head, and `before` comes before it in the list.
    #[inline]
    pub(crate) fn set_back(&self, node: Node, before: Node) {
        self.link(node.at() + BACK_AT).store(word(Some(before)), Ordering::Release);
    }

    /// The first 8 bytes of the user key as a big-endian number, zero-padded. Requires: not the head.
    #[inline]
    pub(crate) fn prefix(&self, node: Node) -> u64 {
        debug_assert!(node != Node::HEAD, "the head has no key");
        self.watch_read(node);
        // SAFETY: a node's key field is in bounds and at least 8 bytes long (invariant 1), and immutable (invariant 2).
        // The array has no alignment needs.
        u64::from_be_bytes(unsafe { self.start.add(node.at() + KEY_AT).cast::<[u8; PREFIX_LEN]>().read() })
    }

    /// The user key. Requires: not the head.
    #[inline]
    pub(crate) fn user_key(&self, node: Node) -> &[u8] {
        let (key_len, _) = self.lens(node);
        // SAFETY: the key field of a complete node is in bounds and immutable while the arena lives, which the returned
        // borrow ensures (invariants 1 and 2).
        unsafe { std::slice::from_raw_parts(self.start.add(node.at() + KEY_AT).as_ptr(), key_len) }
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
        let entry_at = node.at() + version_offset(key_len) + VERSION_LEN;
        // SAFETY: as for `user_key`.
        unsafe { std::slice::from_raw_parts(self.start.add(entry_at).as_ptr(), entry_len) }
    }

    /// Asks the processor for a node's links and the first bytes of its key.
    #[inline]
    pub(crate) fn prefetch(&self, node: Option<Node>) {
        if let Some(node) = node {
            prefetch(self.start.as_ptr().wrapping_add(node.at()));
            prefetch(self.start.as_ptr().wrapping_add(node.at() + KEY_AT + PREFIX_LEN - 1));
        }
    }

    /// Asks the processor for the first bytes of a node's entry too, if its key is a short one.
    #[inline]
    pub(crate) fn prefetch_entry(&self, node: Option<Node>) {
        if let Some(node) = node {
            prefetch(self.start.as_ptr().wrapping_add(node.at()));
            prefetch(self.start.as_ptr().wrapping_add(node.at() + CACHE_LINE));
        }
    }

    /// Lengths of user key and encoded entry.
    #[inline]
    fn lens(&self, node: Node) -> (usize, usize) {
        debug_assert!(node != Node::HEAD, "the head has no key");
        self.watch_read(node);
        // SAFETY: the length fields of a complete node are in bounds, aligned, and immutable (invariants 1 and 2).
        unsafe {
            let entry_len = self.start.add(node.at() + ENTRY_LEN_AT).cast::<u32>().read();
            let key_len = self.start.add(node.at() + KEY_LEN_AT).cast::<u16>().read();
            (usize::from(key_len), entry_len as usize)
        }
    }

    /// The atomic word at `at`.
    #[cfg(not(loom))]
    #[inline]
    fn link(&self, at: usize) -> LinkRef<'_> {
        debug_assert!(at.is_multiple_of(LINK_LEN) && at + LINK_LEN <= self.len, "link at {at}");
        // SAFETY: `at` is one of the two links of a node of this arena (invariant 1): it is in bounds and a multiple of 4, as
        // the arena's start is. These four bytes are reached as this atomic only; they start as zero, from the zeroed
        // allocation. The borrow ends with the arena's.
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

/// Asks the processor for a cache line.
#[inline]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch has no effect that a program could see, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Bytes that a node takes.
pub(crate) const fn node_bytes(user_key_len: usize, entry_len: usize) -> usize {
    (version_offset(user_key_len) + VERSION_LEN + entry_len).next_multiple_of(NODE_ALIGN)
}

/// Where a node's version lies, from the node on.
const fn version_offset(user_key_len: usize) -> usize {
    let padded = if user_key_len < PREFIX_LEN { PREFIX_LEN } else { user_key_len };
    KEY_AT + padded.next_multiple_of(LINK_LEN)
}

fn word(node: Option<Node>) -> u32 {
    node.map_or(0, |node| node.0.get())
}
