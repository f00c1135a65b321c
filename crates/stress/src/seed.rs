//! Where the seeds of tests come from.

use std::env;

/// The seed in the environment variable `RATEL_SEED`, to try others or to repeat a failure; `default` where there is
/// none. Printed, so that a failure can be repeated.
#[must_use]
pub fn seed(default: u64) -> u64 {
    let seed = env::var("RATEL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    println!("seed {seed}");
    seed
}
