//! The memtable beside `crossbeam-skiplist` and `BTreeMap`: one table of nanoseconds an operation.
//!
//! The others get their best case: keys and values of fixed size, inline in the node, and no versions.
//! `cargo bench -p memtable -- [entries] [seed]`; 16-byte keys, 100-byte values.
#![expect(clippy::indexing_slicing, reason = "a benchmark may panic")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::ExitCode;

use base::clock::{Clock, SystemClock};
use base::rng::Rng;
use base::sync::Arc;
use base::{Cursor, EntryMeta, EntryRef, InternalKeyRef, thread};
use crossbeam_skiplist::SkipMap;
use memtable::{Memtable, MemtableCursor};

type Key = [u8; 16];
type Value = [u8; 100];
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
type Figure = (&'static str, f64);

const VALUE: Value = [7; 100];
const ENTRY_BYTES_MAX: usize = Memtable::entry_bytes_max(16, 100);
const LOOKUPS: usize = 1_000_000;

const INSERT_RANDOM: &str = "insert random";
const INSERT_ORDERED: &str = "insert ordered";
const INSERT_BATCHED: &str = "insert ordered, batches of 100";
const INSERT_SHARED: &str = "insert random, shared prefix";
const INSERT_2_THREADS: &str = "insert random, 2 threads";
const LOOKUP_HIT: &str = "lookup hit";
const LOOKUP_MISS: &str = "lookup miss";
const SCAN_FORWARD: &str = "scan forward";
const SCAN_REVERSE: &str = "scan reverse";
const SCAN_BY_SEARCH: &str = "scan reverse by search";

struct Keys {
    random: Vec<Key>,
    ordered: Vec<Key>,
    /// Random decimal digits behind four zeros or more: the first eight bytes tell few keys apart.
    shared: Vec<Key>,
    present: Vec<Key>,
    absent: Vec<Key>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("memtable bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let entries = numbers.next().unwrap_or(1_000_000) as usize;
    let seed = numbers.next().unwrap_or(42);
    println!("{entries} entries, 16-byte keys, 100-byte values, seed {seed}; nanoseconds an operation");
    let keys = Keys::new(entries, seed);
    let ours = measure_ours(&keys)?;
    let skiplist = measure_crossbeam(&keys)?;
    let btree = measure_btree(&keys)?;
    println!("{:<34}{:>12}{:>12}{:>12}", "", "memtable", "crossbeam", "BTreeMap");
    for (name, ours) in &ours {
        let of = |figures: &[Figure]| {
            figures.iter().find(|(other, _)| other == name).map_or("-".to_owned(), |(_, ns)| format!("{ns:.1}"))
        };
        println!("{name:<34}{ours:>12.1}{:>12}{:>12}", of(&skiplist), of(&btree));
    }
    Ok(())
}

impl Keys {
    fn new(entries: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let random: Vec<Key> = (0..entries).map(|_| random_key(&mut rng)).collect();
        let ordered = (0..entries as u64).map(ordered_key).collect();
        let shared = (0..entries).map(|_| decimal_key(rng.below(1_000_000_000_000))).collect();
        let present = (0..LOOKUPS).map(|_| random[rng.below(entries as u64) as usize]).collect();
        let absent = (0..LOOKUPS).map(|_| random_key(&mut rng)).collect();
        Self { random, ordered, shared, present, absent }
    }
}

fn measure_ours(keys: &Keys) -> Outcome<Vec<Figure>> {
    let new = || Memtable::new(keys.random.len() * ENTRY_BYTES_MAX * 5 / 4);
    let mut figures = Vec::new();
    for (name, keys, fill) in [
        (INSERT_ORDERED, &keys.ordered, fill as fn(&Memtable, &[Key]) -> Outcome<()>),
        (INSERT_BATCHED, &keys.ordered, fill_batched),
        (INSERT_SHARED, &keys.shared, fill),
        (INSERT_2_THREADS, &keys.random, fill_by_two),
    ] {
        let table = new();
        figures.push((name, per_operation(keys.len(), || fill(&table, keys))?));
    }
    let table = new();
    figures.push((INSERT_RANDOM, per_operation(keys.random.len(), || fill(&table, &keys.random))?));
    for (name, keys) in [(LOOKUP_HIT, &keys.present), (LOOKUP_MISS, &keys.absent)] {
        let look_up =
            || keys.iter().filter(|key| table.get(*key, 1).is_some_and(|(_, entry)| black_box(entry)[0] == 0));
        figures.push((name, per_operation(keys.len(), || expect_found(name, look_up().count(), keys.len()))?));
    }
    let mut cursor = table.cursor();
    for (name, scan) in [
        (SCAN_FORWARD, scan_forward as fn(&mut MemtableCursor) -> Outcome<usize>),
        (SCAN_REVERSE, scan_reverse),
        (SCAN_BY_SEARCH, scan_by_search),
    ] {
        let entries = table.len();
        figures.push((name, per_operation(entries, || expect_found(name, scan(&mut cursor)?, entries))?));
    }
    println!("{:.1} bytes an entry", table.used_bytes() as f64 / table.len() as f64);
    Ok(figures)
}

fn fill(table: &Memtable, keys: &[Key]) -> Outcome<()> {
    for key in keys {
        table.reserve(ENTRY_BYTES_MAX)?.insert(InternalKeyRef::new(key, 1), EntryRef::new(EntryMeta::put(), &VALUE))?;
    }
    Ok(())
}

fn fill_batched(table: &Memtable, keys: &[Key]) -> Outcome<()> {
    for batch in keys.chunks(100) {
        let mut room = table.reserve(batch.len() * ENTRY_BYTES_MAX)?;
        for key in batch {
            room.insert(InternalKeyRef::new(key, 1), EntryRef::new(EntryMeta::put(), &VALUE))?;
        }
    }
    Ok(())
}

fn fill_by_two(table: &Memtable, keys: &[Key]) -> Outcome<()> {
    let (left, right) = keys.split_at(keys.len() / 2);
    let (left, of_other) = (left.to_vec(), table.clone());
    let other = thread::spawn("left", move || fill(&of_other, &left))?;
    fill(table, right)?;
    other.join().map_err(|_| "the other thread panicked")?
}

fn scan_forward(cursor: &mut MemtableCursor) -> Outcome<usize> {
    let mut walked = 0;
    cursor.seek_to_first()?;
    while cursor.valid() {
        black_box((cursor.key(), cursor.value()[0]));
        walked += 1;
        cursor.next()?;
    }
    Ok(walked)
}

fn scan_reverse(cursor: &mut MemtableCursor) -> Outcome<usize> {
    let mut walked = 0;
    cursor.seek_to_last()?;
    while cursor.valid() {
        black_box((cursor.key(), cursor.value()[0]));
        walked += 1;
        cursor.prev()?;
    }
    Ok(walked)
}

/// What a step back would cost without links back: a search from the top.
fn scan_by_search(cursor: &mut MemtableCursor) -> Outcome<usize> {
    let mut walked = 0;
    let mut key = Key::default();
    cursor.seek_to_last()?;
    while cursor.valid() {
        key.copy_from_slice(cursor.key().user_key);
        black_box(cursor.value()[0]);
        walked += 1;
        cursor.seek_for_prev(InternalKeyRef::first_of(&key))?;
    }
    Ok(walked)
}

fn measure_crossbeam(keys: &Keys) -> Outcome<Vec<Figure>> {
    let mut figures = Vec::new();
    let fill = |map: &SkipMap<Key, Value>, keys: &[Key]| keys.iter().for_each(|key| drop(map.insert(*key, VALUE)));
    for (name, keys) in [(INSERT_ORDERED, &keys.ordered), (INSERT_SHARED, &keys.shared)] {
        let map = SkipMap::new();
        figures.push((name, per_operation(keys.len(), done(|| fill(&map, keys)))?));
    }
    let map = Arc::new(SkipMap::new());
    let by_two = || {
        let (left, right) = keys.random.split_at(keys.random.len() / 2);
        let (left, of_other) = (left.to_vec(), Arc::clone(&map));
        let other = thread::spawn("left", move || fill(&of_other, &left))?;
        fill(&map, right);
        other.join().map_err(|_| "the other thread panicked".into())
    };
    figures.push((INSERT_2_THREADS, per_operation(keys.random.len(), by_two)?));
    let map = SkipMap::new();
    figures.push((INSERT_RANDOM, per_operation(keys.random.len(), done(|| fill(&map, &keys.random)))?));
    for (name, keys) in [(LOOKUP_HIT, &keys.present), (LOOKUP_MISS, &keys.absent)] {
        let look_up = || keys.iter().filter(|key| map.get(*key).is_some_and(|entry| black_box(entry.value())[0] == 7));
        figures.push((name, per_operation(keys.len(), || expect_found(name, look_up().count(), keys.len()))?));
    }
    let entries = map.len();
    let forward = || map.iter().filter(|entry| black_box((entry.key()[0], entry.value()[0])).1 == 7).count();
    figures.push((SCAN_FORWARD, per_operation(entries, || expect_found(SCAN_FORWARD, forward(), entries))?));
    let reverse = || map.iter().rev().filter(|entry| black_box((entry.key()[0], entry.value()[0])).1 == 7).count();
    figures.push((SCAN_REVERSE, per_operation(entries, || expect_found(SCAN_REVERSE, reverse(), entries))?));
    Ok(figures)
}

fn measure_btree(keys: &Keys) -> Outcome<Vec<Figure>> {
    let mut figures = Vec::new();
    for (name, keys) in [(INSERT_ORDERED, &keys.ordered), (INSERT_SHARED, &keys.shared)] {
        let mut map = BTreeMap::new();
        let fill = || keys.iter().for_each(|key| _ = map.insert(*key, VALUE));
        figures.push((name, per_operation(keys.len(), done(fill))?));
    }
    let mut map = BTreeMap::new();
    let fill = || keys.random.iter().for_each(|key| _ = map.insert(*key, VALUE));
    figures.push((INSERT_RANDOM, per_operation(keys.random.len(), done(fill))?));
    for (name, keys) in [(LOOKUP_HIT, &keys.present), (LOOKUP_MISS, &keys.absent)] {
        let look_up = || keys.iter().filter(|key| map.get(*key).is_some_and(|value| black_box(value)[0] == 7));
        figures.push((name, per_operation(keys.len(), || expect_found(name, look_up().count(), keys.len()))?));
    }
    let entries = map.len();
    let forward = || map.iter().filter(|(key, value)| black_box((key[0], value[0])).1 == 7).count();
    figures.push((SCAN_FORWARD, per_operation(entries, || expect_found(SCAN_FORWARD, forward(), entries))?));
    let reverse = || map.iter().rev().filter(|(key, value)| black_box((key[0], value[0])).1 == 7).count();
    figures.push((SCAN_REVERSE, per_operation(entries, || expect_found(SCAN_REVERSE, reverse(), entries))?));
    Ok(figures)
}

fn per_operation(operations: usize, body: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let clock = SystemClock::new();
    body()?;
    Ok(clock.monotonic().as_nanos() as f64 / operations as f64)
}

/// A body that cannot fail.
fn done(body: impl FnOnce()) -> impl FnOnce() -> Outcome<()> {
    || {
        body();
        Ok(())
    }
}

/// Lookups of absent keys find nothing, all others everything, and a scan meets every entry.
fn expect_found(name: &str, found: usize, of: usize) -> Outcome<()> {
    let expected = if name == LOOKUP_MISS { 0 } else { of };
    if found == expected { Ok(()) } else { Err(format!("{name}: {found} found, {expected} expected").into()) }
}

fn random_key(rng: &mut Rng) -> Key {
    let mut key = Key::default();
    rng.fill(&mut key);
    key
}

fn ordered_key(number: u64) -> Key {
    let mut key = Key::default();
    key[..8].copy_from_slice(&number.to_be_bytes());
    key
}

fn decimal_key(number: u64) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(format!("{number:016}").as_bytes());
    key
}
