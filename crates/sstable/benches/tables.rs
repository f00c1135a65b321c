//! Speed and density of tables by codec: 16-byte keys, 100-byte values of which half compresses, 4 KiB blocks.
//!
//! `cargo bench -p sstable` prints first what each codec makes of several kinds of values, then times building, lookups
//! and scans. The tables stand in the temporary directory (`TMPDIR=/dev/shm` leaves the disk out) and in the page cache.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a benchmark fails by panicking, and removes its folder"
)]

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base::clock::{Clock, SystemClock};
use base::rng::Rng;
use base::{Cursor, EntryMeta, EntryRef, InternalKeyRef, StoreId, TableId, key_hash};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use sstable::{
    BlockCache, Compression, CursorOptions, FilterPolicy, IoMode, ReadOptions, Table, TableBuilder, TableOptions,
    TableSummary, table_path,
};
use vfs::{RealFs, Vfs};

const ENTRIES: u64 = 500_000;
const STORE: StoreId = StoreId([1; 16]);
const CODECS: [Compression; 4] =
    [Compression::None, Compression::Snappy, Compression::Zstd { level: 1 }, Compression::Adaptive];

fn main() {
    print_densities();
    divan::main();
    let _ = std::fs::remove_dir_all(dir());
}

fn dir() -> PathBuf {
    std::env::temp_dir().join(format!("ratel-bench-tables-{}", std::process::id()))
}

fn file_system() -> Arc<dyn Vfs> {
    static FILE_SYSTEM: OnceLock<Arc<dyn Vfs>> = OnceLock::new();
    let make = || {
        let vfs: Arc<dyn Vfs> = Arc::new(RealFs::new());
        vfs.create_dir_all(&dir()).expect("a directory for the tables");
        vfs
    };
    Arc::clone(FILE_SYSTEM.get_or_init(make))
}

fn next_id() -> TableId {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    TableId(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

/// Keys as `db_bench` has them: sixteen digits. Every second number is stored, the others are the misses.
fn key(n: u64) -> [u8; 16] {
    let mut key = [b'0'; 16];
    let mut rest = n;
    for digit in key.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

#[derive(Clone, Copy, Debug)]
enum Values {
    Half,
    Random,
    Text,
    Json,
}

/// An encoded entry with a value of 100 bytes.
fn entry(values: Values, rng: &mut Rng) -> Vec<u8> {
    const WORDS: [&str; 8] = ["ratel ", "store ", "honey ", "sorted ", "table ", "block ", "of ", "the "];
    let mut value = match values {
        Values::Half => {
            let half: Vec<u8> = (0..50).map(|_| b' ' + rng.below(95) as u8).collect();
            half.repeat(2)
        }
        Values::Random => {
            let mut bytes = vec![0; 100];
            rng.fill(&mut bytes);
            bytes
        }
        Values::Text => (0..50).flat_map(|_| WORDS[rng.below(8) as usize].bytes()).collect(),
        Values::Json => {
            let (id, count) = (rng.below(1 << 40), rng.below(1_000));
            let tail = "\"state\":\"open\",\"tags\":[\"a\",\"b\"],\"owner\":\"somebody\",\"x\":1.5}";
            format!("{{\"id\":{id:013},\"count\":{count:04},{tail}").into_bytes()
        }
    };
    value.resize(100, b' ');
    let mut bytes = Vec::new();
    EntryRef::new(EntryMeta::put(), &value).encode_into(&mut bytes);
    bytes
}

/// Encoded entries, one behind the other, made before anything is timed.
fn entries(values: Values, count: u64) -> Vec<Vec<u8>> {
    let mut rng = Rng::new(1);
    (0..count).map(|_| entry(values, &mut rng)).collect()
}

fn build(entries: &[Vec<u8>], compression: Compression) -> TableSummary {
    let options = TableOptions { compression, filter: FilterPolicy::Bits8, store: STORE, ..TableOptions::default() };
    let mut builder = TableBuilder::create(&file_system(), &dir(), next_id(), options, None).expect("a new table");
    for (n, entry) in (0u64..).zip(entries) {
        builder.add(InternalKeyRef::new(&key(2 * n), 1 + n % 4_096), entry).expect("an entry in order");
    }
    builder.finish().expect("a finished table")
}

fn remove(summary: &TableSummary) {
    file_system().remove_file(&table_path(&dir(), summary.id)).expect("the table just built");
}

fn table(compression: Compression, io_mode: IoMode) -> Arc<Table> {
    table_with_cache(compression, io_mode, 256 << 20)
}

fn table_with_cache(compression: Compression, io_mode: IoMode, cache_bytes: usize) -> Arc<Table> {
    let summary = build(&entries(Values::Half, ENTRIES), compression);
    let cache = Arc::new(BlockCache::new(cache_bytes));
    let read = ReadOptions { io_mode, ..ReadOptions::new(cache, STORE) };
    let table = Table::open(&file_system(), &dir(), summary.id, read).expect("the table just built");
    remove(&summary); // stays readable while it is open
    table
}

fn print_densities() {
    println!("{:<8} {:<18} {:>8} {:>12} {:>12}", "values", "codec", "stored", "build MB/s", "scan MB/s");
    for values in [Values::Half, Values::Random, Values::Text, Values::Json] {
        let entries = entries(values, 200_000);
        for compression in CODECS {
            let runs: Vec<_> = (0..3).map(|_| density(&entries, compression)).collect();
            let (summary, built, scanned) = &runs[0];
            let built = runs.iter().map(|run| run.1).min().unwrap_or(*built);
            let scanned = runs.iter().map(|run| run.2).min().unwrap_or(*scanned);
            let raw = (summary.user_key_bytes + summary.value_bytes) as f64;
            println!(
                "{:<8} {:<18} {:>7.1}% {:>12.0} {:>12.0}",
                format!("{values:?}"),
                format!("{compression:?}"),
                summary.stored_bytes as f64 * 100.0 / raw,
                raw / built.as_secs_f64() / 1e6,
                raw / scanned.as_secs_f64() / 1e6
            );
        }
    }
}

/// Builds a table and scans it once without a cache, so that every block is decompressed.
fn density(entries: &[Vec<u8>], compression: Compression) -> (TableSummary, Duration, Duration) {
    let clock = SystemClock::new();
    let started = clock.monotonic();
    let summary = build(entries, compression);
    let built = clock.monotonic() - started;
    let read = ReadOptions::new(Arc::new(BlockCache::new(0)), STORE);
    let table = Table::open(&file_system(), &dir(), summary.id, read).expect("the table just built");
    let started = clock.monotonic();
    black_box(scan_forward(&table));
    let scanned = clock.monotonic() - started;
    remove(&summary);
    (summary, built, scanned)
}

fn scan_forward(table: &Arc<Table>) -> usize {
    let mut cursor = table.cursor(CursorOptions::default());
    cursor.seek_to_first().expect("a readable table");
    let mut bytes = 0;
    while cursor.valid() {
        bytes += black_box(cursor.key()).user_key.len() + black_box(cursor.value()).len();
        cursor.next().expect("a readable table");
    }
    bytes
}

#[divan::bench(args = CODECS, sample_count = 5, sample_size = 1)]
fn building(bencher: Bencher<'_, '_>, compression: Compression) {
    let entries = entries(Values::Half, ENTRIES);
    bencher.counter(BytesCount::new(ENTRIES * 119)).bench_local(|| {
        let summary = build(&entries, compression);
        remove(&summary);
        summary.entries
    });
}

#[divan::bench(args = CODECS)]
fn get_hit(bencher: Bencher<'_, '_>, compression: Compression) {
    lookups(bencher, &table(compression, IoMode::Mapped), 0, ENTRIES);
}

/// With a cache of a sixteenth of the table: nearly every lookup decompresses a block.
#[divan::bench(args = CODECS)]
fn get_hit_small_cache(bencher: Bencher<'_, '_>, compression: Compression) {
    lookups(bencher, &table_with_cache(compression, IoMode::Mapped, 4 << 20), 0, ENTRIES);
}

/// Keys of a thousandth of the table: all that is touched stays in the processor's cache.
#[divan::bench(args = [Compression::None])]
fn get_hit_warm(bencher: Bencher<'_, '_>, compression: Compression) {
    lookups(bencher, &table(compression, IoMode::Mapped), 0, ENTRIES / 1_000);
}

#[divan::bench]
fn get_hit_pread(bencher: Bencher<'_, '_>) {
    lookups(bencher, &table(Compression::None, IoMode::Pread), 0, ENTRIES);
}

#[divan::bench]
fn get_miss(bencher: Bencher<'_, '_>) {
    lookups(bencher, &table(Compression::None, IoMode::Mapped), 1, ENTRIES);
}

/// Looks up one random key of the first `keys` at a time, so that a lookup cannot start before the one ahead of it is
/// through: `offset` 0 hits, 1 misses.
fn lookups(bencher: Bencher<'_, '_>, table: &Arc<Table>, offset: u64, keys: u64) {
    const BATCH: u64 = 1_000;
    let mut rng = Rng::new(3);
    let mut sum = 0u64;
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for _ in 0..BATCH {
            let n = (rng.next_u64() ^ (sum & 1)) % keys;
            let key = key(2 * n + offset);
            let found = table.get_with(&key, key_hash(&key), u64::MAX, |version, entry| {
                version + u64::from(entry.last().copied().unwrap_or_default())
            });
            sum = sum.wrapping_add(found.expect("a readable table").unwrap_or(1));
        }
        sum
    });
}

#[divan::bench(args = CODECS, sample_count = 10, sample_size = 1)]
fn scan(bencher: Bencher<'_, '_>, compression: Compression) {
    let table = table(compression, IoMode::Mapped);
    bencher.counter(ItemsCount::new(ENTRIES)).bench_local(|| scan_forward(&table));
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn scan_reverse(bencher: Bencher<'_, '_>) {
    let table = table(Compression::None, IoMode::Mapped);
    bencher.counter(ItemsCount::new(ENTRIES)).bench_local(|| {
        let mut cursor = table.cursor(CursorOptions::default());
        cursor.seek_to_last().expect("a readable table");
        let mut bytes = 0;
        while cursor.valid() {
            bytes += black_box(cursor.key()).user_key.len() + black_box(cursor.value()).len();
            cursor.prev().expect("a readable table");
        }
        bytes
    });
}

#[divan::bench]
fn seek(bencher: Bencher<'_, '_>) {
    const BATCH: u64 = 1_000;
    let table = table(Compression::None, IoMode::Mapped);
    let mut cursor = table.cursor(CursorOptions::default());
    let mut rng = Rng::new(3);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let mut sum = 0;
        for _ in 0..BATCH {
            let key = key(rng.below(2 * ENTRIES));
            cursor.seek(InternalKeyRef::first_of(&key)).expect("a readable table");
            sum += u64::from(cursor.valid());
        }
        sum
    });
}
