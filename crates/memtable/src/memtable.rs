//! The memtable: a sorted list, the budget that guards its memory, and the finger that ordered inserts leave to each other.
//!
//! A write goes in two steps. First room is reserved, which either speaks for all of it or changes nothing; the caller
//! then makes its log record durable, knowing that the insert cannot fail for want of room. Then the entries are
//! inserted. A memtable that takes no more reservations may be flushed once [`Memtable::is_idle`] says so.
//!
//! Invariants
//! 1. The arena never holds more than its capacity: nodes are made within reservations only.
//! 2. Reads take no lock and write nothing shared.
//!
//! Called by the engine.

use std::fmt;

use base::limits::USER_KEY_LEN_MAX;
use base::sync::Arc;
use base::{ENTRY_META_LEN_MAX, InternalKeyRef, Version};

use crate::arena::{CAPACITY_MAX, node_bytes};
use crate::budget::Budget;
use crate::finger::SharedFinger;
use crate::list::List;
use crate::target::Target;
use crate::{MemtableCursor, Reservation};

/// A memtable. Clones are handles to the same one; it goes when the last handle, reservation and cursor does.
#[derive(Clone)]
pub struct Memtable {
    inner: Arc<Inner>,
}

/// What handles, reservations and cursors share.
pub(crate) struct Inner {
    pub(crate) list: List,
    pub(crate) budget: Budget,
    pub(crate) finger: SharedFinger,
    capacity_bytes: usize,
}

/// There is no room for a reservation. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("memtable full: {requested_bytes} bytes requested, {available_bytes} available")]
pub struct Full {
    /// What was asked for.
    pub requested_bytes: usize,
    /// What is neither used nor reserved.
    pub available_bytes: usize,
}

impl Memtable {
    /// Longest entry payload: an entry of 4 GiB and more fits no memtable.
    const PAYLOAD_LEN_MAX: usize = CAPACITY_MAX;

    /// An empty memtable for `capacity_bytes` of entries, reckoned by [`entry_bytes_max`](Self::entry_bytes_max); a larger
    /// capacity than 4 GiB less some bytes counts as that. The memory is zeroed and committed by the system as it is used.
    #[must_use]
    pub fn new(capacity_bytes: usize) -> Self {
        let capacity_bytes = capacity_bytes.min(CAPACITY_MAX);
        let inner = Inner {
            list: List::new(capacity_bytes),
            budget: Budget::new(capacity_bytes),
            finger: SharedFinger::new(),
            capacity_bytes,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Most bytes that an entry takes, given the length of its user key and of its payload. What it takes less is given
    /// back when its reservation ends.
    #[must_use]
    pub const fn entry_bytes_max(user_key_len: usize, payload_len: usize) -> usize {
        if user_key_len > USER_KEY_LEN_MAX || payload_len > Self::PAYLOAD_LEN_MAX {
            return usize::MAX;
        }
        node_bytes(user_key_len, ENTRY_META_LEN_MAX + payload_len)
    }

    /// Speaks for `bytes`, the sum of [`entry_bytes_max`](Self::entry_bytes_max) over the entries that shall go in. It counts
    /// as pending until it is dropped.
    ///
    /// # Errors
    /// [`Full`] where so much is not left; then nothing has changed.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, Full> {
        self.inner.budget.reserve(bytes)?;
        Ok(Reservation::new(Arc::clone(&self.inner), bytes))
    }

    /// Number of reservations that have not been dropped.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.inner.budget.pending()
    }

    /// Whether no reservation is alive. Whoever has seen to it that no new one begins, and then sees `true`, reads all that
    /// was ever inserted.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pending() == 0
    }

    /// The newest entry of `user_key` with a version at or below `read_version`, encoded ([`EntryRef`](base::EntryRef)).
    #[must_use]
    #[inline]
    pub fn get(&self, user_key: &[u8], read_version: Version) -> Option<(Version, &[u8])> {
        let list = &self.inner.list;
        let node = list.at_or_after(&Target::new(InternalKeyRef::new(user_key, read_version))).0?;
        (list.arena().user_key(node) == user_key).then(|| (list.arena().version(node), list.arena().entry(node)))
    }

    /// A cursor that keeps the memtable alive. It sees entries that come while it walks, where they lie ahead of it.
    #[must_use]
    pub fn cursor(&self) -> MemtableCursor {
        MemtableCursor::new(Arc::clone(&self.inner))
    }

    /// Number of entries, those of a running insert perhaps not yet counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.list.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.list.first().0.is_none()
    }

    /// Bytes that entries take: keys, links, padding and index. Exact; what is reserved but not inserted does not count. The
    /// index is charged as it grows: the inserts that fill the memtable may pass its capacity by some blocks of it.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.inner.list.used_bytes()
    }

    /// Most bytes that entries may take, and beyond which nothing can be reserved.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.inner.capacity_bytes
    }

    /// Bounds of the versions: no entry that a reader can find has a lower or a higher one. `None` while nothing was inserted.
    #[must_use]
    pub fn versions(&self) -> Option<(Version, Version)> {
        self.inner.list.versions()
    }
}

impl fmt::Debug for Memtable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memtable")
            .field("entries", &self.len())
            .field("used_bytes", &self.used_bytes())
            .field("capacity_bytes", &self.capacity_bytes())
            .field("pending", &self.pending())
            .field("versions", &self.versions())
            .finish()
    }
}
