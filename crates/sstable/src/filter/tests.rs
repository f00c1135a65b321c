//! What the filters promise: no key is ever missed, the error rate is the one asked for, and no bytes make one panic.

use base::rng::Rng;
use proptest::prelude::*;

use super::*;

fn hashes(count: usize, seed: u64) -> Vec<u64> {
    let mut rng = Rng::new(seed);
    (0..count).map(|_| rng.next_u64()).collect()
}

fn open(built: &BuiltFilter) -> Filter {
    Filter::open(built.kind, &built.parameters, Bytes::copy_from_slice(&built.bytes)).unwrap()
}

fn error_rate(filter: &Filter, probes: u32, seed: u64) -> f64 {
    let mut rng = Rng::new(seed);
    let passed = (0..probes).filter(|_| filter.may_contain(rng.next_u64())).count();
    passed as f64 / f64::from(probes)
}

#[test]
fn every_key_passes_at_every_size_and_the_error_rate_is_as_configured() {
    let seed = 0x5eed;
    println!("seed {seed:#x}");
    for (policy, rate_max, probes) in [(FilterPolicy::Bits8, 0.006, 200_000), (FilterPolicy::Bits16, 0.000_1, 400_000)]
    {
        for count in [1, 2, 10, 100, 499, 500, 501, 1_000, 11_500, 50_000] {
            let mut keys = hashes(count, seed + count as u64);
            let built = build(policy, &mut keys);
            let filter = open(&built);
            assert!(keys.iter().all(|hash| filter.may_contain(*hash)), "{policy:?} misses one of {count} keys");
            let rate = error_rate(&filter, probes, seed ^ 0xabcd);
            let bits = built.bytes.len() as f64 * 8.0 / count as f64;
            println!("{policy:?} {count:>6} keys: kind {} {bits:>5.1} bits a key, error rate {rate:.6}", built.kind);
            assert!(rate <= rate_max, "{policy:?} over {count} keys: {rate}");
        }
    }
}

#[test]
fn a_tiny_table_has_a_bloom_filter_and_a_larger_one_a_fuse_filter() {
    assert_eq!(build(FilterPolicy::Bits8, &mut hashes(FUSE_KEYS_MIN - 1, 1)).kind, 1);
    assert_eq!(build(FilterPolicy::Bits8, &mut hashes(FUSE_KEYS_MIN, 1)).kind, 2);
    assert_eq!(build(FilterPolicy::Bits16, &mut hashes(FUSE_KEYS_MIN, 1)).kind, 3);
    assert_eq!(build(FilterPolicy::None, &mut hashes(FUSE_KEYS_MIN, 1)).kind, 0);
    assert!(!open(&build(FilterPolicy::None, &mut hashes(9, 1))).exists());
}

#[test]
fn repeated_hashes_are_one_key() {
    let mut keys = hashes(1_000, 3);
    keys.extend_from_within(..);
    let once = build(FilterPolicy::Bits8, &mut hashes(1_000, 3));
    let twice = build(FilterPolicy::Bits8, &mut keys);
    assert_eq!((keys.len(), once.bytes, once.parameters), (1_000, twice.bytes, twice.parameters));
}

#[test]
fn fingerprints_of_sixteen_bits_work_at_an_odd_address() {
    let mut keys = hashes(2_000, 5);
    let built = build(FilterPolicy::Bits16, &mut keys);
    for shift in [0, 1] {
        let mut shifted = vec![0; shift];
        shifted.extend_from_slice(&built.bytes);
        let filter = Filter::open(built.kind, &built.parameters, Bytes::from(shifted).slice(shift..)).unwrap();
        assert!(keys.iter().all(|hash| filter.may_contain(*hash)));
    }
}

#[test]
fn an_unknown_kind_is_told_from_damage() {
    assert!(matches!(Filter::open(4, &[], Bytes::new()), Err(FilterError::UnknownKind)));
    assert!(matches!(Filter::open(0, &[1], Bytes::new()), Err(FilterError::Damaged(_))));
    assert!(matches!(Filter::open(1, &[0], Bytes::from_static(&[0])), Err(FilterError::Damaged(_))));
    assert!(matches!(Filter::open(1, &[31], Bytes::from_static(&[0])), Err(FilterError::Damaged(_))));
}

proptest! {
    #[test]
    fn hostile_parameters_are_refused_or_safe(
        kind in 2u8..4, segment_bits in 0u32..32, mask_off in 0u32..2, segments in 0u32..20, len_off in 0usize..3,
        hash: u64,
    ) {
        let segment_len = 1u32 << segment_bits;
        let mut parameters = 7u64.to_le_bytes().to_vec();
        parameters.extend_from_slice(&segment_len.to_le_bytes());
        parameters.extend_from_slice(&(segment_len - 1).wrapping_add(mask_off).to_le_bytes());
        parameters.extend_from_slice(&segment_len.wrapping_mul(segments).to_le_bytes());
        let positions = (segment_len as usize).saturating_mul(segments as usize + 2).min(1 << 20);
        let bytes = vec![0; (positions * usize::from(kind - 1)).saturating_sub(len_off)];
        if let Ok(filter) = Filter::open(kind, &parameters, Bytes::from(bytes)) {
            let _ = filter.may_contain(hash);
        }
    }
}
