//! Records that are brought near before they are asked for.
//!
//! A scan knows some of the pointers that it will come to. Fetching what they name together, in file order, lets reads
//! overlap where they wait for the disk, and neighbours share a call where segments are read. Nothing depends on it: what could not be fetched is read, and fails, when it is asked for.

use std::ops::Range;
use std::time::Duration;

use base::clock::Clock;
use base::{SegmentId, ValuePointer};
use bytes::Bytes;
use vfs::Advice;

use crate::Segment;
use crate::segment::touch;

/// Records that are no farther apart than this are fetched together.
const GAP_BYTES_MAX: u64 = 4 << 10;

/// A fetch that takes longer than this waited for the disk.
const DISK_LATENCY_MIN: Duration = Duration::from_micros(20);

/// Records that were brought near: see [`Segment::read_with`].
#[derive(Debug, Default)]
pub struct ReadAhead {
    chunks: Vec<Chunk>,
    is_slow: bool,
    pays: bool,
}

/// Bytes of a segment's file from an offset on.
#[derive(Debug)]
struct Chunk {
    segment: SegmentId,
    start: u64,
    bytes: Bytes,
}

/// Bytes of a segment that hold one or more records.
struct Run<'a> {
    segment: &'a Segment,
    range: Range<u64>,
}

impl ReadAhead {
    /// Fetches the records of pointers, each with the segment that holds it. `was_slow` is whether the disk was waited for
    /// the last time: then all records are asked of the system before the first is waited for.
    ///
    /// Takes as many bytes as the records have, and up to 4 KiB for each.
    pub fn fetch<'a>(
        records: impl Iterator<Item = (&'a Segment, ValuePointer)>,
        was_slow: bool,
        clock: &dyn Clock,
    ) -> Self {
        let (runs, records) = runs_of(records);
        let saves_calls = 2 * runs.len() <= records && runs.iter().any(|run| run.segment.copies());
        let mut ahead = Self { chunks: Vec::new(), is_slow: false, pays: saves_calls };
        let mut left = runs.iter();
        if was_slow {
            left.clone().for_each(Run::announce);
        }
        let (mut announced, mut began) = (was_slow, clock.monotonic());
        while let Some(run) = left.next() {
            // What is mapped comes by itself once it is announced, and whoever waited here would only wait earlier.
            if ahead.is_slow && !run.segment.copies() {
                continue;
            }
            ahead.take(run);
            let ended = clock.monotonic();
            ahead.is_slow |= ended - began > DISK_LATENCY_MIN;
            began = ended;
            if ahead.is_slow && !announced {
                left.clone().for_each(Run::announce);
                announced = true;
            }
        }
        ahead.pays |= ahead.is_slow;
        ahead
    }

    /// Whether fetching together was faster than reading one by one is: the disk was waited for, or records shared calls.
    /// What is in memory, and alone, is not worth knowing before.
    #[must_use]
    pub fn pays(&self) -> bool {
        self.pays
    }

    /// Whether the disk was waited for.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.is_slow
    }

    fn take(&mut self, run: &Run<'_>) {
        let segment = run.segment.id();
        if let Some(fetched) = self.get(segment, &run.range) {
            return touch(fetched);
        }
        if let Ok(Some((start, bytes))) = run.segment.fetch(run.range.clone()) {
            self.chunks.push(Chunk { segment, start, bytes });
        }
    }

    /// Bytes of a segment's file, if they were fetched.
    pub(crate) fn get(&self, segment: SegmentId, range: &Range<u64>) -> Option<&[u8]> {
        self.chunks.iter().filter(|chunk| chunk.segment == segment).find_map(|chunk| chunk.part(range))
    }
}

impl Chunk {
    fn part(&self, range: &Range<u64>) -> Option<&[u8]> {
        let (start, end) = (range.start.checked_sub(self.start)?, range.end.checked_sub(self.start)?);
        self.bytes.get(start as usize..end as usize)
    }
}

impl Run<'_> {
    fn announce(&self) {
        self.segment.file().advise(self.range.start, self.range.end - self.range.start, Advice::WillNeed);
    }
}

/// The bytes to fetch, in file order, and how many records are in them. A pointer that leads nowhere is an error of its own
/// read.
fn runs_of<'a>(records: impl Iterator<Item = (&'a Segment, ValuePointer)>) -> (Vec<Run<'a>>, usize) {
    let place = |(segment, pointer): (&'a Segment, ValuePointer)| {
        segment.place_of(pointer).ok().map(|(_, range)| Run { segment, range })
    };
    let mut runs: Vec<Run<'_>> = records.filter_map(place).collect();
    let records = runs.len();
    runs.sort_unstable_by_key(|run| (run.segment.id(), run.range.start));
    runs.dedup_by(|next, run| {
        let joins = next.segment.id() == run.segment.id() && next.range.start <= run.range.end + GAP_BYTES_MAX;
        if joins {
            run.range.end = run.range.end.max(next.range.end);
        }
        joins
    });
    (runs, records)
}
