//! Every interleaving of the stories that the rules of this crate prevent. Each rule has a bug planted for it, and its
//! model must fail with the bug: a model that cannot fail proves nothing.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p txn-oracle --test loom --release`
#![cfg(loom)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test support beside test functions"
)]

use base::sync::atomic::{AtomicBool, Ordering};
use base::sync::{Arc, Mutex};
use base::thread::{JoinHandle, spawn};
use base::{KeyspaceId, Version};
use txn_oracle::{
    Access, AssignError, CommitOrder, Fault, Faults, InFlight, Oracle, OracleOptions, ReadMark, ReadSet, SealedReads,
    Verdict, Write,
};

const KEYSPACE: KeyspaceId = KeyspaceId(7);
const X: &[u8] = b"x";
const Y: &[u8] = b"y";

/// A store in miniature: the tree is a list of (key, version).
struct Store {
    oracle: Oracle,
    order: Mutex<CommitOrder>,
    tree: Mutex<Vec<(&'static [u8], Version)>>,
}

impl Store {
    fn new(fault: Option<Fault>) -> Arc<Self> {
        let options =
            OracleOptions { conflict_slots: 2, in_flight_max: 4, recent_bytes_max: 1 << 10, faults: Faults(fault) };
        let (oracle, order) = Oracle::new(0, 100, &options).unwrap();
        Arc::new(Self { oracle, order: Mutex::new(order), tree: Mutex::new(Vec::new()) })
    }

    fn newest(&self, key: &[u8], read_version: Version) -> Option<Version> {
        let tree = self.tree.lock();
        tree.iter().filter(|(at, version)| *at == key && *version <= read_version).map(|(_, version)| *version).max()
    }

    /// A blind write.
    fn put(&self, key: &'static [u8]) -> Version {
        let mut order = self.order.lock();
        let commit = order.assign(&self.oracle).unwrap();
        order.record(&self.oracle, &commit, [Write::key(KEYSPACE, key)]);
        drop(order);
        self.finish(commit, key)
    }

    fn finish(&self, commit: InFlight<'_>, key: &'static [u8]) -> Version {
        let version = commit.version();
        self.tree.lock().push((key, version));
        commit.complete();
        self.oracle.wait_visible(version).unwrap();
        version
    }

    /// Commits a write of `key` if nothing that was read has changed since.
    fn commit(&self, mark: &ReadMark, reads: &SealedReads, key: &'static [u8]) -> Option<Version> {
        loop {
            let validation = self.oracle.validation(mark);
            let changed = |key: &[u8]| self.newest(key, Version::MAX).is_some_and(|newest| newest > mark.version());
            if validation.suspects(reads).any(|point| changed(point.key)) {
                return None;
            }
            let mut order = self.order.lock();
            match order.check(reads, validation.up_to()) {
                Verdict::Clear => {
                    let commit = order.assign(&self.oracle).unwrap();
                    order.record(&self.oracle, &commit, [Write::key(KEYSPACE, key)]);
                    drop(order);
                    return Some(self.finish(commit, key));
                }
                Verdict::Conflict(_) => return None,
                Verdict::Revalidate { floor } => {
                    drop(order);
                    self.oracle.wait_visible(floor).unwrap();
                }
            }
        }
    }

    /// Reads one key and writes another, in one transaction; its read version and, if it commits, its own.
    fn transact(&self, mark: &ReadMark, read: &'static [u8], write: &'static [u8]) -> Option<Version> {
        let mut reads = ReadSet::new();
        reads.add_point(KEYSPACE, read);
        self.commit(mark, &reads.seal(), write)
    }
}

/// With two threads, every interleaving; with more, those of up to so many preemptions.
fn model(preemptions_max: Option<usize>, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions_max;
    builder.check(body);
}

fn go<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    spawn("modelled", body).unwrap()
}

/// What a model can show.
struct Story {
    /// Name of the test.
    test: &'static str,
    preemptions_max: Option<usize>,
    body: fn(Option<Fault>),
    /// Each rule that may be left out, and a word of how the story ends then.
    bugs: &'static [(Fault, &'static str)],
}

/// In the environment of a child process: which bug it plants.
const PLANTED: &str = "PLANTED_BUG";

impl Story {
    /// Holds as built, and fails with each of the bugs. A model that fails may end its process (what is modelled cannot
    /// be dropped outside its model), so each bug has a process of its own.
    fn holds_and_fails_without_its_rules(self) {
        let Self { preemptions_max, body, .. } = self;
        if let Ok(planted) = std::env::var(PLANTED) {
            let (bug, _) =
                *self.bugs.iter().find(|(bug, _)| format!("{bug:?}") == planted).expect("a bug of this story");
            println!("planted: {planted}");
            return model(preemptions_max, move || body(Some(bug)));
        }
        model(preemptions_max, move || body(None));
        for (bug, ending) in self.bugs {
            let child = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", self.test, "--nocapture"])
                .env(PLANTED, format!("{bug:?}"))
                .env("RUST_BACKTRACE", "0")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
            assert!(said.contains(&format!("planted: {bug:?}")), "the child did not get so far: {said}");
            assert!(!child.status.success(), "the model did not notice {bug:?}");
            assert!(said.contains(ending), "failed with {bug:?}, but otherwise than the story goes: {said}");
        }
    }
}

/// A writer gets its version while no transaction is open, so it records nothing; a transaction begins before that
/// version is visible, reads the old value, and must not commit over it.
fn blind_write_before_begin(fault: Option<Fault>) {
    let store = Store::new(fault);
    let writer = {
        let store = Arc::clone(&store);
        go(move || store.put(X))
    };
    let mark = store.oracle.register(Access::ReadWrite, 0);
    let committed = store.transact(&mark, X, X);
    let written = writer.join().unwrap();
    if let Some(version) = committed {
        assert!(version < written || mark.version() >= written, "the update of {written} is lost");
    }
}

#[test]
fn a_write_that_was_not_recorded_is_not_overwritten_unseen() {
    Story {
        test: "a_write_that_was_not_recorded_is_not_overwritten_unseen",
        preemptions_max: None,
        body: blind_write_before_begin,
        bugs: &[
            (Fault::UnrecordedLeavesNoMark, "the update of 1 is lost"),
            (Fault::UnlistedKeepsFloor, "the update of 1 is lost"),
            (Fault::WatermarkReadLast, "the update of 1 is lost"),
        ],
    }
    .holds_and_fails_without_its_rules();
}

/// A writer has its version and is still inserting: the tree shows the old value, and the transaction must learn of the
/// new one all the same.
fn write_in_flight(fault: Option<Fault>) {
    let store = Store::new(fault);
    let mark = store.oracle.register(Access::ReadWrite, 0);
    let writer = {
        let store = Arc::clone(&store);
        go(move || store.put(X))
    };
    let committed = store.transact(&mark, X, X);
    let written = writer.join().unwrap();
    if let Some(version) = committed {
        assert!(version < written, "the update of {written} is lost");
    }
}

#[test]
fn a_write_in_flight_is_a_conflict_though_the_tree_does_not_show_it() {
    Story {
        test: "a_write_in_flight_is_a_conflict_though_the_tree_does_not_show_it",
        preemptions_max: None,
        body: write_in_flight,
        bugs: &[(Fault::RecentKeysForgotten, "the update of 1 is lost")],
    }
    .holds_and_fails_without_its_rules();
}

/// One reads X and writes Y, the other reads Y and writes X: at least one of them must see the other or fail.
fn write_skew(fault: Option<Fault>) {
    let store = Store::new(fault);
    let other = {
        let store = Arc::clone(&store);
        go(move || {
            let mark = store.oracle.register(Access::ReadWrite, 0);
            (mark.version(), store.transact(&mark, Y, X))
        })
    };
    let mark = store.oracle.register(Access::ReadWrite, 0);
    let (read, committed) = (mark.version(), store.transact(&mark, X, Y));
    let (other_read, other_committed) = other.join().unwrap();
    if let (Some(version), Some(other_version)) = (committed, other_committed) {
        let (first, second_read) =
            (version.min(other_version), if version < other_version { other_read } else { read });
        assert!(second_read >= first, "neither saw the other");
    }
}

#[test]
fn of_two_transactions_that_read_what_the_other_writes_one_fails() {
    Story {
        test: "of_two_transactions_that_read_what_the_other_writes_one_fails",
        preemptions_max: None,
        body: write_skew,
        bugs: &[(Fault::RecentKeysForgotten, "neither saw the other")],
    }
    .holds_and_fails_without_its_rules();
}

/// A commit is dropped between its version and its completion, while another waits: nobody waits for ever, and nothing
/// from the lost one on is read.
fn lost_commit(fault: Option<Fault>) {
    let store = Store::new(fault);
    let loser = {
        let store = Arc::clone(&store);
        go(move || {
            let commit = store.order.lock().assign(&store.oracle).unwrap();
            commit.version()
        })
    };
    let mine = store.order.lock().assign(&store.oracle).map(|commit| {
        let version = commit.version();
        commit.complete();
        (version, store.oracle.wait_visible(version).is_ok())
    });
    let lost = loser.join().unwrap();
    match mine {
        Ok((version, reached)) => assert_eq!(reached, version < lost, "{version} was told wrong, {lost} is lost"),
        Err(refused) => assert!(matches!(refused, AssignError::Poisoned(_)), "{refused} though a commit is lost"),
    }
    assert_eq!(store.oracle.visible(), lost - 1, "the watermark is not right below the lost commit");
    assert!(store.oracle.poisoned().is_some(), "the lost commit was not noticed");
    assert!(store.order.lock().assign(&store.oracle).is_err(), "commits go on behind the lost one");
}

#[test]
fn a_commit_lost_on_its_way_stops_the_order_and_wakes_who_waits_for_it() {
    Story {
        test: "a_commit_lost_on_its_way_stops_the_order_and_wakes_who_waits_for_it",
        preemptions_max: None,
        body: lost_commit,
        bugs: &[(Fault::LostCommitGoesUnnoticed, "the lost commit was not noticed")],
    }
    .holds_and_fails_without_its_rules();
}

/// Who has been told that a commit is visible reads it, and every commit before it.
fn visible_means_readable(fault: Option<Fault>) {
    let store = Store::new(fault);
    let inserted = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
    let commit = |store: &Store, inserted: &[AtomicBool; 2]| {
        let commit = store.order.lock().assign(&store.oracle).unwrap();
        let version = commit.version();
        inserted[version as usize - 1].store(true, Ordering::Relaxed);
        commit.complete();
        store.oracle.wait_visible(version).unwrap();
        let visible = store.oracle.visible();
        assert!(visible >= version);
        for version in 1..=visible {
            assert!(inserted[version as usize - 1].load(Ordering::Relaxed), "{version} of {visible} is not there yet");
        }
    };
    let other = {
        let (store, inserted) = (Arc::clone(&store), Arc::clone(&inserted));
        go(move || commit(&store, &inserted))
    };
    commit(&store, &inserted);
    other.join().unwrap();
    assert_eq!(store.oracle.visible(), 2);
}

#[test]
fn a_commit_is_acknowledged_only_when_it_and_all_before_it_can_be_read() {
    Story {
        test: "a_commit_is_acknowledged_only_when_it_and_all_before_it_can_be_read",
        preemptions_max: None,
        body: visible_means_readable,
        bugs: &[
            (Fault::WatermarkJumps, "is not there yet"),
            (Fault::WatermarkNotReread, "deadlock"),
            (Fault::WaiterParksUnannounced, "deadlock"),
            (Fault::WakerSkipsLock, "deadlock"),
        ],
    }
    .holds_and_fails_without_its_rules();
}

/// Three commits complete in any order; the watermark passes all of them, and who waits is woken.
fn three_complete(fault: Option<Fault>) {
    let store = Store::new(fault);
    let complete = |store: Arc<Store>| {
        go(move || {
            let commit = store.order.lock().assign(&store.oracle).unwrap();
            commit.complete();
        })
    };
    let others = [complete(Arc::clone(&store)), complete(Arc::clone(&store))];
    let mine = store.order.lock().assign(&store.oracle).unwrap();
    let version = mine.version();
    mine.complete();
    store.oracle.wait_visible(version).unwrap();
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(store.oracle.visible(), 3, "a completed version was forgotten");
}

#[test]
fn no_completed_version_is_forgotten() {
    Story {
        test: "no_completed_version_is_forgotten",
        preemptions_max: Some(3),
        body: three_complete,
        bugs: &[(Fault::WatermarkNotReread, "a completed version was forgotten")],
    }
    .holds_and_fails_without_its_rules();
}

/// A reader registers while a commit becomes visible and a compaction asks what it may drop.
fn register_against_discard(fault: Option<Fault>) {
    let store = Store::new(fault);
    let compaction = {
        let store = Arc::clone(&store);
        go(move || {
            store.put(X);
            store.oracle.discard_version()
        })
    };
    let mark = store.oracle.register(Access::ReadOnly, 0);
    let again = mark.clone();
    drop(mark);
    let discard = compaction.join().unwrap();
    assert!(again.version() >= discard, "{} was dropped under a reader at {}", discard, again.version());
    assert_eq!(store.oracle.discard_version(), again.version());
}

#[test]
fn no_reader_registers_below_what_a_compaction_was_told() {
    Story {
        test: "no_reader_registers_below_what_a_compaction_was_told",
        preemptions_max: None,
        body: register_against_discard,
        bugs: &[(Fault::VisibleReadBeforeRegistering, "was dropped under a reader")],
    }
    .holds_and_fails_without_its_rules();
}
