//! Compresses, one after the other.

use crate::{Codec, Compression, RAW_LEN_LEN, RAW_LEN_MAX};

/// Bytes below this many stay raw under [`Compression::Adaptive`].
const ADAPTIVE_LEN_MIN: usize = 1_024;

/// Level that [`Compression::Adaptive`] uses.
const ADAPTIVE_ZSTD_LEVEL: i32 = 1;

/// A sample at or above this many bits a byte has too even bytes for an entropy coder: only repeats can be saved.
const EVEN_BYTES_BITS: f32 = 5.5;

const SAMPLE_PIECES: usize = 16;
const SAMPLE_PIECE_LEN: usize = 32;

/// Compresses bytes one after the other; its contexts and its buffer live as long as it does.
pub struct Compressor {
    compression: Compression,
    snappy: snap::raw::Encoder,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    output: Vec<u8>,
}

impl Compressor {
    /// One that does as it is told.
    #[must_use]
    pub fn new(compression: Compression) -> Self {
        let level = match compression {
            Compression::Zstd { level } => Some(level),
            Compression::Adaptive => Some(ADAPTIVE_ZSTD_LEVEL),
            Compression::None | Compression::Snappy => None,
        };
        let range = zstd::compression_level_range();
        // No context means no memory for one: bytes are then stored raw, which every reader takes.
        let zstd = level.and_then(|level| zstd::bulk::Compressor::new(level.clamp(*range.start(), *range.end())).ok());
        Self { compression, snappy: snap::raw::Encoder::new(), zstd, output: Vec::new() }
    }

    /// What it was told to do.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The codec for `raw` and, unless that is [`Codec::Raw`], the raw length and the codec's bytes, `len_max` of them at
    /// the most.
    pub fn compress(&mut self, raw: &[u8], len_max: usize) -> (Codec, &[u8]) {
        if raw.len() > RAW_LEN_MAX {
            return (Codec::Raw, &[]);
        }
        let codec = self.choose(raw);
        let coded_len = match codec {
            Codec::Raw => None,
            Codec::Snappy => {
                let room = make_room(&mut self.output, snap::raw::max_compress_len(raw.len()));
                self.snappy.compress(raw, room).ok()
            }
            Codec::Zstd => {
                let room = make_room(&mut self.output, zstd::zstd_safe::compress_bound(raw.len()));
                self.zstd.as_mut().and_then(|zstd| zstd.compress_to_buffer(raw, room).ok())
            }
        };
        if let Some(raw_len) = self.output.first_chunk_mut() {
            *raw_len = (raw.len() as u32).to_le_bytes();
        }
        match coded_len.and_then(|len| self.output.get(..RAW_LEN_LEN + len)) {
            Some(compressed) if compressed.len() <= len_max => (codec, compressed),
            _ => (Codec::Raw, &[]),
        }
    }

    fn choose(&self, raw: &[u8]) -> Codec {
        match self.compression {
            Compression::None => Codec::Raw,
            Compression::Snappy => Codec::Snappy,
            Compression::Zstd { .. } => Codec::Zstd,
            Compression::Adaptive if raw.len() < ADAPTIVE_LEN_MIN => Codec::Raw,
            Compression::Adaptive if sampled_entropy_bits(raw) >= EVEN_BYTES_BITS => Codec::Snappy,
            Compression::Adaptive => Codec::Zstd,
        }
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").field("compression", &self.compression).finish_non_exhaustive()
    }
}

/// Room for what a codec makes, behind that of the raw length.
fn make_room(output: &mut Vec<u8>, coded_len_max: usize) -> &mut [u8] {
    if output.len() < RAW_LEN_LEN + coded_len_max {
        output.resize(RAW_LEN_LEN + coded_len_max, 0);
    }
    output.get_mut(RAW_LEN_LEN..).unwrap_or_default()
}

/// Bits a byte of a sample spread over `raw`: the collision entropy, which is at most Shannon's and needs one logarithm.
pub(crate) fn sampled_entropy_bits(raw: &[u8]) -> f32 {
    let mut counts = [0u32; 256];
    let mut sampled = 0u32;
    let stride = (raw.len() / SAMPLE_PIECES).max(SAMPLE_PIECE_LEN);
    for piece in raw.chunks(stride) {
        for byte in piece.iter().take(SAMPLE_PIECE_LEN) {
            if let Some(count) = counts.get_mut(usize::from(*byte)) {
                *count += 1;
            }
            sampled += 1;
        }
    }
    // Drawn pairs, not squares, so that a small sample of random bytes is not taken for a skewed one.
    let pairs: u64 = counts.iter().map(|count| u64::from(*count) * u64::from(count.saturating_sub(1))).sum();
    let all_pairs = u64::from(sampled) * u64::from(sampled.saturating_sub(1));
    (all_pairs.max(1) as f32 / pairs.max(1) as f32).log2()
}
