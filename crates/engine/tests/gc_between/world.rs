//! A store with garbage in its value log, and beside it what must be in it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use base::clock::{Clock, ManualClock};
use base::rng::Rng;
use engine::{CompactOptions, Db, Durability, Entry, GcOptions, GcPolicy, Options, Read, ScanOptions, VerifyOptions};
use vfs::{CrashMode, MemFs};

use crate::gate::Gate;

const DIR: &str = "/store";
const BEGUN_AT: u64 = 1_000_000;

/// Time to live of the keys that expire.
pub(crate) const TTL_SECONDS: u64 = 100;

/// What was written to a key in a round.
#[derive(Clone, Copy, Debug)]
struct Written {
    round: u8,
    what: What,
    discards_earlier: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Value,
    ExpiringValue { at: u64 },
    Removal,
}

impl What {
    fn is_gone_at(self, now: u64) -> bool {
        self == Self::Removal || matches!(self, Self::ExpiringValue { at } if at <= now)
    }
}

/// What was written to each key, oldest first.
type Content = BTreeMap<u64, Vec<Written>>;

/// Versions that were dropped, by key and round.
type Dropped = BTreeSet<(u64, u8)>;

type Values<Key = u64> = BTreeMap<Key, Arc<[u8]>>;

/// Those that were made, by key and round.
static VALUES: LazyLock<Mutex<Values<(u64, u8)>>> = LazyLock::new(Mutex::default);

/// Values of the first keys are so long that copying them takes several pieces.
fn value(key: u64, round: u8) -> Arc<[u8]> {
    let make = || {
        let len = if key < 4 { 90 << 10 } else { 600 + (key * 37 + u64::from(round) * 101) as usize % 2_000 };
        let mut bytes = vec![0; len];
        Rng::new(key << 32 | u64::from(round)).fill(&mut bytes);
        Arc::from(bytes)
    };
    Arc::clone(VALUES.lock().unwrap().entry((key, round)).or_insert_with(make))
}

pub(crate) struct World {
    pub(crate) fs: MemFs,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) db: Db,
    versions_to_keep: u32,
    content: Content,
    dropped: RefCell<Dropped>,
    round: u8,
}

/// The expected content of a snapshot that is held.
pub(crate) struct Seen(Values);

fn options(fs: &MemFs, clock: &Arc<ManualClock>, gate: &Arc<Gate>, versions_to_keep: u32) -> Options {
    Options::new()
        .vfs(Arc::new(fs.clone()))
        .clock(Arc::<ManualClock>::clone(clock))
        .event_listener(Arc::<Gate>::clone(gate))
        .durability(Durability::Sync)
        .gc(GcPolicy::Manual)
        .versions_to_keep(NonZeroU32::new(versions_to_keep).unwrap())
        .memtable_size(2 << 20)
        .value_threshold(512)
        .value_log_file_size(512 << 10)
        .value_log_max_entries(40)
        .table_size(16 << 10)
        .level_base_size(64 << 10)
        .l0_compaction_trigger(2)
        .inline_background()
}

impl World {
    /// Sealed segments in which half is known to be dead, a part is dead without anybody knowing, and a part is pointed to
    /// by the memtable alone.
    pub(crate) fn new(seed: u64, versions_to_keep: u32) -> Self {
        let (fs, gate) = (MemFs::new(seed), Arc::new(Gate::default()));
        let clock = Arc::new(ManualClock::new(BEGUN_AT));
        let db = options(&fs, &clock, &gate, versions_to_keep).open(DIR).unwrap();
        let (content, dropped) = (Content::new(), RefCell::default());
        let mut world = Self { fs, clock, gate, db, versions_to_keep, content, dropped, round: 0 };
        world.overwrite(0..40);
        world.insert_expiring(40..50);
        world.db.flush().unwrap();
        world.discard_earlier((0..50).filter(|key| *key > 3 && key % 2 == 0));
        world.discard_earlier([0, 1]);
        world.remove([10, 11, 12]);
        world.db.compact(.., CompactOptions::new()).unwrap();
        world.overwrite((4..40).step_by(5));
        world.roll();
        world
    }

    /// What a reader finds.
    fn expected(&self) -> Values {
        let now = self.clock.unix_seconds();
        let newest = self.content.iter().map(|(key, history)| (*key, history[history.len() - 1]));
        let lives = newest.filter(|(_, newest)| !newest.what.is_gone_at(now));
        lives.map(|(key, newest)| (key, value(key, newest.round))).collect()
    }

    pub(crate) fn overwrite(&mut self, keys: impl IntoIterator<Item = u64>) {
        self.write(keys, What::Value, false);
    }

    /// Overwrites, and of these keys older versions are of no interest however many are kept.
    pub(crate) fn discard_earlier(&mut self, keys: impl IntoIterator<Item = u64>) {
        self.write(keys, What::Value, true);
    }

    pub(crate) fn insert_expiring(&mut self, keys: impl IntoIterator<Item = u64>) {
        let at = self.clock.unix_seconds() + TTL_SECONDS;
        self.write(keys, What::ExpiringValue { at }, false);
    }

    pub(crate) fn remove(&mut self, keys: impl IntoIterator<Item = u64>) {
        self.write(keys, What::Removal, false);
    }

    fn write(&mut self, keys: impl IntoIterator<Item = u64>, what: What, discards_earlier: bool) {
        self.round += 1;
        let round = self.round;
        for key in keys {
            let entry = || Entry::new(key.to_be_bytes(), value(key, round).to_vec()).user_meta(round);
            match what {
                What::Value if discards_earlier => self.db.insert_entry(entry().discard_earlier_versions()),
                What::Value => self.db.insert_entry(entry()),
                What::ExpiringValue { at } => {
                    self.db.insert_entry(entry().expires_at(UNIX_EPOCH + Duration::from_secs(at)))
                }
                What::Removal => self.db.remove(key.to_be_bytes()),
            }
            .unwrap();
            self.content.entry(key).or_default().push(Written { round, what, discards_earlier });
        }
    }

    /// Fills the active segment, so that another one begins.
    pub(crate) fn roll(&mut self) {
        self.overwrite(50..95);
    }

    pub(crate) fn now(&self) -> Seen {
        Seen(self.expected())
    }

    pub(crate) fn check(&self, what: &str) {
        check_reader(&self.db, &self.expected(), what);
        self.check_versions(&self.db, &mut self.dropped.borrow_mut(), false, what);
    }

    /// What a crash at this moment leaves has all that is here, now and after its own collections.
    pub(crate) fn check_crash(&self, mode: CrashMode, seed: u64, what: &str) {
        let what = format!("{what}; after a crash ({mode:?}, seed {seed})");
        let expected = self.expected();
        let mut dropped = self.dropped.borrow().clone();
        let fs = self.fs.crash_image(mode, seed);
        let open = || {
            let options = options(&fs, &self.clock, &Arc::default(), self.versions_to_keep);
            options.open(DIR).unwrap_or_else(|error| panic!("{what}: {error}"))
        };
        let db = open();
        self.check_versions(&db, &mut dropped, false, &what);
        collect_all(&db, &what);
        check_reader(&db, &expected, &format!("{what} and a collection"));
        assert_eq!(db.gc().status().segments.len(), segment_files(&fs), "{what}: files that no manifest lists");
        check_space(&db, self.check_versions(&db, &mut dropped, true, &what), &what);
        db.close().unwrap();
        let db = open();
        check_reader(&db, &expected, &format!("{what}, a collection and a close"));
        check_space(&db, self.check_versions(&db, &mut dropped, true, &what), &what);
    }

    /// Everything that is garbage goes, and nothing else.
    pub(crate) fn check_end(self, what: &str) {
        collect_all(&self.db, what);
        self.check(what);
        check_space(&self.db, self.check_versions(&self.db, &mut self.dropped.borrow_mut(), true, what), what);
        assert_eq!(self.db.gc().status().segments.len(), segment_files(&self.fs), "{what}: files stay behind");
        self.db.verify(VerifyOptions::new()).unwrap();
        let Self { fs, clock, gate, db, versions_to_keep, .. } = self;
        db.close().unwrap();
        let db = options(&fs, &clock, &gate, versions_to_keep).open(DIR).unwrap();
        Self { fs, clock, gate, db, ..self }.check(&format!("{what}; reopened"));
    }

    /// Every version that is to be kept is there with its value, and none that was dropped has come back; where everything
    /// was compacted, with nobody reading old versions, those that are of no interest are dropped. Returns how many are
    /// there.
    fn check_versions(&self, db: &Db, dropped: &mut Dropped, is_compacted: bool, what: &str) -> u64 {
        let mut found = BTreeMap::<u64, Vec<u8>>::new();
        let mut values = 0;
        for item in db.scan(ScanOptions::new().all_versions(true)) {
            let item = item.unwrap_or_else(|error| panic!("{what}: {error}"));
            if !item.is_separated() {
                continue;
            }
            let (key, round) = (u64::from_be_bytes(item.key().try_into().unwrap()), item.user_meta());
            let is_its_own = item.value_with(|bytes| bytes == &value(key, round)[..]);
            assert!(
                is_its_own.unwrap_or_else(|error| panic!("{what}: {key}, {round}: {error}")),
                "{what}: {key}, {round}"
            );
            found.entry(key).or_default().push(round);
            values += 1;
        }
        let now = self.clock.unix_seconds();
        for (key, history) in &self.content {
            let found = found.remove(key).unwrap_or_default();
            let kept = self.kept(history, now);
            assert!(kept.iter().all(|round| found.contains(round)), "{what}: {key}: {found:?} of {kept:?}");
            assert!(!is_compacted || found.len() == kept.len(), "{what}: {key}: {found:?}, not {kept:?}");
            let back = found.iter().find(|round| dropped.contains(&(*key, **round)));
            assert_eq!(back, None, "{what}: {key}: a version that was dropped has come back");
            let gone = history.iter().map(|written| written.round).filter(|round| !found.contains(round));
            dropped.extend(gone.map(|round| (*key, round)));
        }
        assert!(found.is_empty(), "{what}: keys that were never written");
        values
    }

    /// The rounds of the versions of a key that stay whatever is compacted, at a time of the clock.
    fn kept(&self, history: &[Written], now: u64) -> Vec<u8> {
        let until_gone = history.iter().rev().take_while(|written| !written.what.is_gone_at(now));
        let mut kept = Vec::new();
        for written in until_gone.take(self.versions_to_keep as usize) {
            kept.push(written.round);
            if written.discards_earlier {
                break;
            }
        }
        kept
    }
}

impl Seen {
    /// A snapshot shows what was there when it was taken, whatever time it is.
    pub(crate) fn check(&self, reader: &impl Read, what: &str) {
        check_reader(reader, &self.0, what);
    }

    pub(crate) fn values(&self) -> Values {
        self.0.clone()
    }
}

fn check_reader(reader: &impl Read, expected: &Values, what: &str) {
    let mut found = Values::new();
    for item in reader.iter() {
        let item = item.unwrap_or_else(|error| panic!("{what}: {error}"));
        let value = item.value().unwrap_or_else(|error| panic!("{what}: {:?}: {error}", item.key()));
        found.insert(u64::from_be_bytes(item.key().try_into().unwrap()), Arc::from(&value[..]));
    }
    let keys = |map: &Values| map.keys().copied().collect::<Vec<_>>();
    assert_eq!(keys(&found), keys(expected), "{what}");
    assert!(found == *expected, "{what}: wrong bytes");
    for key in [0, 5, 10, 45, 60] {
        let value = reader.get(u64::to_be_bytes(key)).unwrap_or_else(|error| panic!("{what}: {key}: {error}"));
        assert!(value.as_deref() == expected.get(&key).map(|value| &value[..]), "{what}: a read of {key}");
    }
}

fn collect_all(db: &Db, what: &str) {
    db.flush().unwrap();
    db.compact(.., CompactOptions::new()).unwrap();
    let options = GcOptions::new().discard_ratio(0.01).find_garbage(true);
    let report = db.gc().run_once(options).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(!report.already_running && !report.interrupted, "{what}: {report:?}");
}

/// Each record that is not known to be dead is that of a version that is stored.
fn check_space(db: &Db, stored: u64, what: &str) {
    let status = db.gc().status();
    let living: u64 = status.segments.iter().map(|segment| segment.records - segment.dead_records).sum();
    assert_eq!(living, stored, "{what}: records that live, of the versions that are stored; {status:#?}");
}

fn segment_files(fs: &MemFs) -> usize {
    fs.files().iter().filter(|path| Path::new(path).extension().is_some_and(|found| found == "vlog")).count()
}
