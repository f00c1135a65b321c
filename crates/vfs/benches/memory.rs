//! What the file systems in memory cost: appends, and crash images of a store of some 300 KiB.
//! `cargo bench -p vfs --bench memory`.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::path::Path;

use divan::Bencher;
use vfs::{AppendFile, AppendMode, AppendOptions, CrashMode, MemFs, Vfs};

const LOG_BYTES: u64 = 16 << 20;

fn main() {
    divan::main();
}

fn create(fs: &MemFs, path: &str) -> Box<dyn AppendFile> {
    let options = AppendOptions { mode: AppendMode::Mapped, preallocate_bytes: 1 << 20 };
    fs.create_append(Path::new(path), options).unwrap()
}

/// Replaces the file when it is full.
fn append(bencher: Bencher<'_, '_>, fs: &MemFs, len: usize) {
    let bytes = vec![0x5a; len];
    let mut file = create(fs, "log");
    bencher.bench_local(|| {
        if file.len() > LOG_BYTES {
            fs.remove_file(Path::new("log")).unwrap();
            fs.sync_dir(Path::new("")).unwrap();
            file = create(fs, "log");
        }
        file.append(&bytes).unwrap();
    });
}

#[divan::bench(args = [128, 4096])]
fn append_volatile(bencher: Bencher<'_, '_>, len: usize) {
    append(bencher, &MemFs::volatile(1), len);
}

#[divan::bench(args = [128, 4096])]
fn append_strict(bencher: Bencher<'_, '_>, len: usize) {
    append(bencher, &MemFs::new(1), len);
}

/// Ten files of which 200 KiB are synced and 100 KiB, in 1,000 appends, are not; every name synced but one.
#[divan::bench(args = [CrashMode::KeepAll, CrashMode::DropUnsynced, CrashMode::Prefix, CrashMode::Random])]
fn crash_image(bencher: Bencher<'_, '_>, mode: CrashMode) {
    let fs = MemFs::new(1);
    let mut files: Vec<_> = (0..9).map(|index| create(&fs, &index.to_string())).collect();
    fs.sync_dir(Path::new("")).unwrap();
    files.push(create(&fs, "unsynced"));
    for file in &mut files {
        file.append(&vec![1; 20 << 10]).unwrap();
        file.sync().unwrap();
        for _ in 0..100 {
            file.append(&[2; 102]).unwrap();
        }
    }
    let mut seed = 0;
    bencher.bench_local(|| {
        seed += 1;
        fs.crash_image(mode, seed)
    });
}
