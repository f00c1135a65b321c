//! The value log: its state, and what is asked of it without changing it.
//!
//! Locks, in the order in which they are taken: `syncing`; `collecting`; `sealing`; `dying`; `writer`; `ledger`; then, one
//! at a time and never across a file call, `open_segments`, an open segment's `file`, `current`, the released segments.
//! Reads take `current` for one clone of a shared pointer, or nothing where the caller holds a set. File work goes on
//! under the first six: under `writer` only appends and rolls, under the others only background work, for which no append
//! waits but a roll whose leased ids have run out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use base::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use base::sync::{Arc, Mutex};
use base::{SegmentId, ValueLogHead};
use vfs::Vfs;

use crate::append::Writer;
use crate::beside::Beside;
use crate::dead_set::{self, DeadSet};
use crate::entries::{Entries, Source};
use crate::header::HEADER_LEN_U64;
use crate::hint::HintReader;
use crate::manifest::{Manifest, OwnerTotals, SealedSegment};
use crate::record::ORIGIN_LEN;
use crate::recovery::Recovered;
use crate::segment_set::SegmentSet;
use crate::sync::OpenSegment;
use crate::tally::Released;
use crate::{Error, Options, Result, Segment};

/// How many segment ids are taken from the counter at once.
const LEASE_IDS: u32 = 64;

/// An append-only log of values with stable addresses.
#[derive(Debug)]
pub struct ValueLog {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) writer: Mutex<Writer>,
    /// Segments of this run that are not sealed, oldest first; all but the last are full.
    pub(crate) open_segments: Mutex<VecDeque<Arc<OpenSegment>>>,
    pub(crate) current: Mutex<Arc<SegmentSet>>,
    pub(crate) ledger: Mutex<Manifest>,
    pub(crate) syncing: Mutex<()>,
    pub(crate) collecting: Mutex<()>,
    pub(crate) sealing: Mutex<()>,
    /// Death tickets whose lists are wanted.
    pub(crate) dying: Mutex<BTreeSet<u64>>,
    /// Everything before this position is durable.
    pub(crate) synced: PackedHead,
    /// Dead sets that know more than their files. Changed under the lock of `dying` alone.
    pub(crate) unsettled: Mutex<BTreeMap<SegmentId, DeadSet>>,
    pub(crate) lease: Lease,
    pub(crate) failure: Failure,
    pub(crate) roll_bytes: AtomicU64,
    /// Segments that were collected and that nobody holds any more.
    pub(crate) released: Arc<Released>,
    /// New segments of collections that failed when they were to be listed.
    pub(crate) doubtful: Mutex<Vec<SegmentId>>,
    pub(crate) ready: AtomicBool,
    /// Of a reader: what there was before it listed the files.
    pub(crate) beside: Option<Beside>,
    /// What the scan at open found unlisted, until recovery is finished.
    pub(crate) recovered: Mutex<Recovered>,
}

/// What is known of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentStatistics {
    /// Its id.
    pub segment: SegmentId,
    /// The youngest segment that the address of one of its records names: itself, unless it was collected from others.
    pub newest_address: SegmentId,
    /// Length of the file in bytes (of what was written, for one that is not sealed).
    pub file_bytes: u64,
    /// Its records, dead ones included.
    pub records: u64,
    /// Those that are dead.
    pub dead_records: u64,
    /// Their bytes, headers and checksums included.
    pub dead_bytes: u64,
    /// Whether it is sealed.
    pub sealed: bool,
    /// Whether it holds what was left of other segments.
    pub collected: bool,
    /// What each owner has in it, ascending by owner; counted when it is sealed and empty before.
    pub owners: Vec<OwnerTotals>,
}

impl SegmentStatistics {
    /// Bytes that what is alive would take in the file of a new segment: a record that was never moved takes its address along.
    #[must_use]
    pub fn moved_bytes(&self) -> u64 {
        let alive = self.records.saturating_sub(self.dead_records);
        let addresses = if self.collected { 0 } else { alive.saturating_mul(ORIGIN_LEN as u64) };
        self.file_bytes.saturating_sub(HEADER_LEN_U64 + self.dead_bytes).saturating_add(addresses)
    }
}

impl ValueLog {
    /// The folder that holds the log.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The segments as they are now. A set from before an append does not know the segment that the append may have
    /// started; take a new one when a pointer names a segment for the first time.
    #[must_use]
    pub fn segments(&self) -> Arc<SegmentSet> {
        Arc::clone(&self.current.lock())
    }

    /// A position behind every record appended so far and before every record still to come.
    #[must_use]
    pub fn head(&self) -> ValueLogHead {
        let newest = self.open_segments.lock().back().map(|open| open.head());
        // Where all is sealed, all is durable.
        newest.unwrap_or_else(|| self.synced())
    }

    /// Everything before this position is durable. One atomic load.
    #[must_use]
    #[inline]
    pub fn synced(&self) -> ValueLogHead {
        self.synced.load()
    }

    /// Whether a sync has failed: nothing is appended or synced any more until the log is opened again.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failure.check().is_err()
    }

    /// The records of a segment without their values.
    ///
    /// # Errors
    /// [`Error::Corruption`] where there is no such segment, or its hint file is missing or damaged.
    pub fn entries(&self, segment: SegmentId) -> Result<Entries> {
        let segment = self.known(segment)?;
        let sealed = self.ledger.lock().segments.get(&segment.id()).map(SealedSegment::totals);
        let Some(totals) = sealed else { return self.records(segment.id()) };
        let (store, header) = (self.options.of_store(), segment.header());
        let hint = HintReader::open(&*self.vfs, &self.dir, store, header, Some(totals))?;
        Ok(Entries(Source::Hint(Box::new(hint))))
    }

    /// Which records of a segment are dead.
    ///
    /// # Errors
    /// [`Error::Corruption`] where there is no such segment, or its dead set is missing or damaged; [`Error::Changed`] where
    /// the log is open for reading and its writer has written the dead set since.
    pub fn dead_set(&self, segment: SegmentId) -> Result<DeadSet> {
        self.load_dead_set(&*self.known(segment)?)
    }

    /// What is known of each segment, oldest first. Reads no file.
    #[must_use]
    pub fn statistics(&self) -> Vec<SegmentStatistics> {
        let set = self.segments();
        let ledger = self.ledger.lock();
        set.iter()
            .map(|segment| {
                let sealed = ledger.segments.get(&segment.id());
                SegmentStatistics {
                    segment: segment.id(),
                    newest_address: segment.addresses().last().copied().unwrap_or(segment.id()),
                    file_bytes: segment.readable_bytes(),
                    records: segment.tally().records.load(Ordering::Relaxed),
                    dead_records: segment.tally().dead_records.load(Ordering::Relaxed),
                    dead_bytes: segment.tally().dead_bytes.load(Ordering::Relaxed),
                    sealed: sealed.is_some(),
                    collected: segment.is_collected(),
                    owners: sealed.map(|sealed| sealed.owners.clone()).unwrap_or_default(),
                }
            })
            .collect()
    }

    /// Bytes of all records, and of those that are dead. Costs a few loads a segment.
    #[must_use]
    pub fn record_totals(&self) -> (u64, u64) {
        let sum = |(total, dead): (u64, u64), segment: &Arc<Segment>| {
            let records = segment.readable_bytes().saturating_sub(HEADER_LEN_U64);
            (total + records, dead + segment.tally().dead_bytes.load(Ordering::Relaxed))
        };
        self.segments().iter().fold((0, 0), sum)
    }

    pub(crate) fn known(&self, id: SegmentId) -> Result<Arc<Segment>> {
        self.segments()
            .segment(id)
            .cloned()
            .ok_or_else(|| Error::corruption(&crate::segment_path(&self.dir, id), 0, "no such segment"))
    }

    pub(crate) fn load_dead_set(&self, segment: &Segment) -> Result<DeadSet> {
        if let Some(noted) = self.unsettled.lock().get(&segment.id()) {
            return Ok(noted.clone());
        }
        let was_there = segment.tally().has_dead_set.load(Ordering::Acquire);
        let found = DeadSet::read_salted(&*self.vfs, &self.dir, self.options.of_store(), segment.header())?;
        if let Some(beside) = &self.beside {
            beside.check(&self.dir, segment.id(), was_there, found.as_ref().map(|(_, salt)| salt))?;
        }
        match found {
            Some((set, _)) => Ok(set),
            None if was_there => Err(dead_set::missing(&self.dir, segment.header())),
            None => Ok(DeadSet::default()),
        }
    }

    /// Lets readers that come from now on see `segment`, new or in another state.
    pub(crate) fn install(&self, segment: Arc<Segment>) {
        let mut current = self.current.lock();
        *current = Arc::new(current.with(&[], Some(segment)));
    }

    /// Writes a changed manifest; nothing has changed where that fails.
    pub(crate) fn commit(&self, change: impl FnOnce(&mut Manifest) -> Result<()>) -> Result<()> {
        let mut ledger = self.ledger.lock();
        let mut next = ledger.clone();
        change(&mut next)?;
        let written = next.write(&*self.vfs, &self.dir, self.options.of_store());
        // Even a failed write may have left its generation on disk.
        ledger.generation = next.generation;
        written?;
        self.lease.end.store(next.next_segment.0, Ordering::Release);
        *ledger = next;
        Ok(())
    }

    /// Raises the counter of a manifest by one lease.
    pub(crate) fn extend_lease(&self, manifest: &mut Manifest) -> Result<()> {
        let next = manifest.next_segment.0.checked_add(LEASE_IDS);
        let next = next.ok_or_else(|| Error::IdsExhausted { dir: self.dir.clone() })?;
        manifest.next_segment = SegmentId(next);
        Ok(())
    }

    /// Refuses a write that cannot be.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.options.read_only {
            return Err(Error::ReadOnly { dir: self.dir.clone() });
        }
        if !self.ready.load(Ordering::Acquire) {
            return Err(Error::InRecovery { dir: self.dir.clone() });
        }
        self.failure.check()
    }
}

/// Segment ids that may be used: the counter in the manifest is at or above `end`.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Changed under the writer's lock alone.
    pub(crate) next: AtomicU32,
    pub(crate) end: AtomicU32,
}

impl Lease {
    pub(crate) fn new(next: SegmentId, end: SegmentId) -> Self {
        Self { next: AtomicU32::new(next.0), end: AtomicU32::new(end.0) }
    }

    pub(crate) fn left(&self) -> u32 {
        self.end.load(Ordering::Acquire).saturating_sub(self.next.load(Ordering::Acquire))
    }

    pub(crate) fn is_low(&self) -> bool {
        self.left() < LEASE_IDS / 2
    }
}

/// A head in one word, so that it can be read without a lock. It only rises.
#[derive(Debug, Default)]
pub(crate) struct PackedHead(AtomicU64);

impl PackedHead {
    pub(crate) fn load(&self) -> ValueLogHead {
        let packed = self.0.load(Ordering::Acquire);
        ValueLogHead { segment: SegmentId((packed >> 32) as u32), offset: packed as u32 }
    }

    pub(crate) fn raise(&self, to: ValueLogHead) {
        self.0.fetch_max(u64::from(to.segment.0) << 32 | u64::from(to.offset), Ordering::AcqRel);
    }
}

/// The first sync that failed. Nothing is written after it: what it was to make durable must be taken for lost.
#[derive(Debug, Default)]
pub(crate) struct Failure {
    latched: AtomicBool,
    cause: Mutex<Option<vfs::Error>>,
}

impl Failure {
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        if self.latched.load(Ordering::Acquire) { Err(self.duplicate()) } else { Ok(()) }
    }

    pub(crate) fn latch(&self, cause: vfs::Error) -> Error {
        self.cause.lock().get_or_insert_with(|| cause.duplicate());
        self.latched.store(true, Ordering::Release);
        cause.into()
    }

    #[cold]
    fn duplicate(&self) -> Error {
        match &*self.cause.lock() {
            Some(cause) => cause.duplicate().into(),
            None => Error::InvalidArgument("the value log has failed"),
        }
    }
}
