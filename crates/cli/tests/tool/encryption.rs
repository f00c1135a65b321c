//! Encrypted stores: `--key-file` on each command, and `rotate`.

use std::fs;

use crate::folder::Folder;
use crate::tree::paths_below;

#[test]
fn a_store_made_with_a_key_file_is_read_with_it_alone_and_shows_nothing() {
    let folder = Folder::new("key_file");
    fs::write(folder.path("key"), [7; 32]).unwrap();
    fs::write(folder.path("other"), "00".repeat(32) + "\n").unwrap();
    fs::create_dir(folder.path("in")).unwrap();
    fs::write(folder.path("in/a secret name"), "a secret value ".repeat(1_000)).unwrap();
    let with_key = |arguments: &[&str]| folder.ratel([&["--key-file", "key"], arguments].concat());
    with_key(&["import", "store", "--dir", "in"]).ends_with(0);
    with_key(&["put", "store", "another secret", "small"]).ends_with(0);
    assert_eq!(with_key(&["get", "store", "another secret"]).stdout, b"small");
    for command in [&["scan", "store"][..], &["info", "store"], &["verify", "store"]] {
        with_key(command).ends_with(0);
        folder.ratel(command).ends_with(9);
        folder.ratel([&["--key-file", "other"], command].concat()).ends_with(9);
    }
    with_key(&["export", "store", "--dir", "out"]).ends_with(0);
    assert_eq!(fs::read(folder.path("out/a secret name")).unwrap(), fs::read(folder.path("in/a secret name")).unwrap());
    for path in paths_below(&folder.path("store")) {
        let path = folder.path("store").join(path);
        if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            assert!(bytes.windows(6).all(|window| window != b"secret"), "{}", path.display());
        }
    }
}

#[test]
fn rotate_changes_the_master_key_and_the_data_key() {
    let folder = Folder::new("rotate");
    fs::write(folder.path("old"), [1; 32]).unwrap();
    fs::write(folder.path("new"), [2; 32]).unwrap();
    folder.ratel(["--key-file", "old", "put", "store", "key", "value"]).ends_with(0);
    let registry = || fs::read(folder.path("store/KEYREGISTRY")).unwrap().len();
    let one_key = registry();
    folder.ratel(["rotate", "store", "--key-file", "old", "--data-key", "--new-key-file", "new"]).ends_with(0);
    assert!(registry() > one_key);
    folder.ratel(["--key-file", "old", "get", "store", "key"]).ends_with(9);
    assert_eq!(folder.ratel(["--key-file", "new", "get", "store", "key"]).stdout, b"value");
    folder.ratel(["rotate", "store", "--new-key-file", "new"]).ends_with(2);
    folder.ratel(["rotate", "store", "--key-file", "new"]).ends_with(2);
    fs::write(folder.path("no key"), "short").unwrap();
    folder.ratel(["rotate", "store", "--key-file", "new", "--new-key-file", "no key"]).ends_with(9);
    folder.ratel(["--key-file", "missing", "get", "store", "key"]).ends_with(1);
    folder.ratel(["--key-file", "new", "bench"]).ends_with(2);
    assert_eq!(folder.ratel(["--key-file", "new", "get", "store", "key"]).stdout, b"value");
}

/// Opened with a key, it would be encrypted from then on.
#[test]
fn rotate_refuses_a_store_that_is_not_encrypted_and_leaves_it_so() {
    let folder = Folder::new("rotate_plain");
    fs::write(folder.path("key"), [1; 32]).unwrap();
    folder.ratel(["put", "store", "key", "value"]).ends_with(0);
    let contents = || {
        let read = |path: std::path::PathBuf| (path.clone(), fs::read(folder.path("store").join(path)).unwrap());
        paths_below(&folder.path("store")).into_iter().map(read).collect::<Vec<_>>()
    };
    let before = contents();
    for what in [&["--data-key"][..], &["--new-key-file", "key"], &["--data-key", "--new-key-file", "key"]] {
        let run = folder.ratel([&["--key-file", "key", "rotate", "store"], what].concat()).ends_with(7);
        run.says("store: not an encrypted store: it has no KEYREGISTRY");
        folder.ratel([&["rotate", "store"], what].concat()).ends_with(2).says("--key-file");
    }
    folder.ratel(["--key-file", "key", "rotate", "nowhere", "--data-key"]).ends_with(7);
    assert!(contents() == before && !folder.path("nowhere").exists());
    assert_eq!(folder.ratel(["get", "store", "key"]).ends_with(0).stdout, b"value");
}
