//! Blocks of one kind by number, made in chunks as they are needed, and kept until the slab goes.
//!
//! Called by the index only.

// The standard one under loom too: it is set under the index's lock, and read by who learned the number since.
use std::sync::OnceLock;

/// Blocks in a chunk.
const CHUNK_LEN: usize = if cfg!(loom) { 2 } else { 64 };

/// Blocks by number. A block that nobody has asked for yet is as `Default` makes it.
pub(super) struct Slab<T> {
    chunks: Box<[OnceLock<Box<[T]>>]>,
}

impl<T: Default> Slab<T> {
    /// Room for the numbers below `blocks_max`, but no block.
    pub(super) fn new(blocks_max: usize) -> Self {
        Self { chunks: (0..blocks_max.div_ceil(CHUNK_LEN)).map(|_| OnceLock::new()).collect() }
    }

    /// The block with a number, if it was made.
    #[inline]
    pub(super) fn block(&self, number: u32) -> Option<&T> {
        let number = number as usize;
        self.chunks.get(number / CHUNK_LEN)?.get()?.get(number % CHUNK_LEN)
    }

    /// The block with a number, made if need be. `None` beyond the room.
    pub(super) fn make(&self, number: u32) -> Option<&T> {
        let chunk = self.chunks.get(number as usize / CHUNK_LEN)?;
        chunk.get_or_init(|| (0..CHUNK_LEN).map(|_| T::default()).collect()).get(number as usize % CHUNK_LEN)
    }
}
