//! The chores of the workspace, run as `cargo xtask <chore>`.
//!
//! Invariants
//! 1. A chore that fails ends with a non-zero code and one line that says which step it was.
//! 2. `ci` is the whole gate: `.ci/run` and a contributor's machine run the same steps.
//!
//! The structural checks of the workspace (crate edges, versions, licences, house rules) are tests of this package, in
//! `tests/structure`, so that `cargo test --workspace` runs them too.

#![forbid(unsafe_code)]

mod ci;
mod codegen;
mod coverage;
mod first_run;
mod fuzz;
mod peers;
mod step;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use step::{Failure, Step, program};

const USAGE: &str = "\
usage: cargo xtask <chore>

  ci                                          the whole gate: format, clippy, tests, docs, first run, models
  first-run [DIR]                             with each codec, imports DIR (the sources that cargo has unpacked) into a
                                              store, exports it, compares the two trees and prints figures
  fuzz [--seconds N] [TARGET]                 runs the fuzz targets (needs cargo-fuzz and a nightly toolchain)
  soak --seconds N [--seed S] [--store DIR]   kills and reopens a growing store for that long
  codegen [--check]                           regenerates the FlatBuffers code, or compares it with what is checked in
  peers [ARGS]                                runs the benchmark's workloads on this store and on its peers
  coverage                                    measures which lines the tests run (needs cargo-llvm-cov)";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some((chore, rest)) = arguments.split_first() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(chore, rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask {chore}: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(chore: &str, arguments: &[String]) -> Result<(), Failure> {
    match chore {
        "ci" => ci::run(arguments),
        "first-run" => first_run::run(arguments),
        "fuzz" => fuzz::run(arguments),
        "soak" => soak(arguments),
        "codegen" => codegen::run(arguments),
        "peers" => peers::run(arguments),
        "coverage" => coverage::run(arguments),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(Failure::usage(format!("there is no such chore\n{USAGE}"))),
    }
}

/// The runner itself checks the arguments, and its exit code says whether anything was lost.
fn soak(arguments: &[String]) -> Result<(), Failure> {
    let step = program("soak", "stress").args(["--", "soak"]);
    with_arguments(step, arguments).run()
}

fn with_arguments(step: Step, arguments: &[String]) -> Step {
    step.args(arguments.iter().map(String::as_str))
}

/// The root of the workspace: where this package's folder is.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where cargo puts what it builds.
fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}
