//! Values that are stored compressed, end to end: written, read, scanned, collected, recovered and verified.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test panics"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::rng::Rng;
use engine::{CompactOptions, Compression, Db, ErrorKind, IoMode, Options, Read, VerifyOptions, WriteBatch};
use vfs::{CrashMode, MemFs};

const STORE: &str = "/store";
const CODECS: [Compression; 4] =
    [Compression::None, Compression::Snappy, Compression::Zstd { level: 3 }, Compression::Adaptive];
const KEYS: u64 = 60;

fn options(vfs: &MemFs, compression: Compression) -> Options {
    Options::new()
        .vfs(Arc::new(vfs.clone()))
        .inline_background()
        .value_threshold(100)
        .value_log_max_entries(16)
        .value_compression(compression)
}

fn key(number: u64) -> String {
    format!("key {number:03}")
}

/// Every third one does not compress.
fn value(number: u64) -> Vec<u8> {
    let len = 50 + (number * 997 % 20_000) as usize;
    let mut value = vec![number as u8; len];
    if number.is_multiple_of(3) {
        Rng::new(number).fill(&mut value);
    }
    value
}

fn fill(db: &Db) {
    for number in 0..KEYS / 2 {
        db.insert(key(number), value(number)).unwrap();
    }
    let mut batch = WriteBatch::new();
    for number in KEYS / 2..KEYS {
        batch.insert(key(number), value(number)).unwrap();
    }
    db.write(batch).unwrap();
}

fn assert_whole(db: &Db) {
    let mut numbers = 0..KEYS;
    for item in db.iter() {
        let (item, number) = (item.unwrap(), numbers.next().unwrap());
        assert_eq!(item.key(), key(number).as_bytes());
        assert_eq!(item.value_len(), value(number).len() as u64);
        assert_eq!(item.value().unwrap(), value(number));
        assert_eq!(db.get(key(number)).unwrap().unwrap(), value(number));
    }
    assert!(numbers.is_empty());
    let report = db.verify(VerifyOptions::new()).unwrap();
    assert_eq!(
        report.value_bytes,
        (0..KEYS).map(value).filter(|value| value.len() >= 100).map(|value| value.len() as u64).sum()
    );
}

#[test]
fn compressed_values_come_back_whatever_happens_to_the_store() {
    for compression in CODECS {
        for io_mode in [IoMode::Mapped, IoMode::Pread] {
            let vfs = MemFs::new(1);
            let open = || options(&vfs, compression).io_mode(io_mode).open(STORE).unwrap();
            let db = open();
            fill(&db);
            assert_whole(&db);
            db.flush().unwrap();
            db.compact(.., CompactOptions::new()).unwrap();
            assert_whole(&db);
            db.close().unwrap();
            assert_whole(&open());
        }
    }
}

#[test]
fn a_recovery_checks_pointers_to_compressed_values_and_keeps_what_was_synced() {
    for compression in CODECS {
        let vfs = MemFs::new(1);
        let db = options(&vfs, compression).open(STORE).unwrap();
        fill(&db);
        db.sync().unwrap();
        for (mode, seed) in
            [(CrashMode::KeepAll, 0), (CrashMode::DropUnsynced, 1), (CrashMode::Prefix, 2), (CrashMode::Random, 3)]
        {
            let image = vfs.crash_image(mode, seed);
            let db = options(&image, Compression::None).open(STORE).unwrap();
            assert_whole(&db);
            assert_eq!(db.recovery_report().dropped_bytes(), 0);
        }
    }
}

#[test]
fn a_codec_holds_for_new_values_only() {
    let vfs = MemFs::new(1);
    for (round, compression) in CODECS.into_iter().enumerate() {
        let db = options(&vfs, compression).open(STORE).unwrap();
        db.insert(format!("{round}"), vec![round as u8; 5_000]).unwrap();
        db.close().unwrap();
    }
    let db = options(&vfs, Compression::None).open(STORE).unwrap();
    for round in 0..CODECS.len() {
        assert_eq!(db.get(format!("{round}")).unwrap().unwrap(), vec![round as u8; 5_000]);
    }
}

#[test]
fn compression_saves_space_and_what_it_does_not_shorten_is_stored_as_it_is() {
    let bytes_written = |compression: Compression, which: fn(u64) -> bool| {
        let db = options(&MemFs::new(1), compression).open(STORE).unwrap();
        for number in (0..KEYS).filter(|number| which(*number)) {
            db.insert(key(number), value(number)).unwrap();
        }
        db.metrics().commits.value_log_bytes
    };
    let compressible = |number: u64| !number.is_multiple_of(3);
    let noise = |number: u64| number.is_multiple_of(3);
    let plain = (bytes_written(Compression::None, compressible), bytes_written(Compression::None, noise));
    for compression in &CODECS[1..] {
        assert!(bytes_written(*compression, compressible) < plain.0 / 10, "{compression:?}");
        assert_eq!(bytes_written(*compression, noise), plain.1, "{compression:?}");
    }
}

#[test]
fn a_bit_that_flips_in_a_compressed_value_is_an_error_by_file_and_offset() {
    let vfs = MemFs::new(1);
    let db = options(&vfs, Compression::Zstd { level: 3 }).io_mode(IoMode::Pread).open(STORE).unwrap();
    let mut text = Vec::new();
    for number in 0..2_000_u32 {
        text.extend_from_slice(format!("{} ", number * 7_919 % 1_000).as_bytes());
    }
    db.insert("key", &text).unwrap();
    assert!(db.metrics().commits.value_log_bytes < text.len() as u64 / 2);
    db.close().unwrap();
    let segment = PathBuf::from("/store/vlog/000001.vlog");
    let len = vfs.read(&segment).unwrap().len();
    for at in (112 + 31..len).step_by(37) {
        vfs.edit(&segment, |bytes| bytes[at] ^= 1).unwrap();
        let db = options(&vfs, Compression::None).open_read_only(STORE).unwrap();
        for error in [
            db.get("key").unwrap_err(),
            db.iter().next().unwrap().unwrap().value().unwrap_err(),
            db.verify(VerifyOptions::new()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
            let corruption = error.corruption().unwrap();
            assert_eq!((corruption.path.as_path(), corruption.offset), (Path::new(&segment), 112));
        }
        drop(db);
        vfs.edit(&segment, |bytes| bytes[at] ^= 1).unwrap();
    }
}

#[test]
fn collected_values_stay_compressed() {
    let vfs = MemFs::new(1);
    let db = options(&vfs, Compression::Snappy).open(STORE).unwrap();
    for round in 0..3 {
        for number in 0..KEYS {
            db.insert(key(number), vec![round + number as u8; 10_000]).unwrap();
        }
        db.flush().unwrap();
    }
    db.compact(.., CompactOptions::new()).unwrap();
    while !db.gc().run_once(engine::GcOptions::new()).unwrap().segments.is_empty() {}
    let usage = db.size_on_disk();
    assert!(usage.value_log_bytes < KEYS * 10_000 / 5, "{usage:?}");
    for number in 0..KEYS {
        assert_eq!(db.get(key(number)).unwrap().unwrap(), vec![2 + number as u8; 10_000]);
    }
    db.verify(VerifyOptions::new()).unwrap();
}
