//! What was acknowledged, and whether a store holds that and nothing else.

use std::collections::BTreeMap;
use std::path::Path;

use engine::{
    CommitOutcome, Db, Durability, Error, ErrorKind, KeyspaceOptions, Options, Read, Result, WriteBatch, WriteOptions,
};

/// More commits than any disk of these tests takes.
const COMMITS_MAX: usize = 60_000;

/// A small store, which soon has files of every kind.
pub(crate) fn options() -> Options {
    Options::new()
        .memtable_size(64 << 10)
        .value_log_file_size(64 << 10)
        .table_size(32 << 10)
        .level_base_size(64 << 10)
        .block_cache_size(1 << 20)
}

/// A commit writes a pair of keys, so that half of it would be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Commit {
    number: u64,
    len: usize,
}

impl Commit {
    fn value(self) -> Vec<u8> {
        let mut value = format!("{:010}", self.number).into_bytes().repeat(self.len / 10 + 1);
        value.truncate(self.len.max(10));
        value
    }
}

/// What was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    pairs: u64,
    next: u64,
    commits: BTreeMap<u64, Commit>,
    /// By pair: commits since its last acknowledged one that may be there after a reopen.
    in_doubt: BTreeMap<u64, Vec<Commit>>,
}

impl Acknowledged {
    /// Of a store whose commits overwrite this many pairs of keys in turn.
    pub(crate) fn over(pairs: u64) -> Self {
        Self { pairs, next: 0, commits: BTreeMap::new(), in_doubt: BTreeMap::new() }
    }

    /// Of a store whose commits overwrite nothing.
    pub(crate) fn new() -> Self {
        Self::over(u64::MAX)
    }

    pub(crate) fn len(&self) -> usize {
        self.commits.len()
    }

    /// A commit with values of `len` bytes.
    pub(crate) fn write(&mut self, db: &Db, len: usize, durability: Durability) -> Result<()> {
        let commit = Commit { number: self.next, len };
        let pair = self.next % self.pairs;
        self.next += 1;
        let mut batch = WriteBatch::new();
        for key in keys(pair) {
            batch.insert(key, commit.value())?;
        }
        match db.write_with(batch, WriteOptions::new().durability(durability)) {
            Ok(_) => {
                self.commits.insert(pair, commit);
                self.in_doubt.remove(&pair);
                Ok(())
            }
            Err(error) => {
                match error.commit_outcome() {
                    Some(CommitOutcome::NotApplied) => {}
                    Some(CommitOutcome::Unknown) => self.in_doubt.entry(pair).or_default().push(commit),
                    None => panic!("a failed write without an outcome: {error:?}"),
                }
                Err(error)
            }
        }
    }

    pub(crate) fn write_many(&mut self, db: &Db, count: usize, len: usize) {
        for _ in 0..count {
            self.write(db, len, Durability::Os).unwrap();
        }
    }

    /// Commits until one fails.
    pub(crate) fn write_until_error(&mut self, db: &Db, len: usize, durability: Durability) -> Error {
        for _ in 0..COMMITS_MAX {
            if let Err(error) = self.write(db, len, durability) {
                return error;
            }
        }
        panic!("no commit failed");
    }

    /// A commit after the cause of failures is gone. A job that began before may still tell of it.
    pub(crate) fn write_again(&mut self, db: &Db, len: usize) {
        let mut last = None;
        for _ in 0..10 {
            match self.write(db, len, Durability::Os) {
                Ok(()) => return,
                Err(error) => last = Some(error),
            }
        }
        panic!("the store does not go on: {last:?}");
    }

    /// Reads everything, by scan and by key.
    ///
    /// # Errors
    /// When a file cannot be read. What is read and wrong fails the test.
    pub(crate) fn check(&self, db: &Db) -> Result<()> {
        let mut found: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for item in db.iter() {
            let (key, value) = item?.into_pair()?;
            found.insert(key.to_vec(), value.to_vec());
        }
        let mut pairs: Vec<u64> = self.commits.keys().chain(self.in_doubt.keys()).copied().collect();
        pairs.sort_unstable();
        pairs.dedup();
        for pair in pairs {
            let both = keys(pair).map(|key| found.remove(key.as_bytes()));
            let in_doubt = self.in_doubt.get(&pair).into_iter().flatten();
            let mut known = self.commits.get(&pair).into_iter().chain(in_doubt).map(|commit| Some(commit.value()));
            let may_be_missing = !self.commits.contains_key(&pair) && both == [None, None];
            assert!(both[0] == both[1], "half of a commit of pair {pair} is there");
            assert!(may_be_missing || known.any(|value| value == both[0]), "pair {pair} is lost or wrong: {both:?}");
            for key in keys(pair) {
                assert!(db.get(&key)?.map(|value| value.to_vec()) == both[0], "{key} is another one by scan");
            }
        }
        assert!(found.is_empty(), "keys that nobody wrote: {:?}", found.keys());
        Ok(())
    }
}

fn keys(pair: u64) -> [String; 2] {
    [format!("left{pair:06}"), format!("right{pair:06}")]
}

/// Makes a store with files of every kind, and ends it in order or not at all.
pub(crate) fn make_store(dir: &Path, in_order: bool) -> Acknowledged {
    let mut acknowledged = Acknowledged::over(20);
    let db = options().open(dir).unwrap();
    db.keyspace("other", KeyspaceOptions::new()).unwrap();
    for _ in 0..2 {
        acknowledged.write_many(&db, 20, 500);
        acknowledged.write_many(&db, 15, 3_000);
        db.flush().unwrap();
    }
    db.compact(.., engine::CompactOptions::new()).unwrap();
    acknowledged.write_many(&db, 10, 2_000);
    acknowledged.write_many(&db, 10, 100);
    acknowledged.check(&db).unwrap();
    if in_order {
        db.close().unwrap();
    }
    acknowledged
}

/// Fails unless the error is of the kind and names the path.
#[track_caller]
pub(crate) fn assert_names(error: &Error, kind: ErrorKind, path: &Path) {
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{} is not named: {error}", path.display());
}

#[test]
fn the_check_sees_what_is_lost_torn_wrong_or_from_nowhere() {
    let faults: [fn(&Db) -> Result<()>; 5] = [
        |_| Ok(()),
        |db| keys(3).iter().try_for_each(|key| db.remove(key)),
        |db| db.remove(&keys(3)[0]),
        |db| keys(3).iter().try_for_each(|key| db.insert(key, Commit { number: 4, len: 100 }.value())),
        |db| db.insert("another", ""),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let (db, mut acknowledged) = (options().open_in_memory().unwrap(), Acknowledged::new());
        acknowledged.write_many(&db, 10, 100);
        fault(&db).unwrap();
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| acknowledged.check(&db).unwrap()));
        assert_eq!(checked.is_ok(), number == 0, "fault {number}");
    }
}
