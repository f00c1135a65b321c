//! An account of what is dead that is damaged: told once, in the way of nothing else, and made anew by a rebuild.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use engine::{CompactOptions, Db, ErrorKind, EventListener, GcEvent, GcOptions, GcPolicy, GcVerdict, Health, Options};
use vfs::{MemFs, Vfs};

const KEYS: u64 = 60;

fn options(fs: &MemFs) -> Options {
    Options::new()
        .vfs(Arc::new(fs.clone()))
        .gc(GcPolicy::Manual)
        .memtable_size(64 << 10)
        .value_log_file_size(64 << 10)
        .inline_background()
}

fn value(key: u64, round: u64) -> Vec<u8> {
    [key.to_be_bytes(), round.to_be_bytes()].concat().repeat(125)
}

/// Overwrites every `step`th key, and has the tree say what that kills.
fn overwrite(db: &Db, round: u64, step: usize) {
    for key in (0..KEYS).step_by(step) {
        db.insert(key.to_be_bytes(), value(key, round)).unwrap();
    }
    db.flush().unwrap();
    db.compact(.., CompactOptions::new()).unwrap();
}

fn check(db: &Db, round: u64) {
    for key in 0..KEYS {
        assert_eq!(db.get(key.to_be_bytes()).unwrap().unwrap(), value(key, round), "key {key}");
    }
}

fn files(fs: &MemFs, extension: &str) -> Vec<PathBuf> {
    let mut files = fs.files();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.into_iter().map(|path| Path::new("/").join(path)).collect()
}

fn spoil(fs: &MemFs, path: &Path, remove: bool) {
    if remove {
        fs.remove_file(path).unwrap();
    } else {
        fs.edit(path, |bytes| *bytes.last_mut().unwrap() ^= 1).unwrap();
    }
}

/// A store whose segments have dead sets on disk, with some of their records in them.
fn with_dead_sets() -> MemFs {
    let fs = MemFs::new(1);
    let db = options(&fs).open("/store").unwrap();
    overwrite(&db, 0, 1);
    overwrite(&db, 1, 7);
    db.close().unwrap();
    assert!(files(&fs, "dead").contains(&PathBuf::from("/store/vlog/000001.dead")));
    fs
}

/// Events of leaks, as they are told.
#[derive(Default)]
struct Leaks(Mutex<Vec<(Option<u32>, String)>>);

impl EventListener for Leaks {
    fn gc(&self, event: &GcEvent) {
        if let GcEvent::Leaking { segment, cause } = event {
            self.0.lock().unwrap().push((*segment, cause.to_string()));
        }
    }
}

#[test]
fn a_damaged_dead_set_is_told_once_keeps_nothing_up_and_is_made_anew_by_a_rebuild() {
    for remove in [false, true] {
        let fs = with_dead_sets();
        let leaks = Arc::new(Leaks::default());
        let db = options(&fs).event_listener(leaks.clone()).open("/store").unwrap();
        let damaged = PathBuf::from("/store/vlog/000001.dead");
        let segments = db.gc().status().segments;
        let dead =
            |segment: u32| db.gc().status().segments.iter().find(|of| of.segment == segment).unwrap().dead_records;
        let of = segments.iter().find(|of| of.segment == 1).unwrap();
        assert!(of.dead_records > 0 && of.dead_records < of.records, "{segments:#?}");
        spoil(&fs, &damaged, remove);
        for round in 2..42 {
            overwrite(&db, round, 1);
        }
        assert!(matches!(db.health(), Health::Ok));
        assert!(files(&fs, "deaths").len() < 35, "lists that nobody needs any more stay: {:?}", files(&fs, "deaths"));
        assert_eq!(dead(1), of.dead_records, "what is not known is not counted");
        let others = segments.iter().filter(|of| of.segment != 1);
        assert!(others.clone().count() > 1 && others.clone().all(|of| dead(of.segment) == of.records));
        let told = leaks.0.lock().unwrap().clone();
        assert!(matches!(&told[..], [(Some(1), cause)] if cause.contains("000001.dead")), "{told:?}");
        assert_eq!(db.metrics().background.background_failures, 1);
        let verdict = |db: &Db| db.gc().status().segments.iter().find(|of| of.segment == 1).unwrap().verdict.clone();
        assert!(matches!(verdict(&db), GcVerdict::Damaged(cause) if cause.contains("000001.dead")));
        let error = db.gc().check().unwrap_err();
        assert_eq!(error.corruption().unwrap().path, damaged, "{error}");
        check(&db, 41);

        let found = db.gc().rebuild().unwrap();
        assert_eq!((found.leaked_records, found.endangered_records, found.dangling_entries), (of.records, 0, 0));
        assert!(db.gc().check().unwrap().is_exact());
        assert_eq!((verdict(&db), dead(1)), (GcVerdict::ManualOnly, of.records));
        // Durable, whatever becomes of this run.
        let again = options(&fs.crash_image(vfs::CrashMode::DropUnsynced, 1)).open("/store").unwrap();
        assert!(again.gc().check().unwrap().leaked_records == 0);
        db.gc().run_once(GcOptions::new()).unwrap();
        assert!(db.gc().status().segments.iter().all(|of| of.segment != 1));
        check(&db, 41);
    }
}

#[test]
fn a_store_whose_account_of_the_dead_is_damaged_opens_for_a_rebuild_and_then_as_ever() {
    for (extension, remove) in [("dead", false), ("dead", true), ("deaths", false), ("deaths", true)] {
        let fs = with_dead_sets();
        // Dropped, and so its last deaths are on lists.
        overwrite(&options(&fs).open("/store").unwrap(), 2, 1);
        let damaged = files(&fs, extension).first().unwrap().clone();
        spoil(&fs, &damaged, remove);
        let error = options(&fs).open("/store").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
        assert_eq!(error.corruption().unwrap().path, damaged, "{error}");

        let db = options(&fs).forget_damaged_deaths(true).open("/store").unwrap();
        let mut warnings = db.recovery_report().warnings.clone();
        warnings.retain(|warning| warning.contains("taken for empty"));
        assert!(matches!(&warnings[..], [one] if one.contains(damaged.to_str().unwrap())), "{warnings:?}");
        assert!(db.gc().rebuild().unwrap().leaked_records > 0, "{extension}");
        check(&db, 2);
        db.close().unwrap();

        let db = options(&fs).open("/store").unwrap();
        assert!(db.recovery_report().warnings.is_empty());
        assert!(db.gc().check().unwrap().is_exact());
        db.gc().run_once(GcOptions::new().discard_ratio(0.05).find_garbage(true)).unwrap();
        check(&db, 2);
    }
}

/// Where the records of a segment are cannot be looked up any more; that keeps the tree from nothing.
#[test]
fn deaths_in_a_segment_whose_map_is_damaged_leak_and_keep_nothing_up() {
    for is_killed in [false, true] {
        let fs = with_dead_sets();
        let db = options(&fs).open("/store").unwrap();
        db.gc().run_once(GcOptions::new().discard_ratio(0.05)).unwrap();
        db.close().unwrap();
        let maps = files(&fs, "map");
        assert!(!maps.is_empty());
        maps.iter().for_each(|map| spoil(&fs, map, false));
        let db = options(&fs).open("/store").unwrap();
        overwrite(&db, 2, 1);
        check(&db, 2);
        if is_killed {
            drop(db);
        } else {
            db.close().unwrap();
        }
        let db = options(&fs).open("/store").unwrap();
        overwrite(&db, 3, 2);
        assert!(matches!(db.health(), Health::Ok));
        db.close().unwrap();
    }
}
