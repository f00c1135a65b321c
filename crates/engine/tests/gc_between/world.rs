//! A store with garbage in its value log, and beside it what must be in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use base::clock::{Clock, ManualClock};
use base::rng::Rng;
use engine::{CompactOptions, Db, Durability, Entry, GcOptions, GcPolicy, Options, Read, VerifyOptions};
use vfs::{CrashMode, MemFs};

use crate::gate::Gate;

const DIR: &str = "/store";
const BEGUN_AT: u64 = 1_000_000;

/// Time to live of the keys that expire.
pub(crate) const TTL_SECONDS: u64 = 100;

/// What is in the store: round and expiry by key.
type Content = BTreeMap<u64, (u64, Option<u64>)>;

/// Values of the first keys are so long that copying them takes several pieces.
fn value(key: u64, round: u64) -> Vec<u8> {
    let len = if key < 4 { 90 << 10 } else { 600 + (key * 37 + round * 101) as usize % 2_000 };
    let mut bytes = vec![0; len];
    Rng::new(key << 32 | round).fill(&mut bytes);
    bytes
}

pub(crate) struct World {
    pub(crate) fs: MemFs,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) db: Db,
    content: Content,
    round: u64,
}

/// The expected content of a snapshot that is held.
pub(crate) struct Seen(Content);

fn options(fs: &MemFs, clock: &Arc<ManualClock>, gate: &Arc<Gate>) -> Options {
    Options::new()
        .vfs(Arc::new(fs.clone()))
        .clock(Arc::<ManualClock>::clone(clock))
        .event_listener(Arc::<Gate>::clone(gate))
        .durability(Durability::Sync)
        .gc(GcPolicy::Manual)
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
    pub(crate) fn new(seed: u64) -> Self {
        let (fs, gate) = (MemFs::new(seed), Arc::new(Gate::default()));
        let clock = Arc::new(ManualClock::new(BEGUN_AT));
        let db = options(&fs, &clock, &gate).open(DIR).unwrap();
        let mut world = Self { fs, clock, gate, db, content: Content::new(), round: 0 };
        world.overwrite(0..40);
        world.insert_expiring(40..50);
        world.db.flush().unwrap();
        world.overwrite((0..50).filter(|key| *key > 3 && key % 2 == 0));
        world.overwrite([0, 1]);
        world.remove([10, 11, 12]);
        world.db.compact(.., CompactOptions::new()).unwrap();
        world.overwrite((4..40).step_by(5));
        world.roll();
        world
    }

    fn expected(&self) -> impl Fn(&Content) -> BTreeMap<u64, Vec<u8>> + use<> {
        let now = self.clock.unix_seconds();
        move |content| {
            let lives = |expires_at: Option<u64>| expires_at.is_none_or(|at| at > now);
            let living = content.iter().filter(|(_, (_, expires_at))| lives(*expires_at));
            living.map(|(key, (round, _))| (*key, value(*key, *round))).collect()
        }
    }

    pub(crate) fn overwrite(&mut self, keys: impl IntoIterator<Item = u64>) {
        self.round += 1;
        for key in keys {
            self.db.insert(key.to_be_bytes(), value(key, self.round)).unwrap();
            self.content.insert(key, (self.round, None));
        }
    }

    pub(crate) fn insert_expiring(&mut self, keys: impl IntoIterator<Item = u64>) {
        self.round += 1;
        let expires_at = self.clock.unix_seconds() + TTL_SECONDS;
        for key in keys {
            let entry = Entry::new(key.to_be_bytes(), value(key, self.round));
            self.db.insert_entry(entry.expires_at(UNIX_EPOCH + Duration::from_secs(expires_at))).unwrap();
            self.content.insert(key, (self.round, Some(expires_at)));
        }
    }

    pub(crate) fn remove(&mut self, keys: impl IntoIterator<Item = u64>) {
        for key in keys {
            self.db.remove(key.to_be_bytes()).unwrap();
            self.content.remove(&key);
        }
    }

    /// Fills the active segment, so that another one begins.
    pub(crate) fn roll(&mut self) {
        self.overwrite(50..95);
    }

    pub(crate) fn now(&self) -> Seen {
        let expected = self.expected()(&self.content);
        Seen(self.content.iter().filter(|(key, _)| expected.contains_key(key)).map(|(key, at)| (*key, *at)).collect())
    }

    pub(crate) fn check(&self, what: &str) {
        check_reader(&self.db, &self.expected()(&self.content), what);
    }

    /// What a crash at this moment leaves has all that is here, now and after its own collections.
    pub(crate) fn check_crash(&self, mode: CrashMode, seed: u64, what: &str) {
        let what = format!("{what}; after a crash ({mode:?}, seed {seed})");
        let expected = self.expected()(&self.content);
        let fs = self.fs.crash_image(mode, seed);
        let open =
            || options(&fs, &self.clock, &Arc::default()).open(DIR).unwrap_or_else(|error| panic!("{what}: {error}"));
        let db = open();
        check_reader(&db, &expected, &what);
        collect_all(&db, &what);
        check_reader(&db, &expected, &format!("{what} and a collection"));
        assert_eq!(db.gc().status().segments.len(), segment_files(&fs), "{what}: files that no manifest lists");
        check_space(&db, expected.len(), self.content.len() - expected.len(), &what);
        db.close().unwrap();
        check_reader(&open(), &expected, &format!("{what}, a collection and a close"));
    }

    /// Everything that is garbage goes, and nothing else.
    pub(crate) fn check_end(self, what: &str) {
        collect_all(&self.db, what);
        self.check(what);
        let living = self.expected()(&self.content).len();
        check_space(&self.db, living, self.content.len() - living, what);
        assert_eq!(self.db.gc().status().segments.len(), segment_files(&self.fs), "{what}: files stay behind");
        self.db.verify(VerifyOptions::new()).unwrap();
        let Self { fs, clock, gate, db, content, round } = self;
        db.close().unwrap();
        let db = options(&fs, &clock, &gate).open(DIR).unwrap();
        Self { fs, clock, gate, db, content, round }.check(&format!("{what}; reopened"));
    }
}

impl Seen {
    /// A snapshot shows what was there when it was taken, whatever time it is.
    pub(crate) fn check(&self, reader: &impl Read, what: &str) {
        check_reader(reader, &self.values(), what);
    }

    pub(crate) fn values(&self) -> BTreeMap<u64, Vec<u8>> {
        self.0.iter().map(|(key, (round, _))| (*key, value(*key, *round))).collect()
    }
}

fn check_reader(reader: &impl Read, expected: &BTreeMap<u64, Vec<u8>>, what: &str) {
    let mut found = BTreeMap::new();
    for item in reader.iter() {
        let item = item.unwrap_or_else(|error| panic!("{what}: {error}"));
        let value = item.value().unwrap_or_else(|error| panic!("{what}: {:?}: {error}", item.key()));
        found.insert(u64::from_be_bytes(item.key().try_into().unwrap()), value.to_vec());
    }
    let keys = |map: &BTreeMap<u64, Vec<u8>>| map.keys().copied().collect::<Vec<_>>();
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

/// Each record that is not known to be dead is that of a key. A key that has expired stays until its table is merged for
/// another reason.
fn check_space(db: &Db, living: usize, expired: usize, what: &str) {
    let status = db.gc().status();
    let found: u64 = status.segments.iter().map(|segment| segment.records - segment.dead_records).sum();
    let (fewest, most) = (living as u64, (living + expired) as u64);
    assert!(
        (fewest..=most).contains(&found),
        "{what}: {found} records of {living} keys, {expired} expired; {status:#?}"
    );
}

fn segment_files(fs: &MemFs) -> usize {
    fs.files().iter().filter(|path| Path::new(path).extension().is_some_and(|found| found == "vlog")).count()
}
