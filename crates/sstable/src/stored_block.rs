//! A block as it stands in the file.
//!
//! ```text
//! stored block := payload | codec u8 | checksum u32
//! payload      := raw: the block | compressed: raw length u32, then the codec's bytes
//! ```
//! The checksum covers payload and codec and starts from the salt of the table, so that a block of another file does not
//! verify.

use base::DecodeError;
use base::checksum::{Hasher, crc32_salted};

use crate::codec::{Codec, RAW_LEN_LEN};

/// Bytes behind the payload.
pub(crate) const TRAILER_LEN: usize = 5;

/// Shortest stored block: one byte of payload.
pub(crate) const STORED_BLOCK_LEN_MIN: usize = TRAILER_LEN + 1;

/// The payload of a stored block and how it is coded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredBlock<'a> {
    pub(crate) codec: Codec,
    pub(crate) payload: &'a [u8],
}

/// Why a stored block cannot be read.
#[derive(Debug)]
pub(crate) enum StoredBlockError {
    UnknownCodec(u8),
    Damaged(DecodeError),
    Checksum { stored: u32, computed: u32 },
}

/// Splits a stored block; compares its checksum first if `verify`.
#[inline]
pub(crate) fn split(stored: &[u8], salt: u32, verify: bool) -> Result<StoredBlock<'_>, StoredBlockError> {
    let Some((checked, checksum)) = stored.split_last_chunk::<4>() else {
        return Err(StoredBlockError::Damaged(DecodeError::new("stored block shorter than its checksum")));
    };
    if verify {
        let (stored, computed) = (u32::from_le_bytes(*checksum), crc32_salted(salt, checked));
        if stored != computed {
            return Err(StoredBlockError::Checksum { stored, computed });
        }
    }
    let Some((codec, payload)) = checked.split_last() else {
        return Err(StoredBlockError::Damaged(DecodeError::new("stored block without a codec")));
    };
    let codec = Codec::from_byte(*codec).ok_or(StoredBlockError::UnknownCodec(*codec))?;
    Ok(StoredBlock { codec, payload })
}

/// The parts of a stored block, in order: raw length (none for a raw block), payload, codec and checksum.
pub(crate) struct Parts<'a> {
    raw_len: [u8; RAW_LEN_LEN],
    payload: &'a [u8],
    trailer: [u8; TRAILER_LEN],
    codec: Codec,
}

impl<'a> Parts<'a> {
    /// A block of `raw_len` bytes stored as `payload`, without the raw length.
    pub(crate) fn new(codec: Codec, raw_len: u32, payload: &'a [u8], salt: u32) -> Self {
        let raw_len = raw_len.to_le_bytes();
        let mut hasher = Hasher::new_with_initial(salt);
        if codec != Codec::Raw {
            hasher.update(&raw_len);
        }
        hasher.update(payload);
        hasher.update(&[codec as u8]);
        let [a, b, c, d] = hasher.finalize().to_le_bytes();
        Self { raw_len, payload, trailer: [codec as u8, a, b, c, d], codec }
    }

    pub(crate) fn as_slices(&self) -> [&[u8]; 3] {
        let raw_len: &[u8] = if self.codec == Codec::Raw { &[] } else { &self.raw_len };
        [raw_len, self.payload, &self.trailer]
    }
}
