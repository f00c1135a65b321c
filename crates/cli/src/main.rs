//! `ratel`: looks into and after stores from the command line.
//!
//! Invariants
//! 1. The exit code says what happened (see [`exit::Code`]); what was left out is named on standard error.
//! 2. Commands that only read open the store for reading only and change no file of it.
//! 3. Memory is bounded by the largest value, whatever the number of entries.

#![forbid(unsafe_code)]

mod args;
mod base64;
mod commands;
mod escape;
mod exit;
mod figures;
mod file_name;
mod left_out;
mod lines;
mod marker;
mod output;
mod progress;
mod store;
mod walk;

use std::process::ExitCode;

use clap::Parser;

use args::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let code = match commands::run(arguments) {
        Ok(code) => code,
        Err(failure) => {
            if failure.code() != exit::Code::Done {
                exit::complain(&format!("ratel: {failure}"));
            }
            failure.code()
        }
    };
    ExitCode::from(code as u8)
}
