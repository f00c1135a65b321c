//! A record torn at any byte is whole or absent, and a hole is never jumped.

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
use wal::{BLOCK_LEN, Damage, EndKind, LOG_HEADER_LEN, RecoveryMode};

const SMALL: [usize; 6] = [30, 0, 200, 1, 77, 400];

#[test]
fn a_log_cut_at_any_length_is_a_prefix_and_accounts_for_every_byte() {
    let small = write(1, &SMALL, After::NeverSync, false);
    for len in 0..=small.bytes.len() {
        check_cut(&small, len);
    }
    let spanning = write(2, &SPANNING, After::NeverSync, false);
    for len in offsets_worth_trying(&spanning, 40) {
        check_cut(&spanning, len as usize);
    }
}

fn check_cut(written: &Written, len: usize) {
    let bytes = &written.bytes[..len];
    let back = read_bytes(bytes, RecoveryMode::Default).unwrap();
    assert_eq!(back.payloads(), written.whole_below(len as u64), "cut at {len}");
    let whole_end = if len < LOG_HEADER_LEN { 0 } else { written.whole_end_below(len as u64) };
    check_end(&back, bytes, whole_end);
}

/// The end stands behind the last whole record, and what is dropped is all up to the last byte that is not zero.
fn check_end(back: &ReadBack, bytes: &[u8], whole_end: u64) {
    let dropped = bytes[whole_end as usize..].iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1);
    assert_eq!((back.end.offset, back.end.dropped_bytes), (whole_end, dropped));
    if whole_end > 0 {
        assert_eq!(matches!(back.end.kind, EndKind::Torn(_)), dropped > 0, "{:?}", back.end);
    } else {
        assert_eq!(back.end.kind, EndKind::Torn(Damage::Header));
    }
}

#[test]
fn a_log_that_is_zero_from_any_offset_is_a_prefix() {
    let small = write(3, &SMALL, After::NeverSync, false);
    for from in 0..=small.bytes.len() {
        check_zeroed(&small, from);
    }
    let spanning = write(4, &SPANNING, After::NeverSync, false);
    for from in offsets_worth_trying(&spanning, 40) {
        check_zeroed(&spanning, from as usize);
    }
}

fn check_zeroed(written: &Written, from: usize) {
    let mut bytes = written.bytes.clone();
    bytes[from..].fill(0);
    // A record whose last bytes were zero anyway is whole.
    let mut same = from as u64;
    while written.bytes.get(same as usize) == Some(&0) {
        same += 1;
    }
    let back = read_bytes(&bytes, RecoveryMode::Default).unwrap();
    assert_eq!(back.payloads(), written.whole_below(same), "zero from {from}");
    let whole_end = if same < LOG_HEADER_LEN as u64 { 0 } else { written.whole_end_below(same) };
    check_end(&back, &bytes, whole_end);
}

#[test]
fn a_log_that_is_garbage_from_any_offset_is_a_prefix() {
    let mut rng = Rng::new(5);
    let small = write(5, &SMALL, After::NeverSync, false);
    let spanning = write(6, &SPANNING, After::NeverSync, false);
    let cases = (LOG_HEADER_LEN as u64..small.bytes.len() as u64).map(|from| (&small, from));
    let more = offsets_worth_trying(&spanning, 20).into_iter().map(|from| (&spanning, from));
    for (written, from) in cases.chain(more.filter(|(_, from)| *from >= LOG_HEADER_LEN as u64)) {
        let mut bytes = written.bytes.clone();
        // The first byte is always another one; those behind are anything.
        bytes[from as usize..].iter_mut().for_each(|byte| *byte ^= rng.next_u64() as u8);
        if let Some(first) = bytes.get_mut(from as usize) {
            *first = !written.bytes[from as usize];
        }
        let back = read_bytes(&bytes, RecoveryMode::Default).unwrap();
        // Garbage in the padding of a block ends the log there, which is the end of the same record.
        assert_eq!(back.payloads(), written.whole_below(from), "garbage from {from}");
        assert_eq!(back.end.offset, written.whole_end_below(from));
        assert_eq!(back.end.dropped_bytes > 0, from < bytes.len() as u64);
    }
}

#[test]
fn a_hole_of_unsynced_pages_ends_the_log_and_what_lies_behind_is_reported_not_read() {
    let written = write(7, &[900; 100], After::NeverSync, false);
    for page in 0..written.bytes.len() / 4_096 {
        let mut bytes = written.bytes.clone();
        bytes[page * 4_096..][..4_096].fill(0);
        let back = read_bytes(&bytes, RecoveryMode::Default).unwrap();
        let kept = if page == 0 { 0 } else { written.whole_end_below(page as u64 * 4_096) };
        assert_eq!(back.payloads(), if page == 0 { Vec::new() } else { written.whole_below(kept) });
        assert_eq!(back.end.offset, kept);
        assert_eq!(back.end.dropped_bytes, bytes.len() as u64 - kept, "everything up to the end was written");
        assert!(matches!(back.end.kind, EndKind::Torn(_)));
    }
}

#[test]
fn a_hole_below_what_was_synced_is_corruption_wherever_the_proof_stands() {
    let written = write(8, &[900; 200], After::EachRecordSync, false);
    let blocks = written.bytes.len() / BLOCK_LEN;
    assert!(blocks >= 5);
    for page in 1..written.bytes.len() / 4_096 - 1 {
        let mut bytes = written.bytes.clone();
        bytes[page * 4_096..][..4_096].fill(0);
        let found = corruption(&bytes, RecoveryMode::Default);
        assert_eq!(found.path, path());
        assert!(found.offset < (page as u64 + 1) * 4_096 && found.offset + 1_000 > page as u64 * 4_096, "{found}");
        // Only the last record is left to tell.
        let last = written.ends[written.ends.len() - 2] as usize;
        bytes[page * 4_096..last].fill(0);
        corruption(&bytes, RecoveryMode::Default);
    }
}

#[test]
fn a_header_that_was_never_written_whole_is_an_empty_torn_log_but_a_foreign_file_is_not() {
    let written = write(9, &[10, 20, 700], After::NeverSync, false);
    let header = &written.bytes[..LOG_HEADER_LEN];
    for part in 0..LOG_HEADER_LEN {
        let mut preallocated = vec![0; 8_192];
        preallocated[..part].copy_from_slice(&header[..part]);
        let mut backwards = vec![0; 8_192];
        backwards[part..LOG_HEADER_LEN].copy_from_slice(&header[part..]);
        for bytes in [&header[..part], &preallocated, if part == 0 { &preallocated } else { &backwards }] {
            let back = read_bytes(bytes, RecoveryMode::Default).unwrap();
            assert_eq!(back.end.kind, EndKind::Torn(Damage::Header));
            assert_eq!((back.end.offset, back.records.len()), (0, 0));
            assert_eq!(corruption(bytes, RecoveryMode::AbsoluteConsistency).offset, 0);
        }
    }
    // Part of the header, but records behind it: the sector had been written, so it was damaged later.
    let mut damaged = written.bytes.clone();
    damaged[100..LOG_HEADER_LEN].fill(0xaa);
    assert_eq!(corruption(&damaged, RecoveryMode::Default).offset, 0);
    // The whole sector missing: never written.
    damaged[..512].fill(0);
    assert_eq!(read_bytes(&damaged, RecoveryMode::Default).unwrap().end.kind, EndKind::Torn(Damage::Header));
    for foreign in [&b"#!/bin/sh\necho this is no log\n"[..], &[b'x'; 4_096], &[0xff; 127]] {
        assert!(corruption(foreign, RecoveryMode::Default).to_string().contains("expected"));
    }
}

#[test]
fn a_torn_log_that_was_cut_at_its_end_reads_clean_and_the_same() {
    let written = write(10, &SPANNING, After::NeverSync, false);
    for len in [130, 300, 33_000, 60_000, written.bytes.len() - 1] {
        let fs = store_with(&written.bytes[..len]);
        let before = read(&fs, RecoveryMode::Default).unwrap();
        assert!(before.end.dropped_bytes > 0);
        wal::truncate_log(&fs, &path(), before.end.offset).unwrap();
        let after = read(&fs, RecoveryMode::AbsoluteConsistency).unwrap();
        assert_eq!(after.records, before.records);
        assert_eq!((after.end.kind, after.end.dropped_bytes), (EndKind::Unclosed, 0));
    }
}
