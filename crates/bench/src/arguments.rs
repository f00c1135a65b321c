//! The arguments of a benchmark, as clap reads them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::data::{has_absent_keys, tells_apart};
use crate::workload::Action;
use crate::{Error, Result, Workload};

pub(crate) const VALUE_SIZE_MAX: usize = 64 << 20;
const KEY_SIZE_MAX: usize = 1_024;
const THREADS_MAX: usize = 1_024;
const BATCH_MAX: usize = 1 << 20;

/// What to run, and on what data.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Workloads, in the order to run them: fillseq, fillrandom, fillbatch100, overwrite, deleterandom, fillsync,
    /// fdatasync, readrandom, readmissing, readseq, readreverse, seekrandom10, seekrandom100, readwhilewriting,
    /// fillvalue-4k, readvalue-4k (other numbers do too), ycsb-a to ycsb-f, open, openafterkill, overwritelarge-4k,
    /// overwritelarge-4k-zipf, gc-4k, gc-4k-zipf (other numbers do too); -t4 behind any name but the opens means four
    /// threads
    #[arg(value_name = "WORKLOAD", value_delimiter = ',')]
    pub workloads: Vec<String>,

    /// Keys
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub num: u64,

    /// Bytes of a key
    #[arg(long, value_name = "BYTES", default_value_t = 16)]
    pub key_size: usize,

    /// Bytes of a value, of which half can be compressed away
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    pub value_size: usize,

    /// Bytes of values that overwritelarge and gc load
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    pub load_bytes: u64,

    /// Threads that share the operations of each workload
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: usize,

    /// How blocks of tables are stored
    #[arg(long, value_enum, value_name = "CODEC", default_value_t)]
    pub compression: Compression,

    /// Lets every commit wait for the disk
    #[arg(long)]
    pub sync: bool,

    /// Entries of a commit, where the workload does not say
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub batch: usize,

    /// Where random numbers begin
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub seed: u64,

    /// Bytes of the block cache
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20)]
    pub cache_size: u64,

    /// Bytes of a memtable
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    pub write_buffer_size: u64,

    /// Works in a new folder below this one instead of the system's temporary folder
    #[arg(long, value_name = "D")]
    pub dir: Option<PathBuf>,

    /// Prints a JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// How table blocks are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// As the store does by default
    #[default]
    Default,
    /// As they are
    None,
    /// Snappy
    Snappy,
    /// Zstandard
    Zstd,
    /// Chosen for each block
    Adaptive,
}

/// Arguments that are in their ranges.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Parameters {
    /// Keys.
    pub num: u64,
    /// Bytes of a key.
    pub key_size: usize,
    /// Bytes of a value.
    pub value_size: usize,
    /// Bytes of values that `overwritelarge` and `gc` load.
    pub load_bytes: u64,
    /// Threads of a workload that does not name their number.
    pub threads: usize,
    /// How table blocks are stored.
    pub compression: Compression,
    /// Whether every commit waits for the disk.
    pub sync: bool,
    /// Entries of a commit.
    pub batch: usize,
    /// Where random numbers begin.
    pub seed: u64,
    /// Bytes of the block cache.
    pub cache_bytes: u64,
    /// Bytes of a memtable.
    pub write_buffer_bytes: u64,
    /// Whether the store collects values that were overwritten; `gc` turns it off to measure what it costs.
    pub collects_values: bool,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            num: 1_000_000,
            key_size: 16,
            value_size: 100,
            load_bytes: 1 << 30,
            threads: 1,
            compression: Compression::Default,
            sync: false,
            batch: 1,
            seed: 42,
            cache_bytes: 256 << 20,
            write_buffer_bytes: 64 << 20,
            collects_values: true,
        }
    }
}

impl Arguments {
    /// The workloads named, or the default ones.
    ///
    /// # Errors
    /// For a name that is none, or a workload that cannot be run on keys so short.
    pub fn workloads(&self) -> Result<Vec<Workload>> {
        let parse = |name: &str| {
            let workload: Workload = name.parse()?;
            if workload.action == Action::ReadMissing && !has_absent_keys(self.key_size) {
                return Err(Error::Argument(format!("{name} needs keys of more than 8 bytes")));
            }
            Ok(workload)
        };
        if self.workloads.is_empty() {
            return Workload::DEFAULT.into_iter().map(parse).collect();
        }
        self.workloads.iter().map(|name| parse(name)).collect()
    }

    /// The other arguments.
    ///
    /// # Errors
    /// For the first that is out of its range.
    pub fn parameters(&self) -> Result<Parameters> {
        in_range("--num", self.num as usize, usize::MAX >> 8)?;
        in_range("--key-size", self.key_size, KEY_SIZE_MAX)?;
        in_range("--value-size", self.value_size, VALUE_SIZE_MAX)?;
        in_range("--load-bytes", self.load_bytes as usize, usize::MAX >> 8)?;
        in_range("--threads", self.threads, THREADS_MAX)?;
        in_range("--batch", self.batch, BATCH_MAX)?;
        if !tells_apart(self.key_size, self.num - 1) {
            let (size, num) = (self.key_size, self.num);
            return Err(Error::Argument(format!("keys of {size} bytes cannot tell {num} entries apart")));
        }
        Ok(Parameters {
            num: self.num,
            key_size: self.key_size,
            value_size: self.value_size,
            load_bytes: self.load_bytes,
            threads: self.threads,
            compression: self.compression,
            sync: self.sync,
            batch: self.batch,
            seed: self.seed,
            cache_bytes: self.cache_size,
            write_buffer_bytes: self.write_buffer_size,
            collects_values: true,
        })
    }

    /// The same arguments for another process that is to run one workload and print JSON.
    #[must_use]
    pub fn command_line(&self, workload: &Workload) -> Vec<String> {
        let compression = self.compression.to_possible_value().map(|value| value.get_name().to_owned());
        let mut line = vec![workload.name().to_owned(), "--json".to_owned()];
        for (name, value) in [
            ("--num", self.num.to_string()),
            ("--key-size", self.key_size.to_string()),
            ("--value-size", self.value_size.to_string()),
            ("--load-bytes", self.load_bytes.to_string()),
            ("--threads", self.threads.to_string()),
            ("--compression", compression.unwrap_or_default()),
            ("--batch", self.batch.to_string()),
            ("--seed", self.seed.to_string()),
            ("--cache-size", self.cache_size.to_string()),
            ("--write-buffer-size", self.write_buffer_size.to_string()),
        ] {
            line.extend([name.to_owned(), value]);
        }
        line.extend(self.sync.then(|| "--sync".to_owned()));
        line
    }
}

fn in_range(name: &str, value: usize, max: usize) -> Result<()> {
    if (1..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::Argument(format!("{name} is {value}, which is not from 1 to {max}")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn read(line: &[&str]) -> Arguments {
        CommandLine::parse_from([&["bench"], line].concat()).arguments
    }

    #[test]
    fn the_defaults_are_those_of_db_bench() {
        let arguments = read(&[]);
        assert_eq!(arguments.workloads().unwrap().len(), Workload::DEFAULT.len());
        let (given, default) = (arguments.parameters().unwrap(), Parameters::default());
        assert_eq!(format!("{given:?}"), format!("{default:?}"));
    }

    #[test]
    fn another_process_gets_the_same_arguments() {
        let line =
            ["--num", "7", "--compression", "zstd", "--sync", "--seed", "9", "--load-bytes", "8", "readseq,fillseq"];
        let arguments = read(&line);
        let workloads = arguments.workloads().unwrap();
        let passed = arguments.command_line(&workloads[1]);
        let again = read(&passed.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(again.workloads, ["fillseq"]);
        assert!(again.json);
        assert_eq!(format!("{:?}", again.parameters().unwrap()), format!("{:?}", arguments.parameters().unwrap()));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (line, named) in [
            (&["--num", "0"][..], "--num"),
            (&["--key-size", "1", "--num", "257"], "keys of 1 bytes"),
            (&["--threads", "0"], "--threads"),
            (&["--value-size", "0"], "--value-size"),
        ] {
            let error = read(line).parameters().unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let error = read(&["--key-size", "8", "readmissing"]).workloads().unwrap_err().to_string();
        assert!(error.contains("more than 8 bytes"), "{error}");
    }
}
