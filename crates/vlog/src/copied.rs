//! A folder that was copied file by file while a log was appended to.
//!
//! Names are listed before files are copied. So all segments up to the newest one listed are there, whole but for that
//! one, of which any part may be missing; while the manifest, copied at any time, may say that it was sealed later, at its
//! full length, and others after it, of which there is no file. Space that was allocated ahead may stand behind the records.
//!
//! A log in use is never left so, not by a crash: a sealed segment is cut, and its hint file made durable, before the manifest
//! lists it. A segment that is short *and* has its hint file, or one that is missing while later ones are there, is damage.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base::SegmentId;
use base::sync::Arc;
use vfs::{ReadFile, Vfs};

use crate::file_name::{FileName, segment_path};
use crate::manifest::{Manifest, SealedSegment};
use crate::segment_header::Content;
use crate::{Result, Segment, TornTail};

/// Segments that a manifest lists, and that were not sealed yet when their files were copied, with their ends.
#[derive(Debug, Default)]
pub(crate) struct SealedLater(Vec<(SegmentId, u64)>);

impl SealedLater {
    /// Takes them off the manifest: the newest one that has a file is one to be recovered then, those behind it were never
    /// here.
    pub(crate) fn take(
        vfs: &dyn Vfs,
        dir: &Path,
        files: &[(FileName, PathBuf)],
        manifest: &mut Manifest,
    ) -> Result<Self> {
        let Some(newest) = newest_of_commits(files, manifest) else { return Ok(Self::default()) };
        let later: Vec<(SegmentId, u64)> = manifest.segments.range(newest..).filter_map(of_commits).collect();
        let [(first, end), behind @ ..] = &later[..] else { return Ok(Self::default()) };
        let companions: BTreeSet<SegmentId> = files.iter().filter_map(|(name, _)| companion(*name)).collect();
        // What was collected from them is not of this moment.
        let collected = manifest.segments.values().filter_map(|sealed| sealed.origins.as_ref());
        let is_merged = collected.flatten().any(|origin| *origin >= newest);
        let is_marked = manifest.deaths_before.segment > newest;
        if *first != newest || is_merged || is_marked || later.iter().any(|(id, _)| companions.contains(id)) {
            return Ok(Self::default());
        }
        let is_whole = vfs::data_end(&*vfs.open_read(&segment_path(dir, newest))?, 0)? >= *end;
        if is_whole && behind.is_empty() {
            return Ok(Self::default());
        }
        later.iter().for_each(|(id, _)| drop(manifest.segments.remove(id)));
        manifest.open_from = newest;
        Ok(Self(later))
    }

    /// What is missing of them, now that the newest one was recovered.
    pub(crate) fn missing<'a>(
        &'a self,
        dir: &'a Path,
        recovered: &'a [Arc<Segment>],
    ) -> impl Iterator<Item = TornTail> + 'a {
        let missing = move |(id, end): &(SegmentId, u64)| {
            let found = recovered.iter().find(|segment| segment.id() == *id);
            let offset = found.map_or(0, |segment| segment.readable_bytes());
            let dropped_bytes = end.saturating_sub(offset);
            let cause = "copied while it was written to".to_owned();
            (dropped_bytes > 0).then(|| TornTail { path: segment_path(dir, *id), offset, dropped_bytes, cause })
        };
        self.0.iter().filter_map(missing)
    }
}

/// Whether a sealed segment is longer than it should be by space that was allocated ahead, and lacks its hint file: it was
/// copied before it was cut.
pub(crate) fn is_uncut(files: &[(FileName, PathBuf)], id: SegmentId, file: &dyn ReadFile, end: u64) -> Result<bool> {
    let lacks_files = files.iter().all(|(name, _)| companion(*name) != Some(id));
    Ok(lacks_files && file.len()? > end && vfs::data_end(file, end)? == end)
}

fn of_commits((id, sealed): (&SegmentId, &SealedSegment)) -> Option<(SegmentId, u64)> {
    (sealed.content() == Content::Commits).then_some((*id, u64::from(sealed.end)))
}

/// The newest segment of commits that has a file.
fn newest_of_commits(files: &[(FileName, PathBuf)], manifest: &Manifest) -> Option<SegmentId> {
    let is_collected =
        |id: &SegmentId| manifest.segments.get(id).is_some_and(|sealed| sealed.content() == Content::Collected);
    let segments = files.iter().filter_map(|(name, _)| match name {
        FileName::Segment(id) => Some(*id),
        _ => None,
    });
    segments.filter(|id| !is_collected(id)).max()
}

/// The segment that a file other than its records belongs to.
fn companion(name: FileName) -> Option<SegmentId> {
    match name {
        FileName::Hint(id) | FileName::Dead(id) | FileName::Map(id) => Some(id),
        FileName::Segment(_) | FileName::Deaths(_) | FileName::Manifest | FileName::Temporary => None,
    }
}
