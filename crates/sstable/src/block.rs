//! A data block, read in place.
//!
//! ```text
//! block   := entries | offsets | versions | heads | fingerprints | tail
//! entry   := shared varint | rest length varint | rest of the user key | encoded entry (up to the next entry's start)
//! offsets := count x (u16 or u32): where each entry starts in the block
//! versions := count x 0 to 8 bytes: version of each entry less the lowest
//! heads   := count x u16: the two bytes of each user key behind those that all keys of the block start with, as a
//!            big-endian number, filled up with zeros
//! fingerprints := count x u8: highest byte of each user key's hash
//! tail    := lowest version u64 | count u32 | shared by all u16 | offset width u8 | version width u8 | restart shift u8
//!          | reserved 3 bytes
//! ```
//! Entries stand in groups of `1 << restart shift`; the first of a group has its whole user key (`shared` is 0), the
//! others share their first `shared` bytes with it, so that any entry is decoded from two places and no scan. What is
//! searched stands together: a point lookup goes over the fingerprints, a seek over the heads, and either touches one
//! entry nearly always.
//!
//! Invariant: nothing here trusts the bytes. [`Layout::parse`] checks the tail once; every entry is checked when it is
//! decoded, so that damaged or hostile bytes give an error and never a panic.

use std::cmp::Ordering;
use std::ops::Range;

use base::{DecodeError, InternalKeyRef, Version, varint};

/// Length of the tail in bytes. It stands behind every offset, version and fingerprint, so eight can always be loaded.
pub(crate) const TAIL_LEN: usize = 20;

/// Greatest `restart shift`.
pub(crate) const RESTART_SHIFT_MAX: u8 = 7;

/// Up to this many entries a point lookup compares all fingerprints; above, it searches by halves.
const FINGERPRINT_SCAN_MAX: usize = 512;

/// Where the parts of a block are. Small and copied, so that a cursor keeps it beside its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout {
    count: usize,
    offsets: usize,
    versions: usize,
    heads: usize,
    fingerprints: usize,
    shared_by_all: usize,
    offset_width: usize,
    version_width: usize,
    restart_shift: u8,
    lowest_version: Version,
}

/// The number that stands for the order of a key in its block: the two bytes of `rest` in front.
#[inline]
pub(crate) const fn head(rest: &[u8]) -> u16 {
    match rest {
        [] => 0,
        [first] => u16::from_be_bytes([*first, 0]),
        [first, second, ..] => u16::from_be_bytes([*first, *second]),
    }
}

/// The byte that stands for a key in its block.
#[inline]
pub(crate) const fn fingerprint(hash: u64) -> u8 {
    (hash >> 56) as u8
}

const fn damaged<T>(what: &'static str) -> Result<T, DecodeError> {
    Err(DecodeError::new(what))
}

impl Layout {
    /// Reads the tail of a block.
    #[inline]
    pub(crate) fn parse(block: &[u8]) -> Result<Self, DecodeError> {
        let Some((parts, tail)) = block.split_last_chunk::<TAIL_LEN>() else {
            return damaged("block shorter than its tail");
        };
        let [v0, v1, v2, v3, v4, v5, v6, v7, c0, c1, c2, c3, s0, s1, widths @ ..] = *tail;
        let [offset_width, version_width, restart_shift, reserved @ ..] = widths;
        let count = u32::from_le_bytes([c0, c1, c2, c3]) as usize;
        let (offset_width, version_width) = (usize::from(offset_width), usize::from(version_width));
        if !matches!(offset_width, 2 | 4)
            || version_width > 8
            || restart_shift > RESTART_SHIFT_MAX
            || reserved != [0; 3]
        {
            return damaged("block with a tail that no builder writes");
        }
        // At most 2^32 x 15: no overflow in 64 bits.
        let Some(offsets) = parts.len().checked_sub(count * (offset_width + version_width + 3)) else {
            return damaged("block shorter than its count of entries asks for");
        };
        if count == 0 {
            return damaged("block without entries");
        }
        let versions = offsets + count * offset_width;
        let heads = versions + count * version_width;
        Ok(Self {
            count,
            offsets,
            versions,
            heads,
            fingerprints: heads + count * 2,
            shared_by_all: usize::from(u16::from_le_bytes([s0, s1])),
            offset_width,
            version_width,
            restart_shift,
            lowest_version: u64::from_le_bytes([v0, v1, v2, v3, v4, v5, v6, v7]),
        })
    }

    /// Number of entries, at least 1.
    #[inline]
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// The block these parts are of.
    #[inline]
    pub(crate) const fn of<'a>(&'a self, bytes: &'a [u8]) -> Block<'a> {
        Block { layout: self, bytes }
    }
}

/// A block's bytes and where their parts are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    layout: &'a Layout,
    bytes: &'a [u8],
}

/// One entry as it stands in the block.
#[derive(Clone, Debug)]
pub(crate) struct RawEntry<'a> {
    /// Bytes shared with the first key of the group.
    pub(crate) shared: usize,
    /// The rest of the user key.
    pub(crate) rest: &'a [u8],
    /// Where the encoded entry stands in the block.
    pub(crate) value: Range<usize>,
}

impl<'a> Block<'a> {
    /// The entry numbered `index`, as it stands there.
    #[inline]
    pub(crate) fn entry(&self, index: usize) -> Result<RawEntry<'a>, DecodeError> {
        let start = self.start(index);
        let end = if index + 1 < self.layout.count { self.start(index + 1) } else { self.layout.offsets };
        let bytes = match self.bytes.get(start..end) {
            Some(bytes) if end <= self.layout.offsets => bytes,
            _ => return damaged("block entry outside its block"),
        };
        let (shared, rest_len, behind) = match bytes {
            [shared @ 0..0x80, rest_len @ 0..0x80, behind @ ..] => {
                (usize::from(*shared), usize::from(*rest_len), behind)
            }
            _ => long_lengths(bytes)?,
        };
        let Some(rest) = behind.get(..rest_len) else { return damaged("block entry shorter than its key") };
        Ok(RawEntry { shared, rest, value: end - (behind.len() - rest_len)..end })
    }

    /// The first user key of the group that the entry `index` is in.
    #[inline]
    pub(crate) fn group_key(&self, index: usize) -> Result<&'a [u8], DecodeError> {
        let head = self.entry(self.group_start(index))?;
        if head.shared != 0 {
            return damaged("first block entry of a group without its whole key");
        }
        Ok(head.rest)
    }

    /// The first entry of the group that the entry `index` is in.
    #[inline]
    pub(crate) const fn group_start(&self, index: usize) -> usize {
        index >> self.layout.restart_shift << self.layout.restart_shift
    }

    /// The version of the entry numbered `index`, which is below the count.
    #[inline]
    pub(crate) fn version(&self, index: usize) -> Version {
        let width = self.layout.version_width;
        self.layout.lowest_version.wrapping_add(self.number(self.layout.versions + index * width, width))
    }

    /// The fingerprint of the entry numbered `index`.
    pub(crate) fn fingerprint(&self, index: usize) -> Option<u8> {
        self.bytes.get(self.layout.fingerprints + index).copied()
    }

    /// The newest entry of exactly `user_key` at or below `read_version`, where one is in this block.
    #[inline]
    pub(crate) fn find(
        &self,
        user_key: &[u8],
        hash: u64,
        read_version: Version,
    ) -> Result<Option<(Version, Range<usize>)>, DecodeError> {
        if self.layout.count > FINGERPRINT_SCAN_MAX {
            return self.find_by_halves(user_key, read_version);
        }
        let wanted = u64::from_ne_bytes([fingerprint(hash); 8]);
        let mut first = 0;
        while first < self.layout.count {
            // Behind the last fingerprint come the bytes of the tail: a match there is cut off by the count.
            let mut matches = equal_bytes(self.number(self.layout.fingerprints + first, 8), wanted);
            while matches != 0 {
                let index = first + (matches.trailing_zeros() / 8) as usize;
                matches &= matches - 1;
                if index >= self.layout.count {
                    break;
                }
                let version = self.version(index);
                if version > read_version {
                    continue;
                }
                if let Some(value) = self.value_of(index, user_key)? {
                    return Ok(Some((version, value)));
                }
            }
            first += 8;
        }
        Ok(None)
    }

    fn find_by_halves(
        &self,
        user_key: &[u8],
        read_version: Version,
    ) -> Result<Option<(Version, Range<usize>)>, DecodeError> {
        let index = self.lower_bound(InternalKeyRef::new(user_key, read_version))?;
        if index == self.layout.count {
            return Ok(None);
        }
        Ok(self.value_of(index, user_key)?.map(|value| (self.version(index), value)))
    }

    /// The encoded entry numbered `index`, if its user key is `user_key`.
    #[inline]
    fn value_of(&self, index: usize, user_key: &[u8]) -> Result<Option<Range<usize>>, DecodeError> {
        let entry = self.entry(index)?;
        let Some((shared, rest)) = user_key.split_at_checked(entry.shared) else { return Ok(None) };
        if rest != entry.rest {
            return Ok(None);
        }
        if !shared.is_empty() && self.group_key(index)?.get(..shared.len()) != Some(shared) {
            return Ok(None);
        }
        Ok(Some(entry.value))
    }

    /// The number of the first entry at or after `key`; the count, if there is none.
    pub(crate) fn lower_bound(&self, key: InternalKeyRef<'_>) -> Result<usize, DecodeError> {
        let shared = self.group_key(0)?.get(..self.layout.shared_by_all);
        let Some(shared) = shared else { return damaged("block whose keys share more than the first has") };
        let rest = match key.user_key.split_at_checked(shared.len()) {
            Some((front, rest)) if front == shared => rest,
            _ => return Ok(if key.user_key < shared { 0 } else { self.layout.count }),
        };
        let wanted = head(rest);
        let heads = self.heads();
        let mut low = heads.partition_point(|head| u16::from_le_bytes(*head) < wanted);
        let ties = heads.get(low..).unwrap_or_default();
        let mut high = low + ties.partition_point(|head| u16::from_le_bytes(*head) == wanted);
        while low < high {
            let middle = low.midpoint(high);
            if self.compare(middle, key)? == Ordering::Less {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Bytes that all user keys of the block start with, and the head of each.
    pub(crate) fn stated_heads(&self) -> (usize, impl Iterator<Item = u16>) {
        (self.layout.shared_by_all, self.heads().iter().map(|head| u16::from_le_bytes(*head)))
    }

    #[inline]
    fn heads(&self) -> &'a [[u8; 2]] {
        self.bytes.get(self.layout.heads..self.layout.fingerprints).unwrap_or_default().as_chunks::<2>().0
    }

    /// How the internal key of the entry `index` compares with `key`.
    #[inline]
    fn compare(&self, index: usize, key: InternalKeyRef<'_>) -> Result<Ordering, DecodeError> {
        let entry = self.entry(index)?;
        let Some(shared) = self.group_key(index)?.get(..entry.shared) else {
            return damaged("block entry shares more than its group's first key has");
        };
        let order = match key.user_key.split_at_checked(entry.shared) {
            Some((front, rest)) => shared.cmp(front).then_with(|| entry.rest.cmp(rest)),
            // The key is shorter than what is shared: it is equal to none, and decided within the shared bytes.
            None => shared.cmp(key.user_key),
        };
        Ok(order.then_with(|| key.version.cmp(&self.version(index))))
    }

    #[inline]
    fn start(&self, index: usize) -> usize {
        let width = self.layout.offset_width;
        self.number(self.layout.offsets + index * width, width) as usize
    }

    /// The little-endian number of `width` bytes, 0 to 8, at `at`, which is within the columns.
    #[inline]
    fn number(&self, at: usize, width: usize) -> u64 {
        let Some(Ok(bytes)) = self.bytes.get(at..at + 8).map(<[u8; 8]>::try_from) else { return 0 };
        let number = u64::from_le_bytes(bytes);
        if width == 0 { 0 } else { number & (u64::MAX >> (64 - 8 * width)) }
    }
}

#[cold]
fn long_lengths(bytes: &[u8]) -> Result<(usize, usize, &[u8]), DecodeError> {
    let (shared, bytes) = varint::decode_u32(bytes)?;
    let (rest_len, bytes) = varint::decode_u32(bytes)?;
    Ok((shared as usize, rest_len as usize, bytes))
}

/// The high bit of every byte in which the two words are equal.
#[inline]
const fn equal_bytes(a: u64, b: u64) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let difference = a ^ b;
    !(((difference & LOW) + LOW) | difference | LOW)
}

#[cfg(test)]
mod tests;
