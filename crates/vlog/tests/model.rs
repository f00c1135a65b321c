//! Any sequence of appends, syncs, seals, deaths, collections, kills and power losses against a list of what was written.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use base::{SegmentId, ValuePointer};
use proptest::prelude::*;
use support::{Address, Held, STORE, Sample, address, begin_with, dead_and_all, end_of, sealed};
use vfs::{AppendMode, CrashMode, MemFs};
use vlog::{IoMode, Options, RecoveryInput, ValueLog};

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
    Unpin,
    /// Collects the sealed segments whose turn it is.
    Collect {
        every: usize,
        from: usize,
    },
    RemoveReleased,
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
        1 => Just(Step::Unpin),
        3 => (1usize..4, 0usize..3).prop_map(|(every, from)| Step::Collect { every, from }),
        1 => Just(Step::RemoveReleased),
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
    dead: BTreeSet<Address>,
    /// Dead, and collected.
    gone: Vec<ValuePointer>,
    pinned: Vec<Held>,
    next: u64,
}

impl World {
    fn new(encrypted: bool) -> Self {
        let fs = MemFs::new(3);
        let keys = encrypted.then(|| support::keyring(1));
        let options =
            Options { segment_bytes: 6_000, segment_entries: 9, preallocate_bytes: 512, keys, ..Options::new(STORE) };
        let log = support::open(&fs, options.clone());
        let (written, pinned) = (Vec::new(), Vec::new());
        let (dead, gone) = (BTreeSet::new(), Vec::new());
        Self { fs, log, options, written, dead, gone, pinned, next: 0 }
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
            Step::Pin => self.pinned.push((self.log.segments(), self.written.clone())),
            Step::Unpin => self.pinned.clear(),
            Step::Collect { every, from } => self.collect(*every, *from),
            Step::RemoveReleased => drop(self.log.remove_released().unwrap()),
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
        self.dead.extend(dying.iter().map(address));
    }

    fn collect(&mut self, every: usize, from: usize) {
        let chosen: Vec<SegmentId> = sealed(&self.log).into_iter().skip(from).step_by(every).collect();
        let (mut dead, mut all) = (BTreeSet::new(), BTreeSet::new());
        for id in &chosen {
            let (dead_there, all_there) = dead_and_all(&self.log, *id).unwrap();
            dead.extend(dead_there);
            all.extend(all_there);
        }
        let collection = support::collect(&self.log, &chosen);
        assert_eq!(collection.records, (all.len() - dead.len()) as u64);
        assert_eq!(collection.segment.is_some(), collection.records > 0);
        let written = std::mem::take(&mut self.written);
        let (gone, left): (Vec<_>, Vec<_>) =
            written.into_iter().partition(|(_, pointer)| dead.contains(&address(pointer)));
        self.written = left;
        self.gone.extend(gone.into_iter().map(|(_, pointer)| pointer));
    }

    fn check(&self) {
        support::assert_all(&self.log, &self.written);
        for (set, written) in &self.pinned {
            for (sample, pointer) in written {
                assert_eq!(set.read(*pointer).unwrap(), sample.value);
            }
        }
        let mut left: BTreeMap<Address, ValuePointer> =
            self.written.iter().map(|(_, pointer)| (address(pointer), *pointer)).collect();
        for of in self.log.statistics() {
            let (dead, all) = dead_and_all(&self.log, of.segment).unwrap();
            assert!(all.iter().all(|at| of.collected || at.0 == of.segment));
            assert_eq!(dead, all.intersection(&self.dead).copied().collect());
            let origin_len = if of.collected { 8 } else { 0 };
            let seals_len = if self.options.keys.is_some() { 32 } else { 0 };
            let len = |at: &Address| u64::from(left[at].len) + origin_len + seals_len;
            assert_eq!(of.dead_bytes, dead.iter().map(len).sum::<u64>());
            assert_eq!((of.records, of.dead_records), (all.len() as u64, dead.len() as u64));
            if of.sealed {
                assert_eq!(of.file_bytes, 112 + all.iter().map(len).sum::<u64>());
                assert_eq!(of.owners.iter().map(|owner| owner.bytes).sum::<u64>() + 112, of.file_bytes);
            }
            left.retain(|at, _| !all.contains(at));
        }
        assert!(left.is_empty(), "in no segment: {left:?}");
        for pointer in &self.gone {
            assert!(self.log.segments().read(*pointer).unwrap_err().is_corruption());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_log_always_holds_what_the_list_says(encrypted: bool, steps in prop::collection::vec(step(), 1..50)) {
        let mut world = World::new(encrypted);
        for step in &steps {
            world.apply(step);
        }
        world.check();
        world.log.seal_all().unwrap();
        world.check();
    }
}
