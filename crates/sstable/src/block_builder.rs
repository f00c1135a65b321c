//! Builds data blocks one after the other, in buffers that are reused: see [`block`](crate::block) for the format.
//!
//! Invariant: entries come in strictly ascending order of internal keys (the table builder sees to that), so the part
//! that an entry shares with the first key of its group never grows within the group.

use base::{InternalKeyRef, Version, varint};

use crate::block::{RESTART_SHIFT_MAX, TAIL_LEN, head};

/// Most bytes that a length of a user key takes.
const LENGTH_LEN_MAX: usize = 3;

/// A block being filled.
#[derive(Debug)]
pub(crate) struct BlockBuilder {
    bytes: Vec<u8>,
    starts: Vec<u32>,
    versions: Vec<Version>,
    fingerprints: Vec<u8>,
    keys: Vec<KeyPlace>,
    group_key: Vec<u8>,
    /// Bytes that all user keys of the block start with.
    shared_by_all: usize,
    restart_shift: u8,
    lowest_version: Version,
    highest_version: Version,
}

/// Where the rest of an entry's user key stands in the block, and what it shares with its group's first.
#[derive(Clone, Copy, Debug)]
struct KeyPlace {
    rest: u32,
    rest_len: u16,
    shared: u16,
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
            keys: Vec::new(),
            group_key: Vec::new(),
            shared_by_all: 0,
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
        let entries_len = self.bytes.len() + 2 * LENGTH_LEN_MAX + key.user_key.len() + entry.len();
        let column_width = offset_width(entries_len) + version_width(lowest, highest) + 3;
        entries_len + (self.starts.len() + 1) * column_width + TAIL_LEN
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
        // Keys are shorter than 64 KiB.
        let place = KeyPlace { rest: self.bytes.len() as u32, rest_len: rest.len() as u16, shared: shared as u16 };
        self.note_shared_by_all(place, key.user_key);
        self.keys.push(place);
        self.bytes.extend_from_slice(rest);
        self.bytes.extend_from_slice(entry);
    }

    /// Puts the columns and the tail behind the entries: the block's bytes.
    pub(crate) fn finish(&mut self) -> &[u8] {
        let offset_width = offset_width(self.bytes.len());
        let version_width = version_width(self.lowest_version, self.highest_version);
        for start in &self.starts {
            let bytes = start.to_le_bytes();
            self.bytes.extend_from_slice(bytes.get(..offset_width).unwrap_or_default());
        }
        for version in &self.versions {
            let bytes = version.wrapping_sub(self.lowest_version).to_le_bytes();
            self.bytes.extend_from_slice(bytes.get(..version_width).unwrap_or_default());
        }
        self.push_heads();
        self.bytes.extend_from_slice(&self.fingerprints);
        self.bytes.extend_from_slice(&self.lowest_version.to_le_bytes());
        self.bytes.extend_from_slice(&(self.starts.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&(self.shared_by_all as u16).to_le_bytes());
        self.bytes.extend_from_slice(&[offset_width as u8, version_width as u8, self.restart_shift, 0, 0, 0]);
        &self.bytes
    }

    /// What all keys share is what the first shares with the last. Within the first group that is known already.
    fn note_shared_by_all(&mut self, place: KeyPlace, user_key: &[u8]) {
        self.shared_by_all = match self.keys.first() {
            None => user_key.len(),
            Some(_) if self.keys.len() >> self.restart_shift == 0 => usize::from(place.shared),
            Some(first) => shared_prefix_len(self.rest_of(*first), user_key),
        };
    }

    /// The rest of an entry's user key; all of it for the first of a group.
    fn rest_of(&self, key: KeyPlace) -> &[u8] {
        let start = key.rest as usize;
        self.bytes.get(start..start + usize::from(key.rest_len)).unwrap_or_default()
    }

    fn push_heads(&mut self) {
        let mut group_key = KeyPlace { rest: 0, rest_len: 0, shared: 0 };
        for index in 0..self.keys.len() {
            let Some(key) = self.keys.get(index).copied() else { return };
            if index & ((1 << self.restart_shift) - 1) == 0 {
                group_key = key;
            }
            let mut bytes = [0; 2];
            for (at, byte) in (self.shared_by_all..).zip(&mut bytes) {
                *byte = match at.checked_sub(usize::from(key.shared)) {
                    Some(in_rest) => self.rest_of(key).get(in_rest),
                    None => self.rest_of(group_key).get(at),
                }
                .copied()
                .unwrap_or_default();
            }
            self.bytes.extend_from_slice(&head(&bytes).to_le_bytes());
        }
    }

    /// Forgets the block, keeping the buffers.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.starts.clear();
        self.versions.clear();
        self.fingerprints.clear();
        self.keys.clear();
        self.lowest_version = Version::MAX;
        self.highest_version = 0;
    }
}

/// Bytes that an offset into entries of this length takes.
const fn offset_width(entries_len: usize) -> usize {
    if entries_len <= u16::MAX as usize { 2 } else { 4 }
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
