//! What the system refuses: full disks, failed syncs and reads. What was acknowledged stays, and every failure is told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use base::{ValueLogHead, ValuePointer};
use expect_test::expect;
use support::{DIR, Sample, assert_all, begin, fill, names, open, path, small, written};
use vfs::{AppendMode, Cause, CrashMode, Fault, FaultFs, FaultPlan, MemFs, Operation, TraceFs, Vfs};
use vlog::{CollectContext, Error, IoMode, Options, RecoveryInput, Result, ValueLog};

fn faulty() -> (MemFs, FaultFs) {
    let memory = MemFs::new(1);
    (memory.clone(), FaultFs::over_memory(memory, FaultPlan::none()))
}

fn open_on(fs: &dyn Fn() -> Arc<dyn Vfs>, options: Options) -> ValueLog {
    let (log, _) = ValueLog::open(fs(), DIR, options, RecoveryInput::default()).unwrap();
    log.finish_recovery().unwrap();
    log
}

fn end_of(pointer: &ValuePointer) -> ValueLogHead {
    ValueLogHead { segment: pointer.segment, offset: pointer.offset + pointer.len }
}

#[test]
fn a_sync_goes_through_the_dirty_segments_oldest_first_each_with_its_name() {
    let fs = TraceFs::new(Arc::new(MemFs::new(1)), "");
    let log = open_on(&|| Arc::new(fs.clone()), Options { segment_entries: 2, ..written() });
    fill(&log, 5, 10);
    drop(fs.take_trace());
    let synced = log.sync().unwrap();
    assert_eq!((synced, log.synced()), (log.head(), log.head()));
    expect![[r#"
        sync vlog/000001.vlog
        sync vlog/000002.vlog
        sync vlog/000003.vlog
        sync directory vlog
    "#]]
    .assert_eq(&fs.take_trace().to_string());
    assert_eq!(log.sync().unwrap(), synced);
    assert_eq!(fs.take_trace().to_string(), "", "nothing is dirty");
    fill(&log, 1, 10);
    log.sync().unwrap();
    expect![[r#"
        append to vlog/000003.vlog, 51 bytes at 163
        sync vlog/000003.vlog
    "#]]
    .assert_eq(&fs.take_trace().to_string());
}

#[test]
fn a_roll_makes_one_file_and_a_seal_does_the_rest_in_an_order_that_a_crash_cannot_hurt() {
    let fs = TraceFs::new(Arc::new(MemFs::new(1)), "");
    let log = open_on(&|| Arc::new(fs.clone()), Options { segment_entries: 2, ..written() });
    fill(&log, 2, 10);
    drop(fs.take_trace());
    Sample::of(3, 10).append(&log).unwrap();
    expect![[r#"
        draw random bytes for ., 32 bytes
        draw random bytes for ., 16 bytes
        create vlog/000002.vlog
        append to vlog/000002.vlog, 112 bytes at 0
        open vlog/000002.vlog
        append to vlog/000002.vlog, 51 bytes at 112
    "#]]
    .assert_eq(&fs.take_trace().to_string());
    assert!(log.seal_full().unwrap());
    expect![[r#"
        finish vlog/000001.vlog, 214 bytes
        stat vlog/000001.vlog
        draw random bytes for ., 32 bytes
        create vlog/000001.hint.tmp
        append to vlog/000001.hint.tmp, 112 bytes at 0
        read vlog/000001.vlog, 102 bytes at 112
        append to vlog/000001.hint.tmp, 61 bytes at 112
        append to vlog/000001.hint.tmp, 68 bytes at 173
        finish vlog/000001.hint.tmp, 241 bytes
        rename vlog/000001.hint.tmp -> vlog/000001.hint
        sync directory vlog
        draw random bytes for ., 32 bytes
        create vlog/VLOG-MANIFEST.tmp
        append to vlog/VLOG-MANIFEST.tmp, 210 bytes at 0
        finish vlog/VLOG-MANIFEST.tmp, 210 bytes
        rename vlog/VLOG-MANIFEST.tmp -> vlog/VLOG-MANIFEST
        sync directory vlog
    "#]]
    .assert_eq(&fs.take_trace().to_string());
    assert!(!log.seal_full().unwrap(), "the active segment is not full");
}

#[test]
fn a_failed_sync_is_final_and_said_to_everyone() {
    let (memory, fs) = faulty();
    let log = open_on(&|| Arc::new(fs.clone()), small());
    let first = fill(&log, 3, 50);
    let synced = log.sync().unwrap();
    let second = fill(&log, 3, 50);
    fs.arm(Fault::on(Operation::Sync, Cause::Io).at_suffix(".vlog").losing_unsynced());
    let cause = log.sync().unwrap_err().to_string();
    assert!(cause.contains("000001.vlog"), "{cause}");
    for failed in [
        log.sync().map(|_| ()),
        Sample::of(1, 1).append(&log).map(|_| ()),
        log.seal_full().map(|_| ()),
        log.prepare_deaths(1, &[]).map(drop),
    ] {
        assert_eq!(failed.unwrap_err().to_string(), cause);
    }
    assert_eq!(log.synced(), synced);
    assert_all(&log, &first);
    assert_all(&log, &second);
    let image = memory.crash_image(CrashMode::DropUnsynced, 1);
    let (log, _) = begin(&image, small(), synced).unwrap();
    log.finish_recovery().unwrap();
    assert_all(&log, &first);
    Sample::of(1, 1).append(&log).unwrap();
}

#[test]
fn a_torn_append_is_cut_off_and_the_next_one_starts_a_new_segment() {
    for mode in [AppendMode::Mapped, AppendMode::Written] {
        for bytes in [0, 1, 30, 90] {
            let (memory, fs) = faulty();
            let options = Options { mode, ..small() };
            let log = open_on(&|| Arc::new(fs.clone()), options.clone());
            let first = fill(&log, 3, 50);
            let fault = fs.arm(Fault::on(Operation::Append, Cause::NoSpace).after_bytes(bytes));
            let error = Sample::of(3, 50).append(&log).unwrap_err();
            assert!(error.is_no_space(), "{error}");
            assert_eq!(fs.hits(fault), 1);
            let second = fill(&log, 3, 50);
            assert!(second[0].1.segment > first[2].1.segment);
            let synced = log.sync().unwrap();
            for crash in [CrashMode::KeepAll, CrashMode::DropUnsynced] {
                let (log, recovery) = begin(&memory.crash_image(crash, 1), options.clone(), synced).unwrap();
                assert_eq!(recovery.torn_tails, [], "the torn record was cut off");
                log.finish_recovery().unwrap();
                assert_all(&log, &first);
                assert_all(&log, &second);
            }
        }
    }
}

#[test]
fn a_torn_append_that_cannot_be_cut_off_is_cut_off_by_the_seal() {
    let (memory, fs) = faulty();
    let log = open_on(&|| Arc::new(fs.clone()), written());
    let first = fill(&log, 3, 50);
    fs.arm(Fault::on(Operation::Append, Cause::Io).after_bytes(33));
    fs.arm(Fault::on(Operation::Truncate, Cause::Io));
    Sample::of(3, 50).append(&log).unwrap_err();
    let second = fill(&log, 1, 50);
    let len = |fs: &MemFs| fs.metadata(&path("000001.vlog")).unwrap().unwrap().len;
    assert!(len(&memory) > u64::from(end_of(&first[2].1).offset));
    log.seal_all().unwrap();
    assert_eq!(len(&memory), u64::from(end_of(&first[2].1).offset));
    drop(log);
    let log = open(&memory, written());
    assert_all(&log, &first);
    assert_all(&log, &second);
}

#[test]
fn a_full_disk_refuses_the_next_segment_and_clears_when_space_returns() {
    let (memory, fs) = faulty();
    let log = open_on(&|| Arc::new(fs.clone()), Options { segment_entries: 2, ..small() });
    let first = fill(&log, 2, 50);
    let fault = fs.arm(Fault::on(Operation::Create, Cause::NoSpace).at_suffix(".vlog").times(3));
    for _ in 0..3 {
        assert!(Sample::of(2, 50).append(&log).unwrap_err().is_no_space());
        assert_eq!(log.head(), end_of(&first[1].1));
    }
    assert_eq!(fs.hits(fault), 3);
    let second = fill(&log, 2, 50);
    assert!(second[0].1.segment.0 > 4, "an id whose segment failed is not used again");
    assert_eq!(names(&memory).iter().filter(|name| name.ends_with(".vlog")).count(), 2);
    log.seal_all().unwrap();
    drop(log);
    let log = open(&memory, small());
    assert_all(&log, &first);
    assert_all(&log, &second);
}

#[test]
fn what_is_left_of_a_segment_that_could_not_be_made_is_in_nobody_s_way() {
    let (memory, fs) = faulty();
    let log = open_on(&|| Arc::new(fs.clone()), Options { segment_entries: 2, ..small() });
    let first = fill(&log, 2, 50);
    fs.arm(Fault::on(Operation::Append, Cause::Io).after_bytes(50));
    fs.arm(Fault::on(Operation::Remove, Cause::Io));
    Sample::of(2, 50).append(&log).unwrap_err();
    assert!(names(&memory).contains(&"000002.vlog".to_owned()));
    let second = fill(&log, 2, 50);
    assert_eq!(second[0].1.segment.0, 3);
    let synced = log.sync().unwrap();
    let (log, recovery) = begin(&memory.crash_image(CrashMode::KeepAll, 1), small(), synced).unwrap();
    let reported: Vec<_> = recovery.torn_tails.iter().map(|torn| (&*torn.path, torn.dropped_bytes)).collect();
    assert_eq!(reported, [(&*path("000002.vlog"), 50)]);
    log.finish_recovery().unwrap();
    assert_all(&log, &first);
    assert_all(&log, &second);
    assert_eq!(log.remove_orphans().unwrap(), 1);
}

#[test]
fn a_seal_that_lacks_space_is_tried_again_and_appends_go_on_meanwhile() {
    for suffix in [".hint.tmp", "VLOG-MANIFEST.tmp"] {
        for operation in [Operation::Create, Operation::Append, Operation::Sync, Operation::Rename] {
            let (memory, fs) = faulty();
            let log = open_on(&|| Arc::new(fs.clone()), Options { segment_entries: 2, ..small() });
            let mut all = fill(&log, 3, 50);
            let fault = fs.arm(Fault::on(operation, Cause::NoSpace).at_suffix(suffix).times(2));
            for _ in 0..2 {
                assert!(log.seal_full().unwrap_err().is_no_space());
                all.extend(fill(&log, 1, 50));
            }
            assert_eq!(fs.hits(fault), 2, "{operation} of {suffix}");
            log.seal_all().unwrap();
            log.sync().unwrap();
            assert_all(&log, &all);
            drop(log);
            let (log, recovery) = begin(&memory, small(), ValueLogHead::default()).unwrap();
            assert_eq!(recovery, vlog::VlogRecovery::default(), "all is sealed");
            assert_all(&log, &all);
        }
    }
}

/// It was once listed before it was mapped: where that failed it was listed again by the next try, though it could have
/// been collected meanwhile, and its addresses were then in two files.
#[test]
fn a_segment_that_could_not_be_read_back_is_not_listed_until_it_can() {
    let (memory, fs) = faulty();
    let options = Options { io_mode: IoMode::Mapped, ..written() };
    let log = open_on(&|| Arc::new(fs.clone()), options.clone());
    let all = fill(&log, 5, 50);
    log.close_active();
    let dead: Vec<ValuePointer> = all.iter().skip(2).map(|(_, pointer)| *pointer).collect();
    log.mark_dead(&dead).unwrap();
    fs.arm(Fault::on(Operation::Map, Cause::Io).at_suffix(".vlog"));
    log.seal_full().unwrap_err();
    let id = all[0].1.segment;
    let early = log.collect(&[id], &CollectContext::unpaced());
    assert!(matches!(early, Err(Error::InvalidArgument(_))), "{early:?}");
    assert!(log.seal_full().unwrap());
    assert_eq!(log.collect(&[id], &CollectContext::unpaced()).unwrap().unwrap().records, 2);
    drop(log);
    assert_all(&open(&memory, options), &all[..2]);
}

#[test]
fn an_unreadable_segment_is_an_error_and_never_an_empty_value() {
    let (_, fs) = faulty();
    let log = open_on(&|| Arc::new(fs.clone()), written());
    let (sample, pointer) = fill(&log, 1, 50).remove(0);
    fs.arm(Fault::on(Operation::Read, Cause::Io).at_suffix(".vlog"));
    let error = log.segments().read(pointer).unwrap_err();
    let Error::Vfs(cause) = &error else { panic!("{error}") };
    assert_eq!((cause.path(), cause.offset()), (&*path("000001.vlog"), Some(u64::from(pointer.offset))));
    sample.assert_at(&log, pointer);
}

#[test]
fn an_open_that_the_system_refuses_says_so_and_changes_nothing() {
    let memory = MemFs::new(1);
    let log = open(&memory, Options { segment_entries: 2, ..written() });
    let all = fill(&log, 5, 50);
    log.seal_full().unwrap();
    drop(log);
    let files = memory.files();
    for operation in [Operation::Open, Operation::Read, Operation::List, Operation::Stat] {
        for cause in [Cause::TooManyFiles, Cause::AccessDenied, Cause::Io] {
            for nth in 1.. {
                let fs = FaultFs::over_memory(memory.clone(), FaultPlan::from(Fault::on(operation, cause).nth(nth)));
                match ValueLog::open(Arc::new(fs), DIR, written(), RecoveryInput::default()) {
                    Ok(_) => break,
                    Err(Error::Vfs(error)) => assert_eq!(error.operation(), operation),
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
    assert_eq!(memory.files(), files);
    assert_all(&open(&memory, written()), &all);
}

/// Appends, syncs, seals and kills as far as the file system lets it, and returns what was acknowledged.
fn work(fs: &FaultFs) -> (Vec<(Sample, ValuePointer)>, ValueLogHead, Vec<String>) {
    let mut acknowledged: Vec<(Sample, ValuePointer)> = Vec::new();
    let mut synced = ValueLogHead::default();
    let mut errors = Vec::new();
    let mut note = |result: Result<()>| {
        if let Err(error) = result {
            errors.push(error.to_string());
        }
    };
    let opened =
        ValueLog::open(Arc::new(fs.clone()), DIR, Options { segment_entries: 3, ..small() }, RecoveryInput::default());
    let log = match opened.and_then(|(log, _)| log.finish_recovery().map(|_| log)) {
        Ok(log) => log,
        Err(error) => return (acknowledged, synced, vec![error.to_string()]),
    };
    for number in 0..12 {
        let sample = Sample::of(number, 60);
        match sample.append(&log) {
            Ok(pointer) => acknowledged.push((sample, pointer)),
            Err(error) => note(Err(error)),
        }
        match number % 4 {
            // Late, so that the first seal finds a segment that nobody has synced.
            1 if number > 6 => note(log.sync().map(|_| ())),
            2 => note(log.seal_full().map(|_| ())),
            3 => {
                let dead: Vec<_> = acknowledged.first().map(|(_, pointer)| *pointer).into_iter().collect();
                note(log.prepare_deaths(number, &dead).and_then(|_| log.apply_deaths(&[number])));
            }
            _ => {}
        }
        synced = log.synced();
    }
    acknowledged.iter().for_each(|(sample, pointer)| sample.assert_at(&log, *pointer));
    (acknowledged, synced, errors)
}

#[test]
fn whichever_change_the_system_refuses_the_acknowledged_records_stay_and_the_synced_ones_survive() {
    for cause in [Cause::NoSpace, Cause::Io] {
        for forever in [false, true] {
            for nth in 1.. {
                let (memory, fs) = faulty();
                let fault = Fault::on_mutations(cause).nth(nth);
                let armed = fs.arm(if forever { fault.forever() } else { fault });
                let (acknowledged, synced, errors) = work(&fs);
                if fs.hits(armed) == 0 {
                    assert!(nth > 50 && errors.is_empty(), "{errors:?}");
                    break;
                }
                for crash in [CrashMode::KeepAll, CrashMode::DropUnsynced, CrashMode::Random] {
                    let (log, _) = begin(&memory.crash_image(crash, nth), small(), synced)
                        .unwrap_or_else(|error| panic!("{cause:?} at change {nth}, {crash:?}: {error}"));
                    log.finish_recovery().unwrap();
                    for (sample, pointer) in &acknowledged {
                        if crash == CrashMode::KeepAll || end_of(pointer) <= synced {
                            sample.assert_at(&log, *pointer);
                        }
                    }
                }
            }
        }
    }
    let _: PathBuf = path("");
}
