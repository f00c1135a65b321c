//! What the oracle costs on the paths that every commit and every reader takes.
//!
//! `cargo bench -p txn-oracle`
#![expect(clippy::expect_used, reason = "a benchmark that cannot run has nothing better to do")]

use base::sync::{Arc, Mutex};
use base::{KeyspaceId, Version};
use divan::{Bencher, black_box};
use txn_oracle::{Access, CommitOrder, InFlight, Oracle, OracleOptions, ReadSet, SealedReads, VERSION_MAX, Write};

const KEYSPACE: KeyspaceId = KeyspaceId(0);

fn main() {
    divan::main();
}

fn oracle() -> (Oracle, CommitOrder) {
    Oracle::new(0, VERSION_MAX, &OracleOptions::default()).expect("the options are in bounds")
}

fn key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    let (_, low) = key.split_at_mut(8);
    low.copy_from_slice(&number.to_be_bytes());
    key
}

fn reads(points: u64) -> SealedReads {
    let mut reads = ReadSet::new();
    (0..points).for_each(|number| reads.add_point(KEYSPACE, &key(number * 7_919)));
    reads.seal()
}

fn assign<'o>(order: &mut CommitOrder, oracle: &'o Oracle) -> InFlight<'o> {
    order.assign(oracle).expect("one commit is in flight, and versions are left")
}

#[divan::bench]
fn visible(bencher: Bencher<'_, '_>) {
    let (oracle, _order) = oracle();
    bencher.bench_local(|| black_box(&oracle).visible());
}

#[divan::bench]
fn register_and_drop(bencher: Bencher<'_, '_>) {
    let (oracle, _order) = oracle();
    bencher.bench_local(|| black_box(&oracle).register(Access::ReadOnly, black_box(1)));
}

#[divan::bench(threads = [2], sample_count = 20, sample_size = 50_000)]
fn register_and_drop_contended(bencher: Bencher<'_, '_>) {
    let (oracle, _order) = oracle();
    bencher.bench(|| black_box(&oracle).register(Access::ReadOnly, black_box(1)));
}

/// Check of nothing, assign, complete, wait: a blind commit without its record.
#[divan::bench]
fn commit_bare(bencher: Bencher<'_, '_>) {
    let (oracle, mut order) = oracle();
    let nothing = SealedReads::default();
    bencher.bench_local(|| {
        let verdict = order.check(black_box(&nothing), oracle.visible());
        let commit = assign(&mut order, &oracle);
        let version = commit.version();
        commit.complete();
        (verdict, oracle.wait_visible(version).is_ok())
    });
}

/// As above, with the record of one key: with no transaction open it leaves the mark only, else it is listed.
#[divan::bench(args = [false, true])]
fn commit_one_key(bencher: Bencher<'_, '_>, transaction_open: bool) {
    let (oracle, mut order) = oracle();
    let _mark = transaction_open.then(|| oracle.register(Access::ReadWrite, 0));
    let mut number = 0u64;
    bencher.bench_local(|| {
        number = number.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let key = key(number);
        let commit = assign(&mut order, &oracle);
        order.record(&oracle, &commit, [Write::key(KEYSPACE, &key)]);
        let version = commit.version();
        commit.complete();
        oracle.wait_visible(version).is_ok()
    });
}

/// A transaction as a whole: register, one read, validate, check, record, complete, wait.
#[divan::bench]
fn transaction_one_read_one_write(bencher: Bencher<'_, '_>) {
    let (oracle, mut order) = oracle();
    let key = key(1);
    bencher.bench_local(|| {
        let mark = oracle.register(Access::ReadWrite, 0);
        let mut reads = ReadSet::new();
        reads.add_point(KEYSPACE, black_box(&key));
        let reads = reads.seal();
        let validation = oracle.validation(&mark);
        let suspects = validation.suspects(&reads).count();
        let verdict = order.check(&reads, validation.up_to());
        let commit = assign(&mut order, &oracle);
        order.record(&oracle, &commit, [Write::key(KEYSPACE, &key)]);
        let version = commit.version();
        commit.complete();
        (suspects, verdict, oracle.wait_visible(version).is_ok())
    });
}

/// Check under the lock of so many reads against 100 commits of one key each that came after the validation.
#[divan::bench(args = [1, 100, 10_000])]
fn check_100_recent_writes(bencher: Bencher<'_, '_>, points: u64) {
    let (oracle, mut order) = oracle();
    let _mark = oracle.register(Access::ReadWrite, 0);
    for number in 0..100 {
        let commit = assign(&mut order, &oracle);
        order.record(&oracle, &commit, [Write::key(KEYSPACE, &key(number * 7_919 + 1))]);
        commit.complete();
    }
    let reads = reads(points);
    bencher.bench_local(|| black_box(&order).check(&reads, black_box(0)));
}

/// The quick filter over so many reads, none of which was written.
#[divan::bench(args = [1, 100, 10_000])]
fn filter_reads(bencher: Bencher<'_, '_>, points: u64) {
    let (oracle, mut order) = oracle();
    let mark = oracle.register(Access::ReadWrite, 0);
    let commit = assign(&mut order, &oracle);
    order.record(&oracle, &commit, [Write::key(KEYSPACE, b"another")]);
    commit.complete();
    let reads = reads(points);
    bencher.bench_local(|| oracle.validation(&mark).suspects(black_box(&reads)).count());
}

/// Collects and orders so many reads.
#[divan::bench(args = [1, 100, 10_000])]
fn collect_reads(points: u64) -> SealedReads {
    reads(black_box(points))
}

/// Two threads that commit through one lock, as an engine does: lock, assign, unlock, complete, wait.
#[divan::bench(threads = [2], sample_count = 20, sample_size = 50_000)]
fn commit_contended(bencher: Bencher<'_, '_>) {
    let (oracle, order) = oracle();
    let order = Arc::new(Mutex::new(order));
    bencher.bench(|| -> Version {
        let commit = assign(&mut order.lock(), &oracle);
        let version = commit.version();
        commit.complete();
        let _reached = oracle.wait_visible(version);
        version
    });
}
