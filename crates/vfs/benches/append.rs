//! What one append costs in each mode, without syncs: `cargo bench -p vfs --bench append`.
//!
//! Files are on the disk of the temporary directory (`TMPDIR`), 64 MiB allocated ahead, and replaced when that is full, as
//! logs are.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::path::PathBuf;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use vfs::{AppendFile, AppendMode, AppendOptions, RealFs, Vfs};

const FILE_BYTES: u64 = 64 << 20;
const SIZES: [usize; 3] = [128, 4 << 10, 64 << 10];

fn main() {
    divan::main();
}

/// A log that begins a new file when one is full.
struct Log {
    fs: RealFs,
    path: PathBuf,
    options: AppendOptions,
    file: Option<Box<dyn AppendFile>>,
}

impl Log {
    fn new(name: &str, mode: AppendMode, preallocate_bytes: u64) -> Self {
        let path = std::env::temp_dir().join(format!("vfs-bench-{name}-{}", std::process::id()));
        Self { fs: RealFs::new(), path, options: AppendOptions { mode, preallocate_bytes }, file: None }
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.file.as_ref().is_none_or(|file| file.len() + bytes.len() as u64 > FILE_BYTES) {
            self.remove();
            self.file = Some(self.fs.create_append(&self.path, self.options).unwrap());
        }
        if let Some(file) = &mut self.file {
            file.append(black_box(bytes)).unwrap();
        }
    }

    fn remove(&mut self) {
        if self.file.take().is_some() {
            self.fs.remove_file(&self.path).unwrap();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.remove();
    }
}

fn run(bencher: Bencher<'_, '_>, mut log: Log, len: usize) {
    let bytes = vec![0x5a; len];
    log.append(&bytes);
    bencher.counter(BytesCount::new(len)).bench_local(|| log.append(&bytes));
}

#[divan::bench(args = SIZES, sample_count = 200, sample_size = 200)]
fn mapped(bencher: Bencher<'_, '_>, len: usize) {
    run(bencher, Log::new("mapped", AppendMode::Mapped, FILE_BYTES), len);
}

#[divan::bench(args = SIZES, sample_count = 200, sample_size = 200)]
fn written(bencher: Bencher<'_, '_>, len: usize) {
    run(bencher, Log::new("written", AppendMode::Written, FILE_BYTES), len);
}

#[divan::bench(args = SIZES, sample_count = 200, sample_size = 200)]
fn written_without_space_ahead(bencher: Bencher<'_, '_>, len: usize) {
    run(bencher, Log::new("written-bare", AppendMode::Written, 0), len);
}

#[divan::bench(args = SIZES, sample_count = 200, sample_size = 200)]
fn buffered_by_256_kib(bencher: Bencher<'_, '_>, len: usize) {
    run(bencher, Log::new("buffered", AppendMode::Buffered(256 << 10), 0), len);
}
