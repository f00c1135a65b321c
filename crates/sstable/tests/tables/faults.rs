//! Tables on a file system that fails, and after a power loss.

use std::sync::Arc;

use base::{Cursor, InternalKeyRef, key_hash};
use sstable::{BlockCache, CursorOptions, Error, IoMode, ReadOptions, TableBuilder};
use vfs::{Cause, CrashMode, Fault, FaultFs, FaultPlan, MemFs, Operation};

use crate::fixture::{self, STORE};

#[test]
fn a_build_that_fails_anywhere_leaves_no_table_and_no_file() {
    let entries = fixture::numbered(8_000);
    let mut failures = 0;
    for nth in 1.. {
        let memory = fixture::memory();
        let faults = FaultFs::over_memory(memory.clone(), FaultPlan::none());
        let vfs = fixture::shared(faults.clone());
        // The clean-up's removal is let through.
        faults.arm(Fault::on_mutations(Cause::NoSpace).nth(nth));
        let Err(error) = fixture::build(&vfs, &entries, fixture::options()) else { break };
        failures += 1;
        assert!(matches!(&error, Error::Vfs(_)), "{error}");
        assert!(error.is_no_space(), "{error}");
        let left: Vec<_> = vfs.list(fixture::dir()).unwrap().into_iter().map(|entry| entry.name).collect();
        // Only the sync of the directory, which is the caller's, comes after the table has its name.
        let published = left == [std::path::PathBuf::from("000012.sst")];
        assert!(left.is_empty() || (published && faults.count(Operation::SyncDir) > 0), "failure {nth}: {left:?}");
    }
    println!("{failures} places failed");
    assert!(failures >= 6, "create, appends, sync, rename, directory: {failures}");
}

#[test]
fn a_failed_sync_leaves_no_table() {
    let faults = FaultFs::over_memory(fixture::memory(), FaultPlan::none());
    let vfs = fixture::shared(faults.clone());
    faults.arm(Fault::on(Operation::Sync, Cause::Io).losing_unsynced());
    assert!(matches!(fixture::build(&vfs, &fixture::numbered(10), fixture::options()), Err(Error::Vfs(_))));
    assert_eq!(vfs.list(fixture::dir()).unwrap(), []);
}

#[test]
fn after_a_power_loss_a_table_is_whole_or_not_there() {
    let seed = 0x7ab1e;
    println!("seed {seed:#x}");
    let entries = fixture::numbered(500);
    let memory = fixture::memory();
    let vfs = fixture::shared(memory.clone());
    let mut builder = TableBuilder::create(&vfs, fixture::dir(), fixture::TABLE, fixture::options(), None).unwrap();
    for (key, entry) in &entries {
        builder.add(key.as_ref(), entry).unwrap();
    }
    builder.finish().unwrap();
    let (mut whole, mut absent) = (0, 0);
    let mut check = |image: MemFs| {
        let vfs = fixture::shared(image);
        match fixture::open(&vfs, fixture::read_options()) {
            Ok(table) => {
                assert_eq!(fixture::forward(&table).unwrap(), entries);
                table.verify().unwrap();
                whole += 1;
            }
            Err(error) => {
                assert!(matches!(&error, Error::Vfs(error) if error.is_not_found()), "{error}");
                absent += 1;
            }
        }
    };
    for n in 0..60 {
        for mode in
            [CrashMode::KeepAll, CrashMode::DropUnsynced, CrashMode::KeepNames, CrashMode::Prefix, CrashMode::Random]
        {
            check(memory.crash_image(mode, seed + n));
        }
    }
    vfs.sync_dir(fixture::dir()).unwrap();
    println!("before the directory was synced: {whole} whole, {absent} absent");
    assert!(whole > 0 && absent > 0);
    let table =
        fixture::open(&fixture::shared(memory.crash_image(CrashMode::DropUnsynced, 1)), fixture::read_options());
    assert_eq!(fixture::forward(&table.unwrap()).unwrap(), entries);
}

#[test]
fn a_read_error_in_a_scan_is_an_error_and_not_the_end() {
    let entries = fixture::numbered(5_000);
    let faults = FaultFs::over_memory(fixture::memory(), FaultPlan::none());
    let vfs = fixture::shared(faults.clone());
    fixture::build(&vfs, &entries, fixture::options()).unwrap();
    let read = ReadOptions { io_mode: IoMode::Pread, ..ReadOptions::new(Arc::new(BlockCache::new(0)), STORE) };
    for read_ahead in [false, true] {
        for back in [false, true] {
            let table = fixture::open(&vfs, read.clone()).unwrap();
            let mut cursor = table.cursor(CursorOptions { fill_cache: true, read_ahead });
            if back {
                cursor.seek_to_last().unwrap()
            } else {
                cursor.seek_to_first().unwrap()
            }
            let fault = faults.arm(Fault::on(Operation::Read, Cause::Io).nth(3).forever());
            let error = loop {
                let moved = if back { cursor.prev() } else { cursor.next() };
                match moved {
                    Ok(()) => assert!(cursor.valid(), "the scan ended as if it were complete"),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, Error::Vfs(_)), "{error}");
            assert!(!cursor.valid(), "after an error a cursor stands nowhere");
            faults.disarm(fault);
            cursor.seek(entries[4_000].0.as_ref()).unwrap();
            assert_eq!(cursor.key(), entries[4_000].0.as_ref(), "and can be placed again");
        }
    }
}

#[test]
fn what_cannot_be_read_ahead_does_not_fail_a_scan_that_ends_before_it() {
    let entries = fixture::numbered(5_000);
    let faults = FaultFs::over_memory(fixture::memory(), FaultPlan::none());
    let vfs = fixture::shared(faults.clone());
    fixture::build(&vfs, &entries, fixture::options()).unwrap();
    let read = ReadOptions { io_mode: IoMode::Pread, ..ReadOptions::new(Arc::new(BlockCache::new(0)), STORE) };
    let table = fixture::open(&vfs, read).unwrap();
    let mut cursor = table.cursor(CursorOptions::default());
    cursor.seek_to_first().unwrap();
    // The third read is the first one ahead.
    let fault = faults.arm(Fault::on(Operation::Read, Cause::Io).nth(2));
    for (key, entry) in &entries {
        assert_eq!((cursor.key(), cursor.value()), (key.as_ref(), entry.as_slice()));
        cursor.next().unwrap();
    }
    assert_eq!(faults.hits(fault), 1);
    assert!(!cursor.valid());
}

#[test]
fn errors_of_lookups_and_of_opening_are_typed() {
    let faults = FaultFs::over_memory(fixture::memory(), FaultPlan::none());
    let vfs = fixture::shared(faults.clone());
    fixture::build(&vfs, &fixture::numbered(500), fixture::options()).unwrap();
    let read = ReadOptions { io_mode: IoMode::Pread, ..fixture::read_options() };
    for cause in [Cause::Io, Cause::TooManyFiles, Cause::AccessDenied] {
        for operation in [Operation::Open, Operation::Read] {
            let fault = faults.arm(Fault::on(operation, cause).forever());
            let error = fixture::open(&vfs, read.clone()).unwrap_err();
            assert!(matches!(&error, Error::Vfs(error) if error.operation() == operation), "{error}");
            faults.disarm(fault);
        }
    }
    let table = fixture::open(&vfs, read).unwrap();
    let fault = faults.arm(Fault::on(Operation::Read, Cause::Io).forever());
    let (key, hash) = (b"key00000100", key_hash(b"key00000100"));
    assert!(matches!(table.get(key, hash, u64::MAX), Err(Error::Vfs(_))));
    let mut cursor = table.cursor(CursorOptions::default());
    assert!(cursor.seek(InternalKeyRef::first_of(key)).is_err());
    faults.disarm(fault);
    assert!(table.get(key, hash, u64::MAX).unwrap().is_some());
}
