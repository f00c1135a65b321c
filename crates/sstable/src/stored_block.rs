//! A block as it stands in the file.
//!
//! ```text
//! stored block := payload | codec u8 | checksum u32
//! payload      := raw: the block | compressed: raw length u32, then the codec's bytes
//! ```
//! The checksum covers payload and codec and starts from the salt of the table, so that a block of another file does not
//! verify. In an encrypted table the payload is sealed and has its tag behind it; the position is the block's offset in the
//! file, associated is the codec.

use base::DecodeError;
use base::checksum::{Hasher, crc32_salted};
use compression::Codec;
use encryption::{FileCipher, TAG_LEN};

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

impl StoredBlock<'_> {
    /// The payload of a block at `offset` of an encrypted table, as it was before it was sealed.
    pub(crate) fn open(&self, cipher: &FileCipher, offset: u64) -> Result<Vec<u8>, DecodeError> {
        let (sealed, tag) =
            self.payload.split_last_chunk::<TAG_LEN>().ok_or(DecodeError::new("sealed block shorter than its tag"))?;
        let mut payload = sealed.to_vec();
        cipher
            .open_in_place(offset, 0, &[self.codec as u8], &mut payload, tag)
            .map_err(|_| DecodeError::new("sealed block does not match its tag"))?;
        Ok(payload)
    }
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

/// The payload of a block to stand at `offset` of an encrypted table, sealed, with its tag, in `buffer`.
pub(crate) fn seal<'b>(
    cipher: &FileCipher,
    offset: u64,
    codec: Codec,
    payload: &[u8],
    buffer: &'b mut Vec<u8>,
) -> &'b [u8] {
    buffer.clear();
    buffer.extend_from_slice(payload);
    let tag = cipher.seal_in_place(offset, 0, &[codec as u8], buffer);
    buffer.extend_from_slice(&tag);
    buffer
}

/// What stands behind a payload: codec and checksum.
pub(crate) fn trailer(codec: Codec, payload: &[u8], salt: u32) -> [u8; TRAILER_LEN] {
    let mut hasher = Hasher::new_with_initial(salt);
    hasher.update(payload);
    hasher.update(&[codec as u8]);
    let [a, b, c, d] = hasher.finalize().to_le_bytes();
    [codec as u8, a, b, c, d]
}
