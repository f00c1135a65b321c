//! Power lost at any moment leaves a prefix of the records that holds every record synced before, whatever pages and
//! names the disk kept, and the default mode never takes that for damage.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use base::rng::Rng;
use support::*;
use vfs::{CrashMode, MemFs, Vfs};
use wal::{EndKind, LogWriter, RecoveryMode};

const SEEDS: u64 = 5_000;
const STEPS: u64 = 30;

#[derive(Default, Debug)]
struct Seen {
    images: u64,
    torn: u64,
    holes_behind_the_end: u64,
    closed: u64,
    without_file: u64,
}

#[test]
fn every_crash_image_is_a_prefix_that_holds_what_was_synced() {
    let mut seen = Seen::default();
    for seed in 0..SEEDS {
        run(seed, &mut seen);
    }
    println!("{SEEDS} seeds: {seen:?}");
    assert!(seen.torn > 100 && seen.holes_behind_the_end > 100 && seen.closed > 10, "{seen:?}");
}

fn run(seed: u64, seen: &mut Seen) {
    let mut rng = Rng::new(seed);
    let mem = MemFs::new(seed);
    let fs = store_of(mem.clone());
    let mut writer = create(&fs, if rng.one_in(2) { WRITTEN } else { MAPPED });
    fs.sync_dir(std::path::Path::new("/store")).unwrap();
    let mut payloads: Vec<Vec<u8>> = Vec::new();
    let mut ends = Vec::new();
    let steps = rng.below(STEPS) + 1;
    for _ in 0..steps {
        if rng.one_in(6) {
            writer.sync_handle().sync().unwrap();
        } else {
            let len = if rng.one_in(8) { rng.below(70_000) } else { rng.below(3_000) };
            let payload = random_payload(&mut rng, len as usize);
            ends.push(writer.append(head(0, 0), &[&payload]).unwrap());
            payloads.push(payload);
        }
    }
    let synced = writer.sync_handle().synced();
    let durable = ends.iter().filter(|end| **end <= synced).count();
    check_images(seed, &mem, &payloads, durable, seen);
    if rng.one_in(3) {
        close_and_check(seed, &mem, writer, &payloads, seen);
    }
}

fn close_and_check(seed: u64, mem: &MemFs, writer: LogWriter, payloads: &[Vec<u8>], seen: &mut Seen) {
    writer.close().unwrap();
    let before = seen.closed;
    check_images(seed, mem, payloads, payloads.len(), seen);
    assert_eq!(seen.closed - before, MODES.len() as u64, "seed {seed}: a close is durable when it returns");
}

const MODES: [CrashMode; 5] =
    [CrashMode::DropUnsynced, CrashMode::KeepAll, CrashMode::KeepNames, CrashMode::Random, CrashMode::Prefix];

fn check_images(seed: u64, mem: &MemFs, payloads: &[Vec<u8>], durable: usize, seen: &mut Seen) {
    for mode in MODES {
        let image: std::sync::Arc<dyn Vfs> = std::sync::Arc::new(mem.crash_image(mode, seed));
        seen.images += 1;
        if image.metadata(&path()).unwrap().is_none() {
            assert_eq!(durable, 0, "seed {seed} {mode:?}: a synced log is gone");
            seen.without_file += 1;
            continue;
        }
        let back = read(&image, RecoveryMode::Default).unwrap_or_else(|error| panic!("seed {seed} {mode:?}: {error}"));
        let kept = back.records.len();
        assert!(kept >= durable, "seed {seed} {mode:?}: {kept} records, {durable} were synced");
        if mode == CrashMode::KeepAll {
            assert_eq!(kept, payloads.len(), "seed {seed}: a killed process loses nothing");
        }
        assert!(
            back.payloads().iter().zip(payloads).all(|(found, wrote)| *found == &wrote[..]),
            "seed {seed} {mode:?}"
        );
        match back.end.kind {
            EndKind::Closed => seen.closed += 1,
            EndKind::Torn(_) => seen.torn += 1,
            EndKind::Unclosed => {}
        }
        seen.holes_behind_the_end += u64::from(back.end.dropped_bytes > 4_096);
        // The dropped tail is gone for good, and a second look finds the same.
        wal::truncate_log(&image, &path(), back.end.offset).unwrap();
        let again = read(&image, RecoveryMode::Default).unwrap();
        assert_eq!((again.records.len(), again.end.dropped_bytes), (kept, 0), "seed {seed} {mode:?}");
    }
}
