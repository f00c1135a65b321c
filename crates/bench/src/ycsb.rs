//! YCSB's core workloads (Cooper et al., "Benchmarking cloud serving systems with YCSB", 2010): mixes of reads and
//! writes of which some records get most.
//!
//! Records are numbered in the order in which they came, and their keys are scattered, so that a new one may lie
//! anywhere. Popular records are scattered among the old ones. A thread takes the records that it added itself for the
//! latest, so that no draw depends on how fast another thread is.

use base::rng::Rng;

use crate::data::{Permutation, write_key};
use crate::task::{Tally, Task};
use crate::zipf::Zipf;
use crate::{Direction, Error, Result, Store};

/// Bytes of a record's value.
pub(crate) const VALUE_SIZE: usize = 1 << 10;
const SCAN_ENTRIES_MAX: u64 = 100;
/// Makes other places of popular records than those of their load.
pub(crate) const POPULARITY_SEED: u64 = 0x7963_7362;

/// A core workload: so many writes of a hundred operations, reads for the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    pub(crate) writes_percent: u64,
    change: Change,
    read: Read,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Update,
    Insert,
    ReadModifyWrite,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Popular,
    Latest,
    Scan,
}

impl Mix {
    /// The mix of a letter from a to f.
    pub(crate) fn of(letter: &str) -> Option<Self> {
        let (writes_percent, change, read) = match letter {
            "a" => (50, Change::Update, Read::Popular),
            "b" => (5, Change::Update, Read::Popular),
            "c" => (0, Change::Update, Read::Popular),
            "d" => (5, Change::Insert, Read::Latest),
            "e" => (5, Change::Insert, Read::Scan),
            "f" => (50, Change::ReadModifyWrite, Read::Popular),
            _ => return None,
        };
        Some(Self { writes_percent, change, read })
    }

    pub(crate) fn scans(self) -> bool {
        self.read == Read::Scan
    }

    pub(crate) fn inserts(self) -> bool {
        self.change == Change::Insert
    }
}

/// The keys of the records that a thread asks for and adds.
struct Records {
    zipf: Zipf,
    popularity: Permutation,
    keys: Permutation,
    loaded: u64,
    added: u64,
    /// Records that threads before this one may add.
    before: u64,
}

impl Records {
    fn popular(&self, rng: &mut Rng) -> u64 {
        self.keys.at(self.popularity.at(self.zipf.draw(rng)))
    }

    fn latest(&self, rng: &mut Rng) -> u64 {
        self.key_number(self.loaded + self.added - 1 - self.zipf.draw(rng))
    }

    fn add(&mut self) -> u64 {
        self.added += 1;
        self.key_number(self.loaded + self.added - 1)
    }

    fn key_number(&self, record: u64) -> u64 {
        self.keys.at(if record < self.loaded { record } else { record + self.before })
    }
}

impl Task<'_> {
    /// Does this thread's part of a mix.
    pub(crate) fn ycsb<S: Store>(&self, store: &S, thread: usize, mix: Mix) -> Result<Tally> {
        let (mut rng, mut values, mut key) = (self.numbers(thread), self.values(thread), self.key_buffer());
        let part = self.part_of(thread);
        let seed = self.parameters.seed;
        let mut records = Records {
            zipf: Zipf::new(self.num),
            popularity: Permutation::new(self.num, seed ^ POPULARITY_SEED),
            keys: Permutation::new(self.room, seed),
            loaded: self.num,
            added: 0,
            before: part.start,
        };
        let mut tally = Tally::begin();
        for _ in part {
            let writes = rng.below(100) < mix.writes_percent;
            let number = match (writes, mix.change, mix.read) {
                (true, Change::Insert, _) => records.add(),
                (false, _, Read::Latest) => records.latest(&mut rng),
                _ => records.popular(&mut rng),
            };
            write_key(&mut key, number);
            let mut bytes = 0;
            if writes {
                if mix.change == Change::ReadModifyWrite {
                    bytes += self.get_one(store, &key, number)?;
                }
                store.put(&key, values.next(), self.parameters.sync)?;
                bytes += self.entry_bytes();
                tally.put_bytes += self.entry_bytes();
            } else if mix.read == Read::Scan {
                bytes += self.scan_some(store, &key, number, 1 + rng.below(SCAN_ENTRIES_MAX))?;
            } else {
                bytes += self.get_one(store, &key, number)?;
            }
            tally.did(1, bytes);
        }
        tally.added = records.added;
        Ok(tally)
    }

    /// Scans from a key that is there; returns the bytes seen.
    fn scan_some<S: Store>(&self, store: &S, from: &[u8], number: u64, entries: u64) -> Result<u64> {
        let (mut bytes, mut is_first_right) = (0, false);
        let visit = |key: &[u8], value: &[u8]| {
            is_first_right |= bytes == 0 && key == from;
            bytes += (key.len() + value.len()) as u64;
        };
        let seen = store.scan(Some(from), Direction::Forward, entries, visit)?;
        // Of the keys from here on, no more are missing than there is room for new ones.
        let least = entries.min(self.num.saturating_sub(number));
        if !is_first_right || seen < least || seen > entries {
            return Err(Error::WrongAnswer(format!("{seen} entries from key {number} on, not {entries}")));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn records(before: u64) -> Records {
        Records {
            zipf: Zipf::new(100),
            popularity: Permutation::new(100, 1),
            keys: Permutation::new(120, 2),
            loaded: 100,
            added: 0,
            before,
        }
    }

    #[test]
    fn only_records_that_are_there_are_asked_for() {
        let (mut records, mut rng) = (records(10), Rng::new(3));
        let mut there: BTreeSet<u64> = (0..100).map(|record| records.keys.at(record)).collect();
        for _ in 0..10 {
            assert!((0..1_000).all(|_| there.contains(&records.popular(&mut rng))));
            assert!((0..1_000).all(|_| there.contains(&records.latest(&mut rng))));
            assert!(there.insert(records.add()), "it was there");
        }
    }

    #[test]
    fn threads_add_records_of_their_own() {
        let (mut one, mut other) = (records(0), records(10));
        let added: BTreeSet<u64> = (0..10).flat_map(|_| [one.add(), other.add()]).collect();
        assert_eq!(added.len(), 20);
    }

    #[test]
    fn the_latest_record_is_the_most_frequent_one() {
        let (mut records, mut rng) = (records(0), Rng::new(4));
        records.add();
        let newest = records.add();
        let hits = (0..1_000).filter(|_| records.latest(&mut rng) == newest).count();
        assert!((100..400).contains(&hits), "{hits}");
    }
}
