//! A sorted level walked as one run, and ranges that keep cursors off tables.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod tree;

use std::ops::Bound;
use std::sync::Arc;

use base::rng::Rng;
use base::{Cursor, InternalKeyRef};
use lsm_levels::{KeyRange, LevelCursor, MergeCursor, RunCursor, prefix_end};
use proptest::prelude::*;
use sstable::CursorOptions;
use tree::{Entry, ListCursor, Tree, numbered, put};

fn level_cursor(tree: &Tree, level: usize) -> LevelCursor {
    let version = tree.version();
    let run = version.sorted(level).unwrap();
    LevelCursor::new(Arc::clone(run.tables()), 0..run.tables().len(), CursorOptions::default())
}

fn current(cursor: &impl Cursor) -> Option<Entry> {
    cursor.valid().then(|| (cursor.key().to_owned(), cursor.value().to_vec()))
}

#[test]
fn a_level_of_any_number_of_tables_is_one_run_both_ways() {
    for tables in 0..4u32 {
        let tree = Tree::new();
        let mut expected = Vec::new();
        for table in 0..tables {
            let entries = numbered(table * 100..=table * 100 + 20, 1);
            expected.extend(entries.clone());
            tree.add(4, entries);
        }
        let mut cursor = level_cursor(&tree, 4);
        let mut seen = Vec::new();
        cursor.seek_to_first().unwrap();
        while let Some(entry) = current(&cursor) {
            seen.push(entry);
            cursor.next().unwrap();
        }
        assert_eq!(seen, expected);
        seen.clear();
        cursor.seek_to_last().unwrap();
        while let Some(entry) = current(&cursor) {
            seen.push(entry);
            cursor.prev().unwrap();
        }
        seen.reverse();
        assert_eq!(seen, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_walk_over_a_level_stands_where_the_sorted_list_stands(seed: u64, tables in 1u32..5) {
        let mut rng = Rng::new(seed);
        let tree = Tree::new();
        let mut all = Vec::new();
        for table in 0..tables {
            let count = 1 + rng.below(6) as u32;
            let entries: Vec<Entry> = (0..count)
                .flat_map(|key| (1..=1 + rng.below(3)).map(move |version| put(&format!("{table}{}", key * 2), version, "v")))
                .collect();
            all.extend(entries.clone());
            tree.add(3, entries);
        }
        let mut list = ListCursor::new(all);
        let mut cursor = level_cursor(&tree, 3);
        for step in 0..150 {
            let key = format!("{}{}", rng.below(u64::from(tables) + 1), rng.below(14));
            let target = InternalKeyRef::new(key.as_bytes(), rng.below(5));
            match rng.below(12) {
                0..2 => { cursor.seek(target).unwrap(); list.seek(target).unwrap(); }
                2..4 => { cursor.seek_for_prev(target).unwrap(); list.seek_for_prev(target).unwrap(); }
                4 => { cursor.seek_to_first().unwrap(); list.seek_to_first().unwrap(); }
                5 => { cursor.seek_to_last().unwrap(); list.seek_to_last().unwrap(); }
                6..9 if list.valid() => { cursor.next().unwrap(); list.next().unwrap(); }
                _ if list.valid() => { cursor.prev().unwrap(); list.prev().unwrap(); }
                _ => {}
            }
            prop_assert_eq!(current(&cursor), current(&list), "step {}", step);
        }
    }

    #[test]
    fn the_table_for_a_key_is_the_one_whose_bounds_hold_it(seed: u64, shared in "[ab]{0,10}") {
        let mut rng = Rng::new(seed);
        let tree = Tree::new();
        let mut keys: Vec<String> = (0..12).map(|_| format!("{shared}{:03}", rng.below(500))).collect();
        keys.sort();
        keys.dedup();
        for pair in keys.chunks(2) {
            tree.add(2, pair.iter().map(|key| put(key, 1, "v")).collect());
        }
        let version = tree.version();
        let run = version.sorted(2).unwrap();
        let probes = (0..200).map(|_| format!("{shared}{:03}", rng.below(520))).chain(["".into(), "b".repeat(12), shared.clone()]);
        for probe in probes.chain(keys.iter().cloned()) {
            let expected = run.tables().iter().find(|table| table.meta().covers(probe.as_bytes()));
            let found = run.table_for(probe.as_bytes());
            prop_assert_eq!(found.map(|table| table.id()), expected.map(|table| table.id()), "{}", probe);
        }
    }
}

#[test]
fn tables_outside_the_range_get_no_cursor() {
    let tree = Tree::new();
    tree.flush(numbered(0..=9, 9));
    tree.flush(numbered(500..=509, 10));
    for table in 0..10 {
        tree.add(5, numbered(table * 100..=table * 100 + 50, 1));
    }
    let shape = |range: KeyRange<'_>| -> Vec<usize> {
        let cursors = tree.version().cursors(range, CursorOptions::default());
        let tables = |cursor: &RunCursor| match cursor {
            RunCursor::Table(_) => 0,
            RunCursor::Level(level) => level.table_count(),
        };
        cursors.iter().map(tables).collect()
    };
    assert_eq!(shape(KeyRange::ALL), [0, 0, 10]);
    assert_eq!(shape(KeyRange::closed(b"0005", b"0105")), [0, 2]);
    assert_eq!(shape(KeyRange::closed(b"0060", b"0070")), Vec::<usize>::new(), "a gap between tables");
    assert_eq!(shape(KeyRange::new(Bound::Excluded(b"0950"), Bound::Unbounded)), Vec::<usize>::new());
    assert_eq!(shape(KeyRange::new(Bound::Unbounded, Bound::Excluded(b"0000"))), Vec::<usize>::new());
    let end = prefix_end(b"05").unwrap();
    assert_eq!(shape(KeyRange::new(Bound::Included(b"05"), Bound::Excluded(&end))), [0, 1], "all keys of a prefix");
}

#[test]
fn tables_without_a_newer_version_get_no_cursor_where_only_newer_ones_are_wanted() {
    let tree = Tree::new();
    for (keys, version) in [(0..=9, 7), (0..=9, 9), (500..=509, 10)] {
        tree.flush(numbered(keys, version));
    }
    for table in 0..10 {
        tree.add(5, numbered(table * 100..=table * 100 + 50, table as u64));
    }
    let newer_than = |version, range: KeyRange<'_>| -> Vec<String> {
        let sources = tree.version().cursors_newer_than(version, range, CursorOptions::default());
        let mut merge = MergeCursor::new(sources);
        merge.seek_to_first().unwrap();
        let mut found = Vec::new();
        while merge.valid() {
            found.push(format!("{}@{}", merge.key().user_key.escape_ascii(), merge.key().version));
            merge.next().unwrap();
        }
        found
    };
    assert_eq!(newer_than(10, KeyRange::ALL), Vec::<String>::new());
    let firsts = |found: Vec<String>| -> Vec<String> {
        found.into_iter().filter(|key| key.starts_with("0000") || key.contains("00@")).collect()
    };
    assert_eq!(firsts(newer_than(7, KeyRange::ALL)), ["0000@9", "0500@10", "0800@8", "0900@9"]);
    assert_eq!(firsts(newer_than(6, KeyRange::closed(b"0000", b"0799"))), ["0000@9", "0000@7", "0500@10", "0700@7"]);
}

#[test]
fn an_error_in_a_scan_is_an_error_and_not_the_end_of_the_data() {
    let memory = vfs::MemFs::new(1);
    let tree = Tree::on(Arc::new(memory.clone()));
    for table in 0..3 {
        tree.add(5, numbered(table * 100..=table * 100 + 50, 1));
    }
    let path = sstable::table_path(tree::DIR.as_ref(), tree.version().tables(5)[1].id());
    drop(tree.levels);
    memory.edit(&path, |bytes| bytes[20] ^= 1).unwrap();
    let (tree, _) = Tree::open(tree.vfs).unwrap();
    let mut cursor = level_cursor(&tree, 5);
    cursor.seek_to_first().unwrap();
    let mut seen = 0;
    let failed = loop {
        assert!(cursor.valid(), "the scan ended after {seen} entries");
        seen += 1;
        if let Err(error) = cursor.next() {
            break error;
        }
    };
    assert!(failed.is_corruption());
    assert_eq!(seen, 51);
    assert!(!cursor.valid());
}
