//! The buffer of [`AppendMode::Buffered`](crate::AppendMode::Buffered): which bytes wait, and which go on at once.
//!
//! Called by the append files of `real` and `mem`. After a failed write the bytes stay here, so that the next flush
//! writes them again at the same place.

/// Capacity above which a buffer is grown by need and not at once.
const RESERVE_BYTES_MAX: usize = 1 << 20;

/// Bytes that were appended and not yet written.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    capacity: usize,
}

impl Buffer {
    /// An empty one that holds up to `capacity` bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity.min(RESERVE_BYTES_MAX)), capacity }
    }

    /// Whether `len` more bytes fit.
    pub(crate) fn fits(&self, len: usize) -> bool {
        len <= self.capacity.saturating_sub(self.bytes.len())
    }

    /// Takes bytes that fit.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What waits.
    pub(crate) fn waiting(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets what was written.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Drops the last bytes, so that `len` stay.
    pub(crate) fn cut(&mut self, len: usize) {
        self.bytes.truncate(len);
    }
}
