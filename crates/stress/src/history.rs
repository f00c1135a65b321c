//! A history of commits over a few keyspaces, what it should leave in a store, and whether it did.
//!
//! Every commit writes its number under [`MARKER`] in each keyspace that it touches, together with keys that later
//! commits overwrite and remove. So a store that shows the first `n` commits and no other state can be told from one
//! that lost, tore or revived anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::rng::Rng;
use engine::{Db, Durability, Keyspace, KeyspaceOptions, Read, WriteBatch, WriteOptions};

use crate::content::{bytes, mix};
use crate::failure::ensure;
use crate::{Failure, Outcome};

/// The key that holds the number of the newest commit.
pub const MARKER: &[u8] = b"newest";

/// Keyspaces of a history, in the order in which they come to be. The second gets so little that it is not flushed.
pub const KEYSPACES: [&str; 3] = ["default", "seldom", "late"];

/// One commit.
#[derive(Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its place in the history, from 1.
    pub number: u64,
    /// What it does: keyspace, key, and the value, or none for a removal.
    operations: Vec<(usize, Vec<u8>, Option<Vec<u8>>)>,
}

/// What is in a store: value by keyspace and key.
type State<'a> = BTreeMap<(usize, &'a [u8]), &'a [u8]>;

/// Commits in their order.
#[derive(Clone, Debug, Default)]
pub struct History {
    commits: Vec<Arc<Commit>>,
}

impl Commit {
    /// Commit `number` of a run; commits of different runs with the same number differ in every value.
    #[must_use]
    pub fn new(number: u64, run: u64, keyspaces: usize) -> Self {
        let mut rng = Rng::new(mix(&[number, run]));
        let mut operations = Vec::new();
        let mut put = |keyspace: usize, key: String, len: u64, rng: &mut Rng| {
            operations.push((keyspace, key.into_bytes(), Some(bytes(rng.next_u64(), len as usize))));
        };
        for slot in 0..5 {
            put(0, format!("small/{}", (number * 5 + slot) % 43), 300 + rng.below(200), &mut rng);
        }
        if number.is_multiple_of(2) {
            put(0, format!("large/{}", number / 2 % 7), 4_000 + rng.below(3_000), &mut rng);
        }
        put(1, format!("small/{}", number % 10), rng.below(40), &mut rng);
        if number.is_multiple_of(5) {
            put(1, format!("large/{}", number / 5 % 3), 600 + rng.below(2_000), &mut rng);
        }
        if keyspaces > 2 {
            put(2, format!("small/{}", number % 10), rng.below(40), &mut rng);
        }
        if number.is_multiple_of(3) {
            operations.push((0, format!("small/{}", rng.below(43)).into_bytes(), None));
            operations.push((0, format!("large/{}", rng.below(7)).into_bytes(), None));
        }
        for keyspace in 0..keyspaces {
            let mut marker = number.to_be_bytes().to_vec();
            marker.extend_from_slice(&run.to_be_bytes());
            operations.push((keyspace, MARKER.to_vec(), Some(marker)));
        }
        Self { number, operations }
    }

    /// Writes it.
    ///
    /// # Errors
    /// As [`Db::write_with`].
    pub fn write(&self, db: &Db, keyspaces: &[Keyspace], durability: Durability) -> engine::Result<()> {
        let mut batch = WriteBatch::new();
        for (keyspace, key, value) in &self.operations {
            let Some(keyspace) = keyspaces.get(*keyspace) else { continue };
            match value {
                Some(value) => batch.keyspace(keyspace).insert(key, value)?,
                None => batch.keyspace(keyspace).remove(key)?,
            }
        }
        db.write_with(batch, WriteOptions::new().durability(durability)).map(drop)
    }
}

impl History {
    /// How many commits there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.commits.len() as u64
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commits.is_empty()
    }

    /// Adds the next commit.
    pub fn push(&mut self, run: u64, keyspaces: usize) -> Arc<Commit> {
        let commit = Arc::new(Commit::new(self.len() + 1, run, keyspaces));
        self.commits.push(Arc::clone(&commit));
        commit
    }

    /// Forgets all but the first commits.
    pub fn truncate(&mut self, len: u64) {
        self.commits.truncate(len as usize);
    }

    fn state(&self, len: u64) -> State<'_> {
        let mut state = State::new();
        for commit in self.commits.iter().take(len as usize) {
            for (keyspace, key, value) in &commit.operations {
                match value {
                    Some(value) => state.insert((*keyspace, key), value),
                    None => state.remove(&(*keyspace, key.as_slice())),
                };
            }
        }
        state
    }

    /// How many commits of this history the store shows, if what it shows is exactly that many: each key with its
    /// value, and nothing else.
    ///
    /// # Errors
    /// When it shows anything else, or cannot be read.
    pub fn check(&self, db: &Db) -> Outcome<u64> {
        let snapshot = db.snapshot();
        let newest = match snapshot.get(MARKER)? {
            Some(marker) => marker.first_chunk().map(|number| u64::from_be_bytes(*number)),
            None => Some(0),
        };
        let newest = newest.ok_or_else(|| Failure::new("the marker is no number"))?;
        ensure(newest <= self.len(), || format!("commit {newest} is there, of {} that were tried", self.len()))?;
        let expected = self.state(newest);
        let mut left = expected.len();
        for (number, keyspace) in open_keyspaces(db)?.iter().enumerate() {
            for item in snapshot.keyspace(keyspace).iter() {
                let (key, found) = item?.into_pair()?;
                let place = || format!("{} of {} after commit {newest}", key.escape_ascii(), keyspace.name());
                let wanted = expected.get(&(number, &*key));
                let wanted = wanted.ok_or_else(|| Failure::new(format!("{} should not be there", place())))?;
                ensure(**wanted == *found, || {
                    format!("{} has {} wrong bytes, should have {}", place(), found.len(), wanted.len())
                })?;
                left -= 1;
            }
        }
        ensure(left == 0, || format!("{left} of {} keys are missing after commit {newest}", expected.len()))?;
        for ((number, key), wanted) in expected.iter().step_by(7) {
            let found = match open_keyspaces(db)?.get(*number) {
                Some(keyspace) => keyspace.get(key)?,
                None => None,
            };
            let key = key.escape_ascii();
            ensure(found.is_some_and(|found| *found == **wanted), || format!("a scan finds {key}, a read does not"))?;
        }
        Ok(newest)
    }
}

/// The keyspaces of a history that are there.
///
/// # Errors
/// When one cannot be opened.
pub fn open_keyspaces(db: &Db) -> engine::Result<Vec<Keyspace>> {
    db.keyspaces().iter().map(|info| db.keyspace(&info.name, KeyspaceOptions::new())).collect()
}
