//! The filter over the user keys of a table: which keys are surely not in it.
//!
//! ```text
//! kind       := u8: 0 none, 1 bloom, 2 binary fuse of 8 bits, 3 binary fuse of 16 bits
//! parameters := bloom: probes u8
//!             | fuse: seed u64, segment length u32, segment length - 1 u32, length of all segments but two u32
//! filter     := bloom: bits, least significant first | fuse: fingerprints, u8 or u16 each
//! ```
//! It stands over the sorted, distinct hashes of user keys ([`base::key_hash`]). A binary fuse filter needs about nine
//! bits a key from some thousands of keys on, but wastes many below, and its construction may fail: there a bloom filter
//! of the same error rate takes its place.

use base::DecodeError;
use bytes::Bytes;
use xorf::{BinaryFuse8, BinaryFuse8Ref, BinaryFuse16, BinaryFuse16Ref, DmaSerializable, Filter as _, FilterRef};

use crate::FilterPolicy;

/// Below this many keys a bloom filter is not larger than a binary fuse filter.
const FUSE_KEYS_MIN: usize = 500;
const FUSE_PARAMETERS_LEN: usize = 20;
const FUSE_SEGMENT_LEN_MAX: u32 = 262_144;

const BLOOM_BYTES_MIN: usize = 16;
/// Most probes a bloom filter may ask for.
const BLOOM_PROBES_MAX: u8 = 30;
/// Most keys a table's filter is built over; a table of more has none.
const KEYS_MAX: usize = 1 << 29;

/// A filter about to be stored.
#[derive(Debug, Default)]
pub(crate) struct BuiltFilter {
    pub(crate) kind: u8,
    pub(crate) parameters: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
}

/// Builds a filter over `hashes`, in any order and with repetitions; leaves them sorted and distinct.
pub(crate) fn build(policy: FilterPolicy, hashes: &mut Vec<u64>) -> BuiltFilter {
    hashes.sort_unstable();
    hashes.dedup();
    if hashes.len() > KEYS_MAX {
        return BuiltFilter::default();
    }
    let fuse = hashes.len() >= FUSE_KEYS_MIN;
    match policy {
        FilterPolicy::None => BuiltFilter::default(),
        FilterPolicy::Bits8 => {
            let filter = if fuse { BinaryFuse8::try_from(hashes.as_slice()).ok() } else { None };
            filter.map_or_else(|| bloom(hashes, 12, 8), |filter| stored_fuse(2, &filter))
        }
        FilterPolicy::Bits16 => {
            let filter = if fuse { BinaryFuse16::try_from(hashes.as_slice()).ok() } else { None };
            filter.map_or_else(|| bloom(hashes, 24, 16), |filter| stored_fuse(3, &filter))
        }
    }
}

fn stored_fuse(kind: u8, filter: &impl DmaSerializable) -> BuiltFilter {
    let mut parameters = vec![0; FUSE_PARAMETERS_LEN];
    filter.dma_copy_descriptor_to(&mut parameters);
    BuiltFilter { kind, parameters, bytes: filter.dma_fingerprints().to_vec() }
}

fn bloom(hashes: &[u64], bits_per_key: usize, probes: u8) -> BuiltFilter {
    let mut bytes = vec![0u8; (hashes.len() * bits_per_key).div_ceil(8).max(BLOOM_BYTES_MIN)];
    let bits = bytes.len() as u64 * 8;
    for hash in hashes {
        for bit in bloom_bits(*hash, bits, probes) {
            if let Some(byte) = bytes.get_mut((bit / 8) as usize) {
                *byte |= 1 << (bit % 8);
            }
        }
    }
    BuiltFilter { kind: 1, parameters: vec![probes], bytes }
}

/// The bits of a key: those of its hash mixed anew for each probe. Steps of a fixed width, as double hashing takes them,
/// would fall together too often in filters as small as these.
#[inline]
fn bloom_bits(hash: u64, bits: u64, probes: u8) -> impl Iterator<Item = u64> {
    (0..u64::from(probes)).map(move |probe| {
        let product = u128::from(hash ^ probe.wrapping_mul(0x9e37_79b9_7f4a_7c15)) * 0xd6e8_feb8_6659_fd93;
        let mixed = (product as u64) ^ ((product >> 64) as u64);
        ((u128::from(mixed) * u128::from(bits)) >> 64) as u64
    })
}

/// A filter read back, its parameters checked once so that no lookup can leave its bytes.
#[derive(Debug)]
pub(crate) enum Filter {
    None,
    Bloom { probes: u8, bits: Bytes },
    Fuse8 { parameters: [u8; FUSE_PARAMETERS_LEN], fingerprints: Bytes },
    Fuse16 { parameters: [u8; FUSE_PARAMETERS_LEN], fingerprints: Bytes },
}

/// Why a stored filter cannot be used.
#[derive(Debug)]
pub(crate) enum FilterError {
    UnknownKind,
    Damaged(DecodeError),
}

impl Filter {
    pub(crate) fn open(kind: u8, parameters: &[u8], bytes: Bytes) -> Result<Self, FilterError> {
        let damaged = |what| FilterError::Damaged(DecodeError::new(what));
        match (kind, parameters) {
            (0, []) if bytes.is_empty() => Ok(Self::None),
            (1, [probes @ 1..=BLOOM_PROBES_MAX]) if !bytes.is_empty() => {
                Ok(Self::Bloom { probes: *probes, bits: bytes })
            }
            (2 | 3, parameters) => {
                let parameters = <[u8; FUSE_PARAMETERS_LEN]>::try_from(parameters)
                    .map_err(|_| damaged("filter parameters of a wrong length"))?;
                let fingerprint_len = if kind == 2 { 1 } else { 2 };
                if !fuse_is_sound(&parameters, bytes.len(), fingerprint_len) {
                    return Err(damaged("filter parameters contradict each other"));
                }
                Ok(match kind {
                    2 => Self::Fuse8 { parameters, fingerprints: bytes },
                    _ => Self::Fuse16 { parameters, fingerprints: aligned_to_two(bytes) },
                })
            }
            (0 | 1, _) => Err(damaged("filter parameters contradict each other")),
            _ => Err(FilterError::UnknownKind),
        }
    }

    /// Whether a key of this hash may be among the keys.
    #[inline]
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        match self {
            Self::None => true,
            Self::Bloom { probes, bits } => bloom_bits(hash, bits.len() as u64 * 8, *probes)
                .all(|bit| bits.get((bit / 8) as usize).is_some_and(|byte| byte & (1 << (bit % 8)) != 0)),
            Self::Fuse8 { parameters, fingerprints } => {
                BinaryFuse8Ref::from_dma(parameters, fingerprints).contains(&hash)
            }
            Self::Fuse16 { parameters, fingerprints } => {
                BinaryFuse16Ref::from_dma(parameters, fingerprints).contains(&hash)
            }
        }
    }

    /// Whether there is a filter at all.
    pub(crate) fn exists(&self) -> bool {
        !matches!(self, Self::None)
    }
}

/// Whether the three positions of any hash lie within the fingerprints. The highest is below the length of all segments
/// plus two more, as each position is moved only within its own, aligned segment.
fn fuse_is_sound(parameters: &[u8; FUSE_PARAMETERS_LEN], bytes_len: usize, fingerprint_len: usize) -> bool {
    let [_, _, _, _, _, _, _, _, numbers @ ..] = parameters;
    let (numbers, _) = numbers.as_chunks::<4>();
    let [segment_len, mask, segments_len] = numbers else { return false };
    let (segment_len, mask) = (u32::from_le_bytes(*segment_len), u32::from_le_bytes(*mask));
    let segments_len = u32::from_le_bytes(*segments_len);
    let positions = u64::from(segments_len) + 2 * u64::from(segment_len);
    segment_len.is_power_of_two()
        && segment_len <= FUSE_SEGMENT_LEN_MAX
        && mask == segment_len - 1
        && segments_len != 0
        && segments_len % segment_len == 0
        && positions <= u64::from(u32::MAX)
        && positions * fingerprint_len as u64 == bytes_len as u64
}

/// The bytes at an even address, as the filter over `u16` needs them: copied if they are not.
fn aligned_to_two(bytes: Bytes) -> Bytes {
    if bytes.as_ptr().align_offset(2) == 0 {
        return bytes;
    }
    let mut copy = vec![0; bytes.len() + 1];
    let start = copy.as_ptr().align_offset(2).min(1);
    for (to, from) in copy.iter_mut().skip(start).zip(bytes.iter()) {
        *to = *from;
    }
    let len = bytes.len();
    Bytes::from(copy).slice(start..start + len)
}

#[cfg(test)]
mod tests;
