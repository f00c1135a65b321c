//! What was appended is what is read, whatever the lengths; and nobody else's file is read as ours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::Arc;

use base::{LogNumber, StoreId};
use proptest::prelude::*;
use support::*;
use vfs::{AppendMode, Vfs};
use wal::{
    BLOCK_LEN, EndKind, Error, ExpectedLog, LOG_HEADER_LEN, LogKind, LogReader, RECORD_LEN_MAX, RecoveryMode,
    SyncedOffsets, WriterOptions,
};

#[derive(Clone, Debug)]
enum Action {
    Append { len: usize, parts: usize },
    Sync,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let near_block = (BLOCK_LEN - 200)..(BLOCK_LEN + 200);
    let len = prop_oneof![6 => 0usize..400, 2 => near_block, 1 => 0usize..200_000];
    let action = prop_oneof![
        5 => (len, 0usize..5).prop_map(|(len, parts)| Action::Append { len, parts }),
        1 => Just(Action::Sync),
    ];
    prop::collection::vec(action, 0..40)
}

fn options() -> impl Strategy<Value = WriterOptions> {
    let mode = prop_oneof![Just(AppendMode::Written), Just(AppendMode::Mapped), Just(AppendMode::Buffered(512))];
    (mode, prop_oneof![Just(0u64), Just(64 << 10), Just(1 << 20)])
        .prop_map(|(mode, preallocate_bytes)| WriterOptions { mode, preallocate_bytes })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_log_gives_back_what_was_appended(seed: u64, actions in actions(), options in options(), close: bool) {
        let mut rng = base::rng::Rng::new(seed);
        let fs = empty_store(seed);
        let mut writer = create(&fs, options);
        let mut expected = Vec::new();
        let mut synced_log = 0;
        for (index, action) in actions.iter().enumerate() {
            match action {
                Action::Sync => {
                    synced_log = writer.sync_handle().sync().unwrap();
                    prop_assert_eq!(synced_log, writer.len());
                }
                Action::Append { len, parts } => {
                    let payload = random_payload(&mut rng, *len);
                    let split: Vec<&[u8]> = match parts {
                        0 => vec![&payload],
                        parts => payload.chunks((len / parts).max(1)).chain([&[][..]]).collect(),
                    };
                    let value_log = head(index as u32, 7);
                    let end = writer.append(value_log, &split).unwrap();
                    prop_assert_eq!(end, writer.len());
                    expected.push((SyncedOffsets { log: synced_log, value_log }, end, payload));
                }
            }
        }
        if close {
            writer.close().unwrap();
        }
        let back = read(&fs, RecoveryMode::AbsoluteConsistency).unwrap();
        if let (Some((last, ..)), false) = (expected.last(), close) {
            prop_assert_eq!(back.highest, *last);
        }
        let found: Vec<_> = back.records.into_iter().map(|record| (record.synced, record.end, record.payload)).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(back.end.kind, if close { EndKind::Closed } else { EndKind::Unclosed });
        prop_assert_eq!(back.end.dropped_bytes, 0);
    }
}

#[test]
fn every_length_around_the_end_of_a_block_is_read_back() {
    for first in BLOCK_LEN - LOG_HEADER_LEN - 120..BLOCK_LEN - LOG_HEADER_LEN + 4 {
        let written = write(1, &[first, 0, 3, 40, 100], After::EachRecordSync, true);
        let back = read_bytes(&written.bytes, RecoveryMode::AbsoluteConsistency).unwrap();
        assert_eq!(back.payloads(), written.whole_below(u64::MAX));
    }
}

#[test]
fn records_of_several_mebibytes_are_read_back() {
    let written = write(2, &[5 << 20, 10, 3 << 20, (1 << 20) + 1], After::EachRecordSync, false);
    let back = read_bytes(&written.bytes, RecoveryMode::AbsoluteConsistency).unwrap();
    assert_eq!(back.payloads(), written.whole_below(u64::MAX));
    let torn = &written.bytes[..(8 << 20) + 1_000];
    assert_eq!(read_bytes(torn, RecoveryMode::Default).unwrap().payloads(), written.whole_below(torn.len() as u64));
}

#[test]
fn a_record_over_the_limit_is_refused_before_anything_is_written() {
    let fs = empty_store(3);
    let mut writer = create(&fs, WRITTEN);
    let part = vec![1u8; 1 << 20];
    let parts = vec![&part[..]; 4_096];
    let before = bytes_of(&fs);
    let refused = writer.append(head(0, 0), &parts);
    assert!(
        matches!(refused, Err(Error::RecordTooLong { len, max, .. }) if len == 1 << 32 && max == RECORD_LEN_MAX),
        "{refused:?}"
    );
    assert_eq!(bytes_of(&fs), before);
    writer.append(head(0, 0), &[b"goes on"]).unwrap();
}

#[test]
fn the_header_is_given_back_and_a_log_of_another_store_number_or_kind_is_refused() {
    let fs = empty_store(4);
    create(&fs, MAPPED).append(head(0, 0), &[b"x"]).unwrap();
    let open = |expect| LogReader::open(&fs, &path(), expect, RecoveryMode::PointInTime, None);
    assert_eq!(open(EXPECT).unwrap().header(), Some(&header()));
    assert_eq!(open(ExpectedLog { store: None, ..EXPECT }).unwrap().header(), Some(&header()));
    let foreign = [
        (12, ExpectedLog { store: Some(StoreId([9; 16])), ..EXPECT }),
        (64, ExpectedLog { number: LogNumber(8), ..EXPECT }),
        (0, ExpectedLog { kind: LogKind::Manifest, ..EXPECT }),
    ];
    for (offset, expect) in foreign {
        match open(expect) {
            Err(Error::Corruption(corruption)) => {
                assert_eq!((corruption.offset, corruption.path.clone()), (offset, path()));
                assert!(corruption.expected.is_some() && corruption.found != corruption.expected);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_header_of_a_later_version_or_an_extended_one_is_incompatible() {
    let fs = empty_store(5);
    drop(create(&fs, WRITTEN));
    let bytes = bytes_of(&fs);
    for (at, what) in [(8, "log format version"), (80, "reserved header field")] {
        let mut bytes = bytes.clone();
        bytes[at] ^= 6;
        let crc = base::checksum::crc32(&bytes[..124]);
        bytes[124..128].copy_from_slice(&crc.to_le_bytes());
        for mode in [RecoveryMode::Default, RecoveryMode::SkipCorrupt] {
            match read_bytes(&bytes, mode) {
                Err(error @ Error::Incompatible { .. }) => {
                    assert!(error.to_string().contains(what), "{error}");
                    assert!(error.to_string().starts_with("/store/000007.wal: "), "{error}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn reading_ahead_for_the_proof_leaves_the_reader_where_it_was() {
    let written = write(6, &[100, 40_000, 100, 33_000, 7], After::EachRecordSync, false);
    let fs = store_with(&written.bytes);
    let proven = written.ends[written.ends.len() - 2];
    let mut reader = LogReader::open(&fs, &path(), EXPECT, RecoveryMode::Default, None).unwrap();
    for payload in &written.payloads {
        assert_eq!(reader.look_ahead_synced().unwrap(), SyncedOffsets { log: proven, value_log: head(1, 2) });
        assert_eq!(reader.next_record().unwrap().unwrap().payload, payload);
    }
    assert!(reader.next_record().unwrap().is_none());
    assert_eq!(reader.look_ahead_synced().unwrap().log, proven);
}

#[test]
fn a_missing_log_is_an_error_that_says_so() {
    let fs: Arc<dyn Vfs> = empty_store(7);
    match LogReader::open(&fs, &path(), EXPECT, RecoveryMode::SkipCorrupt, None) {
        Err(Error::Vfs(error)) => assert!(error.is_not_found()),
        other => panic!("{other:?}"),
    }
}
