//! What must be in the store after a kill, and whether it is.
//!
//! Of each writer, exactly the first `n` transactions, where `n` is at least the last acknowledged one and at most the
//! one that was on its way; all of each, in both keyspaces, to the last byte, and nothing else.

use std::collections::BTreeMap;
use std::fmt;

use engine::{Db, Item, Keyspace, KeyspaceOptions, Read, Snapshot};

use crate::kill::transaction::{HOT_KEYS, Transaction, Value, hot_writer, is_hot, marked_number, marker_key};
use crate::kill::{PAIR_KEYSPACE, WRITERS};

/// How the store is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Acknowledged transactions that are not there.
    Lost(String),
    /// Anything else: half a transaction, wrong bytes, a key from nowhere, a store that does not open.
    Wrong(String),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(what) => write!(f, "lost: {what}"),
            Self::Wrong(what) => write!(f, "wrong: {what}"),
        }
    }
}

impl From<engine::Error> for Flaw {
    fn from(error: engine::Error) -> Self {
        Self::Wrong(format!("the store: {error}"))
    }
}

/// What is known of one writer.
#[derive(Clone, Debug, Default)]
struct Writer {
    /// Its newest transaction that is known to be there.
    present: u64,
    /// The state that its transactions up to `applied` leave, by keyspace and key.
    keys: BTreeMap<(usize, Vec<u8>), Value>,
    applied: u64,
}

/// What must be in a store.
#[derive(Clone, Debug)]
pub struct Expected {
    seed: u64,
    writers: Vec<Writer>,
    /// The newest version of a transaction that is known to have written each hot key, by keyspace.
    hot: BTreeMap<(usize, Vec<u8>), u64>,
    /// The newest version that was seen, and the newest of all runs before this one.
    newest_version: u64,
    newest_before: u64,
}

impl Expected {
    /// Nothing yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let writers = vec![Writer::default(); WRITERS as usize];
        Self { seed, writers, hot: BTreeMap::new(), newest_version: 0, newest_before: 0 }
    }

    /// Transactions that are known to be there.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.writers.iter().map(|writer| writer.present).sum()
    }

    /// A new process has opened the store: versions that it hands out are above all that were seen.
    pub fn begin_run(&mut self) {
        self.newest_before = self.newest_version;
    }

    /// A process that has opened the store finds this transaction to be the writer's newest.
    ///
    /// # Errors
    /// When that cannot be.
    pub fn found(&mut self, writer: u32, number: u64) -> Result<(), Flaw> {
        let known = self.writer(writer)?;
        if number < known.present {
            let present = known.present;
            return Err(Flaw::Lost(format!("writer {writer} is back at transaction {number} of {present}")));
        }
        if number > known.present + 1 {
            let present = known.present;
            return Err(Flaw::Wrong(format!(
                "writer {writer} is at transaction {number}, beyond {present} and one more"
            )));
        }
        known.present = number;
        Ok(())
    }

    /// A transaction was acknowledged.
    ///
    /// # Errors
    /// When it comes out of order.
    pub fn acknowledged(&mut self, writer: u32, number: u64, version: u64) -> Result<(), Flaw> {
        if version <= self.newest_before {
            let before = self.newest_before;
            return Err(Flaw::Wrong(format!("version {version} was handed out again, after {before}")));
        }
        let known = self.writer(writer)?;
        if number != known.present + 1 {
            return Err(Flaw::Wrong(format!("transaction {number} of writer {writer} comes out of order")));
        }
        known.present = number;
        self.newest_version = self.newest_version.max(version);
        let transaction = Transaction { seed: self.seed, writer, number };
        for write in transaction.writes().into_iter().filter(|write| is_hot(&write.key)) {
            let newest = self.hot.entry((write.keyspace, write.key)).or_default();
            *newest = version.max(*newest);
        }
        Ok(())
    }

    fn writer(&mut self, writer: u32) -> Result<&mut Writer, Flaw> {
        self.writers.get_mut(writer as usize).ok_or_else(|| Flaw::Wrong(format!("there is no writer {writer}")))
    }

    /// Compares everything in the store with what must be there, and takes what was on its way for what is there now.
    ///
    /// # Errors
    /// At the first flaw.
    pub fn check(&mut self, db: &Db) -> Result<(), Flaw> {
        self.check_state(db)?;
        let (last, newest) = (db.recovery_report().last_version, self.newest_version);
        if last < newest {
            return Err(Flaw::Lost(format!("the recovery report ends at version {last}, {newest} was acknowledged")));
        }
        Ok(())
    }

    fn check_state(&mut self, db: &Db) -> Result<(), Flaw> {
        let snapshot = db.snapshot();
        let mut keyspaces = vec![db.keyspace("default", KeyspaceOptions::new())?];
        if db.keyspaces().iter().any(|info| info.name == PAIR_KEYSPACE) {
            keyspaces.push(db.keyspace(PAIR_KEYSPACE, KeyspaceOptions::new())?);
        }
        self.check_markers(&snapshot, &keyspaces)?;
        let mut left: usize = self.writers.iter().map(|writer| writer.keys.len()).sum();
        for (number, keyspace) in keyspaces.iter().enumerate() {
            for item in snapshot.keyspace(keyspace).iter() {
                let item = item?;
                if is_hot(item.key()) {
                    self.check_hot(number, &item)?;
                } else {
                    self.check_key(number, &item)?;
                    left -= 1;
                }
            }
        }
        self.check_hot_reads(&snapshot, &keyspaces)?;
        if left > 0 {
            return Err(Flaw::Lost(format!("{left} keys of transactions that are there are missing")));
        }
        Ok(())
    }

    fn check_markers(&mut self, snapshot: &Snapshot, keyspaces: &[Keyspace]) -> Result<(), Flaw> {
        for writer in 0..WRITERS {
            let mut numbers = Vec::new();
            for keyspace in keyspaces {
                let marker = snapshot.keyspace(keyspace).get(marker_key(writer))?;
                let number = marker.map_or(Some(0), |marker| marked_number(&marker));
                numbers.push(number.ok_or_else(|| Flaw::Wrong(format!("the marker of {writer} is no number")))?);
            }
            let first = numbers.first().copied().unwrap_or(0);
            if numbers.iter().any(|number| *number != first) {
                return Err(Flaw::Wrong(format!("writer {writer}: half of a transaction is there, {numbers:?}")));
            }
            self.found(writer, first)?;
            let seed = self.seed;
            self.writer(writer)?.apply(seed, writer);
        }
        Ok(())
    }

    fn check_key(&self, keyspace: usize, item: &Item) -> Result<(), Flaw> {
        let key = item.key().escape_ascii();
        let place = || format!("{key} in keyspace {keyspace}");
        let writer = item.key().split(|byte| *byte == b'/').next();
        let writer = writer.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
        let keys = writer.and_then(|writer| self.writers.get(writer)).map(|writer| &writer.keys);
        let wanted = keys.and_then(|keys| keys.get(&(keyspace, item.key().to_vec())));
        let wanted = wanted.ok_or_else(|| Flaw::Wrong(format!("{} should not be there", place())))?;
        if *item.value()? != *wanted.bytes() {
            return Err(Flaw::Wrong(format!("{} has a value that is not its newest", place())));
        }
        Ok(())
    }

    /// A hot key holds what its newest writer wrote: one that was acknowledged, or one that was on its way.
    fn check_hot(&mut self, keyspace: usize, item: &Item) -> Result<(), Flaw> {
        let key = item.key().escape_ascii();
        let found = item.value()?;
        let (writer, number) =
            hot_writer(&found).ok_or_else(|| Flaw::Wrong(format!("{key} in keyspace {keyspace} names no writer")))?;
        let present = self.writer(writer)?.present;
        let written_by = format!("{key} in keyspace {keyspace}, by transaction {number} of writer {writer}");
        if number > present {
            return Err(Flaw::Wrong(format!("{written_by}, which is not there")));
        }
        let writes = Transaction { seed: self.seed, writer, number }.writes();
        let wanted = writes.into_iter().find(|write| write.keyspace == keyspace && write.key == item.key());
        if wanted.and_then(|write| write.value).is_none_or(|value| *value.bytes() != *found) {
            return Err(Flaw::Wrong(format!("{written_by}, has wrong bytes")));
        }
        let newest = self.hot.entry((keyspace, item.key().to_vec())).or_default();
        if item.version() < *newest {
            let version = item.version();
            return Err(Flaw::Lost(format!("{written_by}, is of version {version}, one of {newest} was acknowledged")));
        }
        *newest = item.version();
        self.newest_version = self.newest_version.max(item.version());
        Ok(())
    }

    /// Every hot key that was ever written is there.
    fn check_hot_reads(&self, snapshot: &Snapshot, keyspaces: &[Keyspace]) -> Result<(), Flaw> {
        for (keyspace, key) in self.hot.keys() {
            let found = match keyspaces.get(*keyspace) {
                Some(keyspace) => snapshot.keyspace(keyspace).get(key)?,
                None => None,
            };
            if found.is_none() {
                return Err(Flaw::Lost(format!("{} in keyspace {keyspace} is missing", key.escape_ascii())));
            }
        }
        debug_assert!(self.hot.len() as u64 <= 2 * HOT_KEYS, "more hot keys than there are");
        Ok(())
    }
}

impl Writer {
    /// Brings its state up to its newest transaction.
    fn apply(&mut self, seed: u64, writer: u32) {
        for number in self.applied + 1..=self.present {
            for write in (Transaction { seed, writer, number }).writes() {
                match write.value {
                    _ if is_hot(&write.key) => {}
                    Some(value) => drop(self.keys.insert((write.keyspace, write.key), value)),
                    None => drop(self.keys.remove(&(write.keyspace, write.key))),
                }
            }
        }
        self.applied = self.present;
    }
}

#[cfg(test)]
mod tests;
