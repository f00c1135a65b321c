//! The commands, one a file.

mod bench;
mod export;
mod gc;
mod import;
mod info;
mod point;
mod scan;
mod verify;

use crate::args::{Command, Vlog};
use crate::exit::{Code, Failure};

/// Runs a command and says how to end.
pub(crate) fn run(command: Command) -> Result<Code, Failure> {
    match command {
        Command::Import(arguments) => import::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Get(arguments) => point::get(&arguments),
        Command::Put(arguments) => point::put(&arguments),
        Command::Del(arguments) => point::delete(&arguments),
        Command::Scan(arguments) => scan::run(&arguments),
        Command::Info(arguments) => info::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Gc(arguments) => gc::run(&arguments),
        Command::Vlog(Vlog::Check(arguments)) => gc::check(&arguments),
        Command::Vlog(Vlog::Rebuild(arguments)) => gc::rebuild(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
    }
}
