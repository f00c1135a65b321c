//! How a block's bytes are compressed and brought back.
//!
//! ```text
//! codec      := u8: 0 raw, 1 Snappy (raw format), 2 Zstandard (one frame, no checksum of its own)
//! compressed := raw length u32 | the codec's bytes
//! ```
//! The raw length stands in front so that it is checked against [`RAW_LEN_MAX`] before anything is allocated. A block is
//! stored compressed only if that saves at least an eighth: what is read raw is read in place.

use std::cell::RefCell;

use base::DecodeError;

use crate::Compression;

/// Longest block that is compressed, in bytes; longer ones are stored raw. So no reader allocates more for one.
pub(crate) const RAW_LEN_MAX: usize = 16 << 20;

/// Bytes of the raw length in front of a compressed block.
pub(crate) const RAW_LEN_LEN: usize = 4;

/// Blocks below this many bytes stay raw under [`Compression::Adaptive`].
const ADAPTIVE_LEN_MIN: usize = 1_024;

/// A sample at or above this many bits a byte has too even bytes for an entropy coder: only repeats can be saved.
const EVEN_BYTES_BITS: f32 = 5.5;

const SAMPLE_PIECES: usize = 16;
const SAMPLE_PIECE_LEN: usize = 32;

/// How a block is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Codec {
    Raw = 0,
    Snappy = 1,
    Zstd = 2,
}

impl Codec {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Raw,
            1 => Self::Snappy,
            2 => Self::Zstd,
            _ => return None,
        })
    }
}

/// Compresses blocks one after the other; its contexts and its buffer live as long as it does.
pub(crate) struct Compressor {
    compression: Compression,
    snappy: snap::raw::Encoder,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    output: Vec<u8>,
}

/// Level that [`Compression::Adaptive`] uses.
const ADAPTIVE_ZSTD_LEVEL: i32 = 1;

impl Compressor {
    pub(crate) fn new(compression: Compression) -> Self {
        let level = match compression {
            Compression::Zstd { level } => Some(level),
            Compression::Adaptive => Some(ADAPTIVE_ZSTD_LEVEL),
            Compression::None | Compression::Snappy => None,
        };
        let range = zstd::compression_level_range();
        // No context means no memory for one: blocks are then stored raw, which every reader takes.
        let zstd = level.and_then(|level| zstd::bulk::Compressor::new(level.clamp(*range.start(), *range.end())).ok());
        Self { compression, snappy: snap::raw::Encoder::new(), zstd, output: Vec::new() }
    }

    /// The codec for `raw` and, unless that is [`Codec::Raw`], the compressed bytes without their raw length.
    pub(crate) fn compress(&mut self, raw: &[u8]) -> (Codec, &[u8]) {
        if raw.len() > RAW_LEN_MAX {
            return (Codec::Raw, &[]);
        }
        let codec = self.choose(raw);
        let compressed_len = match codec {
            Codec::Raw => None,
            Codec::Snappy => self.compress_snappy(raw),
            Codec::Zstd => self.compress_zstd(raw),
        };
        let len_max = raw.len() - raw.len() / 8;
        match compressed_len.and_then(|len| self.output.get(..len)) {
            Some(compressed) if compressed.len() + RAW_LEN_LEN <= len_max => (codec, compressed),
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

    fn compress_snappy(&mut self, raw: &[u8]) -> Option<usize> {
        let bound = snap::raw::max_compress_len(raw.len());
        if self.output.len() < bound {
            self.output.resize(bound, 0);
        }
        self.snappy.compress(raw, &mut self.output).ok()
    }

    fn compress_zstd(&mut self, raw: &[u8]) -> Option<usize> {
        self.output.clear();
        self.output.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        self.zstd.as_mut()?.compress_to_buffer(raw, &mut self.output).ok()
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").field("compression", &self.compression).finish_non_exhaustive()
    }
}

/// Bits a byte of a sample spread over `raw`: the collision entropy, which is at most Shannon's and needs one logarithm.
fn sampled_entropy_bits(raw: &[u8]) -> f32 {
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

thread_local! {
    static ZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Brings back a compressed block (raw length and codec's bytes).
pub(crate) fn decompress(codec: Codec, payload: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let (raw_len, compressed) =
        payload.split_first_chunk::<RAW_LEN_LEN>().ok_or(DecodeError::new("compressed block without its length"))?;
    let raw_len = u32::from_le_bytes(*raw_len) as usize;
    if raw_len > RAW_LEN_MAX {
        return Err(DecodeError::new("compressed block claims more bytes than any block has"));
    }
    match codec {
        Codec::Raw => Err(DecodeError::new("raw block taken for a compressed one")),
        Codec::Snappy => decompress_snappy(raw_len, compressed),
        Codec::Zstd => decompress_zstd(raw_len, compressed),
    }
}

fn decompress_snappy(raw_len: usize, compressed: &[u8]) -> Result<Vec<u8>, DecodeError> {
    const DAMAGED: DecodeError = DecodeError::new("Snappy block does not decompress");
    if snap::raw::decompress_len(compressed).map_err(|_| DAMAGED)? != raw_len {
        return Err(DecodeError::new("Snappy block of another length than recorded"));
    }
    let mut raw = vec![0; raw_len];
    snap::raw::Decoder::new().decompress(compressed, &mut raw).map_err(|_| DAMAGED)?;
    Ok(raw)
}

fn decompress_zstd(raw_len: usize, compressed: &[u8]) -> Result<Vec<u8>, DecodeError> {
    const DAMAGED: DecodeError = DecodeError::new("Zstandard block does not decompress");
    let mut raw = Vec::with_capacity(raw_len);
    ZSTD.with(|context| {
        let mut context = context.try_borrow_mut().map_err(|_| DAMAGED)?;
        if context.is_none() {
            *context = zstd::bulk::Decompressor::new().ok();
        }
        let decompressor = context.as_mut().ok_or(DecodeError::new("no memory to decompress a block"))?;
        decompressor.decompress_to_buffer(compressed, &mut raw).map_err(|_| DAMAGED)
    })?;
    if raw.len() != raw_len {
        return Err(DecodeError::new("Zstandard block of another length than recorded"));
    }
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use base::rng::Rng;

    use super::*;

    fn words(len: usize) -> Vec<u8> {
        b"the quick brown fox jumps over the lazy dog ".iter().copied().cycle().take(len).collect()
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        Rng::new(7).fill(&mut bytes);
        bytes
    }

    fn stored(compression: Compression, raw: &[u8]) -> (Codec, Vec<u8>) {
        let mut compressor = Compressor::new(compression);
        let (codec, compressed) = compressor.compress(raw);
        let mut payload = (raw.len() as u32).to_le_bytes().to_vec();
        payload.extend_from_slice(compressed);
        (codec, payload)
    }

    #[test]
    fn what_compresses_comes_back_and_what_does_not_stays_raw() {
        for compression in [Compression::Snappy, Compression::Zstd { level: 3 }, Compression::Adaptive] {
            let raw = words(4_000);
            let (codec, payload) = stored(compression, &raw);
            assert_ne!(codec, Codec::Raw, "{compression:?}");
            assert_eq!(decompress(codec, &payload).unwrap(), raw);
            assert_eq!(stored(compression, &noise(4_000)).0, Codec::Raw, "{compression:?}");
        }
        assert_eq!(stored(Compression::None, &words(4_000)).0, Codec::Raw);
    }

    #[test]
    fn adaptive_leaves_small_blocks_raw_and_tells_even_bytes_from_skewed_ones() {
        assert_eq!(stored(Compression::Adaptive, &words(1_023)).0, Codec::Raw);
        assert_eq!(stored(Compression::Adaptive, &words(1_024)).0, Codec::Zstd);
        let half = noise(2_000);
        assert_eq!(stored(Compression::Adaptive, &[half.as_slice(), &half].concat()).0, Codec::Snappy);
        assert!(sampled_entropy_bits(&noise(4_096)) > 7.0);
        assert!(sampled_entropy_bits(&words(4_096)) < 5.0);
    }

    #[test]
    fn a_claimed_length_over_the_bound_is_refused_before_it_is_allocated() {
        let (codec, mut payload) = stored(Compression::Snappy, &words(4_000));
        payload[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decompress(codec, &payload).unwrap_err().what().contains("more bytes than any block"));
    }

    #[test]
    fn the_wrong_codec_a_wrong_length_and_cut_bytes_are_errors() {
        for compression in [Compression::Snappy, Compression::Zstd { level: 1 }] {
            let (codec, payload) = stored(compression, &words(4_000));
            let wrong = if codec == Codec::Snappy { Codec::Zstd } else { Codec::Snappy };
            assert!(decompress(wrong, &payload).is_err());
            assert!(decompress(Codec::Raw, &payload).is_err());
            for raw_len in [0u32, 3_999, 4_001] {
                let mut other = payload.clone();
                other[..4].copy_from_slice(&raw_len.to_le_bytes());
                assert!(decompress(codec, &other).is_err(), "{codec:?} {raw_len}");
            }
            for len in 0..payload.len() {
                assert!(decompress(codec, &payload[..len]).is_err(), "{codec:?} cut at {len}");
            }
        }
    }

    #[test]
    fn a_block_over_the_bound_is_stored_raw() {
        assert_eq!(stored(Compression::Snappy, &vec![0; RAW_LEN_MAX + 1]).0, Codec::Raw);
    }
}
