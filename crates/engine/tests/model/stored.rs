//! Which versions are stored: all that are to be kept, and none again that was dropped.

use std::collections::{BTreeMap, BTreeSet};

use base::Version;
use engine::{CommitInfo, Item};

use crate::reference::{Key, Model};

#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// The version that each step's commit took.
    versions: BTreeMap<u64, Version>,
    /// Those that were found missing.
    dropped: BTreeSet<(bool, Key, Version)>,
}

impl Stored {
    pub(crate) fn note_commit(&mut self, info: CommitInfo, step: u64) {
        self.versions.insert(step, info.version);
    }

    /// The versions of a key must be those of the model, newest first, each with its value. Missing may be what need not be
    /// kept, and then for good. What has expired may have become a tombstone.
    pub(crate) fn check_key(&mut self, items: Vec<Item>, model: &Model, second: bool, key: &Key) {
        assert!(items.is_sorted_by(|a, b| a.version() > b.version()), "{key:?}: newest first");
        let mut found: BTreeMap<Version, Item> = items.into_iter().map(|item| (item.version(), item)).collect();
        let Some(all) = model.keyspaces[usize::from(second)].get(key) else {
            return assert!(found.is_empty(), "{key:?} was never written: {found:?}");
        };
        let kept = model.kept(all);
        for (step, value) in all {
            let version = self.versions[step];
            let this = (second, key.clone(), version);
            let Some(item) = found.remove(&version) else {
                assert!(!kept.contains(step), "{key:?}: the version of step {step} is missing of {kept:?}");
                self.dropped.insert(this);
                continue;
            };
            assert!(!self.dropped.contains(&this), "{key:?}: the version of step {step} was dropped and has come back");
            let is_gone = value.is_none_or(|value| value.is_expired_at(model.now));
            assert_eq!(item.is_deleted_or_expired(), is_gone, "{key:?}: the version of step {step}");
            let bytes = item.value().unwrap();
            let may_be_tombstone = is_gone && bytes.is_empty();
            let is_its_own = value.is_some_and(|value| bytes == value.bytes());
            assert!(is_its_own || may_be_tombstone, "{key:?}: the value of step {step}");
        }
        assert!(found.is_empty(), "{key:?}: versions that were never written: {found:?}");
    }
}
