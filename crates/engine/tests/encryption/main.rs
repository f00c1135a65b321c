//! Encrypted stores: nothing that was written shows on disk, the right key opens them and a wrong one is told, keys are
//! rotated by age and by hand, and nothing is ever sealed twice under one nonce.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test panics"
)]

mod files;
mod forged;
mod nonces;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::clock::ManualClock;
use base::show;
use base::sync::Mutex;
use engine::{CompactOptions, Db, ErrorKind, GcOptions, GcPolicy, KeyspaceOptions, Options, Read, StaticKey};
use vfs::{CrashMode, FaultFs, FaultPlan, MemFs, Vfs};

use crate::files::{Seen, assert_all_kinds, contains, kind};

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

/// Writes large values over each other until segments roll, and has what died collected.
fn overwrite_and_collect(db: &Db) {
    for round in 0..4 {
        for number in 0..12 {
            let value = secret("churned value", round).repeat(LARGE / 20 + number);
            db.insert(secret("churned key", number), value).unwrap();
            db.insert(secret("sunk key", 12 * round + number), secret("sunk value", number).repeat(LARGE / 20))
                .unwrap();
        }
        db.flush().unwrap();
    }
    db.compact(.., CompactOptions::new()).unwrap();
    collect(db);
    // Few deaths, so that they are written down before the segments that they are in are collected.
    for number in 0..4 {
        db.insert(secret("sunk key", number), "raised").unwrap();
        db.compact(.., CompactOptions::new()).unwrap();
    }
}

fn collect(db: &Db) {
    let report = db.gc().run_once(GcOptions::new().discard_ratio(0.02).find_garbage(true)).unwrap();
    assert!(!report.segments.is_empty(), "nothing was collected");
}

/// Files that contain `text`.
fn showing(memory: &MemFs, text: &str) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| contains(&memory.read(path).unwrap(), text);
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

/// Fills a store and has it collect. Gives what was seen of its files at each change of one, and which of them showed what
/// is secret, by their kinds.
fn watch(memory: &MemFs, options: impl Fn(&Arc<dyn Vfs>) -> Options) -> (Seen, BTreeSet<String>) {
    let faults = FaultFs::over_memory(memory.clone(), FaultPlan::none());
    let vfs: Arc<dyn Vfs> = Arc::new(faults.clone());
    let watched = Arc::new(Mutex::new((Seen::default(), BTreeSet::new())));
    let (below, notes) = (memory.clone(), Arc::clone(&watched));
    faults.on_mutation(move |_| {
        let (seen, shown) = &mut *notes.lock();
        let showing = seen.changed(&below).into_iter().filter(|(_, bytes)| contains(bytes, "secret"));
        shown.extend(showing.map(|(path, bytes)| kind(&path, &bytes)));
    });
    let db = options(&vfs).open(STORE).unwrap();
    fill(&db);
    overwrite_and_collect(&db);
    check(&db);
    db.close().unwrap();
    faults.clear_hook();
    std::mem::take(&mut *watched.lock())
}

/// Files that are not whole yet included.
#[test]
fn nothing_shows_at_any_change_of_a_file_while_garbage_is_collected() {
    let (_, shown) = watch(&MemFs::new(10), plain);
    let with_keys = ["MANIFEST", "collected vlog", "hint", "sst", "vlog", "wal"].map(str::to_owned);
    assert_eq!(shown, with_keys.into(), "what a store that is not encrypted shows");

    let (memory, vfs) = memory(10);
    let (seen, shown) = watch(&memory, |vfs| encrypted(vfs, 1));
    show!("encryption: {} states of files: {:?}, not whole yet: {:?}", seen.count, seen.kinds, seen.unfinished);
    assert_eq!(shown, BTreeSet::new());
    assert_all_kinds(&seen.kinds);
    for kind in ["collected vlog", "dead", "deaths", "hint", "map", "sst", "VLOG-MANIFEST", "KEYREGISTRY"] {
        assert!(seen.unfinished.contains(kind), "no {kind} was seen before it was whole: {:?}", seen.unfinished);
    }
    let db = encrypted(&vfs, 1).open(STORE).unwrap();
    check(&db);
    for number in 0..12 {
        let value = db.get(secret("churned key", number)).unwrap().unwrap();
        assert_eq!(value, secret("churned value", 3).repeat(LARGE / 20 + number).as_bytes());
    }
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
    let registry = Path::new(STORE).join("KEYREGISTRY");
    let take_from_other = |was_plain: bool| {
        let (other, other_vfs) = self::memory(4);
        if was_plain {
            plain(&other_vfs).open(STORE).unwrap().close().unwrap();
        }
        encrypted(&other_vfs, 1).open(STORE).unwrap().close().unwrap();
        memory.write(&registry, other.read(&registry).unwrap()).unwrap();
        encrypted(&vfs, 1).open(STORE).unwrap_err()
    };
    let error = take_from_other(false);
    assert_eq!(error.kind(), ErrorKind::Encryption, "{error}");
    assert!(error.to_string().contains("MANIFEST-000001: the file is not encrypted"), "{error}");
    let error = take_from_other(true);
    assert_eq!(error.corruption().expect("a place").path, registry, "{error}");
    assert!(error.to_string().contains("another store"), "{error}");
}

#[test]
fn a_plain_store_goes_on_encrypted_and_what_is_rewritten_shows_no_more() {
    let (memory, vfs) = memory(5);
    let db = plain(&vfs).open(STORE).unwrap();
    fill(&db);
    db.close().unwrap();
    let error = encrypted(&vfs, 1).open_read_only(STORE).map(|db| check(&db));
    assert!(error.is_ok(), "a reader needs no registry for a plain store");
    let db = encrypted(&vfs, 1).gc(GcPolicy::Manual).open(STORE).unwrap();
    check(&db);
    db.insert("later secret key", "later secret value").unwrap();
    db.insert("later secret large", "later secret value".repeat(LARGE)).unwrap();
    db.flush().unwrap();
    assert_eq!(showing(&memory, "later secret"), [""; 0].map(PathBuf::from));
    let extensions = |shown: Vec<PathBuf>| -> BTreeSet<_> {
        shown.iter().map(|path| path.extension().unwrap_or_default().to_str().unwrap().to_owned()).collect()
    };
    assert!(extensions(showing(&memory, "secret")).contains("sst"), "what is old is not encrypted yet");
    // Tables with which nothing overlaps would merely be moved.
    let second = db.keyspace("secret keyspace", KeyspaceOptions::new()).unwrap();
    for number in (0..400).filter(|number| number % 20 != 0) {
        db.insert(secret("key", number), secret("small value", number)).unwrap();
    }
    for number in (0..400).step_by(40) {
        db.insert(secret("large key", number), secret("large value", number).repeat(LARGE / 20)).unwrap();
        second.insert(secret("other key", number), secret("other value", number)).unwrap();
    }
    db.compact(.., CompactOptions::new()).unwrap();
    check(&db);
    let left = extensions(showing(&memory, "secret"));
    assert_eq!(left, ["hint", "vlog"].map(str::to_owned).into(), "large values stay until they are collected");
    collect(&db);
    check(&db);
    assert_eq!(showing(&memory, "secret"), [""; 0].map(PathBuf::from), "once they are collected");
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
}

#[test]
fn a_store_that_is_not_encrypted_has_no_keys_to_rotate_and_stays_plain() {
    let (memory, vfs) = memory(9);
    let db = plain(&vfs).open(STORE).unwrap();
    fill(&db);
    for error in [db.rotate_data_key().unwrap_err(), db.rotate_master_key(key(2)).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Encryption);
        assert!(error.to_string().contains("the store was opened without a master key"), "{error}");
    }
    db.close().unwrap();
    assert!(!memory.files().iter().any(|path| path.ends_with("KEYREGISTRY")));
    check(&plain(&vfs).open(STORE).unwrap());
}

/// Texts of errors end up in logs.
#[test]
fn the_text_of_a_conflict_shows_the_key_only_in_a_store_that_is_not_encrypted() {
    for is_encrypted in [false, true] {
        let (_, vfs) = memory(9);
        let options = if is_encrypted { encrypted(&vfs, 1) } else { plain(&vfs) };
        let db = options.open(STORE).unwrap();
        let mut txn = db.begin();
        assert!(txn.get("secret key").unwrap().is_none());
        db.insert("secret key", "1").unwrap();
        txn.insert("another", "1").unwrap();
        let error = txn.commit().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert_eq!(error.to_string().contains("secret key"), !is_encrypted, "{error}");
        assert_eq!(error.to_string().contains("of 10 bytes"), is_encrypted, "{error}");
    }
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
        let images = Arc::new(Mutex::new(Vec::new()));
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
