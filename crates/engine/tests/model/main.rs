//! Random histories against a model: for every step the store must answer as a map of all versions does, whatever
//! flushes, compactions and reopens come in between. Options are so small that those also happen by themselves.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]
#![allow(clippy::disallowed_methods, reason = "an iterator that is held has a thread of its own")]

mod held;
mod reference;
mod stored;
mod system;

use std::sync::atomic::Ordering;

use base::proof::seed;
use base::rng::Rng;
use base::show;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use reference::Model;
use system::{ASKED, BY_THEMSELVES, ENCRYPTED_CASES, System, TRANSITIONS, TRANSITIONS_RUN};

const CASES: u32 = 256;
const STEPS_MAX: usize = 200;

#[test]
fn the_store_answers_as_a_map_of_versions_does() {
    let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let mut seed_bytes = [0; 32];
    Rng::new(seed(1)).fill(&mut seed_bytes);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed_bytes);
    let mut runner = TestRunner::new_with_rng(config.clone(), rng);
    let histories = Model::sequential_strategy(1..=STEPS_MAX);
    let outcome = runner.run(&histories, |(initial, transitions, seen)| {
        System::test_sequential(config.clone(), initial, transitions, seen);
        Ok(())
    });
    let run = TRANSITIONS_RUN.lock().unwrap().clone();
    let [by_themselves, asked] = [&BY_THEMSELVES, &ASKED].map(|jobs| *jobs.lock().unwrap());
    show!("model: transitions {run:?}");
    show!("model: by themselves {by_themselves:?}, asked for {asked:?}");
    let encrypted = ENCRYPTED_CASES.load(Ordering::Relaxed);
    show!("model: {encrypted} encrypted of {CASES} stores");
    outcome.unwrap();
    assert!(encrypted > 0);
    let never: Vec<_> = TRANSITIONS.iter().filter(|name| !run.contains_key(*name)).collect();
    assert!(never.is_empty() && run.len() == TRANSITIONS.len(), "transitions that never ran: {never:?}");
    assert!(by_themselves.flushes > 0 && by_themselves.compactions > 0, "{by_themselves:?}");
    assert!(by_themselves.collections > 50 && asked.collections > 50, "{by_themselves:?}, {asked:?}");
}
