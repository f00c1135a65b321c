//! Keyspaces: ordered maps with memtables and levels of their own, in one store.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base::{KeyspaceId, limits};

use crate::handle::Handle;
use crate::super_version::SuperVersion;
use crate::write::threshold::Threshold;
use crate::{Error, Options, Result};

/// The name of the keyspace that every store has.
pub(crate) const DEFAULT_NAME: &str = "default";

/// What the store keeps of a keyspace.
#[derive(Debug)]
pub(crate) struct KeyspaceState {
    pub(crate) id: KeyspaceId,
    pub(crate) name: String,
    options: ArcSwap<KeyspaceOptions>,
    /// From which length on its values go to the value log.
    pub(crate) threshold: Threshold,
    view: ArcSwap<SuperVersion>,
}

impl KeyspaceState {
    pub(crate) fn new(
        id: KeyspaceId,
        name: String,
        options: KeyspaceOptions,
        of_store: &Options,
        view: SuperVersion,
    ) -> Self {
        let floor = options.value_threshold.unwrap_or(of_store.value_threshold);
        let threshold = Threshold::new(floor, of_store.inline_limit(), of_store.value_log_percentile);
        let (options, view) = (ArcSwap::from_pointee(options), ArcSwap::from_pointee(view));
        Self { id, name, options, threshold, view }
    }

    pub(crate) fn options(&self) -> KeyspaceOptions {
        KeyspaceOptions::clone(&self.options.load())
    }

    pub(crate) fn set_options(&self, options: KeyspaceOptions) {
        if let Some(bytes) = options.value_threshold {
            self.threshold.set_floor(bytes);
        }
        self.options.store(Arc::new(options));
    }

    /// Pins the current view for the length of a short read: no lock, no shared counter.
    pub(crate) fn pin(&self) -> arc_swap::Guard<Arc<SuperVersion>> {
        self.view.load()
    }

    /// Pins the current view first, and then lets `look` say up to which version it is to be read: what the view no longer
    /// holds was dropped before, and so is not needed at any version that is visible by then.
    pub(crate) fn pin_then<T>(&self, look: impl FnOnce() -> T) -> (arc_swap::Guard<Arc<SuperVersion>>, T) {
        let view = self.pin();
        (view, look())
    }

    /// Pins the current view for as long as the caller likes.
    pub(crate) fn pin_owned(&self) -> Arc<SuperVersion> {
        self.view.load_full()
    }

    /// Replaces the view. Requires: the store's install lock.
    pub(crate) fn install(&self, view: SuperVersion) {
        self.view.store(Arc::new(view));
    }
}

/// Options of one keyspace, kept in the store.
///
/// | option | default |
/// |---|---|
/// | `value_threshold` | that of the store |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "options do nothing until a keyspace is opened with them"]
pub struct KeyspaceOptions {
    pub(crate) value_threshold: Option<u32>,
}

const TAG_VALUE_THRESHOLD: u64 = 1;

impl KeyspaceOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Values of this many bytes and more go to the value log, in place of the store's
    /// [`value_threshold`](crate::Options::value_threshold).
    pub fn value_threshold(mut self, bytes: u32) -> Self {
        self.value_threshold = Some(bytes);
        self
    }

    /// Stored options stand where `self` leaves them unset.
    pub(crate) fn over(&self, stored: &Self) -> Self {
        Self { value_threshold: self.value_threshold.or(stored.value_threshold) }
    }

    /// As stored in the manifest: pairs of tag and value, both varints.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(threshold) = self.value_threshold {
            base::varint::push(TAG_VALUE_THRESHOLD, &mut bytes);
            base::varint::push(u64::from(threshold), &mut bytes);
        }
        bytes
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> std::result::Result<Self, base::DecodeError> {
        let mut options = Self::default();
        while !bytes.is_empty() {
            let (tag, rest) = base::varint::decode(bytes)?;
            if tag != TAG_VALUE_THRESHOLD {
                return Err(base::DecodeError::new("unknown option of a keyspace"));
            }
            let (threshold, rest) = base::varint::decode_u32(rest)?;
            options.value_threshold = Some(threshold);
            bytes = rest;
        }
        Ok(options)
    }
}

/// A keyspace of a store: a cheap handle with the read and write verbs of [`Db`](crate::Db).
///
/// RocksDB calls this a column family: its own memtables and levels, with the write-ahead log, the value log and the
/// commit order shared, so that a batch over several keyspaces is one atomic record.
#[derive(Clone)]
#[doc(alias = "column family")]
pub struct Keyspace {
    pub(crate) handle: Arc<Handle>,
    pub(crate) state: Arc<KeyspaceState>,
}

impl Keyspace {
    /// The name under which it was made.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.state.name
    }

    pub(crate) fn id(&self) -> KeyspaceId {
        self.state.id
    }

    /// Whether it is a keyspace of another store than `handle`'s, or of the same one as opened another time.
    pub(crate) fn is_foreign_to(&self, handle: &Arc<Handle>) -> bool {
        !Arc::ptr_eq(&self.handle, handle)
    }
}

impl fmt::Debug for Keyspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyspace").field("name", &self.state.name).field("id", &self.state.id.0).finish()
    }
}

/// One line of [`Db::keyspaces`](crate::Db::keyspaces).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyspaceInfo {
    /// Its name.
    pub name: String,
    /// Its number, never used twice in a store.
    pub id: u32,
    /// Its options as stored.
    pub options: KeyspaceOptions,
}

/// What the verbs of a foreign keyspace answer.
pub(crate) fn foreign() -> Error {
    Error::invalid("the keyspace is one of another store")
}

/// The keyspace of an id among all, which are sorted by it.
pub(crate) fn find_keyspace(keyspaces: &[Arc<KeyspaceState>], id: KeyspaceId) -> Result<&Arc<KeyspaceState>> {
    let position = keyspaces.binary_search_by_key(&id, |keyspace| keyspace.id);
    let found = position.ok().and_then(|position| keyspaces.get(position));
    found.ok_or_else(|| Error::invalid(format!("keyspace {id} is not one of this store's")))
}

/// Refuses names that cannot be kept.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > limits::KEYSPACE_NAME_LEN_MAX {
        return Err(Error::invalid(format!(
            "the name of a keyspace has 1 to {} bytes, not {}",
            limits::KEYSPACE_NAME_LEN_MAX,
            name.len()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_back_and_unknown_ones_are_refused() {
        for options in [KeyspaceOptions::new(), KeyspaceOptions::new().value_threshold(70_000)] {
            assert_eq!(KeyspaceOptions::decode(&options.encode()), Ok(options));
        }
        assert!(KeyspaceOptions::decode(&[9, 1]).is_err());
    }

    #[test]
    fn stored_options_stand_where_none_are_given() {
        let stored = KeyspaceOptions::new().value_threshold(1);
        assert_eq!(KeyspaceOptions::new().over(&stored), stored);
        assert_eq!(KeyspaceOptions::new().value_threshold(2).over(&stored).value_threshold, Some(2));
    }
}
