//! Every file of a small store cut at every length and damaged at every byte. What had been synced or sealed must give a
//! typed error that names the file, an unsynced tail a shorter prefix of the commits and a report of what was dropped;
//! never other data, never less without a word, never a panic.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]
#![allow(clippy::disallowed_methods, reason = "two threads share the work")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::{
    CompactOptions, Compression, Db, Durability, Error, ErrorKind, IoMode, KeyspaceOptions, Options, Read, WriteBatch,
    WriteOptions,
};
use vfs::{CrashMode, MemFs};

const STORE: &str = "/store";
const COMMITS: u64 = 40;
/// The last commit that was synced.
const SYNCED: u64 = 34;

/// Both keyspaces after some number of commits.
type State = [BTreeMap<Vec<u8>, Vec<u8>>; 2];

fn options(vfs: &MemFs, compression: Compression) -> Options {
    Options::new()
        .memtable_size(64 << 10)
        .value_log_file_size(64 << 10)
        .value_log_max_entries(6)
        .value_threshold(100)
        .block_size(256)
        .compression(compression)
        .io_mode(IoMode::Pread)
        .vfs(Arc::new(vfs.clone()))
        .inline_background()
}

/// A store with tables on two levels, sealed and open segments, deaths, and a log with a synced and an unsynced part.
fn build(compression: Compression) -> (MemFs, Vec<State>) {
    let vfs = MemFs::new(11);
    let db = options(&vfs, compression).open(STORE).unwrap();
    let second = db.keyspace("second", KeyspaceOptions::new()).unwrap();
    let mut states = vec![State::default()];
    for commit in 1..=COMMITS {
        let mut state = states.last().unwrap().clone();
        let mut batch = WriteBatch::new();
        let mut put = |which: usize, key: String, len: usize| {
            let value = format!("{commit:04}").into_bytes().repeat(len / 4);
            match which {
                0 => batch.insert(&key, &value).unwrap(),
                _ => batch.keyspace(&second).insert(&key, &value).unwrap(),
            }
            state[which].insert(key.into_bytes(), value);
        };
        put(0, "counter".to_owned(), 4);
        put(0, format!("small{}", commit % 5), 40);
        put(1, format!("other{}", commit % 3), 20);
        if commit % 2 == 0 {
            put(0, format!("large{}", commit % 6), 120);
        }
        let durability = if commit == SYNCED { Durability::Sync } else { Durability::Os };
        db.write_with(batch, WriteOptions::new().durability(durability)).unwrap();
        states.push(state);
        match commit {
            10 | 20 => db.flush().unwrap(),
            21 => drop(db.compact(.., CompactOptions::new()).unwrap()),
            28 => db.flush().unwrap(),
            _ => {}
        }
    }
    drop((db, second));
    // The process died; everything is still in the page cache.
    (vfs.crash_image(CrashMode::KeepAll, 0), states)
}

fn read_all(db: &Db) -> Result<State, Error> {
    let mut state = State::default();
    let second = db.keyspace("second", KeyspaceOptions::new())?;
    for item in db.iter() {
        let (key, value) = item?.into_pair()?;
        state[0].insert(key.into(), value.into());
    }
    for item in second.iter() {
        let (key, value) = item?.into_pair()?;
        state[1].insert(key.into(), value.into());
    }
    Ok(state)
}

/// What became of one damaged store.
#[derive(Default)]
struct Tally {
    unharmed: AtomicUsize,
    shorter: AtomicUsize,
    refused: AtomicUsize,
}

/// `floor`: the fewest commits that must be there if the store opens at all.
fn examine(vfs: &MemFs, compression: Compression, states: &[State], floor: u64, what: &str, tally: &Tally) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let db = options(vfs, compression).open_read_only(STORE)?;
        let state = read_all(&db)?;
        Ok((state, db.recovery_report().clone()))
    }));
    match outcome {
        Err(_) => panic!("{what}: panicked"),
        Ok(Ok((state, report))) => {
            let commits = states.iter().position(|other| *other == state);
            let Some(commits) = commits else { panic!("{what}: other data") };
            let commits = commits as u64;
            assert!(commits >= floor, "{what}: only {commits} commits");
            if commits < COMMITS {
                let told = report.dropped_bytes() > 0 || !report.warnings.is_empty();
                assert!(told, "{what}: {commits} commits without a report");
                tally.shorter.fetch_add(1, Ordering::Relaxed);
            } else {
                tally.unharmed.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(Err(error)) => {
            let error: Error = error;
            let expected = [ErrorKind::Corruption, ErrorKind::Incompatible];
            assert!(expected.contains(&error.kind()), "{what}: {:?} {error}", error.kind());
            assert!(error.to_string().contains("store/"), "{what}: no file named: {error}");
            tally.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Bytes of a file that were written, space allocated ahead not counted.
fn written_len(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

fn damage_every_byte(compression: Compression) {
    let (vfs, states) = build(compression);
    let intact = options(&vfs, compression).open_read_only(STORE).unwrap();
    assert!(read_all(&intact).unwrap() == *states.last().unwrap());
    drop(intact);
    for path in vfs.files() {
        if path.ends_with("LOCK") {
            continue;
        }
        let bytes = vfs.read(&path).unwrap();
        let written = written_len(&bytes);
        let jobs: Vec<(bool, usize)> =
            (0..written).map(|cut| (true, cut)).chain((0..written).map(|at| (false, at))).collect();
        let (next, tally) = (AtomicUsize::new(0), Tally::default());
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while let Some((cut, at)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let image = vfs.crash_image(CrashMode::KeepAll, 0);
                        image
                            .edit(&path, |bytes| if *cut { bytes.truncate(*at) } else { bytes[*at] ^= 1 << (*at % 8) })
                            .unwrap();
                        let what = format!("{} {} at {at}", path.display(), if *cut { "cut" } else { "flipped" });
                        // What proves that a log was synced stands in the log: cut away, it is a tail like any other.
                        let is_log = path.extension().is_some_and(|extension| extension == "wal");
                        let floor = if *cut && is_log { 0 } else { SYNCED };
                        examine(&image, compression, &states, floor, &what, &tally);
                    }
                });
            }
        });
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        println!(
            "{:34} {written:6} bytes: {:5} unharmed, {:5} shorter, {:5} refused",
            path.display(),
            count(&tally.unharmed),
            count(&tally.shorter),
            count(&tally.refused),
        );
    }
}

#[test]
fn damage_anywhere_is_an_error_or_a_reported_tail_or_harmless_in_raw_tables() {
    damage_every_byte(Compression::None);
}

#[test]
fn damage_anywhere_is_an_error_or_a_reported_tail_or_harmless_in_compressed_tables() {
    damage_every_byte(Compression::Zstd { level: 1 });
}

#[test]
fn a_missing_file_is_an_error_or_a_reported_tail_or_harmless() {
    let (vfs, states) = build(Compression::None);
    let tally = Tally::default();
    for path in vfs.files() {
        println!("{}", path.display());
        let image = vfs.crash_image(CrashMode::KeepAll, 0);
        vfs::Vfs::remove_file(&image, &path).unwrap();
        if !path.ends_with("LOCK") {
            examine(&image, Compression::None, &states, SYNCED, &format!("{} removed", path.display()), &tally);
        }
    }
}
