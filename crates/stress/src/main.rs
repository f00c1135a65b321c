//! Runs the proofs that take as long as one likes.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use stress::kill::child::{self, Portion, StopAt};
use stress::kill::{Limits, Phase, Place, soak};

/// Crash and soak proofs of the store.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Kills a process that commits, again and again on one growing store, and checks every byte after each kill.
    Soak {
        /// How long.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Where all randomness comes from.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// A folder for the store, new or empty; without one, a temporary folder that is removed at the end.
        #[arg(long)]
        store: Option<PathBuf>,
        /// Encrypts the store, and replaces its data key again and again.
        #[arg(long)]
        encrypted: bool,
    },
    /// The process that is killed.
    #[command(hide = true)]
    Child {
        dir: PathBuf,
        #[arg(long)]
        status: PathBuf,
        #[arg(long)]
        seed: u64,
        #[arg(long, value_parser = parse_stop_at)]
        stop_at: Option<StopAt>,
        #[arg(long)]
        encrypted: bool,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Soak { seconds, seed, store, encrypted } => run_soak(seconds, seed, store, encrypted),
        Command::Child { dir, status, seed, stop_at, encrypted } => {
            match child::run(Place { dir: &dir, encrypted }, &status, seed, stop_at) {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => {
                    eprintln!("child: {failure}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}

fn run_soak(seconds: u64, seed: u64, store: Option<PathBuf>, encrypted: bool) -> ExitCode {
    let temporary = std::env::temp_dir().join(format!("ratel-soak-{}", std::process::id()));
    let dir = store.as_ref().unwrap_or(&temporary);
    let program = match std::env::current_exe() {
        Ok(program) if is_free(dir) => program,
        Ok(_) => {
            eprintln!("{} is not an empty folder", dir.display());
            return ExitCode::FAILURE;
        }
        Err(error) => {
            eprintln!("this program does not know where it is: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("seed {seed}, store {}", dir.display());
    let time = Duration::from_secs(seconds);
    let limits = Limits { rounds_min: 1, time_min: time, every_phase: false, time_max: time };
    let tally = soak(&program, Place { dir, encrypted }, seed, limits);
    println!("{}", tally.phases());
    let is_whole = tally.lost + tally.wrong == 0;
    for flaw in &tally.flaws {
        eprintln!("{flaw}");
    }
    if !is_whole {
        eprintln!("the store is left in {}", dir.display());
    } else if store.is_none()
        && let Err(error) = std::fs::remove_dir_all(dir)
    {
        eprintln!("{} could not be removed: {error}", dir.display());
    }
    println!("{tally}");
    if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether nothing is there, or an empty folder.
fn is_free(dir: &Path) -> bool {
    !dir.exists() || dir.read_dir().is_ok_and(|mut entries| entries.next().is_none())
}

/// `phase:step:portion`.
fn parse_stop_at(text: &str) -> Result<StopAt, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let [phase, step, portion] = parts[..] else { return Err("not of the form phase:step:portion".to_owned()) };
    let phase = Phase::named(phase).ok_or("an unknown phase")?;
    let step = step.parse().map_err(|error| format!("{error}"))?;
    let portion = match portion {
        "none" => Portion::None,
        "half" => Portion::Half,
        "all" => Portion::All,
        _ => return Err("an unknown portion".to_owned()),
    };
    Ok(StopAt { phase, step, portion })
}
