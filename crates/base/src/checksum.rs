//! CRC-32 (IEEE), the checksum of every format.

pub use crc32fast::Hasher;

/// Checksum of `bytes`.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// Checksum of `bytes` in a file whose salt is `salt`: bytes of another file, or of an earlier life of the same one, do
/// not verify under it.
#[must_use]
pub fn crc32_salted(salt: u32, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(salt);
    hasher.update(bytes);
    hasher.finalize()
}
