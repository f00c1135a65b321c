//! A key to search for, and how nodes compare with it.
//!
//! Called by the list and its index.

use std::cmp::Ordering;

use base::InternalKeyRef;

use crate::arena::{Arena, Node, PREFIX_LEN};

/// A key to search for, with the prefix that most compares need.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    prefix: u64,
    key: InternalKeyRef<'a>,
}

impl<'a> Target<'a> {
    /// Takes the prefix of `key`.
    #[inline]
    pub(crate) fn new(key: InternalKeyRef<'a>) -> Self {
        Self { prefix: window(key.user_key, 0), key }
    }

    /// The user key.
    #[inline]
    pub(crate) fn user_key(&self) -> &'a [u8] {
        self.key.user_key
    }

    /// Eight bytes of the user key from `skip` on, as [`window`] has them.
    #[inline]
    pub(crate) fn window(&self, skip: usize) -> u64 {
        if skip == 0 { self.prefix } else { window(self.key.user_key, skip) }
    }

    /// Where a node, not the head, stands to this key.
    #[inline]
    pub(crate) fn order_of(&self, arena: &Arena, node: Node) -> Ordering {
        arena.prefix(node).cmp(&self.prefix).then_with(|| self.order_behind_prefix(arena, node))
    }

    /// Orders a node against this key where both have the same first 8 bytes, padding included.
    fn order_behind_prefix(&self, arena: &Arena, node: Node) -> Ordering {
        let (node_key, target_key) = (arena.user_key(node), self.key.user_key);
        let user_keys = match (node_key.get(PREFIX_LEN..), target_key.get(PREFIX_LEN..)) {
            (Some(node_rest), Some(target_rest)) => node_rest.cmp(target_rest),
            // One of them ends within the prefix, so it is the start of the other, which goes on with zeros or not at all.
            _ => node_key.len().cmp(&target_key.len()),
        };
        user_keys.then_with(|| self.key.version.cmp(&arena.version(node)))
    }
}

/// Eight bytes of `key` from `skip` on as a big-endian number, zeros behind its end. Of keys that are equal up to `skip`, one
/// with a lower window comes first.
#[inline]
pub(crate) fn window(key: &[u8], skip: usize) -> u64 {
    let rest = key.get(skip..).unwrap_or_default();
    match rest.first_chunk::<PREFIX_LEN>() {
        Some(first) => u64::from_be_bytes(*first),
        None => rest.iter().chain(&[0; PREFIX_LEN]).take(PREFIX_LEN).fold(0, |bits, byte| bits << 8 | u64::from(*byte)),
    }
}

/// Number of bytes at the start that two keys share.
pub(crate) fn shared_len(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}
