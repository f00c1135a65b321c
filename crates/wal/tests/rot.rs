//! Rot is never taken for a torn tail: damage to bytes that were durable is an error that names file and offset.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use support::*;
use wal::{Damage, EndKind, Error, LOG_HEADER_LEN, RecoveryMode};

/// Start of the record, or of the closing record, that a byte belongs to.
fn record_start(written: &Written, at: u64) -> u64 {
    written.ends.iter().copied().filter(|end| *end <= at).max().unwrap_or(LOG_HEADER_LEN as u64)
}

fn flipped(bytes: &[u8], at: usize, bit: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1 << bit;
    bytes
}

#[test]
fn any_bit_that_flips_below_a_synced_offset_is_corruption_and_above_it_the_tail() {
    let written = write(1, &[30, 0, 200, 1, 77, 400, 20], After::EachRecordSync, false);
    // The last record says that all before it was durable; of itself nobody knows.
    let proven = written.ends[written.ends.len() - 2];
    for at in 0..written.bytes.len() {
        for bit in 0..8 {
            let bytes = flipped(&written.bytes, at, bit);
            if (at as u64) < proven {
                let found = corruption(&bytes, RecoveryMode::Default);
                assert_eq!(found.path, path());
                let start = if at < LOG_HEADER_LEN { 0 } else { record_start(&written, at as u64) };
                assert_eq!(found.offset, start, "byte {at} bit {bit}: {found}");
            } else {
                let back = read_bytes(&bytes, RecoveryMode::Default).unwrap();
                assert_eq!(back.payloads(), written.whole_below(proven));
                assert_eq!(back.end.dropped_bytes, bytes.len() as u64 - proven);
                assert!(matches!(back.end.kind, EndKind::Torn(_)));
                assert!(back.highest.log <= proven);
            }
        }
    }
}

#[test]
fn a_flip_in_a_log_of_many_blocks_is_found_from_proof_in_its_block_and_from_proof_far_behind() {
    let written = write(2, &SPANNING, After::EachRecordSync, false);
    let proven = written.ends[written.ends.len() - 2];
    for at in offsets_worth_trying(&written, 40) {
        if at >= proven || at < LOG_HEADER_LEN as u64 {
            continue;
        }
        let found = corruption(&flipped(&written.bytes, at as usize, 3), RecoveryMode::Default);
        assert!(found.offset <= at && at - found.offset < wal::BLOCK_LEN as u64, "byte {at}: {found}");
        assert!(found.offset >= record_start(&written, at));
    }
}

#[test]
fn a_closed_log_proves_itself_durable_even_if_nobody_synced_it_before() {
    let written = write(3, &[30, 0, 200, 32_700, 77], After::NeverSync, true);
    let records_end = *written.ends.last().unwrap();
    let clean = read_bytes(&written.bytes, RecoveryMode::AbsoluteConsistency).unwrap();
    assert_eq!((clean.end.kind, clean.end.dropped_bytes), (EndKind::Closed, 0));
    assert_eq!(clean.end.offset, written.bytes.len() as u64);
    let first_closing_end = clean.highest.log;
    assert!(first_closing_end > records_end, "the second closing record covers the first");

    for at in offsets_worth_trying(&written, 300) {
        if at == written.bytes.len() as u64 {
            continue;
        }
        let bytes = flipped(&written.bytes, at as usize, (at % 8) as u32);
        if at < first_closing_end {
            corruption(&bytes, RecoveryMode::Default);
        } else {
            // Only the proof itself is lost: nothing is missing, and it is reported.
            let back = read_bytes(&bytes, RecoveryMode::Default).unwrap();
            assert_eq!(back.payloads(), clean.payloads());
            assert_eq!((back.end.kind, back.end.offset), (EndKind::Closed, first_closing_end));
            assert!(back.end.dropped_bytes > 0);
            corruption(&bytes, RecoveryMode::AbsoluteConsistency);
        }
    }
}

#[test]
fn a_log_that_ends_before_its_closing_record_is_not_closed() {
    let written = write(4, &[30, 200], After::NeverSync, true);
    let records_end = *written.ends.last().unwrap() as usize;
    for len in records_end..=written.bytes.len() {
        let back = read_bytes(&written.bytes[..len], RecoveryMode::Default).unwrap();
        assert_eq!(back.records.len(), 2);
        let first_closing_end = read_bytes(&written.bytes, RecoveryMode::Default).unwrap().highest.log as usize;
        match back.end.kind {
            EndKind::Closed => assert!(len >= first_closing_end),
            EndKind::Unclosed => assert_eq!(len, records_end),
            EndKind::Torn(cause) => {
                assert!(len > records_end && len < first_closing_end);
                assert_eq!(cause, Damage::Cut);
            }
        }
    }
}

#[test]
fn an_empty_log_can_be_closed_and_found_damaged() {
    let written = write(5, &[], After::NeverSync, true);
    assert_eq!(read_bytes(&written.bytes, RecoveryMode::Default).unwrap().end.kind, EndKind::Closed);
    for at in 0..LOG_HEADER_LEN {
        assert_eq!(corruption(&flipped(&written.bytes, at, 0), RecoveryMode::Default).offset, 0);
    }
}

#[test]
fn a_first_sector_that_was_lost_is_rot_if_the_log_had_been_synced_and_a_torn_log_if_not() {
    let short: &[usize] = &[300; 20];
    for lens in [short, &SPANNING, &[40_000, 50_000, 60_000]] {
        for lost in [512, 4_096, 32_768] {
            for close in [false, true] {
                let synced = write(8, lens, After::EachRecordSync, close);
                if lost > synced.bytes.len() / 2 {
                    continue;
                }
                let zeroed = |written: &Written| {
                    let mut bytes = written.bytes.clone();
                    bytes[..lost].fill(0);
                    bytes
                };
                assert_eq!(corruption(&zeroed(&synced), RecoveryMode::Default).offset, 0);
                let unsynced = zeroed(&write(8, lens, After::NeverSync, false));
                let back = read_bytes(&unsynced, RecoveryMode::Default).unwrap();
                assert_eq!((back.end.kind, back.end.offset), (EndKind::Torn(Damage::Header), 0));
                assert_eq!(back.end.dropped_bytes, unsynced.len() as u64);
            }
        }
    }
}

#[test]
fn damage_stays_the_answer_once_it_was_given() {
    let written = write(6, &[30, 40, 50], After::EachRecordSync, false);
    let fs = store_with(&flipped(&written.bytes, written.ends[0] as usize + 20, 0));
    let mut reader = wal::LogReader::open(&fs, &path(), EXPECT, RecoveryMode::Default, None).unwrap();
    assert!(reader.next_record().unwrap().is_some());
    for _ in 0..3 {
        assert!(matches!(reader.next_record(), Err(Error::Corruption(_))));
        assert_eq!(reader.end(), None);
    }
    assert_eq!(reader.highest_synced().log, written.ends[1], "the proof is told with the damage");
}

#[test]
fn a_copy_of_the_log_inside_a_value_is_never_taken_for_the_log() {
    let inner = write(7, &[30, 200, 60], After::EachRecordSync, false);
    let fs = empty_store(7);
    // Same store, number and salt: the log holds its own earlier bytes, as when a store is imported into itself.
    let mut writer = create(&fs, WRITTEN);
    let mut rng = base::rng::Rng::new(7);
    for len in [30, 200, 60] {
        writer.append(head(1, 2), &[&support::random_payload(&mut rng, len)]).unwrap();
        writer.sync_handle().sync().unwrap();
    }
    assert_eq!(bytes_of(&fs), inner.bytes, "the same seed writes the same log");
    let start = writer.len() as usize;
    writer.append(head(1, 2), &[&inner.bytes]).unwrap();
    let mut bytes = bytes_of(&fs);
    bytes[start + 12] ^= 1;
    let salvaged = read_bytes(&bytes, RecoveryMode::SkipCorrupt).unwrap();
    assert_eq!(salvaged.records.len(), 3, "nothing inside the damaged record is a record");
}
