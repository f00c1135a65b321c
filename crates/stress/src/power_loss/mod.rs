//! Power loss at every step of a workload that repeats exactly.
//!
//! The workload runs in one thread over the strict file system in memory. Before each change of a file or a name, images
//! are taken of what a power loss at that moment may leave, and each is opened, checked, written to, crashed again or
//! closed, and checked again. What must hold of each:
//!
//! 1. Every commit that was acknowledged as synced is there; where only the process died, every acknowledged one.
//! 2. What is there is a prefix of the commits in their order, over all keyspaces: no hole, no half of a batch.
//! 3. What an opened store has shown stays, and what it did not show never comes back.

mod image;
mod workload;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use base::sync::Mutex;
use crossbeam_channel::Receiver;
use engine::{AutoGc, GcPolicy, Options, StaticKey};
use vfs::{CrashMode, FaultFs, FaultPlan, MemFs, Operation, OperationRecord, Vfs};

use crate::content::mix;
use crate::forgetful::ForgetfulFs;
use crate::{Failure, Outcome};

use image::Image;
pub use workload::Events;
use workload::Progress;

/// Where the store is in its file system.
pub const DIR: &str = "/store";

/// Where the value log is, if it is not in the store.
const VALUE_DIR: &str = "/values/log";

/// Images that wait to be checked.
const QUEUE_LEN: usize = 64;

/// How much of a proof to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where all randomness comes from.
    pub seed: u64,
    /// Images at each change, in modes that draw lots; the others need one each.
    pub draws: Vec<(CrashMode, u64)>,
    /// How the store is made.
    pub making: Making,
    /// After this many failures the proof ends.
    pub failures_max: usize,
    /// Threads that check images.
    pub checkers: usize,
}

impl Plan {
    /// At every change, in every mode.
    #[must_use]
    pub fn full(seed: u64) -> Self {
        let once = [CrashMode::DropUnsynced, CrashMode::KeepAll, CrashMode::KeepNames].map(|mode| (mode, 1));
        let drawn = [(CrashMode::Prefix, 2), (CrashMode::Random, 3)];
        Self {
            seed,
            draws: once.into_iter().chain(drawn).collect(),
            making: Making::default(),
            failures_max: 5,
            checkers: 2,
        }
    }

    /// Enough to find a sync that was left out.
    #[must_use]
    pub fn brief(seed: u64) -> Self {
        let draws = vec![(CrashMode::DropUnsynced, 1), (CrashMode::Random, 1)];
        Self { seed, draws, making: Making::default(), failures_max: 1, checkers: 2 }
    }
}

/// How a store is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Making {
    /// Where its value log is.
    pub values: Values,
    /// Whether it is encrypted.
    pub encrypted: bool,
}

/// Where the value log of a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Values {
    /// In the store's own folder.
    #[default]
    InStore,
    /// In a folder of its own, as on another disk.
    Apart,
}

/// What a proof came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Images checked, by mode.
    pub images: BTreeMap<&'static str, u64>,
    /// Changes of files and names that the workload made, and at which images were taken.
    pub changes: u64,
    /// What the workload went through.
    pub events: Events,
    /// The first failures.
    pub failures: Vec<Failure>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.images.values().sum();
        write!(f, "{total} images at {} changes:", self.changes)?;
        for (mode, count) in &self.images {
            write!(f, " {mode} {count}")?;
        }
        write!(f, "; {}", self.events)
    }
}

/// Runs the workload and checks every image. `forgets` names files and directories whose syncs are left out, as a check
/// of the check.
#[must_use]
pub fn run(plan: &Plan, forgets: Option<fn(&Path) -> bool>) -> Report {
    let memory = MemFs::new(plan.seed);
    let below: Arc<dyn Vfs> = match forgets {
        Some(forgets) => Arc::new(ForgetfulFs::new(Arc::new(memory.clone()), forgets)),
        None => Arc::new(memory.clone()),
    };
    let fs = FaultFs::new(below, FaultPlan::none());
    let found = Arc::new(Found { failures_max: plan.failures_max, ..Found::default() });
    let progress = Arc::new(Progress::default());
    let (send, receive) = crossbeam_channel::bounded(QUEUE_LEN);
    let taker = Taker {
        plan: plan.clone(),
        memory,
        progress: Arc::clone(&progress),
        found: Arc::clone(&found),
        before: Mutex::default(),
    };
    let worked = thread::scope(|scope| {
        for _ in 0..plan.checkers.max(1) {
            scope.spawn(|| check_images(&receive, &found));
        }
        fs.on_mutation(move |record| {
            for image in taker.images_at(record) {
                // The checkers outlive the hook, which is cleared below.
                let _ = send.send(image);
            }
        });
        let worked = workload::run(
            tiny_options(Arc::new(fs.clone()), plan.making),
            plan.making.encrypted,
            &progress,
            &found.stop,
        );
        fs.clear_hook();
        worked
    });
    let mut report = Report { changes: *found.changes.lock(), ..Report::default() };
    match worked {
        Ok(counted) => {
            let Events { log_switches, segment_seals, manifest_switches, key_registries, .. } = *found.seen.lock();
            report.events = Events { log_switches, segment_seals, manifest_switches, key_registries, ..counted };
        }
        Err(failure) => found.report(failure.during("the workload itself")),
    }
    report.images.clone_from(&found.images.lock());
    report.failures = std::mem::take(&mut *found.failures.lock());
    report
}

/// The options of the workload: everything so small that all of it happens soon, in one thread.
pub(crate) fn tiny_options(fs: Arc<dyn Vfs>, making: Making) -> Options {
    let options = match making.values {
        Values::InStore => Options::new(),
        Values::Apart => Options::new().value_dir(VALUE_DIR),
    };
    let options = if making.encrypted { options.encryption(Arc::new(StaticKey::new(&[7; 32]))) } else { options };
    options
        .vfs(fs)
        .inline_background()
        .memtable_size(64 << 10)
        .value_threshold(512)
        .value_log_file_size(64 << 10)
        .gc(GcPolicy::Auto(AutoGc::new().garbage_target(0.1).garbage_cap(0.95)))
        .manifest_edits_max(6)
        .l0_compaction_trigger(2)
        .level_base_size(64 << 10)
        .table_size(16 << 10)
        .block_size(1 << 10)
        .block_cache_size(1 << 20)
}

/// What the checkers found.
#[derive(Debug, Default)]
struct Found {
    images: Mutex<BTreeMap<&'static str, u64>>,
    seen: Mutex<Events>,
    changes: Mutex<u64>,
    failures: Mutex<Vec<Failure>>,
    failures_max: usize,
    /// Set once there are enough failures.
    stop: AtomicBool,
}

impl Found {
    fn report(&self, failure: Failure) {
        let mut failures = self.failures.lock();
        failures.push(failure);
        if failures.len() >= self.failures_max {
            self.stop.store(true, Ordering::Release);
        }
    }
}

/// Takes images before changes.
struct Taker {
    plan: Plan,
    memory: MemFs,
    progress: Arc<Progress>,
    found: Arc<Found>,
    /// The last change, and the bytes of all files before it.
    before: Mutex<Option<(OperationRecord, u64)>>,
}

impl Taker {
    fn images_at(&self, record: &OperationRecord) -> Vec<Image> {
        self.found.seen.lock().note(record);
        if self.found.stop.load(Ordering::Acquire) || self.nothing_changed(record) {
            return Vec::new();
        }
        *self.found.changes.lock() += 1;
        let draws = self.plan.draws.iter();
        let numbered = draws.flat_map(|(mode, count)| (0..*count).map(|draw| (*mode, draw)));
        let take = |(mode, draw)| {
            let seed = mix(&[self.plan.seed, record.number, draw, mode as u64]);
            let fs = self.memory.crash_image(mode, seed);
            let at = format!("crash ({mode:?}, seed {seed}) before change {}: {record}", record.number);
            Image { fs, making: self.plan.making, mode, seed, at, past: self.progress.past() }
        };
        numbered.map(take).collect()
    }

    /// Whether the last change reached no further than a buffer of the process.
    fn nothing_changed(&self, record: &OperationRecord) -> bool {
        let used = self.memory.used_bytes();
        let before = self.before.lock().replace((record.clone(), used));
        before.is_some_and(|(before, used_before)| {
            let is_buffered = before.path.extension().is_some_and(|extension| extension == "tmp");
            before.operation == Operation::Append && is_buffered && used_before == used
        })
    }
}

fn check_images(images: &Receiver<Image>, found: &Found) {
    for image in images {
        if found.stop.load(Ordering::Acquire) {
            continue;
        }
        let (mode, at) = (image.mode_name(), image.at.clone());
        let outcome: Outcome = image.check();
        *found.images.lock().entry(mode).or_default() += 1;
        if let Err(failure) = outcome {
            found.report(failure.during(at));
        }
    }
}
