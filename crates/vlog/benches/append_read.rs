//! Appends and reads of 1 to 256 KiB values on the machine's file system, and what a seal costs.
//!
//! ```text
//! cargo bench -p vlog            # in the folder that TMPDIR names, or /tmp
//! ```

mod fixture;

use base::StoreId;
use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use fixture::{Fixture, ROUND_BYTES, shuffle, value};
use vfs::AppendMode;
use vlog::{IoMode, Options, Result};

const KIB: [usize; 5] = [1, 4, 16, 64, 256];

fn main() {
    divan::main();
}

fn bench_append(bencher: Bencher, kib: usize, mode: AppendMode, preallocate_bytes: u64) {
    let value = value(kib);
    let count = ROUND_BYTES / value.len();
    bencher
        .counter(BytesCount::new(count * value.len()))
        .with_inputs(|| Fixture::with(Options { mode, preallocate_bytes, ..Options::new(StoreId([1; 16])) }))
        .bench_local_values(|fixture| {
            let fixture = fixture?;
            black_box(fixture.append(&value, count)?);
            Result::Ok(fixture)
        });
}

/// Appends with a sync for every 64 KiB, as commits that ask for it do.
fn bench_append_sync(bencher: Bencher, mode: AppendMode, preallocate_bytes: u64) {
    let value = value(4);
    bencher
        .counter(BytesCount::new(16 * 16 * value.len()))
        .with_inputs(|| Fixture::with(Options { mode, preallocate_bytes, ..Options::new(StoreId([1; 16])) }))
        .bench_local_values(|fixture| {
            let fixture = fixture?;
            for _ in 0..16 {
                fixture.append(&value, 16)?;
                fixture.log.sync()?;
            }
            Result::Ok(fixture)
        });
}

#[divan::bench(args = [0, 1 << 20, 16 << 20], sample_count = 10, sample_size = 1)]
fn sync_mapped(bencher: Bencher, preallocate_bytes: u64) {
    bench_append_sync(bencher, AppendMode::Mapped, preallocate_bytes);
}

#[divan::bench(args = [0, 1 << 20, 16 << 20], sample_count = 10, sample_size = 1)]
fn sync_written(bencher: Bencher, preallocate_bytes: u64) {
    bench_append_sync(bencher, AppendMode::Written, preallocate_bytes);
}

#[divan::bench(args = KIB, sample_count = 10, sample_size = 1)]
fn append_written_unallocated(bencher: Bencher, kib: usize) {
    bench_append(bencher, kib, AppendMode::Written, 0);
}

#[divan::bench(args = KIB, sample_count = 10, sample_size = 1)]
fn append_mapped(bencher: Bencher, kib: usize) {
    bench_append(bencher, kib, AppendMode::Mapped, 16 << 20);
}

#[divan::bench(args = KIB, sample_count = 10, sample_size = 1)]
fn append_written(bencher: Bencher, kib: usize) {
    bench_append(bencher, kib, AppendMode::Written, 16 << 20);
}

/// Every value once, in random order; sealed segments unless the log is still growing.
fn bench_read(bencher: Bencher, kib: usize, io_mode: IoMode, verify: bool, seal: bool) {
    let value = value(kib);
    let count = ROUND_BYTES / value.len();
    let prepared = Fixture::new(AppendMode::Mapped, io_mode, verify).and_then(|fixture| {
        let mut pointers = fixture.append(&value, count)?;
        shuffle(&mut pointers);
        if seal {
            fixture.log.seal_all()?;
        }
        Ok((fixture, pointers))
    });
    bencher.counter(BytesCount::new(count * value.len())).bench_local(|| {
        let (fixture, pointers) = prepared.as_ref().map_err(ToString::to_string)?;
        let set = fixture.log.segments();
        let mut len = 0;
        for pointer in pointers {
            let value: Bytes = set.read(*pointer).map_err(|error| error.to_string())?;
            len += black_box(value).len();
        }
        Ok::<_, String>(len)
    });
}

#[divan::bench(args = KIB, sample_count = 10, sample_size = 1)]
fn read_mapped(bencher: Bencher, kib: usize) {
    bench_read(bencher, kib, IoMode::Mapped, true, true);
}

#[divan::bench(args = KIB, sample_count = 10, sample_size = 1)]
fn read_mapped_unverified(bencher: Bencher, kib: usize) {
    bench_read(bencher, kib, IoMode::Mapped, false, true);
}

#[divan::bench(args = KIB, sample_count = 10, sample_size = 1)]
fn read_mapped_growing(bencher: Bencher, kib: usize) {
    bench_read(bencher, kib, IoMode::Mapped, true, false);
}

#[divan::bench(args = KIB, sample_count = 10, sample_size = 1)]
fn read_pread(bencher: Bencher, kib: usize) {
    bench_read(bencher, kib, IoMode::Pread, true, true);
}

/// Syncing, hint file and manifest of one segment of 64 MiB.
#[divan::bench(args = [1, 64], sample_count = 5, sample_size = 1)]
fn seal(bencher: Bencher, kib: usize) {
    let value = value(kib);
    let count = ROUND_BYTES / value.len();
    bencher
        .counter(BytesCount::new(count * value.len()))
        .with_inputs(|| {
            let fixture = Fixture::new(AppendMode::Mapped, IoMode::Mapped, true)?;
            fixture.append(&value, count)?;
            fixture.log.sync()?;
            fixture.log.close_active();
            Result::Ok(fixture)
        })
        .bench_local_values(|fixture| {
            let fixture = fixture?;
            black_box(fixture.log.seal_full()?);
            Result::Ok(fixture)
        });
}

/// A roll alone: what the append that meets a full segment waits for. Few enough that the leased ids last.
fn bench_roll(bencher: Bencher, mode: AppendMode) {
    let fixture = Fixture::new(mode, IoMode::Mapped, true);
    bencher
        .with_inputs(|| fixture.as_ref().map(|fixture| fixture.log.close_active()).map_err(ToString::to_string))
        .bench_local_values(|closed| {
            closed?;
            let fixture = fixture.as_ref().map_err(ToString::to_string)?;
            fixture.append_one(1, b"first").map_err(|error| error.to_string())
        });
}

#[divan::bench(sample_count = 30, sample_size = 1)]
fn roll_mapped(bencher: Bencher) {
    bench_roll(bencher, AppendMode::Mapped);
}

#[divan::bench(sample_count = 30, sample_size = 1)]
fn roll_written(bencher: Bencher) {
    bench_roll(bencher, AppendMode::Written);
}
