//! What proofs share: where a seed comes from, and how figures are shown. For tests and for the programs of `stress`.

use std::env;
use std::fmt;
use std::io::{Write, stderr};

/// Shows a figure of a test that passes: formats like `println!`, but past what the test harness captures.
#[macro_export]
macro_rules! show {
    ($($text:tt)*) => { $crate::proof::write_line(::core::format_args!($($text)*)) };
}

/// The seed in the environment variable `RATEL_SEED`, to try others or to repeat a failure; `default` where there is
/// none. It is shown, so that a failure can be repeated.
#[must_use]
pub fn seed(default: u64) -> u64 {
    let seed = env::var("RATEL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    println!("seed {seed} (RATEL_SEED={seed} repeats it)");
    seed
}

/// Writes one line to standard error; what [`show!`](crate::show) calls.
pub fn write_line(line: fmt::Arguments<'_>) {
    // One write, so that lines of several threads stay whole. Nobody is left to be told where standard error is closed.
    let _ = stderr().write_all(format!("{line}\n").as_bytes());
}
