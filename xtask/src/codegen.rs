//! Regenerates the FlatBuffers code of `crates/schema`, or checks that what is checked in is what the compiler makes.
//!
//! Not a part of the gate: it builds the compiler, which takes cmake and minutes. The gate compares hashes instead, in a
//! test of `crates/schema`. The work itself is done by `tools/flatc`, which stands outside the workspace for that reason.

use crate::step::{Failure, cargo};
use crate::target_dir;

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let step = cargo("codegen")
        .args(["run", "--quiet", "--locked", "--manifest-path", "tools/flatc/Cargo.toml", "--"])
        .env("CARGO_TARGET_DIR", target_dir().join("flatc"));
    match arguments {
        [] => step.run(),
        [flag] if flag == "--check" => step.args(["--check"]).run(),
        _ => Err(Failure::usage("codegen takes --check or nothing")),
    }
}
