//! What one append and its sync cost, by the way the space was made and the bytes got there:
//! `cargo bench -p vfs --bench sync`. On the disk of the temporary directory (`TMPDIR`); a RAM disk shows nothing.
//!
//! All but the `real_fs` rows make their files by hand, since `RealFs` has only the ways that the figures speak for.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark fails by panicking")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use divan::Bencher;
use memmap2::{MmapMut, MmapOptions};
use rustix::fs::{FallocateFlags, fallocate};
use vfs::{AppendMode, AppendOptions, RealFs, Vfs};

const FILE_BYTES: usize = 64 << 20;
const SIZES: [usize; 3] = [128, 4 << 10, 64 << 10];

fn main() {
    divan::main();
}

/// How the space of a file is made.
#[derive(Clone, Copy)]
enum Space {
    /// By `fallocate`: blocks that the file system knows to be unwritten.
    Allocated,
    /// By writing zeros and syncing them.
    Zeroed,
    /// Not at all: each append extends the file.
    None,
}

/// A file with its space, removed when dropped.
struct Scratch {
    file: File,
    path: PathBuf,
    at: usize,
}

impl Scratch {
    fn new(space: Space) -> Self {
        let path = std::env::temp_dir().join(format!("vfs-bench-sync-{}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        match space {
            Space::Allocated => fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES as u64).unwrap(),
            Space::Zeroed => file.write_all_at(&vec![0; FILE_BYTES], 0).unwrap(),
            Space::None => {}
        }
        file.sync_all().unwrap();
        Self { file, path, at: 0 }
    }

    #[expect(unsafe_code, reason = "a mapping cannot be had without")]
    fn map(&self) -> MmapMut {
        // SAFETY: the file is private to this benchmark, as long as the mapping, and never cut while it lives.
        unsafe { MmapOptions::new().len(FILE_BYTES).map_mut(&self.file).unwrap() }
    }

    /// Where the next `len` bytes go, from the front again when the file is full.
    fn next(&mut self, len: usize) -> usize {
        let at = if self.at + len > FILE_BYTES { 0 } else { self.at };
        self.at = at + len;
        at
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_file(&self.path).unwrap();
    }
}

fn write_and_fdatasync(bencher: Bencher<'_, '_>, len: usize, space: Space) {
    let mut scratch = Scratch::new(space);
    let bytes = vec![0x5a; len];
    bencher.bench_local(|| {
        let at = scratch.next(len);
        scratch.file.write_all_at(&bytes, at as u64).unwrap();
        scratch.file.sync_data().unwrap();
    });
}

fn map_and_sync(bencher: Bencher<'_, '_>, len: usize, space: Space, sync: fn(&File, &MmapMut, usize, usize)) {
    let mut scratch = Scratch::new(space);
    let mut map = scratch.map();
    let bytes = vec![0x5a; len];
    bencher.bench_local(|| {
        let at = scratch.next(len);
        map[at..at + len].copy_from_slice(&bytes);
        sync(&scratch.file, &map, at, len);
    });
}

fn by_fdatasync(file: &File, _map: &MmapMut, _at: usize, _len: usize) {
    file.sync_data().unwrap();
}

fn by_msync(_file: &File, map: &MmapMut, at: usize, len: usize) {
    map.flush_range(at, len).unwrap();
}

#[divan::bench(args = SIZES, sample_count = 300, sample_size = 1)]
fn written_allocated(bencher: Bencher<'_, '_>, len: usize) {
    write_and_fdatasync(bencher, len, Space::Allocated);
}

#[divan::bench(args = SIZES, sample_count = 300, sample_size = 1)]
fn written_zeroed(bencher: Bencher<'_, '_>, len: usize) {
    write_and_fdatasync(bencher, len, Space::Zeroed);
}

#[divan::bench(args = SIZES, sample_count = 300, sample_size = 1)]
fn written_extending(bencher: Bencher<'_, '_>, len: usize) {
    write_and_fdatasync(bencher, len, Space::None);
}

#[divan::bench(args = SIZES, sample_count = 300, sample_size = 1)]
fn mapped_allocated_fdatasync(bencher: Bencher<'_, '_>, len: usize) {
    map_and_sync(bencher, len, Space::Allocated, by_fdatasync);
}

#[divan::bench(args = SIZES, sample_count = 300, sample_size = 1)]
fn mapped_allocated_msync(bencher: Bencher<'_, '_>, len: usize) {
    map_and_sync(bencher, len, Space::Allocated, by_msync);
}

#[divan::bench(args = SIZES, sample_count = 300, sample_size = 1)]
fn mapped_zeroed_fdatasync(bencher: Bencher<'_, '_>, len: usize) {
    map_and_sync(bencher, len, Space::Zeroed, by_fdatasync);
}

fn append_and_sync(bencher: Bencher<'_, '_>, len: usize, mode: AppendMode) {
    let fs = RealFs::new();
    let path = std::env::temp_dir().join(format!("vfs-bench-sync-{}", std::process::id()));
    let mut file = fs.create_append(&path, AppendOptions { mode, preallocate_bytes: FILE_BYTES as u64 }).unwrap();
    file.sync().unwrap();
    let bytes = vec![0x5a; len];
    bencher.bench_local(|| {
        file.append(&bytes).unwrap();
        file.sync().unwrap();
    });
    fs.remove_file(&path).unwrap();
}

#[divan::bench(args = SIZES, sample_count = 300, sample_size = 1)]
fn real_fs_mapped(bencher: Bencher<'_, '_>, len: usize) {
    append_and_sync(bencher, len, AppendMode::Mapped);
}

#[divan::bench(args = SIZES, sample_count = 300, sample_size = 1)]
fn real_fs_written(bencher: Bencher<'_, '_>, len: usize) {
    append_and_sync(bencher, len, AppendMode::Written);
}
