//! Runs workloads one after the other on one kind of store: prepares what each needs, starts its threads, measures.

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

use crate::data::{Permutation, Values, value_pool, write_key};
use crate::directory::ScratchDir;
use crate::figures::Figures;
use crate::large::overwrite_large;
use crate::process::{AnonymousMemory, FileBytes, cpu_seconds, peak_rss_bytes, reset_peak_rss, wait_until_idle};
use crate::task::{Tally, Task};
use crate::workload::{Action, Needs};
use crate::{Error, Parameters, Result, Store, Workload};

/// Entries of a commit of the load that reads are measured on.
const LOAD_BATCH: usize = 100;

/// Runs workloads on one kind of store, in a folder of its own that is gone when this is dropped.
#[derive(Debug)]
pub struct Runner<S> {
    parameters: Parameters,
    pool: Vec<u8>,
    open: Option<Opened<S>>,
    // Behind the store, so that it is dropped after it.
    dir: ScratchDir,
}

#[derive(Debug)]
struct Opened<S> {
    store: S,
    /// What was loaded, as long as nothing else was written.
    loaded: Option<Load>,
}

/// What reads are measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Load {
    num: u64,
    /// Keys that there are, of which the first `num` are loaded.
    room: u64,
    value_size: usize,
}

/// What was counted before a workload.
#[derive(Debug)]
pub(crate) struct Before {
    memory: AnonymousMemory,
    files: FileBytes,
    cpu_seconds: f64,
}

/// What the threads of a workload did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) tally: Tally,
    pub(crate) seconds: f64,
    /// Bytes that a thread beside them wrote.
    written_beside: u64,
}

impl<S: Store> Runner<S> {
    /// A runner that works in a new folder below `parent`, or below the system's temporary folder.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(parameters: Parameters, parent: Option<&Path>) -> Result<Self> {
        let pool = value_pool(parameters.value_size, parameters.seed);
        Ok(Self { parameters, pool, open: None, dir: ScratchDir::create(parent)? })
    }

    /// Runs a workload.
    ///
    /// # Errors
    /// When the store fails or gives a wrong answer.
    pub fn run(&mut self, workload: &Workload) -> Result<Figures> {
        let value_size = workload.value_size(&self.parameters);
        if self.pool.len() < 2 * value_size {
            self.pool = value_pool(value_size, self.parameters.seed);
        }
        self.prepare(workload)?;
        let task = Task::new(workload, &self.parameters, &self.pool);
        if workload.overwrites_large_values() {
            return overwrite_large::<S>(&self.dir, workload, &task);
        }
        let before = Before::count()?;
        let ran = match &self.open {
            Some(opened) => run_on(&opened.store, &task)?,
            None if task.action == Action::BareSync => run_bare(self.dir.path(), &task)?,
            None => run_opens::<S>(self.dir.path(), &task)?,
        };
        if workload.writes() {
            wait_until_idle();
        }
        let disk_bytes = self.dir.disk_bytes()?;
        let figures = figures(workload, &task, ran, before, disk_bytes)?;
        if let Some(opened) = self.open.as_mut().filter(|_| workload.writes()) {
            opened.loaded = None;
        }
        Ok(figures)
    }

    /// Closes the store.
    ///
    /// # Errors
    /// When the store fails.
    pub fn close(mut self) -> Result<()> {
        self.close_store()
    }

    fn close_store(&mut self) -> Result<()> {
        self.open.take().map_or(Ok(()), |opened| opened.store.close())
    }

    fn prepare(&mut self, workload: &Workload) -> Result<()> {
        let load = Load {
            num: workload.num(&self.parameters),
            room: workload.room(&self.parameters),
            value_size: workload.value_size(&self.parameters),
        };
        let is_loaded = self.open.as_ref().is_some_and(|open| open.loaded == Some(load));
        if is_loaded && workload.needs() == Needs::Loaded {
            return Ok(());
        }
        self.close_store()?;
        if is_loaded && workload.needs() == Needs::LoadedClosed {
            return Ok(());
        }
        self.dir.clear()?;
        match workload.needs() {
            Needs::Nothing => return Ok(()),
            Needs::Empty => self.open(None)?,
            Needs::Loaded => {
                self.load(load)?;
                self.open(Some(load))?;
            }
            Needs::LoadedClosed => self.load(load)?,
            Needs::Killed => {
                Task::new(workload, &self.parameters, &self.pool).leave_killed::<S>(self.dir.path())?;
            }
        }
        wait_until_idle();
        Ok(())
    }

    fn open(&mut self, loaded: Option<Load>) -> Result<()> {
        self.open = Some(Opened { store: S::open(self.dir.path(), &self.parameters)?, loaded });
        Ok(())
    }

    /// Sets each key once, in random order, and closes the store.
    fn load(&self, load: Load) -> Result<()> {
        let store = S::open(self.dir.path(), &self.parameters)?;
        let key_size = self.parameters.key_size;
        let permutation = Permutation::new(load.room, self.parameters.seed);
        let mut values = Values::new(&self.pool, load.value_size, self.parameters.seed);
        let mut keys = vec![0; LOAD_BATCH * key_size];
        let mut places = 0..load.num;
        while places.start < places.end {
            let mut written = 0;
            for (key, place) in keys.chunks_exact_mut(key_size).zip(places.by_ref().take(LOAD_BATCH)) {
                write_key(key, permutation.at(place));
                written += 1;
            }
            let entries = keys.chunks_exact(key_size).take(written).map(|key| (key, values.next()));
            store.put_batch(entries, false)?;
        }
        wait_until_idle();
        store.close()
    }
}

impl Before {
    pub(crate) fn count() -> Result<Self> {
        reset_peak_rss();
        Ok(Self { files: FileBytes::so_far(), cpu_seconds: cpu_seconds(), memory: AnonymousMemory::watch()? })
    }
}

/// Runs the threads of a task on a store.
fn run_on<S: Store>(store: &S, task: &Task<'_>) -> Result<Ran> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer =
            (task.action == Action::ReadWhileWriting).then(|| scope.spawn(|| task.overwrite_until(store, &stop)));
        let ran = run_threads(task, |thread| task.run(store, thread));
        stop.store(true, Ordering::Relaxed);
        let written_beside = writer.map_or(Ok(0), joined)?;
        Ok(Ran { written_beside, ..ran? })
    })
}

fn run_bare(dir: &Path, task: &Task<'_>) -> Result<Ran> {
    run_threads(task, |thread| task.bare_sync(dir, thread))
}

fn run_opens<S: Store>(dir: &Path, task: &Task<'_>) -> Result<Ran> {
    let (tally, sum) = task.open_stores::<S>(dir)?;
    Ok(Ran { tally, seconds: sum.as_secs_f64(), written_beside: 0 })
}

pub(crate) fn run_threads(task: &Task<'_>, work: impl Fn(usize) -> Result<Tally> + Sync) -> Result<Ran> {
    let start = Barrier::new(task.threads + 1);
    thread::scope(|scope| {
        let (start, work) = (&start, &work);
        let threads: Vec<_> = (0..task.threads)
            .map(|thread| {
                scope.spawn(move || {
                    start.wait();
                    work(thread)
                })
            })
            .collect();
        // Before any of them can start: this thread may be the last to be woken.
        let began = Instant::now();
        start.wait();
        let tallies: Vec<Result<Tally>> = threads.into_iter().map(joined).collect();
        let seconds = began.elapsed().as_secs_f64();
        let mut sum: Option<Tally> = None;
        for tally in tallies {
            let tally = tally?;
            match &mut sum {
                Some(sum) => sum.add(&tally),
                None => sum = Some(tally),
            }
        }
        let tally = sum.ok_or_else(|| Error::Argument("a workload without threads".to_owned()))?;
        Ok(Ran { tally, seconds, written_beside: 0 })
    })
}

pub(crate) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// What a workload has cost since `before`, and what it came to.
pub(crate) fn figures(
    workload: &Workload,
    task: &Task<'_>,
    ran: Ran,
    before: Before,
    disk_bytes: u64,
) -> Result<Figures> {
    let Ran { tally, seconds, written_beside } = ran;
    let cpu_seconds = cpu_seconds() - before.cpu_seconds;
    let bytes_written = FileBytes::since(before.files).written;
    let bytes_put = match task.action {
        Action::ReadWhileWriting => written_beside,
        Action::BareSync => tally.bytes,
        Action::Ycsb(_) => tally.put_bytes,
        _ if workload.writes() => tally.bytes,
        _ => 0,
    };
    let live_bytes = match task.action {
        Action::BareSync => tally.bytes,
        _ => (task.live_entries() + tally.added) * task.entry_bytes(),
    };
    Ok(Figures {
        workload: workload.name().to_owned(),
        threads: task.threads,
        ops: tally.ops,
        seconds,
        ops_per_second: tally.ops as f64 / seconds,
        mb_per_second: tally.bytes as f64 / 1e6 / seconds,
        p50_us: tally.latencies.quantile_us(0.5),
        p99_us: tally.latencies.quantile_us(0.99),
        p999_us: tally.latencies.quantile_us(0.999),
        max_us: tally.latencies.max_us(),
        bytes_written,
        write_amplification: ratio(bytes_written, bytes_put),
        space_amplification: ratio(disk_bytes, live_bytes),
        cpu_seconds,
        peak_rss_bytes: peak_rss_bytes()?,
        peak_anon_bytes: before.memory.peak_bytes()?,
        large: None,
        collecting: None,
    })
}

pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
