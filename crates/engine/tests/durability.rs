//! Flush, compaction and reopen: the same data before and after, on disk and in memory.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]
#![allow(clippy::disallowed_methods, reason = "a test cleans up behind itself")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base::rng::Rng;
use engine::{
    CompactOptions, Db, Durability, ErrorKind, GcPolicy, IoMode, KeyspaceOptions, Options, Read, VerifyOptions,
    WriteBatch,
};
use vfs::{MemFs, MountKind, Vfs};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn tiny() -> Options {
    Options::new()
        .memtable_size(64 << 10)
        .value_log_file_size(64 << 10)
        .value_threshold(256)
        .table_size(16 << 10)
        .level_base_size(64 << 10)
        .level_multiplier(4)
        .l0_compaction_trigger(2)
}

fn check(db: &Db, model: &Model) {
    let found: Model =
        db.iter().map(|item| item.unwrap().into_pair().unwrap()).map(|(k, v)| (k.into(), v.into())).collect();
    assert!(found == *model, "{} keys found, {} expected", found.len(), model.len());
    let mut reversed: Vec<Vec<u8>> = db.iter().rev().map(|item| item.unwrap().key().to_vec()).collect();
    reversed.reverse();
    assert!(reversed.iter().eq(model.keys()));
    for (key, value) in model.iter().step_by(17) {
        assert_eq!(db.get(key).unwrap().unwrap(), *value);
    }
    assert_eq!(db.get("never").unwrap(), None);
}

fn write_some(db: &Db, model: &mut Model, rng: &mut Rng, operations: usize) {
    for _ in 0..operations {
        let key = format!("key{:04}", rng.below(2_000)).into_bytes();
        if rng.one_in(5) {
            db.remove(&key).unwrap();
            model.remove(&key);
        } else {
            let len = if rng.one_in(4) { 256 + rng.below(2_000) } else { rng.below(100) };
            let mut value = vec![0; usize::try_from(len).unwrap()];
            rng.fill(&mut value);
            db.insert(&key, &value).unwrap();
            model.insert(key, value);
        }
    }
}

#[test]
fn data_survives_flush_compaction_close_and_drop_without_close() {
    for (io_mode, seed) in [(IoMode::Mapped, 1), (IoMode::Pread, 2)] {
        println!("seed {seed}");
        let vfs: Arc<dyn Vfs> = Arc::new(MemFs::new(seed));
        let options = || tiny().io_mode(io_mode).vfs(Arc::clone(&vfs));
        let (mut model, mut rng) = (Model::new(), Rng::new(seed));
        for round in 0..6 {
            let db = options().open("/store").unwrap();
            check(&db, &model);
            write_some(&db, &mut model, &mut rng, 1_500);
            check(&db, &model);
            match round % 3 {
                0 => db.close().unwrap(),
                1 => {
                    db.flush().unwrap();
                    check(&db, &model);
                    db.compact(.., CompactOptions::new()).unwrap();
                    check(&db, &model);
                    assert_eq!(db.levels()[0].1[0].tables, 0, "compaction leaves nothing in L0");
                    db.verify(VerifyOptions::new()).unwrap();
                }
                _ => {}
            }
        }
        let db = options().open_read_only("/store").unwrap();
        check(&db, &model);
        assert_eq!(db.insert("k", "v").unwrap_err().kind(), ErrorKind::ReadOnly);
    }
}

#[test]
fn a_real_directory_is_made_locked_and_found_again() {
    let dir = std::env::temp_dir().join(format!("ratel-durability-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let store = dir.join("deep/store");
    let (mut model, mut rng) = (Model::new(), Rng::new(7));
    {
        let db = tiny().open(&store).unwrap();
        assert_eq!(tiny().open(&store).unwrap_err().kind(), ErrorKind::Locked);
        write_some(&db, &mut model, &mut rng, 3_000);
        db.sync().unwrap();
        check(&db, &model);
    }
    let db = tiny().durability(Durability::Sync).open(&store).unwrap();
    assert!(!db.recovery_report().clean_shutdown);
    check(&db, &model);
    db.insert("last", "synced").unwrap();
    model.insert(b"last".to_vec(), b"synced".to_vec());
    db.close().unwrap();
    let db = tiny().open_read_only(&store).unwrap();
    assert!(db.recovery_report().clean_shutdown);
    check(&db, &model);
    let second = tiny().open_read_only(&store).unwrap();
    check(&second, &model);
    drop((db, second));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let vfs = MemFs::new(1);
    vfs.create_dir_all(Path::new("/other")).unwrap();
    vfs.write(Path::new("/other/notes.txt"), b"mine").unwrap();
    let options = || tiny().vfs(Arc::new(vfs.clone()));
    let error = options().open("/other").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("notes.txt"), "{error}");
    assert_eq!(vfs.list(Path::new("/other")).unwrap().len(), 1, "not even a lock file was left");
    assert_eq!(options().open("/other/notes.txt").unwrap_err().kind(), ErrorKind::Incompatible);
    assert_eq!(options().open_read_only("/none").unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(options().create_if_missing(false).open("/none").unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_network_file_system_is_warned_of_by_name() {
    let vfs = MemFs::new(1);
    vfs.mount(Path::new("/values"), MountKind::Network("nfs"));
    let options = || tiny().vfs(Arc::new(vfs.clone())).value_dir("/values/of-store");
    for _ in 0..2 {
        let db = options().open("/store").unwrap();
        let warnings = &db.recovery_report().warnings;
        assert!(
            matches!(&warnings[..], [one] if one.contains("/values/of-store") && one.contains("nfs")),
            "{warnings:?}"
        );
    }
}

#[test]
fn a_store_of_another_program_is_not_taken_for_a_damaged_one() {
    let tables: [&[(&str, &str)]; 5] = [
        &[("CURRENT", "MANIFEST-000001\n"), ("MANIFEST-000001", "leveldb"), ("000003.log", "")],
        &[
            ("CURRENT", "MANIFEST-000004\n"),
            ("MANIFEST-000004", "rocksdb"),
            ("000008.sst", "table"),
            ("000009.wal", ""),
        ],
        &[("000008.sst", "table"), ("000009.wal", "log")],
        &[("CURRENT", ""), ("notes.txt", "mine")],
        &[("MANIFEST-000001", "theirs")],
    ];
    for table in tables {
        let vfs = MemFs::new(1);
        vfs.create_dir_all(Path::new("/other")).unwrap();
        for (name, bytes) in table {
            vfs.write(&Path::new("/other").join(name), bytes.as_bytes()).unwrap();
        }
        let options = || tiny().vfs(Arc::new(vfs.clone()));
        assert_eq!(options().open("/other").unwrap_err().kind(), ErrorKind::Incompatible, "{table:?}");
        let error = options().open_read_only("/other").unwrap_err();
        assert!([ErrorKind::Incompatible, ErrorKind::InvalidArgument].contains(&error.kind()), "{table:?}: {error}");
        assert_eq!(vfs.list(Path::new("/other")).unwrap().len(), table.len(), "not even a lock file was left");
    }
}

#[test]
fn a_store_stays_one_with_a_current_that_is_damaged_or_gone() {
    let vfs = MemFs::new(1);
    tiny().vfs(Arc::new(vfs.clone())).open("/store").unwrap().insert("k", "v").unwrap();
    let current = Path::new("/store/CURRENT");
    for damage in ["", "MANIFEST-000001\n", "Ratel current 1\n"] {
        vfs.edit(current, |bytes| *bytes = damage.as_bytes().to_vec()).unwrap();
        let error = tiny().vfs(Arc::new(vfs.clone())).open("/store").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption, "{damage:?}: {error}");
    }
    vfs.remove_file(current).unwrap();
    assert_eq!(tiny().vfs(Arc::new(vfs.clone())).open("/store").unwrap_err().kind(), ErrorKind::Corruption);
}

#[test]
fn a_commit_larger_than_a_memtable_is_whole() {
    let vfs: Arc<dyn Vfs> = Arc::new(MemFs::new(3));
    let mut model = Model::new();
    {
        let db = tiny().vfs(Arc::clone(&vfs)).open("/store").unwrap();
        db.insert("before", "x").unwrap();
        let mut batch = WriteBatch::new();
        for number in 0..5_000 {
            let (key, value) = (format!("key{number:05}").into_bytes(), vec![b'v'; 100]);
            batch.insert(&key, &value).unwrap();
            model.insert(key, value);
        }
        db.write(batch).unwrap();
        model.insert(b"before".to_vec(), b"x".to_vec());
        check(&db, &model);
    }
    check(&tiny().vfs(vfs).open("/store").unwrap(), &model);
}

#[test]
fn an_idle_keyspace_keeps_no_log() {
    let vfs: Arc<dyn Vfs> = Arc::new(MemFs::new(4));
    let db = tiny().vfs(Arc::clone(&vfs)).open("/store").unwrap();
    let idle = db.keyspace("idle", KeyspaceOptions::new()).unwrap();
    idle.insert("once", "written").unwrap();
    let (mut model, mut rng) = (Model::new(), Rng::new(4));
    write_some(&db, &mut model, &mut rng, 20_000);
    db.flush().unwrap();
    let logs = vfs.list(Path::new("/store")).unwrap();
    let logs = logs.iter().filter(|entry| entry.name.extension().is_some_and(|extension| extension == "wal")).count();
    assert!(logs <= 6, "{logs} logs");
    assert_eq!(idle.get("once").unwrap().unwrap(), "written");
    check(&db, &model);
}

#[test]
fn versions_go_on_above_those_of_an_earlier_run() {
    let vfs: Arc<dyn Vfs> = Arc::new(MemFs::new(5));
    let open = || tiny().vfs(Arc::clone(&vfs)).open("/store").unwrap();
    let commit = |db: &Db| {
        let mut batch = WriteBatch::new();
        batch.insert("k", "v").unwrap();
        db.write(batch).unwrap().version
    };
    let db = open();
    assert_eq!((commit(&db), commit(&db)), (1, 2));
    db.close().unwrap();
    let db = open();
    assert_eq!(db.snapshot().version(), 2, "after a clean close reads begin at the last commit");
    assert_eq!(commit(&db), 3);
    drop(db);
    let db = open();
    assert!(commit(&db) > 3);
    assert_eq!(db.get("k").unwrap().unwrap(), "v");
}

#[test]
fn old_versions_go_with_compaction_but_not_under_a_snapshot() {
    let db = tiny().open_in_memory().unwrap();
    for round in 0..10 {
        db.insert("k", round.to_string()).unwrap();
        if round == 4 {
            db.insert("other", "x").unwrap();
        }
    }
    let snapshot = db.snapshot();
    db.insert("k", "newest").unwrap();
    db.remove("other").unwrap();
    db.compact(.., CompactOptions::new()).unwrap();
    assert_eq!(snapshot.get("k").unwrap().unwrap(), "9");
    assert_eq!(snapshot.get("other").unwrap().unwrap(), "x");
    assert_eq!(db.get("other").unwrap(), None);
    assert_eq!(db.versions("k").count(), 2);
    drop(snapshot);
    db.compact(.., CompactOptions::new()).unwrap();
    assert_eq!(db.versions("k").count(), 1);
    assert_eq!(db.versions("other").count(), 0);
}

/// The outputs of level 0 come to a base level that is not the last, and have to go on from there.
#[test]
fn a_compaction_of_everything_leaves_one_level() {
    // A search for garbage compacts everything, too.
    let options = tiny().gc(GcPolicy::Manual).inline_background();
    let db = options.vfs(Arc::new(MemFs::new(5))).open("/store").unwrap();
    let (mut model, mut rng) = (Model::new(), Rng::new(5));
    let occupied = |db: &Db| db.levels()[0].1.iter().filter(|level| level.tables > 0).count();
    for _ in 0..3 {
        write_some(&db, &mut model, &mut rng, 20_000);
        println!("{:?}", db.levels()[0].1.iter().map(|level| level.tables).collect::<Vec<_>>());
        assert!(occupied(&db) > 1);
        db.compact(.., CompactOptions::new()).unwrap();
        assert_eq!(occupied(&db), 1, "{:?}", db.levels());
        check(&db, &model);
    }
}
