//! Collections: addresses stay, garbage goes, and nobody notices.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use base::ValuePointer;
use support::{DIR, Sample, assert_all, collect, fill, kill, names, open, path, sealed, small};
use vfs::{Cause, Fault, FaultFs, FaultPlan, MemFs, Operation};
use vlog::{Options, RecoveryInput, ValueLog};

/// Splits what was written into what dies and what lives.
fn split(written: Vec<(Sample, ValuePointer)>, every: u64) -> (Vec<ValuePointer>, Vec<(Sample, ValuePointer)>) {
    let (dead, alive): (Vec<_>, Vec<_>) = written.into_iter().partition(|(sample, _)| sample.version % every != 0);
    (dead.into_iter().map(|(_, pointer)| pointer).collect(), alive)
}

#[test]
fn what_lives_is_read_at_its_address_after_any_number_of_collections_and_reopens() {
    for io_mode in [vlog::IoMode::Mapped, vlog::IoMode::Pread] {
        let fs = MemFs::new(1);
        let options = Options { io_mode, ..small() };
        let mut log = open(&fs, options.clone());
        let mut alive = fill(&log, 200, 100);
        log.seal_all().unwrap();
        for round in 2..6 {
            let (dead, left) = split(alive, round);
            kill(&log, round, &dead);
            assert_all(&log, &left);
            let expected: u64 = log.statistics().iter().map(|of| of.moved_bytes()).sum();
            let collection = collect(&log, &sealed(&log));
            assert_eq!(collection.bytes_written, vlog::HEADER_LEN as u64 + expected);
            assert_eq!(collection.records, left.len() as u64);
            assert_eq!(log.remove_released().unwrap(), if round == 2 { 10 } else { 1 });
            assert_eq!(log.statistics().len(), 1);
            assert_all(&log, &left);
            drop(log);
            log = open(&fs, options.clone());
            log.remove_orphans().unwrap();
            assert_all(&log, &left);
            assert_eq!(names(&fs).len(), 4, "{:?}", names(&fs));
            for pointer in dead {
                assert!(log.segments().read(pointer).unwrap_err().is_corruption());
            }
            alive = left;
        }
    }
}

#[test]
fn segments_in_which_all_is_dead_go_without_being_read() {
    let fs = MemFs::new(1);
    let faults = FaultFs::over_memory(fs.clone(), FaultPlan::none());
    // Every read of a file that is not mapped is a call.
    let options = Options { io_mode: vlog::IoMode::Pread, ..small() };
    let (log, _) = ValueLog::open(Arc::new(faults.clone()), DIR, options, RecoveryInput::default()).unwrap();
    log.finish_recovery().unwrap();
    let written = fill(&log, 60, 100);
    log.seal_all().unwrap();
    let all: Vec<ValuePointer> = written.into_iter().map(|(_, pointer)| pointer).collect();
    kill(&log, 1, &all);
    // Dead sets are read; records and hint files are not.
    let is_read = |operation| {
        let of_records = |path: &Path| path.extension().is_some_and(|found| found == "vlog" || found == "hint");
        faults.arm(Fault::on(operation, Cause::Io).at_path(of_records))
    };
    let reads = [Operation::Open, Operation::Read, Operation::Map].map(is_read);
    let collection = collect(&log, &sealed(&log));
    assert_eq!((collection.segment, collection.bytes_written), (None, 0));
    assert_eq!(log.remove_released().unwrap(), 3);
    assert_eq!(reads.map(|read| faults.hits(read)), [0; 3], "files that were opened, read, mapped");
    assert_eq!(names(&fs), ["VLOG-MANIFEST"]);
}

#[test]
fn a_set_that_is_held_reads_on_and_the_files_go_when_it_does() {
    let fs = MemFs::new(1);
    let log = open(&fs, small());
    let written = fill(&log, 40, 100);
    log.seal_all().unwrap();
    let (dead, left) = split(written.clone(), 4);
    let held = log.segments();
    kill(&log, 1, &dead);
    let replaced = collect(&log, &sealed(&log)).bytes_replaced;
    assert_eq!(log.remove_released().unwrap(), 0);
    assert_eq!((log.retired_segments(), log.released_segments()), ((2, replaced), (0, 0)));
    for (sample, pointer) in &written {
        assert_eq!(held.read(*pointer).unwrap(), sample.value);
    }
    drop(held);
    assert_eq!((log.retired_segments(), log.released_segments()), ((2, replaced), (2, replaced)));
    assert_eq!(log.remove_released().unwrap(), 2);
    assert_eq!((log.retired_segments(), log.released_segments()), ((0, 0), (0, 0)));
    assert_all(&log, &left);
}

/// Whatever the number of rounds, there are as many files as segments with something in them, and maps and dead sets are as
/// long as the records are many that they speak of.
#[test]
fn what_is_kept_to_find_records_is_bounded_by_those_that_live() {
    let fs = MemFs::volatile(1);
    let log = open(&fs, small());
    let mut alive: Vec<(Sample, ValuePointer)> = fill(&log, 120, 100);
    let (mut files, mut bytes) = (0, 0);
    for round in 0..60 {
        // Every key is overwritten but for a few that stay as they are.
        let (old, kept): (Vec<_>, Vec<_>) =
            alive.into_iter().partition(|(sample, _)| (sample.version + round) % 12 != 0);
        alive = kept;
        alive.extend(old.iter().map(|(sample, _)| {
            let again = Sample::of(sample.version, 100);
            let pointer = again.append(&log).unwrap();
            (again, pointer)
        }));
        kill(&log, round, &old.iter().map(|(_, pointer)| *pointer).collect::<Vec<_>>());
        log.seal_all().unwrap();
        // Of what was collected before a part dies only; it goes on to be collected with what is new.
        collect(&log, &sealed(&log));
        log.remove_released().unwrap();
        assert_all(&log, &alive);
        let now = (names(&fs).len(), fs.used_bytes());
        if round == 5 {
            (files, bytes) = now;
        }
        if round > 5 {
            assert!(now.0 <= files && now.1 <= bytes + bytes / 8, "round {round}: {now:?} after {:?}", (files, bytes));
        }
    }
    let len_of = |kind: &str| {
        let name = names(&fs).into_iter().find(|name| name.ends_with(kind)).unwrap();
        fs.read(&path(&name)).unwrap().len()
    };
    assert_eq!(names(&fs).len(), 4);
    let origins: BTreeSet<_> = alive.iter().map(|(_, pointer)| pointer.segment).collect();
    assert_eq!(len_of(".map"), 112 + origins.len() * 8 + alive.len() * 8 + 4);
    assert!(len_of("MANIFEST") < 112 + 4 + 16 + 42 + 3 * 20 + origins.len() * 4 + 4);
}
