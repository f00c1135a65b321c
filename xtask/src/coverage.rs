//! Measures which lines the tests run.

use crate::step::{Failure, cargo};

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    if !arguments.is_empty() {
        return Err(Failure::usage("coverage takes no argument"));
    }
    if !cargo("coverage").args(["llvm-cov", "--version"]).succeeds_silently() {
        return Err(Failure::step(
            "coverage",
            "cargo-llvm-cov is missing; run `rustup component add llvm-tools` and `cargo install cargo-llvm-cov`",
        ));
    }
    cargo("coverage").args(["llvm-cov", "--workspace", "--summary-only"]).run()
}
