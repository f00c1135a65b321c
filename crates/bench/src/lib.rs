#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod arguments;
mod data;
mod directory;
mod error;
mod figures;
mod large;
mod large_figures;
mod latency;
mod opening;
mod pacing;
#[cfg(any(feature = "badger", feature = "fjall", feature = "leveldb", feature = "rocksdb"))]
pub mod peers;
mod process;
mod ratel;
mod runner;
mod space;
mod store;
mod task;
mod workload;
mod ycsb;
mod zipf;

use std::io::Write;

pub use arguments::{Arguments, Compression, Parameters};
pub use error::{Error, Result};
pub use figures::{Figures, TABLE_HEADER};
pub use large_figures::{Collecting, LargeValues};
pub use ratel::Ratel;
pub use runner::Runner;
pub use store::{Direction, Store};
pub use workload::Workload;

/// Runs the workloads that `arguments` name on one kind of store, in a folder of its own that is gone afterwards, and
/// writes one line a workload to `out` as soon as it has ended; more where there is more to say. `out` is flushed behind
/// each, and behind the head of the table before the first.
///
/// # Errors
/// Where an argument is out of its range, the store fails, or it gives a wrong answer.
pub fn run<S: Store>(arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let workloads = arguments.workloads()?;
    let mut runner = Runner::<S>::new(arguments.parameters()?, arguments.dir.as_deref())?;
    if !arguments.json {
        writeln!(out, "{TABLE_HEADER}").and_then(|()| out.flush()).map_err(Error::output)?;
    }
    for workload in &workloads {
        let figures = runner.run(workload)?;
        let line = if arguments.json { figures.to_json() } else { figures.to_row() };
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Error::output)?;
    }
    runner.close()
}
