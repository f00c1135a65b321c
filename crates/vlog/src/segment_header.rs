//! What a segment's header says beyond that of every file.
//!
//! ```text
//! details := content u32 | previous segment u32 | previous end u32 | 0 u32
//! content := 0 (records of commits) | 1 (records that were collected from other segments)
//! ```
//! A segment of commits names its predecessor within one run and how long that was when it was full; `0, 0` for the first
//! of a run. So the end of a full segment is known before it is sealed, without another write to it. A collected one has
//! no predecessor.

use std::path::Path;

use base::sync::Arc;
use base::{SegmentId, ValueLogHead};
use encryption::FileCipher;
use vfs::Vfs;

use crate::fields::Fields;
use crate::header::{CompanionId, FileHeader, FileKind, Store};
use crate::record::SEALS_LEN;
use crate::{Error, Result};

/// What the records of a segment are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Content {
    /// Records of commits, each at its own address: one that no log's entry names after a crash is dead.
    Commits = 0,
    /// What was left of other segments, each record behind its address.
    Collected = 1,
}

impl Content {
    pub(crate) fn from_u32(content: u32) -> Option<Self> {
        match content {
            0 => Some(Self::Commits),
            1 => Some(Self::Collected),
            _ => None,
        }
    }

    /// Bytes in front of each record, which tell its address.
    #[inline]
    pub(crate) fn origin_len(self) -> u32 {
        match self {
            Self::Commits => 0,
            Self::Collected => crate::record::ORIGIN_LEN as u32,
        }
    }
}

/// A segment's header.
#[derive(Clone, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) id: SegmentId,
    pub(crate) companion: CompanionId,
    /// What the records' checksums start from.
    pub(crate) checksum_start: u32,
    /// What the records are sealed with, if they are.
    pub(crate) cipher: Option<Arc<FileCipher>>,
    pub(crate) content: Content,
    /// Where the predecessor within the same run ended.
    pub(crate) previous: ValueLogHead,
}

impl SegmentHeader {
    /// Bytes that a record takes in this segment beside the length that its pointer has: its address in front, and its
    /// tags.
    #[inline]
    pub(crate) fn around_len(&self) -> u32 {
        let seals_len = if self.cipher.is_some() { SEALS_LEN as u32 } else { 0 };
        self.content.origin_len() + seals_len
    }

    /// A header with a fresh salt and companion id, and its bytes.
    pub(crate) fn create(
        vfs: &dyn Vfs,
        store: Store<'_>,
        id: SegmentId,
        content: Content,
        previous: ValueLogHead,
    ) -> Result<(Self, Vec<u8>)> {
        let (mut header, cipher) = FileHeader::salted(vfs, FileKind::Segment, store, u64::from(id.0), None)?;
        let fields = [content as u32, previous.segment.0, previous.offset, 0];
        for (to, from) in header.details.chunks_mut(4).zip(fields) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        let (companion, checksum_start) = (header.companion, header.checksum_start());
        let cipher = cipher.map(Arc::new);
        Ok((Self { id, companion, checksum_start, cipher, content, previous }, header.encode()))
    }

    pub(crate) fn decode(path: &Path, store: Store<'_>, id: SegmentId, bytes: &[u8]) -> Result<Self> {
        let header = FileHeader::decode(path, FileKind::Segment, store, bytes)?;
        header.expect(path, u64::from(id.0), None)?;
        let mut details = Fields::new(&header.details);
        let mut next = || details.u32().map_err(|error| Error::from(error.at(path, 88)));
        let [content, segment, offset, reserved] = [next()?, next()?, next()?, next()?];
        let known = Content::from_u32(content).filter(|_| reserved == 0);
        let content =
            known.ok_or_else(|| Error::incompatible(path, "segment content", Content::Collected as u32, content))?;
        Ok(Self {
            id,
            companion: header.companion,
            checksum_start: header.checksum_start(),
            cipher: header.cipher(path, store)?.map(Arc::new),
            content,
            previous: ValueLogHead { segment: SegmentId(segment), offset },
        })
    }
}
