//! What a segment's header says beyond that of every file.
//!
//! ```text
//! details := content u32 = 0 (records of commits) | previous segment u32 | previous end u32 | 0 u32
//! ```
//! A segment names its predecessor within one run and how long that was when it was full; `0, 0` for the first of a run.
//! So the end of a full segment is known before it is sealed, without another write to it.

use std::path::Path;

use base::{SegmentId, StoreId, ValueLogHead};
use vfs::Vfs;

use crate::fields::Fields;
use crate::header::{CompanionId, FileHeader, FileKind};
use crate::{Error, Result};

/// Records of commits: one that no log's entry names after a crash is dead. Segments of other content are not judged so.
const CONTENT_COMMITS: u32 = 0;

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) id: SegmentId,
    pub(crate) companion: CompanionId,
    /// What the records' checksums start from.
    pub(crate) checksum_start: u32,
    /// Where the predecessor within the same run ended.
    pub(crate) previous: ValueLogHead,
}

impl SegmentHeader {
    /// A header with a fresh salt and companion id, and its bytes.
    pub(crate) fn create(
        vfs: &dyn Vfs,
        store: StoreId,
        id: SegmentId,
        previous: ValueLogHead,
    ) -> Result<(Self, Vec<u8>)> {
        let mut header = FileHeader::salted(vfs, FileKind::Segment, store, u64::from(id.0))?;
        vfs.fill_random(&mut header.companion.0)?;
        let fields = [CONTENT_COMMITS, previous.segment.0, previous.offset, 0];
        for (to, from) in header.details.chunks_mut(4).zip(fields) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        let (companion, checksum_start) = (header.companion, header.checksum_start());
        Ok((Self { id, companion, checksum_start, previous }, header.encode()))
    }

    pub(crate) fn decode(path: &Path, store: StoreId, id: SegmentId, bytes: &[u8]) -> Result<Self> {
        let header = FileHeader::decode(path, FileKind::Segment, store, bytes)?;
        header.expect(path, u64::from(id.0), None)?;
        let mut details = Fields::new(&header.details);
        let mut next = || details.u32().map_err(|error| Error::from(error.at(path, 88)));
        let [content, segment, offset, reserved] = [next()?, next()?, next()?, next()?];
        if content != CONTENT_COMMITS || reserved != 0 {
            return Err(Error::incompatible(path, "segment content", CONTENT_COMMITS, content));
        }
        Ok(Self {
            id,
            companion: header.companion,
            checksum_start: header.checksum_start(),
            previous: ValueLogHead { segment: SegmentId(segment), offset },
        })
    }
}
