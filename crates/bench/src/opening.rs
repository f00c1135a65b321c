//! Opening a store: after a clean close, and after the death of its writer.
//!
//! Only the call of `open` is timed. What the store then holds is looked at, and it is closed, before the next is
//! opened; neither counts.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::data::write_key;
use crate::directory::copy_dir;
use crate::process::wait_until_idle;
use crate::task::{Tally, Task};
use crate::workload::Action;
use crate::{Direction, Error, Result, Store};

/// Entries of the log that the killed writer leaves, as a part of all.
const KILLED_PART: u64 = 5;

impl Task<'_> {
    /// Opens and closes the store in `dir`, or each of those below it. Also returns the sum of the times of opening.
    pub(crate) fn open_stores<S: Store>(&self, dir: &Path) -> Result<(Tally, Duration)> {
        let (mut rng, mut key) = (self.numbers(0), self.key_buffer());
        let (mut tally, mut sum) = (Tally::begin(), Duration::ZERO);
        for place in 0..self.operations {
            let is_killed = self.action == Action::OpenAfterKill;
            let dir = if is_killed { killed_dir(dir, place) } else { dir.to_owned() };
            let began = Instant::now();
            let store = S::open(&dir, self.parameters)?;
            let took = began.elapsed();
            tally.ops += 1;
            tally.latencies.record(took);
            sum += took;
            if is_killed {
                self.expect_all_of_writer(&store)?;
            } else {
                let number = rng.below(self.num);
                write_key(&mut key, number);
                self.get_one(&store, &key, number)?;
            }
            store.close()?;
        }
        Ok((tally, sum))
    }

    /// Leaves the folders of a store as often as they will be opened, as they are when its writer is killed.
    ///
    /// They are copies of what a store that is open and at rest has written: since it acknowledged nothing before the
    /// kernel had it, its death would leave the same.
    pub(crate) fn leave_killed<S: Store>(&self, dir: &Path) -> Result<()> {
        let live = dir.join("live");
        let at = |error| Error::file(&live, error);
        fs::create_dir(&live).map_err(at)?;
        let store = S::open(&live, self.parameters)?;
        self.writer().run(&store, 0)?;
        wait_until_idle();
        for place in 0..self.operations {
            copy_dir(&live, &killed_dir(dir, place))?;
        }
        store.close()?;
        fs::remove_dir_all(&live).map_err(at)
    }

    /// The task of the writer that is killed.
    pub(crate) fn writer(&self) -> Self {
        let operations = (self.num / KILLED_PART).max(1);
        Self { action: Action::FillRandom { batch: None }, operations, threads: 1, ..*self }
    }

    fn expect_all_of_writer<S: Store>(&self, store: &S) -> Result<()> {
        let (mut seen, written) = (0, self.writer().live_entries());
        store.scan(None, Direction::Forward, u64::MAX, |_, _| seen += 1)?;
        if seen == written {
            return Ok(());
        }
        Err(Error::WrongAnswer(format!("{seen} of {written} entries are there after the death of their writer")))
    }
}

fn killed_dir(dir: &Path, place: u64) -> PathBuf {
    dir.join(format!("killed-{place}"))
}
