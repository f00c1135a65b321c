//! cache
/// Blocks that cannot be read in place, shared by all tables of a store and bounded in bytes.
#[derive(Debug)]
pub struct BlockCache {}
/// Counters of a [`BlockCache`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Lookups answered.
    pub hits: u64,
    /// Lookups not answered.
    pub misses: u64,
    /// Bytes held, overhead included.
    pub bytes: u64,
    /// Most bytes that are ever held.
    pub capacity_bytes: u64,
}
impl BlockCache {
    /// A cache of at most `capacity_bytes`, overhead included; 0 caches nothing.
    #[must_use]
    pub fn new(_capacity_bytes: usize) -> Self {
        unimplemented!()
    }
    /// The counters now.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        unimplemented!()
    }
}
