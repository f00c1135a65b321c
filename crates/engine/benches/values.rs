//! Scans over large values, which stand in the value log in another order than their keys: fetched ahead or one by one,
//! mapped or read, from the disk or from memory. On a file system of the machine, below its temporary folder.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a benchmark that fails panics")]
#![expect(clippy::disallowed_methods, reason = "vfs removes no folder")]

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use engine::{Compression, Db, IoMode, Options, Read, ScanOptions};
use vfs::{Advice, RealFs, Vfs};

const KEYS: u64 = 50_000;
const VALUE_LEN: usize = 1_000;
/// Items of one scan.
const ITEMS: usize = 1_000;

fn main() {
    divan::main();
    std::fs::remove_dir_all(dir()).unwrap();
}

#[derive(Clone, Copy)]
struct Case(IoMode, usize);

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {} ahead", self.0, self.1)
    }
}

const CASES: [Case; 8] = [
    Case(IoMode::Mapped, 0),
    Case(IoMode::Mapped, 8),
    Case(IoMode::Mapped, 32),
    Case(IoMode::Mapped, 128),
    Case(IoMode::Pread, 0),
    Case(IoMode::Pread, 8),
    Case(IoMode::Pread, 32),
    Case(IoMode::Pread, 128),
];

fn dir() -> PathBuf {
    std::env::temp_dir().join(format!("ratel-bench-values-{}", std::process::id()))
}

fn key(number: u64) -> [u8; 16] {
    let mut key = [b'k'; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key
}

/// A store that was closed in order, made once.
fn store() -> &'static Path {
    static STORE: OnceLock<PathBuf> = OnceLock::new();
    STORE.get_or_init(|| {
        let db = Options::new().value_threshold(500).open(dir()).unwrap();
        for number in 0..KEYS {
            db.insert(key(number), [number as u8; VALUE_LEN]).unwrap();
        }
        db.sync().unwrap();
        db.close().unwrap();
        dir()
    })
}

/// Gives back what the system keeps of the value log's files in memory.
fn forget_values() {
    let values = store().join("vlog");
    for entry in RealFs::new().list(&values).unwrap() {
        let file = RealFs::new().open_read(&values.join(entry.name)).unwrap();
        file.advise(0, file.len().unwrap(), Advice::DontNeed);
    }
}

fn scan(db: &Db, ahead: usize) {
    let options = ScanOptions::new().prefetch_values(ahead).limit(ITEMS);
    for item in db.scan(options) {
        black_box(item.unwrap().value_with(<[u8]>::len).unwrap());
    }
}

#[divan::bench(args = CASES, sample_count = 10, sample_size = 1)]
fn from_the_disk(bencher: Bencher<'_, '_>, Case(io_mode, ahead): Case) {
    let opened = || {
        forget_values();
        Options::new().io_mode(io_mode).open_read_only(store()).unwrap()
    };
    bencher.counter(ItemsCount::new(ITEMS)).with_inputs(opened).bench_local_refs(|db| scan(db, ahead));
}

#[divan::bench(args = CASES)]
fn from_memory(bencher: Bencher<'_, '_>, Case(io_mode, ahead): Case) {
    let db = Options::new().io_mode(io_mode).open_read_only(store()).unwrap();
    bencher.counter(ItemsCount::new(ITEMS)).bench_local(|| scan(&db, ahead));
}

/// Inserts of values of which half compresses, into a store in memory.
#[divan::bench(args = [Compression::None, Compression::Snappy, Compression::Zstd { level: 1 }])]
fn insert_compressed(bencher: Bencher<'_, '_>, compression: Compression) {
    let mut value = [b'x'; 4 << 10];
    base::rng::Rng::new(1).fill(value.split_at_mut(2 << 10).0);
    let db = Options::new().value_compression(compression).open_in_memory().unwrap();
    let mut number = 0;
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        number += 1;
        db.insert(key(number), value).unwrap();
    });
}

#[divan::bench(args = [Compression::None, Compression::Snappy, Compression::Zstd { level: 1 }])]
fn get_compressed(bencher: Bencher<'_, '_>, compression: Compression) {
    let mut value = [b'x'; 4 << 10];
    base::rng::Rng::new(1).fill(value.split_at_mut(2 << 10).0);
    let db = Options::new().value_compression(compression).open_in_memory().unwrap();
    (0..1_000).for_each(|number| db.insert(key(number), value).unwrap());
    let mut number = 0;
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        number = (number + 7) % 1_000;
        black_box(db.get(key(number)).unwrap())
    });
}
