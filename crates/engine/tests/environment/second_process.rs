//! Two processes and one store.

use std::env;
use std::path::Path;

use engine::{Durability, ErrorKind};

use crate::child::{Scratch, again, dir, run};
use crate::content::{Acknowledged, assert_names, options};

const TEST: &str = "second_process::a_store_has_one_writer_or_any_number_of_readers";
const ACCESS: &str = "RATEL_ENVIRONMENT_ACCESS";

#[test]
fn a_store_has_one_writer_or_any_number_of_readers() {
    if let Some(store) = dir() {
        return try_to_open(&store);
    }
    let scratch = Scratch::new(TEST);
    let (store, values) = (scratch.0.join("store"), scratch.0.join("values"));
    let lock = store.join("LOCK");
    let mut acknowledged = Acknowledged::new();
    let db = options().value_dir(&values).open(&store).unwrap();
    acknowledged.write_many(&db, 20, 3_000);
    for access in ["write", "read"] {
        let said = in_second_process(&store, access);
        assert!(said.contains("Locked") && said.contains(lock.to_str().unwrap()), "{access}: {said}");
    }
    // A store of its own, but with the other's values.
    let error = options().value_dir(&values).open(scratch.0.join("thief")).unwrap_err();
    assert_names(&error, ErrorKind::Locked, &values.join("LOCK"));
    acknowledged.write_many(&db, 20, 3_000);
    acknowledged.write(&db, 10, Durability::Sync).unwrap();
    db.close().unwrap();

    assert!(in_second_process(&store, "write").contains("opened"));
    let db = options().value_dir(&values).open_read_only(&store).unwrap();
    assert!(in_second_process(&store, "read").contains("opened"));
    let said = in_second_process(&store, "write");
    assert!(said.contains("Locked") && said.contains(lock.to_str().unwrap()), "{said}");
    acknowledged.check(&db).unwrap();
}

fn in_second_process(store: &Path, access: &str) -> String {
    let mut command = again(TEST, store);
    command.env(ACCESS, access);
    run(command)
}

/// What the second process does.
fn try_to_open(store: &Path) {
    let options = options().value_dir(store.with_file_name("values"));
    let is_reader = env::var_os(ACCESS).unwrap() == "read";
    let opened = if is_reader { options.open_read_only(store) } else { options.open(store) };
    match opened {
        Ok(db) => {
            assert!(db.get("left000000").unwrap().is_some());
            println!("opened");
        }
        Err(error) => println!("{:?}: {error}", error.kind()),
    }
    crate::child::end();
}
