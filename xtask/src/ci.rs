//! The gate: what every commit has to pass, on a contributor's machine as anywhere else.
//!
//! Features are named one by one (`FEATURES`), never all: the peers of the benchmark need C++ libraries and minutes. A
//! structural test fails when a crate has a feature that is neither in that list nor in its list of exceptions.

use std::time::{Duration, Instant};

use crate::step::{Failure, Step, cargo};
use crate::target_dir;

/// Features that the gate turns on.
const FEATURES: &str = include_str!("../features.txt");

/// Crates whose concurrent code has models that visit every interleaving, in `tests/loom.rs`.
const LOOM_PACKAGES: [&str; 2] = ["memtable", "txn-oracle"];

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    if !arguments.is_empty() {
        return Err(Failure::usage("ci takes no argument"));
    }
    let mut finished = Vec::new();
    for step in steps() {
        let name = step.name();
        println!("==> {name}");
        let started = Instant::now();
        let result = step.run();
        let outcome = if result.is_ok() { "ok" } else { "FAILED" };
        finished.push((name, outcome, started.elapsed()));
        if result.is_err() {
            summarise(&finished);
            return result;
        }
        println!("==> {name}: {outcome} in {:.1} s", started.elapsed().as_secs_f64());
    }
    summarise(&finished);
    Ok(())
}

fn steps() -> Vec<Step> {
    let features = features();
    vec![
        cargo("format").args(["fmt", "--all", "--check"]),
        cargo("clippy")
            .args(["clippy", "--locked", "--workspace", "--all-targets", "--features", &features])
            .args(["--", "-D", "warnings"]),
        cargo("tests").args(["test", "--locked", "--workspace"]),
        cargo("docs")
            .args(["doc", "--locked", "--workspace", "--no-deps", "--features", &features])
            .env("RUSTDOCFLAGS", "-D warnings"),
        // Through cargo, as a reader of the README does it.
        cargo("first run").args(["run", "--quiet", "--locked", "--package", "xtask", "--", "first-run"]),
        loom(),
    ]
}

/// The models compile the same code with another `base::sync`, so they are built apart. Only they run: all other tests
/// would use loom's types outside a model.
fn loom() -> Step {
    let packages = LOOM_PACKAGES.iter().flat_map(|package| ["--package", package]);
    cargo("loom models")
        .args(["test", "--locked", "--release", "--test", "loom"])
        .args(packages)
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", target_dir().join("loom"))
}

fn features() -> String {
    let named: Vec<&str> =
        FEATURES.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    named.join(",")
}

fn summarise(finished: &[(&str, &str, Duration)]) {
    println!();
    for (name, outcome, took) in finished {
        println!("{name:<12} {outcome:<6} {:>7.1} s", took.as_secs_f64());
    }
    let total: Duration = finished.iter().map(|(_, _, took)| *took).sum();
    println!("{:<12} {:<6} {:>7.1} s", "total", "", total.as_secs_f64());
}
