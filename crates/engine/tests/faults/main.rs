//! One failing operation at a time, at every operation of a workload: full disk, device error, too many open files, lack
//! of permission. Each call then succeeds or gives a typed error that names a file; reads go on and are right; what was
//! acknowledged is there after a reopen, what was not is there whole or not at all; a full disk clears by itself, a
//! failed log or sync makes the store read-only with that cause; and no file is left that nothing names.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]
#![allow(clippy::disallowed_methods, reason = "two threads share the work")]

mod run;
mod workload;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::rng::Rng;
use base::show;
use engine::{Durability, ErrorKind};
use vfs::{Cause, Fault, FaultPlan, Operation, OperationRecord};

use run::{Outcome, Run, changes};
use workload::{Afterwards, Expected, Step, kind_of, steps};

/// Runs the jobs on two threads. A job that panics is named.
fn on_two_threads<J: Sync>(jobs: &[J], name: impl Fn(&J) -> String + Sync, work: impl Fn(&J) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(job))) {
                        println!("failed: {}", name(job));
                        resume_unwind(panic);
                    }
                }
            });
        }
    });
}

fn without_faults() -> Run {
    Run::new(true, Expected { kind: ErrorKind::Internal, health: Afterwards::Clears }, FaultPlan::none())
}

#[test]
fn the_workload_makes_every_kind_of_change() {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for record in changes(without_faults(), &steps()) {
        let name = record.path.file_name().unwrap().to_str().unwrap();
        let kind = name.trim_start_matches(|c: char| c.is_ascii_digit()).trim_end_matches(|c: char| c.is_ascii_digit());
        *kinds.entry(format!("{} {kind}", record.operation)).or_default() += 1;
    }
    for (kind, count) in &kinds {
        println!("{count:5} {kind}");
    }
    let expected = [
        "allocate space for .vlog", // a roll of the value log
        "allocate space for .wal",  // a log switch
        "append to .wal",           // a commit
        "append to .vlog",          // a large value
        "rename .sst.tmp",          // a flush or compaction
        "rename .hint.tmp",         // a seal
        "rename .deaths.tmp",       // values that die
        "rename .dead.tmp",         //
        "rename VLOG-MANIFEST.tmp", //
        "create .vlog.tmp",         // a collection
        "append to .vlog.tmp",      //
        "finish .vlog.tmp",         //
        "rename .vlog.tmp",         //
        "rename .map.tmp",          //
        "remove .map",              //
        "remove .vlog",             //
        "remove .hint",             //
        "remove .dead",             //
        "append to MANIFEST-",      // a version edit
        "rename CURRENT.tmp",       // a manifest rewrite
        "remove .wal",              //
        "remove .sst",              // a compaction
        "remove MANIFEST-",         //
        "remove .deaths",           //
        "truncate .wal",            // a recovery
        "truncate .vlog",           //
        "sync .wal",                //
        "sync .vlog",               //
        "finish .wal",              // a close
        "sync directory store",     //
        "sync directory vlog",      //
        "create directory store",   //
    ];
    let missing: Vec<_> = expected.into_iter().filter(|kind| !kinds.contains_key(*kind)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn values_of_commits_that_failed_are_dead_whatever_else_fails() {
    let os = Step::Commit(Durability::Os);
    let steps = [os, Step::Flush, os, os, Step::Flush, os, Step::Close];
    // The disk is full for a moment, so that a commit fails of which values are in the value log already.
    let half_commit = |nth| Fault::on(Operation::Append, Cause::NoSpace).at_suffix(".wal").nth(nth);
    let run = |nth, gives_up, expected, other: Option<Fault>| {
        let plan = std::iter::once(half_commit(nth)).chain(other).collect();
        Run::new(true, expected, plan).giving_up(gives_up)
    };
    let failed = Expected { kind: ErrorKind::NoSpace, health: Afterwards::Clears };
    let mut jobs = Vec::new();
    for (nth, gives_up) in (1..=12).flat_map(|nth| [(nth, false), (nth, true)]) {
        let records = changes(run(nth, gives_up, failed, None), &steps);
        jobs.extend(records.into_iter().map(|record| (nth, gives_up, record)));
    }
    show!("values of commits that failed: {} runs", jobs.len());
    on_two_threads(
        &jobs,
        |(nth, gives_up, record)| format!("append {nth} (gives up: {gives_up}), change {}: {record}", record.number),
        |(nth, gives_up, record)| {
            let other = Fault::on_mutations(Cause::NoSpace).nth(record.number);
            let mut expected = Expected::of(Cause::NoSpace, record);
            if record.operation == Operation::Remove && record.path.extension().is_some_and(|found| found == "wal") {
                // A log that could not be begun, and then not removed, is in the way of the next one.
                expected.health = Afterwards::Either;
            }
            run(*nth, *gives_up, expected, Some(other)).all(&steps);
        },
    );
}

#[test]
fn any_change_may_fail_once() {
    let records = changes(without_faults(), &steps());
    let mut jobs = Vec::new();
    for cause in [Cause::NoSpace, Cause::Io, Cause::TooManyFiles, Cause::AccessDenied] {
        jobs.extend(records.iter().map(|record| (cause, record)));
    }
    let totals = Mutex::new(Outcome::default());
    on_two_threads(
        &jobs,
        |(cause, record)| format!("{cause:?} at change {}: {record}", record.number),
        |(cause, record)| {
            let expected = Expected::of(*cause, record);
            let fault = Fault::on_mutations(*cause).nth(record.number);
            let outcome = Run::new(true, expected, fault.into()).all(&steps());
            let has_ended = outcome.read_only + outcome.at_the_ends > 0;
            assert!(expected.health != Afterwards::Final || has_ended, "{outcome:?}");
            totals.lock().unwrap().add(&outcome);
        },
    );
    let totals = totals.into_inner().unwrap();
    show!("one failing change: {} runs: {totals:?}", jobs.len());
    assert!(totals.errors > totals.read_only && totals.read_only > 0 && totals.jobs > 0);
    assert!(totals.collections > jobs.len() as u64, "{totals:?}");
}

#[test]
fn any_change_may_be_made_and_fail_all_the_same() {
    let records = changes(without_faults(), &steps());
    on_two_threads(
        &records,
        |record| format!("change {}: {record}", record.number),
        |record| {
            let expected = Expected { kind: ErrorKind::Io, health: Afterwards::Either };
            let fault = Fault::on_mutations(Cause::Io).nth(record.number).after_the_fact();
            Run::new(true, expected, fault.into()).all(&steps());
        },
    );
}

#[test]
fn any_append_may_be_torn() {
    let records = changes(without_faults(), &steps());
    let mut jobs = Vec::new();
    for cause in [Cause::NoSpace, Cause::Io] {
        for record in records.iter().filter(|record| record.operation == Operation::Append) {
            let len = record.len.unwrap();
            let is_temporary = record.path.extension().is_some_and(|found| found == "tmp");
            let landing = if is_temporary { vec![len / 2] } else { vec![1, len / 2, len - 1, len] };
            jobs.extend(landing.into_iter().map(|landing| (cause, record, landing)));
        }
    }
    on_two_threads(
        &jobs,
        |(cause, record, landing)| format!("{cause:?} at change {} after {landing} bytes: {record}", record.number),
        |(cause, record, landing)| {
            let fault = Fault::on_mutations(*cause).nth(record.number).after_bytes(*landing);
            Run::new(true, Expected::of(*cause, record), fault.into()).all(&steps());
        },
    );
}

#[test]
fn what_a_failed_sync_was_to_write_may_be_lost() {
    let records = changes(without_faults(), &steps());
    let is_sync = |record: &&OperationRecord| matches!(record.operation, Operation::Sync | Operation::Finish);
    let jobs: Vec<_> = records.iter().filter(is_sync).collect();
    on_two_threads(
        &jobs,
        |record| format!("change {}: {record}", record.number),
        |record| {
            let fault = Fault::on_mutations(Cause::Io).nth(record.number).losing_unsynced();
            Run::new(true, Expected::of(Cause::Io, record), fault.into()).all(&steps());
        },
    );
}

#[test]
fn any_read_or_look_may_fail() {
    let calls = without_faults();
    let fs = calls.fs.clone();
    calls.all(&steps());
    use Operation::{Entropy, List, Lock, Open, Read, Stat};
    let mut jobs = Vec::new();
    for operation in [Entropy, List, Lock, Open, Read, Stat] {
        println!("{:5} times {operation}", fs.count(operation));
        for cause in [Cause::Io, Cause::TooManyFiles, Cause::AccessDenied] {
            jobs.extend((1..=fs.count(operation)).map(|nth| (operation, cause, nth)));
        }
    }
    on_two_threads(
        &jobs,
        |(operation, cause, nth)| format!("{cause:?} at call {nth} to {operation}"),
        |(operation, cause, nth)| {
            let expected = Expected { kind: ErrorKind::Io, health: Afterwards::Clears };
            Run::new(true, expected, Fault::on(*operation, *cause).nth(*nth).into()).all(&steps());
        },
    );
}

#[test]
fn a_disk_may_be_full_for_a_time_from_any_change_on() {
    let records = changes(without_faults(), &steps());
    let mut jobs = Vec::new();
    for (full_for, spare_bytes) in [(1, 0), (4, 300), (2, 100_000)] {
        jobs.extend(records.iter().map(|record| (full_for, spare_bytes, record.number)));
    }
    let (refused, quiet) = (AtomicUsize::new(0), AtomicUsize::new(0));
    on_two_threads(
        &jobs,
        |(full_for, spare_bytes, number)| {
            format!("full from change {number} on, {spare_bytes} bytes, {full_for} errors")
        },
        |&(full_for, spare_bytes, from)| {
            let expected = Expected { kind: ErrorKind::NoSpace, health: Afterwards::Clears };
            let run = Run::new(true, expected, FaultPlan::none()).full_for(full_for);
            let memory = run.memory.clone();
            run.fs.on_mutation(move |record| {
                if record.number == from {
                    memory.set_capacity(memory.used_bytes() + spare_bytes);
                }
            });
            let outcome = run.all(&steps());
            let kind = if outcome.errors > 0 { &refused } else { &quiet };
            kind.fetch_add(1, Ordering::Relaxed);
        },
    );
    show!("full disk: {refused:?} of {} runs had refused calls", jobs.len());
    assert!(refused.into_inner() > quiet.into_inner());
}

#[test]
fn a_device_may_be_gone_from_any_change_on() {
    let records = changes(without_faults(), &steps());
    on_two_threads(
        &records,
        |record| format!("change {}: {record}", record.number),
        |record| {
            let expected = Expected { kind: ErrorKind::Io, health: Afterwards::Either };
            let fault = Fault::on_mutations(Cause::Io).nth(record.number).forever();
            let mut run = Run::new(true, expected, fault.into());
            run.until_it_fails(&steps());
            run.fs.disarm_all();
            run.check_power_loss(record.number);
            run.check_files();
        },
    );
}

#[test]
fn threads_may_meet_any_failure() {
    let seed = 11;
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    let jobs: Vec<_> = (0..300).map(|_| (1 + rng.below(900), rng.below(5))).collect();
    on_two_threads(
        &jobs,
        |(nth, cause)| format!("change {nth}, cause {cause}"),
        |&(nth, cause)| {
            let causes = [Cause::NoSpace, Cause::QuotaExceeded, Cause::Io, Cause::TooManyFiles, Cause::AccessDenied];
            let cause = causes[cause as usize];
            let expected = Expected { kind: kind_of(cause), health: Afterwards::Either };
            Run::new(false, expected, Fault::on_mutations(cause).nth(nth).into()).all(&steps());
        },
    );
}
