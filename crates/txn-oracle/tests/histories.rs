//! Random histories against a naive reference that remembers every write of every commit: a transaction commits exactly
//! if nothing that it read was written after its read version. Both ways: no change goes unseen, and no key that was not
//! read aborts anybody, however small the conflict table and the list of recent writes are.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support beside test functions")]

use std::collections::VecDeque;
use std::ops::{Bound, RangeBounds};

use base::{KeyspaceId, Version};
use proptest::prelude::*;
use txn_oracle::{
    Access, AssignError, CommitOrder, InFlight, KeyRange, Oracle, OracleOptions, ReadMark, ReadSet, SealedReads,
    Verdict, Write,
};

type Key = Vec<u8>;

#[derive(Clone, Debug, PartialEq)]
enum Change {
    Key(u32, Key),
    Range(u32, Key, Option<Key>),
}

impl Change {
    fn as_write(&self) -> Write<'_> {
        match self {
            Self::Key(keyspace, key) => Write::key(KeyspaceId(*keyspace), key),
            Self::Range(keyspace, start, end) => {
                Write::Range(KeyRange { keyspace: KeyspaceId(*keyspace), start, end: end.as_deref() })
            }
        }
    }

    fn changes_key(&self, keyspace: u32, key: &[u8]) -> bool {
        match self {
            Self::Key(at, written) => *at == keyspace && written == key,
            Self::Range(at, start, end) => {
                *at == keyspace && start.as_slice() <= key && end.as_ref().is_none_or(|end| key < end.as_slice())
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Read {
    Key(u32, Key),
    Range(u32, Bound<Key>, Bound<Key>),
}

impl Read {
    /// Whether a change of `key` changes what was read.
    fn holds(&self, keyspace: u32, key: &Key) -> bool {
        match self {
            Self::Key(at, read) => *at == keyspace && read == key,
            Self::Range(at, lower, upper) => *at == keyspace && (lower.clone(), upper.clone()).contains(key),
        }
    }
}

/// Whether some key that there might be is both among the reads and changed.
fn meet(reads: &[Read], changes: &[Change]) -> bool {
    (0..2).any(|keyspace| {
        every_key().any(|key| {
            reads.iter().any(|read| read.holds(keyspace, &key))
                && changes.iter().any(|change| change.changes_key(keyspace, &key))
        })
    })
}

/// All keys of the histories, and those right behind each, which tell its bounds apart.
fn every_key() -> impl Iterator<Item = Key> {
    let longer = |key: Key| (0..3).map(move |byte| [key.as_slice(), &[byte]].concat());
    let one = move || longer(Key::new());
    let two = move || one().flat_map(longer);
    std::iter::once(Key::new()).chain(one()).chain(two()).chain(two().flat_map(longer))
}

#[derive(Clone, Debug)]
enum Step {
    Begin { read_only: bool, reads: Vec<Read>, writes: Vec<Change> },
    End(usize),
    Validate(usize),
    Commit(usize),
    Blind(Vec<Change>),
    Unlisted(Vec<Change>),
    GivenUp,
    Insert(usize),
    Complete(usize),
}

fn key() -> impl Strategy<Value = Key> {
    prop::collection::vec(0u8..3, 0..3)
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (0u32..2, key()).prop_map(|(keyspace, key)| Change::Key(keyspace, key)),
        1 => (0u32..2, key(), prop::option::of(key())).prop_map(|(at, start, end)| Change::Range(at, start, end)),
    ]
}

fn bound() -> impl Strategy<Value = Bound<Key>> {
    prop_oneof![Just(Bound::Unbounded), key().prop_map(Bound::Included), key().prop_map(Bound::Excluded)]
}

fn read() -> impl Strategy<Value = Read> {
    prop_oneof![
        3 => (0u32..2, key()).prop_map(|(keyspace, key)| Read::Key(keyspace, key)),
        1 => (0u32..2, bound(), bound()).prop_map(|(keyspace, lower, upper)| Read::Range(keyspace, lower, upper)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let changes = || prop::collection::vec(change(), 0..4);
    let begin = (prop::bool::weighted(0.2), prop::collection::vec(read(), 0..4), changes());
    prop_oneof![
        4 => begin.prop_map(|(read_only, reads, writes)| Step::Begin { read_only, reads, writes }),
        2 => (0usize..8).prop_map(Step::End),
        3 => (0usize..8).prop_map(Step::Validate),
        4 => (0usize..8).prop_map(Step::Commit),
        5 => changes().prop_map(Step::Blind),
        1 => changes().prop_map(Step::Unlisted),
        1 => Just(Step::GivenUp),
        4 => (0usize..4).prop_map(Step::Insert),
        6 => (0usize..4).prop_map(Step::Complete),
    ]
}

struct Txn {
    mark: ReadMark,
    reads: Vec<Read>,
    sealed: SealedReads,
    writes: Vec<Change>,
    validated_up_to: Option<Version>,
}

struct Flying<'o> {
    commit: InFlight<'o>,
    changes: Vec<Change>,
    inserted: bool,
}

struct World<'o> {
    oracle: &'o Oracle,
    order: CommitOrder,
    /// What the reference knows: all that every commit wrote.
    history: Vec<(Version, Vec<Change>)>,
    /// What a reader finds.
    tree: Vec<(Version, Vec<Change>)>,
    in_flight: VecDeque<Flying<'o>>,
    txns: Vec<Txn>,
}

fn seal(reads: &[Read]) -> SealedReads {
    let mut set = ReadSet::new();
    for read in reads {
        match read {
            Read::Key(keyspace, key) => set.add_point(KeyspaceId(*keyspace), key),
            Read::Range(keyspace, lower, upper) => set.add_range(
                KeyspaceId(*keyspace),
                lower.as_ref().map(Vec::as_slice),
                upper.as_ref().map(Vec::as_slice),
            ),
        }
    }
    set.seal()
}

impl<'o> World<'o> {
    fn new(oracle: &'o Oracle, order: CommitOrder) -> Self {
        let (history, tree, txns) = (Vec::new(), Vec::new(), Vec::new());
        Self { oracle, order, history, tree, in_flight: VecDeque::new(), txns }
    }

    fn expected_conflict(&self, at: usize) -> bool {
        let txn = &self.txns[at];
        self.history.iter().any(|(version, changes)| *version > txn.mark.version() && meet(&txn.reads, changes))
    }

    /// True where the tree shows a conflict.
    fn validate(&mut self, at: usize) -> bool {
        let txn = &mut self.txns[at];
        let read_version = txn.mark.version();
        let validation = self.oracle.validation(&txn.mark);
        txn.validated_up_to = Some(validation.up_to());
        if validation.is_clean() {
            return false;
        }
        let suspects: Vec<_> = validation.suspects(&txn.sealed).map(|point| (point.keyspace, point.key)).collect();
        let looked_up = |read: &&Read| match read {
            Read::Key(keyspace, key) => suspects.contains(&(KeyspaceId(*keyspace), key.as_slice())),
            Read::Range(..) => true,
        };
        let looked_up: Vec<_> = txn.reads.iter().filter(looked_up).cloned().collect();
        self.tree.iter().any(|(version, changes)| *version > read_version && meet(&looked_up, changes))
    }

    fn assign(&mut self) -> InFlight<'o> {
        loop {
            match self.order.assign(self.oracle) {
                Ok(commit) => return commit,
                Err(AssignError::TooManyInFlight { wait_for, .. }) => self.complete_up_to(wait_for),
                Err(other) => panic!("{other}"),
            }
        }
    }

    fn fly(&mut self, commit: InFlight<'o>, changes: Vec<Change>) {
        self.history.push((commit.version(), changes.clone()));
        self.in_flight.push_back(Flying { commit, changes, inserted: false });
    }

    fn insert(&mut self, at: usize) {
        if let Some(flying) = self.in_flight.get_mut(at)
            && !flying.inserted
        {
            flying.inserted = true;
            self.tree.push((flying.commit.version(), flying.changes.clone()));
        }
    }

    fn complete(&mut self, at: usize) {
        self.insert(at);
        if let Some(flying) = self.in_flight.remove(at) {
            flying.commit.complete();
        }
    }

    fn complete_up_to(&mut self, version: Version) {
        while let Some(at) = self.in_flight.iter().position(|flying| flying.commit.version() <= version) {
            self.complete(at);
        }
        assert!(self.oracle.visible() >= version, "{version} is complete and not visible");
    }

    /// Drops a transaction that was told of a conflict.
    fn abort(&mut self, at: usize, expected: bool) -> Result<(), TestCaseError> {
        prop_assert!(expected, "aborted for a key that nobody changed");
        self.txns.swap_remove(at);
        Ok(())
    }

    fn commit(&mut self, at: usize) -> Result<(), TestCaseError> {
        let expected = self.expected_conflict(at);
        if self.txns[at].validated_up_to.is_none() && self.validate(at) {
            return self.abort(at, expected);
        }
        for _ in 0..3 {
            let txn = &self.txns[at];
            match self.order.check(&txn.sealed, txn.validated_up_to.unwrap()) {
                Verdict::Clear => {
                    prop_assert!(!expected, "a change went unseen");
                    let txn = self.txns.swap_remove(at);
                    let commit = self.assign();
                    self.order.record(self.oracle, &commit, txn.writes.iter().map(Change::as_write));
                    self.fly(commit, txn.writes);
                    return Ok(());
                }
                Verdict::Conflict(conflict) => {
                    let (_, changes) = self.history.iter().find(|(version, _)| *version == conflict.version).unwrap();
                    let names_it = |change: &Change| match change {
                        Change::Key(at, key) => *at == conflict.keyspace.0 && *key == conflict.key,
                        Change::Range(at, start, _) => *at == conflict.keyspace.0 && *start == conflict.key,
                    };
                    prop_assert!(conflict.version > txn.mark.version() && changes.iter().any(names_it));
                    return self.abort(at, expected);
                }
                Verdict::Revalidate { floor } => {
                    self.complete_up_to(floor);
                    if self.validate(at) {
                        return self.abort(at, expected);
                    }
                }
            }
        }
        Err(TestCaseError::fail("validates again and again though nobody else commits"))
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let open = self.txns.len();
        match step {
            Step::Begin { read_only, reads, writes } if open < 8 => {
                let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
                let mark = self.oracle.register(access, 0);
                if !read_only {
                    self.txns.push(Txn { mark, sealed: seal(&reads), reads, writes, validated_up_to: None });
                }
            }
            Step::End(at) if at < open => drop(self.txns.swap_remove(at)),
            Step::Validate(at) if at < open => {
                let expected = self.expected_conflict(at);
                if self.validate(at) {
                    self.abort(at, expected)?;
                }
            }
            Step::Commit(at) if at < open => self.commit(at)?,
            Step::Blind(changes) => {
                let commit = self.assign();
                self.order.record(self.oracle, &commit, changes.iter().map(Change::as_write));
                self.fly(commit, changes);
            }
            Step::Unlisted(changes) => {
                let commit = self.assign();
                self.order.record_unlisted(self.oracle);
                self.fly(commit, changes);
            }
            Step::GivenUp => self.assign().complete(),
            Step::Insert(at) => self.insert(at),
            Step::Complete(at) => self.complete(at),
            Step::Begin { .. } | Step::End(_) | Step::Validate(_) | Step::Commit(_) => {}
        }
        // Whatever happened: the watermark is right below the oldest commit in flight.
        let oldest = self.in_flight.iter().map(|flying| flying.commit.version()).min();
        prop_assert_eq!(self.oracle.visible(), oldest.map_or(self.order.last_assigned(), |oldest| oldest - 1));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_transaction_commits_exactly_if_nothing_that_it_read_was_written_since(
        conflict_slots in prop::sample::select(vec![1usize, 4, 1 << 10]),
        recent_bytes_max in prop::sample::select(vec![0usize, 160, 1_000, 1 << 16]),
        in_flight_max in prop::sample::select(vec![1usize, 4, 64]),
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let options = OracleOptions { conflict_slots, in_flight_max, recent_bytes_max };
        let (oracle, order) = Oracle::new(10, 1_000, &options).unwrap();
        let mut world = World::new(&oracle, order);
        for step in steps {
            world.step(step)?;
        }
        world.complete_up_to(world.order.last_assigned());
    }
}
