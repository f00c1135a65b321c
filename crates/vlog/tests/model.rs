//! Any sequence of appends, syncs, seals, deaths, kills and power losses against a list of what was written.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::{SegmentId, ValueLogHead, ValuePointer};
use proptest::prelude::*;
use support::{STORE, Sample, begin_with, entries_of};
use vfs::{AppendMode, CrashMode, MemFs};
use vlog::{IoMode, Options, RecoveryInput, SegmentSet, ValueLog};

#[derive(Clone, Debug)]
enum Step {
    Append {
        count: u8,
        value_len: u16,
    },
    Sync,
    Seal,
    CloseActive,
    Kill {
        every: usize,
        clear: bool,
    },
    Pin,
    /// The process dies and the log is opened again, with these options.
    Reopen {
        mapped: bool,
        read_only_first: bool,
    },
    /// The power fails.
    PowerLoss {
        mode: u8,
        seed: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u8..8, prop_oneof![0u16..80, 0u16..9_000]).prop_map(|(count, value_len)| Step::Append { count, value_len }),
        3 => Just(Step::Sync),
        3 => Just(Step::Seal),
        1 => Just(Step::CloseActive),
        2 => (1usize..6, any::<bool>()).prop_map(|(every, clear)| Step::Kill { every, clear }),
        1 => Just(Step::Pin),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(mapped, read_only_first)| Step::Reopen { mapped, read_only_first }),
        1 => (0u8..4, any::<u64>()).prop_map(|(mode, seed)| Step::PowerLoss { mode, seed }),
    ]
}

struct World {
    fs: MemFs,
    log: ValueLog,
    options: Options,
    written: Vec<(Sample, ValuePointer)>,
    dead: BTreeSet<(SegmentId, u32)>,
    pinned: Vec<(Arc<SegmentSet>, usize)>,
    next: u64,
}

fn end_of(pointer: &ValuePointer) -> ValueLogHead {
    ValueLogHead { segment: pointer.segment, offset: pointer.offset + pointer.len }
}

impl World {
    fn new() -> Self {
        let fs = MemFs::new(3);
        let options =
            Options { segment_bytes: 6_000, segment_entries: 9, preallocate_bytes: 512, ..Options::new(STORE) };
        let log = support::open(&fs, options.clone());
        let (written, dead, pinned) = (Vec::new(), BTreeSet::new(), Vec::new());
        Self { fs, log, options, written, dead, pinned, next: 0 }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Append { count, value_len } => {
                for _ in 0..*count {
                    self.next += 1;
                    let sample = Sample::of(self.next, usize::from(*value_len));
                    let pointer = sample.append(&self.log).unwrap();
                    self.written.push((sample, pointer));
                }
            }
            Step::Sync => assert_eq!(self.log.sync().unwrap(), self.log.synced()),
            Step::Seal => drop(self.log.seal_full().unwrap()),
            Step::CloseActive => self.log.close_active(),
            Step::Kill { every, clear } => self.kill(*every, *clear),
            Step::Pin => self.pinned.push((self.log.segments(), self.written.len())),
            Step::Reopen { mapped, read_only_first } => {
                (self.options.mode, self.options.io_mode) = match mapped {
                    true => (AppendMode::Mapped, IoMode::Mapped),
                    false => (AppendMode::Written, IoMode::Pread),
                };
                if *read_only_first {
                    let options = Options { read_only: true, ..self.options.clone() };
                    let (log, _) = begin_with(&self.fs, options, self.input()).unwrap();
                    support::assert_all(&log, &self.written);
                }
                self.reopen();
            }
            Step::PowerLoss { mode, seed } => {
                let modes = [CrashMode::DropUnsynced, CrashMode::KeepNames, CrashMode::Prefix, CrashMode::Random];
                self.fs = self.fs.crash_image(modes[usize::from(*mode)], *seed);
                self.reopen();
                let set = self.log.segments();
                self.written.retain(|(_, pointer)| set.read(*pointer).is_ok());
            }
        }
    }

    fn input(&self) -> RecoveryInput<'static> {
        RecoveryInput { synced: self.log.synced(), live_tickets: &[], must_exist: true }
    }

    fn reopen(&mut self) {
        let synced = self.log.synced();
        let kept = self.written.iter().filter(|(_, pointer)| end_of(pointer) <= synced).cloned().collect::<Vec<_>>();
        let (log, _) = begin_with(&self.fs, self.options.clone(), self.input()).unwrap();
        log.finish_recovery().unwrap();
        log.remove_orphans().unwrap();
        support::assert_all(&log, &kept);
        self.log = log;
    }

    fn kill(&mut self, every: usize, clear: bool) {
        self.next += 1;
        let synced = self.log.sync().unwrap();
        let dying: Vec<ValuePointer> = self.written.iter().step_by(every).map(|(_, pointer)| *pointer).collect();
        assert!(dying.iter().all(|pointer| end_of(pointer) <= synced));
        self.log.prepare_deaths(self.next, &dying).unwrap();
        self.log.apply_deaths(&[self.next]).unwrap();
        if clear {
            self.log.clear_deaths(&[self.next]).unwrap();
        }
        self.dead.extend(dying.iter().map(|pointer| (pointer.segment, pointer.offset)));
    }

    fn check(&self) {
        support::assert_all(&self.log, &self.written);
        for (set, count) in &self.pinned {
            for (sample, pointer) in self.written.iter().filter(|(sample, _)| sample.version <= *count as u64) {
                if set.segment(pointer.segment).is_some() {
                    assert_eq!(set.read(*pointer).unwrap(), sample.value);
                }
            }
        }
        let mut by_segment: BTreeMap<SegmentId, Vec<ValuePointer>> = BTreeMap::new();
        for (_, pointer) in &self.written {
            by_segment.entry(pointer.segment).or_default().push(*pointer);
        }
        for of in self.log.statistics() {
            let pointers: Vec<_> =
                entries_of(&self.log, of.segment).unwrap().into_iter().map(|(pointer, ..)| pointer).collect();
            assert_eq!(pointers, by_segment.remove(&of.segment).unwrap_or_default());
            assert_eq!(of.records, pointers.len() as u64);
            let dead: Vec<u32> = self.log.dead_set(of.segment).unwrap().offsets().to_vec();
            let expected: Vec<u32> =
                self.dead.iter().filter(|(segment, _)| *segment == of.segment).map(|(_, offset)| *offset).collect();
            assert_eq!(dead, expected);
        }
        assert!(by_segment.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_log_always_holds_what_the_list_says(steps in prop::collection::vec(step(), 1..50)) {
        let mut world = World::new();
        for step in &steps {
            world.apply(step);
        }
        world.check();
        world.log.seal_all().unwrap();
        world.check();
    }
}
