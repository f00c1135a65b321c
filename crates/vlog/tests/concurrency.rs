//! One thread appends while others read, sync, seal, kill and collect, as in a store; then the same log on the machine's
//! own file system.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base::{ValueLogHead, ValuePointer};
use support::{Address, DIR, Held, STORE, Sample, address, sealed};
use vfs::{AppendMode, CrashMode, MemFs, RealFs, Vfs};
use vlog::{CollectContext, IoMode, Options, RecoveryInput, ValueLog};

fn options(mode: AppendMode, io_mode: IoMode) -> Options {
    let (segment_bytes, preallocate_bytes) = (64 << 10, 16 << 10);
    Options { segment_bytes, segment_entries: 100, preallocate_bytes, mode, io_mode, ..Options::new(STORE) }
}

fn open(fs: &Arc<dyn Vfs>, dir: &std::path::Path, options: Options, synced: ValueLogHead) -> ValueLog {
    let input = RecoveryInput { synced, ..RecoveryInput::default() };
    let (log, _) = ValueLog::open(Arc::clone(fs), dir, options, input).unwrap();
    log.finish_recovery().unwrap();
    log
}

/// What a thread does over and over, told which turn it is.
type Turn = Box<dyn Fn(&ValueLog, u64) + Send>;

/// What was written, and how much of that was chosen to die, in order: of every three records the first.
#[derive(Default)]
struct Shared {
    written: Vec<(Sample, ValuePointer)>,
    dying: usize,
}

impl Shared {
    fn is_dying(&self, index: usize) -> bool {
        index < self.dying && index.is_multiple_of(3)
    }

    fn alive(&self) -> Vec<(Sample, ValuePointer)> {
        (0..self.written.len())
            .filter(|index| !self.is_dying(*index))
            .map(|index| self.written[index].clone())
            .collect()
    }

    fn dead(&self) -> BTreeSet<Address> {
        (0..self.written.len())
            .filter(|index| self.is_dying(*index))
            .map(|index| address(&self.written[index].1))
            .collect()
    }
}

/// Appends `count` records on one thread while five others read, sync, seal, kill and collect; returns what was written and
/// what of it is dead.
fn busy(log: &Arc<ValueLog>, count: u64) -> (Vec<(Sample, ValuePointer)>, BTreeSet<Address>) {
    let shared: Arc<Mutex<Shared>> = Arc::default();
    let done = Arc::new(AtomicBool::new(false));
    let spawn = |name: &str, body: Turn| {
        let (log, done) = (Arc::clone(log), Arc::clone(&done));
        let turns = move || {
            let mut turn = 0;
            while !done.load(Ordering::Acquire) {
                turn += 1;
                body(&log, turn);
                base::thread::yield_now();
            }
        };
        base::thread::spawn(name, turns).unwrap()
    };
    let threads = [
        spawn(
            "sync",
            Box::new(|log, _| {
                let before = log.head();
                assert!(log.sync().unwrap() >= before);
            }),
        ),
        spawn("seal", Box::new(|log, _| while log.seal_full().unwrap() {})),
        spawn("read", reads(&shared)),
        spawn("kill", kills(&shared)),
        spawn("collect", collects()),
    ];
    for number in 0..count {
        let sample = Sample::of(number, 100 + number as usize % 900);
        let pointer = sample.append(log).unwrap();
        sample.assert_at(log, pointer);
        shared.lock().unwrap().written.push((sample, pointer));
    }
    done.store(true, Ordering::Release);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let shared = shared.lock().unwrap();
    (shared.alive(), shared.dead())
}

/// Reads under a set what is alive when the set is taken, also once that has died and was collected.
fn reads(shared: &Arc<Mutex<Shared>>) -> Turn {
    let shared = Arc::clone(shared);
    let held: Mutex<Option<Held>> = Mutex::default();
    Box::new(move |log, turn| {
        let mut held = held.lock().unwrap();
        if turn % 16 == 1 {
            let shared = shared.lock().unwrap();
            *held = Some((log.segments(), shared.alive()));
        }
        if let Some((set, known)) = &*held {
            for (sample, pointer) in known.iter().skip(turn as usize % 16).step_by(16) {
                assert_eq!(set.read(*pointer).unwrap(), sample.value);
            }
        }
    })
}

fn kills(shared: &Arc<Mutex<Shared>>) -> Turn {
    let shared = Arc::clone(shared);
    Box::new(move |log, turn| {
        let dying: Vec<ValuePointer> = {
            let mut shared = shared.lock().unwrap();
            let before = std::mem::replace(&mut shared.dying, 0);
            shared.dying = shared.written.len();
            let fresh = (before..shared.dying).filter(|index| index.is_multiple_of(3));
            fresh.map(|index| shared.written[index].1).collect()
        };
        log.prepare_deaths(turn, &dying).unwrap();
        log.apply_deaths(&[turn]).unwrap();
        // Twice, though what died may have been collected since.
        log.apply_deaths(&[turn]).unwrap();
        log.clear_deaths(&[turn]).unwrap();
    })
}

fn collects() -> Turn {
    Box::new(|log, turn| {
        let mut chosen = sealed(log);
        chosen.retain(|id| u64::from(id.0) % 3 != turn % 3);
        if !chosen.is_empty() {
            assert!(log.collect(&chosen, &CollectContext::unpaced()).unwrap().is_some());
        }
        log.remove_released().unwrap();
    })
}

/// What is dead is exactly what died, of the records that are still in files.
fn assert_dead(log: &ValueLog, dead: &BTreeSet<Address>) {
    let all: BTreeSet<Address> =
        log.segments().iter().flat_map(|of| support::dead_and_all(log, of.id()).unwrap().1).collect();
    assert_eq!(support::all_dead(log), all.intersection(dead).copied().collect());
}

#[test]
fn readers_syncs_seals_deaths_and_collections_do_not_disturb_appends() {
    for (mode, io_mode) in [(AppendMode::Mapped, IoMode::Mapped), (AppendMode::Written, IoMode::Pread)] {
        let memory = MemFs::new(1);
        let fs: Arc<dyn Vfs> = Arc::new(memory.clone());
        let log = Arc::new(open(&fs, DIR.as_ref(), options(mode, io_mode), ValueLogHead::default()));
        let (alive, dead) = busy(&log, 600);
        support::assert_all(&log, &alive);
        assert_dead(&log, &dead);
        let synced = log.sync().unwrap();
        let image: Arc<dyn Vfs> = Arc::new(memory.crash_image(CrashMode::DropUnsynced, 1));
        let log = open(&image, DIR.as_ref(), options(mode, io_mode), synced);
        support::assert_all(&log, &alive);
        assert_dead(&log, &dead);
        log.remove_orphans().unwrap();
        support::collect(&log, &sealed(&log));
        log.remove_released().unwrap();
        support::assert_all(&log, &alive);
        assert_eq!(log.statistics().iter().map(|of| of.records).sum::<u64>(), alive.len() as u64);
        assert_eq!(image.list(DIR.as_ref()).unwrap().len(), 4);
    }
}

/// A folder on the machine's file system that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let mut random = [0; 8];
        RealFs::new().fill_random(&mut random).unwrap();
        Self(std::env::temp_dir().join(format!("vlog-test-{:016x}", u64::from_ne_bytes(random))))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for entry in RealFs::new().list(&self.0).unwrap_or_default() {
            drop(RealFs::new().remove_file(&self.0.join(entry.name)));
        }
        drop(std::fs::remove_dir(&self.0));
    }
}

#[test]
fn the_machine_s_file_system_does_as_the_one_in_memory() {
    for mode in [AppendMode::Mapped, AppendMode::Written] {
        for io_mode in [IoMode::Mapped, IoMode::Pread] {
            let folder = Folder::new();
            let fs: Arc<dyn Vfs> = Arc::new(RealFs::new());
            let log = Arc::new(open(&fs, &folder.0, options(mode, io_mode), ValueLogHead::default()));
            let (written, dead) = busy(&log, 300);
            let last = Sample::of(1_000, 200_000);
            let pointer = last.append(&log).unwrap();
            // As after a kill: the active segment stays as it is, space allocated ahead and all.
            drop(log);
            let log = open(&fs, &folder.0, options(mode, io_mode), ValueLogHead::default());
            support::assert_all(&log, &written);
            last.assert_at(&log, pointer);
            assert_dead(&log, &dead);
            log.remove_orphans().unwrap();
            let more = support::fill(&log, 10, 50);
            log.close().unwrap();
            let log = open(&fs, &folder.0, options(mode, io_mode), ValueLogHead::default());
            assert_eq!(log.remove_orphans().unwrap(), 0);
            support::assert_all(&log, &written);
            support::assert_all(&log, &more);
        }
    }
}
