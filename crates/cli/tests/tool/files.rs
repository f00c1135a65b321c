//! Folders in and out again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::Command;

use crate::folder::{Folder, difference, skipped};
use crate::tree::{Random, make, paths_below};

#[test]
fn a_tree_comes_back_the_same_whatever_the_compression() {
    let folder = Folder::new("a_tree_comes_back");
    make(&folder.path("tree"), &mut Random::new(20_240_607));
    for codec in ["none", "snappy", "zstd", "adaptive"] {
        let (store, copy) = (format!("store-{codec}"), format!("copy-{codec}"));
        let run = folder.ratel(["import", &store, "--dir", "tree", "--compression", codec]).ends_with(0);
        assert!(run.text().starts_with("imported ") && run.text().contains(" 7 links, "), "{}", run.text());
        folder.ratel(["export", &store, "--dir", &copy]).ends_with(0);
        assert_eq!(difference(&folder.path("tree"), &folder.path(&copy)), "", "{codec}");
        let mode = fs::metadata(folder.path(&copy).join("program")).unwrap().permissions().mode();
        assert_eq!(mode & 0o100, 0o100, "a program stays one");
        folder.ratel(["verify", &store]).ends_with(0);
    }
}

#[test]
fn the_comparison_of_trees_sees_every_kind_of_difference() {
    let folder = Folder::new("the_comparison");
    let (one, other) = (folder.path("one"), folder.path("other"));
    for (tree, link) in [(&one, "x"), (&other, "y")] {
        fs::create_dir_all(tree.join("empty")).unwrap();
        std::os::unix::fs::symlink(link, tree.join("link")).unwrap();
    }
    assert!(difference(&one, &other).contains("Symbolic links"), "{}", difference(&one, &other));
    fs::remove_file(other.join("link")).unwrap();
    fs::remove_file(one.join("link")).unwrap();
    assert_eq!(difference(&one, &other), "");
    fs::remove_dir(other.join("empty")).unwrap();
    assert!(difference(&one, &other).contains("Only in"), "an empty folder that is missing shows");
}

#[test]
fn an_export_over_an_older_one_replaces_files_and_never_writes_through_them() {
    let folder = Folder::new("an_export_over");
    let tree = folder.path("tree");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("a"), "new").unwrap();
    folder.ratel(["import", "store", "--dir", "tree"]).ends_with(0);
    let out = folder.path("out");
    fs::create_dir_all(&out).unwrap();
    fs::write(folder.path("outside"), "mine").unwrap();
    fs::hard_link(folder.path("outside"), out.join("a")).unwrap();
    folder.ratel(["export", "store", "--dir", "out"]).ends_with(0);
    assert_eq!(fs::read(out.join("a")).unwrap(), b"new");
    assert_eq!(fs::read(folder.path("outside")).unwrap(), b"mine");
    fs::remove_file(out.join("a")).unwrap();
    std::os::unix::fs::symlink("../outside", out.join("a")).unwrap();
    folder.ratel(["export", "store", "--dir", "out"]).ends_with(0);
    assert_eq!(difference(&tree, &out), "");
    assert_eq!(fs::read(folder.path("outside")).unwrap(), b"mine");
}

#[test]
fn a_second_import_adds_and_replaces() {
    let folder = Folder::new("a_second_import");
    let tree = folder.path("tree");
    fs::create_dir_all(tree.join("empty")).unwrap();
    fs::write(tree.join("stays"), "1").unwrap();
    fs::write(tree.join("changes"), "1").unwrap();
    folder.ratel(["import", "store", "--dir", "tree"]).ends_with(0);
    fs::write(tree.join("changes"), "2").unwrap();
    fs::write(tree.join("comes"), "1").unwrap();
    folder.ratel(["import", "store", "--dir", "tree"]).ends_with(0);
    folder.ratel(["export", "store", "--dir", "copy"]).ends_with(0);
    assert_eq!(difference(&tree, &folder.path("copy")), "");
}

#[test]
fn what_is_no_file_is_named_at_the_end_and_the_rest_is_stored() {
    let folder = Folder::new("what_is_no_file");
    let tree = folder.path("tree");
    fs::create_dir_all(tree.join("closed")).unwrap();
    fs::write(tree.join("z"), "stored").unwrap();
    let _listener = UnixListener::bind(tree.join("socket\n")).unwrap();
    assert!(Command::new("mkfifo").arg(tree.join("pipe")).status().unwrap().success());
    fs::write(tree.join("secret"), "x").unwrap();
    fs::set_permissions(tree.join("secret"), fs::Permissions::from_mode(0o0)).unwrap();
    fs::set_permissions(tree.join("closed"), fs::Permissions::from_mode(0o0)).unwrap();
    let rights_bind = fs::read(tree.join("secret")).is_err();
    let run = folder.ratel(["import", "store", "--dir", "tree"]).ends_with(4);
    fs::set_permissions(tree.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let run = run.says("socket\\n: a socket").says("pipe: a named pipe");
    if rights_bind {
        run.says("4 files left out").says("secret: Permission denied").says("closed: Permission denied");
    } else {
        skipped("files that cannot be read, since this user may read everything");
        run.says("2 files left out");
    }
    assert_eq!(folder.ratel(["get", "store", "z"]).ends_with(0).stdout, b"stored");
}

#[test]
fn the_store_and_the_folder_must_lie_apart() {
    let folder = Folder::new("lie_apart");
    fs::create_dir_all(folder.path("tree")).unwrap();
    std::os::unix::fs::symlink("tree", folder.path("alias")).unwrap();
    for (store, dir) in [
        ("tree/store", "tree"),
        ("tree", "tree"),
        ("alias/store", "tree"),
        ("store", "."),
        ("none/../tree/store", "tree"),
        ("none/../alias/../tree/store", "tree"),
    ] {
        folder.ratel(["import", store, "--dir", dir]).ends_with(2).says("lie in one another");
    }
    assert!(paths_below(&folder.path("tree")).is_empty(), "nothing was written");
    folder.ratel(["put", "store", "a", "b"]).ends_with(0);
    std::os::unix::fs::symlink("store/vlog", folder.path("into")).unwrap();
    let before = paths_below(&folder.path("store"));
    for out in ["store/out", ".", "none/../store", "none/a/../../store/out", "into/../out", "into/none/../out"] {
        folder.ratel(["export", "store", "--dir", out]).ends_with(2).says("lie in one another");
    }
    assert_eq!(paths_below(&folder.path("store")), before);
    assert!(!folder.path("none").exists() && !folder.path("store/out").exists(), "nothing was made");
    folder.ratel(["export", "store", "--dir", "none/../out"]).ends_with(0);
}

#[test]
fn a_folder_that_is_not_there_leaves_no_store_behind() {
    let folder = Folder::new("leaves_no_store");
    folder.ratel(["import", "store", "--dir", "nowhere"]).ends_with(1).says("nowhere: No such file");
    folder.ratel(["import", "store", "--tsv", "nowhere"]).ends_with(1).says("nowhere: No such file");
    assert!(!folder.path("store").exists());
}
