//! Whoever holds the lock, or comes when nobody inserts, finds the index exact.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use base::rng::Rng;
use base::{EntryMeta, EntryRef, InternalKeyRef};

use super::*;
use crate::finger::SharedFinger;
use crate::list::List;

fn list_of(keys: impl Iterator<Item = Vec<u8>>) -> List {
    let list = List::new(16 << 20);
    let mut finger = SharedFinger::new().take();
    for key in keys {
        list.insert(InternalKeyRef::new(&key, 1), EntryRef::new(EntryMeta::put(), b""), &mut finger).unwrap();
    }
    list
}

fn nodes_of_leaves(index: &Index, from: LeafNumber, forward: bool) -> Vec<Node> {
    let mut leaf = from;
    let mut nodes = Vec::new();
    while leaf != LeafNumber::NONE {
        let of_leaf: Vec<_> = index.leaves.block(leaf.0).unwrap().slots.nodes().map(Option::unwrap).collect();
        if forward {
            nodes.extend(of_leaf)
        } else {
            nodes.extend(of_leaf.into_iter().rev())
        }
        leaf = index.leaf_beside(leaf, forward);
    }
    nodes
}

/// Leaves hold each node of the list once, in order, both ways; and a key is found where it is.
fn expect_exact(list: &List) {
    let (index, arena) = (list.index(), list.arena());
    let mut walked = Vec::new();
    let mut next = list.first().0;
    while let Some(node) = next {
        let target = Target::new(list.key(node));
        let before = walked.last().copied().unwrap_or(Node::HEAD);
        assert_eq!(index.place(arena, &target).before, before, "{:?}", list.key(node));
        walked.push(node);
        next = list.next(node);
    }
    assert_eq!(walked.len(), list.len());
    assert_eq!(nodes_of_leaves(index, LeafNumber::FIRST, true), walked);
    let last = index.last_place();
    assert_eq!(Some(&last.before), walked.last());
    walked.reverse();
    assert_eq!(nodes_of_leaves(index, last.leaf, false), walked);
}

#[test]
fn random_keys_are_indexed_exactly() {
    let seed = 1;
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    expect_exact(&list_of((0..20_000).map(|_| rng.next_u64().to_be_bytes().to_vec())));
}

#[test]
fn keys_that_share_long_starts_are_indexed_exactly() {
    let seed = 2;
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    let stems = ["", "a", "a long start that many keys have", "a long start that many keys share, and longer"];
    let mut key = move |_| format!("{}{:06}", stems[rng.below(4) as usize], rng.below(1_000_000)).into_bytes();
    expect_exact(&list_of((0..20_000).map(&mut key)));
}

#[test]
fn runs_of_decimal_numbers_are_indexed_exactly() {
    expect_exact(&list_of((0..20_000).map(|number| format!("{number:016}").into_bytes())));
    expect_exact(&list_of((0..20_000).rev().map(|number| format!("{number:016}").into_bytes())));
    let two_runs = (0..20_000).map(|number| format!("{}{:016}", number % 2, number / 2).into_bytes());
    expect_exact(&list_of(two_runs));
}

#[test]
fn ascending_keys_leave_full_leaves_behind() {
    let list = list_of((0..3_000u32).map(|number| number.to_be_bytes().to_vec()));
    assert_eq!(list.index().writer.lock().leaves as usize, 3_000usize.div_ceil(WIDTH));
}
