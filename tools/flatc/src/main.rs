//! Runs the FlatBuffers compiler that matches the `flatbuffers` runtime, with the arguments given.
//!
//! Called by `cargo xtask codegen`; prints the compiler's path and nothing else when it is given no argument.

use std::env;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let compiler = flatc_fork::flatc();
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    if arguments.is_empty() {
        println!("{}", compiler.display());
        return ExitCode::SUCCESS;
    }
    match Command::new(compiler).args(arguments).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot run {}: {error}", compiler.display());
            ExitCode::FAILURE
        }
    }
}
