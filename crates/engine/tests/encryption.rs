//! Encrypted stores: nothing that was written shows on disk, the right key opens them and a wrong one is told, keys are
//! rotated by age and by hand, and nothing is ever sealed twice under one nonce.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test panics"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::clock::ManualClock;
use base::proof::seed;
use base::rng::Rng;
use base::show;
use engine::{CompactOptions, Db, Durability, ErrorKind, KeyspaceOptions, Options, StaticKey, WriteOptions};
use vfs::{CrashMode, FaultFs, FaultPlan, MemFs, Vfs};

const STORE: &str = "/store";
const LARGE: usize = 2_000;

fn key(byte: u8) -> Arc<StaticKey> {
    Arc::new(StaticKey::new(&[byte; 32]))
}

fn plain(vfs: &Arc<dyn Vfs>) -> Options {
    Options::new().memtable_size(64 << 10).value_log_file_size(64 << 10).vfs(Arc::clone(vfs)).inline_background()
}

fn encrypted(vfs: &Arc<dyn Vfs>, byte: u8) -> Options {
    plain(vfs).encryption(key(byte))
}

fn memory(seed: u64) -> (MemFs, Arc<dyn Vfs>) {
    let memory = MemFs::new(seed);
    (memory.clone(), Arc::new(memory))
}

/// A secret of a number, which no other bytes contain by chance.
fn secret(what: &str, number: usize) -> String {
    format!("secret {what} {number:06}")
}

/// Puts small and large values in two keyspaces, flushes and compacts some, deletes some, and leaves some in the log.
fn fill(db: &Db) {
    let second = db.keyspace("secret keyspace", KeyspaceOptions::new()).unwrap();
    for number in 0..400 {
        db.insert(secret("key", number), secret("small value", number)).unwrap();
        if number % 20 == 0 {
            db.insert(secret("large key", number), secret("large value", number).repeat(LARGE / 20)).unwrap();
            second.insert(secret("other key", number), secret("other value", number)).unwrap();
            db.remove(secret("key", number)).unwrap();
        }
        match number {
            150 | 300 => db.flush().unwrap(),
            350 => drop(db.compact(.., CompactOptions::new()).unwrap()),
            _ => {}
        }
    }
    db.sync().unwrap();
}

fn check(db: &Db) {
    for number in 0..400 {
        let small = db.get(secret("key", number)).unwrap();
        let large = db.get(secret("large key", number)).unwrap();
        if number % 20 == 0 {
            assert!(small.is_none());
            assert_eq!(large.unwrap(), secret("large value", number).repeat(LARGE / 20).as_bytes());
        } else {
            assert_eq!(small.unwrap(), secret("small value", number).as_bytes());
            assert!(large.is_none());
        }
    }
}

/// Files that contain `text`.
fn showing(memory: &MemFs, text: &str) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| memory.read(path).unwrap().windows(text.len()).any(|at| at == text.as_bytes());
    memory.files().into_iter().filter(holds).collect()
}

#[test]
fn no_key_value_or_name_shows_in_any_file_on_any_of_its_ways() {
    let (memory, vfs) = memory(1);
    let db = plain(&vfs).open(STORE).unwrap();
    fill(&db);
    let extensions: BTreeSet<_> =
        showing(&memory, "secret").iter().map(|path| path.extension().map(ToOwned::to_owned)).collect();
    assert!(extensions.len() >= 4, "log, table, value log and manifest show what is not encrypted: {extensions:?}");

    let (memory, vfs) = self::memory(1);
    let db = encrypted(&vfs, 1).open(STORE).unwrap();
    fill(&db);
    assert_eq!(showing(&memory, "secret"), [""; 0].map(PathBuf::from), "while it is open");
    check(&db);
    drop(db);
    let db = encrypted(&vfs, 1).open(STORE).unwrap();
    check(&db);
    db.close().unwrap();
    assert_eq!(showing(&memory, "secret"), [""; 0].map(PathBuf::from), "once it is closed");
    let db = encrypted(&vfs, 1).open_read_only(STORE).unwrap();
    check(&db);
}

#[test]
fn a_missing_or_wrong_key_is_an_error_of_its_own_and_changes_nothing() {
    let (memory, vfs) = memory(2);
    let db = encrypted(&vfs, 1).open(STORE).unwrap();
    fill(&db);
    db.close().unwrap();
    let state = || -> BTreeMap<PathBuf, Vec<u8>> {
        memory.files().into_iter().map(|path| (path.clone(), memory.read(&path).unwrap())).collect()
    };
    let before = state();
    for (options, what) in [(plain(&vfs), "without a master key"), (encrypted(&vfs, 2), "wrong master key")] {
        for error in [options.clone().open(STORE).unwrap_err(), options.open_read_only(STORE).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Encryption, "{error}");
            assert!(error.to_string().contains(what), "{error}");
        }
    }
    vfs.remove_file(&Path::new(STORE).join("KEYREGISTRY")).unwrap();
    let error = encrypted(&vfs, 1).open(STORE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encryption, "{error}");
    assert!(error.to_string().contains("KEYREGISTRY: missing"), "{error}");
    memory.write(&Path::new(STORE).join("KEYREGISTRY"), before[Path::new("store/KEYREGISTRY")].clone()).unwrap();
    assert!(state() == before);
    check(&encrypted(&vfs, 1).open(STORE).unwrap());
}

#[test]
fn a_registry_of_another_store_is_refused() {
    let (memory, vfs) = memory(3);
    plain(&vfs).open(STORE).unwrap().close().unwrap();
    let (other, other_vfs) = self::memory(4);
    encrypted(&other_vfs, 1).open(STORE).unwrap().close().unwrap();
    let registry = Path::new(STORE).join("KEYREGISTRY");
    memory.write(&registry, other.read(&registry).unwrap()).unwrap();
    let error = encrypted(&vfs, 1).open(STORE).unwrap_err();
    assert_eq!(error.corruption().expect("a place").path, registry, "{error}");
    assert!(error.to_string().contains("another store"), "{error}");
}

#[test]
fn a_plain_store_goes_on_encrypted_and_compaction_encrypts_the_rest() {
    let (memory, vfs) = memory(5);
    let db = plain(&vfs).open(STORE).unwrap();
    fill(&db);
    db.close().unwrap();
    let error = encrypted(&vfs, 1).open_read_only(STORE).map(|db| check(&db));
    assert!(error.is_ok(), "a reader needs no registry for a plain store");
    let db = encrypted(&vfs, 1).open(STORE).unwrap();
    check(&db);
    db.insert("later secret key", "later secret value").unwrap();
    db.insert("later secret large", "later secret value".repeat(LARGE)).unwrap();
    db.flush().unwrap();
    assert_eq!(showing(&memory, "later secret"), [""; 0].map(PathBuf::from));
    db.compact(.., CompactOptions::new()).unwrap();
    check(&db);
    db.close().unwrap();
    assert_eq!(plain(&vfs).open(STORE).unwrap_err().kind(), ErrorKind::Encryption);
    check(&encrypted(&vfs, 1).open(STORE).unwrap());
}

/// The data keys of all files, by extension.
fn key_ids(memory: &MemFs, extension: &str) -> BTreeSet<u32> {
    let at = |bytes: &[u8]| match extension {
        "wal" => 28,
        "sst" => bytes.len() - 92,
        _ => 12,
    };
    let id = |bytes: Vec<u8>| u32::from_le_bytes(bytes[at(&bytes)..][..4].try_into().unwrap());
    let files = memory.files().into_iter().filter(|path| path.extension().is_some_and(|found| found == extension));
    files.map(|path| id(memory.read(&path).unwrap())).collect()
}

#[test]
fn a_data_key_is_followed_by_the_next_by_age_while_open_and_across_opens() {
    let (memory, vfs) = memory(6);
    let clock = Arc::new(ManualClock::new(1_000_000));
    let options = || encrypted(&vfs, 1).clock(clock.clone()).data_key_lifetime(Duration::from_secs(7_200));
    let db = options().open(STORE).unwrap();
    db.insert("a", "1").unwrap();
    db.flush().unwrap();
    assert_eq!(key_ids(&memory, "sst").len(), 1);
    clock.advance(Duration::from_secs(7_300));
    db.insert("b", "2").unwrap();
    db.flush().unwrap();
    assert_eq!(key_ids(&memory, "sst").len(), 2, "the flush made a new key");
    db.close().unwrap();
    let closed = memory.read(&Path::new(STORE).join("KEYREGISTRY")).unwrap();
    options().open(STORE).unwrap().close().unwrap();
    assert!(memory.read(&Path::new(STORE).join("KEYREGISTRY")).unwrap() == closed, "it is not old yet");
    clock.advance(Duration::from_secs(7_300));
    let db = options().open(STORE).unwrap();
    assert!(key_ids(&memory, "wal").is_disjoint(&key_ids(&memory, "sst")), "the open made a new key");
    assert_eq!((db.get("a").unwrap().unwrap(), db.get("b").unwrap().unwrap()), (b"1".into(), b"2".into()));
    assert_eq!(
        Options::new().data_key_lifetime(Duration::from_secs(60)).validate().unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn keys_are_rotated_by_hand_while_the_store_is_open() {
    let (memory, vfs) = memory(7);
    let db = encrypted(&vfs, 1).open(STORE).unwrap();
    fill(&db);
    let before = key_ids(&memory, "sst");
    db.rotate_data_key().unwrap();
    db.insert("new", "file").unwrap();
    db.flush().unwrap();
    assert!(key_ids(&memory, "sst").len() > before.len());
    db.rotate_master_key(key(2)).unwrap();
    db.rotate_data_key().unwrap();
    check(&db);
    db.close().unwrap();
    assert_eq!(encrypted(&vfs, 1).open(STORE).unwrap_err().kind(), ErrorKind::Encryption);
    let db = encrypted(&vfs, 2).open(STORE).unwrap();
    check(&db);
    drop(db);
    let db = encrypted(&vfs, 2).open_read_only(STORE).unwrap();
    assert_eq!(db.rotate_data_key().unwrap_err().kind(), ErrorKind::ReadOnly);
    let db = Options::new().open_in_memory().unwrap();
    assert_eq!(db.rotate_data_key().unwrap_err().kind(), ErrorKind::Encryption);
}

#[test]
fn a_crash_while_a_store_is_made_or_first_encrypted_leaves_one_that_opens() {
    for was_plain in [false, true] {
        let build = || {
            let memory = MemFs::new(8);
            let vfs: Arc<dyn Vfs> = Arc::new(memory.clone());
            if was_plain {
                let db = plain(&vfs).open(STORE).unwrap();
                db.insert("old", "value").unwrap();
                db.close().unwrap();
            }
            memory
        };
        let images = Arc::new(base::sync::Mutex::new(Vec::new()));
        let memory = build();
        let faults = FaultFs::over_memory(memory.clone(), FaultPlan::none());
        let taken = Arc::clone(&images);
        faults.on_mutation(move |_| {
            for mode in [CrashMode::KeepAll, CrashMode::DropUnsynced, CrashMode::Random] {
                let mut images = taken.lock();
                let seed = 100 + images.len() as u64;
                images.push(memory.crash_image(mode, seed));
            }
        });
        let vfs: Arc<dyn Vfs> = Arc::new(faults.clone());
        encrypted(&vfs, 1).open(STORE).unwrap().close().unwrap();
        faults.clear_hook();
        let images = std::mem::take(&mut *images.lock());
        assert!(images.len() > 50);
        for (number, image) in images.into_iter().enumerate() {
            let vfs: Arc<dyn Vfs> = Arc::new(image);
            let db = encrypted(&vfs, 1).open(STORE).unwrap_or_else(|error| panic!("image {number}: {error}"));
            assert_eq!(db.get("old").unwrap().is_some(), was_plain, "image {number}");
            db.insert("new", "value").unwrap();
            db.close().unwrap();
            assert!(encrypted(&vfs, 1).open(STORE).unwrap().get("new").unwrap().is_some());
        }
    }
}

/// What stood at each place of each file at any time, by the salt in its header: where two states of a file differ, two
/// texts were sealed with one nonce. A log has one more number in it, the round, which tells writes at one place apart.
#[derive(Default)]
struct Places(BTreeMap<Vec<u8>, Vec<u8>>, u64);

impl Places {
    fn note(&mut self, memory: &MemFs) {
        for path in memory.files() {
            let bytes = memory.read(&path).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            let salt = match name {
                "KEYREGISTRY" => 28..60,
                _ if name.ends_with(".sst") => bytes.len() - 64..bytes.len() - 32,
                _ if path.iter().any(|part| part == "vlog") && !name.ends_with(".tmp") => 32..64,
                _ if name.ends_with(".wal") || name.starts_with("MANIFEST-") => 32..64,
                _ => continue,
            };
            let Some(salt) = bytes.get(salt).filter(|salt| salt.iter().any(|byte| *byte != 0)) else { continue };
            let known = self.0.entry(salt.to_vec()).or_default();
            let differs = known.iter().zip(&bytes).position(|(known, byte)| known != byte && *known != 0 && *byte != 0);
            assert_eq!(differs, None, "{}: one place, two texts", path.display());
            if known.len() < bytes.len() {
                known.resize(bytes.len(), 0);
            }
            known.iter_mut().zip(&bytes).for_each(|(known, byte)| *known |= byte);
            self.1 += 1;
        }
    }
}

/// A store dies again and again, by its process or by power, and so do copies of it that go on by themselves; each life
/// reuses what numbers it may.
#[test]
fn nothing_is_sealed_twice_under_one_nonce_over_crashes_and_copies() {
    let mut rng = Rng::new(seed(9));
    let mut places = Places::default();
    let mut worlds = vec![MemFs::new(rng.next_u64())];
    for life in 0..60u64 {
        let which = rng.below(worlds.len() as u64) as usize;
        let memory = worlds.swap_remove(which);
        let vfs: Arc<dyn Vfs> = Arc::new(memory.clone());
        let db = encrypted(&vfs, 1).open(STORE).unwrap();
        for write in 0..rng.below(60) {
            let value = vec![rng.below(256) as u8; if write % 7 == 0 { LARGE } else { 100 }];
            let durability = if rng.below(4) == 0 { Durability::Sync } else { Durability::Os };
            let mut batch = engine::WriteBatch::new();
            batch.insert(format!("key {}", rng.below(50)), value).unwrap();
            db.write_with(batch, WriteOptions::new().durability(durability)).unwrap();
            match rng.below(40) {
                0 => db.flush().unwrap(),
                1 => drop(db.compact(.., CompactOptions::new()).unwrap()),
                2 => db.rotate_data_key().unwrap(),
                _ => {}
            }
            if write % 5 == 0 {
                places.note(&memory);
            }
        }
        places.note(&memory);
        if rng.below(4) == 0 {
            db.close().unwrap();
            places.note(&memory);
        }
        // A copy of the store, or two, each with randomness of its own.
        let modes = [CrashMode::KeepAll, CrashMode::DropUnsynced, CrashMode::Prefix, CrashMode::Random];
        for _ in 0..1 + u64::from(life % 4 == 0 && worlds.len() < 5) {
            let mode = modes[rng.below(4) as usize];
            worlds.push(memory.crash_image(mode, rng.next_u64()));
        }
    }
    show!("nonces: {} files of one salt each, seen in {} states", places.0.len(), places.1);
    assert!(places.0.len() > 200);
}
