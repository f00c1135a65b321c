//! One thread appends while others read, sync, seal and kill, as in a store; then the same log on the machine's own
//! file system.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base::{ValueLogHead, ValuePointer};
use support::{DIR, STORE, Sample};
use vfs::{AppendMode, CrashMode, MemFs, RealFs, Vfs};
use vlog::{IoMode, Options, RecoveryInput, ValueLog};

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

/// Appends `count` records on one thread while four others read, sync, seal and kill; returns what was written.
fn busy(log: &Arc<ValueLog>, count: u64) -> Vec<(Sample, ValuePointer)> {
    let written: Arc<Mutex<Vec<(Sample, ValuePointer)>>> = Arc::default();
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
    let (to_read, to_kill) = (Arc::clone(&written), Arc::clone(&written));
    let threads = [
        spawn(
            "sync",
            Box::new(|log, _| {
                let before = log.head();
                assert!(log.sync().unwrap() >= before);
            }),
        ),
        spawn("seal", Box::new(|log, _| while log.seal_full().unwrap() {})),
        spawn(
            "read",
            Box::new(move |log, turn| {
                let known = to_read.lock().unwrap().clone();
                if let Some((sample, pointer)) = known.get(turn as usize * 7 % known.len().max(1)) {
                    sample.assert_at(log, *pointer);
                }
            }),
        ),
        spawn(
            "kill",
            Box::new(move |log, turn| {
                let known = to_kill.lock().unwrap().clone();
                let dying: Vec<_> =
                    known.iter().skip(turn as usize % 5).step_by(11).map(|(_, pointer)| *pointer).collect();
                log.prepare_deaths(turn, &dying).unwrap();
                log.apply_deaths(&[turn]).unwrap();
                log.clear_deaths(&[turn]).unwrap();
                for pointer in dying {
                    assert!(log.dead_set(pointer.segment).unwrap().contains(pointer.offset));
                }
            }),
        ),
    ];
    for number in 0..count {
        let sample = Sample::of(number, 100 + number as usize % 900);
        let pointer = sample.append(log).unwrap();
        sample.assert_at(log, pointer);
        written.lock().unwrap().push((sample, pointer));
    }
    done.store(true, Ordering::Release);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let written = written.lock().unwrap();
    written.clone()
}

#[test]
fn readers_syncs_seals_and_deaths_do_not_disturb_appends() {
    for (mode, io_mode) in [(AppendMode::Mapped, IoMode::Mapped), (AppendMode::Written, IoMode::Pread)] {
        let memory = MemFs::new(1);
        let fs: Arc<dyn Vfs> = Arc::new(memory.clone());
        let log = Arc::new(open(&fs, DIR.as_ref(), options(mode, io_mode), ValueLogHead::default()));
        let written = busy(&log, 600);
        support::assert_all(&log, &written);
        let (synced, dead) = (log.sync().unwrap(), log.statistics().iter().map(|of| of.dead_records).sum::<u64>());
        let image: Arc<dyn Vfs> = Arc::new(memory.crash_image(CrashMode::DropUnsynced, 1));
        let log = open(&image, DIR.as_ref(), options(mode, io_mode), synced);
        support::assert_all(&log, &written);
        assert_eq!(log.statistics().iter().map(|of| of.dead_records).sum::<u64>(), dead);
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
            let written = busy(&log, 300);
            let last = Sample::of(1_000, 200_000);
            let pointer = last.append(&log).unwrap();
            // As after a kill: the active segment stays as it is, space allocated ahead and all.
            drop(log);
            let log = open(&fs, &folder.0, options(mode, io_mode), ValueLogHead::default());
            support::assert_all(&log, &written);
            last.assert_at(&log, pointer);
            let more = support::fill(&log, 10, 50);
            log.close().unwrap();
            let log = open(&fs, &folder.0, options(mode, io_mode), ValueLogHead::default());
            assert_eq!(log.remove_orphans().unwrap(), 0);
            support::assert_all(&log, &written);
            support::assert_all(&log, &more);
        }
    }
}
