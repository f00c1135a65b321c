//! Large values that are overwritten: what that costs in bytes, in space and in latency.
//!
//! A leg is one store, from an empty folder on: it loads each key once, rests, and overwrites as many values as there
//! are keys three times. `overwritelarge` is one leg. `gc` is four: with and without collecting what was overwritten,
//! each as fast as the store takes it and at half the rate that it takes without.

use std::path::Path;
use std::thread;

use base::rng::Rng;

use crate::data::{Permutation, tells_apart, write_key};
use crate::directory::{DiskUse, ScratchDir};
use crate::figures::Figures;
use crate::large_figures::{Collecting, LargeValues};
use crate::pacing::{Pacer, SystemClock};
use crate::process::{FileBytes, cpu_seconds, wait_until_idle};
use crate::runner::{Before, Ran, figures, joined, ratio, run_threads};
use crate::space::{Progress, Watched};
use crate::task::{Tally, Task};
use crate::workload::{Action, Popularity};
use crate::ycsb::POPULARITY_SEED;
use crate::zipf::Zipf;
use crate::{Error, Parameters, Result, Store, Workload};

/// Of the rate without collecting, what writers are offered while there is.
const OFFERED_PART: f64 = 0.5;

/// Runs `overwritelarge` or `gc` in an empty folder.
pub(crate) fn overwrite_large<S: Store>(dir: &ScratchDir, workload: &Workload, task: &Task<'_>) -> Result<Figures> {
    if !tells_apart(task.parameters.key_size, task.num - 1) {
        let (size, num) = (task.parameters.key_size, task.num);
        return Err(Error::Argument(format!("keys of {size} bytes cannot tell {num} entries apart")));
    }
    let leg = |task: &Task<'_>, offered| run_leg::<S>(dir, workload, task, offered);
    if !matches!(task.action, Action::CollectLarge { .. }) {
        return leg(task, None);
    }
    let parameters = Parameters { collects_values: false, ..task.parameters.clone() };
    let without = Task { parameters: &parameters, ..*task };
    let fast_without = leg(&without, None)?;
    let offered = fast_without.ops_per_second * OFFERED_PART;
    let paced_without = leg(&without, Some(offered))?;
    let paced = leg(task, Some(offered))?;
    let mut fast = leg(task, None)?;
    fast.collecting = Some(Collecting {
        fast_ops_per_second_without: fast_without.ops_per_second,
        fast_kept: fast.ops_per_second / fast_without.ops_per_second,
        offered_ops_per_second: offered,
        paced_kept_without: paced_without.ops_per_second / offered,
        paced_kept: paced.ops_per_second / offered,
        paced_p999_us_without: paced_without.p999_us,
        paced_p999_us: paced.p999_us,
    });
    Ok(fast)
}

/// One store from its making to its end; the figures are of the overwriting.
fn run_leg<S: Store>(
    dir: &ScratchDir,
    workload: &Workload,
    task: &Task<'_>,
    offered_per_second: Option<f64>,
) -> Result<Figures> {
    dir.clear()?;
    let begun = FileBytes::so_far();
    let store = S::open(dir.path(), task.parameters)?;
    let load = load(&store, task)?;
    wait_until_idle();
    let loaded = FileBytes::since(begun).written;

    let (before, written_before, cpu_before) = (Before::count()?, FileBytes::so_far(), cpu_seconds());
    let (ran, watched) = overwrite(&store, dir.path(), task, offered_per_second)?;
    let (written, cpu) = (FileBytes::since(written_before).written, cpu_seconds() - cpu_before);
    wait_until_idle();
    let (settled, all) = (DiskUse::of(dir.path())?, FileBytes::since(begun));

    let live = (task.num * task.entry_bytes()) as f64;
    let of_live = |sample: &DiskUse| sample.allocated as f64 / live;
    let large = LargeValues {
        load_ops_per_second: load.tally.ops as f64 / load.seconds,
        load_mb_per_second: load.tally.bytes as f64 / 1e6 / load.seconds,
        load_write_amplification: ratio(loaded, load.tally.bytes),
        overall_write_amplification: ratio(all.written, load.tally.bytes + ran.tally.bytes),
        overall_bytes_written: all.written,
        overall_bytes_cancelled: all.cancelled,
        collected_bytes: store.collected_bytes()?,
        space_steady: watched.steady(|sample| sample.allocated) / live,
        apparent_space_steady: watched.steady(|sample| sample.apparent) / live,
        space_max: watched.space.iter().map(of_live).fold(0.0, f64::max),
        space_end: watched.space.last().map_or(0.0, of_live),
        space_settled: of_live(&settled),
        space_over_time: watched.space.iter().map(of_live).collect(),
        cores: thread::available_parallelism().map_or(1, usize::from),
        cores_used: cpu / ran.seconds,
        threads_waiting_for_disk: watched.waiting_for_disk,
        written_mb_per_second: written as f64 / 1e6 / ran.seconds,
    };
    let mut figures = figures(workload, task, ran, before, settled.allocated)?;
    figures.large = Some(large);
    expect_all(&store, task)?;
    store.close()?;
    Ok(figures)
}

/// Sets each key once, in random order.
fn load<S: Store>(store: &S, task: &Task<'_>) -> Result<Ran> {
    let load = Task { operations: task.num, ..*task };
    let places = Permutation::new(task.num, task.parameters.seed);
    run_threads(&load, |thread| load.fill(store, thread, 1, task.parameters.sync, |place, _| places.at(place)))
}

fn overwrite<S: Store>(
    store: &S,
    dir: &Path,
    task: &Task<'_>,
    offered_per_second: Option<f64>,
) -> Result<(Ran, Watched)> {
    let progress = Progress::of(task.operations);
    let offered_to_each = offered_per_second.map(|rate| rate / task.threads as f64);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| progress.watch(dir));
        let ran = run_threads(task, |thread| match offered_to_each {
            Some(per_second) => task.overwrite_paced(store, thread, &progress, per_second),
            None => task.overwrite_fast(store, thread, &progress),
        });
        progress.end();
        watcher.thread().unpark();
        let watched = joined(watcher);
        Ok((ran?, watched?))
    })
}

/// No key is lost.
fn expect_all<S: Store>(store: &S, task: &Task<'_>) -> Result<()> {
    let mut key = task.key_buffer();
    for number in 0..task.num {
        write_key(&mut key, number);
        task.get_one(store, &key, number)?;
    }
    Ok(())
}

impl Task<'_> {
    fn overwrite_fast<S: Store>(&self, store: &S, thread: usize, progress: &Progress) -> Result<Tally> {
        let mut draw = Draw::of(self, thread);
        let (mut values, mut key) = (self.values(thread), self.key_buffer());
        let mut tally = Tally::begin();
        for _ in self.part_of(thread) {
            write_key(&mut key, draw.next());
            store.put(&key, values.next(), self.parameters.sync)?;
            tally.did(1, self.entry_bytes());
            progress.did_one();
        }
        Ok(tally)
    }

    fn overwrite_paced<S: Store>(
        &self,
        store: &S,
        thread: usize,
        progress: &Progress,
        per_second: f64,
    ) -> Result<Tally> {
        let mut draw = Draw::of(self, thread);
        let (mut values, mut key) = (self.values(thread), self.key_buffer());
        let mut tally = Tally::begin();
        let mut pacer = Pacer::new(SystemClock::begin(), per_second);
        for _ in self.part_of(thread) {
            write_key(&mut key, draw.next());
            let value = values.next();
            let begin = pacer.wait();
            store.put(&key, value, self.parameters.sync)?;
            tally.took(pacer.latency(begin), self.entry_bytes());
            progress.did_one();
        }
        Ok(tally)
    }
}

/// The keys that a thread overwrites.
struct Draw {
    rng: Rng,
    num: u64,
    /// Where some are more popular: ranks, and the keys that have them.
    zipf: Option<(Zipf, Permutation)>,
}

impl Draw {
    fn of(task: &Task<'_>, thread: usize) -> Self {
        let popularity = match task.action {
            Action::OverwriteLarge { popularity } | Action::CollectLarge { popularity } => popularity,
            _ => Popularity::Uniform,
        };
        let scattered = || Permutation::new(task.num, task.parameters.seed ^ POPULARITY_SEED);
        let zipf = (popularity == Popularity::Zipf).then(|| (Zipf::new(task.num), scattered()));
        Self { rng: task.numbers(thread), num: task.num, zipf }
    }

    fn next(&mut self) -> u64 {
        match &self.zipf {
            Some((zipf, keys)) => keys.at(zipf.draw(&mut self.rng)),
            None => self.rng.below(self.num),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each of a thousand keys is drawn of a hundred thousand times, the most frequent first.
    fn counts(name: &str) -> (Vec<usize>, Vec<usize>) {
        let parameters = Parameters { load_bytes: 1_000 << 10, ..Parameters::default() };
        let workload: Workload = name.parse().unwrap();
        let mut draw = Draw::of(&Task::new(&workload, &parameters, &[]), 0);
        let mut counts = vec![0; 1_000];
        for _ in 0..100_000 {
            counts[draw.next() as usize] += 1;
        }
        let mut sorted = counts.clone();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        (counts, sorted)
    }

    #[test]
    fn all_keys_are_overwritten_alike_or_some_of_them_most() {
        let (_, uniform) = counts("overwritelarge-1k");
        assert!(uniform[0] < 150 && uniform[999] > 50, "{} to {}", uniform[999], uniform[0]);
        let (zipf, sorted) = counts("gc-1k-zipf");
        // Of 1,000 ranks the first has 1 / 7.73 of the draws, and the first hundred have two thirds.
        assert!((12_000..14_000).contains(&sorted[0]), "{}", sorted[0]);
        assert!((60_000..75_000).contains(&sorted[..100].iter().sum::<usize>()));
        assert!(zipf[..100].iter().sum::<usize>() < 40_000, "the popular ones are scattered");
    }
}
