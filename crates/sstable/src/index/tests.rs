//! The index against a sorted list of keys, and against indexes that no builder writes.

use base::InternalKey;
use proptest::prelude::*;

use super::*;
use crate::filter::BuiltFilter;
use crate::index_builder::IndexBuilder;

const BLOCK_LEN: u32 = 100;

fn place(offset: u64) -> IndexPlace<'static> {
    IndexPlace { path: Path::new("t.sst"), table: TableId(1), file_len: offset + 10_000, offset }
}

fn index_offset(blocks: usize) -> u64 {
    (blocks as u64 * u64::from(BLOCK_LEN)).next_multiple_of(INDEX_ALIGNMENT)
}

fn summary(first: &InternalKey, last: &InternalKey) -> TableSummary {
    TableSummary { smallest: first.clone(), largest: last.clone(), ..TableSummary::empty(TableId(1)) }
}

/// An index whose blocks start with `keys`.
fn built(keys: &[InternalKey], change: impl FnOnce(&mut IndexBuilder, &mut TableSummary)) -> Bytes {
    let mut builder = IndexBuilder::default();
    for (n, key) in keys.iter().enumerate() {
        builder.start_block(key.as_ref());
        builder.finish_block(n as u64 * u64::from(BLOCK_LEN), BLOCK_LEN);
    }
    let mut summary = summary(&keys[0], keys.last().unwrap());
    change(&mut builder, &mut summary);
    Bytes::from(builder.finish(&summary, &BuiltFilter::default()))
}

fn keys() -> impl Strategy<Value = Vec<InternalKey>> {
    let user_key = prop_oneof![
        prop::collection::vec(0u8..3, 1..12),
        prop::collection::vec(any::<u8>(), 1..12),
        prop::collection::vec(0u8..2, 1..4).prop_map(|tail| [b"the same front ".as_slice(), &tail].concat()),
    ];
    let key = (user_key, 0u64..4).prop_map(|(user_key, version)| InternalKey { user_key, version });
    prop::collection::btree_set(key, 1..60).prop_map(|keys| keys.into_iter().collect())
}

proptest! {
    #[test]
    fn a_search_finds_the_last_block_that_starts_at_or_before_the_key(keys in keys(), probes in keys()) {
        let opened = OpenedIndex::read(&built(&keys, |_, _| ()), place(index_offset(keys.len()))).unwrap();
        for probe in probes.iter().chain(&keys) {
            let expected = keys.iter().filter(|key| *key <= probe).count().checked_sub(1);
            prop_assert_eq!(opened.index.find(probe.as_ref()), expected);
            for (number, key) in keys.iter().enumerate() {
                prop_assert_eq!(opened.index.starts_with(number, &probe.user_key), key.user_key == probe.user_key);
            }
            prop_assert!(!opened.index.starts_with(keys.len(), &probe.user_key));
        }
        for (number, key) in keys.iter().enumerate() {
            prop_assert_eq!(opened.index.key(number), key.as_ref());
            prop_assert_eq!(opened.index.place(number), (number as u64 * 100, 100));
        }
    }

    #[test]
    fn flipped_bytes_are_refused_or_harmless(keys in keys(), at in any::<prop::sample::Index>(), value: u8, cut: bool) {
        let mut bytes = built(&keys, |_, _| ()).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = value;
        if cut {
            bytes.truncate(at);
        }
        if let Ok(opened) = OpenedIndex::read(&Bytes::from(bytes), place(index_offset(keys.len()))) {
            for key in &keys {
                let _ = (opened.index.find(key.as_ref()), opened.filter.may_contain(1));
            }
        }
    }

    #[test]
    fn prefixes_are_ordered_as_keys_are(a in prop::collection::vec(0u8..3, 0..12), b in prop::collection::vec(0u8..3, 0..12)) {
        if key_prefix(&a) != key_prefix(&b) {
            prop_assert_eq!(key_prefix(&a).cmp(&key_prefix(&b)), a.cmp(&b));
        }
    }
}

fn sample_keys() -> Vec<InternalKey> {
    [b"a", b"b", b"c"].map(|user_key| InternalKey { user_key: user_key.to_vec(), version: 5 }).to_vec()
}

fn refusal(change: impl FnOnce(&mut IndexBuilder, &mut TableSummary), offset: u64) -> String {
    OpenedIndex::read(&built(&sample_keys(), change), place(offset)).unwrap_err().to_string()
}

#[test]
fn an_index_that_contradicts_itself_is_refused() {
    let offset = index_offset(3);
    let unequal = refusal(|builder, _| builder.finish_block(300, BLOCK_LEN), offset);
    assert!(unequal.contains("one length"), "{unequal}");
    assert!(refusal(|_, _| (), offset + 8).contains("where the table index starts"));
    assert!(refusal(|_, summary| summary.smallest.version = 4, offset).contains("bounds"));
    assert!(refusal(|_, summary| summary.largest.user_key = b"A".to_vec(), offset).contains("bounds"));
    let empty = IndexBuilder::default().finish(&summary(&sample_keys()[0], &sample_keys()[0]), &BuiltFilter::default());
    assert!(OpenedIndex::read(&Bytes::from(empty), place(0)).unwrap_err().is_corruption());
    assert!(OpenedIndex::read(&Bytes::from_static(b"no index"), place(0)).unwrap_err().is_corruption());
    assert!(OpenedIndex::read(&Bytes::new(), place(0)).unwrap_err().is_corruption());
}

#[test]
fn blocks_with_a_gap_or_too_short_are_refused() {
    for (offset, len) in [(101, 99), (99, 101), (100, 5)] {
        let mut builder = IndexBuilder::default();
        for (n, key) in sample_keys().iter().take(2).enumerate() {
            builder.start_block(key.as_ref());
            let (offset, len) = if n == 0 { (0, BLOCK_LEN) } else { (offset, len) };
            builder.finish_block(offset, len);
        }
        let keys = sample_keys();
        let bytes = builder.finish(&summary(&keys[0], &keys[1]), &BuiltFilter::default());
        let error = OpenedIndex::read(&Bytes::from(bytes), place(index_offset(2))).unwrap_err();
        assert!(error.to_string().contains("do not follow"), "{error}");
    }
}

#[test]
fn an_unknown_filter_is_incompatible() {
    let keys = sample_keys();
    let mut builder = IndexBuilder::default();
    builder.start_block(keys[0].as_ref());
    builder.finish_block(0, BLOCK_LEN);
    let filter = BuiltFilter { kind: 9, ..BuiltFilter::default() };
    let bytes = builder.finish(&summary(&keys[0], &keys[0]), &filter);
    let error = OpenedIndex::read(&Bytes::from(bytes), place(index_offset(1))).unwrap_err();
    assert!(matches!(error, Error::Incompatible { .. }), "{error}");
}
