//! Values that are stored compressed: they come back by every way of reading, and what is damaged is an error by file and
//! offset that takes no memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use base::{EntryMeta, InternalKeyRef, SegmentId, ValuePointer};
use compression::{Compression, Compressor};
use expect_test::expect;
use proptest::prelude::*;
use support::{STORE, keyring, open, path, written};
use vfs::{AppendMode, MemFs};
use vlog::{Error, IoMode, Options, ValueLog, compress_value};

const CODECS: [Compression; 3] = [Compression::Snappy, Compression::Zstd { level: 1 }, Compression::Adaptive];

fn compressed(compression: Compression, value: &[u8]) -> Option<Vec<u8>> {
    let mut stored = Vec::new();
    let len = compress_value(&mut Compressor::new(compression), value, &mut stored)?;
    assert_eq!(len, stored.len());
    Some(stored)
}

fn append_stored(log: &ValueLog, number: u64, stored: &[u8]) -> ValuePointer {
    let meta = EntryMeta { value_compressed: true, user_meta: 9, ..EntryMeta::put() };
    log.append(7, InternalKeyRef::new(b"key", number), meta, stored).unwrap()
}

fn words(len: usize) -> Vec<u8> {
    b"the quick brown fox jumps over the lazy dog ".iter().copied().cycle().take(len).collect()
}

/// By every way of reading.
fn assert_read(log: &ValueLog, number: u64, pointer: ValuePointer, value: &[u8]) {
    let set = log.segments();
    assert_eq!(set.read(pointer).unwrap(), value);
    assert_eq!(set.read_checked(pointer, 7, InternalKeyRef::new(b"key", number)).unwrap(), value);
    let record = set.read_record(pointer).unwrap();
    assert_eq!(record.value, value);
    assert!(record.meta.value_compressed && record.meta.user_meta == 9);
    let segment = set.holder(pointer.segment).unwrap();
    let clock = base::clock::SystemClock::new();
    let ahead = vlog::ReadAhead::fetch([(&**segment, pointer), (&**segment, pointer)].into_iter(), false, &clock);
    for ahead in [None, Some(&ahead)] {
        assert_eq!(segment.read_near(pointer, ahead).unwrap(), value);
        assert!(segment.read_with(pointer, ahead, |found| found == value).unwrap());
    }
}

#[test]
fn compressed_values_come_back_from_growing_sealed_and_collected_segments() {
    for compression in CODECS {
        for (io_mode, keys) in [
            (IoMode::Mapped, None),
            (IoMode::Pread, None),
            (IoMode::Mapped, Some(keyring(1))),
            (IoMode::Pread, Some(keyring(1))),
        ] {
            let fs = MemFs::new(1);
            let options = Options { io_mode, keys, mode: AppendMode::Written, ..Options::new(STORE) };
            let log = open(&fs, options.clone());
            let values: Vec<Vec<u8>> = [2_000, 5_000, 70_000, 1 << 20].map(words).to_vec();
            let write = |(number, value): (usize, &Vec<u8>)| {
                let stored = compressed(compression, value).unwrap();
                assert!(stored.len() < value.len() / 2);
                append_stored(&log, number as u64, &stored)
            };
            let pointers: Vec<_> = values.iter().enumerate().map(write).collect();
            let assert_all = |log: &ValueLog| {
                for ((number, pointer), value) in pointers.iter().enumerate().zip(&values) {
                    assert_read(log, number as u64, *pointer, value);
                }
            };
            assert_all(&log);
            log.seal_all().unwrap();
            assert_all(&log);
            log.collect(&[SegmentId(1)], &vlog::CollectContext::unpaced()).unwrap();
            assert!(log.segments().holder(SegmentId(1)).unwrap().is_collected());
            assert_all(&log);
            log.close().unwrap();
            assert_all(&open(&fs, options));
        }
    }
}

#[test]
fn what_does_not_become_shorter_is_not_compressed() {
    let mut noise = vec![0; 4_000];
    base::rng::Rng::new(3).fill(&mut noise);
    for compression in CODECS {
        for value in [&b""[..], b"a", b"ab", b"abcdefgh", &noise] {
            assert_eq!(compressed(compression, value), None);
        }
        assert_eq!(compressed(compression, &words((16 << 20) + 1)), None, "longer than any that is compressed");
    }
    assert_eq!(compressed(Compression::None, &words(4_000)), None);
}

#[test]
fn the_bytes_of_a_compressed_value() {
    let fs = MemFs::new(1);
    let log = open(&fs, written());
    append_stored(&log, 1, &compressed(Compression::Snappy, &[b'a'; 100]).unwrap());
    log.close().unwrap();
    let bytes = fs.read(&path("000001.vlog")).unwrap();
    let hex: Vec<String> = bytes[112..].iter().map(|byte| format!("{byte:02x}")).collect();
    expect!["20 09 03 00 0e 00 00 00 07 00 00 00 00 00 00 00 00 00 00 00 6b 65 79 ff ff ff ff ff ff ff fe 01 64 00 00 00 64 00 61 fe 01 00 8a 01 00 61 4e 13 2d"].assert_eq(&hex.join(" "));
}

/// Reads of a record whose checksum is right, since its writer meant it so.
fn read_hostile(stored: &[u8]) -> Error {
    let log = open(&MemFs::new(1), written());
    let pointer = append_stored(&log, 1, stored);
    let error = log.segments().read(pointer).unwrap_err();
    assert!(error.to_string().contains("000001.vlog"), "{error}");
    error
}

#[test]
fn a_hostile_length_or_an_unknown_codec_is_an_error_before_memory_is_taken() {
    let stored = compressed(Compression::Snappy, &words(4_000)).unwrap();
    for claimed in [0, 1, 3_999, 4_001, 16 << 20, (16 << 20) + 1, u32::MAX] {
        for codec in [1, 2] {
            let mut hostile = stored.clone();
            hostile[0] = codec;
            hostile[1..5].copy_from_slice(&claimed.to_le_bytes());
            let error = read_hostile(&hostile);
            assert!(error.is_corruption(), "{claimed}: {error}");
            if claimed > 16 << 20 {
                assert!(error.to_string().contains("longer than any"), "{error}");
            }
        }
    }
    for len in 0..stored.len() {
        assert!(read_hostile(&stored[..len]).is_corruption(), "cut at {len}");
    }
    let mut raw = stored.clone();
    raw[0] = 0;
    assert!(read_hostile(&raw).is_corruption());
    for codec in [3, 255] {
        let mut unknown = stored.clone();
        unknown[0] = codec;
        assert!(matches!(read_hostile(&unknown), Error::Incompatible { .. }));
    }
}

#[test]
fn any_bit_that_flips_in_a_compressed_value_is_an_error_by_file_and_offset() {
    for verify in [true, false] {
        for compression in CODECS {
            let value = words(1_500);
            let stored = compressed(compression, &value).unwrap();
            let fs = MemFs::new(1);
            let log = open(&fs, Options { verify, ..written() });
            let pointer = append_stored(&log, 1, &stored);
            let start = pointer.offset as usize + 20 + 3 + 8;
            for bit in 0..stored.len() * 8 {
                fs.edit(&path("000001.vlog"), |bytes| bytes[start + bit / 8] ^= 1 << (bit % 8)).unwrap();
                match log.segments().read(pointer) {
                    Ok(read) => assert!(!verify && read.len() <= 16 << 20),
                    Err(Error::Corruption(corruption)) => {
                        assert_eq!(corruption.path, path("000001.vlog"));
                        assert_eq!(corruption.offset, u64::from(pointer.offset));
                    }
                    Err(error) => assert!(!verify && matches!(error, Error::Incompatible { .. }), "{error}"),
                }
                fs.edit(&path("000001.vlog"), |bytes| bytes[start + bit / 8] ^= 1 << (bit % 8)).unwrap();
            }
            assert_eq!(log.segments().read(pointer).unwrap(), value);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_value_comes_back_compressed_or_not(
        pieces in prop::collection::vec((any::<u8>(), 0usize..300), 0..30), which in 0usize..3,
    ) {
        let value: Vec<u8> = pieces.iter().flat_map(|(byte, times)| std::iter::repeat_n(*byte, *times)).collect();
        let log = open(&MemFs::new(1), written());
        if let Some(stored) = compressed(CODECS[which], &value) {
            prop_assert!(stored.len() < value.len());
            let pointer = append_stored(&log, 1, &stored);
            assert_read(&log, 1, pointer, &value);
        }
    }

    #[test]
    fn arbitrary_bytes_in_place_of_a_compressed_value_never_panic(
        stored in prop::collection::vec(any::<u8>(), 0..200), codec in 0u8..4,
    ) {
        let stored = [vec![codec], stored].concat();
        let log = open(&MemFs::new(1), written());
        let pointer = append_stored(&log, 1, &stored);
        let _ = log.segments().read(pointer);
    }
}
