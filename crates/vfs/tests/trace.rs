//! Golden traces and byte counts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its shared parts too")]

use std::path::Path;
use std::sync::Arc;

use vfs::{AppendMode, AppendOptions, ByteCounts, Cause, Fault, FaultFs, MemFs, Operation, TraceFs, Vfs, write_atomic};

fn memory() -> Arc<MemFs> {
    let memory = MemFs::new(1);
    memory.create_dir_all(Path::new("/db")).unwrap();
    Arc::new(memory)
}

#[test]
fn every_call_is_a_line() {
    let fs = TraceFs::new(memory(), "/db");
    let options = AppendOptions { mode: AppendMode::Mapped, preallocate_bytes: 65_536 };
    let mut file = fs.create_append(Path::new("/db/000001.wal"), options).unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    file.append(b"header").unwrap();
    file.append(b"record").unwrap();
    file.sync_handle().sync().unwrap();
    file.reader().unwrap().read_exact_at(&mut [0; 3], 2).unwrap();
    file.cut(6).unwrap();
    file.finish().unwrap();
    fs.open_read(Path::new("/db/none")).unwrap_err();
    write_atomic(&fs, Path::new("/db/CURRENT"), b"1").unwrap();
    let trace = fs.take_trace();
    let expected = "\
create 000001.wal, 65536 bytes
sync directory .
append to 000001.wal, 6 bytes at 0
append to 000001.wal, 6 bytes at 6
sync 000001.wal
open 000001.wal
read 000001.wal, 3 bytes at 2
truncate 000001.wal at 6
finish 000001.wal, 6 bytes
open none (failed: entity not found)
remove CURRENT.tmp (failed: entity not found)
create CURRENT.tmp
append to CURRENT.tmp, 1 bytes at 0
finish CURRENT.tmp, 1 bytes
rename CURRENT.tmp -> CURRENT
sync directory .
";
    assert_eq!(trace.to_string(), expected);
    let mutations = trace.mutations().to_string();
    assert_eq!(mutations.lines().count(), 13);
    assert!(!mutations.contains("read") && !mutations.contains("open"));
    assert_eq!(fs.take_trace().to_string(), "", "taken");
}

#[test]
fn bytes_are_counted_by_file_and_by_kind() {
    let faults = FaultFs::new(memory(), Fault::on(Operation::Append, Cause::Io).at_suffix(".sst").into());
    let fs = TraceFs::counting(Arc::new(faults));
    let options = AppendOptions { mode: AppendMode::Written, preallocate_bytes: 0 };
    for (name, len) in [("/db/1.wal", 100), ("/db/2.wal", 20), ("/db/1.sst", 5_000)] {
        let mut file = fs.create_append(Path::new(name), options).unwrap();
        let is_whole = file.append(&vec![1; len]).is_ok();
        assert_eq!(is_whole, len != 5_000, "the first append to it fails, and does not count");
        file.append(&vec![1; len]).unwrap();
        if len != 20 {
            file.sync().unwrap();
        }
        file.append(b"tail").unwrap();
        drop(file);
        let file = fs.open_read(Path::new(name)).unwrap();
        file.read_exact_at(&mut [0; 10], 0).unwrap();
        file.map(7).unwrap();
        file.read_exact_at(&mut [0; 10], 1 << 20).unwrap_err();
    }
    let read = ByteCounts { read: 10, mapped: 7, ..ByteCounts::default() };
    assert_eq!(fs.bytes_of(Path::new("/db/1.wal")), ByteCounts { written: 204, synced: 200, ..read });
    assert_eq!(fs.bytes_of(Path::new("/db/2.wal")), ByteCounts { written: 44, synced: 0, ..read });
    assert_eq!(fs.bytes_of(Path::new("/db/1.sst")), ByteCounts { written: 5_004, synced: 5_000, ..read });
    let kinds = fs.bytes_by_extension();
    assert_eq!(kinds.keys().collect::<Vec<_>>(), ["sst", "wal"]);
    assert_eq!((kinds["wal"].written, kinds["wal"].read, kinds["wal"].synced), (248, 20, 200));
    assert_eq!(fs.bytes().written, 5_252);
    assert_eq!(fs.take_trace().to_string(), "", "counting records no calls");
}
