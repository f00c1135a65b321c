//! The segments of a value log at one moment.
//!
//! A set never changes; every roll, every seal and every collection makes a new one. Holding a set keeps all its segments readable, so a
//! pointer that was found under it can be resolved for as long as it is held.

use std::path::PathBuf;

use base::sync::Arc;
use base::{InternalKeyRef, SegmentId, ValuePointer};
use bytes::Bytes;

use crate::file_name::segment_path;
use crate::segment::{Segment, ValueRecord};
use crate::{Error, Result};

/// The segments of a value log at one moment.
#[derive(Clone, Debug)]
pub struct SegmentSet {
    dir: PathBuf,
    /// Rises with every change.
    generation: u64,
    /// Ascending by id.
    segments: Vec<Arc<Segment>>,
    /// The segment that holds the records of an address, by the segment that the address names, ascending.
    places: Vec<(SegmentId, Arc<Segment>)>,
}

impl SegmentSet {
    pub(crate) fn new(dir: PathBuf, mut segments: Vec<Arc<Segment>>) -> Self {
        segments.sort_by_key(|segment| segment.id());
        let mut places = Vec::with_capacity(segments.len());
        for segment in &segments {
            places.extend(segment.addresses().iter().map(|address| (*address, Arc::clone(segment))));
        }
        places.sort_by_key(|(address, _)| *address);
        Self { dir, generation: 0, segments, places }
    }

    /// This set without `removed`, and with a segment added, or put in the place of the one with its id.
    pub(crate) fn with(&self, removed: &[SegmentId], added: Option<Arc<Segment>>) -> Self {
        let stays = |segment: &Arc<Segment>| {
            !removed.contains(&segment.id()) && added.as_ref().is_none_or(|added| added.id() != segment.id())
        };
        let kept = self.segments.iter().filter(|segment| stays(segment)).cloned();
        let segments = kept.chain(added.clone()).collect();
        Self { generation: self.generation + 1, ..Self::new(self.dir.clone(), segments) }
    }

    /// Whether this set came after `other` of the same log.
    #[must_use]
    pub fn is_newer_than(&self, other: &Self) -> bool {
        self.generation > other.generation
    }

    /// The segments, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Segment>> {
        self.segments.iter()
    }

    /// How many segments there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Whether there is no segment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The segment with an id.
    #[must_use]
    pub fn segment(&self, id: SegmentId) -> Option<&Arc<Segment>> {
        let at = self.segments.binary_search_by_key(&id, |segment| segment.id()).ok()?;
        self.segments.get(at)
    }

    /// The segment that holds the records whose addresses name `address`: that one, or where it was collected to.
    #[must_use]
    #[inline]
    pub fn holder(&self, address: SegmentId) -> Option<&Arc<Segment>> {
        let at = self.places.binary_search_by_key(&address, |(address, _)| *address).ok()?;
        self.places.get(at).map(|(_, segment)| segment)
    }

    /// The value behind a pointer, verified unless [`Options::verify`](crate::Options::verify) is off. From a mapped
    /// segment it is a slice of the mapping, which it keeps alive; otherwise it is a copy.
    ///
    /// # Errors
    /// [`Error::Corruption`], naming segment file and offset, where no such record stands there or it is damaged;
    /// [`Error::Vfs`] where the system cannot read.
    pub fn read(&self, pointer: ValuePointer) -> Result<Bytes> {
        self.find(pointer)?.read(pointer)
    }

    /// As [`read`](Self::read), always verified, and only if the record is that of this owner and internal key: the
    /// check of a pointer from a log whose tail cannot be trusted.
    ///
    /// # Errors
    /// As [`read`](Self::read), and [`Error::Corruption`] where the record is another one.
    pub fn read_checked(&self, pointer: ValuePointer, owner: u32, key: InternalKeyRef<'_>) -> Result<Bytes> {
        self.find(pointer)?.read_checked(pointer, owner, key)
    }

    /// The whole record behind a pointer.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_record(&self, pointer: ValuePointer) -> Result<ValueRecord> {
        self.find(pointer)?.read_record(pointer)
    }

    #[inline]
    fn find(&self, pointer: ValuePointer) -> Result<&Arc<Segment>> {
        self.holder(pointer.segment).ok_or_else(|| {
            let path = segment_path(&self.dir, pointer.segment);
            Error::corruption(&path, u64::from(pointer.offset), "no such segment")
        })
    }
}
