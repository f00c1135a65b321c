//! Lets long walks go on over newer views.
//!
//! A walk reads from the view that it pinned. One that takes hours would keep in memory, and on disk, what the store has
//! replaced since: memtables that were flushed, tables that were compacted. So every so many moves it pins anew and goes
//! on at its key.
//!
//! Invariant: what a walk returns is the same from every view that is pinned after its mark was registered, since no
//! compaction drops what a registered reader sees. What is stored beside that may go at any time, so a walk over all
//! versions keeps its first view; otherwise it could return a value and miss the tombstone that hides it.

use std::sync::Arc;

use lsm_levels::MergeCursor;

use crate::read::{OverlaidCursor, Reader, ScanOptions, sources};

/// Moves of a walk between two looks at the current view; few in unit tests, so that their walks get there.
pub(crate) const MOVES_BEFORE_REPIN: u32 = if cfg!(test) { 4 } else { 1_024 };

impl Reader<'_> {
    /// Lets a cursor that this reader made with `options` go on over the current view, if that is not its own.
    pub(crate) fn repin(&self, cursor: &mut OverlaidCursor<'_>, options: &ScanOptions) {
        let (current, cursor) = (self.keyspace.pin(), cursor.store_mut());
        if options.all_versions || Arc::ptr_eq(&current, cursor.view()) {
            return;
        }
        let merge = MergeCursor::new(sources(&current, cursor.bounds(), options, None));
        cursor.repin(Arc::clone(&current), merge);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};
    use std::ops::Bound::{Excluded, Unbounded};
    use std::path::PathBuf;
    use std::sync::Weak;

    use base::rng::Rng;
    use vfs::{Cause, Fault, FaultFs, FaultPlan, MemFs, Operation};
    use vlog::SegmentSet;

    use super::*;
    use crate::read::Item;
    use crate::super_version::MemtableHandle;
    use crate::{CompactOptions, Db, IoMode, Options, Read, Txn};

    const KEYS: u64 = 24;

    type Model = BTreeMap<Vec<u8>, Vec<u8>>;
    type Pair = (Vec<u8>, Vec<u8>);

    /// What a view keeps alive.
    struct Held {
        memtable: Weak<MemtableHandle>,
        segments: Weak<SegmentSet>,
        tables: Vec<PathBuf>,
    }

    impl Held {
        fn by_current_view(db: &Db) -> Self {
            let view = db.handle.default_keyspace.pin();
            let (memtable, segments) = (Arc::downgrade(&view.active), Arc::downgrade(&view.segments));
            let tables: Vec<_> = db.tables().into_iter().map(|table| table.path).collect();
            assert!(!tables.is_empty());
            Self { memtable, segments, tables }
        }

        #[track_caller]
        fn assert_kept(&self, db: &Db, kept: bool) {
            assert_eq!(self.memtable.upgrade().is_some(), kept, "the memtable");
            assert_eq!(self.segments.upgrade().is_some(), kept, "the segments");
            for table in &self.tables {
                assert_eq!(db.handle.vfs.metadata(table).unwrap().is_some(), kept, "{}", table.display());
            }
        }
    }

    fn key(n: u64) -> Vec<u8> {
        format!("key {n:02}").into_bytes()
    }

    fn pair(item: crate::Result<Item>) -> Pair {
        let (key, value) = item.unwrap().into_pair().unwrap();
        (key.to_vec(), value.to_vec())
    }

    fn flush_and_compact(db: &Db) {
        db.flush().unwrap();
        db.compact(.., CompactOptions::new()).unwrap();
    }

    /// A store with values in a table and in the memtable, and what it holds.
    fn filled() -> (Db, Model) {
        let db =
            Options::new().inline_background().value_threshold(8).value_log_max_entries(8).open_in_memory().unwrap();
        for n in 0..KEYS {
            db.insert(key(n), "before").unwrap();
        }
        db.flush().unwrap();
        let mut model: Model = (0..KEYS).map(|n| (key(n), b"before".to_vec())).collect();
        for n in (0..KEYS).step_by(3) {
            db.insert(key(n), "in the value log").unwrap();
            model.insert(key(n), b"in the value log".to_vec());
        }
        db.remove(key(5)).unwrap();
        model.remove(&key(5));
        (db, model)
    }

    /// Replaces every memtable and table by others without a key that was there.
    fn replace_all(db: &Db) {
        for n in 0..KEYS {
            db.insert(key(n), "after").unwrap();
            db.remove(key(n)).unwrap();
            db.insert([&key(n)[..], b" and a half"].concat(), "in another segment").unwrap();
        }
        flush_and_compact(db);
    }

    fn write_own(txn: &mut Txn, model: &mut Model) {
        for n in [0, 2, 3, 10, KEYS - 1, KEYS] {
            txn.insert(key(n), "own").unwrap();
            model.insert(key(n), b"own".to_vec());
        }
        for n in [1, 4, 5, 11, KEYS - 2] {
            txn.remove(key(n)).unwrap();
            model.remove(&key(n));
        }
    }

    #[test]
    fn a_long_walk_lets_go_of_what_was_replaced_and_returns_the_same() {
        for case in 0..8 {
            println!("case {case}");
            let (reverse, from_both_ends, has_own_writes) = (case & 1 != 0, case & 2 != 0, case & 4 != 0);
            let (db, mut model) = filled();
            let mut txn = db.begin();
            if has_own_writes {
                write_own(&mut txn, &mut model);
            }
            let mut expected: VecDeque<Pair> = model.into_iter().collect();
            if reverse {
                expected.make_contiguous().reverse();
            }
            let held = Held::by_current_view(&db);
            let mut walk = txn.scan(ScanOptions::new().reverse(reverse));
            assert_eq!(walk.next().map(pair), expected.pop_front());
            if from_both_ends {
                assert_eq!(walk.next_back().map(pair), expected.pop_back());
            }
            replace_all(&db);
            held.assert_kept(&db, true);
            for _ in 0..MOVES_BEFORE_REPIN {
                assert_eq!(walk.next().map(pair), expected.pop_front());
            }
            held.assert_kept(&db, false);
            while from_both_ends && expected.len() > 5 {
                assert_eq!(walk.next_back().map(pair), expected.pop_back());
                replace_all(&db);
            }
            assert!(walk.by_ref().map(pair).eq(expected));

            let held = Held::by_current_view(&db);
            replace_all(&db);
            held.assert_kept(&db, false);
            assert!(walk.next().is_none() && walk.next_back().is_none());
        }
    }

    #[test]
    fn a_cursor_lets_go_of_what_was_replaced_after_some_moves_and_at_a_seek() {
        let (db, model) = filled();
        let snapshot = db.snapshot();
        let mut cursor = snapshot.cursor(ScanOptions::new()).unwrap();
        cursor.seek(key(3)).unwrap();
        let held = Held::by_current_view(&db);
        replace_all(&db);
        for _ in 0..MOVES_BEFORE_REPIN / 2 {
            held.assert_kept(&db, true);
            cursor.next().unwrap();
            cursor.prev().unwrap();
        }
        held.assert_kept(&db, false);
        assert_eq!(cursor.value().unwrap().unwrap(), model[&key(3)]);

        let held = Held::by_current_view(&db);
        replace_all(&db);
        held.assert_kept(&db, true);
        cursor.seek(key(9)).unwrap();
        held.assert_kept(&db, false);
        assert_eq!(cursor.value().unwrap().unwrap(), model[&key(9)]);
    }

    #[test]
    fn a_walk_over_all_versions_keeps_its_first_view() {
        let (db, _) = filled();
        let versions = |walk: crate::Iter<'_>| -> Vec<_> {
            walk.map(|item| item.map(|item| (item.key_slice(), item.version())).unwrap()).collect()
        };
        let options = || ScanOptions::new().all_versions(true);
        let expected = versions(db.scan(options()));
        let snapshot = db.snapshot();
        let (mut forward, mut back) = (snapshot.scan(options()), snapshot.scan(options()));
        let first = forward.next().unwrap().unwrap();
        let last = back.next_back().unwrap().unwrap();
        replace_all(&db);
        assert!(versions(snapshot.scan(options())).len() < expected.len(), "nothing was dropped");
        let first = (first.key_slice(), first.version());
        assert_eq!([vec![first], versions(forward)].concat(), expected);
        let last = (last.key_slice(), last.version());
        assert_eq!([versions(back), vec![last]].concat(), expected);
    }

    #[test]
    fn what_cannot_be_read_of_the_new_view_is_an_error_of_the_walk() {
        let faults = FaultFs::over_memory(MemFs::new(1), FaultPlan::none());
        let options = Options::new().inline_background().io_mode(IoMode::Pread).vfs(Arc::new(faults.clone()));
        let db = options.open("/store").unwrap();
        for n in 0..KEYS {
            db.insert(key(n), "").unwrap();
        }
        let mut walk = db.iter();
        assert!(walk.next().unwrap().is_ok());
        replace_all(&db);
        faults.arm(Fault::on(Operation::Read, Cause::Io).at_suffix(".sst").forever());
        for _ in 2..MOVES_BEFORE_REPIN {
            assert!(walk.next().unwrap().is_ok(), "the memtable is read");
        }
        assert!(walk.next().unwrap().is_err());
        assert!(walk.next().is_none() && walk.next_back().is_none());
    }

    /// Changes a store and its model at random.
    fn change(db: &Db, model: &mut Model, rng: &mut Rng) {
        let key = key(rng.below(KEYS));
        match rng.below(20) {
            0 => db.flush().unwrap(),
            1 => flush_and_compact(db),
            2..8 => {
                db.remove(&key).unwrap();
                model.remove(&key);
            }
            _ => {
                let mut value = vec![0; rng.below(16) as usize];
                rng.fill(&mut value);
                db.insert(&key, &value).unwrap();
                model.insert(key, value);
            }
        }
    }

    #[test]
    fn walks_return_what_was_there_at_their_version_whatever_goes_on() {
        for seed in 0..100 {
            println!("seed {seed}");
            let mut rng = Rng::new(seed);
            let options = Options::new().inline_background().value_threshold(8).value_log_max_entries(8);
            let db = options.block_size(256).open_in_memory().unwrap();
            let mut now = Model::new();
            for _ in 0..100 {
                change(&db, &mut now, &mut rng);
            }
            let (mut txn, mut seen) = (db.begin(), now.clone());
            if rng.one_in(2) {
                write_own(&mut txn, &mut seen);
            }
            let range = key(rng.below(KEYS / 2))..key(KEYS / 2 + rng.below(KEYS));
            seen.retain(|key, _| range.contains(key));
            let options = ScanOptions::new().range(range).reverse(rng.one_in(2));
            let reverse = options.reverse;

            let pairs = seen.clone().into_iter();
            let mut left: VecDeque<_> = if reverse { pairs.rev().collect() } else { pairs.collect() };
            let mut iter = txn.scan(options.clone());
            let mut cursor = txn.cursor(options).unwrap();
            let mut at: Option<Pair> = None;
            let owned = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
            for _ in 0..200 {
                change(&db, &mut now, &mut rng);
                match rng.below(12) {
                    0 => assert_eq!(iter.next().map(pair), left.pop_front()),
                    1 => assert_eq!(iter.next_back().map(pair), left.pop_back()),
                    2 => {
                        let to = key(rng.below(KEYS + 2));
                        cursor.seek(&to).unwrap();
                        at = if reverse { seen.range(..=to).next_back() } else { seen.range(to..).next() }.map(owned);
                    }
                    step => {
                        let onwards = step < 8;
                        if onwards { cursor.next() } else { cursor.prev() }.unwrap();
                        let up = |from| seen.range((Excluded(from), Unbounded)).next();
                        let down = |from| seen.range(..from).next_back();
                        at = at.and_then(|(from, _)| if onwards == reverse { down(from) } else { up(from) }.map(owned));
                    }
                }
                assert_eq!(cursor.item().unwrap().map(|item| pair(Ok(item))), at);
            }
        }
    }
}
