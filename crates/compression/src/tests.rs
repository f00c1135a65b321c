//! What compresses comes back; what is damaged is an error.

use proptest::prelude::*;

use crate::compressor::sampled_entropy_bits;
use crate::{Codec, Compression, Compressor, RAW_LEN_MAX, decompress};
use base::rng::Rng;

const COMPRESSING: [Compression; 3] = [Compression::Snappy, Compression::Zstd { level: 3 }, Compression::Adaptive];

fn words(len: usize) -> Vec<u8> {
    b"the quick brown fox jumps over the lazy dog ".iter().copied().cycle().take(len).collect()
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Rng::new(7).fill(&mut bytes);
    bytes
}

fn compressed(compression: Compression, raw: &[u8]) -> (Codec, Vec<u8>) {
    let mut compressor = Compressor::new(compression);
    let (codec, compressed) = compressor.compress(raw, raw.len() - raw.len() / 8);
    (codec, compressed.to_vec())
}

#[test]
fn what_compresses_comes_back_and_what_does_not_stays_raw() {
    for compression in COMPRESSING {
        let raw = words(4_000);
        let (codec, bytes) = compressed(compression, &raw);
        assert_ne!(codec, Codec::Raw, "{compression:?}");
        assert_eq!(decompress(codec, &bytes).unwrap(), raw);
        assert_eq!(compressed(compression, &noise(4_000)).0, Codec::Raw, "{compression:?}");
    }
    assert_eq!(compressed(Compression::None, &words(4_000)).0, Codec::Raw);
}

#[test]
fn the_length_stands_in_front_and_a_codec_has_a_number() {
    let (codec, bytes) = compressed(Compression::Snappy, &[b'a'; 100]);
    let expected = [
        100, 0, 0, 0, // raw length
        100, 0, b'a', 0xfe, 1, 0, 0x8a, 1, 0, // Snappy: length, one literal, 64 and 35 bytes from one back
    ];
    assert_eq!((codec as u8, &bytes[..]), (1, &expected[..]));
    assert_eq!(decompress(codec, &expected).unwrap(), [b'a'; 100]);
    let zstd = [
        100, 0, 0, 0, // raw length
        0x28, 0xb5, 0x2f, 0xfd, 0x20, 100, // magic, single segment without checksum, content size
        0x23, 3, 0, b'a', // last block, one byte repeated 100 times
    ];
    assert_eq!(decompress(Codec::Zstd, &zstd).unwrap(), [b'a'; 100]);
    for byte in 0..=u8::MAX {
        assert_eq!(Codec::from_byte(byte).map(|codec| codec as u8), (byte <= 2).then_some(byte));
    }
}

#[test]
fn what_is_longer_than_asked_for_stays_raw() {
    for compression in COMPRESSING {
        let raw = words(4_000);
        let mut compressor = Compressor::new(compression);
        let len = compressor.compress(&raw, usize::MAX).1.len();
        assert_ne!(compressor.compress(&raw, len).0, Codec::Raw);
        assert_eq!(compressor.compress(&raw, len - 1), (Codec::Raw, &[][..]));
    }
}

#[test]
fn adaptive_leaves_small_blocks_raw_and_tells_even_bytes_from_skewed_ones() {
    assert_eq!(compressed(Compression::Adaptive, &words(1_023)).0, Codec::Raw);
    assert_eq!(compressed(Compression::Adaptive, &words(1_024)).0, Codec::Zstd);
    let half = noise(2_000);
    assert_eq!(compressed(Compression::Adaptive, &[half.as_slice(), &half].concat()).0, Codec::Snappy);
    assert!(sampled_entropy_bits(&noise(4_096)) > 7.0);
    assert!(sampled_entropy_bits(&words(4_096)) < 5.0);
}

#[test]
fn a_claimed_length_over_the_bound_is_refused_before_it_is_allocated() {
    for compression in COMPRESSING {
        let (codec, mut bytes) = compressed(compression, &words(4_000));
        for claimed in [RAW_LEN_MAX as u32 + 1, u32::MAX] {
            bytes[..4].copy_from_slice(&claimed.to_le_bytes());
            assert!(decompress(codec, &bytes).unwrap_err().what().contains("longer than any"));
        }
    }
}

#[test]
fn the_wrong_codec_a_wrong_length_and_cut_bytes_are_errors() {
    for compression in [Compression::Snappy, Compression::Zstd { level: 1 }] {
        let (codec, bytes) = compressed(compression, &words(4_000));
        let wrong = if codec == Codec::Snappy { Codec::Zstd } else { Codec::Snappy };
        assert!(decompress(wrong, &bytes).is_err());
        assert!(decompress(Codec::Raw, &bytes).is_err());
        for raw_len in [0u32, 3_999, 4_001] {
            let mut other = bytes.clone();
            other[..4].copy_from_slice(&raw_len.to_le_bytes());
            assert!(decompress(codec, &other).is_err(), "{codec:?} {raw_len}");
        }
        for len in 0..bytes.len() {
            assert!(decompress(codec, &bytes[..len]).is_err(), "{codec:?} cut at {len}");
        }
    }
}

#[test]
fn bytes_over_the_bound_stay_raw() {
    assert_eq!(compressed(Compression::Snappy, &vec![0; RAW_LEN_MAX + 1]).0, Codec::Raw);
    assert_eq!(compressed(Compression::Snappy, &vec![0; RAW_LEN_MAX]).0, Codec::Snappy);
}

proptest! {
    #[test]
    fn any_bytes_come_back_one_after_the_other(
        all in prop::collection::vec(prop::collection::vec(0u8..4, 0..3_000), 1..5), which in 0usize..3,
    ) {
        let mut compressor = Compressor::new(COMPRESSING[which]);
        for raw in all {
            let (codec, bytes) = compressor.compress(&raw, usize::MAX);
            if codec != Codec::Raw {
                prop_assert_eq!(decompress(codec, bytes).unwrap(), raw);
            }
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_or_have_the_length_that_they_tell(
        at: prop::sample::Index, flip in 1u8.., which in 0usize..2,
    ) {
        let (codec, mut bytes) = compressed(COMPRESSING[which], &words(2_000));
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(raw) = decompress(codec, &bytes) {
            prop_assert_eq!(raw.len() as u32, u32::from_le_bytes(*bytes.first_chunk().unwrap()));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), codec in 0u8..3) {
        let _ = decompress(Codec::from_byte(codec).unwrap(), &bytes);
    }
}
