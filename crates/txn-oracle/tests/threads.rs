//! Real threads against one oracle: increments that must not be lost, and versions that must come in order.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, clippy::panic, reason = "test support beside test functions")]

use std::collections::BTreeMap;

use base::rng::Rng;
use base::sync::atomic::{AtomicU64, Ordering};
use base::sync::{Arc, Mutex};
use base::thread::spawn;
use base::{KeyspaceId, Version};
use txn_oracle::{Access, AssignError, CommitOrder, InFlight, Oracle, OracleOptions, ReadSet, Verdict, Write};

const KEYSPACE: KeyspaceId = KeyspaceId(0);
const THREADS: u64 = 4;
const COMMITS: u64 = 3_000;

struct Store {
    oracle: Oracle,
    order: Mutex<CommitOrder>,
    /// Key to its versions and the sums that they hold.
    tree: Mutex<BTreeMap<u8, Vec<(Version, u64)>>>,
}

impl Store {
    fn new(options: &OracleOptions) -> Arc<Self> {
        let (oracle, order) = Oracle::new(0, u64::MAX, options).unwrap();
        Arc::new(Self { oracle, order: Mutex::new(order), tree: Mutex::new(BTreeMap::new()) })
    }

    fn read(&self, key: u8, read_version: Version) -> (Version, u64) {
        let tree = self.tree.lock();
        let versions = tree.get(&key).map(Vec::as_slice).unwrap_or_default();
        versions.iter().filter(|(version, _)| *version <= read_version).max().copied().unwrap_or_default()
    }

    /// Adds one to a key; false where another commit came between.
    fn increment(&self, key: u8) -> bool {
        let mark = self.oracle.register(Access::ReadWrite, 0);
        let mut reads = ReadSet::new();
        reads.add_point(KEYSPACE, &[key]);
        let (reads, (_, sum)) = (reads.seal(), self.read(key, mark.version()));
        for attempt in 0.. {
            let locked = (attempt > 2).then(|| self.order.lock());
            if let Some(order) = &locked {
                self.oracle.wait_visible(order.last_assigned()).unwrap();
            }
            let validation = self.oracle.validation(&mark);
            if validation.suspects(&reads).any(|_| self.read(key, Version::MAX).0 > mark.version()) {
                return false;
            }
            let mut order = locked.unwrap_or_else(|| self.order.lock());
            match order.check(&reads, validation.up_to()) {
                Verdict::Clear => {
                    let commit = self.assign(&mut order);
                    order.record(&self.oracle, &commit, [Write::key(KEYSPACE, &[key])]);
                    drop(order);
                    self.finish(commit, key, sum + 1);
                    return true;
                }
                Verdict::Conflict(_) => return false,
                Verdict::Revalidate { .. } => {}
            }
        }
        unreachable!()
    }

    /// Writes a key that nobody else does, having read nothing.
    fn put(&self, key: u8, value: u64) {
        let mut order = self.order.lock();
        let commit = self.assign(&mut order);
        order.record(&self.oracle, &commit, [Write::key(KEYSPACE, &[key])]);
        drop(order);
        self.finish(commit, key, value);
    }

    fn assign(&self, order: &mut CommitOrder) -> InFlight<'_> {
        loop {
            match order.assign(&self.oracle) {
                Ok(commit) => return commit,
                Err(AssignError::TooManyInFlight { wait_for, .. }) => self.oracle.wait_visible(wait_for).unwrap(),
                Err(other) => panic!("{other}"),
            }
        }
    }

    fn finish(&self, commit: InFlight<'_>, key: u8, sum: u64) {
        let version = commit.version();
        self.tree.lock().entry(key).or_default().push((version, sum));
        commit.complete();
        self.oracle.wait_visible(version).unwrap();
        assert!(self.read(key, self.oracle.visible()).0 >= version, "an acknowledged commit is not there");
    }
}

#[test]
fn no_increment_is_lost_whatever_the_sizes() {
    for (seed, in_flight_max) in [(1, 1), (2, 2), (3, 1_024)] {
        println!("seed {seed}");
        let options = OracleOptions { conflict_slots: 2, in_flight_max, recent_bytes_max: 400 };
        let store = Store::new(&options);
        let committed = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (store, committed) = (Arc::clone(&store), Arc::clone(&committed));
                spawn("committer", move || {
                    let mut rng = Rng::new(seed * 100 + thread);
                    for round in 0..COMMITS {
                        if rng.one_in(3) {
                            store.put(100 + thread as u8, round);
                        } else if store.increment(rng.below(3) as u8) {
                            committed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
                .unwrap()
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let sums: u64 = (0..3).map(|key| store.read(key, Version::MAX).1).sum();
        assert_eq!(sums, committed.load(Ordering::Relaxed));
        assert!(sums > 0);
        assert_eq!(store.oracle.visible(), store.order.lock().last_assigned());
        assert_eq!((store.oracle.open_marks(), store.oracle.has_read_write()), (0, false));
    }
}

#[test]
fn readers_see_the_visible_version_grow_and_never_below_what_may_be_discarded() {
    let store = Store::new(&OracleOptions::default());
    let writer = {
        let store = Arc::clone(&store);
        spawn("writer", move || (0..2 * COMMITS).for_each(|round| store.put(1, round))).unwrap()
    };
    let discarder = {
        let store = Arc::clone(&store);
        spawn("compaction", move || (0..COMMITS).map(|_| store.oracle.discard_version()).is_sorted()).unwrap()
    };
    let mut newest = 0;
    for _ in 0..COMMITS {
        let mark = store.oracle.register(Access::ReadOnly, 0);
        assert!(mark.version() >= newest, "the visible version stepped back");
        newest = mark.version();
        assert!(store.oracle.discard_version() <= mark.version());
        assert_eq!(store.read(1, mark.version()).0, mark.version());
    }
    assert!(discarder.join().unwrap(), "the discard version stepped back");
    writer.join().unwrap();
    assert_eq!(store.oracle.discard_version(), 2 * COMMITS);
}
