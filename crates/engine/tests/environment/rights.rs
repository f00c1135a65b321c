//! Rights that are missing, or go while the store is open.

use std::path::Path;

use engine::{Db, Durability, ErrorKind, Health, Result};

use crate::child::{Place, in_child};
use crate::content::{assert_names, make_store, options};
use crate::files::{changes, files_below, restore, set_mode};

fn open(dir: &Path, read_only: bool) -> Result<Db> {
    if read_only { options().open_read_only(dir) } else { options().open(dir) }
}

#[test]
fn a_directory_that_may_not_be_looked_into_is_named() {
    in_child("rights::a_directory_that_may_not_be_looked_into_is_named", Place::WithoutRights, |dir| {
        let store = dir.join("store");
        let acknowledged = make_store(&store, true);
        let before = files_below(&store);
        // Without any right, without that to search, without that to list.
        for mode in [0o000, 0o600, 0o300] {
            for read_only in [false, true] {
                set_mode(&store, mode);
                let error = open(&store, read_only).unwrap_err();
                set_mode(&store, 0o700);
                println!("{mode:o}: {error}");
                assert_names(&error, ErrorKind::Io, &store);
                assert_eq!(changes(&before, &files_below(&store)), Vec::<&Path>::new());
            }
        }
        set_mode(dir, 0);
        let error = open(&store, false).unwrap_err();
        set_mode(dir, 0o700);
        assert_names(&error, ErrorKind::Io, &store);
        acknowledged.check(&open(&store, false).unwrap()).unwrap();
    });
}

#[test]
fn a_directory_that_may_not_be_written_is_opened_for_reading_only() {
    in_child("rights::a_directory_that_may_not_be_written_is_opened_for_reading_only", Place::WithoutRights, |dir| {
        for in_order in [true, false] {
            let store = dir.join(format!("store-{in_order}"));
            let acknowledged = make_store(&store, in_order);
            let before = files_below(&store);
            let set_modes = |of_dirs, of_files| {
                before.keys().for_each(|path| set_mode(&store.join(path), of_files));
                [store.join("vlog"), store.clone()].iter().for_each(|dir| set_mode(dir, of_dirs));
            };
            for of_files in [0o600, 0o400] {
                set_modes(0o500, of_files);
                let error = open(&store, false).unwrap_err();
                println!("closed: {in_order}, files {of_files:o}: {error}");
                assert_names(&error, ErrorKind::Io, &store);
                acknowledged.check(&open(&store, true).unwrap()).unwrap();
                set_mode(&store, 0o700);
                set_modes(0o700, 0o600);
                let changed = changes(&before, &files_below(&store));
                // What recovery has done before it came to what it may not do stands.
                assert!(changed.is_empty() || !in_order, "{changed:?}");
            }
            acknowledged.check(&open(&store, false).unwrap()).unwrap();
        }
        set_mode(dir, 0o500);
        let error = open(&dir.join("new/store"), false).unwrap_err();
        set_mode(dir, 0o700);
        assert_names(&error, ErrorKind::Io, &dir.join("new"));
    });
}

#[test]
fn a_file_that_may_not_be_opened_is_named_and_nothing_is_changed() {
    in_child("rights::a_file_that_may_not_be_opened_is_named_and_nothing_is_changed", Place::WithoutRights, |dir| {
        let store = dir.join("store");
        let mut refused = std::collections::BTreeSet::new();
        for (in_order, mode) in [(true, 0o000), (false, 0o000), (true, 0o400), (false, 0o400)] {
            let template = dir.join(format!("template-{in_order}-{mode:o}"));
            let acknowledged = make_store(&template, in_order);
            let before = files_below(&template);
            restore(&store, &before);
            for (name, read_only) in before.keys().flat_map(|name| [(name, false), (name, true)]) {
                let path = store.join(name);
                set_mode(&path, mode);
                // A file that is first needed by a read is named by that.
                let outcome = open(&store, read_only).and_then(|db| acknowledged.check(&db).map(|()| db));
                let is_fatal = outcome.is_err();
                if let Err(error) = &outcome {
                    println!("closed: {in_order}, mode {mode:o}, read-only: {read_only}: {error}");
                    assert_names(error, ErrorKind::Io, &path);
                    assert!(!read_only || mode == 0, "{error}");
                    let kind: String = name.to_str().unwrap().chars().filter(|char| !char.is_ascii_digit()).collect();
                    refused.insert(kind);
                }
                drop(outcome);
                if path.exists() {
                    set_mode(&path, 0o600);
                }
                let changed = changes(&before, &files_below(&store));
                // After a crash, recovery may have cut logs before it came to what it may not do.
                let may_change = !read_only && (!is_fatal || !in_order);
                assert!(changed.is_empty() || may_change, "without {}: {changed:?}", path.display());
                if !changed.is_empty() {
                    acknowledged.check(&open(&store, false).unwrap()).unwrap();
                    restore(&store, &before);
                }
            }
            acknowledged.check(&open(&store, false).unwrap()).unwrap();
        }
        println!("{refused:?}");
        for kind in ["CURRENT", "LOCK", "MANIFEST-", ".sst", ".wal", "vlog/.vlog", "vlog/VLOG-MANIFEST"] {
            assert!(refused.contains(kind), "{kind} was never refused: {refused:?}");
        }
    });
}

#[test]
fn rights_that_go_while_the_store_is_open_come_back() {
    in_child("rights::rights_that_go_while_the_store_is_open_come_back", Place::WithoutRights, |dir| {
        for (case, (without, mode, len)) in [
            (&[""][..], 0o500, 100),
            (&[""], 0o000, 100),
            (&["vlog"], 0o500, 3_000),
            (&["vlog"], 0o000, 3_000),
            (&["", "vlog"], 0o500, 3_000),
        ]
        .into_iter()
        .enumerate()
        {
            let store = dir.join(format!("store{case}"));
            let mut acknowledged = make_store(&store, true);
            let give_back = || without.iter().for_each(|dir| set_mode(&store.join(dir), 0o700));
            let mut db = options().open(&store).unwrap();
            acknowledged.write_many(&db, 50, len);
            // The second time the store is ended while the rights are away.
            for ends in [false, true] {
                without.iter().rev().for_each(|dir| set_mode(&store.join(dir), mode));
                let error = acknowledged.write_until_error(&db, len, Durability::Os);
                println!("{without:?} {mode:o} {len}: {error}");
                assert_names(&error, ErrorKind::Io, &store);
                let others = [db.flush().err(), acknowledged.write(&db, len, Durability::Sync).err()];
                // Where not even a look is allowed, a log that could not be made may be there all the same, and the names
                // of segments cannot be made durable.
                let is_final = matches!(db.health(), Health::ReadOnly(_));
                assert!(!is_final || mode == 0, "{:?}", db.health());
                for error in others.iter().flatten() {
                    let kind = if is_final { error.kind() } else { ErrorKind::Io };
                    assert!([ErrorKind::Io, ErrorKind::ReadOnly].contains(&kind), "{error:?}");
                    assert_names(error, kind, &store);
                }
                acknowledged.check(&db).unwrap();
                if ends || is_final {
                    drop(db);
                    give_back();
                    db = options().open(&store).unwrap();
                } else {
                    give_back();
                    acknowledged.write_again(&db, len);
                    acknowledged.write_many(&db, 50, len);
                    db.flush().unwrap();
                }
                acknowledged.check(&db).unwrap();
            }
            db.close().unwrap();
            let db = options().open(&store).unwrap();
            acknowledged.check(&db).unwrap();
            db.verify(engine::VerifyOptions::new()).unwrap();
        }
    });
}
