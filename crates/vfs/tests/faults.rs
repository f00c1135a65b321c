//! Injected faults: where they strike, what they leave, and that the file goes on as the contract says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its shared parts too")]

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use base::sync::Mutex;
use vfs::{
    AppendFile, AppendMode, AppendOptions, Cause, CrashMode, Fault, FaultFs, FaultPlan, MemFs, Operation, RealFs, Vfs,
    write_atomic,
};

fn faulty(plan: impl Into<FaultPlan>) -> (MemFs, FaultFs) {
    let memory = MemFs::new(1);
    memory.create_dir_all(Path::new("/d")).unwrap();
    let fs = FaultFs::over_memory(memory.clone(), plan.into());
    (memory, fs)
}

fn create(fs: &impl Vfs, path: &str) -> Box<dyn AppendFile> {
    let options = AppendOptions { mode: AppendMode::Written, preallocate_bytes: 0 };
    let file = fs.create_append(Path::new(path), options).unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    file
}

#[test]
fn each_cause_is_told_as_the_system_tells_it() {
    let causes = [
        (Cause::NoSpace, ErrorKind::StorageFull),
        (Cause::QuotaExceeded, ErrorKind::QuotaExceeded),
        (Cause::AccessDenied, ErrorKind::PermissionDenied),
        (Cause::Io, std::io::Error::from_raw_os_error(5).kind()),
        (Cause::TooManyFiles, std::io::Error::from_raw_os_error(24).kind()),
    ];
    for (cause, kind) in causes {
        let (_, fs) = faulty(Fault::on(Operation::List, cause));
        let error = fs.list(Path::new("/d")).unwrap_err();
        assert_eq!((error.operation(), error.path(), error.io().kind()), (Operation::List, Path::new("/d"), kind));
        let is_full = matches!(cause, Cause::NoSpace | Cause::QuotaExceeded);
        assert_eq!(error.is_no_space(), is_full);
        assert_eq!(error.duplicate().is_no_space(), is_full);
        fs.list(Path::new("/d")).unwrap();
    }
}

#[test]
fn a_fault_strikes_the_nth_match_on_its_paths_as_often_as_told() {
    let (_, fs) = faulty(FaultPlan::none());
    let id = fs.arm(Fault::on(Operation::Append, Cause::Io).at_suffix(".wal").nth(3).times(2));
    let (mut log, mut table) = (create(&fs, "/d/1.wal"), create(&fs, "/d/1.sst"));
    let results: Vec<bool> = (0..6)
        .map(|_| {
            table.append(b"x").unwrap();
            log.append(b"x").is_ok()
        })
        .collect();
    assert_eq!(results, [true, true, false, false, true, true]);
    assert_eq!(fs.hits(id), 2);
    assert_eq!(fs.count(Operation::Append), 12);
    assert_eq!(log.len(), 4);
}

#[test]
fn faults_are_armed_and_disarmed_while_running() {
    let (_, fs) = faulty(Fault::on_everything(Cause::Io).forever());
    fs.metadata(Path::new("/d")).unwrap_err();
    fs.disarm_all();
    fs.metadata(Path::new("/d")).unwrap();
    let id = fs.arm(Fault::on(Operation::Stat, Cause::Io).forever());
    fs.metadata(Path::new("/d")).unwrap_err();
    fs.metadata(Path::new("/d")).unwrap_err();
    fs.disarm(id);
    fs.metadata(Path::new("/d")).unwrap();
}

#[test]
fn a_torn_append_leaves_its_first_bytes_and_the_next_one_goes_in_their_place() {
    for real in [false, true] {
        let root = std::env::temp_dir().join(format!("vfs-faults-torn-{}-{real}", std::process::id()));
        let inner: Arc<dyn Vfs> = if real { Arc::new(RealFs::new()) } else { Arc::new(MemFs::new(1)) };
        inner.create_dir_all(&root).unwrap();
        for mode in [AppendMode::Written, AppendMode::Mapped] {
            let fault = Fault::on(Operation::Append, Cause::NoSpace).nth(2).after_bytes(3);
            let fs = FaultFs::new(Arc::clone(&inner), fault.into());
            let path = root.join(format!("{mode:?}"));
            let mut file = fs.create_append(&path, AppendOptions { mode, preallocate_bytes: 0 }).unwrap();
            file.append(b"one,").unwrap();
            let error = file.append(b"two,").unwrap_err();
            assert_eq!((error.offset(), error.is_no_space(), file.len()), (Some(4), true, 4));
            let mut bytes = [0; 7];
            fs.open_read(&path).unwrap().read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!(&bytes, b"one,two");
            file.append(b"3").unwrap();
            file.finish().unwrap();
            let found = inner.open_read(&path).unwrap();
            assert_eq!(found.len().unwrap(), 5, "nothing of the torn append is left");
            found.read_exact_at(&mut bytes[..5], 0).unwrap();
            assert_eq!(&bytes[..5], b"one,3");
        }
        if real {
            std::fs::remove_dir_all(&root).unwrap();
        }
    }
}

#[test]
fn a_torn_append_can_be_cut_off() {
    let (memory, fs) = faulty(Fault::on(Operation::Append, Cause::Io).nth(2).after_bytes(2));
    let mut file = create(&fs, "/d/a");
    file.append(b"whole").unwrap();
    file.append(b"torn").unwrap_err();
    assert_eq!(memory.read(Path::new("/d/a")).unwrap(), b"wholeto");
    file.cut(6).unwrap_err();
    file.cut(5).unwrap();
    assert_eq!(memory.read(Path::new("/d/a")).unwrap(), b"whole");
}

#[test]
fn a_failed_sync_can_lose_what_it_was_to_write_for_good() {
    let (memory, fs) = faulty(Fault::on(Operation::Sync, Cause::Io).nth(2).losing_unsynced());
    let mut file = create(&fs, "/d/a");
    let handle = file.sync_handle();
    file.append(b"1").unwrap();
    handle.sync().unwrap();
    file.append(b"2").unwrap();
    handle.sync().unwrap_err();
    handle.sync().unwrap();
    assert_eq!(memory.read(Path::new("/d/a")).unwrap(), b"12");
    let lost = memory.crash_image(CrashMode::DropUnsynced, 0).read(Path::new("/d/a")).unwrap();
    assert_eq!(lost, b"1\0", "a retry proves nothing");
}

#[test]
fn a_sync_that_fails_without_losing_can_be_made_up_for() {
    let (memory, fs) = faulty(Fault::on(Operation::Sync, Cause::Io));
    let mut file = create(&fs, "/d/a");
    file.append(b"1").unwrap();
    file.sync().unwrap_err();
    let image = || memory.crash_image(CrashMode::DropUnsynced, 0).read(Path::new("/d/a")).unwrap();
    assert_eq!(image(), b"");
    file.sync().unwrap();
    assert_eq!(image(), b"1");
}

#[test]
fn a_finish_counts_and_fails_as_a_sync() {
    let (memory, fs) = faulty(Fault::on(Operation::Sync, Cause::Io));
    let mut file = create(&fs, "/d/a");
    file.append(b"1").unwrap();
    file.finish().unwrap_err();
    assert_eq!((fs.count(Operation::Sync), fs.count(Operation::Finish)), (1, 1));
    assert_eq!(memory.crash_image(CrashMode::DropUnsynced, 0).read(Path::new("/d/a")).unwrap(), b"");
}

#[test]
fn an_operation_can_be_done_and_fail_all_the_same() {
    let (memory, fs) = faulty(Fault::on(Operation::Rename, Cause::Io).after_the_fact());
    memory.write(Path::new("/d/a"), b"moved").unwrap();
    fs.rename(Path::new("/d/a"), Path::new("/d/b")).unwrap_err();
    assert_eq!(memory.read(Path::new("/d/b")).unwrap(), b"moved");
}

#[test]
fn allocation_and_creation_fail_without_leaving_a_file() {
    for operation in [Operation::Create, Operation::Allocate] {
        let (memory, fs) = faulty(Fault::on(operation, Cause::NoSpace));
        let options = AppendOptions { mode: AppendMode::Mapped, preallocate_bytes: 1 << 20 };
        let error = fs.create_append(Path::new("/d/a"), options).unwrap_err();
        assert!(error.is_no_space() && error.operation() == operation, "{error}");
        assert!(memory.files().is_empty());
        fs.create_append(Path::new("/d/a"), options).unwrap();
    }
}

#[test]
fn reads_and_mappings_fail_where_told() {
    let plan = [
        Fault::on(Operation::Read, Cause::Io).nth(2),
        Fault::on(Operation::Map, Cause::TooManyFiles),
        Fault::on(Operation::Open, Cause::AccessDenied).nth(2),
    ];
    let (memory, fs) = faulty(plan.into_iter().collect::<FaultPlan>());
    memory.write(Path::new("/d/a"), b"0123").unwrap();
    let file = fs.open_read(Path::new("/d/a")).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1).unwrap();
    let error = file.read_exact_at(&mut byte, 2).unwrap_err();
    assert_eq!(error.offset(), Some(2));
    file.read_exact_at(&mut byte, 2).unwrap();
    file.map(4).unwrap_err();
    assert_eq!(&file.map(4).unwrap()[..], b"0123");
    fs.open_read(Path::new("/d/a")).unwrap_err();
}

#[test]
fn an_atomic_write_that_fails_leaves_the_old_file_and_no_other() {
    for operation in [Operation::Create, Operation::Append, Operation::Finish, Operation::Rename, Operation::SyncDir] {
        for torn in [0, 2] {
            let (memory, fs) = faulty(Fault::on(operation, Cause::NoSpace).after_bytes(torn));
            memory.write(Path::new("/d/CURRENT"), b"old").unwrap();
            write_atomic(&fs, Path::new("/d/CURRENT"), b"new").unwrap_err();
            assert_eq!(memory.files(), [Path::new("d/CURRENT")], "{operation}");
            for seed in 0..50 {
                let bytes = memory.crash_image(CrashMode::Random, seed).read(Path::new("/d/CURRENT")).unwrap();
                let is_whole = bytes == b"old" || (operation == Operation::SyncDir && bytes == b"new");
                assert!(is_whole, "{operation}, seed {seed}: {bytes:?}");
            }
        }
    }
}

#[test]
fn the_hook_sees_each_change_before_it_is_done() {
    let (memory, fs) = faulty(Fault::on(Operation::Remove, Cause::Io));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, below, again) = (Arc::clone(&seen), memory.clone(), fs.clone());
    fs.on_mutation(move |record| {
        let image = below.crash_image(CrashMode::KeepAll, 0);
        let len = image.read(Path::new("/d/a")).map_or(0, |bytes| bytes.len());
        log.lock().push(format!("{} {record}: {len}", record.number));
        again.disarm_all();
    });
    let mut file = create(&fs, "/d/a");
    file.append(b"12345").unwrap();
    file.cut(4).unwrap();
    let handle = file.sync_handle();
    handle.sync().unwrap();
    file.finish().unwrap();
    fs.metadata(Path::new("/d/a")).unwrap();
    fs.rename(Path::new("/d/a"), Path::new("/d/b")).unwrap();
    fs.remove_file(Path::new("/d/b")).unwrap();
    fs.clear_hook();
    fs.sync_dir(Path::new("/d")).unwrap();
    let expected = [
        "1 create /d/a: 0",
        "2 sync directory /d: 0",
        "3 append to /d/a, 5 bytes at 0: 0",
        "4 truncate /d/a at 4: 5",
        "5 sync /d/a: 4",
        "6 finish /d/a, 4 bytes: 4",
        "7 rename /d/a -> /d/b: 4",
        "8 remove /d/b: 0",
    ];
    assert_eq!(*seen.lock(), expected);
    assert_eq!(fs.mutations(), 9);
}

#[test]
fn nothing_gets_through_from_the_nth_change_on() {
    let run = |fs: &FaultFs| {
        let mut done = 0;
        let options = AppendOptions { mode: AppendMode::Written, preallocate_bytes: 0 };
        if let Ok(mut file) = fs.create_append(Path::new("/d/a"), options) {
            done += 1;
            done += usize::from(file.append(b"x").is_ok());
            done += usize::from(file.finish().is_ok());
        }
        done += usize::from(fs.rename(Path::new("/d/a"), Path::new("/d/b")).is_ok());
        done + usize::from(fs.sync_dir(Path::new("/d")).is_ok())
    };
    for nth in 1..=6 {
        let (_, fs) = faulty(Fault::on_mutations(Cause::Io).nth(nth).forever());
        assert_eq!(run(&fs) as u64, nth - 1);
    }
}
