//! Which entries a compaction may drop. Pure: versions and meta of one user key in, verdicts out.
//!
//! Readers at or above the discard version must get the same answer before and after, so
//! 1. every entry above the discard version stays;
//! 2. of those at or below it, the newest stays, and older ones until the configured number of versions is reached, a
//!    tombstone is met, or an entry says that older ones are of no interest;
//! 3. an entry that has expired for every reader is a tombstone at its version, no less: what it hides must stay hidden;
//! 4. a tombstone may go only where nothing older of the key is left anywhere outside the job; that is for the caller
//!    to find out, who knows the other tables.

use std::num::NonZeroU32;

use base::{EntryKind, EntryMeta, Version};

/// What is to become of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It stays.
    Keep,
    /// It is a tombstone that hides nothing within the job; it goes where nothing outside is hidden by it either.
    Tombstone {
        /// It was a value whose time is over: if it stays, it stays as a tombstone.
        expired: bool,
    },
    /// A newer entry hides it from every reader.
    Shadowed,
}

/// Judges the entries of one user key after another, each from the newest to the oldest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    discard_version: Version,
    expiry_now: u64,
    versions_to_keep: NonZeroU32,
    kept: u32,
    shadowed: bool,
}

impl Retention {
    pub(crate) fn new(discard_version: Version, expiry_now: u64, versions_to_keep: NonZeroU32) -> Self {
        Self { discard_version, expiry_now, versions_to_keep, kept: 0, shadowed: false }
    }

    /// The entries that follow are of another user key.
    #[inline]
    pub(crate) fn start_key(&mut self) {
        self.kept = 0;
        self.shadowed = false;
    }

    #[inline]
    pub(crate) fn judge(&mut self, version: Version, meta: &EntryMeta) -> Verdict {
        if version > self.discard_version {
            return Verdict::Keep;
        }
        if self.shadowed {
            return Verdict::Shadowed;
        }
        if meta.is_deleted_at(self.expiry_now) {
            self.shadowed = true;
            return Verdict::Tombstone { expired: meta.kind != EntryKind::Delete };
        }
        self.kept += 1;
        self.shadowed = meta.discard_earlier || self.kept >= self.versions_to_keep.get();
        Verdict::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(keep: u32, discard: Version, entries: &[(Version, EntryMeta)]) -> Vec<Verdict> {
        let mut retention = Retention::new(discard, 100, NonZeroU32::new(keep).unwrap());
        retention.start_key();
        entries.iter().map(|(version, meta)| retention.judge(*version, meta)).collect()
    }

    fn expiring(expires_at: u64) -> EntryMeta {
        EntryMeta { expires_at, ..EntryMeta::put() }
    }

    #[test]
    fn above_the_discard_version_nothing_goes() {
        let entries = [(9, EntryMeta::put()), (8, EntryMeta::delete()), (7, expiring(1)), (6, EntryMeta::put())];
        assert_eq!(judge(1, 5, &entries), [Verdict::Keep; 4]);
    }

    #[test]
    fn the_newest_at_or_below_the_discard_version_stays() {
        let entries = [(9, EntryMeta::put()), (5, EntryMeta::put()), (4, EntryMeta::put()), (3, EntryMeta::delete())];
        assert_eq!(judge(1, 5, &entries), [Verdict::Keep, Verdict::Keep, Verdict::Shadowed, Verdict::Shadowed]);
    }

    #[test]
    fn as_many_versions_stay_as_are_asked_for() {
        let entries = [(5, EntryMeta::put()), (4, EntryMeta::put()), (3, EntryMeta::put())];
        assert_eq!(judge(2, 5, &entries), [Verdict::Keep, Verdict::Keep, Verdict::Shadowed]);
        assert_eq!(judge(u32::MAX, 5, &entries), [Verdict::Keep; 3]);
    }

    #[test]
    fn a_tombstone_ends_the_history_of_a_key() {
        let entries = [(5, EntryMeta::put()), (4, EntryMeta::delete()), (3, EntryMeta::put())];
        let tombstone = Verdict::Tombstone { expired: false };
        assert_eq!(judge(9, 5, &entries), [Verdict::Keep, tombstone, Verdict::Shadowed]);
    }

    #[test]
    fn an_expired_entry_is_a_tombstone_and_one_that_is_not_yet_expired_is_not() {
        assert_eq!(judge(1, 5, &[(5, expiring(100))]), [Verdict::Tombstone { expired: true }]);
        assert_eq!(judge(1, 5, &[(5, expiring(101))]), [Verdict::Keep]);
    }

    #[test]
    fn an_entry_may_say_that_older_ones_are_of_no_interest() {
        let discard = EntryMeta { discard_earlier: true, ..EntryMeta::put() };
        assert_eq!(judge(9, 5, &[(5, discard), (4, EntryMeta::put())]), [Verdict::Keep, Verdict::Shadowed]);
        assert_eq!(judge(9, 4, &[(5, discard), (4, EntryMeta::put())]), [Verdict::Keep; 2]);
    }
}
