//! Ranges of user keys, with which cursors and jobs are kept off tables that they do not need.

use std::ops::Bound;

/// A range of user keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRange<'a> {
    /// Where it starts.
    pub lower: Bound<&'a [u8]>,
    /// Where it ends.
    pub upper: Bound<&'a [u8]>,
}

impl<'a> KeyRange<'a> {
    /// Every key.
    pub const ALL: KeyRange<'static> = KeyRange { lower: Bound::Unbounded, upper: Bound::Unbounded };

    /// From `lower` to `upper`.
    #[must_use]
    pub const fn new(lower: Bound<&'a [u8]>, upper: Bound<&'a [u8]>) -> Self {
        Self { lower, upper }
    }

    /// Both ends included.
    #[must_use]
    pub const fn closed(first: &'a [u8], last: &'a [u8]) -> Self {
        Self { lower: Bound::Included(first), upper: Bound::Included(last) }
    }

    /// Whether all of the range lies before `user_key`.
    #[must_use]
    pub fn ends_before(&self, user_key: &[u8]) -> bool {
        match self.upper {
            Bound::Included(upper) => upper < user_key,
            Bound::Excluded(upper) => upper <= user_key,
            Bound::Unbounded => false,
        }
    }

    /// Whether all of the range lies behind `user_key`.
    #[must_use]
    pub fn starts_after(&self, user_key: &[u8]) -> bool {
        match self.lower {
            Bound::Included(lower) => lower > user_key,
            Bound::Excluded(lower) => lower >= user_key,
            Bound::Unbounded => false,
        }
    }

    /// Whether the range and the closed range from `first` to `last` may share a key.
    #[must_use]
    pub fn overlaps(&self, first: &[u8], last: &[u8]) -> bool {
        !self.ends_before(first) && !self.starts_after(last)
    }
}

/// The smallest key that is behind every key that starts with `prefix`; `None` where there is none.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix.get(..=keep)?.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;

    use super::*;

    #[test]
    fn a_range_overlaps_what_shares_a_key_with_it() {
        let range = KeyRange::new(Bound::Included(b"c"), Bound::Excluded(b"f"));
        let overlaps = |first: &str, last: &str| range.overlaps(first.as_bytes(), last.as_bytes());
        assert!(overlaps("a", "c") && overlaps("e", "z") && overlaps("d", "d") && overlaps("a", "z"));
        assert!(!overlaps("a", "b") && !overlaps("f", "z"));
        let open = KeyRange::new(Bound::Excluded(b"c"), Bound::Included(b"f"));
        assert!(!open.overlaps(b"a", b"c") && open.overlaps(b"f", b"f"));
        assert!(KeyRange::ALL.overlaps(b"", b""));
    }

    #[test]
    fn a_prefix_ends_before_the_next_key_that_does_not_have_it() {
        assert_eq!(prefix_end(b"ab").as_deref(), Some(b"ac".as_slice()));
        assert_eq!(prefix_end(b"a\xff\xff").as_deref(), Some(b"b".as_slice()));
        assert_eq!(prefix_end(b"\xff\xff"), None);
        assert_eq!(prefix_end(b""), None);
    }
}
