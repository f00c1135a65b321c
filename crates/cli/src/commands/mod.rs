//! The commands, one a file.

mod bench;
mod bitcask;
mod export;
mod gc;
mod import;
mod info;
mod point;
mod rotate;
mod scan;
mod verify;

use crate::args::{Arguments, Command, Vlog};
use crate::exit::{Code, Failure};
use crate::store::Opener;

/// Runs a command and says how to end.
pub(crate) fn run(arguments: Arguments) -> Result<Code, Failure> {
    let opener = Opener { key_file: arguments.key_file, value_dir: arguments.value_dir };
    match arguments.command {
        Command::Import(arguments) => import::run(&arguments, &opener),
        Command::Export(arguments) => export::run(&arguments, &opener),
        Command::Get(arguments) => point::get(&arguments, &opener),
        Command::Put(arguments) => point::put(&arguments, &opener),
        Command::Del(arguments) => point::delete(&arguments, &opener),
        Command::Scan(arguments) => scan::run(&arguments, &opener),
        Command::Info(arguments) => info::run(&arguments, &opener),
        Command::Verify(arguments) => verify::run(&arguments, &opener),
        Command::Gc(arguments) => gc::run(&arguments, &opener),
        Command::Vlog(Vlog::Check(arguments)) => gc::check(&arguments, &opener),
        Command::Vlog(Vlog::Rebuild(arguments)) => gc::rebuild(&arguments, &opener),
        Command::Rotate(arguments) => rotate::run(&arguments, &opener),
        Command::Bench(_) if opener.key_file.is_some() => {
            Err(Failure::usage("bench makes stores of its own, which are not encrypted: it takes no --key-file"))
        }
        Command::Bench(_) | Command::Bitcask { .. } if opener.value_dir.is_some() => Err(Failure::usage(
            "bench makes stores of its own, and a Bitcask store has one folder: they take no --value-dir",
        )),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Bitcask { command } => bitcask::run(&command),
    }
}
