//! A sorted level: disjoint tables in key order, and the table for a key found without touching the tables.
//!
//! Invariants
//! 1. Tables ascend, and no user key is in two of them.
//! 2. `largest_prefixes` has, for each table, the eight bytes of its largest user key behind what all bounds of the
//!    level share, as a big-endian number: they order as the keys do, but for ties.

use base::sync::Arc;

use crate::range::KeyRange;
use crate::table_handle::TableHandle;

/// Disjoint tables in key order.
#[derive(Clone, Debug, Default)]
pub struct SortedRun {
    tables: Arc<[Arc<TableHandle>]>,
    shared_prefix: Vec<u8>,
    largest_prefixes: Vec<u64>,
    bytes: u64,
}

impl SortedRun {
    /// Sorts tables that the caller knows to be disjoint; an `Err` names the position of the first that is not.
    pub(crate) fn new(mut tables: Vec<Arc<TableHandle>>) -> std::result::Result<Self, Arc<TableHandle>> {
        tables.sort_by(|a, b| a.meta().smallest.cmp(&b.meta().smallest));
        for pair in tables.windows(2) {
            if let [left, right] = pair
                && left.meta().largest.user_key >= right.meta().smallest.user_key
            {
                return Err(Arc::clone(right));
            }
        }
        let shared_prefix = match (tables.first(), tables.last()) {
            (Some(first), Some(last)) => {
                common_prefix(&first.meta().smallest.user_key, &last.meta().largest.user_key).to_vec()
            }
            _ => Vec::new(),
        };
        let largest_prefixes = tables
            .iter()
            .map(|table| {
                let key = &table.meta().largest.user_key;
                key_prefix(key.get(shared_prefix.len()..).unwrap_or_default())
            })
            .collect();
        let bytes = tables.iter().map(|table| table.meta().file_size).sum();
        Ok(Self { tables: tables.into(), shared_prefix, largest_prefixes, bytes })
    }

    /// The tables in key order.
    #[must_use]
    pub fn tables(&self) -> &Arc<[Arc<TableHandle>]> {
        &self.tables
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The one table that may hold `user_key`.
    #[must_use]
    #[inline]
    pub fn table_for(&self, user_key: &[u8]) -> Option<&Arc<TableHandle>> {
        let table = self.tables.get(self.first_not_before(user_key))?;
        (table.meta().smallest.user_key.as_slice() <= user_key).then_some(table)
    }

    /// Position of the first table whose largest user key is not before `user_key`.
    #[must_use]
    #[inline]
    pub fn first_not_before(&self, user_key: &[u8]) -> usize {
        let Some(rest) = user_key.strip_prefix(self.shared_prefix.as_slice()) else {
            return if user_key < self.shared_prefix.as_slice() { 0 } else { self.tables.len() };
        };
        let prefix = key_prefix(rest);
        let low = self.largest_prefixes.partition_point(|largest| *largest < prefix);
        let tied = self.largest_prefixes.get(low..).unwrap_or_default();
        let ties = tied.partition_point(|largest| *largest == prefix);
        let ties = self.tables.get(low..low + ties).unwrap_or_default();
        low + ties.partition_point(|table| table.meta().largest.user_key.as_slice() < user_key)
    }

    /// Positions of the tables that overlap the range.
    #[must_use]
    pub fn overlapping(&self, range: KeyRange<'_>) -> std::ops::Range<usize> {
        let first = self.tables.partition_point(|table| range.starts_after(&table.meta().largest.user_key));
        let behind = self.tables.get(first..).unwrap_or_default();
        let count = behind.partition_point(|table| !range.ends_before(&table.meta().smallest.user_key));
        first..first + count
    }

    /// The tables at `positions`.
    #[must_use]
    pub fn slice(&self, positions: std::ops::Range<usize>) -> &[Arc<TableHandle>] {
        self.tables.get(positions).unwrap_or_default()
    }
}

/// The first eight bytes as a big-endian number, zeros where there are fewer: orders as the bytes do, but for ties.
#[inline]
fn key_prefix(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(chunk) => u64::from_be_bytes(*chunk),
        None => {
            let number = bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte));
            if bytes.is_empty() { 0 } else { number << (8 * (8 - bytes.len())) }
        }
    }
}

fn common_prefix<'a>(first: &'a [u8], last: &[u8]) -> &'a [u8] {
    let len = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    first.get(..len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::key_prefix;

    proptest! {
        #[test]
        fn prefixes_order_as_their_keys_do(
            a in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..12),
            b in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..12),
        ) {
            match key_prefix(&a).cmp(&key_prefix(&b)) {
                std::cmp::Ordering::Equal => {}
                order => prop_assert_eq!(order, a.cmp(&b)),
            }
        }
    }
}
