//! `peers`: the same workloads on this store and on others, in turns, each in a process of its own, as a table with
//! ratios.
//!
//! The program starts itself for each measurement, so that memory and CPU time are of one store and one workload. All
//! stores run a workload before any runs the next: what disturbs the machine meanwhile disturbs all of them.

#![forbid(unsafe_code)]

mod goals;
mod table;

use std::io::{self, StdoutLock};
use std::process::{Command, ExitCode, Stdio};

#[cfg(feature = "badger")]
use bench::peers::badger::Badger;
#[cfg(feature = "rocksdb")]
use bench::peers::rocksdb::RocksDb;
use bench::peers::{fjall::Fjall, leveldb::LevelDb};
use bench::{Arguments, Parameters, Ratel, Store, Workload};
use clap::Parser;
use serde_json::Value;

use table::{Row, Table};

/// Runs db_bench's workloads on this store and on its peers, and prints a table in Markdown.
#[derive(Debug, Parser)]
#[command(name = "peers")]
struct CommandLine {
    #[command(flatten)]
    arguments: Arguments,

    /// Stores to compare; the first one is compared with the best of the others. There are ratel, ratel-roomy, fjall,
    /// leveldb and, with values kept apart, fjall-kv, rocksdb-blob, rocksdb-blob-tuned, badger2 and badger2-tuned
    #[arg(long, value_name = "STORE", value_delimiter = ',', default_values = DEFAULT_STORES)]
    stores: Vec<String>,

    /// Times that each workload runs on each store; the run with the median rate counts, of an even number the slower
    /// one of the two in the middle
    #[arg(long, value_name = "N", default_value_t = 1)]
    rounds: usize,

    /// Measures this store in this process
    #[arg(long, value_name = "STORE", hide = true)]
    child: Option<String>,
}

const DEFAULT_STORES: [&str; 3] = [<Ratel>::NAME, <Fjall>::NAME, LevelDb::NAME];

/// A store that can be measured.
struct Kind {
    name: &'static str,
    about: fn(&Parameters) -> String,
    run: fn(&Arguments, &mut StdoutLock<'static>) -> bench::Result<()>,
}

impl Kind {
    fn of<S: Store>() -> Self {
        Self { name: S::NAME, about: S::about, run: |arguments, out| bench::run::<S>(arguments, out) }
    }

    fn all() -> Vec<Self> {
        vec![
            Self::of::<Ratel>(),
            Self::of::<Ratel<true>>(),
            Self::of::<Fjall>(),
            Self::of::<LevelDb>(),
            Self::of::<Fjall<true>>(),
            #[cfg(feature = "rocksdb")]
            Self::of::<RocksDb<false>>(),
            #[cfg(feature = "rocksdb")]
            Self::of::<RocksDb<true>>(),
            #[cfg(feature = "badger")]
            Self::of::<Badger<false>>(),
            #[cfg(feature = "badger")]
            Self::of::<Badger<true>>(),
        ]
    }

    fn named(name: &str) -> Result<Self, String> {
        let all = Self::all();
        let known: Vec<_> = all.iter().map(|kind| kind.name).collect();
        let unknown = format!("there is no store {name}; there are {}", known.join(", "));
        all.into_iter().find(|kind| kind.name == name).ok_or(unknown)
    }
}

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let result = match &command_line.child {
        Some(store) => measure_here(store, &command_line.arguments),
        None => compare(&command_line),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("peers: {message}");
            ExitCode::FAILURE
        }
    }
}

fn measure_here(store: &str, arguments: &Arguments) -> Result<(), String> {
    (Kind::named(store)?.run)(arguments, &mut io::stdout().lock()).map_err(|error| error.to_string())
}

fn about(store: &str, parameters: &Parameters) -> Result<String, String> {
    Ok((Kind::named(store)?.about)(parameters))
}

fn compare(command_line: &CommandLine) -> Result<(), String> {
    let arguments = &command_line.arguments;
    let parameters = arguments.parameters().map_err(|error| error.to_string())?;
    let about = command_line.stores.iter().map(|store| about(store, &parameters)).collect::<Result<Vec<_>, _>>()?;
    let workloads = if arguments.workloads.is_empty() { all_workloads() } else { arguments.workloads() };
    let workloads = workloads.map_err(|error| error.to_string())?;
    let mut table = Table::new(&command_line.stores);
    for workload in &workloads {
        let row = run(command_line, workload)?;
        if arguments.json {
            row.print_json(&command_line.stores);
        } else {
            eprintln!("{}", row.summary(&command_line.stores));
        }
        table.rows.push(row);
    }
    if !arguments.json {
        print!("{table}");
        print_setting(&parameters, &command_line.stores, &about);
    }
    Ok(())
}

/// What the figures were measured with.
fn print_setting(parameters: &Parameters, stores: &[String], about: &[String]) {
    let Parameters { num, key_size, value_size, .. } = parameters;
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (buffer, cache) = (mebibytes(parameters.write_buffer_bytes), mebibytes(parameters.cache_bytes));
    let durability = if parameters.sync { "waits for the disk" } else { "survives a killed process" };
    println!(
        "\nMeasured with {num} entries of {key_size} B keys and {value_size} B values, where a workload does not say; \
         {buffer} MiB of write buffer, {cache} MiB of cache; a commit {durability} (in `fillsync` it waits for the disk).\n"
    );
    for (store, about) in stores.iter().zip(about) {
        println!("- {store} {about}");
    }
}

/// All but those that overwrite large values, which take long and are meant for stores that keep these apart.
fn all_workloads() -> bench::Result<Vec<Workload>> {
    let all: bench::Result<Vec<Workload>> = Workload::ALL.iter().map(|name| name.parse()).collect();
    Ok(all?.into_iter().filter(|workload| !workload.overwrites_large_values()).collect())
}

/// Runs a workload on every store, round by round.
fn run(command_line: &CommandLine, workload: &Workload) -> Result<Row, String> {
    let mut runs = vec![Vec::new(); command_line.stores.len()];
    for round in 0..command_line.rounds.max(1) {
        let mut turns: Vec<_> = command_line.stores.iter().zip(&mut runs).collect();
        first_in_turn(&mut turns, round);
        for (store, runs) in turns {
            runs.push(measure_apart(store, &command_line.arguments, workload)?);
        }
    }
    Ok(Row { workload: workload.name().to_owned(), figures: runs.into_iter().map(median).collect() })
}

/// Lets another store begin each round, since who comes behind whom may matter.
fn first_in_turn<T>(stores: &mut [T], round: usize) {
    stores.rotate_left(round % stores.len().max(1));
}

/// The run with the median rate; of an even number, the slower one of the two in the middle.
fn median(mut runs: Vec<Value>) -> Value {
    runs.sort_by(|a, b| table::rate(a).total_cmp(&table::rate(b)));
    let middle = runs.len().saturating_sub(1) / 2;
    runs.swap_remove(middle)
}

/// Measures a store in a process of its own.
fn measure_apart(store: &str, arguments: &Arguments, workload: &Workload) -> Result<Value, String> {
    let failed = |what: String| format!("{workload} on {store}: {what}");
    let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let mut command = Command::new(program);
    command.args(["--child", store]).args(arguments.command_line(workload)).stderr(Stdio::inherit());
    if let Some(dir) = &arguments.dir {
        command.arg("--dir").arg(dir);
    }
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_not_flattered() {
        let median = |rates: &[u64]| {
            let runs = rates.iter().map(|rate| json!({ "ops_per_second": rate })).collect();
            table::rate(&super::median(runs))
        };
        for (rates, expected) in [(&[7][..], 7.0), (&[2, 1], 1.0), (&[3, 1, 2], 2.0), (&[4, 1, 3, 2], 2.0)] {
            assert!((median(rates) - expected).abs() < f64::EPSILON, "{rates:?}");
        }
    }

    #[test]
    fn every_store_comes_first_as_often_as_any_other() {
        let first = |round| {
            let mut stores = DEFAULT_STORES;
            first_in_turn(&mut stores, round);
            stores[0]
        };
        assert_eq!(
            [first(0), first(1), first(2), first(3)],
            [DEFAULT_STORES[0], DEFAULT_STORES[1], DEFAULT_STORES[2], DEFAULT_STORES[0]]
        );
    }

    #[test]
    fn stores_are_known_by_names_of_their_own() {
        let names: std::collections::BTreeSet<_> = Kind::all().iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), Kind::all().len());
        assert!(names.iter().all(|name| Kind::named(name).is_ok_and(|kind| kind.name == *name)));
        assert!(DEFAULT_STORES.iter().all(|name| names.contains(name)));
        assert!(Kind::named("sled").is_err_and(|error| error.starts_with("there is no store sled; there are ratel")));
    }
}
