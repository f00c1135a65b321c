//! Collection: what is alive in some segments moves to a new one, and their files go. Addresses stay as they are.
//!
//! In this order: the hint files and dead sets of the segments tell which records live; those are copied, ascending by
//! address, and their new file, hint file and map are made durable; then, while no death can be noted, the deaths that
//! came meanwhile become a dead set of the new segment, one manifest lists it in the place of the old ones, and readers
//! that come from now on see it. Up to the manifest nothing has changed: what was written is a leftover. From the
//! manifest on the old files are: they are removed once nobody holds them.
//!
//! Nothing but the value log takes part. A record is left out only if its death stands, which is after every view that
//! can still reach it was replaced.

use std::ops::ControlFlow;

use base::checksum::Hasher;
use base::sync::Arc;
use base::sync::atomic::Ordering;
use base::{InternalKeyRef, SegmentId, ValueLogHead, ValuePointer};
use bytes::Bytes;
use vfs::AppendFile;

use crate::dead_set::DeadSet;
use crate::file_name::{dead_path, hint_path, map_path, segment_path, temporary_path};
use crate::header::HEADER_LEN_U64;
use crate::hint::{HintTotals, HintWriter};
use crate::manifest::SealedSegment;
use crate::map::{MapWriter, SegmentMap};
use crate::record::{CHECKSUM_LEN, ORIGIN_LEN, Origin, RECORD_HEADER_LEN, SEALS_LEN, seal};
use crate::scan::Entry;
use crate::segment::Collected;
use crate::segment_header::{Content, SegmentHeader};
use crate::tally::Tally;
use crate::whole_file::{create_afresh, remove_if_there};
use crate::{Error, Result, Segment, ValueLog};

/// Copied records are written in pieces of about this many bytes; a longer record is a piece of its own.
const PIECE_BYTES: usize = 256 << 10;

/// Survivors are read together while no more than this many dead bytes lie between two of them.
const READ_THROUGH_BYTES: u32 = 8 << 10;

/// How a collection gives way and tells of itself.
pub struct CollectContext<'a> {
    /// Called with 0 before each segment is scanned, and with the bytes of every piece that was copied. `Break` ends the collection, which then has changed nothing.
    pub pace: &'a dyn Fn(u64) -> ControlFlow<()>,
    /// Called before each step.
    pub step: &'a dyn Fn(CollectStep),
}

impl CollectContext<'_> {
    /// As fast as it goes.
    #[must_use]
    pub fn unpaced() -> Self {
        Self { pace: &|_| ControlFlow::Continue(()), step: &|_| {} }
    }
}

/// What a collection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CollectStep {
    /// Reads hint files and dead sets.
    Scan,
    /// Copies what lives.
    Copy,
    /// Makes the copies, their hint file and their map durable.
    Sync,
    /// Lists the new segment in the place of the old ones.
    Commit,
}

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collection {
    /// The new segment, where anything was left.
    pub segment: Option<SegmentId>,
    /// Records that it holds.
    pub records: u64,
    /// Length of its file in bytes.
    pub bytes_written: u64,
    /// Lengths of the files that it replaces, in bytes.
    pub bytes_replaced: u64,
}

/// A record that moves.
#[derive(Clone, Copy, Debug)]
struct Survivor {
    origin: Origin,
    len: u32,
    /// Which of the segments that are collected holds it, and from where to where, address included.
    source: u32,
    position: u32,
    end: u32,
}

/// The new segment, durable and not listed.
struct Copies {
    header: SegmentHeader,
    totals: HintTotals,
    origins: Vec<SegmentId>,
    /// Where the survivors stand now, in their order.
    positions: Vec<u32>,
}

impl ValueLog {
    /// Moves what is alive in `segments`, which must be sealed, to one new segment. Every address stays valid; sets that
    /// are held keep the old files readable, and [`remove_released`](Self::remove_released) removes them once nobody
    /// holds them. Where nothing is alive, nothing is read or written but the manifest. `None` where `context` ended it.
    ///
    /// One at a time: a second call waits for the first. Appends, reads, seals and deaths go on meanwhile.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a segment that is not sealed and for more than 4 GiB of survivors,
    /// [`Error::Corruption`] where a hint file, dead set or record is damaged, [`Error::Vfs`] where the system could not
    /// read or write: in each case nothing has changed.
    pub fn collect(&self, segments: &[SegmentId], context: &CollectContext<'_>) -> Result<Option<Collection>> {
        self.check_writable()?;
        let _turn = self.collecting.lock();
        self.settle_doubtful()?;
        let sources = self.sources(segments)?;
        (context.step)(CollectStep::Scan);
        let Some(survivors) = self.survivors(&sources, context)? else { return Ok(None) };
        let copies = if survivors.is_empty() {
            None
        } else {
            match self.copy(&sources, &survivors, context)? {
                Some(copies) => Some(copies),
                None => return Ok(None),
            }
        };
        (context.step)(CollectStep::Commit);
        let collection = Collection {
            segment: copies.as_ref().map(|copies| copies.header.id),
            records: survivors.len() as u64,
            bytes_written: copies.as_ref().map_or(0, |copies| u64::from(copies.totals.end)),
            bytes_replaced: sources.iter().map(|segment| segment.readable_bytes()).sum(),
        };
        self.replace(&sources, &survivors, copies)?;
        tracing::debug!(?collection, "value-log segments collected");
        Ok(Some(collection))
    }

    /// Removes the files of segments that were collected and that nobody holds any more. Returns how many segments.
    ///
    /// # Errors
    /// [`Error::Vfs`] where a file could not be removed; it is tried again with the next call.
    pub fn remove_released(&self) -> Result<usize> {
        let (mut removed, mut outcome) = (0, Ok(()));
        for id in self.released.take() {
            let paths = [segment_path, hint_path, dead_path, map_path].map(|path| path(&self.dir, id));
            if let Err(error) = paths.iter().try_for_each(|path| remove_if_there(&*self.vfs, path)) {
                self.released.put_back(id);
                outcome = outcome.and(Err(error));
                continue;
            }
            self.released.removed(id);
            removed += 1;
            tracing::debug!(segment = id.0, "collected segment removed");
        }
        outcome.map(|()| removed)
    }

    /// How many segments were collected and nobody holds, but have their files until
    /// [`remove_released`](Self::remove_released) is done with them, and the bytes of these. Those that it could not remove do
    /// not count.
    #[must_use]
    pub fn released_segments(&self) -> (usize, u64) {
        self.released.released()
    }

    /// How many segments were collected and have their files yet, since a set of segments holds them or nobody has removed
    /// them, and the bytes of these.
    #[must_use]
    pub fn retired_segments(&self) -> (usize, u64) {
        self.released.retired()
    }

    /// Has `listener` called whenever [`remove_released`](Self::remove_released) has something to do: from whichever
    /// thread let go of a segment last, under whatever locks it holds, so it must not wait for anything. Once.
    pub fn on_release(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.released.listen(Box::new(listener));
    }

    /// After a collection that could not be listed nobody knows whether it is: a manifest without it is written, and only
    /// then what it wrote can go, and deaths can be noted in the old place.
    pub(crate) fn settle_doubtful(&self) -> Result<()> {
        let doubtful = self.doubtful.lock().clone();
        if doubtful.is_empty() {
            return Ok(());
        }
        self.commit(|_| Ok(()))?;
        self.doubtful.lock().clear();
        doubtful.into_iter().for_each(|id| self.released.push(id));
        self.remove_released()?;
        Ok(())
    }

    fn sources(&self, segments: &[SegmentId]) -> Result<Vec<Arc<Segment>>> {
        let mut ids = segments.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let ledger = self.ledger.lock();
        if !ids.iter().all(|id| ledger.segments.contains_key(id)) {
            return Err(Error::InvalidArgument("only sealed segments can be collected"));
        }
        drop(ledger);
        ids.into_iter().map(|id| self.known(id)).collect()
    }

    /// What is not dead, ascending by address; `None` where `context` ended it.
    fn survivors(&self, sources: &[Arc<Segment>], context: &CollectContext<'_>) -> Result<Option<Vec<Survivor>>> {
        let mut survivors = Vec::new();
        let mut end = HEADER_LEN_U64;
        let seals_len = if self.options.keys.is_some() { SEALS_LEN as u64 } else { 0 };
        for (source, segment) in sources.iter().enumerate() {
            if (context.pace)(0).is_break() {
                return Ok(None);
            }
            let dead = self.load_dead_set(segment)?;
            let is_there = |last: &u32| u64::from(*last) < segment.readable_bytes();
            if dead.records() == segment.tally().records.load(Ordering::Relaxed) && dead.offsets().iter().all(is_there)
            {
                continue;
            }
            let mut dead = dead.offsets().iter().copied().peekable();
            let mut entries = self.entries(segment.id())?;
            let around_len = segment.header().around_len();
            while let Some(entry) = entries.next()? {
                while dead.next_if(|dead| *dead < entry.position).is_some() {}
                if dead.next_if_eq(&entry.position).is_some() {
                    continue;
                }
                let ValuePointer { segment, len, offset } = entry.pointer;
                let origin = Origin { segment, offset };
                end += u64::from(len) + ORIGIN_LEN as u64 + seals_len;
                let position = entry.position;
                let stored_end = position.saturating_add(len).saturating_add(around_len);
                survivors.push(Survivor { origin, len, source: source as u32, position, end: stored_end });
            }
        }
        if end > u64::from(u32::MAX) {
            return Err(Error::InvalidArgument("more than 4 GiB would be left in one segment"));
        }
        survivors.sort_unstable_by_key(|survivor| survivor.origin);
        Ok(Some(survivors))
    }

    /// Writes the new segment's files; what a failure leaves of them is removed, or is a leftover.
    fn copy(
        &self,
        sources: &[Arc<Segment>],
        survivors: &[Survivor],
        context: &CollectContext<'_>,
    ) -> Result<Option<Copies>> {
        (context.step)(CollectStep::Copy);
        let id = self.take_id(&self.writer.lock())?;
        let copied = self.copy_to(id, sources, survivors, context);
        if !matches!(copied, Ok(Some(_))) {
            let paths = [segment_path, hint_path, map_path].map(|path| path(&self.dir, id));
            for path in paths.iter().flat_map(|path| [temporary_path(path), path.clone()]) {
                if let Err(left) = remove_if_there(&*self.vfs, &path) {
                    tracing::warn!(path = %path.display(), %left, "a file of a failed collection stays behind");
                }
            }
        }
        copied
    }

    fn copy_to(
        &self,
        id: SegmentId,
        sources: &[Arc<Segment>],
        survivors: &[Survivor],
        context: &CollectContext<'_>,
    ) -> Result<Option<Copies>> {
        let (vfs, store) = (&*self.vfs, self.options.of_store());
        let (header, bytes) = SegmentHeader::create(vfs, store, id, Content::Collected, ValueLogHead::default())?;
        let path = segment_path(&self.dir, id);
        let mut copier = Copier {
            file: create_afresh(vfs, &temporary_path(&path))?,
            hint: HintWriter::create(vfs, &self.dir, store, &header)?,
            map: MapWriter::default(),
            header: header.clone(),
            piece: bytes,
            position: HEADER_LEN_U64 as u32,
        };
        let mut positions = Vec::with_capacity(survivors.len());
        let mut rest = survivors;
        while let [first, ..] = rest {
            let (run, behind) = rest.split_at(run_len(rest));
            let (Some(source), Some(last)) = (sources.get(first.source as usize), run.last()) else {
                return Err(Error::InvalidArgument("a survivor is of no segment that is collected"));
            };
            let bytes = source.bytes_between(first.position, last.end)?;
            for survivor in run {
                let [from, to] = [survivor.position, survivor.end].map(|at| (at - first.position) as usize);
                positions.push(copier.copy(source, survivor, bytes.slice(from..to))?);
                if copier.piece.len() >= PIECE_BYTES && (context.pace)(copier.write_piece()?).is_break() {
                    return Ok(None);
                }
            }
            rest = behind;
        }
        copier.write_piece()?;
        (context.step)(CollectStep::Sync);
        let Copier { file, hint, map, .. } = copier;
        file.finish()?;
        let totals = hint.finish()?;
        map.finish(vfs, &self.dir, store, &header)?;
        vfs.rename(&temporary_path(&path), &path)?;
        vfs.sync_dir(&self.dir)?;
        Ok(Some(Copies { header, totals, origins: map.origins(), positions }))
    }

    /// Puts the new segment in the place of the old ones: for the next open, for readers, and for deaths to come.
    fn replace(&self, sources: &[Arc<Segment>], survivors: &[Survivor], copies: Option<Copies>) -> Result<()> {
        // Nobody may list a segment again that is taken off the list here, or note a death in the old place.
        let _sealing = self.sealing.lock();
        let _live_tickets = self.dying.lock();
        let ids: Vec<SegmentId> = sources.iter().map(|segment| segment.id()).collect();
        // Before anyone can note a death again: in doubt, its old place may be one that the next open does not look at.
        let doubtful = copies.as_ref().map(|copies| copies.header.id);
        self.list_copies(sources, survivors, &ids, copies).inspect_err(|_| self.doubtful.lock().extend(doubtful))?;
        sources.iter().for_each(|segment| {
            segment.tally().retire(segment.id(), segment.readable_bytes(), &self.released);
        });
        Ok(())
    }

    /// The caller holds the locks of `sealing` and `dying`.
    fn list_copies(
        &self,
        sources: &[Arc<Segment>],
        survivors: &[Survivor],
        ids: &[SegmentId],
        copies: Option<Copies>,
    ) -> Result<()> {
        let (listed, added) = match copies {
            None => (None, None),
            Some(copies) => {
                let tally = self.tally_of(sources, survivors, &copies)?;
                let listed = copies.listed(&tally);
                (Some(listed), Some(Arc::new(self.open_collected(copies, tally)?)))
            }
        };
        self.commit(|manifest| {
            ids.iter().for_each(|id| drop(manifest.segments.remove(id)));
            manifest.segments.extend(listed);
            if self.lease.is_low() { self.extend_lease(manifest) } else { Ok(()) }
        })?;
        let mut current = self.current.lock();
        *current = Arc::new(current.with(ids, added));
        drop(current);
        self.unsettled.lock().retain(|id, _| !ids.contains(id));
        Ok(())
    }

    /// What is known of the new segment, its dead set written where records died while they were copied.
    fn tally_of(&self, sources: &[Arc<Segment>], survivors: &[Survivor], copies: &Copies) -> Result<Arc<Tally>> {
        let dead_sets: Vec<DeadSet> =
            sources.iter().map(|segment| self.load_dead_set(segment)).collect::<Result<_>>()?;
        let died = |survivor: &Survivor| {
            dead_sets.get(survivor.source as usize).is_some_and(|dead| dead.contains(survivor.position))
        };
        let dead = survivors.iter().zip(&copies.positions).filter(|(survivor, _)| died(survivor));
        let dead = DeadSet::of(dead.map(|(survivor, position)| (*position, survivor.len + copies.header.around_len())));
        let tally = Tally::default();
        tally.records.store(survivors.len() as u64, Ordering::Relaxed);
        if dead.records() > 0 {
            dead.write(&*self.vfs, &self.dir, self.options.of_store(), &copies.header)?;
            self.vfs.sync_dir(&self.dir)?;
            tally.note_dead_set(&dead);
        }
        Ok(Arc::new(tally))
    }

    fn open_collected(&self, copies: Copies, tally: Arc<Tally>) -> Result<Segment> {
        let Copies { header, totals, origins, .. } = copies;
        let file = self.vfs.open_read(&segment_path(&self.dir, header.id))?;
        let map = SegmentMap::open(&*self.vfs, &self.dir, self.options.of_store(), &header, self.options.io_mode)?;
        let collected = Some(Collected { map, origins });
        Segment::whole(header, file, u64::from(totals.end), collected, &self.options, tally)
    }
}

impl Copies {
    fn listed(&self, tally: &Tally) -> (SegmentId, SealedSegment) {
        let sealed = SealedSegment {
            companion: self.header.companion,
            end: self.totals.end,
            records: self.totals.records,
            has_dead_set: tally.has_dead_set.load(Ordering::Acquire),
            dead_set_after: 0,
            owners: self.totals.owners.clone(),
            origins: Some(self.origins.clone()),
        };
        (self.header.id, sealed)
    }
}

/// How many of these survivors, at least one, are read together: of one segment, ascending, with little between them.
fn run_len(survivors: &[Survivor]) -> usize {
    let goes_on = |pair: &[Survivor]| {
        let ([first, ..], [before, next]) = (survivors, pair) else { return false };
        let is_near = next.position.checked_sub(before.end).is_some_and(|gap| gap <= READ_THROUGH_BYTES);
        before.source == next.source && is_near && (next.end - first.position) as usize <= PIECE_BYTES
    };
    1 + survivors.windows(2).take_while(|pair| goes_on(pair)).count()
}

/// Writes survivors to their new segment.
struct Copier<'a> {
    file: Box<dyn AppendFile>,
    hint: HintWriter<'a>,
    map: MapWriter,
    header: SegmentHeader,
    /// What was copied and is not written yet.
    piece: Vec<u8>,
    position: u32,
}

impl Copier<'_> {
    /// Copies one record, which is verified, and says where it stands now.
    fn copy(&mut self, source: &Segment, survivor: &Survivor, bytes: Bytes) -> Result<u32> {
        let Survivor { origin, len, position: from, .. } = *survivor;
        let pointer = ValuePointer { segment: origin.segment, len, offset: origin.offset };
        let record = source.record_in(bytes, from, pointer)?;
        let covered = record.covered();
        let position = self.position;
        let start = self.piece.len();
        self.piece.extend_from_slice(&origin.encode());
        self.piece.extend_from_slice(covered);
        if let Some(cipher) = &self.header.cipher {
            let (position, key_len) = (u64::from(position), record.header.key_len());
            seal(cipher, position, &mut self.piece, start, ORIGIN_LEN + RECORD_HEADER_LEN, key_len);
        }
        let mut hasher = Hasher::new_with_initial(self.header.checksum_start);
        hasher.update(self.piece.get(start..).unwrap_or_default());
        self.piece.extend_from_slice(&hasher.finalize().to_le_bytes());
        let damaged = |error: base::DecodeError| Error::from(error.at(source.path().to_owned(), u64::from(from)));
        let key = covered.get(RECORD_HEADER_LEN..record.header.value_start()).unwrap_or_default();
        let entry = Entry {
            pointer,
            position,
            owner: record.header.owner,
            key: InternalKeyRef::decode(key).map_err(damaged)?,
            meta: record.header.meta().map_err(damaged)?,
        };
        self.hint.add(&entry)?;
        self.map.push(origin, position);
        debug_assert_eq!(covered.len() + CHECKSUM_LEN, len as usize);
        self.position += len + self.header.around_len();
        Ok(position)
    }

    /// Writes what was copied, and returns its length.
    fn write_piece(&mut self) -> Result<u64> {
        self.file.append(&self.piece)?;
        let written = self.piece.len() as u64;
        self.piece.clear();
        Ok(written)
    }
}
