//! Numbered transactions, every byte of which follows from the seed, the writer and the number.
//!
//! Each writes to both keyspaces: a marker with its number, slots that later transactions of the same writer overwrite
//! or remove, a key of its own (and removes that of the transaction with half its number), and now and then a hot key
//! that all writers share.

use base::rng::Rng;
use engine::{Durability, Keyspace, WriteBatch};

use crate::content::{bytes, mix};

/// Keys that all writers overwrite.
pub const HOT_KEYS: u64 = 6;

const SLOTS: u64 = 48;
const HOT_PREFIX: &str = "hot/";

/// One transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The run's seed.
    pub seed: u64,
    /// Who commits it.
    pub writer: u32,
    /// Its place among those of its writer, from 1.
    pub number: u64,
}

/// A value, as what it is drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The bytes that it begins with.
    head: Vec<u8>,
    seed: u64,
    len: usize,
}

/// What a transaction does to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// 0 for the default keyspace, 1 for the other.
    pub keyspace: usize,
    /// The key.
    pub key: Vec<u8>,
    /// The value, or none for a removal.
    pub value: Option<Value>,
}

impl Value {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut value = self.head.clone();
        value.extend_from_slice(&bytes(self.seed, self.len));
        value
    }
}

impl Transaction {
    /// How it is written.
    #[must_use]
    pub fn durability(&self) -> Durability {
        let is_synced = mix(&[self.seed, self.writer.into(), self.number, 1]).is_multiple_of(32);
        if is_synced { Durability::Sync } else { Durability::Os }
    }

    /// All that it writes; no key twice.
    #[must_use]
    pub fn writes(&self) -> Vec<Write> {
        let Self { seed, writer, number } = *self;
        let mut rng = Rng::new(mix(&[seed, writer.into(), number]));
        let mut writes = Vec::new();
        for keyspace in 0..2 {
            let mut write = |key: String, value: Option<Value>| {
                writes.push(Write { keyspace, key: key.into_bytes(), value });
            };
            let marker = Value { head: number.to_be_bytes().to_vec(), seed: 0, len: 0 };
            write(marker_key(writer), Some(marker));
            let slot = rng.below(SLOTS);
            write(format!("{writer}/slot/{slot:02}"), (!rng.one_in(6)).then(|| draw(&mut rng, 3)));
            write(format!("{writer}/slot/{:02}", (slot + 1) % SLOTS), Some(draw(&mut rng, 12)));
            write(format!("{writer}/own/{number:010}"), Some(draw(&mut rng, 8)));
            if number.is_multiple_of(2) {
                write(format!("{writer}/own/{:010}", number / 2), None);
            }
            if rng.one_in(4) {
                let mut head = writer.to_be_bytes().to_vec();
                head.extend_from_slice(&number.to_be_bytes());
                let Value { seed, len, .. } = draw(&mut rng, 6);
                write(format!("{HOT_PREFIX}{}", rng.below(HOT_KEYS)), Some(Value { head, seed, len }));
            }
        }
        writes
    }

    /// The same as a batch.
    ///
    /// # Errors
    /// Never: keys and values are within the limits.
    pub fn batch(&self, keyspaces: &[Keyspace; 2]) -> engine::Result<WriteBatch> {
        let mut batch = WriteBatch::new();
        for Write { keyspace, key, value } in self.writes() {
            let Some(keyspace) = keyspaces.get(keyspace) else { continue };
            match value {
                Some(value) => batch.keyspace(keyspace).insert(key, value.bytes())?,
                None => batch.keyspace(keyspace).remove(key)?,
            }
        }
        Ok(batch)
    }
}

/// A value that is large, and goes to the value log, once in `large_one_in` times.
fn draw(rng: &mut Rng, large_one_in: u64) -> Value {
    let len = match rng.below(large_one_in) {
        0 if rng.one_in(40) => 16_000 + rng.below(60_000),
        0 => 512 + rng.below(4_000),
        _ => rng.below(120),
    };
    Value { head: Vec::new(), seed: rng.next_u64(), len: len as usize }
}

/// The key, in both keyspaces, of the number of a writer's newest transaction.
#[must_use]
pub fn marker_key(writer: u32) -> String {
    format!("{writer}/newest")
}

/// The number in a marker.
#[must_use]
pub fn marked_number(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

/// Whether a key is one that all writers share.
#[must_use]
pub fn is_hot(key: &[u8]) -> bool {
    key.starts_with(HOT_PREFIX.as_bytes())
}

/// Which writer's transaction wrote the value of a hot key, by its own word.
#[must_use]
pub fn hot_writer(value: &[u8]) -> Option<(u32, u64)> {
    let (writer, rest) = value.split_first_chunk::<4>()?;
    let number = rest.first_chunk::<8>()?;
    Some((u32::from_be_bytes(*writer), u64::from_be_bytes(*number)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_transaction_writes_no_key_twice_and_both_keyspaces() {
        for number in 1..500 {
            let transaction = Transaction { seed: 1, writer: 2, number };
            let writes = transaction.writes();
            let keys: BTreeSet<_> = writes.iter().map(|write| (write.keyspace, &write.key)).collect();
            assert_eq!(keys.len(), writes.len());
            assert!(writes.iter().any(|write| write.keyspace == 0) && writes.iter().any(|write| write.keyspace == 1));
            assert_eq!(writes, transaction.writes());
        }
    }
}
