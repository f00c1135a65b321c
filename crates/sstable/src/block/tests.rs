//! Blocks against a sorted list, and against bytes that no builder wrote.

use std::collections::BTreeMap;

use base::key_hash;
use proptest::prelude::*;

use super::*;
use crate::block_builder::{BlockBuilder, shared_prefix_len};

type Model = BTreeMap<(Vec<u8>, std::cmp::Reverse<Version>), Vec<u8>>;

fn built(model: &Model, restart_interval: usize) -> Vec<u8> {
    let mut builder = BlockBuilder::new(restart_interval);
    // Filled once and cleared first: what is left over must not show.
    builder.add(InternalKeyRef::new(b"left over", 77), 1, b"left over");
    builder.finish();
    builder.clear();
    for ((user_key, version), value) in model {
        let key = InternalKeyRef::new(user_key, version.0);
        let bound = builder.len_with(key, value);
        builder.add(key, fingerprint(key_hash(user_key)), value);
        assert!(builder.entries_len() < bound);
    }
    builder.finish().to_vec()
}

fn key_at(block: &Block<'_>, index: usize) -> Vec<u8> {
    let entry = block.entry(index).unwrap();
    let mut key = block.group_key(index).unwrap()[..entry.shared].to_vec();
    key.extend_from_slice(entry.rest);
    key
}

fn user_keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(0u8..3, 1..6),
        prop::collection::vec(any::<u8>(), 1..300),
        "key[0-9]{3}".prop_map(String::into_bytes),
    ]
}

fn models() -> impl Strategy<Value = Model> {
    let versions = prop_oneof![0u64..4, Just(u64::MAX), 1_000_000u64..1_000_300];
    let key = (user_keys(), versions.prop_map(std::cmp::Reverse));
    prop::collection::btree_map(key, prop::collection::vec(any::<u8>(), 0..20), 1..60)
}

proptest! {
    #[test]
    fn every_entry_is_where_the_model_has_it(model in models(), restart_interval in 1usize..40) {
        let bytes = built(&model, restart_interval);
        let layout = Layout::parse(&bytes).unwrap();
        let block = layout.of(&bytes);
        prop_assert_eq!(layout.count(), model.len());
        for (index, ((user_key, version), value)) in model.iter().enumerate() {
            prop_assert_eq!(&key_at(&block, index), user_key);
            prop_assert_eq!(block.version(index), version.0);
            prop_assert_eq!(&bytes[block.entry(index).unwrap().value], value.as_slice());
        }
    }

    #[test]
    fn searches_agree_with_the_model(model in models(), restart_interval in 1usize..40, probe in user_keys(), at in 0u64..5) {
        let bytes = built(&model, restart_interval);
        let layout = Layout::parse(&bytes).unwrap();
        let block = layout.of(&bytes);
        let stored = model.keys().map(|(user_key, version)| (user_key.clone(), version.0));
        let nearby = stored.clone().map(|(user_key, version)| (user_key, version.wrapping_sub(1)));
        for (user_key, version) in stored.chain(nearby).chain([(probe.clone(), at), (probe, u64::MAX)]) {
            let wanted = (user_key.clone(), std::cmp::Reverse(version));
            let lower = model.keys().take_while(|key| **key < wanted).count();
            prop_assert_eq!(block.lower_bound(InternalKeyRef::new(&user_key, version)).unwrap(), lower);
            let expected = model.range(wanted..).next().filter(|((found, _), _)| *found == user_key);
            let expected = expected.map(|((_, version), value)| (version.0, value.as_slice()));
            for found in [
                block.find(&user_key, key_hash(&user_key), version).unwrap(),
                block.find_by_halves(&user_key, version).unwrap(),
            ] {
                prop_assert_eq!(found.map(|(version, value)| (version, &bytes[value])), expected);
            }
        }
    }

    #[test]
    fn no_bytes_make_a_block_panic(
        model in models(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(), cut_it: bool, probe in user_keys(),
    ) {
        let mut bytes = built(&model, 4);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cut_it {
            bytes.truncate(cut.index(bytes.len()));
        }
        let Ok(layout) = Layout::parse(&bytes) else { return Ok(()) };
        let block = layout.of(&bytes);
        for index in 0..layout.count().min(2_000) {
            let _ = (block.entry(index), block.group_key(index), block.version(index));
        }
        let _ = block.lower_bound(InternalKeyRef::new(&probe, 1));
        let _ = block.find(&probe, key_hash(&probe), 1);
        let _ = block.find_by_halves(&probe, 1);
    }

    #[test]
    fn the_shared_prefix_is_that_of_a_byte_by_byte_count(
        front in prop::collection::vec(any::<u8>(), 0..40), a in prop::collection::vec(0u8..2, 0..20),
        b in prop::collection::vec(0u8..2, 0..20),
    ) {
        let (a, b) = ([front.clone(), a].concat(), [front, b].concat());
        let expected = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        prop_assert_eq!(shared_prefix_len(&a, &b), expected);
    }

    #[test]
    fn equal_bytes_marks_exactly_the_equal_ones(a: u64, b: u64, equal in 0u64..256) {
        let mut a = a.to_le_bytes();
        let b = b.to_le_bytes();
        for bit in (0..8).filter(|bit| equal & (1 << bit) != 0) {
            a[bit] = b[bit];
        }
        let marks = equal_bytes(u64::from_le_bytes(a), u64::from_le_bytes(b)).to_le_bytes();
        for at in 0..8 {
            prop_assert_eq!(marks[at], if a[at] == b[at] { 0x80 } else { 0 });
        }
    }
}

#[test]
fn a_block_of_more_entries_than_are_scanned_is_searched_by_halves() {
    let model: Model = (0..FINGERPRINT_SCAN_MAX as u32 + 100)
        .map(|n| ((format!("{n:08}").into_bytes(), std::cmp::Reverse(u64::from(n))), n.to_le_bytes().to_vec()))
        .collect();
    let bytes = built(&model, 16);
    let layout = Layout::parse(&bytes).unwrap();
    for ((user_key, version), value) in &model {
        let (found, range) = layout.of(&bytes).find(user_key, key_hash(user_key), u64::MAX).unwrap().unwrap();
        assert_eq!((found, &bytes[range]), (version.0, value.as_slice()));
    }
    assert!(layout.of(&bytes).find(b"00000000x", 0, u64::MAX).unwrap().is_none());
}

#[test]
fn a_block_over_64_kib_has_wide_offsets() {
    let model: Model =
        (0..3u8).map(|n| ((vec![n + 1], std::cmp::Reverse(u64::MAX - u64::from(n))), vec![n; 40_000])).collect();
    let bytes = built(&model, 16);
    let layout = Layout::parse(&bytes).unwrap();
    assert_eq!(layout.offset_width, 4);
    for ((user_key, _), value) in &model {
        let (_, range) = layout.of(&bytes).find(user_key, key_hash(user_key), u64::MAX).unwrap().unwrap();
        assert_eq!(&bytes[range], value.as_slice());
    }
}

#[test]
fn one_version_for_all_takes_no_bytes() {
    let model: Model = (0..40u8).map(|n| ((vec![n + 1], std::cmp::Reverse(9)), vec![])).collect();
    let bytes = built(&model, 1);
    // Per entry: two lengths, one key byte, an offset and a head of two bytes, and a fingerprint.
    assert_eq!(bytes.len(), 40 * (2 + 1 + 2 + 2 + 1) + TAIL_LEN);
}
