//! Changes of files fail, each change of a workload in one of fifteen ways: nothing acknowledged is lost, nothing refused
//! is there.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use base::proof::seed;
use base::show;
use stress::fault_sweep::{Effect, FaultAt, Ran, run};
use stress::power_loss::Making;
use vfs::Cause;

const THREADS: u64 = 2;

fn kinds() -> Vec<(Cause, u64, Effect)> {
    let mut kinds = Vec::new();
    for cause in [Cause::Io, Cause::NoSpace] {
        for times in [1, 3, u64::MAX] {
            kinds.extend([Effect::Nothing, Effect::FirstBytes(50)].map(|effect| (cause, times, effect)));
        }
    }
    kinds.extend([1, u64::MAX].map(|times| (Cause::Io, times, Effect::UnsyncedLost)));
    kinds.push((Cause::Io, 1, Effect::Everything));
    kinds
}

/// Each kind of fault, at one change in so many; where it begins differs from kind to kind, so that together they come
/// to all changes, or to one in `sparsity`.
fn sweep(what: &str, seed: u64, making: Making, sparsity: u64) {
    let kinds = kinds();
    let stride = kinds.len() as u64;
    let next = AtomicU64::new(0);
    let totals = thread::scope(|scope| {
        let worker = || {
            let mut totals = (0, 0, 0, 0);
            loop {
                let job = next.fetch_add(1, Ordering::Relaxed);
                let (cause, times, effect) = kinds[(job % stride) as usize];
                let round = job / stride;
                let change = 1 + sparsity * (round * stride + (job + round) % stride);
                let fault = FaultAt { change, cause, times, effect };
                let Ran { struck, not_applied, unknown, healthy } =
                    run(seed, making, fault).unwrap_or_else(|failure| panic!("{failure}\n  with {fault}"));
                if !struck {
                    return totals;
                }
                totals.0 += 1;
                totals.1 += not_applied;
                totals.2 += unknown;
                totals.3 += u64::from(healthy);
            }
        };
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    let sum = |of: fn(&(u64, u64, u64, u64)) -> u64| totals.iter().map(of).sum::<u64>();
    let (faults, not_applied, unknown, healthy) = (sum(|t| t.0), sum(|t| t.1), sum(|t| t.2), sum(|t| t.3));
    show!(
        "fault sweep{what}: {faults} faults: {not_applied} commits refused, {unknown} of unknown outcome, {healthy} stores stayed healthy"
    );
    assert!(faults > 100 && not_applied > 50 && unknown > 10 && healthy > 50);
}

#[test]
fn a_failed_change_loses_nothing_acknowledged_and_leaves_nothing_refused() {
    sweep("", seed(60), Making::default(), 1);
}

#[test]
fn nor_does_one_of_an_encrypted_store_whose_data_key_is_replaced_meanwhile() {
    sweep(", encrypted", seed(61), Making { encrypted: true, ..Making::default() }, 3);
}
