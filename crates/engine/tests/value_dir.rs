//! A store and the folder of its values belong together: whatever folder is given, no value log is begun beside the one there is.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{Db, Error, ErrorKind, Options, StaticKey};
use vfs::{Cause, CrashMode, Fault, FaultFs, FaultPlan, MemFs, Vfs};

const STORE: &str = "/store";
const VALUES: &str = "/values";

fn options(fs: &MemFs, values: Option<&str>) -> Options {
    let options = Options::new().vfs(Arc::new(fs.clone())).inline_background();
    values.into_iter().fold(options, Options::value_dir)
}

fn options_on(fs: &FaultFs, values: &str) -> Options {
    Options::new().vfs(Arc::new(fs.clone())).inline_background().value_dir(values)
}

/// What there is, apart from locks: to ask for one is no change.
fn files(fs: &MemFs) -> Vec<(PathBuf, Vec<u8>)> {
    let is_lock = |path: &Path| path.file_name().is_some_and(|name| name == "LOCK");
    let paths = fs.files().into_iter().filter(|path| !is_lock(path)).map(|path| Path::new("/").join(path));
    paths.map(|path| (path.clone(), fs.read(&path).unwrap())).collect()
}

fn is_there(fs: &MemFs, path: &Path) -> bool {
    fs.metadata(path).unwrap().is_some()
}

fn fill(db: &Db, kind: &str) {
    match kind {
        "no commit" => {}
        "small values" => db.insert("key", "small").unwrap(),
        _ => db.insert("key", vec![7; 10_000]).unwrap(),
    }
}

const KINDS: [&str; 3] = ["no commit", "small values", "large values"];

#[test]
fn a_folder_that_is_not_that_of_the_store_s_values_is_refused_by_name_and_nothing_is_begun() {
    for (kind, is_closed) in KINDS.into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
        let fs = MemFs::new(1);
        let db = options(&fs, Some(VALUES)).open(STORE).unwrap();
        fill(&db, kind);
        let found = db.get("key").unwrap();
        if is_closed {
            db.close().unwrap();
        } else {
            drop(db);
        }
        let other = options(&fs, Some("/others")).open("/other").unwrap();
        fill(&other, "large values");
        other.close().unwrap();
        fs.create_dir_all(Path::new("/empty")).unwrap();
        let before = files(&fs);
        let refused = |values: Option<&str>, store: &str| {
            let errors = [options(&fs, values).open_read_only(store), options(&fs, values).open(store)];
            let errors = errors.map(|opened| opened.err().unwrap_or_else(|| panic!("{kind}: {values:?} opened")));
            assert!(files(&fs) == before, "{kind}: {values:?} has changed a file");
            errors.map(|error| (error.kind(), error.to_string()))
        };
        for (values, found) in [("/none", "no such folder"), ("/empty", "no value log"), ("/others", "those of store ")]
        {
            for (error, message) in refused(Some(values), STORE) {
                assert_eq!(error, ErrorKind::Incompatible, "{message}");
                let begins = format!("{values}: not the folder of this store's values (expected those of {STORE}");
                assert!(message.starts_with(&begins) && message.contains(found), "{message}");
            }
        }
        assert!(!is_there(&fs, Path::new("/none")));
        // The folder of the store's own that would hold them is not there.
        for (error, message) in refused(None, STORE) {
            assert_eq!(error, ErrorKind::Corruption, "{message}");
            assert!(
                message.contains("/store/vlog/VLOG-MANIFEST at offset 0: missing value log of store "),
                "{message}"
            );
        }
        let db = options(&fs, Some(VALUES)).open(STORE).unwrap();
        assert_eq!(db.get("key").unwrap(), found, "{kind}");
    }
}

#[test]
fn a_store_whose_values_are_in_its_own_folder_is_not_given_another() {
    for kind in KINDS {
        let fs = MemFs::new(1);
        fill(&options(&fs, None).open(STORE).unwrap(), kind);
        fs.create_dir_all(Path::new(VALUES)).unwrap();
        let error = options(&fs, Some(VALUES)).open(STORE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{kind}: {error}");
        assert!(!is_there(&fs, &Path::new(VALUES).join("VLOG-MANIFEST")));
        options(&fs, None).open(STORE).unwrap();
    }
}

#[test]
fn a_new_store_does_not_begin_on_the_values_of_another_and_names_it() {
    let fs = MemFs::new(1);
    options(&fs, Some(VALUES)).open("/other").unwrap().close().unwrap();
    let before = files(&fs);
    let error = options(&fs, Some(VALUES)).open(STORE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
    assert!(error.to_string().contains("found those of store "), "{error}");
    assert!(files(&fs) == before, "something of a store was made");
    options(&fs, Some("/of-its-own")).open(STORE).unwrap();
}

/// Moved with the folder of its values, or to it, a store is found by what it holds and not by where that was.
#[test]
fn values_may_move_to_where_the_store_is_told_to_look_for_them() {
    let fs = MemFs::new(1);
    let keys = || Arc::new(StaticKey::new(&[3; 32]));
    let encrypted = |values| options(&fs, values).encryption(keys());
    let db = encrypted(None).open(STORE).unwrap();
    fill(&db, "large values");
    db.close().unwrap();
    fs.create_dir_all(Path::new(VALUES)).unwrap();
    for (path, bytes) in files(&fs).into_iter().filter(|(path, _)| path.starts_with("/store/vlog")) {
        fs.write(&Path::new(VALUES).join(path.file_name().unwrap()), bytes).unwrap();
        fs.remove_file(&path).unwrap();
    }
    let value = |db: Result<Db, Error>| db.unwrap().get("key").unwrap().unwrap().len();
    assert_eq!(value(encrypted(Some(VALUES)).open_read_only(STORE)), 10_000);
    assert_eq!(value(encrypted(Some(VALUES)).open(STORE)), 10_000);
    assert_eq!(encrypted(None).open(STORE).unwrap_err().kind(), ErrorKind::Corruption);
}

/// From the first log on: it says how far the value log goes.
#[test]
fn a_value_log_that_is_gone_once_a_log_was_begun_is_missed() {
    for kind in KINDS {
        for values in [None, Some(VALUES)] {
            let fs = MemFs::new(1);
            fill(&options(&fs, values).open(STORE).unwrap(), kind);
            let dir = Path::new(values.unwrap_or("/store/vlog"));
            fs.remove_file(&dir.join("VLOG-MANIFEST")).unwrap();
            let remains = fs.files().iter().any(|path| path.extension().is_some_and(|extension| extension == "vlog"));
            assert_eq!(remains, kind == "large values");
            let error = options(&fs, values).open(STORE).unwrap_err();
            let expected = if values.is_some() && !remains { ErrorKind::Incompatible } else { ErrorKind::Corruption };
            assert_eq!(error.kind(), expected, "{kind}: {error}");
            assert!(error.to_string().contains(dir.to_str().unwrap()), "{error}");
            assert!(!is_there(&fs, &dir.join("VLOG-MANIFEST")), "{kind}: a new one was begun");
        }
    }
}

/// The folder of the values is made after the tree, if it is within the store's own.
#[test]
fn a_store_that_was_killed_while_it_was_made_is_made_again_wherever_its_values_are() {
    for values in ["/store/values", VALUES] {
        let count = |fs: &FaultFs| {
            let db = options_on(fs, values).open(STORE)?;
            fill(&db, "large values");
            db.close()
        };
        let whole = FaultFs::over_memory(MemFs::new(1), FaultPlan::none());
        count(&whole).unwrap();
        for nth in 1..=whole.mutations() {
            let memory = MemFs::new(1);
            let fs = FaultFs::over_memory(memory.clone(), FaultPlan::none());
            fs.arm(Fault::on_mutations(Cause::Io).nth(nth).forever());
            // Dropped as it is, as if the process had been killed.
            let _ = options_on(&fs, values).open(STORE).map(|db| db.insert("key", vec![7; 10_000]));
            for image in [CrashMode::KeepAll, CrashMode::DropUnsynced].map(|mode| memory.crash_image(mode, 1)) {
                let db = options(&image, Some(values)).open(STORE);
                let db = db.unwrap_or_else(|error| panic!("{values}, change {nth}: {error}"));
                fill(&db, "large values");
            }
        }
    }
}
