//! One version of one key, as a read returns it.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::{EntryKind, EntryMeta, EntryRef, InternalKeyRef, PointerPayload, ValuePointer, Version};
use bytes::Bytes;
use vlog::ReadAhead;

use crate::super_version::PinnedSegments;
use crate::{Error, ErrorKind, Result, Slice};

/// One version of one key. It keeps what it needs alive: a value in the value log is read when it is asked for, even
/// after the iterator and the store's handles are gone.
#[derive(Clone)]
pub struct Item {
    /// The key, then the inline value.
    data: Bytes,
    key_len: usize,
    version: Version,
    meta: EntryMeta,
    /// Whether the reader's clock counted it as deleted.
    gone: bool,
    separated: Option<Separated>,
}

#[derive(Clone)]
struct Separated {
    payload: PointerPayload,
    segments: PinnedSegments,
    /// What the walk that the item comes from has read ahead, as long as it keeps that.
    ahead: Weak<ReadAhead>,
}

impl Item {
    /// Copies an entry out of the place where a cursor stands, for a reader whose clock shows `now`.
    pub(crate) fn copied(
        key: InternalKeyRef<'_>,
        entry: EntryRef<'_>,
        now: u64,
        segments: &PinnedSegments,
    ) -> Result<Self> {
        let is_pointer = entry.meta.kind == EntryKind::Pointer;
        let inline = if is_pointer { &[][..] } else { entry.payload };
        let mut data = Vec::with_capacity(key.user_key.len() + inline.len());
        data.extend_from_slice(key.user_key);
        data.extend_from_slice(inline);
        let separated = if is_pointer {
            let payload = PointerPayload::decode(entry.payload).map_err(bad_entry)?;
            Some(Separated { payload, segments: segments.clone(), ahead: Weak::new() })
        } else {
            None
        };
        let (version, meta, key_len) = (key.version, entry.meta, key.user_key.len());
        Ok(Self { data: data.into(), key_len, version, meta, gone: meta.is_deleted_at(now), separated })
    }

    /// The record of a value in the value log.
    pub(crate) fn pointer(&self) -> Option<ValuePointer> {
        self.separated.as_ref().map(|separated| separated.payload.pointer)
    }

    /// Where to look first for a value in the value log.
    pub(crate) fn set_ahead(&mut self, ahead: &Arc<ReadAhead>) {
        if let Some(separated) = &mut self.separated {
            separated.ahead = Arc::downgrade(ahead);
        }
    }

    /// A write that its own transaction reads before the commit.
    pub(crate) fn pending(key: &[u8], value: &[u8], meta: EntryMeta, version: Version) -> Self {
        let mut data = Vec::with_capacity(key.len() + value.len());
        data.extend_from_slice(key);
        data.extend_from_slice(value);
        Self { data: data.into(), key_len: key.len(), version, meta, gone: false, separated: None }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.data.get(..self.key_len).unwrap_or_default()
    }

    /// The key as shared bytes.
    #[must_use]
    pub fn key_slice(&self) -> Slice {
        Slice::from_bytes(self.data.slice(..self.key_len))
    }

    /// The value; one that is in the value log is read now.
    ///
    /// # Errors
    /// When the value log cannot be read at that place; never an empty value instead.
    pub fn value(&self) -> Result<Slice> {
        match &self.separated {
            None => Ok(Slice::from_bytes(self.data.slice(self.key_len..))),
            Some(separated) => separated.read(),
        }
    }

    /// Hands the value to `f` where it stands.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub fn value_with<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        match &self.separated {
            None => Ok(f(self.data.get(self.key_len..).unwrap_or_default())),
            Some(separated) => separated.read_with(f),
        }
    }

    /// Replaces what is in `buffer` by the value.
    ///
    /// # Errors
    /// As [`value`](Self::value); the buffer is then empty.
    pub fn read_value_into(&self, buffer: &mut Vec<u8>) -> Result<()> {
        buffer.clear();
        self.value_with(|value| buffer.extend_from_slice(value))
    }

    /// Length of the value in bytes, known without reading it.
    #[must_use]
    pub fn value_len(&self) -> u64 {
        match &self.separated {
            None => (self.data.len() - self.key_len) as u64,
            Some(separated) => separated.payload.value_len,
        }
    }

    /// The commit that wrote this version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The byte that the writer gave with the entry.
    #[must_use]
    pub fn user_meta(&self) -> u8 {
        self.meta.user_meta
    }

    /// When the entry expires, if ever.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        (self.meta.expires_at != 0).then(|| UNIX_EPOCH + Duration::from_secs(self.meta.expires_at))
    }

    /// Whether this version is a tombstone, or counted as one by the reader's clock. Only iteration over all versions
    /// shows such.
    #[must_use]
    pub fn is_deleted_or_expired(&self) -> bool {
        self.gone
    }

    /// Whether the writer said that older versions are of no interest.
    #[must_use]
    pub fn discards_earlier_versions(&self) -> bool {
        self.meta.discard_earlier
    }

    /// Whether the value is in the value log.
    #[must_use]
    pub fn is_separated(&self) -> bool {
        self.separated.is_some()
    }

    /// Key and value.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub fn into_pair(self) -> Result<(Slice, Slice)> {
        Ok((self.key_slice(), self.value()?))
    }
}

impl Separated {
    fn read(&self) -> Result<Slice> {
        self.segments.read(self.payload.pointer, self.ahead.upgrade().as_deref()).map(Slice::from_bytes)
    }

    fn read_with<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        self.segments.read_with(self.payload.pointer, self.ahead.upgrade().as_deref(), f)
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item")
            .field("key", &format_args!("\"{}\"", self.key().escape_ascii()))
            .field("version", &self.version)
            .field("value_len", &self.value_len())
            .finish_non_exhaustive()
    }
}

pub(crate) fn bad_entry(error: base::DecodeError) -> Error {
    Error::new(ErrorKind::Corruption, format!("an entry of the tree does not decode: {error}"))
}
