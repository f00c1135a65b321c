//! Builds data blocks one after the other, in buffers that are reused: see [`block`](crate::block) for the format.
//!
//! Invariant: entries come in strictly ascending order of internal keys (the table builder sees to that), so the part
//! that an entry shares with the first key of its group never grows within the group.

use base::{InternalKeyRef, Version, varint};

use crate::block::{RESTART_SHIFT_MAX, TAIL_LEN};

/// A block being filled.
#[derive(Debug)]
pub(crate) struct BlockBuilder {
    bytes: Vec<u8>,
    starts: Vec<u32>,
    versions: Vec<Version>,
    fingerprints: Vec<u8>,
    group_key: Vec<u8>,
    restart_shift: u8,
    lowest_version: Version,
    highest_version: Version,
}

impl BlockBuilder {
    /// Groups of `restart_interval` entries, rounded down to a power of two from 1 to 128.
    pub(crate) fn new(restart_interval: usize) -> Self {
        let restart_shift = (restart_interval.max(1).ilog2() as u8).min(RESTART_SHIFT_MAX);
        Self {
            bytes: Vec::new(),
            starts: Vec::new(),
            versions: Vec::new(),
            fingerprints: Vec::new(),
            group_key: Vec::new(),
            restart_shift,
            lowest_version: Version::MAX,
            highest_version: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Length of the finished block in bytes if no entry were added, and an upper bound of what one more adds.
    pub(crate) fn len_with(&self, key: InternalKeyRef<'_>, entry: &[u8]) -> usize {
        let lowest = self.lowest_version.min(key.version);
        let highest = self.highest_version.max(key.version);
        let column_width = 4 + version_width(lowest, highest) + 1;
        let entry_len = 2 * varint::LEN_MAX.min(3) + key.user_key.len() + entry.len();
        self.bytes.len() + entry_len + (self.starts.len() + 1) * column_width + TAIL_LEN
    }

    /// Bytes of entries so far.
    pub(crate) fn entries_len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds an entry behind the others.
    pub(crate) fn add(&mut self, key: InternalKeyRef<'_>, fingerprint: u8, entry: &[u8]) {
        let in_group = self.starts.len() & ((1 << self.restart_shift) - 1);
        let shared = if in_group == 0 {
            self.group_key.clear();
            self.group_key.extend_from_slice(key.user_key);
            0
        } else {
            shared_prefix_len(&self.group_key, key.user_key)
        };
        // The table builder keeps a block's bytes below 4 GiB.
        self.starts.push(self.bytes.len() as u32);
        self.versions.push(key.version);
        self.fingerprints.push(fingerprint);
        self.lowest_version = self.lowest_version.min(key.version);
        self.highest_version = self.highest_version.max(key.version);
        let rest = key.user_key.get(shared..).unwrap_or_default();
        varint::push(shared as u64, &mut self.bytes);
        varint::push(rest.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(rest);
        self.bytes.extend_from_slice(entry);
    }

    /// Puts the columns and the tail behind the entries: the block's bytes.
    pub(crate) fn finish(&mut self) -> &[u8] {
        let offset_width = if self.bytes.len() <= usize::from(u16::MAX) { 2 } else { 4 };
        let version_width = version_width(self.lowest_version, self.highest_version);
        for start in &self.starts {
            let bytes = start.to_le_bytes();
            self.bytes.extend_from_slice(bytes.get(..offset_width).unwrap_or_default());
        }
        for version in &self.versions {
            let bytes = version.wrapping_sub(self.lowest_version).to_le_bytes();
            self.bytes.extend_from_slice(bytes.get(..version_width).unwrap_or_default());
        }
        self.bytes.extend_from_slice(&self.fingerprints);
        self.bytes.extend_from_slice(&self.lowest_version.to_le_bytes());
        self.bytes.extend_from_slice(&(self.starts.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&[offset_width as u8, version_width as u8, self.restart_shift, 0]);
        &self.bytes
    }

    /// Forgets the block, keeping the buffers.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.starts.clear();
        self.versions.clear();
        self.fingerprints.clear();
        self.lowest_version = Version::MAX;
        self.highest_version = 0;
    }
}

/// Bytes that the differences to the lowest version take.
const fn version_width(lowest: Version, highest: Version) -> usize {
    ((64 - highest.saturating_sub(lowest).leading_zeros()) as usize).div_ceil(8)
}

/// Bytes that both start with.
#[inline]
pub(crate) fn shared_prefix_len(a: &[u8], b: &[u8]) -> usize {
    let (a_words, _) = a.as_chunks::<8>();
    let (b_words, _) = b.as_chunks::<8>();
    let mut len = 0;
    for (a_word, b_word) in a_words.iter().zip(b_words) {
        let difference = u64::from_le_bytes(*a_word) ^ u64::from_le_bytes(*b_word);
        if difference != 0 {
            return len + (difference.trailing_zeros() / 8) as usize;
        }
        len += 8;
    }
    let rest = a.get(len..).unwrap_or_default().iter().zip(b.get(len..).unwrap_or_default());
    len + rest.take_while(|(a, b)| a == b).count()
}
