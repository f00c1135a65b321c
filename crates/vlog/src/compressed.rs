//! A value that is stored compressed, which the flags of its record say.
//!
//! ```text
//! compressed value := codec u8: 1 Snappy (raw format), 2 Zstandard (one frame) | raw length u32 | the codec's bytes
//! ```
//! The checksum of the record is over the bytes as stored, so that collecting moves them as they are.

use base::DecodeError;
use compression::{Codec, Compressor};

/// Appends to `out` what is to be appended in place of `value`, with `value_compressed` in its meta, and returns its
/// length; nothing where it would not be shorter than the value.
pub fn compress_value(compressor: &mut Compressor, value: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let len_max = value.len().checked_sub(2)?;
    let (codec, compressed) = compressor.compress(value, len_max);
    if codec == Codec::Raw {
        return None;
    }
    out.push(codec as u8);
    out.extend_from_slice(compressed);
    Some(1 + compressed.len())
}

/// Why a compressed value cannot be had.
pub(crate) enum Unreadable {
    UnknownCodec(u8),
    Damaged(DecodeError),
}

/// The value, of stored bytes.
pub(crate) fn decompress_value(stored: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let (codec, compressed) =
        stored.split_first().ok_or(Unreadable::Damaged(DecodeError::new("compressed value without a codec")))?;
    let codec = Codec::from_byte(*codec).ok_or(Unreadable::UnknownCodec(*codec))?;
    compression::decompress(codec, compressed).map_err(Unreadable::Damaged)
}
