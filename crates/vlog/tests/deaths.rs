//! Deaths: announced, applied once however often, kept over every reopening.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::Arc;

use base::{SegmentId, ValuePointer};
use support::{DIR, begin_with, fill, names, open, path, small, written};
use vfs::{Cause, CrashMode, Fault, FaultFs, FaultPlan, MemFs, Operation, Vfs};
use vlog::{Error, Options, RecoveryInput, ValueLog};

fn dead_bytes(log: &ValueLog) -> u64 {
    log.statistics().iter().map(|of| of.dead_bytes).sum()
}

fn pointers(log: &ValueLog, count: u64) -> Vec<ValuePointer> {
    fill(log, count, 50).into_iter().map(|(_, pointer)| pointer).collect()
}

#[test]
fn a_prepared_death_kills_nothing_until_it_is_applied() {
    let fs = MemFs::new(1);
    let log = open(&fs, written());
    let all = pointers(&log, 5);
    log.prepare_deaths(8, &all[..2]).unwrap();
    assert_eq!((dead_bytes(&log), log.dead_set(SegmentId(1)).unwrap().records()), (0, 0));
    log.apply_deaths(&[8]).unwrap();
    let dead = log.dead_set(SegmentId(1)).unwrap();
    assert_eq!((dead.records(), dead.offsets()), (2, &[all[0].offset, all[1].offset][..]));
    assert_eq!(dead.bytes(), u64::from(all[0].len + all[1].len));
    assert_eq!(dead_bytes(&log), dead.bytes());
}

#[test]
fn applying_twice_or_again_after_a_reopen_changes_nothing() {
    let fs = MemFs::new(1);
    let log = open(&fs, small());
    let all = pointers(&log, 100);
    let dying: Vec<ValuePointer> = all.iter().step_by(3).copied().collect();
    // The same death in two tickets, and twice in one.
    let twice: Vec<ValuePointer> = dying.iter().chain(&dying[..5]).copied().collect();
    log.prepare_deaths(1, &twice).unwrap();
    log.prepare_deaths(2, &dying[3..]).unwrap();
    log.apply_deaths(&[1]).unwrap();
    let once = log.statistics();
    log.apply_deaths(&[1, 2]).unwrap();
    assert_eq!(log.statistics(), once);
    assert_eq!(dead_bytes(&log), dying.iter().map(|pointer| u64::from(pointer.len)).sum::<u64>());
    log.seal_all().unwrap();
    drop(log);
    let input = RecoveryInput { live_tickets: &[1, 2], ..RecoveryInput::default() };
    let (log, _) = begin_with(&fs, small(), input).unwrap();
    log.finish_recovery().unwrap();
    let count = |statistics: &[vlog::SegmentStatistics]| -> Vec<_> {
        statistics.iter().map(|of| (of.segment, of.records, of.dead_records, of.dead_bytes)).collect()
    };
    assert_eq!(count(&log.statistics()), count(&once));
}

#[test]
fn a_live_ticket_is_applied_at_open_and_one_that_is_not_is_dropped() {
    let fs = MemFs::new(1);
    let log = open(&fs, written());
    let all = pointers(&log, 5);
    log.prepare_deaths(1, &all[..1]).unwrap();
    log.prepare_deaths(2, &all[1..3]).unwrap();
    log.sync().unwrap();
    let image = fs.crash_image(CrashMode::DropUnsynced, 1);
    let input = RecoveryInput { live_tickets: &[1], ..RecoveryInput::default() };
    let (log, _) = begin_with(&image, written(), input).unwrap();
    log.finish_recovery().unwrap();
    assert_eq!(log.dead_set(SegmentId(1)).unwrap().offsets(), [all[0].offset]);
    log.remove_orphans().unwrap();
    assert!(names(&image).contains(&"000001.deaths".to_owned()));
    assert!(!names(&image).contains(&"000002.deaths".to_owned()));
    log.clear_deaths(&[1, 1, 44]).unwrap();
    assert!(!names(&image).contains(&"000001.deaths".to_owned()));
    let gone = log.apply_deaths(&[1]).unwrap_err();
    assert!(gone.is_corruption() && gone.to_string().contains("missing death list"), "{gone}");
}

#[test]
fn noted_deaths_count_at_once_and_are_written_once_when_they_are_settled() {
    let fs = MemFs::new(1);
    let log = open(&fs, written());
    let all = pointers(&log, 6);
    (1..=3).for_each(|ticket| {
        log.prepare_deaths(ticket, &all[ticket as usize..=ticket as usize]).unwrap();
        log.note_deaths(&[ticket]).unwrap();
    });
    let noted = log.dead_set(SegmentId(1)).unwrap();
    assert_eq!(noted.offsets(), [all[1], all[2], all[3]].map(|pointer| pointer.offset));
    assert_eq!(log.statistics()[0].dead_bytes, noted.bytes());
    assert_eq!(log.unsettled_segments(), 1);
    assert!(!names(&fs).contains(&"000001.dead".to_owned()));

    // Lost with the power before that, they are applied again: their tickets live.
    log.sync().unwrap();
    let image = fs.crash_image(CrashMode::DropUnsynced, 1);
    let input = RecoveryInput { live_tickets: &[1, 2, 3], ..RecoveryInput::default() };
    let (again, _) = begin_with(&image, written(), input).unwrap();
    again.finish_recovery().unwrap();
    assert_eq!(again.dead_set(SegmentId(1)).unwrap(), noted);

    log.settle_deaths().unwrap();
    assert_eq!(log.unsettled_segments(), 0);
    log.clear_deaths(&[1, 2, 3]).unwrap();
    let image = fs.crash_image(CrashMode::DropUnsynced, 1);
    let (again, _) = begin_with(&image, written(), RecoveryInput::default()).unwrap();
    again.finish_recovery().unwrap();
    assert_eq!(again.dead_set(SegmentId(1)).unwrap(), noted);

    fs.remove_file(&path("000001.dead")).unwrap();
    log.settle_deaths().unwrap();
    assert!(!names(&fs).contains(&"000001.dead".to_owned()), "nothing was left to settle");
}

/// Damages a file so that its checksum does not hold, or removes it.
fn spoil(fs: &MemFs, name: &str, remove: bool) {
    if remove {
        fs.remove_file(&path(name)).unwrap();
    } else {
        fs.edit(&path(name), |bytes| *bytes.last_mut().unwrap() ^= 1).unwrap();
    }
}

#[test]
fn a_dead_set_that_is_damaged_is_in_nobody_s_way_and_is_told() {
    for remove in [false, true] {
        let fs = MemFs::new(1);
        let log = open(&fs, Options { segment_entries: 5, ..written() });
        let all = pointers(&log, 15);
        log.seal_all().unwrap();
        support::kill(&log, 1, &all[..1]);
        spoil(&fs, "000001.dead", remove);
        let die = |ticket: u64, places: &[usize]| {
            let dying: Vec<_> = places.iter().map(|place| all[*place]).collect();
            log.prepare_deaths(ticket, &dying).unwrap();
            let damaged = log.note_deaths(&[ticket]).unwrap();
            damaged.into_iter().map(|of| (of.segment, of.cause.to_string())).collect::<Vec<_>>()
        };
        for (ticket, places) in [(2, [1, 2, 6, 11]), (3, [3, 4, 7, 12])] {
            let damaged = die(ticket, &places);
            assert!(
                matches!(&damaged[..], [(Some(SegmentId(1)), cause)] if cause.contains("000001.dead")),
                "{damaged:?}"
            );
        }
        // What was noted can be settled, and its tickets be cleared.
        log.settle_deaths().unwrap();
        log.clear_deaths(&[2, 3]).unwrap();
        for segment in [2, 3] {
            assert_eq!(log.dead_set(SegmentId(segment)).unwrap().records(), 2);
        }
        assert!(log.dead_set(SegmentId(1)).unwrap_err().is_corruption());
        assert!(log.pending_deaths().unwrap().is_empty());

        let forgotten = log.forget_damaged_deaths().unwrap();
        assert_eq!(forgotten.iter().map(|of| of.segment).collect::<Vec<_>>(), [Some(SegmentId(1))]);
        assert_eq!(log.dead_set(SegmentId(1)).unwrap().records(), 0);
        assert_eq!(log.statistics()[0].dead_records, 0);
        log.mark_dead(&all[..5]).unwrap();
        assert!(die(4, &[8]).is_empty());
        log.settle_deaths().unwrap();
        assert!(log.forget_damaged_deaths().unwrap().is_empty());
        drop(log);
        let log = open(&fs.crash_image(CrashMode::DropUnsynced, 1), written());
        assert_eq!(log.statistics().iter().map(|of| of.dead_records).collect::<Vec<_>>(), [5, 3, 2]);
    }
}

#[test]
fn a_death_list_that_is_damaged_keeps_no_other_from_being_noted() {
    for remove in [false, true] {
        let fs = MemFs::new(1);
        let log = open(&fs, written());
        let all = pointers(&log, 5);
        (1..=3).for_each(|ticket| {
            assert_eq!(log.prepare_deaths(ticket, &all[ticket as usize..=ticket as usize]).unwrap(), None)
        });
        spoil(&fs, "000002.deaths", remove);
        assert!(log.pending_deaths().unwrap_err().is_corruption());
        let damaged = log.note_deaths(&[1, 2, 3]).unwrap();
        assert!(
            matches!(&damaged[..], [one] if one.segment.is_none() && one.cause.to_string().contains("000002.deaths"))
        );
        assert_eq!(log.dead_set(SegmentId(1)).unwrap().offsets(), [all[1].offset, all[3].offset]);
        assert_eq!(log.pending_deaths().unwrap(), [all[1], all[3]]);
        log.settle_deaths().unwrap();
        log.clear_deaths(&[1, 2, 3]).unwrap();
        assert!(!names(&fs).iter().any(|name| name.ends_with(".deaths")));
    }
}

#[test]
fn a_log_with_damaged_deaths_opens_only_where_they_are_to_be_forgotten() {
    for (name, remove) in
        [("000001.dead", false), ("000001.dead", true), ("000002.deaths", false), ("000002.deaths", true)]
    {
        let fs = MemFs::new(1);
        let log = open(&fs, Options { segment_entries: 5, ..written() });
        let all = pointers(&log, 10);
        log.seal_all().unwrap();
        support::kill(&log, 1, &[all[0], all[5]]);
        log.prepare_deaths(2, &[all[6]]).unwrap();
        drop(log);
        spoil(&fs, name, remove);
        let input = RecoveryInput { live_tickets: &[2], must_exist: true, ..RecoveryInput::default() };
        let refused = begin_with(&fs, written(), input).and_then(|(log, _)| log.finish_recovery()).unwrap_err();
        assert!(refused.is_corruption() && refused.to_string().contains(name), "{refused}");

        let forgets = Options { forget_damaged_deaths: true, ..written() };
        let (log, recovery) = begin_with(&fs, forgets.clone(), input).unwrap();
        assert!(matches!(&recovery.forgotten_deaths[..], [one] if one.contains(name)), "{recovery:?}");
        log.finish_recovery().unwrap();
        let dead = [u64::from(name != "000001.dead"), 1 + u64::from(name == "000001.dead")];
        assert_eq!(log.statistics().iter().map(|of| of.dead_records).collect::<Vec<_>>(), dead);
        log.mark_dead(&[all[0], all[6]]).unwrap();
        log.settle_deaths().unwrap();
        log.clear_deaths(&[2]).unwrap();
        drop(log);
        let log = open(&fs, written());
        assert_eq!(log.statistics().iter().map(|of| of.dead_records).collect::<Vec<_>>(), [1, 2]);
        drop(log);
        let (_, recovery) = begin_with(&fs, forgets, RecoveryInput::default()).unwrap();
        assert!(recovery.forgotten_deaths.is_empty());
    }
}

/// Ten segments of which half dies: that is 40 bytes of memory each.
#[test]
fn noted_deaths_are_settled_before_they_take_more_memory_than_they_may() {
    let half = |all: &[ValuePointer]| all.iter().copied().step_by(2).collect::<Vec<_>>();
    let dead_sets = |log: &ValueLog| (1..=10).map(|id| log.dead_set(SegmentId(id)).unwrap()).collect::<Vec<_>>();
    let make = |unsettled_bytes_max| {
        let fs = MemFs::new(1);
        let log = open(&fs, Options { segment_entries: 20, unsettled_bytes_max, ..written() });
        let all = pointers(&log, 200);
        log.seal_all().unwrap();
        log.prepare_deaths(1, &half(&all)).unwrap();
        (fs, log)
    };
    let written_sets = |fs: &MemFs| names(fs).iter().filter(|name| name.ends_with(".dead")).count();
    let (roomy_fs, roomy) = make(1 << 20);
    roomy.note_deaths(&[1]).unwrap();
    assert_eq!((roomy.unsettled_segments(), written_sets(&roomy_fs)), (10, 0));
    let (fs, log) = make(100);
    log.note_deaths(&[1]).unwrap();
    assert_eq!((log.unsettled_segments(), written_sets(&fs)), (1, 9), "three at a time");
    assert_eq!(dead_sets(&log), dead_sets(&roomy));
    // Those of a list that is applied at once are durable just as soon.
    let (fs, log) = make(100);
    log.apply_deaths(&[1]).unwrap();
    log.clear_deaths(&[1]).unwrap();
    let again = open(&fs.crash_image(CrashMode::DropUnsynced, 1), written());
    assert_eq!(dead_sets(&again), dead_sets(&roomy));
}

/// A list that was written could once be longer than one that is read: the store did not open any more.
#[test]
fn a_list_that_would_be_too_long_to_be_read_is_refused_and_leaves_nothing() {
    for keys in [None, Some(support::keyring(1))] {
        let fs = MemFs::new(1);
        let options = || Options { whole_bytes_max: 400, keys: keys.clone(), ..written() };
        let log = open(&fs, options());
        let all = pointers(&log, 150);
        let (mut written, mut refused) = (0, 0);
        for count in 1..=all.len() {
            let ticket = count as u64;
            match log.prepare_deaths(ticket, &all[..count]) {
                Ok(lost) => {
                    assert_eq!(lost, None);
                    written += 1;
                }
                Err(Error::TooLong { path, bytes, bytes_max: 400 }) => {
                    assert!(path.ends_with(format!("{ticket:06}.deaths")) && bytes > 400);
                    assert!(!names(&fs).iter().any(|name| name.starts_with(&format!("{ticket:06}.deaths"))));
                    refused += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(written > 5 && refused > 5, "{written} written, {refused} refused");
        let tickets: Vec<u64> = (1..=written).collect();
        let input = RecoveryInput { live_tickets: &tickets, ..RecoveryInput::default() };
        let (again, _) = begin_with(&fs, options(), input).unwrap();
        again.finish_recovery().unwrap();
        assert_eq!(again.dead_set(SegmentId(1)).unwrap().records(), written);
    }
}

#[test]
fn what_a_repair_revives_of_noted_deaths_lives_and_the_rest_stays_dead() {
    let fs = MemFs::new(1);
    let log = open(&fs, written());
    let all = pointers(&log, 5);
    log.prepare_deaths(1, &all[..3]).unwrap();
    log.note_deaths(&[1]).unwrap();
    log.mark_alive(&all[1..2]).unwrap();
    log.settle_deaths().unwrap();
    drop(log);
    let log = open(&fs, written());
    assert_eq!(log.dead_set(SegmentId(1)).unwrap().offsets(), [all[0], all[2]].map(|pointer| pointer.offset));
}

#[test]
fn noted_deaths_of_segments_that_are_collected_are_never_written() {
    let fs = MemFs::new(1);
    let log = open(&fs, written());
    let all = pointers(&log, 5);
    log.seal_all().unwrap();
    log.prepare_deaths(1, &all).unwrap();
    log.note_deaths(&[1]).unwrap();
    let collection = support::collect(&log, &[SegmentId(1)]);
    assert_eq!((collection.records, collection.segment), (0, None));
    log.settle_deaths().unwrap();
    assert!(!names(&fs).iter().any(|name| name.ends_with(".dead")), "{:?}", names(&fs));
}

#[test]
fn deaths_in_a_segment_that_is_still_open_survive_its_seal() {
    let fs = MemFs::new(1);
    let log = open(&fs, written());
    let all = pointers(&log, 5);
    log.prepare_deaths(1, &all[..2]).unwrap();
    log.apply_deaths(&[1]).unwrap();
    log.seal_all().unwrap();
    log.prepare_deaths(2, &all[3..4]).unwrap();
    log.apply_deaths(&[2]).unwrap();
    assert_eq!(log.dead_set(SegmentId(1)).unwrap().records(), 3);
    drop(log);
    let log = open(&fs, written());
    assert_eq!(log.dead_set(SegmentId(1)).unwrap().offsets(), [all[0], all[1], all[3]].map(|pointer| pointer.offset));
    fs.remove_file(&path("000001.dead")).unwrap();
    let error = log.dead_set(SegmentId(1)).unwrap_err();
    assert!(error.to_string().contains("missing dead set"), "{error}");
}

#[test]
fn a_death_whose_record_was_lost_with_the_tail_is_forgotten() {
    let fs = MemFs::new(1);
    let log = open(&fs, written());
    let all = pointers(&log, 5);
    log.prepare_deaths(1, &[all[1], all[4]]).unwrap();
    log.apply_deaths(&[1]).unwrap();
    drop(log);
    fs.edit(&path("000001.vlog"), |bytes| bytes.truncate(all[4].offset as usize + 3)).unwrap();
    let (log, recovery) =
        begin_with(&fs, written(), RecoveryInput { live_tickets: &[], ..RecoveryInput::default() }).unwrap();
    assert_eq!(recovery.torn_tails.len(), 1);
    log.finish_recovery().unwrap();
    let dead = log.dead_set(SegmentId(1)).unwrap();
    assert_eq!((dead.offsets(), dead.bytes()), (&[all[1].offset][..], u64::from(all[1].len)));
    assert_eq!(log.statistics()[0].dead_records, 1);
}

#[test]
fn a_death_of_what_is_not_there_is_told_and_left_out() {
    let log = open(&MemFs::new(1), written());
    let good = pointers(&log, 1)[0];
    let elsewhere = ValuePointer { segment: SegmentId(5), ..good };
    let behind = ValuePointer { offset: good.offset + good.len, ..good };
    assert_eq!(log.prepare_deaths(1, &[good]).unwrap(), None);
    let lost = log.prepare_deaths(1, &[elsewhere, good, behind]).unwrap().unwrap();
    assert_eq!((lost.path, lost.offset), (path("000005.vlog"), u64::from(good.offset)));
    assert_eq!(log.pending_deaths().unwrap(), [good]);
}

#[test]
fn a_death_of_a_segment_that_was_collected_since_is_no_error() {
    let fs = MemFs::new(1);
    let log = open(&fs, Options { segment_entries: 1, ..written() });
    let all = pointers(&log, 2);
    log.prepare_deaths(1, &all).unwrap();
    drop(log);
    // The first segment vanishes while nothing says that it had been synced.
    fs.remove_file(&path("000001.vlog")).unwrap();
    let input = RecoveryInput { live_tickets: &[1], ..RecoveryInput::default() };
    let (log, _) = begin_with(&fs, written(), input).unwrap();
    log.finish_recovery().unwrap();
    assert_eq!(log.dead_set(SegmentId(2)).unwrap().records(), 1);
    assert!(log.dead_set(SegmentId(1)).unwrap_err().is_corruption());
}

/// Deaths were once taken for durable because they stood in the dead set already, where a try that failed behind it, or
/// a run that was killed there, had left them: a power loss brought the dead back.
#[test]
fn deaths_that_were_written_and_not_made_durable_are_so_after_the_next_try() {
    let operations =
        [(Operation::SyncDir, DIR), (Operation::Rename, "VLOG-MANIFEST.tmp"), (Operation::Sync, ".dead.tmp")];
    for (operation, suffix) in operations {
        for reopened in [false, true] {
            let memory = MemFs::new(1);
            let fs = FaultFs::over_memory(memory.clone(), FaultPlan::none());
            let (log, _) = ValueLog::open(Arc::new(fs.clone()), DIR, written(), RecoveryInput::default()).unwrap();
            log.finish_recovery().unwrap();
            let all = pointers(&log, 5);
            log.seal_all().unwrap();
            log.prepare_deaths(1, &all[1..3]).unwrap();
            let fault = fs.arm(Fault::on(operation, Cause::Io).at_suffix(suffix));
            log.apply_deaths(&[1]).unwrap_err();
            assert_eq!(fs.hits(fault), 1);
            let image = if reopened {
                drop(log);
                let killed = memory.crash_image(CrashMode::KeepAll, 1);
                let input = RecoveryInput { live_tickets: &[1], must_exist: true, ..RecoveryInput::default() };
                let (log, _) = begin_with(&killed, written(), input).unwrap();
                log.finish_recovery().unwrap();
                killed.crash_image(CrashMode::DropUnsynced, 1)
            } else {
                log.apply_deaths(&[1]).unwrap();
                assert_eq!((log.statistics()[0].dead_records, dead_bytes(&log)), (2, 2 * u64::from(all[1].len)));
                memory.crash_image(CrashMode::DropUnsynced, 1)
            };
            let log = open(&image, written());
            assert_eq!(log.dead_set(SegmentId(1)).unwrap().offsets(), [all[1].offset, all[2].offset]);
            // The manifest knows of the dead set.
            image.remove_file(&path("000001.dead")).unwrap();
            let missing = begin_with(&image, written(), RecoveryInput::default()).unwrap_err();
            assert!(missing.to_string().contains("missing dead set"), "{missing}");
        }
    }
}
