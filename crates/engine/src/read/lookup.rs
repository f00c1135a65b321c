//! Point lookups.

use base::{EntryKind, EntryMeta, EntryRef, PointerPayload, Version};

use crate::keyspace::KeyspaceState;
use crate::read::item::bad_entry;
use crate::read::{Item, Reader};
use crate::store::Store;
use crate::super_version::{MemtableHandle, PinnedSegments, SuperVersion};
use crate::{Error, ErrorKind, Result, Slice};

impl Store {
    /// The value of a key as of now.
    pub(crate) fn get_now(&self, keyspace: &KeyspaceState, key: &[u8]) -> Result<Option<Slice>> {
        self.health.check_readable()?;
        let (view, read) = keyspace.pin_then(|| self.oracle.visible());
        value_in(&view, key, read, || self.clock.unix_seconds())
    }
}

impl Reader<'_> {
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Slice>> {
        self.check()?;
        if let Some(pending) = self.own_writes.and_then(|writes| writes.get(key)) {
            return Ok((!pending.is_deleted_at(self.mark.now_seconds())).then(|| pending.value()));
        }
        self.track(key);
        value_in(&self.keyspace.pin(), key, self.read_version(), || self.mark.now_seconds())
    }

    pub(crate) fn get_item(&self, key: &[u8]) -> Result<Option<Item>> {
        self.check()?;
        if let Some((key, pending)) = self.own_writes.and_then(|writes| writes.get_key_value(key)) {
            return Ok(
                (!pending.is_deleted_at(self.mark.now_seconds())).then(|| pending.item(key, self.read_version()))
            );
        }
        self.track(key);
        let view = self.pin();
        let item = view.get(key, self.read_version(), |version, encoded, memtable| {
            let entry = EntryRef::decode(encoded).map_err(bad_entry)?;
            if is_gone(&entry.meta, || self.mark.now_seconds())? {
                return Ok(None);
            }
            let segments = segments_of(&view, memtable);
            let key = base::InternalKeyRef::new(key, version);
            Item::copied(key, entry, self.mark.now_seconds(), &segments).map(Some)
        })?;
        Ok(item.flatten())
    }

    fn track(&self, key: &[u8]) {
        if let Some(tracked) = self.tracked {
            tracked.add_point(self.keyspace.id, key);
        }
    }
}

fn value_in(view: &SuperVersion, key: &[u8], read: Version, now: impl FnOnce() -> u64) -> Result<Option<Slice>> {
    let value = view.get(key, read, |_, encoded, memtable| {
        let entry = EntryRef::decode(encoded).map_err(bad_entry)?;
        if is_gone(&entry.meta, now)? {
            return Ok(None);
        }
        if entry.meta.kind == EntryKind::Put {
            return Ok(Some(Slice::copied(entry.payload)));
        }
        let payload = PointerPayload::decode(entry.payload).map_err(bad_entry)?;
        let value = match memtable {
            Some(memtable) => memtable.segments().read(payload.pointer)?,
            None => view.segments.read(payload.pointer)?,
        };
        Ok(Some(Slice::from_bytes(value)))
    })?;
    Ok(value.flatten())
}

/// Whether a reader sees nothing where this entry is the newest visible one.
pub(crate) fn is_gone(meta: &EntryMeta, now: impl FnOnce() -> u64) -> Result<bool> {
    match meta.kind {
        EntryKind::Delete => Ok(true),
        EntryKind::Put | EntryKind::Pointer => Ok(meta.expires_at != 0 && meta.is_expired_at(now())),
        EntryKind::Merge | EntryKind::RangeDelete => {
            Err(Error::new(ErrorKind::Incompatible, "the store holds entries that this program cannot read"))
        }
    }
}

fn segments_of(view: &SuperVersion, memtable: Option<&MemtableHandle>) -> PinnedSegments {
    PinnedSegments::only(memtable.map_or_else(|| view.segments.clone(), MemtableHandle::segments))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Read};

    /// Right after a reader has taken its version, what that needs is overwritten, flushed and dropped.
    #[test]
    fn what_a_pinned_view_holds_is_there_for_every_version_taken_after_it() {
        let db = Options::new().inline_background().open_in_memory().unwrap();
        db.insert("key", "old").unwrap();
        let (view, read) = db.handle.default_keyspace.pin_then(|| {
            let read = db.handle.oracle.visible();
            db.insert("key", "new").unwrap();
            db.flush().unwrap();
            db.compact(.., crate::CompactOptions::new()).unwrap();
            assert_eq!(db.versions("key").count(), 1, "the old version was not dropped");
            read
        });
        assert_eq!(value_in(&view, b"key", read, || 0).unwrap().unwrap(), "old");
    }

    /// A reader pins its view, the value log rolls, a value of the new segment goes into the memtable that the reader has
    /// pinned and becomes visible, and only then the reader takes its version: it finds a pointer that its view's own
    /// segments know nothing of.
    #[test]
    fn a_pointer_in_a_pinned_memtable_is_found_though_its_segment_came_later() {
        let db = Options::new().value_log_max_entries(1).value_threshold(1).open_in_memory().unwrap();
        db.insert("before", "value").unwrap();
        let view = db.handle.default_keyspace.pin_owned();
        db.insert("after", "value").unwrap();
        let segment = view.get(b"after", Version::MAX, |_, encoded, _| {
            let entry = EntryRef::decode(encoded).map_err(bad_entry)?;
            Ok(PointerPayload::decode(entry.payload).map_err(bad_entry)?.pointer.segment)
        });
        let segment = segment.unwrap().unwrap();
        assert!(view.segments.segment(segment).is_none(), "the segment came after the view");
        assert_eq!(value_in(&view, b"after", db.handle.oracle.visible(), || 0).unwrap().unwrap(), "value");
    }
}
