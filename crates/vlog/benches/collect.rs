//! Collections of half-dead segments, reads of what they moved, and opens of many segments, on the machine's file system.
//!
//! ```text
//! cargo bench -p vlog --bench collect      # in the folder that TMPDIR names, or /tmp
//! ```

mod fixture;

use base::{StoreId, ValuePointer};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use fixture::{Fixture, ROUND_BYTES, shuffle, value};
use vlog::{IoMode, Options, Result};

fn main() {
    divan::main();
}

fn options(io_mode: IoMode, segment_bytes: u64) -> Options {
    Options { io_mode, segment_bytes, ..Options::new(StoreId([1; 16])) }
}

/// 64 MiB in sealed segments, every other record dead; and what lives.
fn half_dead(io_mode: IoMode, kib: usize) -> Result<(Fixture, Vec<ValuePointer>)> {
    let fixture = Fixture::with(options(io_mode, 16 << 20))?;
    let value = value(kib);
    let pointers = fixture.append(&value, ROUND_BYTES / value.len())?;
    fixture.log.seal_all()?;
    let dead: Vec<ValuePointer> = pointers.iter().step_by(2).copied().collect();
    fixture.log.mark_dead(&dead)?;
    Ok((fixture, pointers.into_iter().skip(1).step_by(2).collect()))
}

/// Bytes are those of the values that live.
fn bench_collect(bencher: Bencher, io_mode: IoMode, kib: usize) {
    bencher.counter(BytesCount::new(ROUND_BYTES / 2)).with_inputs(|| half_dead(io_mode, kib)).bench_local_values(
        |prepared| {
            let (fixture, _) = prepared?;
            black_box(fixture.collect()?);
            Result::Ok(fixture)
        },
    );
}

#[divan::bench(args = [1, 16], sample_count = 10, sample_size = 1)]
fn collect_mapped(bencher: Bencher, kib: usize) {
    bench_collect(bencher, IoMode::Mapped, kib);
}

#[divan::bench(args = [1, 16], sample_count = 10, sample_size = 1)]
fn collect_pread(bencher: Bencher, kib: usize) {
    bench_collect(bencher, IoMode::Pread, kib);
}

/// Every value that lives once, in random order, where it was written (0) or where it was collected to (1). Not verified:
/// what is to be seen is how it is found.
#[divan::bench(consts = [0, 1], sample_count = 20, sample_size = 1)]
fn read_1_kib<const COLLECTED: usize>(bencher: Bencher) {
    let prepared = half_dead(IoMode::Mapped, 1).and_then(|(fixture, mut pointers)| {
        if COLLECTED == 1 {
            fixture.collect()?;
        }
        shuffle(&mut pointers);
        let log =
            fixture.open_again(Options { verify: false, read_only: true, ..options(IoMode::Mapped, 16 << 20) })?;
        Ok((fixture, log.segments(), pointers))
    });
    bencher.counter(ItemsCount::new(ROUND_BYTES / 2048)).bench_local(|| {
        let (_, set, pointers) = prepared.as_ref().map_err(ToString::to_string)?;
        let mut len = 0;
        for pointer in pointers {
            len += black_box(set.read(*pointer).map_err(|error| error.to_string())?).len();
        }
        Ok::<_, String>(len)
    });
}

/// An open, for reading only, of this many sealed segments of a thousand records, of which half are dead.
#[divan::bench(args = [10, 100, 400], sample_count = 10, sample_size = 1)]
fn open_sealed(bencher: Bencher, segments: u64) {
    let options = Options { segment_entries: 1_000, preallocate_bytes: 0, ..options(IoMode::Mapped, 256 << 20) };
    let prepared = Fixture::with(options.clone()).and_then(|fixture| {
        let pointers = fixture.append(&[7; 64], segments as usize * 1_000)?;
        fixture.log.seal_all()?;
        fixture.log.mark_dead(&pointers.iter().step_by(2).copied().collect::<Vec<_>>())?;
        Ok(fixture)
    });
    bencher.counter(ItemsCount::new(segments)).bench_local(|| {
        let fixture = prepared.as_ref().map_err(ToString::to_string)?;
        fixture.open_again(Options { read_only: true, ..options.clone() }).map_err(|error| error.to_string())
    });
}
