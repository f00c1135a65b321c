//! What opening makes of a log whose last run did not end well.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::Path;
use std::sync::{Arc, Mutex};

use base::{SegmentId, ValueLogHead, ValuePointer};
use support::{DIR, STORE, Sample, assert_all, begin, begin_with, entries_of, fill, names, open, path, small, written};
use vfs::{AppendMode, CrashMode, FaultFs, FaultPlan, MemFs};
use vlog::{Error, IoMode, Options, RecoveryInput, ValueLog};

fn copy(fs: &MemFs) -> MemFs {
    fs.crash_image(CrashMode::KeepAll, 1)
}

fn end_of(pointer: ValuePointer) -> ValueLogHead {
    ValueLogHead { segment: pointer.segment, offset: pointer.offset + pointer.len }
}

/// A file system with one unsealed segment, as a killed process leaves it.
fn one_open_segment() -> (MemFs, Vec<(Sample, ValuePointer)>) {
    let fs = MemFs::new(1);
    let written = fill(&open(&fs, written()), 4, 40);
    (fs, written)
}

fn corruption(error: Error) -> base::Corruption {
    match error {
        Error::Corruption(corruption) => *corruption,
        other => panic!("{other}"),
    }
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_reported_and_leaves_every_record_before_it() {
    let (fs, written_records) = one_open_segment();
    let segment = path("000001.vlog");
    let bytes = fs.read(&segment).unwrap();
    for zeroed in [false, true] {
        for cut in 0..=bytes.len() {
            let fs = copy(&fs);
            fs.edit(&segment, |bytes| {
                let len = bytes.len();
                bytes.truncate(cut);
                bytes.resize(if zeroed { len + 100 } else { cut }, 0);
            })
            .unwrap();
            let (log, recovery) = begin(&fs, written(), ValueLogHead::default()).unwrap();
            let whole = written_records.iter().filter(|(_, pointer)| end_of(*pointer).offset as usize <= cut).count();
            let end = match whole {
                0 if cut < vlog::HEADER_LEN => 0,
                0 => vlog::HEADER_LEN,
                _ => end_of(written_records[whole - 1].1).offset as usize,
            };
            let used = bytes[end..cut].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let reported: Vec<_> =
                recovery.torn_tails.iter().map(|torn| (&torn.path, torn.offset, torn.dropped_bytes)).collect();
            let expected = (used > 0).then_some((&segment, end as u64, used as u64));
            assert_eq!(reported, expected.into_iter().collect::<Vec<_>>(), "cut at {cut}");
            assert_all(&log, &written_records[..whole]);
            let pointer = written_records.get(whole).map(|(_, pointer)| *pointer);
            assert!(pointer.is_none_or(|pointer| log.segments().read(pointer).is_err()), "cut at {cut}");
            log.finish_recovery().unwrap();
            assert_all(&log, &written_records[..whole]);
            let later = Sample::of(9, 40).append(&log).unwrap();
            assert!(later.segment > SegmentId(1), "an old segment is never appended to");
            log.remove_orphans().unwrap();
            drop(log);
            let again = open(&fs, written());
            assert_all(&again, &written_records[..whole]);
            Sample::of(9, 40).assert_at(&again, later);
        }
    }
}

#[test]
fn a_cut_before_the_synced_head_is_corruption_that_names_file_and_offset() {
    let (fs, written_records) = one_open_segment();
    let segment = path("000001.vlog");
    let len = fs.read(&segment).unwrap().len();
    for synced in written_records.iter().map(|(_, pointer)| end_of(*pointer)) {
        for cut in 0..=len {
            let fs = copy(&fs);
            fs.edit(&segment, |bytes| bytes.truncate(cut)).unwrap();
            let opened = begin(&fs, written(), synced);
            if cut >= synced.offset as usize {
                opened.unwrap();
                continue;
            }
            let corruption = corruption(opened.unwrap_err());
            assert_eq!(corruption.path, segment);
            assert!(corruption.offset as usize <= cut);
        }
    }
}

#[test]
fn a_flipped_byte_of_an_open_segment_drops_the_tail_or_is_corruption_below_the_synced_head() {
    let (fs, written_records) = one_open_segment();
    let segment = path("000001.vlog");
    let synced = end_of(written_records[1].1);
    for at in 0..fs.read(&segment).unwrap().len() {
        let fs = copy(&fs);
        fs.edit(&segment, |bytes| bytes[at] ^= 0x40).unwrap();
        match begin(&fs, written(), synced) {
            Ok((log, recovery)) => {
                assert!(at >= synced.offset as usize, "byte {at} had been synced");
                assert_eq!(recovery.torn_tails.len(), 1);
                let kept = written_records.iter().filter(|(_, pointer)| end_of(*pointer).offset as usize <= at);
                assert_all(&log, &kept.cloned().collect::<Vec<_>>());
            }
            Err(Error::Corruption(corruption)) => {
                assert!(at < synced.offset as usize, "byte {at} had not been synced");
                assert_eq!(corruption.path, segment);
            }
            Err(Error::Incompatible { path, .. }) => assert!(path == segment && (8..12).contains(&at)),
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
}

/// Three open segments, all full but the last, nothing synced or sealed.
fn three_open_segments() -> (MemFs, Vec<(Sample, ValuePointer)>) {
    let fs = MemFs::new(1);
    let written = fill(&open(&fs, Options { segment_entries: 3, ..written() }), 8, 40);
    assert_eq!(written.last().unwrap().1.segment, SegmentId(3));
    (fs, written)
}

#[test]
fn a_segment_missing_below_the_synced_head_is_corruption() {
    let (fs, written_records) = three_open_segments();
    let synced = end_of(written_records[7].1);
    for id in 1..=3 {
        let fs = copy(&fs);
        let segment = path(&format!("00000{id}.vlog"));
        vfs::Vfs::remove_file(&fs, &segment).unwrap();
        let corruption = corruption(begin(&fs, written(), synced).unwrap_err());
        assert_eq!((corruption.path, corruption.what.as_str()), (segment, "missing segment"));
        // Nothing of it had been synced: then it may be missing.
        begin(&fs, written(), ValueLogHead { segment: SegmentId(1), offset: 0 }).unwrap();
    }
}

#[test]
fn a_synced_head_in_one_segment_tells_of_the_whole_ones_before_it() {
    let (fs, written_records) = three_open_segments();
    let first = path("000001.vlog");
    let len = fs.read(&first).unwrap().len();
    fs.edit(&first, |bytes| bytes.truncate(len - 1)).unwrap();
    let synced = ValueLogHead { segment: SegmentId(3), offset: vlog::HEADER_LEN as u32 };
    let corruption = corruption(begin(&fs, written(), synced).unwrap_err());
    assert_eq!((corruption.path, corruption.offset), (first, u64::from(written_records[2].1.offset)));
    let (log, recovery) = begin(&fs, written(), end_of(written_records[1].1)).unwrap();
    assert_eq!(recovery.torn_tails.len(), 1);
    let kept: Vec<_> = written_records.iter().filter(|(sample, _)| sample.version != 2).cloned().collect();
    assert_all(&log, &kept);
}

#[test]
fn a_segment_that_was_ended_early_is_known_to_the_next_one_too() {
    let fs = MemFs::new(1);
    let log = open(&fs, written());
    let first = fill(&log, 2, 40);
    log.close_active();
    fill(&log, 2, 40);
    let synced = log.sync().unwrap();
    fs.edit(&path("000001.vlog"), |bytes| bytes.truncate(bytes.len() - 1)).unwrap();
    let corruption = corruption(begin(&fs, written(), synced).unwrap_err());
    assert_eq!((corruption.path, corruption.offset), (path("000001.vlog"), u64::from(first[1].1.offset)));
}

#[test]
fn what_a_failed_append_left_behind_a_full_segment_is_no_record() {
    let (fs, written_records) = three_open_segments();
    let (first, third) = (path("000001.vlog"), written_records[6].1);
    // A whole record, valid but for its place: the salt is that of another file, so take one of this file.
    let bytes = fs.read(&first).unwrap();
    let copy_of = written_records[0].1;
    let record = bytes[copy_of.offset as usize..end_of(copy_of).offset as usize].to_vec();
    fs.edit(&first, |bytes| bytes.extend_from_slice(&record)).unwrap();
    let (log, recovery) = begin(&fs, written(), ValueLogHead::default()).unwrap();
    assert_eq!(recovery.torn_tails.len(), 1);
    assert_eq!(recovery.torn_tails[0].dropped_bytes, record.len() as u64);
    assert_eq!(entries_of(&log, SegmentId(1)).unwrap().len(), 3, "the second segment says where the first ended");
    assert_eq!(third.segment, SegmentId(3));
    assert_all(&log, &written_records);
}

#[test]
fn ids_are_never_used_again_even_when_every_file_of_theirs_is_gone() {
    let fs = MemFs::new(1);
    let mut highest = 0;
    for _ in 0..5 {
        let log = open(&fs, Options { segment_entries: 1, ..written() });
        // More than one lease of ids in a run.
        for (_, pointer) in fill(&log, 100, 5) {
            assert!(pointer.segment.0 > highest);
            highest = pointer.segment.0;
        }
        drop(log);
        for name in names(&fs).into_iter().filter(|name| name.ends_with(".vlog")) {
            vfs::Vfs::remove_file(&fs, &path(&name)).unwrap();
        }
    }
}

#[test]
fn a_segment_above_the_counter_means_that_the_manifest_is_not_the_newest() {
    let fs = MemFs::new(1);
    let log = open(&fs, Options { segment_entries: 1, ..written() });
    let early = fs.read(&path("VLOG-MANIFEST")).unwrap();
    let written_records = fill(&log, 100, 5);
    drop(log);
    fs.write(&path("VLOG-MANIFEST"), early).unwrap();
    let found = corruption(begin(&fs, written(), ValueLogHead::default()).unwrap_err());
    assert!(found.what.contains("counter"), "{found}");
    for name in names(&fs).into_iter().filter(|name| name.ends_with(".vlog")) {
        vfs::Vfs::remove_file(&fs, &path(&name)).unwrap();
    }
    let found = corruption(begin(&fs, written(), end_of(written_records[99].1)).unwrap_err());
    assert_eq!(found.path, path("VLOG-MANIFEST"));
}

#[test]
fn a_log_that_lost_its_manifest_is_not_taken_for_a_new_one() {
    let (fs, written_records) = one_open_segment();
    vfs::Vfs::remove_file(&fs, &path("VLOG-MANIFEST")).unwrap();
    let found = corruption(begin(&fs, written(), ValueLogHead::default()).unwrap_err());
    assert_eq!((found.path.clone(), found.what.as_str()), (path("VLOG-MANIFEST"), "missing value-log manifest"));
    let empty = MemFs::new(1);
    for input in [
        RecoveryInput { must_exist: true, ..RecoveryInput::default() },
        RecoveryInput { synced: end_of(written_records[0].1), ..RecoveryInput::default() },
    ] {
        assert_eq!(corruption(begin_with(&empty, written(), input).unwrap_err()).path, path("VLOG-MANIFEST"));
    }
    assert_eq!(empty.files().len(), 0);
}

#[test]
fn a_folder_tells_whose_log_it_holds() {
    let owner = |fs: &MemFs| ValueLog::owner(fs, Path::new(DIR));
    let empty = MemFs::new(1);
    assert_eq!(owner(&empty).unwrap(), None, "no folder");
    vfs::Vfs::create_dir_all(&empty, Path::new(DIR)).unwrap();
    empty.write(&path("VLOG-MANIFEST.tmp"), b"unfinished").unwrap();
    empty.write(&path("notes.txt"), b"mine").unwrap();
    assert_eq!(owner(&empty).unwrap(), None);
    let (fs, _) = one_open_segment();
    assert_eq!(owner(&fs).unwrap(), Some(written().store));
    let whole = fs.read(&path("VLOG-MANIFEST")).unwrap();
    for len in 0..112 {
        fs.write(&path("VLOG-MANIFEST"), &whole[..len]).unwrap();
        assert_eq!(corruption(owner(&fs).unwrap_err()).path, path("VLOG-MANIFEST"));
    }
    vfs::Vfs::remove_file(&fs, &path("VLOG-MANIFEST")).unwrap();
    assert_eq!(corruption(owner(&fs).unwrap_err()).what, "missing value-log manifest");
}

#[test]
fn sealed_segments_must_be_there_whole_and_be_the_ones_that_were_sealed() {
    let fs = MemFs::new(1);
    let log = open(&fs, written());
    fill(&log, 4, 40);
    log.close().unwrap();
    let segment = path("000001.vlog");
    let bytes = fs.read(&segment).unwrap();
    let opened = |change: &dyn Fn(&mut Vec<u8>)| {
        let fs = copy(&fs);
        fs.edit(&segment, |bytes| change(bytes)).unwrap();
        begin(&fs, written(), ValueLogHead::default()).map(|_| ())
    };
    opened(&|_| {}).unwrap();
    for cut in 0..bytes.len() {
        assert_eq!(corruption(opened(&|bytes| bytes.truncate(cut)).unwrap_err()).path, segment);
    }
    assert_eq!(corruption(opened(&|bytes| bytes.push(0)).unwrap_err()).path, segment);
    let gone = copy(&fs);
    vfs::Vfs::remove_file(&gone, &segment).unwrap();
    let found = corruption(begin(&gone, written(), ValueLogHead::default()).unwrap_err());
    assert_eq!((found.path, found.what.as_str()), (segment.clone(), "missing sealed segment"));
    // The same segment of the same store as another life wrote it: same id, same length, another companion id.
    let other = MemFs::new(2);
    let log = open(&other, written());
    fill(&log, 4, 40);
    log.close().unwrap();
    let other_bytes = other.read(&segment).unwrap();
    assert_eq!(other_bytes.len(), bytes.len());
    let found = corruption(opened(&|bytes| *bytes = other_bytes.clone()).unwrap_err());
    assert_eq!((found.path, found.what.as_str()), (segment, "file of another segment"));
}

#[test]
fn nothing_can_be_written_before_recovery_is_finished() {
    let (fs, _) = one_open_segment();
    let before = fs.files();
    let (log, _) = begin(&fs, written(), ValueLogHead::default()).unwrap();
    assert!(matches!(Sample::of(1, 1).append(&log), Err(Error::InRecovery { .. })));
    assert!(matches!(log.seal_full(), Err(Error::InRecovery { .. })));
    assert!(matches!(log.prepare_deaths(1, &[]), Err(Error::InRecovery { .. })));
    assert!(matches!(log.remove_orphans(), Err(Error::InRecovery { .. })));
    assert_eq!(fs.files(), before);
    log.finish_recovery().unwrap();
    log.finish_recovery().unwrap();
    Sample::of(1, 1).append(&log).unwrap();
}

#[test]
fn a_log_open_for_reading_only_reads_the_unsealed_tail_and_writes_nothing() {
    let fs = MemFs::new(1);
    let log = open(&fs, small());
    let written_records = fill(&log, 50, 100);
    assert!(log.seal_full().unwrap());
    drop(log);
    fs.write(&path("000099.hint.tmp"), *b"left over").unwrap();
    let snapshot = |fs: &MemFs| fs.files().into_iter().map(|path| (fs.read(&path).unwrap(), path)).collect::<Vec<_>>();
    let before = snapshot(&fs);
    for io_mode in [IoMode::Mapped, IoMode::Pread] {
        let options = Options { read_only: true, io_mode, ..small() };
        let (log, recovery) = begin(&fs, options, ValueLogHead::default()).unwrap();
        assert!(recovery.unsealed_segments > 0);
        log.finish_recovery().unwrap();
        assert_all(&log, &written_records);
        assert!(matches!(Sample::of(1, 1).append(&log), Err(Error::ReadOnly { .. })));
        assert!(matches!(log.apply_deaths(&[]), Err(Error::ReadOnly { .. })));
        assert!(!log.seal_full().unwrap());
        log.mark_unreferenced_dead(ValueLogHead::default(), Vec::new()).unwrap();
        assert_eq!(log.remove_orphans().unwrap(), 0);
    }
    assert!(snapshot(&fs) == before);
    let empty = MemFs::new(1);
    begin(&empty, Options { read_only: true, ..small() }, ValueLogHead::default()).unwrap();
    assert_eq!(empty.files().len(), 0);
}

#[test]
fn orphans_stay_until_they_are_removed_by_name() {
    let (fs, written_records) = one_open_segment();
    let log = open(&fs, written());
    drop(log);
    for name in ["000050.hint", "000051.dead", "000007.deaths", "000009.deaths", "000001.hint.tmp", "000052.vlog"] {
        fs.write(&path(name), *b"left over").unwrap();
    }
    fs.write(&path("notes.txt"), *b"not ours").unwrap();
    let input = RecoveryInput { live_tickets: &[9], ..RecoveryInput::default() };
    let (log, _) = begin_with(&fs, Options { read_only: true, ..written() }, input).unwrap();
    assert_all(&log, &written_records);
    let lost = begin_with(&fs, written(), input).unwrap().0.finish_recovery().unwrap_err();
    assert_eq!(corruption(lost).path, path("000009.deaths"), "a live list must be whole");
    assert!(names(&fs).contains(&"000051.dead".to_owned()), "nothing goes before recovery has succeeded");
    let log = open(&fs, written());
    assert!(names(&fs).contains(&"000051.dead".to_owned()));
    assert_eq!(log.remove_orphans().unwrap(), 6);
    assert_eq!(names(&fs), ["000001.hint", "000001.vlog", "VLOG-MANIFEST", "notes.txt"]);
    assert_all(&log, &written_records);
}

#[test]
fn records_that_no_log_names_are_dead_after_a_crash_and_the_others_live() {
    let (fs, written_records) = three_open_segments();
    let log = open(&fs, Options { segment_entries: 3, ..written() });
    let above = end_of(written_records[1].1);
    let referenced: Vec<ValuePointer> = [7, 3, 6].map(|index: usize| written_records[index].1).into();
    let found = log.mark_unreferenced_dead(above, referenced.clone()).unwrap();
    let is_dead =
        |(_, pointer): &(Sample, ValuePointer)| log.dead_set(pointer.segment).unwrap().contains(pointer.offset);
    let dead: Vec<u64> =
        written_records.iter().filter(|record| is_dead(record)).map(|(sample, _)| sample.version).collect();
    assert_eq!(dead, [2, 4, 5], "0 and 1 are below the head, 3, 6 and 7 are named");
    let bytes: u32 = dead.iter().map(|version| written_records[*version as usize].1.len).sum();
    assert_eq!((found.records, found.bytes), (3, u64::from(bytes)));
    assert_eq!(log.mark_unreferenced_dead(above, referenced.clone()).unwrap().records, 0, "again changes nothing");
    Sample::of(1, 1).append(&log).unwrap();
    let late = log.mark_unreferenced_dead(above, referenced).unwrap_err();
    assert!(matches!(late, Error::InvalidArgument(_)), "or a record on its way into a log would be killed");
}

#[test]
fn files_of_another_store_are_refused() {
    let (fs, _) = one_open_segment();
    let mine = open(&MemFs::new(3), written());
    drop(mine);
    let other = Options { store: base::StoreId([9; 16]), ..written() };
    let found = corruption(begin(&fs, other.clone(), ValueLogHead::default()).unwrap_err());
    assert!(found.what.contains("another store") && found.path == path("VLOG-MANIFEST"), "{found}");
    assert_eq!(found.expected, Some(other.store.to_string()));
    assert_eq!(found.found, Some(STORE.to_string()));
}

#[test]
fn the_default_options_recover_a_killed_log_as_well() {
    for mode in [AppendMode::Mapped, AppendMode::Written] {
        let fs = MemFs::new(1);
        let options = Options { mode, segment_bytes: 1 << 20, preallocate_bytes: 1 << 18, ..Options::new(STORE) };
        let written_records = fill(&open(&fs, options.clone()), 300, 5_000);
        let image = fs.crash_image(CrashMode::KeepAll, 5);
        let (log, recovery) = begin(&image, options, ValueLogHead::default()).unwrap();
        assert_eq!((recovery.torn_tails.len(), recovery.unsealed_segments, recovery.unsealed_records), (0, 2, 300));
        log.finish_recovery().unwrap();
        assert_all(&log, &written_records);
        assert!(log.statistics().iter().all(|of| of.sealed));
        assert_eq!(vfs::Vfs::metadata(&image, &path("000001.vlog")).unwrap().unwrap().len, {
            u64::from(end_of(written_records.iter().rfind(|(_, at)| at.segment.0 == 1).unwrap().1).offset)
        });
    }
}

#[test]
fn a_closed_log_has_nothing_to_recover() {
    let fs = MemFs::new(1);
    let log: ValueLog = open(&fs, small());
    let written_records = fill(&log, 30, 100);
    let dir = log.dir().to_owned();
    assert_eq!(dir, std::path::Path::new(DIR));
    log.close().unwrap();
    let (log, recovery) = begin(&fs, small(), ValueLogHead::default()).unwrap();
    assert_eq!(recovery, vlog::VlogRecovery::default());
    assert_all(&log, &written_records);
}

/// A program is killed while it collects, and the next one tidies up; then the power goes. What the first had not synced may
/// be gone with it, and what the second removed must not have been needed.
#[test]
fn nothing_is_removed_for_a_manifest_that_the_power_can_still_take() {
    let memory = MemFs::new(1);
    let log = open(&memory, small());
    let written = fill(&log, 100, 200);
    log.seal_all().unwrap();
    drop(log);
    let faults = FaultFs::over_memory(memory.clone(), FaultPlan::none());
    let (log, _) = ValueLog::open(Arc::new(faults.clone()), DIR, small(), RecoveryInput::default()).unwrap();
    log.finish_recovery().unwrap();
    let (dead, alive): (Vec<_>, Vec<_>) = written.into_iter().partition(|(sample, _)| sample.version % 3 == 0);
    support::kill(&log, 1, &dead.iter().map(|(_, pointer)| *pointer).collect::<Vec<_>>());
    let killed = Arc::new(Mutex::new(Vec::new()));
    let (images, kept) = (Arc::clone(&killed), memory.clone());
    faults.on_mutation(move |record| {
        images.lock().unwrap().push((kept.crash_image(CrashMode::KeepAll, record.number), record.to_string()));
    });
    support::collect(&log, &support::sealed(&log));
    faults.clear_hook();
    for (image, killed_before) in std::mem::take(&mut *killed.lock().unwrap()) {
        let (log, _) = begin_with(&image, small(), RecoveryInput::default()).unwrap();
        log.finish_recovery().unwrap();
        log.remove_orphans().unwrap();
        drop(log);
        for seed in 0..10 {
            let lost = image.crash_image(CrashMode::Random, seed);
            let (log, _) = begin_with(&lost, small(), RecoveryInput::default())
                .unwrap_or_else(|error| panic!("killed before {killed_before}, seed {seed}: {error}"));
            log.finish_recovery().unwrap();
            support::assert_all(&log, &alive);
        }
    }
}
