//! The model: every version of every key of two keyspaces, and the snapshots that are held.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

/// Keys are few and share prefixes, so that histories meet.
pub(crate) type Key = Vec<u8>;

/// A value by its length and the number of the step that wrote it, from which its bytes follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) len: usize,
    pub(crate) step: u64,
    /// In seconds of the clock, if ever.
    pub(crate) expires_at: Option<u64>,
    /// Older versions are of no interest, however many are kept.
    pub(crate) discards_earlier: bool,
}

/// What the clock shows in the beginning.
pub(crate) const BEGUN_AT: u64 = 1_000;

/// A moment of the history: the step, and what the clock showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) step: u64,
    pub(crate) now: u64,
}

impl Value {
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        base::rng::Rng::new(self.step).fill(&mut bytes);
        bytes
    }

    pub(crate) fn is_expired_at(self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// Versions of a key in the order of their commits: the step of each, and its value unless it removed the key.
pub(crate) type Versions = Vec<(u64, Option<Value>)>;

/// A write of a key in one of the two keyspaces; no length is a removal.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) second: bool,
    pub(crate) key: Key,
    pub(crate) len: Option<usize>,
    /// Seconds to live, if not for ever.
    pub(crate) ttl: Option<u64>,
    pub(crate) discards_earlier: bool,
}

impl Write {
    /// The value that it puts at a moment.
    pub(crate) fn value(&self, at: Moment) -> Option<Value> {
        let Moment { step, now } = at;
        let (expires_at, discards_earlier) = (self.ttl.map(|ttl| now + ttl), self.discards_earlier);
        self.len.map(|len| Value { len, step, expires_at, discards_earlier })
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Insert(Write),
    Batch(Vec<Write>),
    /// Reads some keys and a range, then writes; `rival` is another commit in between.
    Txn {
        reads: Vec<Key>,
        range: (Key, Key),
        writes: Vec<Write>,
        rival: Option<Write>,
        rollback: bool,
    },
    Get(bool, Key),
    Range {
        second: bool,
        lower: Key,
        upper: Key,
        reverse: bool,
    },
    BothEnds {
        second: bool,
        from_front: Vec<bool>,
    },
    Cursor {
        second: bool,
        moves: Vec<(u8, Key)>,
    },
    Versions(bool, Key),
    TakeSnapshot,
    ReadSnapshot {
        index: usize,
        second: bool,
        lower: Key,
        upper: Key,
        reverse: bool,
    },
    DropSnapshot(usize),
    /// Begins to iterate over a snapshot, which goes on in later steps.
    HoldIterator {
        index: usize,
        second: bool,
        reverse: bool,
    },
    /// Takes some items of a held iterator; the value of the last is read in a later step.
    MoveIterator(usize, usize),
    DropIterator(usize),
    /// Time passes.
    Wait(u64),
    /// Collects garbage by hand.
    Collect {
        percent: u8,
        find: bool,
        dry: bool,
    },
    PauseCollections,
    ResumeCollections,
    Flush,
    Compact,
    Reopen {
        clean: bool,
    },
}

/// Options and history so far.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) options: Small,
    pub(crate) step: u64,
    /// By keyspace and key, the versions in the order of their commits.
    pub(crate) keyspaces: [BTreeMap<Key, Versions>; 2],
    pub(crate) now: u64,
    /// When snapshots were taken that are still held.
    pub(crate) snapshots: Vec<Moment>,
    /// Iterators that are held: what their snapshots show, and how much of it was taken.
    pub(crate) iterators: Vec<HeldIterator>,
    pub(crate) paused: bool,
}

/// An iterator that goes on over many steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldIterator {
    pub(crate) at: Moment,
    pub(crate) second: bool,
    pub(crate) reverse: bool,
    pub(crate) taken: usize,
}

/// Options that make little data much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Small {
    pub(crate) value_threshold: u32,
    pub(crate) codec: u8,
    pub(crate) mapped: bool,
    pub(crate) inline: bool,
    pub(crate) block_size: usize,
    pub(crate) segment_entries: u64,
    /// Part of garbage, in percent, from which on it is collected without a call.
    pub(crate) collects_at: Option<u8>,
    pub(crate) encrypted: bool,
    pub(crate) versions_to_keep: u32,
}

impl Model {
    /// What a reader of a moment sees of a keyspace.
    pub(crate) fn visible(&self, second: bool, at: Moment) -> BTreeMap<Key, Value> {
        let keyspace = &self.keyspaces[usize::from(second)];
        let newest = |versions: &Versions| {
            versions.iter().rev().find(|(step, _)| *step <= at.step).and_then(|(_, value)| *value)
        };
        let living = |versions: &Versions| newest(versions).filter(|value| !value.is_expired_at(at.now));
        keyspace.iter().filter_map(|(key, versions)| Some((key.clone(), living(versions)?))).collect()
    }

    pub(crate) fn now(&self, second: bool) -> BTreeMap<Key, Value> {
        self.visible(second, self.moment())
    }

    /// This one.
    pub(crate) fn moment(&self) -> Moment {
        Moment { step: self.step, now: self.now }
    }

    /// The oldest moment that somebody may still read.
    pub(crate) fn oldest_read(&self) -> Moment {
        let readers = self.snapshots.iter().copied().chain(self.iterators.iter().map(|iterator| iterator.at));
        readers.min_by_key(|at| at.step).unwrap_or(self.moment())
    }

    /// The steps of the versions of a key that stay whatever is compacted: those after the oldest moment that is read, of
    /// the others as many as are to be kept, up to a removal, one that has expired or one that says that the older are of no
    /// interest.
    pub(crate) fn kept(&self, versions: &Versions) -> BTreeSet<u64> {
        let (oldest, mut kept, mut of_older) = (self.oldest_read(), BTreeSet::new(), 0);
        for (step, value) in versions.iter().rev() {
            if *step <= oldest.step {
                let Some(value) = value.filter(|value| !value.is_expired_at(oldest.now)) else { break };
                of_older += 1;
                if value.discards_earlier {
                    of_older = self.options.versions_to_keep;
                }
            }
            kept.insert(*step);
            if of_older == self.options.versions_to_keep {
                break;
            }
        }
        kept
    }

    /// Whether a transaction with these reads, begun before `rival`, must fail.
    pub(crate) fn conflicts(reads: &[Key], range: &(Key, Key), rival: Option<&Write>) -> bool {
        rival.is_some_and(|rival| {
            !rival.second && (reads.contains(&rival.key) || (range.0 <= rival.key && rival.key < range.1))
        })
    }

    fn write(&mut self, writes: &[Write]) {
        self.step += 1;
        for write in writes {
            let value = write.value(self.moment());
            let versions = self.keyspaces[usize::from(write.second)].entry(write.key.clone()).or_default();
            versions.retain(|(step, _)| *step != self.step);
            versions.push((self.step, value));
        }
    }
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        8 => (0..60u8).prop_map(|number| format!("key{number:02}").into_bytes()),
        2 => vec(prop_oneof![Just(0u8), Just(0xff), Just(b'k')], 1..4),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let len = prop_oneof![3 => 0..60usize, 2 => 60..700usize, 1 => 700..9_000usize];
    let ttl = prop::option::weighted(0.2, 1..40u64);
    (prop::bool::weighted(0.3), key(), prop::option::weighted(0.75, len), ttl, prop::bool::weighted(0.1))
        .prop_map(|(second, key, len, ttl, discards_earlier)| Write { second, key, len, ttl, discards_earlier })
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let small = (
            prop_oneof![Just(0u32), Just(64), Just(1_024), Just(u32::MAX)],
            0..3u8,
            any::<bool>(),
            any::<bool>(),
            prop_oneof![Just(256usize), Just(4_096)],
            prop_oneof![Just(7u64), Just(1_000)],
            prop_oneof![Just(None), Just(Some(5u8)), Just(Some(30))],
            prop::bool::weighted(0.25),
            prop_oneof![2 => Just(1u32), 1 => Just(2), 1 => Just(4)],
        );
        let small = small.prop_map(
            |(
                value_threshold,
                codec,
                mapped,
                inline,
                block_size,
                segment_entries,
                collects_at,
                encrypted,
                versions_to_keep,
            )| {
                Small {
                    value_threshold,
                    codec,
                    mapped,
                    inline,
                    block_size,
                    segment_entries,
                    collects_at,
                    encrypted,
                    versions_to_keep,
                }
            },
        );
        small
            .prop_map(|options| Self {
                options,
                step: 0,
                keyspaces: Default::default(),
                now: BEGUN_AT,
                snapshots: Vec::new(),
                iterators: Vec::new(),
                paused: false,
            })
            .boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Step> {
        let ends = || (key(), key()).prop_map(|(a, b)| if a <= b { (a, b) } else { (b, a) });
        let held = state.snapshots.len().max(1);
        let iterators = state.iterators.len().max(1);
        prop_oneof![
            20 => write().prop_map(Step::Insert),
            10 => vec(write(), 0..30).prop_map(Step::Batch),
            8 => (vec(key(), 0..3), ends(), vec(write(), 0..5), prop::option::of(write()), prop::bool::weighted(0.1))
                .prop_map(|(reads, range, writes, rival, rollback)| Step::Txn { reads, range, writes, rival, rollback }),
            8 => (any::<bool>(), key()).prop_map(|(second, key)| Step::Get(second, key)),
            6 => (any::<bool>(), ends(), any::<bool>())
                .prop_map(|(second, (lower, upper), reverse)| Step::Range { second, lower, upper, reverse }),
            3 => (any::<bool>(), vec(any::<bool>(), 0..40))
                .prop_map(|(second, from_front)| Step::BothEnds { second, from_front }),
            5 => (any::<bool>(), vec((0..4u8, key()), 1..12)).prop_map(|(second, moves)| Step::Cursor { second, moves }),
            2 => (any::<bool>(), key()).prop_map(|(second, key)| Step::Versions(second, key)),
            3 => Just(Step::TakeSnapshot),
            5 => (0..held, any::<bool>(), ends(), any::<bool>()).prop_map(|(index, second, (lower, upper), reverse)| {
                Step::ReadSnapshot { index, second, lower, upper, reverse }
            }),
            2 => (0..held).prop_map(Step::DropSnapshot),
            2 => (0..held, any::<bool>(), any::<bool>())
                .prop_map(|(index, second, reverse)| Step::HoldIterator { index, second, reverse }),
            4 => (0..iterators, 1..20usize).prop_map(|(index, count)| Step::MoveIterator(index, count)),
            1 => (0..iterators).prop_map(Step::DropIterator),
            2 => (1..20u64).prop_map(Step::Wait),
            3 => (prop_oneof![1..100u8, Just(1)], any::<bool>(), prop::bool::weighted(0.2))
                .prop_map(|(percent, find, dry)| Step::Collect { percent, find, dry }),
            1 => Just(if state.paused { Step::ResumeCollections } else { Step::PauseCollections }),
            2 => Just(Step::Flush),
            1 => Just(Step::Compact),
            2 => any::<bool>().prop_map(|clean| Step::Reopen { clean }),
        ]
        .boxed()
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        match step {
            Step::Insert(write) => state.write(std::slice::from_ref(write)),
            Step::Batch(writes) if !writes.is_empty() => state.write(writes),
            Step::Txn { reads, range, writes, rival, rollback } => {
                if let Some(rival) = rival {
                    state.write(std::slice::from_ref(rival));
                }
                if !rollback && !writes.is_empty() && !Self::conflicts(reads, range, rival.as_ref()) {
                    state.write(writes);
                }
            }
            Step::TakeSnapshot => state.snapshots.push(state.moment()),
            Step::DropSnapshot(index) if *index < state.snapshots.len() => drop(state.snapshots.remove(*index)),
            Step::HoldIterator { index, second, reverse } if *index < state.snapshots.len() => {
                let at = state.snapshots[*index];
                state.iterators.push(HeldIterator { at, second: *second, reverse: *reverse, taken: 0 });
            }
            Step::MoveIterator(index, count) if *index < state.iterators.len() => {
                state.iterators[*index].taken += count
            }
            Step::DropIterator(index) if *index < state.iterators.len() => drop(state.iterators.remove(*index)),
            Step::Wait(seconds) => state.now += seconds,
            Step::PauseCollections => state.paused = true,
            Step::ResumeCollections => state.paused = false,
            Step::Reopen { .. } => {
                state.snapshots.clear();
                state.iterators.clear();
                state.paused = false;
            }
            _ => {}
        }
        state
    }

    fn preconditions(state: &Self, step: &Step) -> bool {
        match step {
            Step::ReadSnapshot { index, .. } | Step::DropSnapshot(index) | Step::HoldIterator { index, .. } => {
                *index < state.snapshots.len()
            }
            Step::MoveIterator(index, _) | Step::DropIterator(index) => *index < state.iterators.len(),
            Step::PauseCollections => !state.paused,
            Step::ResumeCollections => state.paused,
            _ => true,
        }
    }
}
