//! The workloads by name, with db_bench's meanings.

use std::fmt;
use std::str::FromStr;

use crate::ycsb::{self, Mix};
use crate::{Error, Parameters, Result};

/// Bytes of values that `fillvalue-N` and `readvalue-N` hold for every million of `--num`.
const VALUE_BYTES_PER_MILLION: u64 = 256 << 20;
const MILLION: u64 = 1_000_000;
/// Writes that wait for the disk are so slow that a hundredth of them tells as much.
const SYNCED_PART: u64 = 100;
/// So are seeks, with what is read behind each.
const SEEK_PART: u64 = 10;
/// Overwrites of a set of large values, each as many as there are keys.
const LARGE_PASSES: u64 = 3;
/// Opening takes as long as thousands of other operations.
const OPEN_PART: u64 = 5_000;
const OPENS_MIN: u64 = 20;
/// Each of these opens has a folder of its own, and a log to read.
const OPENS_AFTER_KILL: u64 = 5;

/// A workload and how many threads run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    name: String,
    pub(crate) action: Action,
    threads: Option<usize>,
    value_size: Option<usize>,
}

/// What a workload does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Sets keys in ascending order, in an empty store; several in a commit where so many are given.
    FillSequential,
    /// Sets random keys in an empty store.
    FillRandom { batch: Option<usize> },
    /// Sets random keys in an empty store, each commit waiting for the disk.
    FillSync,
    /// Sets random keys of a loaded store.
    Overwrite,
    /// Deletes random keys of a loaded store.
    DeleteRandom,
    /// Appends to a file and waits for the disk; no store at all.
    BareSync,
    /// Reads random keys, all of which are there.
    ReadRandom,
    /// Reads keys that lie between those that are there.
    ReadMissing,
    /// Scans everything from the first key to the last.
    ReadForward,
    /// Scans everything from the last key to the first.
    ReadReverse,
    /// Looks for a random key and reads so many entries from there.
    SeekRandom { entries: u64 },
    /// Reads random keys while one more thread overwrites.
    ReadWhileWriting,
    /// Opens a loaded store, again and again.
    Open,
    /// Opens stores of which the writer was killed.
    OpenAfterKill,
    /// Reads and writes, some records more often than others.
    Ycsb(Mix),
    /// Loads large values and overwrites them, as many as there are three times.
    OverwriteLarge { popularity: Popularity },
    /// The same with and without collecting what was overwritten, as fast as can be and at half of that.
    CollectLarge { popularity: Popularity },
}

/// How often each key is overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Popularity {
    /// All alike.
    Uniform,
    /// By Zipf's distribution, the popular ones scattered.
    Zipf,
}

/// What must be in the store before a workload begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// An empty folder, and no store.
    Nothing,
    /// An empty store.
    Empty,
    /// Each key once, loaded in random order, and a clean close behind it.
    Loaded,
    /// The same, not opened again.
    LoadedClosed,
    /// Folders that a killed writer left, one for each operation.
    Killed,
}

impl Workload {
    /// The workloads that run when none are named.
    pub const DEFAULT: [&str; 8] =
        ["fillseq", "fillrandom", "overwrite", "fillbatch100", "readrandom", "readmissing", "readseq", "seekrandom10"];

    /// All workloads, without the variants of threads and sizes.
    pub const ALL: [&str; 27] = [
        "fillseq",
        "fillrandom",
        "fillbatch100",
        "overwrite",
        "deleterandom",
        "fillsync",
        "fdatasync",
        "readrandom",
        "readmissing",
        "readseq",
        "readreverse",
        "seekrandom10",
        "seekrandom100",
        "readwhilewriting",
        "fillvalue-4k",
        "open",
        "openafterkill",
        "ycsb-a",
        "ycsb-b",
        "ycsb-c",
        "ycsb-d",
        "ycsb-e",
        "ycsb-f",
        "overwritelarge-4k",
        "overwritelarge-4k-zipf",
        "gc-4k",
        "gc-4k-zipf",
    ];

    /// The name, with what was behind it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it loads and overwrites large values.
    #[must_use]
    pub fn overwrites_large_values(&self) -> bool {
        matches!(self.action, Action::OverwriteLarge { .. } | Action::CollectLarge { .. })
    }

    pub(crate) fn threads(&self, parameters: &Parameters) -> usize {
        match self.action {
            Action::Open | Action::OpenAfterKill => 1,
            _ => self.threads.unwrap_or(parameters.threads),
        }
    }

    pub(crate) fn value_size(&self, parameters: &Parameters) -> usize {
        self.value_size.unwrap_or(parameters.value_size)
    }

    /// How many keys the store holds, or can; without those that are added.
    pub(crate) fn num(&self, parameters: &Parameters) -> u64 {
        match self.value_size {
            Some(size) if self.overwrites_large_values() => (parameters.load_bytes / (size as u64).max(1)).max(1),
            Some(size) => (u128::from(VALUE_BYTES_PER_MILLION) * u128::from(parameters.num) / u128::from(MILLION))
                .checked_div(size as u128)
                .map_or(1, |num| num.clamp(1, u128::from(u64::MAX)) as u64),
            None => parameters.num,
        }
    }

    /// How many keys there are, with those that may be added.
    pub(crate) fn room(&self, parameters: &Parameters) -> u64 {
        match self.action {
            Action::Ycsb(mix) if mix.inserts() => self.num(parameters) + self.operations(parameters),
            _ => self.num(parameters),
        }
    }

    /// How many operations all threads do together; scans go by what there is.
    pub(crate) fn operations(&self, parameters: &Parameters) -> u64 {
        let num = self.num(parameters);
        match self.action {
            Action::FillSync | Action::BareSync => (num / SYNCED_PART).max(1),
            Action::SeekRandom { .. } => (num / SEEK_PART).max(1),
            Action::Ycsb(mix) if mix.scans() => (num / SEEK_PART).max(1),
            Action::Open => (num / OPEN_PART).max(OPENS_MIN),
            Action::OpenAfterKill => OPENS_AFTER_KILL,
            Action::OverwriteLarge { .. } | Action::CollectLarge { .. } => num.saturating_mul(LARGE_PASSES),
            _ => num,
        }
    }

    pub(crate) fn needs(&self) -> Needs {
        match self.action {
            Action::BareSync | Action::OverwriteLarge { .. } | Action::CollectLarge { .. } => Needs::Nothing,
            Action::FillSequential | Action::FillRandom { .. } | Action::FillSync => Needs::Empty,
            Action::Open => Needs::LoadedClosed,
            Action::OpenAfterKill => Needs::Killed,
            _ => Needs::Loaded,
        }
    }

    pub(crate) fn writes(&self) -> bool {
        use Action::{CollectLarge, DeleteRandom, FillRandom, FillSequential, FillSync};
        use Action::{Overwrite, OverwriteLarge, ReadWhileWriting, Ycsb};
        match self.action {
            FillSequential | FillRandom { .. } | FillSync | Overwrite | DeleteRandom | ReadWhileWriting => true,
            OverwriteLarge { .. } | CollectLarge { .. } => true,
            Ycsb(mix) => mix.writes_percent > 0,
            _ => false,
        }
    }
}

impl FromStr for Workload {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        parse(name).ok_or_else(|| {
            let known = Workload::ALL.join(", ");
            Error::Argument(format!(
                "there is no workload {name}; there are {known}, other numbers in place of 10, 100 and 4k, \
                 readvalue-4k, and -t4 behind any but the opens for four threads"
            ))
        })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn parse(name: &str) -> Option<Workload> {
    let (base, threads) = match name.rsplit_once("-t") {
        Some((base, threads)) => (base, Some(threads.parse().ok().filter(|threads| (1..=1_024).contains(threads))?)),
        None => (name, None),
    };
    let mut value_size = None;
    let action = match base {
        "fillseq" => Action::FillSequential,
        "fillrandom" => Action::FillRandom { batch: None },
        "fillsync" => Action::FillSync,
        "overwrite" => Action::Overwrite,
        "deleterandom" => Action::DeleteRandom,
        "fdatasync" => Action::BareSync,
        "readrandom" => Action::ReadRandom,
        "readmissing" => Action::ReadMissing,
        "readseq" => Action::ReadForward,
        "readreverse" => Action::ReadReverse,
        "readwhilewriting" => Action::ReadWhileWriting,
        "open" | "openafterkill" if threads.is_some() => return None,
        "open" => Action::Open,
        "openafterkill" => Action::OpenAfterKill,
        _ => {
            if let Some(batch) = base.strip_prefix("fillbatch") {
                Action::FillRandom { batch: Some(batch.parse().ok().filter(|batch| *batch > 0)?) }
            } else if let Some(entries) = base.strip_prefix("seekrandom") {
                Action::SeekRandom { entries: entries.parse().ok()? }
            } else if let Some(size) = base.strip_prefix("fillvalue-") {
                value_size = Some(parse_size(size)?);
                Action::FillRandom { batch: None }
            } else if let Some(letter) = base.strip_prefix("ycsb-") {
                value_size = Some(ycsb::VALUE_SIZE);
                Action::Ycsb(Mix::of(letter)?)
            } else if let Some((size, popularity)) = large_values(base, "overwritelarge-") {
                value_size = Some(size);
                Action::OverwriteLarge { popularity }
            } else if let Some((size, popularity)) = large_values(base, "gc-") {
                value_size = Some(size);
                Action::CollectLarge { popularity }
            } else {
                value_size = Some(parse_size(base.strip_prefix("readvalue-")?)?);
                Action::ReadRandom
            }
        }
    };
    Some(Workload { name: name.to_owned(), action, threads, value_size })
}

/// The size of values and how popular they are, behind a prefix.
fn large_values(name: &str, prefix: &str) -> Option<(usize, Popularity)> {
    let rest = name.strip_prefix(prefix)?;
    Some(match rest.strip_suffix("-zipf") {
        Some(size) => (parse_size(size)?, Popularity::Zipf),
        None => (parse_size(rest)?, Popularity::Uniform),
    })
}

/// A number of bytes; `k` and `m` stand for 1024 of them and 1024 of those.
fn parse_size(text: &str) -> Option<usize> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'k' => (text.strip_suffix('k')?, 1 << 10),
        b'm' => (text.strip_suffix('m')?, 1 << 20),
        _ => (text, 1),
    };
    let size: usize = digits.parse().ok()?;
    size.checked_mul(unit).filter(|size| (1..=crate::arguments::VALUE_SIZE_MAX).contains(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_listed_is_known() {
        for name in Workload::ALL.iter().chain(&Workload::DEFAULT) {
            assert_eq!(name.parse::<Workload>().unwrap().name(), *name);
        }
    }

    #[test]
    fn numbers_and_threads_are_read_from_the_name() {
        let parameters = Parameters { num: 2_000_000, threads: 3, value_size: 100, ..Parameters::default() };
        let workload = |name: &str| name.parse::<Workload>().unwrap();
        assert_eq!(workload("fillbatch7").action, Action::FillRandom { batch: Some(7) });
        assert_eq!(workload("seekrandom3-t4").action, Action::SeekRandom { entries: 3 });
        assert_eq!(workload("seekrandom3-t4").threads(&parameters), 4);
        assert_eq!(workload("readseq").threads(&parameters), 3);
        let large = workload("fillvalue-4k-t2");
        assert_eq!((large.value_size(&parameters), large.num(&parameters)), (4_096, 131_072));
        assert_eq!(workload("fillsync").operations(&parameters), 20_000);
        let scans = workload("ycsb-e-t4");
        assert_eq!((scans.threads(&parameters), scans.value_size(&parameters)), (4, 1_024));
        assert_eq!((scans.num(&parameters), scans.operations(&parameters)), (524_288, 52_428));
        assert_eq!(workload("ycsb-a").operations(&parameters), 524_288);
        assert_eq!((workload("open").operations(&parameters), workload("open").threads(&parameters)), (400, 1));
        assert_eq!(workload("openafterkill").operations(&parameters), 5);
        let large = workload("overwritelarge-16k-zipf-t2");
        assert_eq!(large.action, Action::OverwriteLarge { popularity: Popularity::Zipf });
        assert_eq!((large.threads(&parameters), large.value_size(&parameters)), (2, 16_384));
        assert_eq!((large.num(&parameters), large.operations(&parameters)), (65_536, 196_608));
        assert_eq!(workload("gc-1k").action, Action::CollectLarge { popularity: Popularity::Uniform });
    }

    #[test]
    fn what_is_no_workload_is_named() {
        for name in [
            "",
            "fillfast",
            "fillbatch0",
            "fillseq-t0",
            "fillseq-tx",
            "fillvalue-",
            "fillvalue-0k",
            "readvalue",
            "ycsb-g",
            "open-t4",
            "overwritelarge",
            "gc-4k-uniform",
        ] {
            let error = name.parse::<Workload>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("there is no workload {name};")), "{error}");
        }
    }
}
