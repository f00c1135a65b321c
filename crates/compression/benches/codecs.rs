//! Speed of the codecs on a value of 4 KiB, half of which compresses.
//!
//! `cargo bench -p compression`
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that fails panics")]

use base::rng::Rng;
use compression::{Compression, Compressor, decompress};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};

const LEN: usize = 4 << 10;
const CODECS: [Compression; 4] =
    [Compression::Snappy, Compression::Zstd { level: 1 }, Compression::Zstd { level: 3 }, Compression::Adaptive];

fn main() {
    divan::main();
}

fn half_compressible() -> Vec<u8> {
    let mut raw = vec![b'x'; LEN];
    Rng::new(1).fill(raw.split_at_mut(LEN / 2).0);
    raw
}

#[divan::bench(args = CODECS)]
fn compress(bencher: Bencher<'_, '_>, compression: Compression) {
    let (raw, mut compressor) = (half_compressible(), Compressor::new(compression));
    bencher.counter(BytesCount::new(LEN)).bench_local(|| black_box(compressor.compress(&raw, LEN).1.len()));
}

#[divan::bench(args = CODECS)]
fn decompress_again(bencher: Bencher<'_, '_>, compression: Compression) {
    let (raw, mut compressor) = (half_compressible(), Compressor::new(compression));
    let (codec, compressed) = compressor.compress(&raw, LEN);
    bencher.counter(BytesCount::new(LEN)).bench_local(|| decompress(codec, compressed).unwrap());
}
