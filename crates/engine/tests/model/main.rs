//! Random histories against a model: for every step the store must answer as a map of all versions does, whatever
//! flushes, compactions and reopens come in between. Options are so small that those also happen by themselves.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

mod reference;
mod system;

use std::sync::atomic::Ordering;

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use reference::Model;
use system::{System, TRANSITIONS_RUN};

const CASES: u32 = 256;
const STEPS_MAX: usize = 200;

#[test]
fn the_store_answers_as_a_map_of_versions_does() {
    let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let seed = std::env::var("RATEL_TEST_SEED").ok().and_then(|seed| seed.parse::<u64>().ok()).unwrap_or(1);
    println!("seed {seed} (set RATEL_TEST_SEED for another)");
    let mut seed_bytes = [0; 32];
    base::rng::Rng::new(seed).fill(&mut seed_bytes);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed_bytes);
    let mut runner = TestRunner::new_with_rng(config.clone(), rng);
    let histories = Model::sequential_strategy(1..STEPS_MAX);
    let outcome = runner.run(&histories, |(initial, transitions, seen)| {
        System::test_sequential(config.clone(), initial, transitions, seen);
        Ok(())
    });
    for (name, run) in TRANSITIONS_RUN.lock().unwrap().iter() {
        println!("{name:12} {run}");
    }
    println!(
        "flushes and compactions that came by themselves or were asked for: {}",
        system::JOBS.load(Ordering::Relaxed)
    );
    outcome.unwrap();
    assert!(TRANSITIONS_RUN.lock().unwrap().len() >= 12, "every transition ran");
}
