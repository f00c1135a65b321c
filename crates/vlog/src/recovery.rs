//! Opens a value log: decides what stands, without writing.
//!
//! Sealed segments are those of the manifest, and must be there with their length. A segment that the manifest does not
//! list, with an id at or above `open from`, was open when the last run ended: its records are read from the front, each
//! verified, up to the first that is not whole. Where that comes before what is known to have been synced, it is
//! corruption; behind it, it is the tail that the crash cut, and is reported.
//!
//! What is known to have been synced: the head that the caller brings, and everything before it. A segment's header says
//! where its predecessor ended, so a synced head in one segment tells of all the open ones before it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use base::sync::{Arc, Mutex};
use base::{Corruption, SegmentId, StoreId, ValueLogHead};
use vfs::{ReadFile, Vfs};

use crate::append::Writer;
use crate::beside::Beside;
use crate::copied::{self, SealedLater};
use crate::dead_set::{self, DeadSet};
use crate::file_name::{FileName, dead_path, manifest_path, segment_path};
use crate::header::{FileHeader, FileKind, HEADER_LEN, HEADER_LEN_U64};
use crate::log::{Failure, Lease, PackedHead};
use crate::manifest::{Manifest, SealedSegment};
use crate::map::SegmentMap;
use crate::noted::is_forgettable;
use crate::scan::{RecordScanner, Step};
use crate::segment::Collected;
use crate::segment_header::{Content, SegmentHeader};
use crate::segment_set::SegmentSet;
use crate::tally::Tally;
use crate::{Error, Options, RecoveryInput, Result, Segment, ValueLog};

/// What opening found and dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VlogRecovery {
    /// Unsynced ends of segments that a crash cut, by path.
    pub torn_tails: Vec<TornTail>,
    /// Segments that were open when the last run ended and hold records.
    pub unsealed_segments: usize,
    /// The records in them.
    pub unsealed_records: u64,
    /// What is damaged and was taken for empty, as [`Options::forget_damaged_deaths`] says, each with its cause.
    pub forgotten_deaths: Vec<String>,
}

/// An unsynced end of a segment that a crash cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment's file.
    pub path: PathBuf,
    /// Where the first record that is not whole starts, in bytes.
    pub offset: u64,
    /// Bytes from there to the last one that is not zero.
    pub dropped_bytes: u64,
    /// What is wrong there.
    pub cause: String,
}

impl ValueLog {
    /// Opens the log in `dir`, which is made if it is not there. Nothing else is written, and nothing can be, until
    /// [`finish_recovery`](Self::finish_recovery): meanwhile the caller replays its own log, checking pointers with
    /// [`SegmentSet::read_checked`].
    ///
    /// # Errors
    /// [`Error::Corruption`] where what had been synced or sealed is damaged, cut, foreign or missing;
    /// [`Error::Incompatible`] where a newer program wrote it; [`Error::Vfs`] where the system failed; [`Error::Changed`] where
    /// a log that stands alone is opened for reading and its writer took files away meanwhile.
    pub fn open(
        vfs: Arc<dyn Vfs>,
        dir: impl Into<PathBuf>,
        options: Options,
        input: RecoveryInput<'_>,
    ) -> Result<(Self, VlogRecovery)> {
        options.validate()?;
        let dir = dir.into();
        let beside = Beside::look(&*vfs, &dir, &options)?;
        let opened = Self::open_files(Arc::clone(&vfs), dir.clone(), options.clone(), input, beside.as_ref());
        let (mut log, found) = opened.map_err(|error| match &beside {
            Some(beside) => beside.explain(&*vfs, &dir, &options, error),
            None => error,
        })?;
        log.beside = beside;
        Ok((log, found))
    }

    /// The store whose value log lies in `dir`, by its manifest's header; `None` where no file of a value log is there, nor
    /// perhaps the folder.
    ///
    /// # Errors
    /// [`Error::Corruption`] and [`Error::Incompatible`] where a value log is there, and [`open`](Self::open) would not find
    /// its manifest, or could not read that; [`Error::Vfs`] where the system failed.
    pub fn owner(vfs: &dyn Vfs, dir: &Path) -> Result<Option<StoreId>> {
        let path = manifest_path(dir);
        let file = match vfs.open_read(&path) {
            Err(error) if error.is_not_found() => return check_is_new(dir, &list(vfs, dir)?).map(|()| None),
            other => other?,
        };
        let header = read_header(&*file, file.len()?)?;
        FileHeader::decode_of_any(&path, FileKind::Manifest, &header).map(|header| Some(header.store))
    }

    fn open_files(
        vfs: Arc<dyn Vfs>,
        dir: PathBuf,
        options: Options,
        input: RecoveryInput<'_>,
        beside: Option<&Beside>,
    ) -> Result<(Self, VlogRecovery)> {
        let files = list(&*vfs, &dir)?;
        let mut manifest = match Manifest::read(&*vfs, &dir, options.of_store())? {
            Some(manifest) => {
                beside.map_or(Ok(()), |beside| beside.check_manifest(&dir, &manifest))?;
                manifest
            }
            None => create_manifest(&*vfs, &dir, &options, &files, input)?,
        };
        let mut recovery = VlogRecovery::default();
        let mut sealed_later = SealedLater::default();
        let mut synced = input.synced;
        if options.stands_alone {
            synced = synced.max(manifest.deaths_before);
            sealed_later = SealedLater::take(&*vfs, &dir, &files, &mut manifest)?;
        }
        let opening = Opening { vfs: &*vfs, dir: &dir, options: &options, manifest: &manifest, files };
        let mut segments = opening.sealed()?;
        let recovered = opening.unsealed(synced, &mut recovery)?;
        segments.extend(recovered.segments.iter().cloned());
        recovery.torn_tails.extend(sealed_later.missing(&dir, &recovered.segments));
        recovery.torn_tails.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        let set = SegmentSet::new(dir.clone(), segments);
        let next = manifest.next_segment;
        let roll_bytes = AtomicU64::new(options.segment_bytes);
        let log = Self {
            vfs,
            dir,
            options,
            writer: Mutex::new(Writer::default()),
            open_segments: Mutex::default(),
            current: Mutex::new(Arc::new(set)),
            ledger: Mutex::new(manifest),
            syncing: Mutex::default(),
            collecting: Mutex::default(),
            sealing: Mutex::default(),
            dying: Mutex::new(input.live_tickets.iter().copied().collect()),
            synced: PackedHead::default(),
            unsettled: Mutex::default(),
            lease: Lease::new(next, next),
            failure: Failure::default(),
            roll_bytes,
            released: Arc::default(),
            doubtful: Mutex::default(),
            ready: AtomicBool::new(false),
            beside: None,
            recovered: Mutex::new(recovered),
        };
        log.synced.raise(synced);
        if log.options.forget_damaged_deaths {
            recovery.forgotten_deaths.extend(log.forget_damaged()?.iter().map(|damaged| damaged.cause.to_string()));
        }
        Ok((log, recovery))
    }
}

/// The files in a folder that have one of our names; none where there is no folder.
pub(crate) fn list(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<(FileName, PathBuf)>> {
    if vfs.metadata(dir)?.is_none() {
        return Ok(Vec::new());
    }
    let named = |entry: vfs::DirEntry| Some((FileName::parse(&entry.name)?, dir.join(&entry.name)));
    Ok(vfs.list(dir)?.into_iter().filter_map(named).collect())
}

/// The manifest of a new log. A folder that has lost its manifest is not one.
fn create_manifest(
    vfs: &dyn Vfs,
    dir: &Path,
    options: &Options,
    files: &[(FileName, PathBuf)],
    input: RecoveryInput<'_>,
) -> Result<Manifest> {
    check_is_new(dir, files)?;
    if input.must_exist || input.synced.offset > 0 {
        return Err(missing_manifest(dir));
    }
    let mut manifest = Manifest::empty();
    if !options.read_only {
        vfs.create_dir_all(dir)?;
        manifest.write(vfs, dir, options.of_store())?;
    }
    Ok(manifest)
}

/// Refuses a folder with files of a log.
fn check_is_new(dir: &Path, files: &[(FileName, PathBuf)]) -> Result<()> {
    let is_new = files.iter().all(|(name, _)| *name == FileName::Temporary);
    if is_new { Ok(()) } else { Err(missing_manifest(dir)) }
}

fn missing_manifest(dir: &Path) -> Error {
    Error::corruption(&manifest_path(dir), 0, "missing value-log manifest")
}

/// What no manifest lists.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// The segments that were open when the last run ended and hold records.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Files of segments, those without a record and those of collections that did not end included.
    pub(crate) unlisted_files: usize,
}

/// What the steps of opening look at.
struct Opening<'a> {
    vfs: &'a dyn Vfs,
    dir: &'a Path,
    options: &'a Options,
    manifest: &'a Manifest,
    files: Vec<(FileName, PathBuf)>,
}

/// An unlisted segment whose header is whole.
struct Unsealed {
    header: SegmentHeader,
    file: Arc<dyn ReadFile>,
    file_len: u64,
}

/// The file of an unlisted segment whose header is not whole, and what is wrong with it. Where nothing says that it had
/// been synced, it holds nothing: no record is written before its segment's header, and one whose making failed may stay.
type Headless = (PathBuf, Box<Corruption>);

/// Unlisted segments by id.
#[derive(Default)]
struct Candidates {
    whole: BTreeMap<SegmentId, Unsealed>,
    headless: BTreeMap<SegmentId, Headless>,
    /// Files of collections that did not end, and companions of segments.
    others: usize,
}

impl Opening<'_> {
    fn sealed(&self) -> Result<Vec<Arc<Segment>>> {
        self.manifest.segments.iter().map(|(id, sealed)| self.sealed_segment(*id, sealed).map(Arc::new)).collect()
    }

    fn sealed_segment(&self, id: SegmentId, sealed: &SealedSegment) -> Result<Segment> {
        let path = segment_path(self.dir, id);
        let file = match self.vfs.open_read(&path) {
            Err(error) if error.is_not_found() => return Err(Error::corruption(&path, 0, "missing sealed segment")),
            other => other?,
        };
        let (found, end) = (file.len()?, u64::from(sealed.end));
        if found != end && !self.is_uncut(id, &*file, end)? {
            let wrong = Corruption::new(path, found.min(end), "length of a sealed segment").with_values(end, found);
            return Err(wrong.into());
        }
        let header = SegmentHeader::decode(&path, self.options.of_store(), id, &read_header(&*file, found)?)?;
        if header.companion != sealed.companion {
            let wrong = Corruption::new(path, 72, "file of another segment");
            return Err(wrong.with_values(sealed.companion, header.companion).into());
        }
        if header.content != sealed.content() {
            let wrong = Corruption::new(path, 88, "content of a segment");
            return Err(wrong.with_values(sealed.content() as u32, header.content as u32).into());
        }
        let collected = match &sealed.origins {
            None => None,
            Some(origins) => {
                let (store, io_mode) = (self.options.of_store(), self.options.io_mode);
                let map = SegmentMap::open(self.vfs, self.dir, store, &header, io_mode)?;
                Some(Collected { map, origins: origins.clone() })
            }
        };
        let tally = Tally::default();
        tally.records.store(sealed.records, Ordering::Relaxed);
        self.note_dead_set(&header, Some(sealed), &tally)?;
        Segment::whole(header, file, end, collected, self.options, Arc::new(tally))
    }

    fn is_uncut(&self, id: SegmentId, file: &dyn ReadFile, end: u64) -> Result<bool> {
        Ok(self.options.stands_alone && copied::is_uncut(&self.files, id, file, end)?)
    }

    fn note_dead_set(&self, header: &SegmentHeader, sealed: Option<&SealedSegment>, tally: &Tally) -> Result<()> {
        let must_exist = sealed.is_some_and(|sealed| sealed.has_dead_set);
        match DeadSet::read(self.vfs, self.dir, self.options.of_store(), header) {
            Ok(Some(dead)) => {
                if self.options.stands_alone {
                    self.check_moment(header, sealed, &dead)?;
                }
                tally.note_dead_set(&dead);
            }
            // Looked at again, and then forgotten.
            Ok(None) if self.options.forget_damaged_deaths => {
                tally.has_dead_set.store(must_exist, Ordering::Release);
            }
            Err(error) if self.options.forget_damaged_deaths && is_forgettable(&error) => {
                tally.has_dead_set.store(must_exist, Ordering::Release);
            }
            Ok(None) if must_exist => return Err(dead_set::missing(self.dir, header)),
            Ok(None) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Refuses a dead set that is newer than the manifest or older than that says: of a folder that was copied while records
    /// were marked. What killed a record may be missing there, or what hid it be gone.
    fn check_moment(&self, header: &SegmentHeader, sealed: Option<&SealedSegment>, dead: &DeadSet) -> Result<()> {
        let oldest = sealed.map_or(0, |sealed| sealed.dead_set_after);
        let newest = self.manifest.generation;
        if (oldest..=newest).contains(&dead.after()) {
            return Ok(());
        }
        let wrong = Corruption::new(dead_path(self.dir, header.id), HEADER_LEN_U64, "dead set of another moment");
        Err(wrong.with_values(format!("manifest {oldest} to {newest}"), dead.after()).into())
    }

    fn unsealed(&self, synced: ValueLogHead, recovery: &mut VlogRecovery) -> Result<Recovered> {
        let Candidates { whole: candidates, headless, others } = self.candidates()?;
        let unlisted_files = candidates.len() + headless.len() + others;
        let synced_ends = self.synced_ends(synced, &candidates, &headless)?;
        for (path, cause) in headless.values() {
            recovery.torn_tails.extend(torn_tail(path, &*self.vfs.open_read(path)?, 0, &cause.what)?);
        }
        // What a successor says of the end holds whether or not it was synced: nothing was acknowledged behind it.
        let full_ends: BTreeMap<SegmentId, u64> = candidates
            .values()
            .map(|unsealed| (unsealed.header.previous.segment, u64::from(unsealed.header.previous.offset)))
            .collect();
        let mut segments = Vec::new();
        let mut ends = BTreeMap::new();
        for (id, unsealed) in candidates {
            if self.options.stands_alone && self.is_behind_a_gap(&unsealed.header, &ends) {
                let path = segment_path(self.dir, id);
                recovery.torn_tails.extend(torn_tail(&path, &*unsealed.file, 0, "behind a gap")?);
                // Nor is anything that comes behind this one.
                ends.insert(id, 0);
                continue;
            }
            let limit = full_ends.get(&id).copied().unwrap_or(unsealed.file_len);
            let synced_end = synced_ends.get(&id).copied().unwrap_or(0);
            let recovered = self.recover(unsealed, limit, synced_end, recovery)?;
            ends.insert(id, recovered.as_ref().map_or(HEADER_LEN_U64, |segment| segment.readable_bytes()));
            segments.extend(recovered);
        }
        Ok(Recovered { segments, unlisted_files })
    }

    /// Whether the predecessor of an unlisted segment is gone or shorter than it was. `ends` has the unlisted ones before it;
    /// one that is sealed is whole.
    fn is_behind_a_gap(&self, header: &SegmentHeader, ends: &BTreeMap<SegmentId, u64>) -> bool {
        let ValueLogHead { segment, offset } = header.previous;
        let end = ends.get(&segment).copied().unwrap_or(0);
        let after_a_gap = ends.last_key_value().is_some_and(|(_, end)| *end == 0);
        after_a_gap || (offset > 0 && segment >= self.manifest.open_from && end < u64::from(offset))
    }

    /// Unlisted segments by id.
    fn candidates(&self) -> Result<Candidates> {
        let mut candidates = Candidates::default();
        for (name, path) in &self.files {
            let (FileName::Segment(id) | FileName::Hint(id) | FileName::Dead(id) | FileName::Map(id)) = *name else {
                continue;
            };
            if id < self.manifest.open_from || self.manifest.segments.contains_key(&id) {
                continue;
            }
            if !matches!(name, FileName::Segment(_)) {
                candidates.others += 1;
                continue;
            }
            if id >= self.manifest.next_segment {
                let next = self.manifest.next_segment;
                return Err(Corruption::new(path, 0, "segment above the manifest's counter")
                    .with_values(next, id)
                    .into());
            }
            let file = self.vfs.open_read(path)?;
            let file_len = file.len()?;
            match SegmentHeader::decode(path, self.options.of_store(), id, &read_header(&*file, file_len)?) {
                Ok(header) if header.content == Content::Collected => candidates.others += 1,
                Ok(header) => drop(candidates.whole.insert(id, Unsealed { header, file, file_len })),
                Err(Error::Corruption(cause)) => drop(candidates.headless.insert(id, (path.clone(), cause))),
                Err(error) => return Err(error),
            }
        }
        Ok(candidates)
    }

    /// How far each unsealed segment is known to have been synced.
    fn synced_ends(
        &self,
        synced: ValueLogHead,
        candidates: &BTreeMap<SegmentId, Unsealed>,
        headless: &BTreeMap<SegmentId, Headless>,
    ) -> Result<BTreeMap<SegmentId, u64>> {
        let mut ends = BTreeMap::new();
        if synced.offset == 0 || synced.segment < self.manifest.open_from {
            return Ok(ends);
        }
        if synced.segment >= self.manifest.next_segment {
            let what = "manifest older than what was synced";
            let wrong = Corruption::new(manifest_path(self.dir), HEADER_LEN_U64, what);
            return Err(wrong.with_values(format!("above {}", synced.segment), self.manifest.next_segment).into());
        }
        let mut head = synced;
        let mut seen = BTreeSet::new();
        while head.offset > 0 && head.segment >= self.manifest.open_from && seen.insert(head.segment) {
            let Some(unsealed) = candidates.get(&head.segment) else {
                if let Some((_, cause)) = headless.get(&head.segment) {
                    return Err(Error::Corruption(cause.clone()));
                }
                let path = segment_path(self.dir, head.segment);
                let wrong = Corruption::new(path, 0, "missing segment");
                return Err(wrong.with_values(format!("{} synced bytes", head.offset), "no file").into());
            };
            ends.insert(head.segment, u64::from(head.offset));
            head = unsealed.header.previous;
        }
        Ok(ends)
    }

    /// Reads an unsealed segment up to its last whole record.
    fn recover(
        &self,
        unsealed: Unsealed,
        limit: u64,
        synced_end: u64,
        recovery: &mut VlogRecovery,
    ) -> Result<Option<Arc<Segment>>> {
        let Unsealed { header, file, file_len } = unsealed;
        let path = segment_path(self.dir, header.id);
        let mut records = RecordScanner::new(Arc::clone(&file), header.clone(), limit.min(file_len));
        let mut count = 0;
        let cause = loop {
            match records.next()? {
                Step::Record(_) => count += 1,
                Step::End { cause } => break cause.unwrap_or("bytes behind the last record"),
            }
        };
        let end = records.position();
        if end < synced_end {
            let wrong = Corruption::new(path, end, format!("{cause} in what had been synced"));
            return Err(wrong.with_values(format!("records up to {synced_end}"), format!("up to {end}")).into());
        }
        recovery.torn_tails.extend(torn_tail(&path, &*file, end, cause)?);
        if count == 0 {
            return Ok(None);
        }
        recovery.unsealed_segments += 1;
        recovery.unsealed_records += count;
        let tally = Tally::default();
        tally.records.store(count, Ordering::Relaxed);
        self.note_dead_set(&header, None, &tally)?;
        let segment = Segment::whole(header, file, end, None, self.options, Arc::new(tally))?;
        Ok(Some(Arc::new(segment)))
    }
}

/// What is dropped behind `offset`; `None` where nothing but zeros stands there.
fn torn_tail(path: &Path, file: &dyn ReadFile, offset: u64, cause: &str) -> Result<Option<TornTail>> {
    let dropped_bytes = vfs::data_end(file, offset)? - offset;
    let cause = cause.to_owned();
    Ok((dropped_bytes > 0).then(|| TornTail { path: path.to_owned(), offset, dropped_bytes, cause }))
}

pub(crate) fn read_header(file: &dyn ReadFile, file_len: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file_len).map_or(HEADER_LEN, |len| len.min(HEADER_LEN))];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
