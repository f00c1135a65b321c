//! Tables against a `BTreeMap`, with random entries, options and moves.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use base::{Cursor, EntryKind, EntryMeta, EntryRef, InternalKey, PointerPayload, SegmentId, ValuePointer, key_hash};
use proptest::prelude::*;
use sstable::{BlockCache, CursorOptions, FilterPolicy, IoMode, ReadOptions, TableOptions, VerifyBlocks};

use crate::fixture::{self, STORE};

type Model = BTreeMap<(Vec<u8>, Reverse<u64>), Vec<u8>>;

#[derive(Clone, Debug)]
enum Move {
    First,
    Last,
    Seek(Vec<u8>, u64),
    SeekForPrev(Vec<u8>, u64),
    Next,
    Prev,
}

fn user_key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(0u8..3, 1..6),
        4 => "key[0-9]{2}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 1..200),
    ]
}

fn version() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0u64..6, 1 => Just(u64::MAX), 1 => any::<u64>()]
}

fn entry() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..30),
        (any::<u8>(), 100usize..700).prop_map(|(byte, len)| vec![byte; len]),
    ];
    (value, 0u8..10, 0u64..3, 1u32..5).prop_map(|(value, kind, expires_at, segment)| {
        let mut payload = value;
        let kind = match kind {
            0 => EntryKind::Delete,
            1 => EntryKind::Merge,
            2 => EntryKind::Pointer,
            _ => EntryKind::Put,
        };
        if kind == EntryKind::Pointer {
            let pointer = ValuePointer { segment: SegmentId(segment), len: 10, offset: 20 };
            let value_len = payload.len() as u64;
            payload.clear();
            PointerPayload { pointer, value_len }.encode_into(&mut payload);
        } else if kind == EntryKind::Delete {
            payload.clear();
        }
        fixture::encoded(EntryRef::new(EntryMeta { expires_at, ..EntryMeta::of(kind) }, &payload))
    })
}

fn model() -> impl Strategy<Value = Model> {
    prop::collection::btree_map((user_key(), version().prop_map(Reverse)), entry(), 1..120)
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        1 => Just(Move::First),
        1 => Just(Move::Last),
        3 => (user_key(), version()).prop_map(|(key, version)| Move::Seek(key, version)),
        3 => (user_key(), version()).prop_map(|(key, version)| Move::SeekForPrev(key, version)),
        8 => Just(Move::Next),
        8 => Just(Move::Prev),
    ];
    prop::collection::vec(one, 1..60)
}

fn table_options() -> impl Strategy<Value = TableOptions> {
    let compression = prop::sample::select(fixture::CODECS.to_vec());
    let filter = prop::sample::select(vec![FilterPolicy::None, FilterPolicy::Bits8, FilterPolicy::Bits16]);
    (200usize..3_000, 1usize..40, compression, filter).prop_map(
        |(block_size, restart_interval, compression, filter)| TableOptions {
            block_size,
            restart_interval,
            compression,
            filter,
            store: STORE,
        },
    )
}

fn read_options() -> impl Strategy<Value = (ReadOptions, CursorOptions)> {
    let io_mode = prop::sample::select(vec![IoMode::Mapped, IoMode::Pread]);
    let verify = prop::sample::select(vec![
        VerifyBlocks::OnOpenAll,
        VerifyBlocks::OnOpenSample(2),
        VerifyBlocks::OnFirstRead,
        VerifyBlocks::Always,
        VerifyBlocks::None,
    ]);
    (io_mode, verify, 0usize..100_000, any::<bool>(), any::<bool>()).prop_map(
        |(io_mode, verify, cache_bytes, fill_cache, read_ahead)| {
            let cache = Arc::new(BlockCache::new(cache_bytes));
            let options = ReadOptions { io_mode, verify, ..ReadOptions::new(cache, STORE) };
            (options, CursorOptions { fill_cache, read_ahead })
        },
    )
}

fn entries(model: &Model) -> fixture::Entries {
    model.iter().map(|((key, version), entry)| (fixture::internal(key.clone(), version.0), entry.clone())).collect()
}

/// Where a move from `at` leads in the model.
fn moved(model: &Model, at: Option<&InternalKey>, to: &Move) -> Option<InternalKey> {
    let pair = |key: &InternalKey| (key.user_key.clone(), Reverse(key.version));
    let found = match to {
        Move::First => model.iter().next(),
        Move::Last => model.iter().next_back(),
        Move::Seek(key, version) => model.range((key.clone(), Reverse(*version))..).next(),
        Move::SeekForPrev(key, version) => model.range(..=(key.clone(), Reverse(*version))).next_back(),
        Move::Next => model.range((Excluded(pair(at?)), Unbounded)).next(),
        Move::Prev => model.range((Unbounded, Excluded(pair(at?)))).next_back(),
    };
    found.map(|((key, version), _)| fixture::internal(key.clone(), version.0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn cursors_move_as_a_sorted_map_does(
        model in model(), options in table_options(), (read, cursor) in read_options(), moves in moves(),
    ) {
        let table = fixture::table(&entries(&model), options, read);
        let mut cursor = table.cursor(cursor);
        prop_assert!(!cursor.valid());
        let mut at: Option<InternalKey> = None;
        for step in &moves {
            match step {
                Move::First => cursor.seek_to_first().unwrap(),
                Move::Last => cursor.seek_to_last().unwrap(),
                Move::Seek(key, version) => cursor.seek(fixture::internal(key.clone(), *version).as_ref()).unwrap(),
                Move::SeekForPrev(key, version) => {
                    cursor.seek_for_prev(fixture::internal(key.clone(), *version).as_ref()).unwrap();
                }
                Move::Next | Move::Prev if at.is_none() => continue,
                Move::Next => cursor.next().unwrap(),
                Move::Prev => cursor.prev().unwrap(),
            }
            at = moved(&model, at.as_ref(), step);
            prop_assert_eq!(fixture::key_of(&cursor), at.clone(), "{:?}", step);
            if let Some(key) = &at {
                prop_assert_eq!(cursor.value(), model[&(key.user_key.clone(), Reverse(key.version))].as_slice());
                prop_assert_eq!(&cursor.value_bytes()[..], cursor.value());
            }
        }
    }

    #[test]
    fn lookups_find_the_newest_version_at_or_below(
        model in model(), options in table_options(), (read, _) in read_options(),
        probes in prop::collection::vec((user_key(), version()), 0..20),
    ) {
        let table = fixture::table(&entries(&model), options, read);
        let stored = model.keys().flat_map(|(key, version)| {
            [version.0, version.0.saturating_sub(1), version.0.saturating_add(1)].map(|version| (key.clone(), version))
        });
        for (key, version) in probes.into_iter().chain(stored) {
            let range = (Included((key.clone(), Reverse(version))), Included((key.clone(), Reverse(0))));
            let expected = model.range(range).next().map(|((_, version), entry)| (version.0, entry.clone()));
            let hash = key_hash(&key);
            let hit = table.get(&key, hash, version).unwrap();
            prop_assert_eq!(hit.map(|hit| (hit.version, hit.value.to_vec())), expected.clone());
            let seen = table.get_with(&key, hash, version, |version, entry| (version, entry.to_vec())).unwrap();
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn the_summary_states_what_was_added_and_verification_agrees(
        model in model(), options in table_options(), (read, _) in read_options(),
    ) {
        let vfs = fixture::shared(fixture::memory());
        let summary = fixture::build(&vfs, &entries(&model), options).unwrap();
        let table = fixture::open(&vfs, ReadOptions { expected_size: Some(summary.file_size), ..read }).unwrap();
        prop_assert_eq!(table.summary(), &summary);
        let verified = table.verify().unwrap();
        prop_assert_eq!(verified.entries, model.len() as u64);
        prop_assert_eq!((verified.blocks, verified.bytes), (summary.blocks, summary.stored_bytes));
        let decoded: Vec<_> = model.values().map(|entry| EntryRef::decode(entry).unwrap()).collect();
        let mut segments: Vec<_> = decoded.iter().filter(|entry| entry.meta.kind == EntryKind::Pointer)
            .map(|entry| PointerPayload::decode(entry.payload).unwrap().pointer.segment).collect();
        segments.sort();
        segments.dedup();
        prop_assert_eq!(&summary.segments, &segments);
        let tombstones = decoded.iter().filter(|entry| entry.meta.kind == EntryKind::Delete).count();
        prop_assert_eq!(summary.tombstones, tombstones as u64);
        prop_assert_eq!(summary.min_version, model.keys().map(|(_, version)| version.0).min().unwrap());
        prop_assert_eq!(summary.max_version, model.keys().map(|(_, version)| version.0).max().unwrap());
        prop_assert_eq!(summary.user_keys, model.keys().map(|(key, _)| key).collect::<std::collections::BTreeSet<_>>().len() as u64);
    }
}
