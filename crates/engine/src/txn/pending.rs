//! A write of a transaction that is not committed yet.

use base::EntryMeta;

use crate::Slice;
use crate::entry::Expiry;
use crate::read::Item;

/// What a transaction will do to a key.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) value: Slice,
    pub(crate) meta: EntryMeta,
    pub(crate) expiry: Expiry,
    /// The expiry as the transaction's own clock gives it; the commit takes it anew.
    pub(crate) expires_at: u64,
}

impl Pending {
    /// Whether the transaction's own reads see nothing here, by its clock.
    pub(crate) fn is_deleted_at(&self, now: u64) -> bool {
        EntryMeta { expires_at: self.expires_at, ..self.meta }.is_deleted_at(now)
    }

    pub(crate) fn value(&self) -> Slice {
        self.value.clone()
    }

    pub(crate) fn item(&self, key: &Slice, read_version: base::Version) -> Item {
        Item::pending(key, &self.value, EntryMeta { expires_at: self.expires_at, ..self.meta }, read_version)
    }
}
