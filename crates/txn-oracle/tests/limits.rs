//! What is refused, and with which words; marks and causes one by one.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "test support beside test functions")]

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::{KeyspaceId, Version};
use txn_oracle::{
    Access, AssignError, CommitOrder, FirstCause, KeyRange, LostCommit, OpenError, Oracle, OracleOptions, ReadKind,
    ReadSet, RegisterError, VERSION_MAX, Verdict, Write,
};

const KEYSPACE: KeyspaceId = KeyspaceId(0);

fn oracle(last: Version, ceiling: Version) -> (Oracle, CommitOrder) {
    Oracle::new(last, ceiling, &OracleOptions::default()).unwrap()
}

fn commit(oracle: &Oracle, order: &mut CommitOrder, key: &[u8]) -> Version {
    let commit = order.assign(oracle).unwrap();
    order.record(oracle, &commit, [Write::key(KEYSPACE, key)]);
    let version = commit.version();
    commit.complete();
    version
}

#[test]
fn versions_stop_at_the_ceiling_until_it_is_raised() {
    let (oracle, mut order) = oracle(7, 8);
    assert_eq!(order.remaining_below_ceiling(), 1);
    assert_eq!(commit(&oracle, &mut order, b"a"), 8);
    let refused = order.assign(&oracle).unwrap_err();
    assert!(matches!(refused, AssignError::CeilingReached { ceiling: 8 }));
    assert_eq!(refused.to_string(), "version ceiling 8 is reached");
    assert_eq!((order.last_assigned(), order.remaining_below_ceiling()), (8, 0));
    order.raise_ceiling(10);
    order.raise_ceiling(9);
    assert_eq!(order.remaining_below_ceiling(), 2);
    assert_eq!(commit(&oracle, &mut order, b"a"), 9);
}

#[test]
fn versions_end_before_they_reach_the_flags() {
    let (oracle, mut order) = oracle(VERSION_MAX - 1, u64::MAX);
    assert_eq!(commit(&oracle, &mut order, b"a"), VERSION_MAX);
    assert_eq!(oracle.visible(), VERSION_MAX);
    assert!(matches!(order.assign(&oracle), Err(AssignError::CeilingReached { ceiling: VERSION_MAX })));
    let none_left = Oracle::new(VERSION_MAX, u64::MAX, &OracleOptions::default()).unwrap_err();
    assert_eq!(none_left, OpenError::VersionTooHigh { expected: VERSION_MAX - 1, found: VERSION_MAX });
}

#[test]
fn options_out_of_bounds_are_refused_by_name() {
    let options = OracleOptions { conflict_slots: 0, ..OracleOptions::default() };
    let refused = Oracle::new(0, 1, &options).unwrap_err();
    assert_eq!(refused.to_string(), "conflict_slots is 0, expected 1 to 268435456");
    for options in [
        OracleOptions { in_flight_max: usize::MAX, ..OracleOptions::default() },
        OracleOptions { recent_bytes_max: usize::MAX, ..OracleOptions::default() },
    ] {
        assert!(matches!(Oracle::new(0, 1, &options), Err(OpenError::OptionOutOfRange { .. })));
    }
}

#[test]
fn a_full_ring_refuses_before_anything_changes_and_names_whom_to_wait_for() {
    let options = OracleOptions { in_flight_max: 2, ..OracleOptions::default() };
    let (oracle, mut order) = Oracle::new(0, 100, &options).unwrap();
    let (first, second) = (order.assign(&oracle).unwrap(), order.assign(&oracle).unwrap());
    second.complete();
    assert_eq!(oracle.visible(), 0);
    let refused = order.assign(&oracle).unwrap_err();
    assert!(matches!(refused, AssignError::TooManyInFlight { in_flight_max: 2, wait_for: 1 }));
    assert_eq!((order.last_assigned(), oracle.last_assigned()), (2, 2));
    first.complete();
    assert_eq!(oracle.visible(), 2);
    assert_eq!(commit(&oracle, &mut order, b"a"), 3);
}

#[test]
fn a_lost_commit_names_itself_to_all_behind_it_and_spares_those_before_it() {
    let (oracle, mut order) = oracle(0, 100);
    let (before, lost, behind) =
        (order.assign(&oracle).unwrap(), order.assign(&oracle).unwrap(), order.assign(&oracle).unwrap());
    drop(lost);
    behind.complete();
    let told = oracle.wait_visible(3).unwrap_err();
    assert_eq!(told.to_string(), "no more commits are taken: commit 2 was dropped before it was complete");
    assert_eq!(told.cause.downcast_ref::<LostCommit>(), Some(&LostCommit { version: 2 }));
    before.complete();
    assert!(oracle.wait_visible(1).is_ok());
    assert!(oracle.wait_visible(2).is_err());
    assert_eq!(oracle.visible(), 1);
    assert!(matches!(order.assign(&oracle), Err(AssignError::Poisoned(_))));
}

#[test]
fn a_panic_while_inserting_poisons_the_order() {
    let (oracle, mut order) = oracle(0, 100);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _commit = order.assign(&oracle).unwrap();
        panic!("while inserting");
    }));
    assert!(panicked.is_err());
    assert!(oracle.wait_visible(1).is_err());
    assert!(oracle.poisoned().is_some());
}

#[test]
fn poison_keeps_the_first_cause_and_lets_commits_in_flight_finish() {
    let (oracle, mut order) = oracle(0, 100);
    let in_flight = order.assign(&oracle).unwrap();
    assert!(oracle.poisoned().is_none());
    assert!(oracle.poison(Arc::new(std::io::Error::other("sync failed"))));
    assert!(!oracle.poison(Arc::new(std::io::Error::other("and again"))));
    assert_eq!(oracle.poisoned().unwrap().to_string(), "no more commits are taken: sync failed");
    assert!(order.assign(&oracle).is_err());
    in_flight.complete();
    assert!(oracle.wait_visible(1).is_ok());
    assert!(oracle.wait_visible(2).is_err(), "a version that nobody can get any more");
}

#[test]
fn marks_at_older_versions_are_held_between_discard_and_visible() {
    let (oracle, mut order) = oracle(0, 100);
    let old = oracle.register(Access::ReadOnly, 50);
    for _ in 0..5 {
        commit(&oracle, &mut order, b"a");
    }
    assert_eq!((oracle.discard_version(), oracle.visible()), (0, 5));
    let third = oracle.register_at(3, Access::ReadOnly, 60).unwrap();
    let refused = oracle.register_at(6, Access::ReadOnly, 60).unwrap_err();
    assert_eq!(refused, RegisterError::AboveVisible { requested: 6, visible: 5 });
    drop(old);
    assert_eq!(oracle.discard_version(), 3);
    let refused = oracle.register_at(2, Access::ReadOnly, 60).unwrap_err();
    assert_eq!(refused, RegisterError::BelowDiscard { requested: 2, discard: 3 });
    let again = third.clone();
    drop(third);
    assert_eq!(oracle.discard_version(), 3, "a clone holds the version of the one it was cloned from");
    drop(again);
    assert_eq!(oracle.discard_version(), 5);
}

#[test]
fn the_oldest_reader_says_what_has_expired() {
    let (oracle, mut order) = oracle(0, 100);
    let long = oracle.register(Access::ReadOnly, 100);
    let late = oracle.register(Access::ReadWrite, 90);
    assert_eq!((long.now_seconds(), late.now_seconds()), (100, 100), "time does not step back between readers");
    commit(&oracle, &mut order, b"a");
    let short = oracle.register(Access::ReadOnly, 200);
    assert_eq!((oracle.oldest_now(200), oracle.oldest_now(50)), (100, 50));
    assert_eq!((oracle.oldest_mark(), oracle.open_marks()), (Some((0, 100)), 3));
    assert!(oracle.has_read_write());
    drop((long, late));
    assert_eq!((oracle.oldest_now(1_000), oracle.has_read_write()), (200, false));
    drop(short);
    assert_eq!((oracle.oldest_mark(), oracle.oldest_now(1_000)), (None, 1_000));
}

/// A snapshot reads the clock, then a compaction reads it and drops what has expired by its time, and only then the
/// snapshot registers: it must not count with a time at which that was there.
#[test]
fn a_reader_that_read_the_clock_before_a_compaction_counts_with_the_compactions_time() {
    let (oracle, _order) = oracle(0, 100);
    let read_before = 100;
    assert_eq!(oracle.oldest_now(101), 101);
    assert_eq!(oracle.register(Access::ReadOnly, read_before).now_seconds(), 101);
    assert_eq!(oracle.oldest_now(90), 90);
}

#[test]
fn a_conflict_names_the_key_and_how_it_was_read() {
    let (oracle, mut order) = oracle(0, 100);
    let _mark = oracle.register(Access::ReadWrite, 0);
    let mut reads = ReadSet::new();
    reads.add_point(KEYSPACE, b"b");
    reads.add_range(KEYSPACE, Bound::Excluded(b"c"), Bound::Included(b"e"));
    let reads = reads.seal();
    for key in [&b"a"[..], b"c", b"f", b"bb"] {
        commit(&oracle, &mut order, key);
    }
    assert_eq!(order.check(&reads, 0), Verdict::Clear);
    let version = commit(&oracle, &mut order, b"e");
    let Verdict::Conflict(conflict) = order.check(&reads, 0) else { panic!("e was read") };
    assert_eq!((conflict.version, conflict.key.as_slice(), conflict.read), (version, &b"e"[..], ReadKind::Range));
    assert_eq!(order.check(&reads, version), Verdict::Clear);
    let deletion = order.assign(&oracle).unwrap();
    order.record(&oracle, &deletion, [Write::Range(KeyRange { keyspace: KEYSPACE, start: b"", end: Some(b"bb") })]);
    let Verdict::Conflict(conflict) = order.check(&reads, version) else { panic!("b was read") };
    assert_eq!((conflict.key.as_slice(), conflict.read), (&b""[..], ReadKind::Point));
    deletion.complete();
}

#[test]
fn range_deletions_beyond_those_that_are_kept_make_every_read_a_suspect() {
    let (oracle, mut order) = oracle(0, 1_000);
    let mut reads = ReadSet::new();
    reads.add_point(KEYSPACE, b"read");
    let reads = reads.seal();
    let mut delete = |start: &[u8], end: &[u8]| {
        let deletion = order.assign(&oracle).unwrap();
        let range = KeyRange { keyspace: KEYSPACE, start, end: Some(end) };
        order.record(&oracle, &deletion, [Write::Range(range)]);
        deletion.complete();
    };
    let mark = oracle.register(Access::ReadWrite, 0);
    delete(b"read", b"reae");
    let after = oracle.register(Access::ReadWrite, 0);
    for _ in 0..200 {
        delete(b"x", b"y");
    }
    assert_eq!(oracle.validation(&mark).suspects(&reads).count(), 1, "the deletion of what was read is forgotten");
    let recent = oracle.register_at(oracle.visible() - 10, Access::ReadWrite, 0).unwrap();
    assert_eq!(oracle.validation(&recent).suspects(&reads).count(), 0, "no kept range holds the key");
    assert_eq!(oracle.validation(&after).suspects(&reads).count(), 1, "ranges after it are not all kept");
}

#[test]
fn a_commit_recorded_out_of_turn_makes_every_read_a_suspect() {
    let (oracle, mut order) = oracle(0, 100);
    let _mark = oracle.register(Access::ReadWrite, 0);
    let (first, second) = (order.assign(&oracle).unwrap(), order.assign(&oracle).unwrap());
    order.record(&oracle, &second, [Write::key(KEYSPACE, b"a")]);
    order.record(&oracle, &first, [Write::key(KEYSPACE, b"a")]);
    first.complete();
    second.complete();
    let between = oracle.register_at(1, Access::ReadWrite, 0).unwrap();
    let mut reads = ReadSet::new();
    reads.add_point(KEYSPACE, b"a");
    let reads = reads.seal();
    assert_eq!(oracle.validation(&between).suspects(&reads).count(), 1, "the second write of the key is overwritten");
}

#[test]
fn what_is_read_again_and_again_is_kept_once() {
    let mut reads = ReadSet::new();
    for round in 0..100_000u32 {
        reads.add_point(KEYSPACE, &(round % 50).to_be_bytes());
        reads.add_range(KEYSPACE, Bound::Included(&(round % 50).to_be_bytes()), Bound::Unbounded);
    }
    assert!(reads.size_bytes() < 100 * 200, "{} bytes", reads.size_bytes());
    let reads = reads.seal();
    assert_eq!((reads.points().len(), reads.ranges().len()), (50, 1));
    assert!(reads.points().map(|point| point.key.to_vec()).is_sorted());
}

#[test]
fn a_latch_keeps_the_first_cause() {
    let latch = FirstCause::default();
    assert_eq!((latch.is_latched(), latch.cause()), (false, None));
    assert!(latch.latch(1));
    assert!(!latch.latch(2));
    assert_eq!((latch.is_latched(), latch.cause()), (true, Some(1)));
}

/// How often the listener was told, with marks of a version and a time that are closed one after another.
fn told(marks: &[(Version, u64)], close: &[usize]) -> Vec<u64> {
    let (oracle, _order) = oracle(10, 20);
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    oracle.on_oldest_closed(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let open = |(version, now): &(Version, u64)| Some(oracle.register_at(*version, Access::ReadOnly, *now).unwrap());
    let mut marks: Vec<_> = marks.iter().map(open).collect();
    oracle.tell_when_oldest_closes();
    let close = close.iter().map(|place| {
        drop(marks.get_mut(*place).and_then(Option::take));
        count.load(Ordering::Relaxed)
    });
    close.collect()
}

#[test]
fn whoever_waits_for_the_oldest_reader_is_told_once_when_it_goes() {
    assert_eq!(told(&[(5, 50), (9, 60), (10, 70)], &[1, 0, 2]), [0, 1, 1]);
    // Two of one version and time are one.
    assert_eq!(told(&[(5, 50), (5, 50), (9, 60)], &[1, 0]), [0, 1]);
}

#[test]
fn of_readers_of_one_version_the_one_of_the_earliest_time_is_the_oldest() {
    assert_eq!(told(&[(10, 50), (10, 200)], &[0, 1]), [1, 1]);
    assert_eq!(told(&[(10, 50), (10, 200)], &[1, 0]), [0, 1]);
}
