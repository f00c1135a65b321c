//! What a transaction read: keys and ranges, of any number of keyspaces.
//!
//! Invariants
//! 1. Sealed points ascend by (keyspace, key), each once; sealed ranges ascend by (keyspace, start) and do not overlap or
//!    touch. Checking one write against them is a binary search.
//! 2. Memory follows the number of distinct reads: a set that has doubled since its last pass drops what it holds twice.
//!
//! Built by the transaction's own thread while it reads, sealed by it before it commits.

use std::cmp::Ordering;
use std::ops::Bound;

use base::{KeyspaceId, fingerprint};

/// Reads below which a set does not look for duplicates.
const TIDY_MIN: usize = 64;

/// A range of keys, half open: from `start` up to, but without, `end`. No end means to the last key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRange<'a> {
    /// The keyspace of the keys.
    pub keyspace: KeyspaceId,
    /// The first key.
    pub start: &'a [u8],
    /// The first key behind the range.
    pub end: Option<&'a [u8]>,
}

impl KeyRange<'_> {
    /// Whether a key of the same keyspace is in the range.
    #[must_use]
    #[inline]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start <= key && self.end.is_none_or(|end| key < end)
    }

    /// Whether no key can be in the range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.is_some_and(|end| end <= self.start)
    }
}

/// A key that was read, found or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointRead<'a> {
    /// The key's keyspace.
    pub keyspace: KeyspaceId,
    /// Its [`fingerprint`].
    pub fingerprint: u64,
    /// The key.
    pub key: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
struct Point {
    keyspace: KeyspaceId,
    fingerprint: u64,
    offset: usize,
    len: usize,
}

#[derive(Clone, Debug)]
struct Range {
    keyspace: KeyspaceId,
    start: Vec<u8>,
    end: Option<Vec<u8>>,
}

impl Range {
    fn as_ref(&self) -> KeyRange<'_> {
        KeyRange { keyspace: self.keyspace, start: &self.start, end: self.end.as_deref() }
    }
}

/// The reads of a transaction that is still open.
#[derive(Debug, Default)]
pub struct ReadSet {
    points: Vec<Point>,
    point_bytes: Vec<u8>,
    ranges: Vec<Range>,
    range_bytes: usize,
    tidy_points_at: usize,
    tidy_ranges_at: usize,
}

impl ReadSet {
    /// No reads.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key that was looked up.
    pub fn add_point(&mut self, keyspace: KeyspaceId, key: &[u8]) {
        let fingerprint = fingerprint(keyspace, key);
        if let Some(last) = self.points.last()
            && last.fingerprint == fingerprint
            && last.keyspace == keyspace
            && key_of(&self.point_bytes, last) == key
        {
            return;
        }
        let offset = self.point_bytes.len();
        self.point_bytes.extend_from_slice(key);
        self.points.push(Point { keyspace, fingerprint, offset, len: key.len() });
        if self.points.len() >= self.tidy_points_at.max(TIDY_MIN) {
            self.tidy_points();
            self.tidy_points_at = self.points.len() * 2;
        }
    }

    /// Adds a range that was walked: every key within the bounds counts as read, there or not. An iterator that was not
    /// walked to its end adds only what it passed.
    pub fn add_range(&mut self, keyspace: KeyspaceId, lower: Bound<&[u8]>, upper: Bound<&[u8]>) {
        let start = match lower {
            Bound::Unbounded => Vec::new(),
            Bound::Included(key) => key.to_vec(),
            Bound::Excluded(key) => successor(key),
        };
        let end = match upper {
            Bound::Unbounded => None,
            Bound::Included(key) => Some(successor(key)),
            Bound::Excluded(key) => Some(key.to_vec()),
        };
        let range = Range { keyspace, start, end };
        if range.as_ref().is_empty() {
            return;
        }
        self.range_bytes += range_len(&range);
        self.ranges.push(range);
        if self.ranges.len() >= self.tidy_ranges_at.max(TIDY_MIN) {
            self.tidy_ranges();
            self.tidy_ranges_at = self.ranges.len() * 2;
        }
    }

    /// Whether nothing was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty() && self.ranges.is_empty()
    }

    /// Memory that the reads take, about, in bytes; for the caller's bound on the size of a transaction.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.point_bytes.len()
            + self.points.len() * size_of::<Point>()
            + self.range_bytes
            + self.ranges.len() * size_of::<Range>()
    }

    /// Orders the reads, so that commits can be checked against them.
    #[must_use]
    pub fn seal(mut self) -> SealedReads {
        self.tidy_points();
        self.tidy_ranges();
        SealedReads { points: self.points, point_bytes: self.point_bytes, ranges: self.ranges }
    }

    fn tidy_points(&mut self) {
        let bytes = &self.point_bytes;
        self.points.sort_unstable_by(|a, b| (a.keyspace, key_of(bytes, a)).cmp(&(b.keyspace, key_of(bytes, b))));
        let before = self.points.len();
        self.points.dedup_by(|a, b| a.keyspace == b.keyspace && key_of(bytes, a) == key_of(bytes, b));
        if self.points.len() < before {
            let mut kept = Vec::with_capacity(self.points.iter().map(|point| point.len).sum());
            for point in &mut self.points {
                let offset = kept.len();
                kept.extend_from_slice(key_of(bytes, point));
                point.offset = offset;
            }
            self.point_bytes = kept;
        }
    }

    fn tidy_ranges(&mut self) {
        self.ranges.sort_unstable_by(|a, b| (a.keyspace, &a.start).cmp(&(b.keyspace, &b.start)));
        self.ranges.dedup_by(|next, kept| {
            let touches = kept.keyspace == next.keyspace && kept.end.as_ref().is_none_or(|end| next.start <= *end);
            if touches && reaches_further(next.end.as_ref(), kept.end.as_ref()) {
                kept.end = next.end.take();
            }
            touches
        });
        self.range_bytes = self.ranges.iter().map(range_len).sum();
    }
}

/// The reads of a transaction that is about to commit. Keeps its order through any number of tries.
#[derive(Debug, Default)]
pub struct SealedReads {
    points: Vec<Point>,
    point_bytes: Vec<u8>,
    ranges: Vec<Range>,
}

impl SealedReads {
    /// Whether nothing was read.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty() && self.ranges.is_empty()
    }

    /// The keys that were looked up, in order, each once.
    pub fn points(&self) -> impl ExactSizeIterator<Item = PointRead<'_>> {
        self.points.iter().map(|point| PointRead {
            keyspace: point.keyspace,
            fingerprint: point.fingerprint,
            key: key_of(&self.point_bytes, point),
        })
    }

    /// The ranges that were walked, in order, without overlap.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = KeyRange<'_>> {
        self.ranges.iter().map(Range::as_ref)
    }

    /// What a write of `key` changes among the reads.
    pub(crate) fn hit_by_key(&self, keyspace: KeyspaceId, key: &[u8]) -> Option<ReadKind> {
        let place = |point: &Point| (point.keyspace, key_of(&self.point_bytes, point)).cmp(&(keyspace, key));
        if self.points.binary_search_by(place).is_ok() {
            return Some(ReadKind::Point);
        }
        let behind = self.ranges.partition_point(|range| (range.keyspace, range.start.as_slice()) <= (keyspace, key));
        let range = behind.checked_sub(1).and_then(|at| self.ranges.get(at))?;
        (range.keyspace == keyspace && range.as_ref().contains(key)).then_some(ReadKind::Range)
    }

    /// What a deletion of `range` changes among the reads.
    pub(crate) fn hit_by_range(&self, range: KeyRange<'_>) -> Option<ReadKind> {
        if range.is_empty() {
            return None;
        }
        let first = self.points.partition_point(|point| {
            (point.keyspace, key_of(&self.point_bytes, point)).cmp(&(range.keyspace, range.start)) == Ordering::Less
        });
        if let Some(point) = self.points.get(first)
            && point.keyspace == range.keyspace
            && range.contains(key_of(&self.point_bytes, point))
        {
            return Some(ReadKind::Point);
        }
        // Ranges do not overlap: the last one that starts before the deletion's end reaches furthest.
        let behind = self.ranges.partition_point(|read| match range.end {
            Some(end) => (read.keyspace, read.start.as_slice()) < (range.keyspace, end),
            None => read.keyspace <= range.keyspace,
        });
        let read = behind.checked_sub(1).and_then(|at| self.ranges.get(at))?;
        let overlaps = read.keyspace == range.keyspace && read.end.as_ref().is_none_or(|end| *range.start < **end);
        overlaps.then_some(ReadKind::Range)
    }
}

/// How a transaction read what another commit then wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadKind {
    /// It looked the key up.
    Point,
    /// It walked a range that holds the key.
    Range,
}

fn key_of<'a>(bytes: &'a [u8], point: &Point) -> &'a [u8] {
    bytes.get(point.offset..point.offset + point.len).unwrap_or_default()
}

fn range_len(range: &Range) -> usize {
    range.start.len() + range.end.as_ref().map_or(0, Vec::len)
}

/// The first key behind `key`.
fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

fn reaches_further(end: Option<&Vec<u8>>, than: Option<&Vec<u8>>) -> bool {
    match (end, than) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(end), Some(than)) => end > than,
    }
}
