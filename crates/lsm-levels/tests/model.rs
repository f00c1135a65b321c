//! Random entries through flush, compaction, moves and reopening, against a map of versions.
//!
//! Whatever is dropped on the way, every read at or above the discard version must answer as the map does, every value
//! that has lost its entry must be told exactly once, and none that has one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::rng::Rng;
use base::{EntryKind, EntryMeta, EntryRef, PointerPayload, ValuePointer, Version};
use lsm_levels::{KeyRange, PickKind, Picker, PickerOptions};
use proptest::prelude::*;
use tree::{Entry, Rules, Tree, delete, entry, expiring, last_word, merged, newest_in, pointer, pointing, put};
use vfs::MemFs;

/// Every entry ever written.
#[derive(Default)]
struct Model {
    keys: BTreeMap<String, BTreeMap<Version, Vec<u8>>>,
    pointers: BTreeSet<ValuePointer>,
}

impl Model {
    fn add(&mut self, (key, encoded): &Entry) {
        let user_key = String::from_utf8(key.user_key.clone()).unwrap();
        self.keys.entry(user_key).or_default().insert(key.version, encoded.clone());
        self.pointers.extend(pointer_of(encoded));
    }

    /// What a reader at `version` sees at `now`: the version, and the entry's bytes.
    fn get(&self, key: &str, version: Version, now: u64) -> Option<(Version, Vec<u8>)> {
        let versions = self.keys.get(key)?;
        let (found, encoded) = versions.range(..=version).next_back()?;
        is_visible(encoded, now).then(|| (*found, encoded.clone()))
    }
}

fn pointer_of(encoded: &[u8]) -> Option<ValuePointer> {
    let entry = EntryRef::decode(encoded).unwrap();
    let is_pointer = entry.meta.kind == EntryKind::Pointer;
    is_pointer.then(|| PointerPayload::decode(entry.payload).unwrap().pointer)
}

fn is_visible(encoded: &[u8], now: u64) -> bool {
    !EntryRef::decode(encoded).unwrap().meta.is_deleted_at(now)
}

/// How often each thing happened.
#[derive(Debug, Default)]
struct Tally {
    flushes: u64,
    kinds: BTreeMap<String, u64>,
    reopened: u64,
    dropped: u64,
    reads: u64,
}

struct World {
    rng: Rng,
    tree: Tree,
    model: Model,
    /// The next version to hand out.
    next_version: Version,
    next_offset: u32,
    pinned: Vec<(Version, Arc<lsm_levels::TreeVersion>)>,
    /// Everything that died under earlier openings.
    dead: Vec<ValuePointer>,
    tally: Tally,
    ordered: bool,
}

const KEYS: u64 = 40;

impl World {
    fn new(seed: u64, ordered: bool) -> Self {
        let mut rng = Rng::new(seed);
        let mut tree = Tree::on(Arc::new(MemFs::new(seed)));
        if !ordered {
            tree.set_unordered();
        }
        tree.rules = Rules {
            discard_version: 0,
            expiry_now: 100,
            versions_to_keep: [1, 1, 2, 1_000][rng.below(4) as usize],
            target_file_bytes: 200 + rng.below(1_000),
            grandparent_bytes_max: 500 + rng.below(5_000),
        };
        tree.picker = picker(&mut rng);
        Self {
            rng,
            tree,
            model: Model::default(),
            next_version: 1,
            next_offset: 1,
            pinned: Vec::new(),
            dead: Vec::new(),
            tally: Tally::default(),
            ordered,
        }
    }

    fn random_entry(&mut self, key: &str, version: Version) -> Entry {
        let now = self.tree.rules.expiry_now;
        match self.rng.below(8) {
            0 | 1 => delete(key, version),
            2 => expiring(key, version, "timed", now + self.rng.below(30)),
            3 => last_word(key, version, "last"),
            4 | 5 => {
                self.next_offset += 1;
                let (key, mut encoded) = pointing(key, version, self.next_offset);
                if self.rng.one_in(3) {
                    let meta = EntryMeta { expires_at: now + self.rng.below(30), ..EntryMeta::of(EntryKind::Pointer) };
                    let payload = encoded.split_off(3);
                    encoded = entry("", 0, meta, &payload).1;
                }
                (key, encoded)
            }
            _ => put(key, version, &format!("value at {version}")),
        }
    }

    /// A memtable's worth of commits.
    fn flush(&mut self) {
        let mut entries = Vec::new();
        for _ in 0..1 + self.rng.below(25) {
            let key = format!("{:03}", self.rng.below(KEYS));
            let mut version = self.next_version;
            if !self.ordered && self.rng.one_in(2) {
                // Above the discard version, but below what is there.
                let discard = self.tree.rules.discard_version;
                version = discard + 1 + self.rng.below(version - discard);
            }
            let taken = self.model.keys.get(&key).is_some_and(|versions| versions.contains_key(&version));
            if taken {
                continue;
            }
            let entry = self.random_entry(&key, version);
            self.model.add(&entry);
            entries.push(entry);
            self.next_version += 1;
        }
        if !entries.is_empty() {
            self.tree.try_add(0, entries).unwrap();
            self.tally.flushes += 1;
        }
    }

    fn compact(&mut self) {
        let level = [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 7][self.rng.below(11) as usize];
        let low = format!("{:03}", self.rng.below(KEYS));
        let range = match self.rng.below(2) {
            0 => KeyRange::ALL,
            _ => KeyRange::closed(low.as_bytes(), b"030"),
        };
        let compaction = if level < 7 { self.tree.pick_range(level, range) } else { self.tree.pick() };
        let Some(compaction) = compaction else { return };
        let kind = compaction.pick().kind;
        *self.tally.kinds.entry(format!("{kind:?}")).or_default() += 1;
        let other = if self.rng.one_in(3) { self.tree.pick() } else { None };
        let output = self.tree.run(compaction).unwrap();
        if self.rng.one_in(4) {
            self.flush();
        }
        // Jobs end in any order.
        if let Some(other) = other {
            *self.tally.kinds.entry(format!("{:?}", other.pick().kind)).or_default() += 1;
            self.tree.run_and_commit(other).unwrap();
        }
        let stats = self.tree.commit(output).unwrap();
        self.tally.dropped += stats.shadowed + stats.tombstones_dropped + stats.expired_dropped;
        assert!(kind != PickKind::MergeLevel0 || stats.tombstones_dropped + stats.expired_dropped == 0);
    }

    fn step(&mut self) {
        match self.rng.below(12) {
            0..4 => self.flush(),
            4..9 => self.compact(),
            9 => {
                let newest = self.next_version - 1;
                let discard = &mut self.tree.rules.discard_version;
                *discard += self.rng.below(newest - *discard + 1);
                self.pinned.retain(|(version, _)| *version >= self.tree.rules.discard_version);
            }
            10 => {
                self.tree.rules.expiry_now += self.rng.below(10);
                self.pinned.push((self.next_version - 1, self.tree.version()));
            }
            _ => self.reopen(),
        }
    }

    fn reopen(&mut self) {
        self.dead.extend(self.tree.graveyard.dead());
        self.pinned.clear();
        let (rules, picker, vfs) = (self.tree.rules, self.tree.picker, Arc::clone(&self.tree.vfs));
        let placeholder = Tree::new();
        drop(std::mem::replace(&mut self.tree, placeholder));
        let (tree, recovery) = Tree::open(vfs).unwrap();
        tree.levels.tickets_applied(&recovery.tickets);
        self.tree = Tree { rules, picker, ..tree };
        assert_eq!(self.tree.ordered(), self.ordered);
        self.tally.reopened += 1;
    }

    fn check(&mut self) {
        self.tree.version().verify().unwrap();
        let (discard, now) = (self.tree.rules.discard_version, self.tree.rules.expiry_now);
        let newest = self.next_version;
        let snapshots = [discard, discard + self.rng.below(newest - discard + 1), newest];
        for key in (0..KEYS).map(|key| format!("{key:03}")) {
            for snapshot in snapshots {
                let found = self.tree.newest(key.as_bytes(), snapshot).filter(|(_, encoded)| is_visible(encoded, now));
                assert_eq!(found, self.model.get(&key, snapshot, now), "{key} at {snapshot}");
                self.tally.reads += 1;
            }
        }
        for (snapshot, version) in &self.pinned {
            let key = format!("{:03}", self.rng.below(KEYS));
            let found = newest_in(version, key.as_bytes(), *snapshot, self.ordered);
            let found = found.filter(|(_, encoded)| is_visible(encoded, now));
            if self.ordered {
                assert_eq!(found, self.model.get(&key, *snapshot, now), "{key} at {snapshot} in a pinned version");
            }
        }
        self.check_scan();
        self.check_deaths();
    }

    /// A scan shows, of each key, what a get shows.
    fn check_scan(&self) {
        let now = self.tree.rules.expiry_now;
        let mut newest: BTreeMap<String, (Version, Vec<u8>)> = BTreeMap::new();
        for (key, encoded) in merged(&self.tree.version(), KeyRange::ALL) {
            let user_key = String::from_utf8(key.user_key).unwrap();
            newest.entry(user_key).or_insert((key.version, encoded));
        }
        newest.retain(|_, (_, encoded)| is_visible(encoded, now));
        let expected =
            self.model.keys.keys().filter_map(|key| Some((key.clone(), self.model.get(key, u64::MAX, now)?)));
        assert_eq!(newest, expected.collect());
    }

    /// Every pointer is either in the tree or was told dead, once.
    fn check_deaths(&self) {
        let mut dead = [self.dead.clone(), self.tree.graveyard.dead()].concat();
        dead.sort();
        let told = dead.len();
        dead.dedup();
        assert_eq!(dead.len(), told, "a value died twice");
        let entries = merged(&self.tree.version(), KeyRange::ALL);
        let alive: BTreeSet<ValuePointer> = entries.iter().filter_map(|(_, encoded)| pointer_of(encoded)).collect();
        let dead: BTreeSet<ValuePointer> = dead.into_iter().collect();
        assert!(alive.is_disjoint(&dead), "a value with an entry was told dead");
        assert!(alive.union(&dead).eq(&self.model.pointers), "a value without an entry was not told dead");
    }
}

fn picker(rng: &mut Rng) -> Picker {
    let options = PickerOptions {
        level0_runs_max: 2 + rng.below(3) as usize,
        level0_merge_runs_min: 3 + rng.below(3) as usize,
        level_base_bytes: 400 + rng.below(2_000),
        fanout: 2 + rng.below(3),
        target_file_bytes: 500,
        grandparent_bytes_max: 500 + rng.below(5_000),
        compaction_bytes_max: 1_000 + rng.below(9_000),
    };
    Picker::new(options)
}

fn run(seed: u64, ordered: bool) -> Tally {
    let mut world = World::new(seed, ordered);
    for step in 0..60 {
        world.step();
        if step % 4 == 0 {
            world.check();
        }
    }
    world.tree.compact_due();
    world.check();
    world.tally
}

/// 60, or as many as the environment asks for.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reads_at_or_above_the_discard_version_never_change(seed: u64) {
        run(seed, true);
    }

    #[test]
    fn nor_where_versions_arrive_out_of_order(seed: u64) {
        run(seed, false);
    }
}

#[test]
fn the_random_runs_reach_every_kind_of_work() {
    let mut total = Tally::default();
    for seed in 0..12 {
        let tally = run(seed, true);
        total.flushes += tally.flushes;
        total.reopened += tally.reopened;
        total.dropped += tally.dropped;
        total.reads += tally.reads;
        for (kind, count) in tally.kinds {
            *total.kinds.entry(kind).or_default() += count;
        }
    }
    println!("{total:?}; {} pointers such as {:?}", total.flushes, pointer(1));
    for kind in ["Merge", "Move", "MergeLevel0", "Rewrite"] {
        assert!(total.kinds.get(kind).is_some_and(|count| *count > 0), "{kind}: {total:?}");
    }
    assert!(total.dropped > 500 && total.reopened > 10, "{total:?}");
}
