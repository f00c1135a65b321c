//! The bytes of a file in memory: shared, copied when changed under another holder, and sparse at the end, so that space
//! allocated ahead costs nothing.

use std::sync::Arc;

use crate::Mapping;

/// Bytes up to `len`; those behind `bytes` are zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    bytes: Arc<Vec<u8>>,
    len: u64,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buffer` from `offset`; false where the file ends before.
    pub(super) fn read_exact(&self, buffer: &mut [u8], offset: u64) -> bool {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.len) {
            return false;
        }
        let stored = self.bytes.get(offset as usize..).unwrap_or_default();
        let (from_bytes, zeros) = buffer.split_at_mut(stored.len().min(buffer.len()));
        from_bytes.copy_from_slice(stored.get(..from_bytes.len()).unwrap_or_default());
        zeros.fill(0);
        true
    }

    /// Puts `bytes` at `offset`, extending the file if need be.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let start = offset as usize;
        let stored = Arc::make_mut(&mut self.bytes);
        if stored.len() < start {
            stored.resize(start, 0);
        }
        let overlap = bytes.len().min(stored.len() - start);
        let (over, behind) = bytes.split_at(overlap);
        if let Some(target) = stored.get_mut(start..start + overlap) {
            target.copy_from_slice(over);
        }
        stored.extend_from_slice(behind);
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    /// Puts zeros in `start..end` where something else is stored.
    pub(super) fn zero(&mut self, start: u64, end: u64) {
        let stored_end = (end as usize).min(self.bytes.len());
        if (start as usize) < stored_end
            && let Some(target) = Arc::make_mut(&mut self.bytes).get_mut(start as usize..stored_end)
        {
            target.fill(0);
        }
    }

    /// Bytes behind this are zeros.
    pub(super) fn stored_len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Cuts the file, or extends it with zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.stored_len() {
            Arc::make_mut(&mut self.bytes).truncate(len as usize);
        }
        self.len = len;
    }

    /// The first `len` bytes, which the file has, as they are now.
    pub(super) fn map(&self, len: u64) -> Mapping {
        if len <= self.stored_len() {
            Mapping::new(Prefix { bytes: Arc::clone(&self.bytes), len: len as usize })
        } else {
            let mut bytes = self.bytes.as_ref().clone();
            bytes.resize(len as usize, 0);
            Mapping::new(bytes)
        }
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = self.bytes.as_ref().clone();
        bytes.resize(self.len as usize, 0);
        bytes
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self { len: bytes.len() as u64, bytes: Arc::new(bytes) }
    }
}

/// Keeps shared bytes alive and shows the first of them.
struct Prefix {
    bytes: Arc<Vec<u8>>,
    len: usize,
}

impl AsRef<[u8]> for Prefix {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &Content, offset: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0xff; len];
        content.read_exact(&mut bytes, offset).then_some(bytes)
    }

    #[test]
    fn space_behind_the_stored_bytes_reads_as_zeros() {
        let mut content = Content::from(b"abc".to_vec());
        content.set_len(1 << 40);
        assert_eq!(read(&content, 1, 4).unwrap(), b"bc\0\0");
        assert_eq!(read(&content, (1 << 40) - 2, 2).unwrap(), b"\0\0");
        assert_eq!(read(&content, (1 << 40) - 2, 3), None);
        assert_eq!(read(&content, u64::MAX, 3), None);
        assert_eq!(content.stored_len(), 3);
        content.set_len(5);
        assert_eq!(&content.map(5)[..], b"abc\0\0");
    }

    #[test]
    fn writes_fill_holes_with_zeros_and_overlap() {
        let mut content = Content::default();
        content.write(3, b"de");
        content.write(4, b"EFG");
        assert_eq!(content.to_vec(), b"\0\0\0dEFG");
        content.zero(4, 6);
        content.zero(100, 200);
        assert_eq!(content.to_vec(), b"\0\0\0d\0\0G");
    }

    #[test]
    fn bytes_cut_off_do_not_come_back() {
        let mut content = Content::from(b"abcdef".to_vec());
        content.set_len(2);
        content.set_len(6);
        assert_eq!(content.to_vec(), b"ab\0\0\0\0");
    }

    #[test]
    fn a_mapping_does_not_see_later_changes() {
        let mut content = Content::from(b"abcdef".to_vec());
        let mapping = content.map(4);
        content.write(0, b"X");
        content.set_len(1);
        assert_eq!(&mapping[..], b"abcd");
    }
}
