//! The store under the model's steps, and the comparison after each.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use engine::{
    AutoGc, CompactOptions, Compression, Cursor, Db, Entry, ErrorKind, GcOptions, GcPaused, GcPolicy, IoMode, Item,
    Keyspace, KeyspaceOptions, Options, Read, ScanOptions, Snapshot, StaticKey, WriteBatch,
};
use proptest_state_machine::StateMachineTest;
use vfs::{MemFs, Vfs};

use crate::held::{HeldIter, ModelClock};
use crate::reference::{BEGUN_AT, Key, Model, Moment, Small, Step, Value, Write};
use crate::stored::Stored;

pub(crate) static TRANSITIONS_RUN: LazyLock<Mutex<BTreeMap<&'static str, u64>>> = LazyLock::new(Mutex::default);
pub(crate) static ENCRYPTED_CASES: AtomicU64 = AtomicU64::new(0);
pub(crate) static ASKED: Mutex<Jobs> = Mutex::new(Jobs { flushes: 0, compactions: 0, collections: 0 });
pub(crate) static BY_THEMSELVES: Mutex<Jobs> = Mutex::new(Jobs { flushes: 0, compactions: 0, collections: 0 });

/// Items whose values are read late, at most.
const LATE_ITEMS_MAX: usize = 4;

/// What is found of garbage must be exact at one of so many looks.
const CHECKS_MAX: usize = 20;

/// Every name that [`name_of`] gives.
pub(crate) const TRANSITIONS: [&str; 24] = [
    "remove",
    "insert",
    "batch",
    "transaction",
    "get",
    "range",
    "range-reverse",
    "both-ends",
    "cursor",
    "versions",
    "take-snapshot",
    "read-snapshot",
    "drop-snapshot",
    "hold-iterator",
    "step-iterator",
    "drop-iterator",
    "wait",
    "collect",
    "find-and-collect",
    "pause-collections",
    "resume-collections",
    "flush",
    "compact",
    "reopen",
];

/// Background jobs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Jobs {
    pub(crate) flushes: u64,
    pub(crate) compactions: u64,
    pub(crate) collections: u64,
}

impl Jobs {
    /// Those that an open store has done so far.
    fn of(db: &Db) -> Self {
        let (background, collections) = (db.metrics().background, db.gc().status().collections);
        Self { flushes: background.flushes, compactions: background.compactions, collections }
    }

    fn add(&mut self, other: Self) {
        self.flushes += other.flushes;
        self.compactions += other.compactions;
        self.collections += other.collections;
    }

    fn since(self, before: Self) -> Self {
        Self {
            flushes: self.flushes - before.flushes,
            compactions: self.compactions - before.compactions,
            collections: self.collections - before.collections,
        }
    }
}

pub(crate) struct System {
    vfs: Arc<dyn Vfs>,
    options: Small,
    db: Option<Db>,
    second: Option<Keyspace>,
    snapshots: Vec<Snapshot>,
    iterators: Vec<HeldIter>,
    /// Items and the values that they must still have, whatever became of their store.
    late: Vec<(Item, Vec<u8>)>,
    paused: Option<GcPaused>,
    clock: Arc<ModelClock>,
    /// What was done since the store was opened because a step or the recovery asked for it.
    asked: Jobs,
    stored: Stored,
}

impl System {
    fn open(&mut self) {
        let small = self.options;
        let mut options = Options::new()
            .memtable_size(64 << 10)
            .value_log_file_size(64 << 10)
            .value_log_max_entries(small.segment_entries)
            .value_threshold(small.value_threshold)
            .compression(match small.codec {
                0 => Compression::None,
                1 => Compression::Snappy,
                _ => Compression::Zstd { level: 1 },
            })
            .io_mode(if small.mapped { IoMode::Mapped } else { IoMode::Pread })
            .block_size(small.block_size)
            .table_size(8 << 10)
            .level_base_size(64 << 10)
            .level_multiplier(3)
            .l0_compaction_trigger(2)
            .manifest_edits_max(5)
            .versions_to_keep(NonZeroU32::new(small.versions_to_keep).unwrap())
            .gc(small.collects_at.map_or(GcPolicy::Manual, |percent| {
                GcPolicy::Auto(AutoGc::new().garbage_target(f64::from(percent) / 100.0))
            }))
            .clock(Arc::<ModelClock>::clone(&self.clock))
            .vfs(Arc::clone(&self.vfs));
        if small.inline {
            options = options.inline_background();
        }
        if small.encrypted {
            options = options.encryption(Arc::new(StaticKey::new(&[7; 32])));
        }
        let db = options.open("/store").unwrap();
        self.second = Some(db.keyspace("second", KeyspaceOptions::new()).unwrap());
        self.asked = Jobs::of(&db);
        self.db = Some(db);
    }

    fn db(&self) -> &Db {
        self.db.as_ref().unwrap()
    }

    fn second(&self) -> &Keyspace {
        self.second.as_ref().unwrap()
    }

    fn batch(&self, writes: &[Write], at: Moment) -> WriteBatch {
        let mut batch = WriteBatch::new();
        for write in writes {
            match (write.second, write.value(at)) {
                (false, Some(value)) => batch.insert_entry(entry(&write.key, value)),
                (false, None) => batch.remove(&write.key),
                (true, Some(value)) => batch.keyspace(self.second()).insert_entry(entry(&write.key, value)),
                (true, None) => batch.keyspace(self.second()).remove(&write.key),
            }
            .unwrap();
        }
        batch
    }

    /// `model` is the state after the step.
    fn txn(&mut self, model: &Model, step: &Step) {
        let Step::Txn { reads, range, writes, rival, rollback } = step else { return };
        let conflicts = !*rollback && !writes.is_empty() && Model::conflicts(reads, range, rival.as_ref());
        let commits = !*rollback && !writes.is_empty() && !conflicts;
        let begun = model.step - u64::from(commits) - u64::from(rival.is_some());
        let at = |step| Moment { step, now: model.now };
        let visible = model.visible(false, at(begun));
        let mut committed = Vec::new();
        let mut txn = self.db().begin();
        for key in reads {
            assert_eq!(txn.get(key).unwrap().map(Vec::from), visible.get(key).map(|value| value.bytes()));
        }
        compare(txn.range(&range.0[..]..&range.1[..]), visible.range(range.0.clone()..range.1.clone()), false);
        if let Some(rival) = rival {
            let info = self.db().write(self.batch(std::slice::from_ref(rival), at(begun + 1))).unwrap();
            committed.push((info, begun + 1));
        }
        let mut own = visible;
        for write in writes {
            let value = write.value(model.moment());
            match (write.second, value) {
                (false, Some(value)) => txn.insert_entry(entry(&write.key, value)),
                (false, None) => txn.remove(&write.key[..]),
                (true, Some(value)) => txn.keyspace(self.second()).insert_entry(entry(&write.key, value)),
                (true, None) => txn.keyspace(self.second()).remove(&write.key[..]),
            }
            .unwrap();
            match (write.second, value) {
                (false, Some(value)) => drop(own.insert(write.key.clone(), value)),
                (false, None) => drop(own.remove(&write.key)),
                (true, _) => {}
            }
        }
        compare(txn.untracked().iter(), own.iter(), false);
        compare(txn.untracked().iter().rev(), own.iter(), true);
        if *rollback {
            txn.rollback();
        } else {
            match txn.commit() {
                Ok(_) if conflicts => panic!("a conflict went by unseen"),
                Ok(info) if commits => committed.push((info, model.step)),
                Ok(_) => {}
                Err(error) => assert!(conflicts && error.is_conflict(), "{error}"),
            }
        }
        committed.into_iter().for_each(|(info, step)| self.stored.note_commit(info, step));
    }
}

fn entry(key: &Key, value: Value) -> Entry {
    let entry = Entry::new(&key[..], value.bytes());
    let entry = match value.expires_at {
        Some(at) => entry.expires_at(UNIX_EPOCH + Duration::from_secs(at)),
        None => entry,
    };
    if value.discards_earlier { entry.discard_earlier_versions() } else { entry }
}

/// Items must be these, in this order or the reverse.
fn compare<'a>(
    items: impl Iterator<Item = engine::Result<Item>>,
    expected: impl DoubleEndedIterator<Item = (&'a Key, &'a Value)>,
    reverse: bool,
) {
    let found: Vec<_> = items.map(Result::unwrap).collect();
    let mut expected: Vec<_> = expected.collect();
    if reverse {
        expected.reverse();
    }
    let keys = |item: &Item| item.key().to_vec();
    assert_eq!(
        found.iter().map(keys).collect::<Vec<_>>(),
        expected.iter().map(|(key, _)| (*key).clone()).collect::<Vec<_>>()
    );
    for (item, (key, value)) in found.iter().zip(expected) {
        assert_eq!(item.value_len(), value.len as u64, "{key:?}");
        assert_eq!(item.value().unwrap(), value.bytes(), "{key:?}");
    }
}

fn compare_range(reader: &impl Read, model: &BTreeMap<Key, Value>, lower: &Key, upper: &Key, reverse: bool) {
    let options = ScanOptions::new().range(&lower[..]..&upper[..]).reverse(reverse);
    compare(reader.scan(options), model.range(lower.clone()..upper.clone()), reverse);
}

fn compare_both_ends(reader: &impl Read, model: &BTreeMap<Key, Value>, from_front: &[bool]) {
    let (mut items, mut expected) = (reader.iter(), model.iter());
    for &front in from_front {
        let (found, wanted) =
            if front { (items.next(), expected.next()) } else { (items.next_back(), expected.next_back()) };
        assert_eq!(found.map(|item| item.unwrap().key().to_vec()), wanted.map(|(key, _)| key.clone()));
    }
}

fn compare_cursor(cursor: &mut Cursor<'_>, model: &BTreeMap<Key, Value>, moves: &[(u8, Key)]) {
    let mut at: Option<Key> = None;
    for (kind, key) in moves {
        let first_from = |from: &Key| model.range(from.clone()..).next().map(|(key, _)| key.clone());
        match (kind, &at) {
            (0, _) | (_, None) => {
                cursor.seek(key).unwrap();
                at = first_from(key);
            }
            (1, Some(current)) => {
                cursor.next().unwrap();
                let mut behind = current.clone();
                behind.push(0);
                at = first_from(&behind);
            }
            (2, Some(current)) => {
                cursor.prev().unwrap();
                at = model.range(..current.clone()).next_back().map(|(key, _)| key.clone());
            }
            (_, Some(_)) => {
                cursor.seek_to_last().unwrap();
                at = model.keys().next_back().cloned();
            }
        }
        assert_eq!(cursor.key().map(<[u8]>::to_vec), at);
        if let Some(at) = &at {
            assert_eq!(cursor.value().unwrap().unwrap(), model[at].bytes());
        }
    }
}

impl StateMachineTest for System {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(model: &Model) -> Self {
        ENCRYPTED_CASES.fetch_add(u64::from(model.options.encrypted), Ordering::Relaxed);
        let vfs: Arc<dyn Vfs> = Arc::new(MemFs::new(1));
        let (options, asked, stored) = (model.options, Jobs::default(), Stored::default());
        let clock = Arc::new(ModelClock::new(BEGUN_AT));
        let (snapshots, iterators, late) = (Vec::new(), Vec::new(), Vec::new());
        let mut system = Self {
            vfs,
            options,
            db: None,
            second: None,
            snapshots,
            iterators,
            late,
            paused: None,
            clock,
            asked,
            stored,
        };
        system.open();
        system
    }

    fn apply(mut system: Self, model: &Model, step: Step) -> Self {
        system.run(model, &step);
        system
    }

    fn check_invariants(_: &Self, _: &Model) {}

    fn teardown(mut system: Self, model: Model) {
        compare(system.db().iter(), model.now(false).iter(), false);
        compare(system.second().iter(), model.now(true).iter(), false);
        for (snapshot, step) in system.snapshots.iter().zip(&model.snapshots) {
            compare(snapshot.iter(), model.visible(false, *step).iter(), false);
        }
        system.check_late();
        system.count_jobs();
        system.check_stored(&model);
        system.check_garbage();
    }
}

impl System {
    fn run(&mut self, model: &Model, step: &Step) {
        *TRANSITIONS_RUN.lock().unwrap().entry(name_of(step)).or_default() += 1;
        match step {
            Step::Insert(write) => self.write(std::slice::from_ref(write), model.moment()),
            Step::Batch(writes) => self.write(writes, model.moment()),
            Step::Txn { .. } => self.txn(model, step),
            Step::Get(second, key) => {
                let found = if *second { self.second().get(key) } else { self.db().get(key) };
                assert_eq!(found.unwrap().map(Vec::from), model.now(*second).get(key).map(|value| value.bytes()));
            }
            Step::Range { second: true, lower, upper, reverse } => {
                compare_range(self.second(), &model.now(true), lower, upper, *reverse);
            }
            Step::Range { second: false, lower, upper, reverse } => {
                compare_range(self.db(), &model.now(false), lower, upper, *reverse);
            }
            Step::BothEnds { second: true, from_front } => {
                compare_both_ends(self.second(), &model.now(true), from_front)
            }
            Step::BothEnds { second: false, from_front } => compare_both_ends(self.db(), &model.now(false), from_front),
            Step::Cursor { second, moves } => {
                let options = ScanOptions::new();
                let cursor = if *second { self.second().cursor(options) } else { self.db().cursor(options) };
                compare_cursor(&mut cursor.unwrap(), &model.now(*second), moves);
            }
            Step::Versions(second, key) => {
                let items = if *second { self.second().versions(key) } else { self.db().versions(key) };
                let items = items.map(Result::unwrap).collect();
                self.stored.check_key(items, model, *second, key);
            }
            Step::TakeSnapshot => self.snapshots.push(self.db().snapshot()),
            Step::ReadSnapshot { index, second, lower, upper, reverse } => {
                let (snapshot, visible) = (&self.snapshots[*index], model.visible(*second, model.snapshots[*index]));
                match second {
                    true => compare_range(&snapshot.keyspace(self.second()), &visible, lower, upper, *reverse),
                    false => compare_range(snapshot, &visible, lower, upper, *reverse),
                }
            }
            Step::DropSnapshot(index) => drop(self.snapshots.remove(*index)),
            Step::HoldIterator { index, second, reverse } => {
                let keyspace = if *second {
                    self.second().clone()
                } else {
                    self.db().keyspace("default", KeyspaceOptions::new()).unwrap()
                };
                self.iterators.push(HeldIter::begin(self.snapshots[*index].keyspace(&keyspace), *reverse));
            }
            Step::MoveIterator(index, count) => self.step_iterator(model, *index, *count),
            Step::DropIterator(index) => drop(self.iterators.remove(*index)),
            Step::Wait(_) => self.clock.set(model.now),
            Step::Collect { percent, find, dry } => self.collect(model, *percent, *find, *dry),
            Step::PauseCollections => self.paused = Some(self.db().gc().pause()),
            Step::ResumeCollections => self.paused = None,
            Step::Flush => {
                let before = Jobs::of(self.db());
                self.db().flush().unwrap();
                // What follows a flush was not asked for.
                self.asked.add(Jobs { flushes: Jobs::of(self.db()).flushes - before.flushes, ..Jobs::default() });
            }
            Step::Compact => {
                let before = Jobs::of(self.db());
                self.db().compact(.., CompactOptions::new()).unwrap();
                self.asked.add(Jobs { collections: 0, ..Jobs::of(self.db()).since(before) });
                self.check_stored(model);
            }
            Step::Reopen { clean } => {
                self.check_stored(model);
                self.reopen(*clean);
                self.check_stored(model);
            }
        }
    }

    fn write(&mut self, writes: &[Write], at: Moment) {
        let info = self.db().write(self.batch(writes, at)).unwrap();
        if !writes.is_empty() {
            self.stored.note_commit(info, at.step);
        }
    }

    /// Every version of every key.
    fn check_stored(&mut self, model: &Model) {
        for second in [false, true] {
            let options = ScanOptions::new().all_versions(true);
            let items = if second { self.second().scan(options) } else { self.db().scan(options) };
            let mut by_key = BTreeMap::<Key, Vec<Item>>::new();
            for item in items.map(Result::unwrap) {
                by_key.entry(item.key().to_vec()).or_default().push(item);
            }
            for key in model.keyspaces[usize::from(second)].keys() {
                self.stored.check_key(by_key.remove(key).unwrap_or_default(), model, second, key);
            }
            assert!(by_key.is_empty(), "keys that were never written: {by_key:?}");
        }
    }

    /// What no entry points to is dead, and nothing else. A compaction of the store's own may come between a look at what is
    /// dead and one at the tree: what has leaked for good is found each time.
    fn check_garbage(&self) {
        let check = || match self.db().gc().check() {
            Ok(check) => Some(check),
            Err(error) if error.kind() == ErrorKind::Stalled => None,
            Err(error) => panic!("{error}"),
        };
        let mut inexact = Vec::new();
        while inexact.len() < CHECKS_MAX {
            match check() {
                Some(check) if check.is_exact() => return,
                found => inexact.extend(found),
            }
            std::thread::yield_now();
        }
        panic!("{inexact:?}");
    }

    fn step_iterator(&mut self, model: &Model, index: usize, count: usize) {
        let held = model.iterators[index];
        let visible = model.visible(held.second, held.at);
        let mut expected: Vec<_> = visible.iter().collect();
        if held.reverse {
            expected.reverse();
        }
        let expected: Vec<_> = expected.into_iter().skip(held.taken - count).take(count).collect();
        let items = self.iterators[index].take(count);
        if let (Some(item), Some((_, value))) = (items.last(), expected.last())
            && self.late.len() < LATE_ITEMS_MAX
        {
            self.late.push((item.clone(), value.bytes()));
        }
        compare(items.into_iter().map(Ok), expected.into_iter(), false);
    }

    fn check_late(&mut self) {
        for (item, value) in self.late.drain(..) {
            assert_eq!(item.value().unwrap(), value, "{:?}: a value that is read late", item.key());
        }
    }

    fn collect(&mut self, model: &Model, percent: u8, find: bool, dry: bool) {
        let before = Jobs::of(self.db());
        let options = GcOptions::new().discard_ratio(f64::from(percent) / 100.0).find_garbage(find).dry_run(dry);
        let report = self.db().gc().run_once(options).unwrap();
        assert!(!report.already_running || !self.options.inline, "{report:?}");
        assert_eq!(report.interrupted, model.paused && !report.already_running, "{report:?}");
        self.asked.add(Jobs::of(self.db()).since(before));
        if percent.is_multiple_of(3) {
            self.check_late();
        }
    }

    fn reopen(&mut self, clean: bool) {
        self.count_jobs();
        self.snapshots.clear();
        self.iterators.clear();
        self.paused = None;
        self.second = None;
        let db = self.db.take().unwrap();
        if clean {
            db.close().unwrap();
        } else {
            drop(db);
        }
        self.open();
    }

    fn count_jobs(&self) {
        let (all, asked) = (Jobs::of(self.db()), self.asked);
        ASKED.lock().unwrap().add(asked);
        BY_THEMSELVES.lock().unwrap().add(all.since(asked));
    }
}

fn name_of(step: &Step) -> &'static str {
    match step {
        Step::Insert(write) if write.len.is_none() => "remove",
        Step::Insert(_) => "insert",
        Step::Batch(_) => "batch",
        Step::Txn { .. } => "transaction",
        Step::Get(..) => "get",
        Step::Range { reverse: true, .. } => "range-reverse",
        Step::Range { .. } => "range",
        Step::BothEnds { .. } => "both-ends",
        Step::Cursor { .. } => "cursor",
        Step::Versions(..) => "versions",
        Step::TakeSnapshot => "take-snapshot",
        Step::ReadSnapshot { .. } => "read-snapshot",
        Step::DropSnapshot(_) => "drop-snapshot",
        Step::HoldIterator { .. } => "hold-iterator",
        Step::MoveIterator(..) => "step-iterator",
        Step::DropIterator(_) => "drop-iterator",
        Step::Wait(_) => "wait",
        Step::Collect { find: true, .. } => "find-and-collect",
        Step::Collect { .. } => "collect",
        Step::PauseCollections => "pause-collections",
        Step::ResumeCollections => "resume-collections",
        Step::Flush => "flush",
        Step::Compact => "compact",
        Step::Reopen { .. } => "reopen",
    }
}
