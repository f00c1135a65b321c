//! Each target on input drawn from a seed: what is fuzzed for hours elsewhere compiles, runs and holds here.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use arbitrary::{Arbitrary, Unstructured};
use base::proof::seed;
use base::rng::Rng;
use base::show;
use fuzz_targets::{bitcask_open, key_registry, table_reader, vlog_reader, wal_reader};

const INPUT_LEN_MAX: u64 = 2_000;

/// Calls `run` with input drawn from the seed.
fn on_random_input<I: for<'a> Arbitrary<'a>>(target: &str, inputs: u64, run: impl Fn(I)) {
    let mut rng = Rng::new(seed(1));
    for _ in 0..inputs {
        let mut bytes = vec![0; rng.below(INPUT_LEN_MAX) as usize];
        rng.fill(&mut bytes);
        run(I::arbitrary_take_rest(Unstructured::new(&bytes)).unwrap());
    }
    show!("fuzz target {target}: {inputs} random inputs");
}

#[test]
fn the_log_reader_stands_random_input() {
    on_random_input("wal_reader", 10_000, wal_reader::Input::run);
}

#[test]
fn the_table_reader_stands_random_input() {
    on_random_input("table_reader", 2_000, table_reader::Input::run);
}

#[test]
fn the_value_log_stands_random_input() {
    on_random_input("vlog_reader", 3_000, vlog_reader::Input::run);
}

#[test]
fn the_key_registry_stands_random_input() {
    on_random_input("key_registry", 5_000, key_registry::Input::run);
}

#[test]
fn opening_a_bitcask_store_stands_random_input() {
    on_random_input("bitcask_open", 2_000, bitcask_open::Input::run);
}
