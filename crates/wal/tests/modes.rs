//! What each recovery mode makes of the same damage.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use support::*;
use wal::{Damage, EndKind, RecoveryMode, Skipped};

/// Ten records, all but the last known durable, with the fourth damaged.
fn damaged_fourth() -> (Written, Vec<u8>) {
    let written = write(1, &[300; 10], After::EachRecordSync, false);
    let mut bytes = written.bytes.clone();
    bytes[written.ends[2] as usize + 100] ^= 0x10;
    (written, bytes)
}

#[test]
fn only_point_in_time_and_salvage_open_a_log_with_rot_and_both_tell() {
    let (written, bytes) = damaged_fourth();
    let at = written.ends[2];
    for mode in [RecoveryMode::Default, RecoveryMode::AbsoluteConsistency] {
        let found = corruption(&bytes, mode);
        assert_eq!((found.offset, &found.what[..]), (at, "checksum of a fragment"));
    }

    let point = read_bytes(&bytes, RecoveryMode::PointInTime).unwrap();
    assert_eq!(point.payloads(), written.whole_below(at));
    assert!(matches!(point.end.kind, EndKind::Torn(Damage::Checksum { .. })));
    assert_eq!((point.end.offset, point.end.dropped_bytes), (at, bytes.len() as u64 - at));
    assert_eq!(point.highest.log, written.ends[8], "what was lost had been durable, and the reader says so");

    let salvaged = read_bytes(&bytes, RecoveryMode::SkipCorrupt).unwrap();
    let mut expected = written.whole_below(u64::MAX);
    expected.remove(3);
    assert_eq!(salvaged.payloads(), expected);
    assert_eq!((salvaged.end.kind, salvaged.end.dropped_bytes), (EndKind::Unclosed, 0));
    let [Skipped { offset, bytes: len, cause: Damage::Checksum { .. } }] = salvaged.skipped[..] else {
        panic!("{:?}", salvaged.skipped)
    };
    assert_eq!((offset, offset + len), (at, written.ends[3]));
}

#[test]
fn a_torn_tail_is_an_error_only_under_absolute_consistency() {
    let written = write(2, &[300; 10], After::NeverSync, false);
    let cut = &written.bytes[..written.bytes.len() - 5];
    assert_eq!(corruption(cut, RecoveryMode::AbsoluteConsistency).offset, written.ends[8]);
    for mode in [RecoveryMode::Default, RecoveryMode::PointInTime, RecoveryMode::SkipCorrupt] {
        let back = read_bytes(cut, mode).unwrap();
        assert_eq!(back.payloads(), written.whole_below(written.ends[8]));
        assert_eq!((back.end.kind, back.end.dropped_bytes), (EndKind::Torn(Damage::Cut), 300 + 11 + 3 - 5));
        assert_eq!(back.skipped, []);
    }
}

#[test]
fn salvage_gets_every_record_that_no_damaged_byte_touches() {
    let written = write(3, &SPANNING, After::EachRecordSync, true);
    let starts: Vec<u64> = std::iter::once(wal::LOG_HEADER_LEN as u64).chain(written.ends.iter().copied()).collect();
    for at in offsets_worth_trying(&written, 12) {
        if at < wal::LOG_HEADER_LEN as u64 || at >= *written.ends.last().unwrap() {
            continue;
        }
        let mut bytes = written.bytes.clone();
        bytes[at as usize] ^= 0x40;
        let back = read_bytes(&bytes, RecoveryMode::SkipCorrupt).unwrap();
        let expected: Vec<&[u8]> = written
            .payloads
            .iter()
            .zip(starts.iter().zip(&written.ends))
            .filter(|(_, (start, end))| !(**start <= at && at < **end))
            .map(|(payload, _)| &payload[..])
            .collect();
        // A record may start with the padding of a block, which a record behind it does not need.
        let without_padding = written.whole_below(u64::MAX);
        assert!(back.payloads() == expected || back.payloads() == without_padding, "byte {at}");
        assert_eq!(back.end.kind, EndKind::Closed);
        assert_eq!(back.skipped.len(), 1, "byte {at}: {:?}", back.skipped);
        let skipped = back.skipped[0];
        assert!(skipped.offset <= at && at < skipped.offset + skipped.bytes);
    }
}

#[test]
fn salvage_passes_over_many_damaged_stretches_and_lists_each() {
    let written = write(4, &[500; 400], After::NeverSync, true);
    let mut bytes = written.bytes.clone();
    let damaged = [5usize, 6, 70, 200, 399];
    for index in damaged {
        let (start, end) = (written.ends[index - 1] as usize, written.ends[index] as usize);
        bytes[start..end].fill(if index == 70 { 0 } else { 0xee });
    }
    let back = read_bytes(&bytes, RecoveryMode::SkipCorrupt).unwrap();
    let kept = written.payloads.iter().enumerate().filter(|(index, _)| !damaged.contains(index));
    assert_eq!(back.payloads(), kept.map(|(_, payload)| &payload[..]).collect::<Vec<_>>());
    assert_eq!(back.skipped.len(), damaged.len() - 1, "two of them touch");
    assert_eq!(back.end.kind, EndKind::Closed);
}

#[test]
fn a_damaged_header_is_an_error_an_empty_log_or_all_that_can_be_salvaged_without_it() {
    let written = write(5, &[30, 40, 50], After::EachRecordSync, true);
    let all = written.bytes.len() as u64;
    for (from, to, kept) in [(40, 41, 0), (0, 128, 0), (0, 150, 1)] {
        let mut bytes = written.bytes.clone();
        bytes[from..to].iter_mut().for_each(|byte| *byte ^= 0x55);
        for mode in [RecoveryMode::Default, RecoveryMode::AbsoluteConsistency] {
            assert_eq!(corruption(&bytes, mode).offset, 0);
        }
        let point = read_bytes(&bytes, RecoveryMode::PointInTime).unwrap();
        assert_eq!((point.end.kind, point.end.offset), (EndKind::Torn(Damage::Header), 0));
        assert_eq!(point.end.dropped_bytes, all - 2, "two trailing zeros of the last synced offsets aside");

        let salvaged = read_bytes(&bytes, RecoveryMode::SkipCorrupt).unwrap();
        assert_eq!(salvaged.payloads(), written.whole_below(all)[kept..]);
        assert_eq!((salvaged.end.kind, salvaged.end.dropped_bytes), (EndKind::Closed, 0));
        let bytes = if kept == 0 { 128 } else { written.ends[kept - 1] };
        assert_eq!(salvaged.skipped, [Skipped { offset: 0, bytes, cause: Damage::Header }]);
    }
}

#[test]
fn zeros_behind_a_log_are_its_end_in_every_mode() {
    let written = write(6, &[30, 40, 32_690], After::EachRecordSync, false);
    for zeros in [1, 5, 11, 40, 32_768, 100_000, 1_000_000] {
        let mut bytes = written.bytes.clone();
        bytes.resize(bytes.len() + zeros, 0);
        for mode in [
            RecoveryMode::Default,
            RecoveryMode::AbsoluteConsistency,
            RecoveryMode::PointInTime,
            RecoveryMode::SkipCorrupt,
        ] {
            let back = read_bytes(&bytes, mode).unwrap();
            assert_eq!(back.payloads(), written.whole_below(u64::MAX));
            assert_eq!((back.end.kind, back.end.dropped_bytes), (EndKind::Unclosed, 0));
        }
        *bytes.last_mut().unwrap() = 1;
        let back = read_bytes(&bytes, RecoveryMode::Default).unwrap();
        assert_eq!((back.end.offset, back.end.dropped_bytes), (written.ends[2], zeros as u64));
        assert!(matches!(back.end.kind, EndKind::Torn(_)));
        corruption(&bytes, RecoveryMode::AbsoluteConsistency);
    }
}
