//! Every file of a small store cut at every length and damaged at every byte. What had been synced or sealed must give a
//! typed error that names file and offset, an unsynced tail a shorter prefix of the commits and a report that accounts for
//! every byte dropped; never other data, never less without a word, never a panic. All damaged stores are opened for
//! reading only and scanned; a sample is opened for writing too, read by key, written to, closed and opened again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test panics"
)]
#![allow(clippy::disallowed_methods, reason = "two threads share the work")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::show;
use engine::{
    CompactOptions, Compression, Db, DroppedTail, Durability, Error, ErrorKind, GcOptions, IoMode, Keyspace,
    KeyspaceOptions, Options, Read, RecoveryReport, StaticKey, WriteBatch, WriteOptions,
};
use vfs::{CrashMode, MemFs};

const STORE: &str = "/store";
const COMMITS: u64 = 40;
/// The last commit that was synced.
const SYNCED: u64 = 34;
/// One damaged store in this many is opened for writing.
const WRITTEN_TO: usize = 3;

/// Parts of the names of files, one of each kind; beside a map is a collected segment.
const KINDS: [&str; 10] =
    [".wal", ".sst", "CURRENT", "/MANIFEST-", ".vlog", ".hint", ".map", ".dead", ".deaths", "VLOG-MANIFEST"];

/// Both keyspaces after some number of commits.
type State = [BTreeMap<Vec<u8>, Vec<u8>>; 2];

/// How the store is made: the codec of its tables, and whether it is encrypted.
#[derive(Clone, Copy)]
struct Making {
    compression: Compression,
    encrypted: bool,
}

impl Making {
    const fn plain(compression: Compression) -> Self {
        Self { compression, encrypted: false }
    }
}

fn options(vfs: &MemFs, Making { compression, encrypted }: Making) -> Options {
    let options = Options::new();
    let options = if encrypted { options.encryption(Arc::new(StaticKey::new(&[7; 32]))) } else { options };
    options
        .memtable_size(64 << 10)
        .value_log_file_size(64 << 10)
        .value_log_max_entries(6)
        .value_threshold(100)
        .block_size(256)
        .compression(compression)
        .io_mode(IoMode::Pread)
        .vfs(Arc::new(vfs.clone()))
        .inline_background()
}

/// A store with tables on two levels, sealed, open and collected segments, dead sets, a death list, and a log with a synced
/// and an unsynced part.
fn build(making: Making) -> (MemFs, Vec<State>) {
    let vfs = MemFs::new(11);
    let db = options(&vfs, making).open(STORE).unwrap();
    let second = db.keyspace("second", KeyspaceOptions::new()).unwrap();
    let mut states = vec![State::default()];
    for commit in 1..=COMMITS {
        let mut state = states.last().unwrap().clone();
        let mut batch = WriteBatch::new();
        let mut put = |which: usize, key: String, len: usize| {
            let value = format!("{commit:04}").into_bytes().repeat(len / 4);
            match which {
                0 => batch.insert(&key, &value).unwrap(),
                _ => batch.keyspace(&second).insert(&key, &value).unwrap(),
            }
            state[which].insert(key.into_bytes(), value);
        };
        put(0, "counter".to_owned(), 4);
        put(0, format!("small{}", commit % 5), 40);
        put(1, format!("other{}", commit % 3), 20);
        if commit % 2 == 0 {
            put(0, format!("large{}", commit % 6), 120);
        }
        if commit % 8 == 1 {
            put(0, format!("kept{commit}"), 120);
        }
        let durability = if commit == SYNCED { Durability::Sync } else { Durability::Os };
        db.write_with(batch, WriteOptions::new().durability(durability)).unwrap();
        states.push(state);
        match commit {
            10 | 20 | 30 => db.flush().unwrap(),
            21 => {
                db.compact(.., CompactOptions::new()).unwrap();
                let report = db.gc().run_once(GcOptions::new().discard_ratio(0.1).find_garbage(true)).unwrap();
                assert!(report.bytes_rewritten > 0, "{report:?}");
            }
            24 | 27 => drop(db.compact(.., CompactOptions::new()).unwrap()),
            // Leaves a death list, and what the other keyspace has flushed in level 0.
            32 => drop(db.compact("large".."larger", CompactOptions::new()).unwrap()),
            _ => {}
        }
    }
    drop((db, second));
    // The process died; everything is still in the page cache.
    (vfs.crash_image(CrashMode::KeepAll, 0), states)
}

fn read_all(db: &Db) -> Result<State, Error> {
    let mut state = State::default();
    let second = db.keyspace("second", KeyspaceOptions::new())?;
    for item in db.iter() {
        let (key, value) = item?.into_pair()?;
        state[0].insert(key.into(), value.into());
    }
    for item in second.iter() {
        let (key, value) = item?.into_pair()?;
        state[1].insert(key.into(), value.into());
    }
    Ok(state)
}

/// What is done to one file of the store, and what must hold after it.
struct Damage<'a> {
    path: &'a Path,
    how: How,
    /// The fewest commits that must be there if the store opens at all.
    floor: u64,
    may_refuse: bool,
}

#[derive(Clone, Copy)]
enum How {
    CutTo(usize),
    FlippedAt(usize),
    Removed,
}

impl fmt::Display for Damage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.how {
            How::CutTo(len) => write!(f, "{path} cut to {len} bytes"),
            How::FlippedAt(at) => write!(f, "{path} with a bit flipped at {at}"),
            How::Removed => write!(f, "{path} removed"),
        }
    }
}

impl Damage<'_> {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn is_of(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|found| found == extension)
    }
}

/// What became of the damaged stores.
#[derive(Default)]
struct Tally {
    unharmed: AtomicUsize,
    shorter: AtomicUsize,
    refused: AtomicUsize,
    written_to: AtomicUsize,
}

/// An intact store and what is known of it.
struct Intact {
    vfs: MemFs,
    making: Making,
    states: Vec<State>,
}

impl Intact {
    fn new(making: Making) -> Self {
        let (vfs, states) = build(making);
        let db = options(&vfs, making).open_read_only(STORE).unwrap();
        assert!(read_all(&db).unwrap() == states[COMMITS as usize]);
        let intact = Self { vfs, making, states };
        let levels: BTreeSet<_> = db.tables().iter().map(|table| table.level).collect();
        assert!(levels.len() > 1, "{levels:?}");
        let files = intact.files();
        for kind in KINDS.into_iter().chain(making.encrypted.then_some("KEYREGISTRY")) {
            assert!(files.iter().any(|path| path.to_string_lossy().contains(kind)), "no {kind} in {files:?}");
        }
        intact
    }

    /// Files that are part of what the store holds.
    fn files(&self) -> Vec<PathBuf> {
        self.vfs.files().into_iter().filter(|path| !path.ends_with("LOCK")).collect()
    }

    fn damaged(&self, damage: &Damage<'_>) -> MemFs {
        let image = self.vfs.crash_image(CrashMode::KeepAll, 0);
        match damage.how {
            How::CutTo(len) => image.edit(damage.path, |bytes| bytes.truncate(len)).unwrap(),
            How::FlippedAt(at) => image.edit(damage.path, |bytes| bytes[at] ^= 1 << (at % 8)).unwrap(),
            How::Removed => vfs::Vfs::remove_file(&image, damage.path).unwrap(),
        }
        image
    }

    /// Damages the store and looks at what became of it.
    fn examine(&self, damage: &Damage<'_>, is_written_to: bool, tally: &Tally) {
        let examined = catch_unwind(AssertUnwindSafe(|| {
            let image = self.damaged(damage);
            let shown = self.examine_reading(&image, damage);
            let counter = match shown {
                Some(COMMITS) => &tally.unharmed,
                Some(_) => &tally.shorter,
                None => &tally.refused,
            };
            counter.fetch_add(1, Ordering::Relaxed);
            if is_written_to {
                self.examine_writing(&image, damage, shown);
                tally.written_to.fetch_add(1, Ordering::Relaxed);
            }
        }));
        assert!(examined.is_ok(), "{damage}: see the panic above");
    }

    /// How many commits a scan of the store shows; `None` where it is refused.
    fn examine_reading(&self, image: &MemFs, damage: &Damage<'_>) -> Option<u64> {
        let opened = options(image, self.making).open_read_only(STORE);
        let scanned = opened.and_then(|db| Ok((read_all(&db)?, db.recovery_report().clone())));
        let (state, report) = match scanned {
            Ok(scanned) => scanned,
            Err(error) => {
                assert!(damage.may_refuse, "refused: {error}");
                check_error(&error, damage);
                return None;
            }
        };
        let commits = self.states.iter().position(|other| *other == state).expect("no other data");
        let commits = commits as u64;
        assert!(commits >= damage.floor, "only {commits} commits");
        check_report(&report, image, damage, commits);
        Some(commits)
    }

    /// Goes on with the store. `shown`: the commits that a scan has shown.
    fn examine_writing(&self, image: &MemFs, damage: &Damage<'_>, shown: Option<u64>) {
        let mut candidates: Vec<_> = match shown {
            Some(commits) => vec![commits],
            None => (damage.floor..=COMMITS).collect(),
        };
        if let Err(error) = self.go_on(image, damage, &mut candidates) {
            let is_for_writing = damage.is_of("hint") || damage.is_of("deaths");
            assert!(shown.is_none() || is_for_writing, "what can be read cannot be written to: {error}");
            check_error(&error, damage);
        }
    }

    /// Reads every key, writes, closes, opens again and reads every key.
    fn go_on(&self, image: &MemFs, damage: &Damage<'_>, candidates: &mut Vec<u64>) -> Result<(), Error> {
        let open = || -> Result<_, Error> {
            let db = options(image, self.making).open(STORE)?;
            let second = db.keyspace("second", KeyspaceOptions::new())?;
            Ok((db, second))
        };
        let (db, second) = open()?;
        self.get_every_key(&db, &second, damage, candidates);
        let large = b"new".repeat(100);
        let mut batch = WriteBatch::new();
        batch.insert("new", &large)?;
        batch.keyspace(&second).insert("new", "small")?;
        db.write_with(batch, WriteOptions::new().durability(Durability::Sync))?;
        drop(second);
        db.close()?;
        let (db, second) = open()?;
        assert_eq!(db.recovery_report().dropped, [], "nothing is left to drop after a close");
        self.get_every_key(&db, &second, damage, candidates);
        assert_eq!(db.get("new")?.as_deref(), Some(&large[..]));
        assert_eq!(second.get("new")?.as_deref(), Some(&b"small"[..]));
        db.close()
    }

    /// Of the numbers of commits that may be there, leaves those that every answer agrees with.
    fn get_every_key(&self, db: &Db, second: &Keyspace, damage: &Damage<'_>, candidates: &mut Vec<u64>) {
        let last = &self.states[COMMITS as usize];
        for (which, keys) in last.iter().enumerate() {
            for key in keys.keys() {
                let found = if which == 0 { db.get(key) } else { second.get(key) };
                match found {
                    Ok(found) => candidates.retain(|commits| {
                        self.states[*commits as usize][which].get(key).map(Vec::as_slice) == found.as_deref()
                    }),
                    Err(error) => check_error(&error, damage),
                }
                assert!(!candidates.is_empty(), "other data in {}", key.escape_ascii());
            }
        }
    }
}

/// An error names the damaged file and an offset at or before the damage.
fn check_error(error: &Error, damage: &Damage<'_>) {
    if error.kind() == ErrorKind::Incompatible {
        return assert!(error.to_string().contains(&damage.name()), "{error}");
    }
    if error.kind() == ErrorKind::Encryption {
        let is_missing = matches!(damage.how, How::Removed) && damage.name().contains("KEYREGISTRY");
        return assert!(is_missing && error.to_string().contains("KEYREGISTRY"), "{error}");
    }
    assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
    let corruption = error.corruption().expect("a place");
    // A manifest that ends earlier names files that later edits have removed. Which of its edits is the last it cannot
    // know, so what is missing is all that can be said.
    let is_missing = corruption.offset == 0 && error.to_string().contains("missing");
    if damage.name().contains("MANIFEST-") && is_missing {
        return;
    }
    assert!(is_same(&corruption.path, damage.path), "another file is named: {error}");
    let damaged_at = match damage.how {
        How::CutTo(at) | How::FlippedAt(at) => at,
        How::Removed => 0,
    };
    assert!(corruption.offset <= damaged_at as u64, "{error}");
}

/// The report accounts for every byte: what was kept and what was dropped is all that was written, and where commits are
/// missing, it says so of the damaged file.
fn check_report(report: &RecoveryReport, image: &MemFs, damage: &Damage<'_>, commits: u64) {
    let explains = |text: &str| text.contains(&damage.name());
    // A log ends before a commit whose value is lost.
    let is_pointed_from = |tail: &DroppedTail| damage.is_of("vlog") && explains(&tail.cause);
    for tail in &report.dropped {
        let written = written_len(&image.read(&tail.path).unwrap()) as u64;
        assert_eq!(tail.offset + tail.bytes, written, "{tail:?} is not the rest of what was written");
        assert!(is_same(&tail.path, damage.path) || is_pointed_from(tail), "{tail:?}");
    }
    if commits == COMMITS {
        return;
    }
    let mut of_file = report.dropped.iter().filter(|tail| is_same(&tail.path, damage.path));
    let is_told = match damage.how {
        How::FlippedAt(at) => {
            // Of a segment that is sealed nothing is dropped: the log alone ends before the value.
            of_file.any(|tail| (tail.offset..tail.offset + tail.bytes).contains(&(at as u64)))
                || report.dropped.iter().any(is_pointed_from)
        }
        // What was cut away is not there to be counted; between two records nothing else is dropped.
        How::CutTo(_) | How::Removed => {
            let causes = report.dropped.iter().map(|tail| &tail.cause);
            of_file.next().is_some() || report.warnings.iter().chain(causes).any(|text| explains(text))
        }
    };
    assert!(is_told, "{commits} commits, told: {report:?}");
}

fn is_same(named: &Path, file: &Path) -> bool {
    named.strip_prefix("/").unwrap_or(named) == file.strip_prefix("/").unwrap_or(file)
}

/// Bytes of a file that were written, space allocated ahead not counted.
fn written_len(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Every damage to be done to a file.
fn damages<'a>(path: &'a Path, bytes: &[u8]) -> Vec<Damage<'a>> {
    // What proves that a log was synced stands in the log: cut away, it is a tail like any other.
    let is_log = path.extension().is_some_and(|extension| extension == "wal");
    let floor_of_cuts = if is_log { 0 } else { SYNCED };
    let written = written_len(bytes);
    let cuts = (0..written).map(|len| (How::CutTo(len), floor_of_cuts, true));
    let flips = (0..written).map(|at| (How::FlippedAt(at), SYNCED, true));
    // In space that was allocated ahead, a sample, denser near what was written: no commit may go with it.
    let ahead = (0..usize::BITS).map(|bit| written + (1 << bit) - 1).take_while(|at| *at < bytes.len());
    let ahead: Vec<_> = ahead.chain((written < bytes.len()).then(|| bytes.len() - 1)).collect();
    let cuts_ahead = ahead.iter().map(|at| (How::CutTo(*at), COMMITS, false));
    let flips_ahead = ahead.iter().map(|at| (How::FlippedAt(*at), COMMITS, false));
    let all = cuts.chain(flips).chain(cuts_ahead).chain(flips_ahead);
    all.map(|(how, floor, may_refuse)| Damage { path, how, floor, may_refuse }).collect()
}

fn damage_every_byte(making: Making) {
    let intact = Intact::new(making);
    for path in intact.files() {
        let bytes = intact.vfs.read(&path).unwrap();
        let damages = damages(&path, &bytes);
        let (next, tally) = (AtomicUsize::new(0), Tally::default());
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(damage) = damages.get(number) else { return };
                        intact.examine(damage, number % WRITTEN_TO == 0, &tally);
                    }
                });
            }
        });
        let [unharmed, shorter, refused, written_to] =
            [&tally.unharmed, &tally.shorter, &tally.refused, &tally.written_to]
                .map(|counter| counter.load(Ordering::Relaxed));
        show!(
            "damage: {:30} {:6} bytes: {unharmed:5} unharmed, {shorter:5} shorter, {refused:5} refused; \
             {written_to:4} opened for writing",
            path.display().to_string(),
            written_len(&bytes),
        );
    }
}

#[test]
fn damage_anywhere_is_an_error_or_a_reported_tail_or_harmless_in_raw_tables() {
    damage_every_byte(Making::plain(Compression::None));
}

#[test]
fn damage_anywhere_is_an_error_or_a_reported_tail_or_harmless_in_compressed_tables() {
    damage_every_byte(Making::plain(Compression::Zstd { level: 1 }));
}

#[test]
fn damage_anywhere_is_an_error_or_a_reported_tail_or_harmless_in_an_encrypted_store() {
    damage_every_byte(Making { compression: Compression::Zstd { level: 1 }, encrypted: true });
}

#[test]
fn a_missing_file_is_an_error_or_a_reported_tail_or_harmless() {
    for encrypted in [false, true] {
        let making = Making { compression: Compression::None, encrypted };
        let (intact, tally) = (Intact::new(making), Tally::default());
        for path in intact.files() {
            println!("{}", path.display());
            let damage = Damage { path: &path, how: How::Removed, floor: SYNCED, may_refuse: true };
            intact.examine(&damage, true, &tally);
        }
    }
}

/// A log that one keyspace needs is cut, while another was flushed up to a later one: to end the replay in it would lose
/// commits without which no state of the tree ever was.
#[test]
fn a_log_that_ends_before_what_the_tree_has_is_corruption() {
    let vfs = MemFs::new(12);
    let db = options(&vfs, Making::plain(Compression::None)).open(STORE).unwrap();
    let second = db.keyspace("second", KeyspaceOptions::new()).unwrap();
    second.insert("kept", "in the first log alone").unwrap();
    for number in 0..2_000 {
        db.insert(format!("key{number:05}"), "so many that the memtable is flushed").unwrap();
    }
    assert!(db.metrics().background.flushes > 0);
    drop((db, second));
    let vfs = vfs.crash_image(CrashMode::KeepAll, 0);
    let log =
        vfs.files().into_iter().filter(|path| path.extension().is_some_and(|found| found == "wal")).min().unwrap();
    let written = written_len(&vfs.read(&log).unwrap());
    for len in (0..written * 9 / 10).step_by(997) {
        let image = vfs.crash_image(CrashMode::KeepAll, 0);
        image.edit(&log, |bytes| bytes.truncate(len)).unwrap();
        let error = options(&image, Making::plain(Compression::None)).open(STORE).map(drop).unwrap_err();
        check_error(&error, &Damage { path: &log, how: How::CutTo(len), floor: 0, may_refuse: true });
    }
}
