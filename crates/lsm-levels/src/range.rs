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
