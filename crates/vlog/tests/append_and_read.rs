//! What is appended is what is read, in every mode, from active, full and sealed segments.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use base::{EntryKind, EntryMeta, InternalKeyRef, SegmentId, ValueLogHead, ValuePointer};
use support::{DIR, STORE, Sample, assert_all, entries_of, fill, names, open, small, written};
use vfs::{AppendMode, MemFs};
use vlog::{Error, IoMode, Options, ReadAhead};

fn every_mode() -> Vec<Options> {
    let mut all = Vec::new();
    for mode in [AppendMode::Mapped, AppendMode::Written] {
        for io_mode in [IoMode::Mapped, IoMode::Pread] {
            all.push(Options { mode, io_mode, ..small() });
        }
    }
    all
}

#[test]
fn values_of_every_size_read_back_before_and_after_a_seal_in_every_mode() {
    for options in every_mode() {
        let fs = MemFs::new(1);
        let log = open(&fs, options.clone());
        let sizes = [0, 1, 31, 4_095, 8 << 10, (8 << 10) + 1, 64 << 10, 300 << 10];
        let mut written = Vec::new();
        for (number, size) in sizes.into_iter().enumerate() {
            let sample = Sample::of(number as u64, size);
            let pointer = sample.append(&log).unwrap();
            sample.assert_at(&log, pointer);
            written.push((sample, pointer));
        }
        assert_all(&log, &written);
        log.seal_all().unwrap();
        assert_all(&log, &written);
        log.close().unwrap();
        assert_all(&open(&fs, options), &written);
    }
}

#[test]
fn records_are_fetched_together_where_they_share_calls_and_nowhere_else_in_memory() {
    // A clock that stands still: no read takes long enough to have been the disk's.
    let clock = base::clock::ManualClock::new(0);
    for io_mode in [IoMode::Mapped, IoMode::Pread] {
        let log =
            open(&MemFs::new(1), Options { io_mode, segment_bytes: 1 << 20, segment_entries: 1 << 20, ..small() });
        let written = fill(&log, 200, 1_000);
        log.seal_all().unwrap();
        let set = log.segments();
        let ahead = |step: usize| {
            let pointers = written.iter().rev().step_by(step).take(10).map(|(_, pointer)| *pointer);
            let records = pointers.map(|pointer| (&**set.holder(pointer.segment).unwrap(), pointer));
            let ahead = ReadAhead::fetch(records.clone(), false, &clock);
            for (segment, pointer) in records {
                let (near, alone) = (segment.read_near(pointer, Some(&ahead)), segment.read(pointer));
                assert_eq!(near.unwrap(), alone.unwrap());
            }
            assert!(!ahead.is_slow());
            ahead.pays()
        };
        assert_eq!(ahead(1), io_mode == IoMode::Pread, "neighbours");
        assert!(!ahead(20), "each has a call of its own");
    }
}

#[test]
fn a_growing_segment_is_read_in_place_once_enough_of_it_is_mapped() {
    let fs = MemFs::new(1);
    let log = open(&fs, Options { segment_bytes: 64 << 20, preallocate_bytes: 1 << 20, ..Options::new(STORE) });
    let written = fill(&log, 40, 64 << 10);
    assert_eq!(log.segments().len(), 1);
    assert_all(&log, &written);
    let pointer = written[0].1;
    let (first, second) = (log.segments().read(pointer).unwrap(), log.segments().read(pointer).unwrap());
    assert_eq!(first.as_ptr(), second.as_ptr(), "both are slices of one mapping");
}

#[test]
fn a_segment_is_rolled_when_its_bytes_or_its_records_are_used_up() {
    let fs = MemFs::new(1);
    let log = open(&fs, Options { segment_bytes: 1_000, segment_entries: 100, ..written() });
    let overhead = vlog::RECORD_OVERHEAD + "key 00000".len();
    // Two records fill a segment to the byte.
    let exact = (1_000 - vlog::HEADER_LEN) / 2 - overhead;
    let written_exactly = fill(&log, 4, exact);
    assert_eq!(written_exactly.iter().map(|(_, pointer)| pointer.segment.0).collect::<Vec<_>>(), [1, 1, 2, 2]);
    let too_long = Sample::of(9, 5_000).append(&log).unwrap();
    let behind = Sample::of(10, 0).append(&log).unwrap();
    assert_eq!((too_long.segment.0, behind.segment.0), (3, 4), "a record over the limit has a segment of its own");

    let log = open(&MemFs::new(1), Options { segment_entries: 2, ..written() });
    let by_count = fill(&log, 5, 10);
    assert_eq!(by_count.iter().map(|(_, pointer)| pointer.segment.0).collect::<Vec<_>>(), [1, 1, 2, 2, 3]);
}

#[test]
fn a_set_taken_before_rolls_and_seals_still_reads_all_it_knew() {
    let fs = MemFs::new(1);
    let log = open(&fs, Options { io_mode: IoMode::Mapped, ..small() });
    let (sample, pointer) = fill(&log, 1, 100).remove(0);
    let pinned = log.segments();
    let later = fill(&log, 100, 100);
    log.seal_all().unwrap();
    assert_eq!(pinned.read(pointer).unwrap(), sample.value);
    let newer = later.last().unwrap().1;
    let refused = pinned.read(newer).unwrap_err();
    assert!(refused.is_corruption() && refused.to_string().contains("no such segment"), "{refused}");
    assert_all(&log, &later);
}

#[test]
fn a_pointer_to_nothing_is_an_error_that_names_file_and_offset() {
    for options in every_mode() {
        let log = open(&MemFs::new(1), options);
        let (_, good) = fill(&log, 3, 50)[1];
        let wrong = [
            ValuePointer { offset: good.offset + 1, ..good },
            ValuePointer { len: good.len + 1, ..good },
            ValuePointer { len: good.len - 1, ..good },
            ValuePointer { len: 0, ..good },
            ValuePointer { len: u32::MAX, ..good },
            ValuePointer { offset: 0, ..good },
            ValuePointer { offset: u32::MAX, ..good },
            ValuePointer { segment: SegmentId(77), ..good },
            ValuePointer { segment: SegmentId(0), ..good },
        ];
        for pointer in wrong {
            let error = log.segments().read(pointer).unwrap_err();
            let Error::Corruption(corruption) = &error else { panic!("{error}") };
            assert_eq!(corruption.path, vlog::segment_path(DIR.as_ref(), pointer.segment));
            assert_eq!(corruption.offset, u64::from(pointer.offset));
        }
    }
}

#[test]
fn a_checked_read_refuses_the_record_of_another_key_version_or_owner() {
    let log = open(&MemFs::new(1), small());
    let (sample, pointer) = fill(&log, 1, 50).remove(0);
    let set = log.segments();
    assert_eq!(set.read_checked(pointer, sample.owner, sample.key()).unwrap(), sample.value);
    let (mut other_key, owner) = (sample.user_key.clone(), sample.owner);
    *other_key.last_mut().unwrap() += 1;
    for (owner, key) in [
        (owner + 1, sample.key()),
        (owner, InternalKeyRef::new(&sample.user_key, sample.version + 1)),
        (owner, InternalKeyRef::new(&other_key, sample.version)),
        (owner, InternalKeyRef::new(&sample.user_key[1..], sample.version)),
    ] {
        let error = set.read_checked(pointer, owner, key).unwrap_err();
        assert!(error.is_corruption() && error.to_string().contains("another"), "{error}");
    }
}

#[test]
fn what_cannot_be_stored_is_refused_and_nothing_is_written() {
    let fs = MemFs::new(1);
    let log = open(&fs, small());
    let long = vec![7; 65_536];
    for (key, meta) in
        [(&b""[..], EntryMeta::put()), (&long[..], EntryMeta::put()), (b"key", EntryMeta::of(EntryKind::Pointer))]
    {
        let refused = log.append(0, InternalKeyRef::new(key, 1), meta, b"value").unwrap_err();
        assert!(matches!(refused, Error::InvalidArgument(_)), "{refused}");
    }
    assert_eq!(names(&fs), ["VLOG-MANIFEST"], "no segment was made");
    let longest = InternalKeyRef::new(&long[..65_535], u64::MAX);
    let pointer = log.append(u32::MAX, longest, EntryMeta::delete(), b"").unwrap();
    let record = log.segments().read_record(pointer).unwrap();
    assert_eq!((record.key.as_ref(), record.meta, record.owner), (longest, EntryMeta::delete(), u32::MAX));
}

#[test]
fn options_that_cannot_be_are_refused() {
    for options in [
        Options { segment_bytes: 0, ..small() },
        Options { segment_bytes: 1 << 32, ..small() },
        Options { segment_entries: 0, ..small() },
        Options { mode: AppendMode::Buffered(4_096), ..small() },
    ] {
        let fs = MemFs::new(1);
        let refused = support::begin(&fs, options, ValueLogHead::default()).unwrap_err();
        assert!(matches!(refused, Error::InvalidArgument(_)), "{refused}");
        assert_eq!(fs.files().len(), 0);
    }
}

#[test]
fn entries_are_the_same_from_the_records_and_from_the_hint_file() {
    let fs = MemFs::new(1);
    let log = open(&fs, Options { segment_bytes: 64 << 20, ..written() });
    // More than one chunk of hints, with short and long keys.
    let mut written = fill(&log, 2_000, 10);
    for number in 0..3 {
        let sample = Sample { user_key: vec![number; 65_535], ..Sample::of(u64::from(number), 5) };
        let pointer = sample.append(&log).unwrap();
        written.push((sample, pointer));
    }
    let from_records = entries_of(&log, SegmentId(1)).unwrap();
    log.seal_all().unwrap();
    let from_hints = entries_of(&log, SegmentId(1)).unwrap();
    assert!(from_records == from_hints);
    let expected: Vec<_> = written
        .iter()
        .map(|(sample, pointer)| (*pointer, sample.owner, sample.key().to_owned(), sample.meta))
        .collect();
    assert!(from_hints == expected);
}

#[test]
fn statistics_count_records_and_each_owner_s_bytes() {
    let log = open(&MemFs::new(1), Options { segment_entries: 4, ..written() });
    let written = fill(&log, 6, 20);
    assert!(log.seal_full().unwrap());
    let statistics = log.statistics();
    assert_eq!(statistics.iter().map(|of| (of.records, of.sealed)).collect::<Vec<_>>(), [(4, true), (2, false)]);
    let bytes_of = |owner: u32| -> u64 {
        written[..4].iter().filter(|(sample, _)| sample.owner == owner).map(|(_, pointer)| u64::from(pointer.len)).sum()
    };
    let counts: Vec<_> = statistics[0].owners.iter().map(|totals| (totals.owner, totals.records)).collect();
    assert_eq!(counts, [(0, 2), (1, 1), (2, 1)]);
    assert!(statistics[0].owners.iter().all(|totals| totals.bytes == bytes_of(totals.owner)));
    let sum: u64 = statistics[0].owners.iter().map(|totals| totals.bytes).sum();
    assert_eq!(statistics[0].file_bytes, sum + vlog::HEADER_LEN as u64);
}

#[test]
fn the_head_never_goes_back_and_is_before_what_comes_later() {
    let fs = MemFs::new(1);
    let mut last = ValueLogHead::default();
    for _ in 0..3 {
        let log = open(&fs, small());
        for number in 0..50 {
            let head = log.head();
            assert!(head >= last, "{head:?} < {last:?}");
            let pointer = Sample::of(number, 60).append(&log).unwrap();
            assert!(ValueLogHead { segment: pointer.segment, offset: pointer.offset } >= head);
            last = log.head();
            assert!(last > head);
            assert!(log.synced() <= last);
        }
        log.seal_all().unwrap();
        assert_eq!((log.head(), log.synced()), (last, last), "all is sealed, so all is durable");
    }
}
