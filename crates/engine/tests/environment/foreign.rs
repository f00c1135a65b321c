//! Places that are no store's: directories of other programs, files, links that lead nowhere.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use engine::{Error, ErrorKind, Options};

use crate::child::Scratch;
use crate::content::{Acknowledged, assert_names, make_store, options};
use crate::files::{changes, files_below, restore};

/// Opens in every way, each of which must fail, and returns the errors. Nothing is changed by any.
fn refusals(options: &Options, dir: &Path, all: &Path) -> Vec<Error> {
    let before = files_below(all);
    let reads = options.clone().open_read_only(dir).unwrap_err();
    let finds = options.clone().create_if_missing(false).open(dir).unwrap_err();
    let makes = options.clone().open(dir).unwrap_err();
    println!("{makes}");
    let changed = changes(&before, &files_below(all));
    assert!(changed.is_empty(), "{}: {changed:?}", dir.display());
    vec![reads, finds, makes]
}

#[test]
fn stores_of_other_programs_are_refused_and_left_alone() {
    let scratch = Scratch::new("foreign::stores_of_other_programs_are_refused_and_left_alone");
    let of_program: [(&str, &[(&str, &str)]); 4] = [
        (
            "leveldb",
            &[
                ("CURRENT", "MANIFEST-000001\n"),
                ("MANIFEST-000001", "x"),
                ("000003.log", "x"),
                ("000005.ldb", "x"),
                ("LOCK", ""),
                ("LOG", "x"),
            ],
        ),
        (
            "rocksdb",
            &[
                ("CURRENT", "MANIFEST-000005\n"),
                ("MANIFEST-000005", "x"),
                ("000009.sst", "x"),
                ("IDENTITY", "x"),
                ("OPTIONS-000007", "x"),
                ("LOCK", ""),
                ("LOG", "x"),
            ],
        ),
        (
            "badger",
            &[("MANIFEST", "x"), ("KEYREGISTRY", "x"), ("000001.vlog", "x"), ("00001.mem", "x"), ("DISCARD", "x")],
        ),
        ("sqlite", &[("data.db", "x"), ("data.db-wal", "x")]),
    ];
    for (program, files) in of_program {
        let dir = scratch.0.join(program);
        fs::create_dir(&dir).unwrap();
        files.iter().for_each(|(name, text)| fs::write(dir.join(name), text).unwrap());
        let errors = refusals(&options(), &dir, &dir);
        assert_names(&errors[2], ErrorKind::Incompatible, &dir);
        for error in &errors {
            assert!([ErrorKind::Incompatible, ErrorKind::InvalidArgument].contains(&error.kind()), "{error:?}");
            assert_names(error, error.kind(), &dir);
        }
    }
}

#[test]
fn what_is_no_directory_is_refused_and_named() {
    let scratch = Scratch::new("foreign::what_is_no_directory_is_refused_and_named");
    let all = &scratch.0;
    fs::write(all.join("file"), "x").unwrap();
    symlink("nowhere", all.join("dangling")).unwrap();
    symlink("round", all.join("round")).unwrap();
    for (dir, named) in [
        ("file", "file"),
        ("file/store", "file"),
        ("dangling", "dangling"),
        ("dangling/store", "dangling"),
        ("round", "round"),
    ] {
        for error in refusals(&options(), &all.join(dir), all) {
            assert_names(&error, error.kind(), &all.join(named));
            let typed = [ErrorKind::Incompatible, ErrorKind::InvalidArgument, ErrorKind::Io];
            assert!(typed.contains(&error.kind()), "{error:?}");
        }
    }
    assert!(!all.join("nowhere").exists());
    let error = options().open("").unwrap_err();
    assert!([ErrorKind::InvalidArgument, ErrorKind::Incompatible].contains(&error.kind()), "{error:?}");
    let error = options().open(all.join("n".repeat(300))).unwrap_err();
    assert_names(&error, ErrorKind::Io, all);
    // A link to a directory is as good as that.
    fs::create_dir(all.join("real")).unwrap();
    symlink("real", all.join("link")).unwrap();
    let mut acknowledged = Acknowledged::new();
    let db = options().open(all.join("link")).unwrap();
    acknowledged.write_many(&db, 10, 3_000);
    db.close().unwrap();
    acknowledged.check(&options().open(all.join("real")).unwrap()).unwrap();
}

#[test]
fn a_folder_of_values_that_is_none_is_refused_and_named() {
    let scratch = Scratch::new("foreign::a_folder_of_values_that_is_none_is_refused_and_named");
    let all = &scratch.0;
    fs::write(all.join("file"), "x").unwrap();
    symlink("nowhere", all.join("dangling")).unwrap();
    for name in ["file", "dangling", "file/values"] {
        let values = all.join(name);
        let named = if name.starts_with("file") { all.join("file") } else { values.clone() };
        let error = options().value_dir(&values).open(all.join("store")).unwrap_err();
        println!("{error}");
        assert!([ErrorKind::Incompatible, ErrorKind::Io].contains(&error.kind()), "{error:?}");
        assert_names(&error, error.kind(), &named);
        assert_eq!(fs::read(all.join("file")).unwrap(), b"x");
    }
    // Segments of a program that calls them the same, and of another store.
    let badger = all.join("badger");
    fs::create_dir(&badger).unwrap();
    fs::write(badger.join("000001.vlog"), "of another program").unwrap();
    make_store(&all.join("other"), true);
    for values in [badger, all.join("other/vlog")] {
        let mut before = files_below(&values);
        let error = options().value_dir(&values).open(all.join("store")).unwrap_err();
        println!("{error}");
        assert!([ErrorKind::Incompatible, ErrorKind::Corruption].contains(&error.kind()), "{error:?}");
        assert_names(&error, error.kind(), &values);
        before.insert("LOCK".into(), Vec::new());
        assert_eq!(changes(&before, &files_below(&values)), Vec::<&Path>::new());
    }
    // Files of other names are nobody's business.
    let shared = all.join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("notes.txt"), "mine").unwrap();
    let mut acknowledged = Acknowledged::new();
    let db = options().value_dir(&shared).open(all.join("store")).unwrap();
    acknowledged.write_many(&db, 40, 3_000);
    db.close().unwrap();
    acknowledged.check(&options().value_dir(&shared).open(all.join("store")).unwrap()).unwrap();
    assert_eq!(fs::read(shared.join("notes.txt")).unwrap(), b"mine");
}

#[test]
fn a_store_one_of_whose_files_is_a_directory_or_the_reverse_is_refused() {
    let scratch = Scratch::new("foreign::a_store_one_of_whose_files_is_a_directory_or_the_reverse_is_refused");
    let (template, store) = (scratch.0.join("template"), scratch.0.join("store"));
    let acknowledged = make_store(&template, true);
    let files = files_below(&template);
    for name in files.keys() {
        restore(&store, &files);
        let path = store.join(name);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        match options().open(&store).and_then(|db| acknowledged.check(&db)) {
            Ok(()) => println!("{} is a directory: never missed", name.display()),
            Err(error) => {
                println!("{error}");
                assert!([ErrorKind::Io, ErrorKind::Corruption].contains(&error.kind()), "{error:?}");
                assert_names(&error, error.kind(), &path);
            }
        }
    }
    restore(&store, &files);
    fs::remove_dir_all(store.join("vlog")).unwrap();
    fs::write(store.join("vlog"), "x").unwrap();
    let error = options().open(&store).unwrap_err();
    assert_names(&error, error.kind(), &store.join("vlog"));
    assert!([ErrorKind::Io, ErrorKind::Corruption, ErrorKind::Incompatible].contains(&error.kind()), "{error:?}");
}
