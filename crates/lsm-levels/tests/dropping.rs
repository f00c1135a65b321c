//! What compaction drops and what it must keep, as stories of a few entries.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod tree;

use std::sync::Arc;

use base::{EntryKind, EntryMeta};
use expect_test::{Expect, expect};
use lsm_levels::{Error, PickKind};
use tree::{Rules, Tree, delete, entry, expiring, last_word, pointer, pointing, put};

#[expect(clippy::needless_pass_by_value, reason = "the macro gives a value")]
fn shows(tree: &Tree, expected: Expect) {
    expected.assert_eq(&tree.dump());
    tree.version().verify().unwrap();
}

#[test]
fn of_versions_that_nobody_sees_only_the_newest_stays() {
    let tree = Tree::new();
    tree.add(1, vec![put("foo", 1, "v1")]);
    tree.flush(vec![put("foo", 2, "v2")]);
    tree.flush(vec![put("foo", 3, "v3"), put("fooz", 1, "other")]);
    let stats = tree.compact_level(0);
    shows(
        &tree,
        expect![[r#"
        L1 [foo@3 fooz@1]
    "#]],
    );
    assert_eq!(stats.shadowed, 2);
    assert_eq!((stats.entries_read, stats.entries_written), (4, 2));
}

#[test]
fn what_lies_below_the_output_level_is_not_touched() {
    let tree = Tree::new();
    tree.add(2, vec![put("foo", 1, "v1")]);
    tree.add(1, vec![put("foo", 2, "v2")]);
    tree.flush(vec![put("foo", 3, "v3")]);
    tree.flush(vec![put("foo", 4, "v4")]);
    tree.compact_level(0);
    shows(
        &tree,
        expect![[r#"
        L1 [foo@4]
        L2 [foo@1]
    "#]],
    );
    tree.compact_level(1);
    shows(
        &tree,
        expect![[r#"
        L2 [foo@4]
    "#]],
    );
}

#[test]
fn one_internal_key_in_two_tables_is_one_entry_the_newer_source_s() {
    let tree = Tree::new();
    tree.add(1, vec![put("foo", 3, "copy"), pointing("ptr", 5, 700)]);
    tree.flush(vec![put("foo", 3, "new"), pointing("ptr", 5, 700)]);
    assert_eq!(tree.get("foo", 3).as_deref(), Some("new"));
    assert_eq!(tree.all().len(), 2);
    let stats = tree.compact_level(0);
    assert_eq!((stats.entries_read, stats.entries_written), (2, 2));
    assert_eq!(tree.get("foo", 3).as_deref(), Some("new"));
    assert_eq!(tree.graveyard.dead(), [], "the value that both pointed to lives");

    tree.flush(vec![put("foo", 4, "newer"), delete("ptr", 6)]);
    tree.compact_level(0);
    shows(
        &tree,
        expect![[r#"
        L1 [foo@4]
    "#]],
    );
    assert_eq!(tree.graveyard.dead(), [pointer(700)], "and dies once");
}

#[test]
fn a_tombstone_stays_while_something_older_is_below() {
    let tree = Tree::new();
    tree.add(3, vec![put("foo", 1, "v1")]);
    tree.add(2, vec![put("bar", 1, "v1")]);
    tree.add(1, vec![delete("foo", 2), put("bar", 2, "v2")]);
    tree.compact_level(1);
    shows(
        &tree,
        expect![[r#"
        L2 [bar@2 -foo@2]
        L3 [foo@1]
    "#]],
    );
    assert_eq!(tree.get("foo", 1_000), None);
    tree.compact_level(2);
    shows(
        &tree,
        expect![[r#"
        L3 [bar@2]
    "#]],
    );
    assert_eq!(tree.levels.keyspace(tree::KEYSPACE).unwrap().dropped_tombstone_version, 2);
}

#[test]
fn a_tombstone_of_the_lower_input_stays_for_what_is_below_that() {
    let tree = Tree::new();
    tree.add(3, vec![put("foo", 1, "v1")]);
    tree.add(2, vec![delete("foo", 3)]);
    tree.add(1, vec![put("foo", 4, "v4")]);
    let tree = Tree { rules: Rules { versions_to_keep: 2, ..Rules::default() }, ..tree };
    tree.compact_level(1);
    shows(
        &tree,
        expect![[r#"
        L2 [foo@4 -foo@3]
        L3 [foo@1]
    "#]],
    );
}

#[test]
fn a_tombstone_with_nothing_below_goes() {
    let tree = Tree::new();
    tree.add(2, vec![put("bar", 1, "v1")]);
    tree.add(1, vec![delete("foo", 3), put("bar", 2, "v2"), delete("zoo", 1)]);
    let stats = tree.compact_level(1);
    shows(
        &tree,
        expect![[r#"
        L2 [bar@2]
    "#]],
    );
    assert_eq!(stats.tombstones_dropped, 2);
}

#[test]
fn with_all_versions_kept_only_the_bare_tombstone_goes() {
    let tree = Tree { rules: Rules { versions_to_keep: u32::MAX, ..Rules::default() }, ..Tree::new() };
    tree.add(1, vec![put("foo", 1, "v1")]);
    tree.flush(vec![put("foo", 2, "v2")]);
    tree.flush(vec![put("foo", 3, "v3"), delete("fooz", 1)]);
    tree.compact_level(0);
    shows(
        &tree,
        expect![[r#"
        L1 [foo@3 foo@2 foo@1]
    "#]],
    );
}

#[test]
fn what_a_reader_may_still_see_stays() {
    for (discard_version, expected) in [
        (
            0,
            expect![[r#"
            L1 [-bar@3 bar@2 bar@1 foo@3 foo@2 foo@1]
        "#]],
        ),
        (
            2,
            expect![[r#"
            L1 [-bar@3 bar@2 foo@3 foo@2]
        "#]],
        ),
        (
            9,
            expect![[r#"
            L1 [foo@3]
        "#]],
        ),
    ] {
        let tree = Tree { rules: Rules { discard_version, ..Rules::default() }, ..Tree::new() };
        tree.add(1, vec![put("foo", 1, "v1"), put("bar", 1, "v1")]);
        tree.flush(vec![put("foo", 2, "v2"), put("bar", 2, "v2")]);
        tree.flush(vec![put("foo", 3, "v3"), delete("bar", 3)]);
        tree.compact_level(0);
        shows(&tree, expected);
    }
}

#[test]
fn a_last_word_drops_what_came_before_it() {
    let tree = Tree { rules: Rules { versions_to_keep: 9, ..Rules::default() }, ..Tree::new() };
    tree.add(1, vec![put("foo", 1, "v1"), put("bar", 1, "v1")]);
    tree.flush(vec![last_word("foo", 2, "v2"), put("bar", 2, "v2")]);
    tree.compact_level(0);
    shows(
        &tree,
        expect![[r#"
        L1 [bar@2 bar@1 foo@2]
    "#]],
    );
}

/// K@9 without a time to live lies deep; K@12 with one expires. Dropped as "expired", it would bring K@9 back.
#[test]
fn an_expired_entry_still_hides_what_is_older() {
    let tree = Tree { rules: Rules { expiry_now: 500, ..Rules::default() }, ..Tree::new() };
    tree.add(6, vec![put("key", 9, "old")]);
    tree.add(5, vec![put("zoo", 1, "other")]);
    tree.add(4, vec![expiring("key", 12, "short-lived", 500), expiring("zoo", 2, "long-lived", 501)]);
    assert_eq!(tree.get("key", 1_000), None);
    let stats = tree.compact_level(4);
    shows(
        &tree,
        expect![[r#"
        L5 [-key@12 zoo@2]
        L6 [key@9]
    "#]],
    );
    assert_eq!(tree.get("key", 1_000), None);
    assert_eq!(stats.expired_converted, 1);

    let stats = tree.compact_level(5);
    shows(
        &tree,
        expect![[r#"
        L6 [zoo@2]
    "#]],
    );
    assert_eq!(tree.get("key", 1_000), None);
    assert_eq!((stats.tombstones_dropped, stats.shadowed), (1, 1));
}

#[test]
fn an_expired_entry_above_the_discard_version_stays_as_it_is() {
    let tree = Tree { rules: Rules { expiry_now: 500, discard_version: 11, ..Rules::default() }, ..Tree::new() };
    tree.add(2, vec![put("key", 9, "old")]);
    tree.add(1, vec![expiring("key", 12, "short-lived", 500)]);
    let stats = tree.compact_level(1);
    shows(
        &tree,
        expect![[r#"
        L2 [key@12 key@9]
    "#]],
    );
    assert_eq!((stats.expired_converted, stats.expired_dropped), (0, 0));
}

/// Runs of level 0 are merged among themselves while an older one, on its way down, holds what their tombstones delete.
#[test]
fn a_tombstone_survives_a_merge_within_level_0() {
    let tree = Tree::new();
    tree.add(6, vec![put("aaa", 1, ""), put("zzz", 1, "")]);
    tree.flush(vec![put("key", 1, "old and big"), put("zoo", 1, "big")]);
    tree.flush(vec![put("zoo", 2, "")]);
    let way_down = tree.pick_level(0).unwrap();
    assert_eq!(way_down.pick().inputs.len(), 2);
    for version in 3..9 {
        tree.flush(vec![delete("key", version), put("abc", version, "")]);
    }
    let within = tree.pick().expect("the way down is busy");
    assert_eq!(within.pick().kind, PickKind::MergeLevel0);
    assert_eq!(within.pick().inputs.len(), 6);
    tree.run_and_commit(within).unwrap();
    shows(
        &tree,
        expect![[r#"
        L0 [abc@8 -key@8] [zoo@2] [key@1 zoo@1]
        L6 [aaa@1 zzz@1]
    "#]],
    );
    assert_eq!(tree.get("key", 1_000), None);
    drop(way_down);
    tree.compact_level(0);
    shows(
        &tree,
        expect![[r#"
        L6 [aaa@1 abc@8 zoo@2 zzz@1]
    "#]],
    );
}

/// Within level 0 nothing is known to be the bottom: what is flushed next to it may be older than it looks.
#[test]
fn within_level_0_tombstones_stay_whatever_is_below() {
    let tree = Tree::new();
    tree.flush(vec![put("zoo", 1, "")]);
    let way_down = tree.pick_level(0).unwrap();
    for version in 2..9 {
        tree.flush(vec![delete("key", version)]);
    }
    let within = tree.pick().unwrap();
    assert_eq!(within.pick().kind, PickKind::MergeLevel0);
    tree.run_and_commit(within).unwrap();
    shows(
        &tree,
        expect![[r#"
        L0 [-key@8] [zoo@1]
    "#]],
    );
    drop(way_down);
}

#[test]
fn every_value_that_loses_its_entry_dies_once_and_no_other() {
    let tree = Tree { rules: Rules { expiry_now: 500, ..Rules::default() }, ..Tree::new() };
    let (key, mut value) = pointing("timed", 2, 50);
    value.splice(2..3, [0xf4, 0x03]); // expires at 500
    tree.add(1, vec![pointing("over", 1, 10), pointing("gone", 1, 20), pointing("kept", 1, 30), (key, value)]);
    tree.flush(vec![pointing("over", 2, 11), delete("gone", 2)]);
    tree.compact_level(0);
    shows(
        &tree,
        expect![[r#"
        L1 [kept@1 over@2]
    "#]],
    );
    assert_eq!(tree.graveyard.dead(), [pointer(10), pointer(20), pointer(50)]);
}

#[test]
fn what_is_not_built_yet_is_refused_and_nothing_is_lost() {
    let tree = Tree::new();
    tree.add(1, vec![put("a", 1, "")]);
    let range_delete = tree.write(vec![entry("a", 2, EntryMeta::of(EntryKind::RangeDelete), b"z")]);
    assert!(matches!(range_delete, Err(Error::Table(sstable::Error::InvalidEntry { .. }))));

    tree.flush(vec![entry("a", 2, EntryMeta::of(EntryKind::Merge), b"+1")]);
    let before = (tree.dump(), tree.vfs.list(tree::DIR.as_ref()).unwrap());
    let refused = tree.run(tree.pick_level(0).unwrap());
    assert!(matches!(refused, Err(Error::Unsupported { what: "merge operand" })));
    assert_eq!((tree.dump(), tree.vfs.list(tree::DIR.as_ref()).unwrap()), before);
    assert!(tree.pick_level(0).is_some(), "the inputs are free again");
}

#[test]
fn a_version_pinned_before_a_compaction_reads_on() {
    let tree = Tree::new();
    tree.add(1, vec![put("foo", 1, "v1")]);
    tree.flush(vec![put("foo", 2, "v2")]);
    let pinned = tree.version();
    let removed_before = tree.levels.removed_files();
    tree.compact_level(0);
    assert_eq!(tree::newest_in(&pinned, b"foo", 1, true).map(|(version, _)| version), Some(1));
    assert_eq!(tree.newest(b"foo", 1), None, "it is gone from the new version");
    assert_eq!(tree.levels.removed_files(), removed_before, "files of a pinned version stay");
    assert_eq!(Arc::strong_count(&pinned), 1);
    drop(pinned);
    assert_eq!(tree.levels.removed_files(), removed_before + 2);
    assert_eq!(tree.levels.removal_failures().count, 0);
}
