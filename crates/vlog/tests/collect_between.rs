//! What happens while a collection is at work, at each of its steps: nothing is lost, nothing comes back, and what died is
//! known to the byte.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::ValuePointer;
use support::{Address, Sample, address, all_dead, assert_all, collect, fill, kill, names, open, sealed};
use vfs::{CrashMode, MemFs};
use vlog::{CollectContext, CollectStep, Error, IoMode, Options, ValueLog};

/// Values so long that a few of them are a piece.
const VALUE_LEN: usize = 60_000;

fn options() -> Options {
    Options { segment_bytes: 1 << 20, segment_entries: 6, preallocate_bytes: 0, ..support::small() }
}

/// A point of a collection at which something else happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    Step(CollectStep),
    /// A piece was written, the first one or a later one.
    Piece(u64),
}

const POINTS: [Point; 7] = [
    Point::Step(CollectStep::Scan),
    Point::Step(CollectStep::Copy),
    Point::Piece(0),
    Point::Piece(1),
    Point::Piece(2),
    Point::Step(CollectStep::Sync),
    Point::Step(CollectStep::Commit),
];

/// Collects all that is sealed and does `then` at a point.
fn collect_and(log: &ValueLog, at: Point, then: &dyn Fn()) -> u64 {
    let (pieces, hits) = (Cell::new(0), Cell::new(0));
    let reached = |point| {
        if point == at {
            hits.set(hits.get() + 1);
            then();
        }
    };
    let pace = |bytes| {
        match bytes {
            0 => assert_eq!(pieces.get(), 0, "all is scanned before the first piece"),
            _ => reached(Point::Piece(pieces.replace(pieces.get() + 1))),
        }
        assert!(bytes == 0 || bytes >= 256 << 10);
        ControlFlow::Continue(())
    };
    let context = CollectContext { pace: &pace, step: &|step| reached(Point::Step(step)) };
    let collection = log.collect(&sealed(log), &context).unwrap().unwrap();
    assert_eq!(hits.get(), 1, "{at:?} comes once");
    collection.records
}

/// A log of four sealed segments in which every fourth record is dead.
fn log_of_four() -> (MemFs, ValueLog, Vec<(Sample, ValuePointer)>, BTreeSet<Address>) {
    let fs = MemFs::new(1);
    let log = open(&fs, options());
    let (dead, alive): (Vec<_>, Vec<_>) =
        fill(&log, 24, VALUE_LEN).into_iter().partition(|(sample, _)| sample.version % 4 == 0);
    log.seal_all().unwrap();
    let dead: Vec<ValuePointer> = dead.into_iter().map(|(_, pointer)| pointer).collect();
    kill(&log, 1, &dead);
    (fs, log, alive, dead.iter().map(address).collect())
}

#[test]
fn deaths_at_any_point_of_a_collection_are_known_exactly_after_it() {
    for at in POINTS {
        let (fs, log, alive, _) = log_of_four();
        // Prepared before, so that it names the old places; applied at the point.
        let before: Vec<ValuePointer> = alive.iter().step_by(5).map(|(_, pointer)| *pointer).collect();
        let during: Vec<ValuePointer> = alive.iter().skip(1).step_by(5).map(|(_, pointer)| *pointer).collect();
        let after: Vec<ValuePointer> = alive.iter().skip(2).step_by(5).map(|(_, pointer)| *pointer).collect();
        log.prepare_deaths(2, &before).unwrap();
        let died: BTreeSet<Address> = before.iter().chain(&during).map(address).collect();
        let records = collect_and(&log, at, &|| {
            log.apply_deaths(&[2]).unwrap();
            log.prepare_deaths(3, &after).unwrap();
            kill(&log, 4, &during);
            // Dead already, and so twice.
            log.mark_dead(&during).unwrap();
            let said: u64 = log.statistics().iter().map(|of| of.dead_records).sum();
            assert_eq!(said, 6 + died.len() as u64, "{at:?}");
        });
        let left_out = at == Point::Step(CollectStep::Scan);
        assert_eq!(records, if left_out { 18 - died.len() as u64 } else { 18 });
        let known = if left_out { BTreeSet::new() } else { died.clone() };
        assert_eq!(all_dead(&log), known, "{at:?}");
        // A list that waited names the records by their addresses, wherever they are.
        log.apply_deaths(&[2, 3, 3]).unwrap();
        let known: BTreeSet<Address> = known.into_iter().chain(after.iter().map(address)).collect();
        assert_eq!(all_dead(&log), known, "{at:?}");
        let of = &log.statistics()[0];
        assert_eq!(of.dead_bytes, known.len() as u64 * u64::from(before[0].len + 8));
        drop(log);
        let log = open(&fs.crash_image(CrashMode::DropUnsynced, 1), options());
        assert_eq!(all_dead(&log), known, "{at:?}");
        collect(&log, &sealed(&log));
        assert_eq!(all_dead(&log), BTreeSet::new());
        let alive: Vec<_> = alive
            .into_iter()
            .filter(|(_, pointer)| !known.contains(&address(pointer)) && !died.contains(&address(pointer)))
            .collect();
        assert_eq!(log.statistics()[0].records, alive.len() as u64);
        assert_all(&log, &alive);
    }
}

#[test]
fn all_that_is_copied_may_die_meanwhile() {
    let (fs, log, alive, _) = log_of_four();
    let all: Vec<ValuePointer> = alive.iter().map(|(_, pointer)| *pointer).collect();
    collect_and(&log, Point::Step(CollectStep::Commit), &|| kill(&log, 2, &all));
    assert_eq!((log.statistics()[0].records, log.statistics()[0].dead_records), (18, 18));
    drop(log);
    let log = open(&fs, options());
    assert_eq!(collect(&log, &sealed(&log)).segment, None);
    log.remove_released().unwrap();
    log.remove_orphans().unwrap();
    assert_eq!(names(&fs), ["VLOG-MANIFEST"]);
}

#[test]
fn appends_rolls_seals_and_reads_go_on_at_any_point_of_a_collection() {
    for (at, io_mode) in POINTS.into_iter().flat_map(|at| [(at, IoMode::Mapped), (at, IoMode::Pread)]) {
        let fs = MemFs::new(1);
        let options = Options { io_mode, segment_entries: 3, ..options() };
        let log = open(&fs, options.clone());
        let written = fill(&log, 24, VALUE_LEN);
        while log.seal_full().unwrap() {}
        let old = log.segments();
        let more = RefCell::new(Vec::new());
        collect_and(&log, at, &|| {
            // Another segment fills and is sealed, and a further one stays open.
            let fresh = fill(&log, 7, 50);
            assert!(log.seal_full().unwrap());
            log.sync().unwrap();
            assert_all(&log, &written);
            assert_all(&log, &fresh);
            more.replace(fresh);
        });
        let more = more.into_inner();
        for (sample, pointer) in &written {
            assert_eq!(old.read(*pointer).unwrap(), sample.value, "a set from before");
        }
        assert!(log.segments().is_newer_than(&old));
        assert_all(&log, &written);
        assert_all(&log, &more);
        assert_eq!(log.remove_released().unwrap(), 0);
        drop(old);
        assert!(log.remove_released().unwrap() > 0);
        let synced = log.sync().unwrap();
        drop(log);
        let image = fs.crash_image(CrashMode::DropUnsynced, 1);
        let (log, recovery) = support::begin(&image, options, synced).unwrap();
        assert_eq!(recovery.torn_tails, []);
        log.finish_recovery().unwrap();
        assert_all(&log, &written);
        assert_all(&log, &more);
    }
}

#[test]
fn a_collection_that_is_ended_at_any_piece_or_between_two_segments_has_changed_nothing() {
    for ended_at in 0..7 {
        let (fs, log, alive, dead) = log_of_four();
        let (before, statistics) = (names(&fs), log.statistics());
        let pieces = Cell::new(0);
        let pace = |bytes| {
            let piece = pieces.replace(pieces.get() + 1);
            assert_eq!(bytes == 0, piece < 4, "four segments, then pieces");
            if piece == ended_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let ended = log.collect(&sealed(&log), &CollectContext { pace: &pace, step: &|_| {} }).unwrap();
        assert_eq!((ended, pieces.get()), (None, ended_at + 1));
        assert_eq!((names(&fs), log.statistics(), all_dead(&log)), (before, statistics, dead));
        assert_eq!(log.remove_released().unwrap(), 0);
        assert_all(&log, &alive);
        assert_eq!(collect(&log, &sealed(&log)).records, 18);
        assert_all(&log, &alive);
    }
}

#[test]
fn a_second_collection_waits_and_finds_what_the_first_one_left() {
    let (_, log, alive, _) = log_of_four();
    let log = Arc::new(log);
    let first = sealed(&log);
    let (begun, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let second = {
        let (log, segments, begun, ended) =
            (Arc::clone(&log), first[..1].to_vec(), Arc::clone(&begun), Arc::clone(&ended));
        base::thread::spawn("second", move || {
            while !begun.load(Ordering::Acquire) {
                base::thread::yield_now();
            }
            let refused = log.collect(&segments, &CollectContext::unpaced());
            assert!(ended.load(Ordering::Acquire), "it waited for the first");
            refused
        })
        .unwrap()
    };
    let step = |step| match step {
        CollectStep::Scan => {
            begun.store(true, Ordering::Release);
            (0..1_000).for_each(|_| base::thread::yield_now());
        }
        CollectStep::Commit => ended.store(true, Ordering::Release),
        _ => {}
    };
    let context = CollectContext { pace: &|_| ControlFlow::Continue(()), step: &step };
    log.collect(&first, &context).unwrap().unwrap();
    let refused = second.join().unwrap();
    assert!(matches!(refused, Err(Error::InvalidArgument(_))), "its segment is there no more: {refused:?}");
    assert_all(&log, &alive);
}

/// Orphans were once looked for while a collection was at work, whose files nothing names yet.
#[test]
fn the_files_of_a_collection_at_work_are_not_orphans() {
    let (fs, log, alive, _) = log_of_four();
    let log = Arc::new(log);
    let remover = RefCell::new(None);
    let step = |step| {
        if step == CollectStep::Sync {
            let log = Arc::clone(&log);
            let spawned = base::thread::spawn("remover", move || log.remove_orphans().unwrap()).unwrap();
            remover.replace(Some(spawned));
            (0..1_000).for_each(|_| base::thread::yield_now());
        }
    };
    let context = CollectContext { pace: &|_| ControlFlow::Continue(()), step: &step };
    log.collect(&sealed(&log), &context).unwrap().unwrap();
    remover.take().unwrap().join().unwrap();
    assert_all(&log, &alive);
    drop(log);
    assert_all(&open(&fs, options()), &alive);
}
