//! Appends, cuts, syncs and reads that fail: what was acknowledged stays, nothing goes behind a torn record, and a failed
//! sync is never tried again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::Arc;
use std::sync::mpsc::channel;

use support::*;
use vfs::{Cause, CrashMode, Fault, FaultFs, FaultPlan, MemFs, Operation, Vfs};
use wal::{EndKind, Error, LogReader, LogWriter, RecoveryMode, WriterOptions};

fn faulty(seed: u64) -> (MemFs, FaultFs, Arc<dyn Vfs>) {
    let mem = MemFs::new(seed);
    let faults = FaultFs::over_memory(mem.clone(), FaultPlan::none());
    let fs: Arc<dyn Vfs> = Arc::new(faults.clone());
    fs.create_dir_all(std::path::Path::new("/store")).unwrap();
    (mem, faults, fs)
}

fn image(mem: &MemFs, mode: CrashMode, seed: u64) -> Arc<dyn Vfs> {
    Arc::new(mem.crash_image(mode, seed))
}

fn payloads(fs: &Arc<dyn Vfs>, mode: RecoveryMode) -> Vec<Vec<u8>> {
    read(fs, mode).unwrap().records.into_iter().map(|record| record.payload).collect()
}

#[test]
fn a_short_append_is_cut_away_whatever_part_of_it_landed() {
    let long = vec![7; 400_000];
    let short = vec![8; 300];
    let cases = (0..=314u64).map(|landed| (&short, 1, landed, WRITTEN));
    let mapped = [0, 1, 100, 313].map(|landed| (&short, 1, landed, MAPPED));
    let later = [0u64, 5, 32_768, 100_000].into_iter().flat_map(|landed| (1..=3).map(move |nth| (nth, landed)));
    let later = later.map(|(nth, landed)| (&long, nth, landed, WRITTEN));
    for (payload, nth, landed, options) in cases.chain(mapped).chain(later) {
        let (_, faults, fs) = faulty(1);
        let mut writer = create(&fs, options);
        writer.append(head(0, 0), &[b"acknowledged"]).unwrap();
        faults.arm(Fault::on(Operation::Append, Cause::NoSpace).nth(nth).after_bytes(landed));

        let before = writer.len();
        let failed = writer.append(head(0, 0), &[payload]);
        assert!(matches!(&failed, Err(Error::Vfs(error)) if error.is_no_space()), "{failed:?}");
        assert_eq!(writer.len(), before);
        for _ in 0..2 {
            let refused = writer.append(head(0, 0), &[b"behind a torn record"]);
            assert!(matches!(refused, Err(Error::Damaged { path: at }) if at == path()));
        }
        assert_eq!(payloads(&fs, RecoveryMode::Default)[0], b"acknowledged");

        writer.cut_to_last_record().unwrap();
        assert_eq!(payloads(&fs, RecoveryMode::AbsoluteConsistency), [b"acknowledged"]);
        writer.append(head(0, 0), &[b"goes on"]).unwrap();
        writer.close().unwrap();
        let back = read(&fs, RecoveryMode::AbsoluteConsistency).unwrap();
        assert_eq!(back.payloads(), [&b"acknowledged"[..], b"goes on"]);
        assert_eq!(back.end.kind, EndKind::Closed);
    }
}

#[test]
fn a_damaged_writer_does_not_close() {
    let (_, faults, fs) = faulty(2);
    let mut writer = create(&fs, WRITTEN);
    faults.arm(Fault::on(Operation::Append, Cause::NoSpace).after_bytes(20));
    writer.append(head(0, 0), &[&[1; 50]]).unwrap_err();
    assert!(matches!(writer.close(), Err(Error::Damaged { .. })));
    assert!(matches!(read(&fs, RecoveryMode::Default).unwrap().end.kind, EndKind::Torn(_)));
}

#[test]
fn a_log_that_ended_takes_nothing_more_and_is_closed_later() {
    let (mem, faults, fs) = faulty(9);
    let mut writer = create(&fs, WRITTEN);
    fs.sync_dir(std::path::Path::new("/store")).unwrap();
    writer.append(head(0, 0), &[b"last"]).unwrap();
    let syncs = faults.count(Operation::Sync);
    writer.end().unwrap();
    assert_eq!(faults.count(Operation::Sync), syncs, "ending a log waits for no sync");
    let ended = bytes_of(&fs);
    assert!(matches!(writer.append(head(0, 0), &[b"x"]), Err(Error::Ended { path: at }) if at == path()));
    assert!(matches!(writer.end(), Err(Error::Ended { .. })));
    assert_eq!(bytes_of(&fs), ended);
    let killed = read(&image(&mem, CrashMode::KeepAll, 1), RecoveryMode::AbsoluteConsistency).unwrap();
    assert_eq!((killed.payloads(), killed.end.kind), (vec![&b"last"[..]], EndKind::Closed));
    assert_eq!(killed.highest.log, 0, "nothing is proven yet");

    let len = writer.len();
    writer.close().unwrap();
    let closed = read(&image(&mem, CrashMode::DropUnsynced, 1), RecoveryMode::AbsoluteConsistency).unwrap();
    assert_eq!((closed.payloads(), closed.end.kind), (vec![&b"last"[..]], EndKind::Closed));
    assert_eq!(closed.highest.log, len, "the second closing record proves the first");
}

#[test]
fn a_disk_too_full_for_the_proof_closes_the_log_without_it() {
    let (mem, faults, fs) = faulty(10);
    let mut writer = create(&fs, WRITTEN);
    fs.sync_dir(std::path::Path::new("/store")).unwrap();
    writer.append(head(0, 0), &[b"last"]).unwrap();
    faults.arm(Fault::on(Operation::Append, Cause::NoSpace).nth(2).after_bytes(5));
    writer.close().unwrap();
    let closed = read(&image(&mem, CrashMode::DropUnsynced, 1), RecoveryMode::AbsoluteConsistency).unwrap();
    assert_eq!((closed.payloads(), closed.end.kind), (vec![&b"last"[..]], EndKind::Closed));
}

#[test]
fn a_cut_that_fails_can_be_tried_again() {
    let (_, faults, fs) = faulty(3);
    let mut writer = create(&fs, WRITTEN);
    faults.arm(Fault::on(Operation::Append, Cause::QuotaExceeded).after_bytes(20));
    faults.arm(Fault::on(Operation::Truncate, Cause::Io));
    writer.append(head(0, 0), &[&[1; 50]]).unwrap_err();
    writer.cut_to_last_record().unwrap_err();
    assert!(matches!(writer.append(head(0, 0), &[b"x"]), Err(Error::Damaged { .. })));
    writer.cut_to_last_record().unwrap();
    writer.append(head(0, 0), &[b"x"]).unwrap();
    assert_eq!(payloads(&fs, RecoveryMode::AbsoluteConsistency), [b"x"]);
}

#[test]
fn a_record_that_was_cut_away_never_comes_back_in_place_of_the_next() {
    let mut seen_without_next = 0;
    for seed in 0..600 {
        let (mem, faults, fs) = faulty(seed);
        let mut writer = create(&fs, if seed % 2 == 0 { WRITTEN } else { MAPPED });
        fs.sync_dir(std::path::Path::new("/store")).unwrap();
        writer.append(head(0, 0), &[&[1; 5_000]]).unwrap();
        // All of it lands, and yet it fails.
        faults.arm(Fault::on(Operation::Append, Cause::NoSpace).after_the_fact());
        writer.append(head(0, 0), &[&[2; 3_000]]).unwrap_err();
        writer.cut_to_last_record().unwrap();
        let next = [vec![3; 3_000], vec![4; 6_000]];
        for payload in &next {
            writer.append(head(0, 0), &[payload]).unwrap();
        }
        for mode in [CrashMode::Random, CrashMode::Prefix, CrashMode::DropUnsynced, CrashMode::KeepNames] {
            let found = payloads(&image(&mem, mode, seed), RecoveryMode::Default);
            let expected = [vec![1; 5_000], next[0].clone(), next[1].clone()];
            assert!(!found.is_empty(), "seed {seed} {mode:?}: the cut synced what was whole");
            assert!(expected.starts_with(&found), "seed {seed} {mode:?}");
            seen_without_next += usize::from(found.len() == 1);
        }
    }
    assert!(seen_without_next > 100, "{seen_without_next}");
}

#[test]
fn a_failed_sync_is_told_to_everyone_and_never_tried_again() {
    let (mem, faults, fs) = faulty(4);
    let mut writer = create(&fs, WRITTEN);
    fs.sync_dir(std::path::Path::new("/store")).unwrap();
    let (sync, other) = (writer.sync_handle(), writer.sync_handle());
    writer.append(head(0, 0), &[b"durable"]).unwrap();
    let durable = sync.sync().unwrap();
    writer.append(head(0, 0), &[b"lost"]).unwrap();
    faults.arm(Fault::on(Operation::Sync, Cause::Io).losing_unsynced());
    let told = |result: Result<u64, Error>| match result {
        Err(Error::Vfs(error)) => {
            assert_eq!((error.operation(), error.io().raw_os_error()), (Operation::Sync, Some(5)));
            assert_eq!(error.path(), path());
        }
        other => panic!("{other:?}"),
    };
    told(sync.sync());
    let tried = faults.count(Operation::Sync);
    told(sync.sync());
    told(other.sync());
    told(writer.append(head(0, 0), &[b"behind what was lost"]));
    told(writer.cut_to_last_record().map(|()| 0));
    told(writer.close().map(|()| 0));
    assert_eq!(faults.count(Operation::Sync), tried, "no sync was tried after the one that failed");
    assert_eq!((sync.synced(), other.synced()), (durable, durable));
    for seed in 0..20 {
        assert_eq!(payloads(&image(&mem, CrashMode::Random, seed), RecoveryMode::Default), [b"durable"]);
    }
}

#[test]
fn a_sync_claims_only_what_was_appended_before_it_started() {
    let (_, faults, fs) = faulty(5);
    let mut writer = create(&fs, WRITTEN);
    let sync = writer.sync_handle();
    let before = writer.append(head(0, 0), &[b"before"]).unwrap();

    let (started, wait_started) = channel();
    let (go_on, wait_go_on) = channel();
    let wait_go_on = base::sync::Mutex::new(wait_go_on);
    faults.on_mutation(move |record| {
        if record.operation == Operation::Sync {
            started.send(()).unwrap();
            wait_go_on.lock().recv().unwrap();
        }
    });
    let syncing = base::thread::spawn("sync", move || sync.sync().unwrap()).unwrap();
    wait_started.recv().unwrap();
    faults.clear_hook();
    let during = writer.append(head(0, 0), &[b"during"]).unwrap();
    go_on.send(()).unwrap();
    assert_eq!(syncing.join().unwrap(), before);

    let sync = writer.sync_handle();
    assert_eq!(sync.synced(), before);
    writer.append(head(0, 0), &[b"after"]).unwrap();
    assert_eq!(sync.sync().unwrap(), writer.len());
    let claims: Vec<u64> =
        read(&fs, RecoveryMode::Default).unwrap().records.iter().map(|record| record.synced.log).collect();
    assert_eq!(claims, [0, 0, before]);
    assert!(before < during);
}

#[test]
fn a_sync_with_nothing_new_costs_no_call() {
    let (_, faults, fs) = faulty(6);
    let mut writer = create(&fs, WRITTEN);
    let sync = writer.sync_handle();
    writer.append(head(0, 0), &[b"x"]).unwrap();
    sync.sync().unwrap();
    let calls = faults.count(Operation::Sync);
    for _ in 0..10 {
        assert_eq!(sync.sync().unwrap(), writer.len());
    }
    assert_eq!(faults.count(Operation::Sync), calls);
}

#[test]
fn a_log_that_cannot_be_created_leaves_no_file() {
    let (mem, faults, fs) = faulty(7);
    let create = || LogWriter::create(&fs, &path(), header(), WRITTEN, None);
    for fault in [
        Fault::on(Operation::Entropy, Cause::Io),
        Fault::on(Operation::Create, Cause::AccessDenied),
        Fault::on(Operation::Append, Cause::NoSpace),
        Fault::on(Operation::Append, Cause::NoSpace).after_bytes(60),
    ] {
        let id = faults.arm(fault);
        assert!(matches!(create(), Err(Error::Vfs(_))));
        assert_eq!(faults.hits(id), 1);
        assert_eq!(mem.files(), [] as [std::path::PathBuf; 0]);
    }
    create().unwrap();
    assert!(matches!(create(), Err(Error::Vfs(error)) if error.operation() == Operation::Create));
}

#[test]
fn a_read_that_fails_is_an_error_in_every_mode_and_can_be_tried_again() {
    let written = write(8, &[400_000, 30, 300_000, 7], After::NeverSync, true);
    for mode in [RecoveryMode::Default, RecoveryMode::PointInTime, RecoveryMode::SkipCorrupt] {
        for nth in 1..=4 {
            let fs = store_with(&written.bytes);
            let faults = FaultFs::new(fs, Fault::on(Operation::Read, Cause::Io).nth(nth).into());
            let fs: Arc<dyn Vfs> = Arc::new(faults);
            let open = || LogReader::open(&fs, &path(), EXPECT, mode, None);
            let mut reader = match open() {
                Ok(reader) => reader,
                Err(error) => {
                    assert!(matches!(error, Error::Vfs(_)) && nth == 1, "{error}");
                    open().unwrap()
                }
            };
            let mut failures = 0;
            let mut found = Vec::new();
            loop {
                match reader.next_record() {
                    Ok(Some(record)) => found.push(record.payload.to_vec()),
                    Ok(None) => break,
                    Err(error) => {
                        assert!(matches!(error, Error::Vfs(_)), "{error}");
                        failures += 1;
                    }
                }
            }
            assert_eq!(found, written.payloads);
            assert_eq!(reader.end().unwrap().kind, EndKind::Closed);
            assert_eq!(failures, usize::from(nth > 1 && nth <= 3), "read {nth}");
        }
    }
}

/// Appends, syncs and closes until something fails; returns what was acknowledged and what was durable.
fn run_until_failure(fs: &Arc<dyn Vfs>, options: WriterOptions) -> (usize, usize) {
    let (mut acknowledged, mut durable) = (0, 0);
    let mut run = || {
        let mut writer = LogWriter::create(fs, &path(), header(), options, None)?;
        fs.sync_dir(std::path::Path::new("/store"))?;
        for index in 0..6u8 {
            writer.append(head(0, 0), &[&vec![index; 200_000 / (usize::from(index) + 1)]])?;
            acknowledged += 1;
            if index % 2 == 1 {
                writer.sync_handle().sync()?;
                durable = acknowledged;
            }
        }
        writer.close()
    };
    let finished = run().is_ok();
    (acknowledged, if finished { acknowledged } else { durable })
}

#[test]
fn whichever_change_fails_first_and_for_good_what_was_acknowledged_survives() {
    for options in [WRITTEN, MAPPED] {
        for cause in [Cause::Io, Cause::NoSpace] {
            for nth in 1.. {
                let (mem, faults, fs) = faulty(nth);
                let fault = faults.arm(Fault::on_mutations(cause).nth(nth).forever());
                let (acknowledged, durable) = run_until_failure(&fs, options);
                for (mode, at_least) in [(CrashMode::KeepAll, acknowledged), (CrashMode::Random, durable)] {
                    let image = image(&mem, mode, nth);
                    if image.metadata(&path()).unwrap().is_none() {
                        assert_eq!(at_least, 0);
                        continue;
                    }
                    let found = payloads(&image, RecoveryMode::Default);
                    assert!(found.len() >= at_least, "{options:?} {cause:?} {nth} {mode:?}");
                    assert!((0u8..).zip(&found).all(|(index, payload)| payload[..] == vec![index; payload.len()][..]));
                }
                if faults.hits(fault) == 0 {
                    assert!(nth > 10, "the script makes {nth} changes");
                    break;
                }
            }
        }
    }
}
