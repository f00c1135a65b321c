//! Any sequence of writes, merges, expiries, kills and power losses against a map.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::clock::ManualClock;
use bitcask::{Bitcask, HashKeydir, Keydir, Options, OrderedKeydir};
use proptest::prelude::*;
use support::{DIR, START, contents, small, value};
use vfs::{CrashMode, MemFs};

#[derive(Clone, Debug)]
enum Step {
    Put {
        key: u8,
        len: u16,
    },
    Delete {
        key: u8,
    },
    Sync,
    Merge,
    Wait {
        seconds: u8,
    },
    /// The store is closed and opened again, with this expiry.
    Reopen {
        expiry_secs: Option<u64>,
    },
    /// The process dies.
    Kill,
    /// The power fails.
    PowerLoss {
        mode: u8,
        seed: u64,
    },
    /// A hint file is lost while the store is closed.
    LoseHint {
        nth: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0u8..12, 0u16..200).prop_map(|(key, len)| Step::Put { key, len }),
        6 => (0u8..12).prop_map(|key| Step::Delete { key }),
        2 => Just(Step::Sync),
        3 => Just(Step::Merge),
        2 => (0u8..20).prop_map(|seconds| Step::Wait { seconds }),
        1 => prop_oneof![Just(None), Just(Some(15u64))].prop_map(|expiry_secs| Step::Reopen { expiry_secs }),
        1 => Just(Step::Kill),
        1 => (0u8..4, any::<u64>()).prop_map(|(mode, seed)| Step::PowerLoss { mode, seed }),
        1 => any::<u8>().prop_map(|nth| Step::LoseHint { nth }),
    ]
}

/// Value and expiry.
type State = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

struct World<K: Keydir> {
    fs: MemFs,
    clock: Arc<ManualClock>,
    options: Options,
    store: Option<Bitcask<K>>,
    state: State,
    /// The states after each write since the last one that is known to be durable, that one first.
    since_sync: Vec<State>,
    now: u64,
    writes: u64,
}

impl<K: Keydir> World<K> {
    fn new(merges_itself: bool) -> Self {
        let (fs, clock) = (MemFs::new(5), Arc::new(ManualClock::new(START)));
        let window = if merges_itself { bitcask::MergeWindow::Always } else { bitcask::MergeWindow::Never };
        let options = Options {
            max_file_size: 900,
            small_file_threshold: 300,
            dead_bytes_merge_trigger: 400,
            merge_window: window,
            clock: clock.clone(),
            ..small(fs.clone())
        };
        let store = Some(Bitcask::open_with(DIR, options.clone()).unwrap());
        let since_sync = vec![State::new()];
        Self { fs, clock, options, store, state: State::new(), since_sync, now: START, writes: 0 }
    }

    fn store(&self) -> &Bitcask<K> {
        self.store.as_ref().unwrap()
    }

    fn alive(&self, state: &State) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let lives = |expires: &Option<u64>| expires.is_none_or(|at| at > self.now);
        state.iter().filter(|(_, (_, at))| lives(at)).map(|(key, (value, _))| (key.clone(), value.clone())).collect()
    }

    fn reopen(&mut self) {
        self.options.vfs = Arc::new(self.fs.clone());
        self.store = None;
        self.store = Some(Bitcask::open_with(DIR, self.options.clone()).unwrap());
    }

    fn close(&mut self) {
        self.store.take().unwrap().close().unwrap();
        self.since_sync = vec![self.state.clone()];
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Put { key, len } => {
                self.writes += 1;
                let value = value(self.writes, usize::from(*len));
                self.store().put(&[*key], &value).unwrap();
                self.state.insert(vec![*key], (value, self.options.expiry_secs.map(|seconds| self.now + seconds)));
                self.since_sync.push(self.state.clone());
            }
            Step::Delete { key } => {
                let was_there = self.alive(&self.state).contains_key(&vec![*key]);
                assert_eq!(self.store().delete(&[*key]).unwrap(), was_there);
                if was_there {
                    self.state.remove(&vec![*key]);
                    self.since_sync.push(self.state.clone());
                }
            }
            Step::Sync => {
                self.store().sync().unwrap();
                self.since_sync = vec![self.state.clone()];
            }
            Step::Merge => _ = self.store().merge().unwrap(),
            Step::Wait { seconds } => {
                self.now += u64::from(*seconds);
                self.clock.advance(Duration::from_secs(u64::from(*seconds)));
            }
            Step::Reopen { expiry_secs } => {
                self.close();
                self.options.expiry_secs = *expiry_secs;
                self.reopen();
            }
            Step::Kill => {
                self.fs = self.fs.crash_image(CrashMode::KeepAll, 1);
                self.reopen();
            }
            Step::PowerLoss { mode, seed } => {
                let modes = [CrashMode::DropUnsynced, CrashMode::KeepNames, CrashMode::Prefix, CrashMode::Random];
                self.fs = self.fs.crash_image(modes[usize::from(*mode)], *seed);
                self.reopen();
                let found = contents(self.store()).unwrap();
                let prefix = self.since_sync.iter().rev().find(|state| self.alive(state) == found);
                self.state = prefix.expect("a prefix of the writes").clone();
                // Recovery syncs what it keeps.
                self.since_sync = vec![self.state.clone()];
            }
            Step::LoseHint { nth } => {
                self.close();
                let hints = support::names(&self.fs, ".hint");
                if let Some(name) = hints.get(usize::from(*nth) % hints.len().max(1)) {
                    self.fs.edit(&support::path(name), |bytes| bytes.truncate(bytes.len() - 1)).unwrap();
                }
                self.reopen();
            }
        }
    }

    fn check(&self) {
        assert_eq!(contents(self.store()).unwrap(), self.alive(&self.state));
        for file in self.store().status().files {
            assert!(file.live_records <= file.records && file.live_bytes <= file.bytes, "{file:?}");
        }
    }
}

fn run<K: Keydir>(merges_itself: bool, steps: &[Step]) {
    let mut world = World::<K>::new(merges_itself);
    for step in steps {
        world.apply(step);
        world.check();
    }
    world.store().merge().unwrap();
    world.check();
    world.close();
    world.reopen();
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_store_always_holds_what_the_map_says(
        merges_itself: bool,
        ordered: bool,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        if ordered {
            run::<OrderedKeydir>(merges_itself, &steps);
        } else {
            run::<HashKeydir>(merges_itself, &steps);
        }
    }
}
