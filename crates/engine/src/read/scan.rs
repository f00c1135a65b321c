//! What part of a keyspace is walked, and how.

use std::ops::{Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use base::Version;

/// A range of keys: `..`, `a..b`, `a..=b`, `a..`, `..b`, or a pair of bounds, over anything that is bytes.
pub trait KeyRange {
    /// Where the range begins and ends.
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>);
}

impl KeyRange for RangeFull {
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (Bound::Unbounded, Bound::Unbounded)
    }
}

macro_rules! key_range {
    ($($range:ident),*) => {
        $(
            impl<K: AsRef<[u8]>> KeyRange for $range<K> {
                fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
                    (bytes_of(RangeBounds::start_bound(self)), bytes_of(RangeBounds::end_bound(self)))
                }
            }
        )*
    };
}

key_range!(Range, RangeFrom, RangeInclusive, RangeTo, RangeToInclusive);

impl<L: AsRef<[u8]>, U: AsRef<[u8]>> KeyRange for (Bound<L>, Bound<U>) {
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (bytes_of(self.0.as_ref()), bytes_of(self.1.as_ref()))
    }
}

fn bytes_of<K: AsRef<[u8]>>(bound: Bound<&K>) -> Bound<&[u8]> {
    bound.map(AsRef::as_ref)
}

/// Bounds of user keys: `lower` included, `upper` excluded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) lower: Vec<u8>,
    /// `None` is behind every key.
    pub(crate) upper: Option<Vec<u8>>,
}

impl Bounds {
    pub(crate) fn of_range(range: &impl KeyRange) -> Self {
        let (start, end) = range.bounds();
        let lower = match start {
            Bound::Unbounded => Vec::new(),
            Bound::Included(key) => key.to_vec(),
            Bound::Excluded(key) => just_behind(key),
        };
        let upper = match end {
            Bound::Unbounded => None,
            Bound::Included(key) => Some(just_behind(key)),
            Bound::Excluded(key) => Some(key.to_vec()),
        };
        Self { lower, upper }
    }

    /// From one key to another, both included.
    pub(crate) fn between(first: &[u8], last: &[u8]) -> Self {
        Self { lower: first.to_vec(), upper: Some(just_behind(last)) }
    }

    pub(crate) fn of_prefix(prefix: &[u8]) -> Self {
        Self { lower: prefix.to_vec(), upper: lsm_levels::prefix_end(prefix) }
    }

    pub(crate) fn of_key(key: &[u8]) -> Self {
        Self { lower: key.to_vec(), upper: Some(just_behind(key)) }
    }

    /// What lies in both.
    pub(crate) fn intersect(self, other: Self) -> Self {
        let lower = self.lower.max(other.lower);
        let upper = match (self.upper, other.upper) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self { lower, upper }
    }

    /// The same bounds as the levels take them.
    pub(crate) fn as_range(&self) -> lsm_levels::KeyRange<'_> {
        let upper = self.upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        lsm_levels::KeyRange::new(Bound::Included(&self.lower), upper)
    }

    pub(crate) fn is_below_upper(&self, user_key: &[u8]) -> bool {
        self.upper.as_deref().is_none_or(|upper| user_key < upper)
    }

    pub(crate) fn contains(&self, user_key: &[u8]) -> bool {
        user_key >= &self.lower[..] && self.is_below_upper(user_key)
    }
}

fn just_behind(key: &[u8]) -> Vec<u8> {
    let mut behind = Vec::with_capacity(key.len() + 1);
    behind.extend_from_slice(key);
    behind.push(0);
    behind
}

/// How to walk a keyspace.
///
/// ```
/// use engine::{Options, Read, ScanOptions};
///
/// let db = Options::new().open_in_memory()?;
/// db.insert("a/1", "x")?;
/// db.insert("b/1", "y")?;
/// let keys: Vec<_> = db.scan(ScanOptions::new().prefix("a/")).map(|item| item.unwrap().key_slice()).collect();
/// assert_eq!(keys, ["a/1"]);
/// # Ok::<(), engine::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until a scan is started with them"]
pub struct ScanOptions {
    pub(crate) bounds: Bounds,
    pub(crate) reverse: bool,
    pub(crate) all_versions: bool,
    pub(crate) since: Version,
    pub(crate) no_fill_cache: bool,
    pub(crate) no_read_ahead: bool,
    pub(crate) limit: Option<usize>,
    pub(crate) prefetch_values: Option<usize>,
    pub(crate) prefetch_bytes: Option<u64>,
}

impl ScanOptions {
    /// All keys, forward, newest versions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only keys in `range` (and in what was set before).
    pub fn range(mut self, range: impl KeyRange) -> Self {
        self.bounds = self.bounds.intersect(Bounds::of_range(&range));
        self
    }

    /// Only keys that start with `prefix` (and are in what was set before).
    pub fn prefix(mut self, prefix: impl AsRef<[u8]>) -> Self {
        self.bounds = self.bounds.intersect(Bounds::of_prefix(prefix.as_ref()));
        self
    }

    /// From the last key to the first.
    pub fn reverse(mut self, reverse: bool) -> Self {
        self.reverse = reverse;
        self
    }

    /// Every version that is still stored, newest first, tombstones included (oldest first in reverse).
    pub fn all_versions(mut self, all_versions: bool) -> Self {
        self.all_versions = all_versions;
        self
    }

    /// Only versions of this commit and later ones.
    pub fn since(mut self, version: Version) -> Self {
        self.since = version;
        self
    }

    /// Whether decompressed blocks are kept for others (default: true).
    pub fn fill_cache(mut self, fill_cache: bool) -> Self {
        self.no_fill_cache = !fill_cache;
        self
    }

    /// Whether blocks ahead of a sequential reader are fetched early (default: true).
    pub fn read_ahead(mut self, read_ahead: bool) -> Self {
        self.no_read_ahead = !read_ahead;
        self
    }

    /// Most items that a scan steps ahead to fetch their values together (default: 32; 0 and 1 turn it off).
    ///
    /// A scan begins with that once a value in the value log was asked for, with few items, and never over all versions:
    /// one that asks for keys and lengths alone reads no value. What could not be fetched is read, and fails, when it is
    /// asked for. Badger: `PrefetchSize`.
    pub fn prefetch_values(mut self, items: usize) -> Self {
        self.prefetch_values = Some(items);
        self
    }

    /// Most bytes of keys and values that a scan steps ahead by, and so most that it keeps in memory where values are
    /// copied ([`IoMode::Pread`](crate::IoMode::Pread)), but for up to 4 KiB a value (default: 1 MiB). An item that is
    /// kept when the scan is beyond it reads its value anew.
    pub fn prefetch_bytes(mut self, bytes: u64) -> Self {
        self.prefetch_bytes = Some(bytes);
        self
    }

    /// At most this many items.
    pub fn limit(mut self, items: usize) -> Self {
        self.limit = Some(items);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_become_half_open_bounds() {
        let bounds =
            |lower: &[u8], upper: Option<&[u8]>| Bounds { lower: lower.to_vec(), upper: upper.map(<[u8]>::to_vec) };
        assert_eq!(Bounds::of_range(&..), bounds(b"", None));
        assert_eq!(Bounds::of_range(&("a".."b")), bounds(b"a", Some(b"b")));
        assert_eq!(Bounds::of_range(&("a"..="b")), bounds(b"a", Some(b"b\0")));
        assert_eq!(Bounds::of_range(&(Bound::Excluded("a"), Bound::<&str>::Unbounded)), bounds(b"a\0", None));
        assert_eq!(Bounds::of_prefix(b"a\xff"), bounds(b"a\xff", Some(b"b")));
        assert_eq!(Bounds::of_prefix(b"\xff\xff"), bounds(b"\xff\xff", None));
    }
}
