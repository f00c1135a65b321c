//! Stores whose large values are in a folder of their own: `--value-dir` on each command.

use std::fs;

use crate::folder::{Folder, difference};
use crate::tree::paths_below;

#[test]
fn a_store_with_a_folder_for_its_values_is_used_with_it_alone() {
    let folder = Folder::new("value_dir");
    let large = "v".repeat(50_000);
    fs::create_dir(folder.path("in")).unwrap();
    fs::write(folder.path("in/large"), &large).unwrap();
    fs::write(folder.path("in/small"), "v").unwrap();
    let with_values = |arguments: &[&str]| folder.ratel([arguments, &["--value-dir", "disk/values"]].concat());
    with_values(&["import", "store", "--dir", "in"]).ends_with(0);
    with_values(&["put", "store", "other", &large]).ends_with(0);
    assert!(!folder.path("store/vlog").exists());
    assert!(fs::metadata(folder.path("disk/values/000001.vlog")).unwrap().len() > 50_000);
    assert_eq!(with_values(&["get", "store", "large"]).ends_with(0).text(), large);
    with_values(&["del", "store", "other"]).ends_with(0);
    assert!(with_values(&["gc", "store"]).ends_with(0).text().starts_with("collected 1 segment"));
    for command in [&["scan", "store"][..], &["info", "store"], &["verify", "store"], &["gc", "store", "--dry-run"]] {
        with_values(command).ends_with(0);
    }
    for command in ["check", "rebuild"] {
        with_values(&["vlog", command, "store"]).ends_with(0);
    }
    with_values(&["export", "store", "--dir", "out"]).ends_with(0);
    assert_eq!(difference(&folder.path("in"), &folder.path("out")), "");
    with_values(&["export", "store", "--dir", "disk"]).ends_with(2).says("lie in one another");
    with_values(&["import", "store", "--dir", "disk"]).ends_with(2).says("lie in one another");
    with_values(&["bench", "fillseq"]).ends_with(2).says("--value-dir");
    with_values(&["bitcask", "list", "store"]).ends_with(2).says("--value-dir");
}

#[test]
fn a_folder_that_is_not_that_of_the_store_s_values_ends_with_7_and_stays_as_it_is() {
    let folder = Folder::new("value_dir_wrong");
    for (store, values) in [("store", "values"), ("other", "others")] {
        folder.ratel(["--value-dir", values, "put", store, "key", "small"]).ends_with(0);
    }
    fs::create_dir(folder.path("empty")).unwrap();
    let before = ["store", "other", "others"].map(|name| paths_below(&folder.path(name)));
    for values in ["none", "empty", "others"] {
        for command in [&["get", "store", "key"][..], &["put", "store", "key", "new"], &["vlog", "rebuild", "store"]] {
            let run = folder.ratel([&["--value-dir", values], command].concat()).ends_with(7);
            run.says(&format!("{values}: not the folder of this store's values (expected those of store"));
        }
    }
    folder.ratel(["get", "store", "key"]).ends_with(5).says("store/vlog/VLOG-MANIFEST").says("a folder of its own");
    assert_eq!(["store", "other", "others"].map(|name| paths_below(&folder.path(name))), before);
    assert!(!folder.path("none").exists());
    assert!(paths_below(&folder.path("empty")).iter().all(|path| path.as_os_str() == "LOCK"));
    assert_eq!(folder.ratel(["--value-dir", "values", "get", "store", "key"]).ends_with(0).text(), "small");
}
