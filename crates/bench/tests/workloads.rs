//! Every workload on every store that is built in, small: each answers rightly, and what is counted adds up.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

use std::collections::BTreeMap;
use std::fs;

use base::rng::Rng;
use bench::{Arguments, Direction, Error, Figures, Parameters, Ratel, Runner, Store, Workload};
use clap::Parser;

const NUM: u64 = 3_000;
/// Bytes of values of the workloads whose names say how large one is.
const VALUE_BYTES: u64 = (256 << 20) * NUM / 1_000_000;
/// Bytes of values that the workloads load which overwrite large ones.
const LOAD_BYTES: &str = "8388608";

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    arguments: Arguments,
}

fn parameters(line: &[&str]) -> Parameters {
    CommandLine::parse_from([&["bench", "--num", "3000", "--load-bytes", LOAD_BYTES], line].concat())
        .arguments
        .parameters()
        .unwrap()
}

fn load_bytes() -> u64 {
    LOAD_BYTES.parse().unwrap()
}

fn run<S: Store>(parameters: Parameters, names: &[&str]) -> Vec<Figures> {
    let mut runner = Runner::<S>::new(parameters, None).unwrap();
    let figures = names.iter().map(|name| runner.run(&name.parse::<Workload>().unwrap()).unwrap()).collect();
    runner.close().unwrap();
    figures
}

/// Runs all workloads; the runner itself looks at every answer.
fn runs_all_workloads<S: Store>() {
    for figures in run::<S>(parameters(&[]), &Workload::ALL) {
        let expected = match figures.workload.as_str() {
            "fillsync" | "fdatasync" => NUM / 100,
            "seekrandom10" | "seekrandom100" => NUM / 10,
            "fillvalue-4k" => VALUE_BYTES / 4_096,
            "open" => 20,
            "openafterkill" => 5,
            "ycsb-e" => VALUE_BYTES / 1_024 / 10,
            name if name.starts_with("ycsb-") => VALUE_BYTES / 1_024,
            name if name.starts_with("overwritelarge-4k") || name.starts_with("gc-4k") => 3 * load_bytes() / 4_096,
            _ => NUM,
        };
        assert_eq!((figures.ops, figures.threads), (expected, 1), "{}", figures.workload);
        assert!(figures.seconds > 0.0 && figures.p50_us <= figures.p99_us && figures.p999_us <= figures.max_us * 1.001);
        assert!(figures.peak_rss_bytes > 0 && figures.peak_anon_bytes > 0, "{figures:?}");
    }
}

/// Scans from random places in both directions agree with a map.
fn scans_agree_with_a_map<S: Store>(name: &str) {
    let dir = std::env::temp_dir().join(format!("ratel-bench-scans-{name}-{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    let store = S::open(&dir, &Parameters::default()).unwrap();
    let (mut rng, mut map) = (Rng::new(7), BTreeMap::new());
    for _ in 0..500 {
        let key = rng.below(1_000).to_be_bytes().to_vec();
        store.put(&key, b"value", false).unwrap();
        map.insert(key, b"value".to_vec());
    }
    for _ in 0..50 {
        let key = rng.below(1_000).to_be_bytes();
        store.delete(&key, false).unwrap();
        map.remove(&key[..]);
    }
    for _ in 0..300 {
        let from = rng.below(1_000).to_be_bytes();
        assert_eq!(store.get(&from).unwrap(), map.get(&from[..]).map(Vec::len));
        let forward: Vec<_> = map.range(from.to_vec()..).take(5).collect();
        assert_same(&store, Some(&from), Direction::Forward, &forward);
        let reverse: Vec<_> = map.range(..=from.to_vec()).rev().take(5).collect();
        assert_same(&store, Some(&from), Direction::Reverse, &reverse);
    }
    assert_same(&store, None, Direction::Forward, &map.iter().take(5).collect::<Vec<_>>());
    assert_same(&store, None, Direction::Reverse, &map.iter().rev().take(5).collect::<Vec<_>>());
    store.close().unwrap();
    fs::remove_dir_all(&dir).unwrap();
}

fn assert_same<S: Store>(store: &S, from: Option<&[u8]>, direction: Direction, expected: &[(&Vec<u8>, &Vec<u8>)]) {
    let mut found = Vec::new();
    let count = store.scan(from, direction, 5, |key, value| found.push((key.to_vec(), value.to_vec()))).unwrap();
    assert_eq!(count, found.len() as u64);
    let expected: Vec<_> = expected.iter().map(|(key, value)| ((*key).clone(), (*value).clone())).collect();
    assert_eq!(found, expected, "from {from:?}, {direction:?}");
}

#[test]
fn this_store_runs_all_workloads() {
    runs_all_workloads::<Ratel>();
}

#[test]
fn this_store_scans_as_a_map_does() {
    scans_agree_with_a_map::<Ratel>("ratel");
}

#[cfg(feature = "fjall")]
#[test]
fn fjall_runs_all_workloads_and_scans_as_a_map_does() {
    runs_all_workloads::<bench::peers::fjall::Fjall>();
    scans_agree_with_a_map::<bench::peers::fjall::Fjall>("fjall");
    runs_all_workloads::<bench::peers::fjall::Fjall<true>>();
    scans_agree_with_a_map::<bench::peers::fjall::Fjall<true>>("fjall-kv");
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb_runs_all_workloads_and_scans_as_a_map_does() {
    runs_all_workloads::<bench::peers::rocksdb::RocksDb<false>>();
    scans_agree_with_a_map::<bench::peers::rocksdb::RocksDb<false>>("rocksdb");
}

#[cfg(feature = "badger")]
#[test]
fn badger_runs_all_workloads_and_scans_as_a_map_does() {
    runs_all_workloads::<bench::peers::badger::Badger<true>>();
    scans_agree_with_a_map::<bench::peers::badger::Badger<true>>("badger");
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb_tells_what_collecting_wrote() {
    use bench::peers::rocksdb::RocksDb;

    let mut parameters = parameters(&[]);
    // A flush for every quarter of the load, so that there is something to collect.
    parameters.write_buffer_bytes = 2 << 20;
    let figures = &run::<RocksDb<true>>(parameters, &["overwritelarge-4k"])[0];
    assert!(figures.large.as_ref().unwrap().collected_bytes > Some(1 << 20), "{figures:?}");
}

#[cfg(feature = "leveldb")]
#[test]
fn leveldb_runs_all_workloads_and_scans_as_a_map_does() {
    runs_all_workloads::<bench::peers::leveldb::LevelDb>();
    scans_agree_with_a_map::<bench::peers::leveldb::LevelDb>("leveldb");
}

#[test]
fn threads_share_the_operations_and_batches_hold_several() {
    let figures = run::<Ratel>(
        parameters(&["--threads", "3", "--batch", "7", "--sync", "--compression", "snappy"]),
        &["fillseq", "fillbatch100-t4", "readrandom-t2", "readseq", "readwhilewriting"],
    );
    let counted: Vec<_> = figures.iter().map(|figures| (figures.threads, figures.ops)).collect();
    assert_eq!(counted, [(3, NUM), (4, NUM), (2, NUM), (3, 3 * NUM), (3, NUM)]);
    assert!(figures[4].bytes_written > 0 && figures[4].write_amplification > 0.0, "{:?}", figures[4]);
}

#[test]
fn mixes_write_their_part_and_threads_share_them() {
    let mixes = ["ycsb-a-t4", "ycsb-b-t2", "ycsb-c-t4", "ycsb-d-t4", "ycsb-e-t2", "ycsb-f-t3"];
    let figures = run::<Ratel>(parameters(&[]), &mixes);
    let written: Vec<bool> = figures.iter().map(|figures| figures.write_amplification > 0.0).collect();
    assert_eq!(written, [true, true, false, true, true, true]);
    assert_eq!(figures.iter().map(|figures| figures.threads).collect::<Vec<_>>(), [4, 2, 4, 4, 2, 3]);
}

#[test]
fn opens_count_the_time_of_opening_alone() {
    for figures in run::<Ratel>(parameters(&["--threads", "3"]), &["readrandom", "open", "openafterkill"]) {
        if figures.workload == "readrandom" {
            continue;
        }
        let mean_us = figures.seconds * 1e6 / figures.ops as f64;
        assert!(figures.threads == 1 && figures.p50_us > 0.0, "{figures:?}");
        assert!(mean_us <= figures.max_us * 1.001 && figures.max_us <= figures.seconds * 1.001e6, "{figures:?}");
    }
}

#[test]
fn overwriting_large_values_adds_up() {
    let names = ["overwritelarge-1k", "overwritelarge-64k-zipf-t2"];
    for figures in run::<Ratel>(parameters(&[]), &names) {
        let large = figures.large.as_ref().unwrap();
        assert!(figures.collecting.is_none());
        // Each value was written once at the least.
        assert!(large.load_write_amplification > 0.99 && large.load_write_amplification < 3.0, "{large:?}");
        assert!(large.overall_write_amplification > 0.99 && figures.write_amplification > 0.99, "{large:?}");
        assert!(large.overall_bytes_written > 4 * load_bytes() && large.overall_bytes_written > figures.bytes_written);
        // All live values are there, allocated or, before the first writeback, in the lengths of files.
        let samples = &large.space_over_time;
        assert!((1..=41).contains(&samples.len()) && large.apparent_space_steady > 0.99, "{large:?}");
        assert_eq!(samples.last().copied().map(f64::to_bits), Some(large.space_end.to_bits()));
        assert!(samples.iter().all(|space| *space <= large.space_max) && large.space_steady <= large.space_max);
        assert!(large.cores_used > 0.0 && large.load_ops_per_second > 0.0);
    }
}

#[test]
fn collecting_is_measured_at_full_rate_and_at_half_of_it() {
    let figures = &run::<Ratel>(parameters(&["--threads", "2"]), &["gc-16k"])[0];
    let collecting = figures.collecting.as_ref().unwrap();
    assert!(figures.large.is_some() && figures.threads == 2);
    let half = collecting.fast_ops_per_second_without / 2.0;
    assert!((collecting.offered_ops_per_second - half).abs() < 1.0, "{collecting:?}");
    assert!(collecting.fast_kept > 0.0 && collecting.paced_p999_us > 0.0 && collecting.paced_p999_us_without > 0.0);
    // The last of a thread's operations is due an interval before the time is over.
    let at_most = 1.0 + 2.0 / figures.ops as f64;
    for kept in [collecting.paced_kept, collecting.paced_kept_without] {
        assert!(kept > 0.0 && kept <= at_most * 1.001, "{collecting:?}");
    }
}

#[test]
fn keys_too_short_for_the_load_are_refused() {
    let mut parameters = parameters(&["--key-size", "2"]);
    parameters.load_bytes = 128 << 20;
    let mut runner = Runner::<Ratel>::new(parameters, None).unwrap();
    let error = runner.run(&"overwritelarge-1k".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("keys of 2 bytes cannot tell 131072 entries apart"), "{error}");
}

/// A store that forgets what it was told.
struct Forgetful;

impl Store for Forgetful {
    const NAME: &'static str = "forgetful";

    fn about(_: &Parameters) -> String {
        String::new()
    }

    fn open(_: &std::path::Path, _: &Parameters) -> bench::Result<Self> {
        Ok(Self)
    }

    fn put(&self, _: &[u8], _: &[u8], _: bool) -> bench::Result<()> {
        Ok(())
    }

    fn put_batch<'a>(&self, _: impl Iterator<Item = (&'a [u8], &'a [u8])>, _: bool) -> bench::Result<()> {
        Ok(())
    }

    fn delete(&self, _: &[u8], _: bool) -> bench::Result<()> {
        Ok(())
    }

    fn get(&self, _: &[u8]) -> bench::Result<Option<usize>> {
        Ok(None)
    }

    fn scan(&self, _: Option<&[u8]>, _: Direction, _: u64, _: impl FnMut(&[u8], &[u8])) -> bench::Result<u64> {
        Ok(0)
    }

    fn close(self) -> bench::Result<()> {
        Ok(())
    }
}

#[test]
fn a_store_that_forgets_is_found_out() {
    let mut runner = Runner::<Forgetful>::new(parameters(&[]), None).unwrap();
    let reads = ["readrandom", "readwhilewriting", "readseq", "readreverse", "seekrandom10", "open", "openafterkill"];
    for name in
        reads.into_iter().chain(["ycsb-a", "ycsb-c", "ycsb-d", "ycsb-e", "ycsb-f", "overwritelarge-4k", "gc-4k"])
    {
        let error = runner.run(&name.parse().unwrap()).unwrap_err();
        assert!(matches!(error, Error::WrongAnswer(_)), "{name}: {error}");
    }
}
