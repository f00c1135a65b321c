//! The calls of the facade, one thread, a store in memory: what a call costs beside the disk.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a benchmark that fails panics")]

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use engine::{Db, Options, Read, WriteBatch};

const KEYS: u64 = 100_000;

fn main() {
    divan::main();
}

fn filled() -> Db {
    let db = Options::new().open_in_memory().unwrap();
    for number in 0..KEYS {
        db.insert(key(number), [7; 100]).unwrap();
    }
    db
}

fn key(number: u64) -> [u8; 16] {
    let mut key = [b'k'; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key
}

/// With a fixed threshold, and with one that follows the lengths that are written.
#[divan::bench(args = [0.0, 0.9])]
fn insert(bencher: Bencher<'_, '_>, value_log_percentile: f64) {
    let db = Options::new().value_log_percentile(value_log_percentile).open_in_memory().unwrap();
    let mut number = 0;
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        number += 1;
        db.insert(key(number), [7; 100]).unwrap();
    });
}

#[divan::bench]
fn batch_of_100(bencher: Bencher<'_, '_>) {
    let db = Options::new().open_in_memory().unwrap();
    let mut number = 0;
    bencher.counter(ItemsCount::new(100u32)).bench_local(|| {
        let mut batch = WriteBatch::new();
        for _ in 0..100 {
            number += 1;
            batch.insert(key(number), [7; 100]).unwrap();
        }
        db.write(batch).unwrap()
    });
}

#[divan::bench(args = ["memtable", "table"])]
fn get(bencher: Bencher<'_, '_>, place: &str) {
    let db = filled();
    if place == "table" {
        db.flush().unwrap();
    }
    let mut number = 0;
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        number = (number + 7_919) % KEYS;
        black_box(db.get(key(number)).unwrap().expect("every key is there"))
    });
}

#[divan::bench]
fn scan(bencher: Bencher<'_, '_>) {
    let db = filled();
    db.flush().unwrap();
    bencher.counter(ItemsCount::new(KEYS)).bench_local(|| db.iter().map(|item| item.unwrap().value_len()).sum::<u64>());
}

#[divan::bench]
fn transaction_of_a_read_and_a_write(bencher: Bencher<'_, '_>) {
    let db = filled();
    let mut number = 0;
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        number = (number + 7_919) % KEYS;
        db.update(|txn| {
            let value = txn.get(key(number))?.expect("every key is there");
            txn.insert(key(number), value)
        })
        .unwrap();
    });
}
