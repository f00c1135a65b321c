//! Watches a store while it is written to: what its files take, and how many of its threads wait for the disk.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::Result;
use crate::directory::DiskUse;
use crate::process::threads_waiting_for_disk;

/// Samples of space in a run.
const SAMPLES: u64 = 40;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The last part of a run, in which a store is taken for steady.
const STEADY_PART: usize = 3;

/// How far the writers of a run are.
#[derive(Debug)]
pub(crate) struct Progress {
    operations: u64,
    done: AtomicU64,
    has_ended: AtomicBool,
}

/// What was seen of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Watched {
    /// About every fortieth of the operations, the last one after all.
    pub(crate) space: Vec<DiskUse>,
    /// How many threads waited for a disk, on average.
    pub(crate) waiting_for_disk: f64,
}

impl Progress {
    /// Of so many operations.
    pub(crate) fn of(operations: u64) -> Self {
        Self { operations, done: AtomicU64::new(0), has_ended: AtomicBool::new(false) }
    }

    /// An operation was done.
    #[inline]
    pub(crate) fn did_one(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// No more come, and who watches may end.
    pub(crate) fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
    }

    /// Watches a folder until the end.
    pub(crate) fn watch(&self, dir: &Path) -> Result<Watched> {
        let mut space = Vec::new();
        let (mut sampled, mut waiting, mut looks) = (0, 0, 0_u32);
        while !self.has_ended.load(Ordering::Acquire) {
            let due = self.samples_due();
            if due > sampled {
                space.push(DiskUse::of(dir)?);
                sampled = due;
            }
            waiting += threads_waiting_for_disk();
            looks += 1;
            thread::park_timeout(LOOK_EVERY);
        }
        space.push(DiskUse::of(dir)?);
        Ok(Watched { space, waiting_for_disk: waiting as f64 / f64::from(looks.max(1)) })
    }

    fn samples_due(&self) -> u64 {
        let done = self.done.load(Ordering::Relaxed);
        (u128::from(done) * u128::from(SAMPLES) / u128::from(self.operations.max(1))) as u64
    }
}

impl Watched {
    /// The mean of a figure over the last third of the run.
    pub(crate) fn steady(&self, figure: impl Fn(&DiskUse) -> u64) -> f64 {
        let first = self.space.len() - self.space.len().div_ceil(STEADY_PART);
        let last: Vec<f64> = self.space.iter().skip(first).map(|sample| figure(sample) as f64).collect();
        last.iter().sum::<f64>() / last.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::ScratchDir;

    #[test]
    fn samples_are_due_by_operations_done() {
        let progress = Progress::of(80);
        let due: Vec<u64> = (0..5)
            .map(|_| {
                progress.did_one();
                progress.samples_due()
            })
            .collect();
        assert_eq!(due, [0, 1, 1, 2, 2]);
    }

    #[test]
    fn the_last_sample_is_of_the_end() {
        let dir = ScratchDir::create(None).unwrap();
        let progress = Progress::of(1);
        std::fs::write(dir.path().join("file"), [1; 1_000]).unwrap();
        progress.end();
        let watched = progress.watch(dir.path()).unwrap();
        assert_eq!(watched.space.iter().map(|sample| sample.apparent).collect::<Vec<_>>(), [1_000]);
    }

    #[test]
    fn the_steady_part_is_the_last_third() {
        let sample = |apparent| DiskUse { allocated: 0, apparent };
        let steady = |samples: &[u64]| {
            Watched { space: samples.iter().copied().map(sample).collect(), waiting_for_disk: 0.0 }
                .steady(|sample| sample.apparent)
        };
        assert_eq!(steady(&[9, 9, 9, 9, 1, 3]).to_bits(), 2_f64.to_bits());
        assert_eq!(steady(&[9, 9, 4, 6]).to_bits(), 5_f64.to_bits(), "a third that is not whole is rounded up");
        assert_eq!(steady(&[7]).to_bits(), 7_f64.to_bits());
    }
}
