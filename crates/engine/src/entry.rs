//! An entry as the caller writes it: key, value, time to live, user meta.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Slice;

/// A key with its value, and what a plain `insert` cannot say.
///
/// ```
/// use engine::Entry;
/// use std::time::Duration;
///
/// let session = Entry::new("session/42", "open").ttl(Duration::from_secs(3600)).user_meta(7);
/// assert_eq!(session.key(), b"session/42");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an entry does nothing until it is inserted"]
pub struct Entry {
    pub(crate) key: Slice,
    pub(crate) value: Slice,
    pub(crate) user_meta: u8,
    pub(crate) expiry: Expiry,
    pub(crate) discard_earlier: bool,
}

/// When an entry expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    Never,
    After(Duration),
    At(u64),
}

impl Expiry {
    /// Seconds since the Unix epoch, as stored (`0` is never), for an entry written at `now`.
    pub(crate) fn at(self, now: impl FnOnce() -> u64) -> u64 {
        match self {
            Self::Never => 0,
            Self::At(seconds) => seconds.max(1),
            Self::After(duration) => {
                let rounded_up = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
                now().saturating_add(rounded_up).max(1)
            }
        }
    }
}

impl Entry {
    /// An entry that never expires, with user meta 0.
    pub fn new(key: impl Into<Slice>, value: impl Into<Slice>) -> Self {
        Self { key: key.into(), value: value.into(), user_meta: 0, expiry: Expiry::Never, discard_earlier: false }
    }

    /// The entry counts as deleted once `duration` (rounded up to whole seconds) has passed since its write.
    pub fn ttl(mut self, duration: Duration) -> Self {
        self.expiry = Expiry::After(duration);
        self
    }

    /// The entry counts as deleted from `time` on (rounded down to whole seconds; a time at or before the Unix epoch is
    /// long past).
    pub fn expires_at(mut self, time: SystemTime) -> Self {
        self.expiry = Expiry::At(time.duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs()));
        self
    }

    /// A byte that the store keeps with the entry and gives back as it is.
    pub fn user_meta(mut self, user_meta: u8) -> Self {
        self.user_meta = user_meta;
        self
    }

    /// Says that nobody who sees this version wants the older ones of the key, however many versions are kept.
    pub fn discard_earlier_versions(mut self) -> Self {
        self.discard_earlier = true;
        self
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_second_counts_as_a_whole_one() {
        let entry = Entry::new("k", "v").ttl(Duration::from_millis(1));
        assert_eq!(entry.expiry.at(|| 100), 101);
    }

    #[test]
    fn no_expiry_is_stored_as_zero_and_an_ancient_one_is_not() {
        assert_eq!(Entry::new("k", "v").expiry.at(|| 100), 0);
        assert_eq!(Entry::new("k", "v").expires_at(UNIX_EPOCH).expiry.at(|| 100), 1);
    }
}
