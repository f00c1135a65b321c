//! The store under the model's steps, and the comparison after each.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

use engine::{
    CompactOptions, Compression, Cursor, Db, IoMode, Item, Keyspace, KeyspaceOptions, Options, Read, ScanOptions,
    Snapshot, WriteBatch,
};
use proptest_state_machine::StateMachineTest;
use vfs::{MemFs, Vfs};

use crate::reference::{Key, Model, Small, Step, Value, Write};

pub(crate) static TRANSITIONS_RUN: LazyLock<Mutex<BTreeMap<&'static str, u64>>> = LazyLock::new(Mutex::default);
pub(crate) static ASKED: Mutex<Jobs> = Mutex::new(Jobs { flushes: 0, compactions: 0 });
pub(crate) static BY_THEMSELVES: Mutex<Jobs> = Mutex::new(Jobs { flushes: 0, compactions: 0 });

/// Every name that [`name_of`] gives.
pub(crate) const TRANSITIONS: [&str; 16] = [
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
    "flush",
    "compact",
    "reopen",
];

/// Background jobs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Jobs {
    pub(crate) flushes: u64,
    pub(crate) compactions: u64,
}

impl Jobs {
    /// Those that an open store has done so far.
    fn of(db: &Db) -> Self {
        let background = db.metrics().background;
        Self { flushes: background.flushes, compactions: background.compactions }
    }

    fn add(&mut self, flushes: u64, compactions: u64) {
        self.flushes += flushes;
        self.compactions += compactions;
    }
}

pub(crate) struct System {
    vfs: Arc<dyn Vfs>,
    options: Small,
    db: Option<Db>,
    second: Option<Keyspace>,
    snapshots: Vec<Snapshot>,
    /// What was done since the store was opened because a step or the recovery asked for it.
    asked: Jobs,
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
            .vfs(Arc::clone(&self.vfs));
        if small.inline {
            options = options.inline_background();
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

    fn batch(&self, writes: &[Write], step: u64) -> WriteBatch {
        let mut batch = WriteBatch::new();
        for write in writes {
            let value = write.len.map(|len| Value { len, step }.bytes());
            match (write.second, value) {
                (false, Some(value)) => batch.insert(&write.key, value),
                (false, None) => batch.remove(&write.key),
                (true, Some(value)) => batch.keyspace(self.second()).insert(&write.key, value),
                (true, None) => batch.keyspace(self.second()).remove(&write.key),
            }
            .unwrap();
        }
        batch
    }

    /// `model` is the state after the step.
    fn txn(&self, model: &Model, step: &Step) {
        let Step::Txn { reads, range, writes, rival, rollback } = step else { return };
        let conflicts = !*rollback && !writes.is_empty() && Model::conflicts(reads, range, rival.as_ref());
        let commits = !*rollback && !writes.is_empty() && !conflicts;
        let begun = model.step - u64::from(commits) - u64::from(rival.is_some());
        let visible = model.visible(false, begun);
        let mut txn = self.db().begin();
        for key in reads {
            assert_eq!(txn.get(key).unwrap().map(Vec::from), visible.get(key).map(|value| value.bytes()));
        }
        compare(txn.range(&range.0[..]..&range.1[..]), visible.range(range.0.clone()..range.1.clone()), false);
        if let Some(rival) = rival {
            self.db().write(self.batch(std::slice::from_ref(rival), begun + 1)).unwrap();
        }
        let mut own = visible;
        for write in writes {
            let value = write.len.map(|len| Value { len, step: model.step });
            match (write.second, value) {
                (false, Some(value)) => txn.insert(&write.key[..], value.bytes()),
                (false, None) => txn.remove(&write.key[..]),
                (true, Some(value)) => txn.keyspace(self.second()).insert(&write.key[..], value.bytes()),
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
            return txn.rollback();
        }
        match txn.commit() {
            Ok(_) => assert!(!conflicts, "a conflict went by unseen"),
            Err(error) => assert!(conflicts && error.is_conflict(), "{error}"),
        }
    }
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

/// Versions must be those of the model, newest first. Missing may be what no reader can see any more: tombstones, and
/// versions that a newer one hides from every snapshot.
fn compare_versions(found: Vec<Item>, model: &Model, second: bool, key: &Key) {
    assert!(found.is_sorted_by(|a, b| a.version() > b.version()), "{key:?}: newest first");
    let all = model.keyspaces[usize::from(second)].get(key).map_or(&[][..], Vec::as_slice);
    let oldest_reader = model.snapshots.iter().copied().min().unwrap_or(model.step);
    let hidden_from_all = all.partition_point(|(step, _)| *step <= oldest_reader).saturating_sub(1);
    let mut found = found.iter().peekable();
    for (place, (step, value)) in all.iter().enumerate().rev() {
        let is_this = |item: &&Item| match value {
            Some(value) => !item.is_deleted_or_expired() && item.value().unwrap() == value.bytes(),
            None => item.is_deleted_or_expired(),
        };
        let may_be_gone = place < hidden_from_all || (*step <= oldest_reader && value.is_none());
        assert!(found.next_if(is_this).is_some() || may_be_gone, "{key:?}: the version of step {step} is missing");
    }
    assert_eq!(found.next().map(Item::version), None, "{key:?}: a version that was never written");
}

impl StateMachineTest for System {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(model: &Model) -> Self {
        let vfs: Arc<dyn Vfs> = Arc::new(MemFs::new(1));
        let (options, asked) = (model.options, Jobs::default());
        let mut system = Self { vfs, options, db: None, second: None, snapshots: Vec::new(), asked };
        system.open();
        system
    }

    fn apply(mut system: Self, model: &Model, step: Step) -> Self {
        system.run(model, &step);
        system
    }

    fn check_invariants(_: &Self, _: &Model) {}

    fn teardown(system: Self, model: Model) {
        compare(system.db().iter(), model.now(false).iter(), false);
        compare(system.second().iter(), model.now(true).iter(), false);
        for (snapshot, step) in system.snapshots.iter().zip(&model.snapshots) {
            compare(snapshot.iter(), model.visible(false, *step).iter(), false);
        }
        system.count_jobs();
    }
}

impl System {
    fn run(&mut self, model: &Model, step: &Step) {
        *TRANSITIONS_RUN.lock().unwrap().entry(name_of(step)).or_default() += 1;
        match step {
            Step::Insert(write) => drop(self.db().write(self.batch(std::slice::from_ref(write), model.step)).unwrap()),
            Step::Batch(writes) => drop(self.db().write(self.batch(writes, model.step)).unwrap()),
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
                compare_versions(items.map(Result::unwrap).collect(), model, *second, key);
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
            Step::Flush => {
                let before = Jobs::of(self.db());
                self.db().flush().unwrap();
                // A compaction that follows a flush was not asked for.
                self.asked.add(Jobs::of(self.db()).flushes - before.flushes, 0);
            }
            Step::Compact => {
                let before = Jobs::of(self.db());
                self.db().compact(.., CompactOptions::new()).unwrap();
                let after = Jobs::of(self.db());
                self.asked.add(after.flushes - before.flushes, after.compactions - before.compactions);
            }
            Step::Reopen { clean } => self.reopen(*clean),
        }
    }

    fn reopen(&mut self, clean: bool) {
        self.count_jobs();
        self.snapshots.clear();
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
        ASKED.lock().unwrap().add(asked.flushes, asked.compactions);
        BY_THEMSELVES.lock().unwrap().add(all.flushes - asked.flushes, all.compactions - asked.compactions);
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
        Step::Flush => "flush",
        Step::Compact => "compact",
        Step::Reopen { .. } => "reopen",
    }
}
