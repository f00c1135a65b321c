//! Newer sources hold newer versions, and what holds where that is not so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod tree;

use lsm_levels::{PickKind, Picker, PickerOptions};
use tree::{Rules, Tree, delete, put};

/// A commit at version 5, or a restored backup, comes after version 10 was flushed.
#[test]
fn where_versions_came_out_of_order_the_greatest_wins_whatever_its_source() {
    let tree = Tree::new();
    tree.flush(vec![put("key", 10, "ten"), put("other", 10, "")]);
    tree.set_unordered();
    tree.flush(vec![put("key", 5, "five")]);
    assert_eq!(tree.get("key", 20).as_deref(), Some("ten"));
    assert_eq!(tree.get("key", 9).as_deref(), Some("five"));
    assert_eq!(tree.get("key", 4), None);

    // An ingested table with one high version, at the bottom, under what was there before.
    tree.add(6, vec![put("other", 200, "ingested")]);
    assert_eq!(tree.get("other", 1_000).as_deref(), Some("ingested"));
    assert_eq!(tree.get("other", 199).as_deref(), Some(""));
    tree.compact_level(0);
    tree.compact_due();
    assert_eq!(tree.get("key", 1_000).as_deref(), Some("ten"));
    assert_eq!(tree.get("other", 1_000).as_deref(), Some("ingested"));
}

#[test]
fn what_a_memtable_had_is_beaten_only_by_a_newer_version() {
    let tree = Tree::new();
    tree.flush(vec![put("key", 10, "ten")]);
    tree.set_unordered();
    let version = tree.version();
    let newest = |newer_than| {
        let lookup = lsm_levels::Lookup {
            user_key: b"key",
            hash: base::key_hash(b"key"),
            read_version: 1_000,
            ordered: false,
            newer_than,
        };
        version.get(&lookup, |version, _| version).unwrap()
    };
    assert_eq!((newest(None), newest(Some(9)), newest(Some(10)), newest(Some(11))), (Some(10), Some(10), None, None));
}

/// The tombstone is at the bottom, "nothing under it", and what it deletes is above it.
#[test]
fn a_tombstone_stays_while_anything_older_is_anywhere() {
    for ordered in [true, false] {
        let tree = Tree::new();
        tree.add(5, vec![put("key", 4, "four"), put("zoo", 4, "")]);
        tree.add(4, vec![delete("key", 10)]);
        if !ordered {
            tree.set_unordered();
        }
        tree.flush(vec![put("key", 5, "five"), put("zoo", 5, "")]);
        tree.compact_level(4);
        if ordered {
            assert!(!tree.dump().contains("-key@10"), "in order, what is above is newer:\n{}", tree.dump());
        } else {
            assert!(tree.dump().contains("-key@10"), "dropped over an older entry:\n{}", tree.dump());
            assert_eq!(tree.get("key", 1_000), None);
        }
    }
}

#[test]
fn a_tombstone_stays_while_a_memtable_may_hold_something_older() {
    for (oldest, stays) in [(5, true), (10, false), (11, false)] {
        let tree = Tree::new();
        tree.set_unordered();
        tree.memtable.borrow_mut().push((b"key".to_vec(), oldest));
        tree.add(5, vec![put("key", 4, "four")]);
        tree.add(4, vec![delete("key", 10)]);
        tree.compact_level(4);
        assert_eq!(tree.dump().contains("-key@10"), stays, "memtable from version {oldest}:\n{}", tree.dump());
    }
}

#[test]
fn a_tombstone_goes_once_the_others_are_all_newer() {
    let tree = Tree::new();
    tree.set_unordered();
    tree.add(5, vec![put("key", 4, "four")]);
    tree.add(4, vec![delete("key", 10)]);
    tree.flush(vec![put("key", 12, "twelve"), put("zoo", 12, "")]);
    tree.compact_level(4);
    assert!(!tree.dump().contains("-key@10"), "{}", tree.dump());
}

/// Runs are merged within level 0 while another one is flushed: the result has the highest file number, and is not the
/// newest.
#[test]
fn the_place_in_level_0_is_inherited_and_never_the_file_number() {
    let tree = Tree::new();
    tree.add(6, vec![put("a", 1, ""), put("z", 1, "")]);
    for version in 2..9 {
        tree.flush(vec![put("key", version, &format!("v{version}")), put("b", version, "")]);
    }
    let way_down = tree.pick_range(0, lsm_levels::KeyRange::ALL).unwrap();
    assert_eq!(way_down.pick().kind, PickKind::Merge);
    for version in 9..16 {
        tree.flush(vec![put("key", version, &format!("v{version}")), put("b", version, "")]);
    }
    let within = tree.pick().unwrap();
    assert_eq!(within.pick().kind, PickKind::MergeLevel0);
    let newest = tree.flush(vec![put("key", 16, "v16")]);
    let output = tree.run(within).unwrap();
    assert!(output.edit.added[0].meta.id > newest);
    tree.commit(output).unwrap();
    assert_eq!(tree.get("key", 1_000).as_deref(), Some("v16"));
    drop(way_down);

    let (tree, _) = Tree::open(tree.vfs).unwrap();
    assert_eq!(tree.get("key", 1_000).as_deref(), Some("v16"), "after reopening too");
    tree.compact_level(0);
    assert_eq!(tree.get("key", 1_000).as_deref(), Some("v16"));
}

/// A table cut between two versions of a key, of which only the first part moves down, would show the older one first.
#[test]
fn tables_are_never_cut_inside_a_user_key() {
    let rules = Rules { discard_version: 0, target_file_bytes: 600, ..Rules::default() };
    let tree = Tree { rules, ..Tree::new() };
    let batch = |from: u64| {
        let keys = ["a", "b", "c", "d", "e"].into_iter();
        keys.flat_map(|key| (from..from + 40).map(move |version| put(key, version, "some value"))).collect::<Vec<_>>()
    };
    let ids = tree.try_add(0, batch(1)).unwrap();
    assert!(ids.len() > 1, "the flush was cut");
    tree.flush(batch(100));
    let count = tree.all().len();
    tree.compact_level(0);
    for level in 0..7 {
        for pair in tree.version().tables(level).windows(2) {
            let (left, right) = (pair[0].meta(), pair[1].meta());
            assert!(left.largest.user_key < right.smallest.user_key, "{:?} {:?}", left.largest, right.smallest);
        }
    }
    assert!(tree.version().tables(6).len() > 1, "the compaction was cut");
    assert_eq!(tree.all().len(), count);
    tree.version().verify().unwrap();
}

#[test]
fn an_output_ends_before_it_overlaps_too_much_of_the_level_below() {
    let tree = Tree::new();
    for decade in 0..10 {
        tree.add(3, vec![put(&format!("{decade}0"), 1, "x"), put(&format!("{decade}9"), 1, "x")]);
    }
    let table_bytes = tree.version().tables(3)[0].meta().file_size;
    let keys = || (0..100).map(|key| put(&format!("{key:02}"), 2, "x")).collect::<Vec<_>>();
    let rules = Rules { grandparent_bytes_max: 2 * table_bytes, ..Rules::default() };
    let tree = Tree { rules, ..tree };
    tree.add(1, keys());
    tree.add(2, vec![put("00", 1, "x"), put("99", 1, "x")]);
    tree.compact_level(1);
    let outputs = tree.version().tables(2).len();
    assert!((3..=5).contains(&outputs), "{}", tree.dump());
    tree.version().verify().unwrap();
}

#[test]
fn a_table_of_level_0_moves_only_with_or_after_the_older_ones_that_it_overlaps() {
    let tree = Tree::new();
    tree.flush(vec![put("a", 1, ""), put("c", 1, "")]);
    tree.flush(vec![put("x", 2, ""), put("z", 2, "")]);
    tree.flush(vec![put("b", 3, ""), put("y", 3, "")]);
    let compaction = tree.pick_level(0).unwrap();
    assert_eq!(compaction.pick().kind, PickKind::Move);
    let moved: Vec<_> = compaction.pick().inputs.iter().map(|table| table.meta().max_version).collect();
    assert_eq!(moved, [2, 1], "the third overlaps both and waits");
    tree.run_and_commit(compaction).unwrap();
    let compaction = tree.pick_level(0).unwrap();
    assert_eq!((compaction.pick().kind, compaction.pick().output_inputs.len()), (PickKind::Merge, 2));
}

#[test]
fn tables_in_key_order_move_down_without_being_written() {
    let mut tree = Tree::new();
    tree.picker = Picker::new(PickerOptions { level0_runs_max: 2, ..*tree.picker.options() });
    let mut flushed = 0;
    for run in 0..40 {
        let entries = (0..10).map(|key| put(&format!("{run:03}{key}"), run + 1, "a value")).collect();
        flushed += tree.version().level0().len() as u64;
        tree.flush(entries);
        tree.compact_due();
    }
    assert!(flushed > 0);
    let traffic = tree.levels.traffic();
    assert_eq!(traffic.iter().skip(1).map(|level| level.bytes_written).sum::<u64>(), 0, "{traffic:?}");
    assert!(traffic.iter().skip(1).any(|level| level.bytes_moved > 0));
    assert_eq!(tree.all().len(), 400);
}
