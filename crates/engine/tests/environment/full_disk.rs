//! A disk that fills up: a small file system in memory, mounted for one process.

use std::fs;
use std::path::Path;

use engine::{CompactOptions, Db, Durability, ErrorKind, Health, Result, VerifyOptions};

use crate::child::{Place, in_child};
use crate::content::{Acknowledged, assert_names, options};

/// What is removed to make space, twice.
const BALLAST_BYTES: usize = 2 << 20;

#[test]
fn a_disk_that_is_full_refuses_and_loses_nothing() {
    in_child("full_disk::a_disk_that_is_full_refuses_and_loses_nothing", Place::Disk("size=12m"), |dir| {
        for (len, durability) in
            [(1_000, Durability::Os), (20_000, Durability::Os), (1_000, Durability::Sync), (20_000, Durability::Sync)]
        {
            let ballast = [dir.join("ballast1"), dir.join("ballast2")];
            ballast.iter().for_each(|path| fs::write(path, vec![1; BALLAST_BYTES]).unwrap());
            fill_and_go_on(dir, len, durability, || fs::remove_file(&ballast[0]), || fs::remove_file(&ballast[1]));
        }
    });
}

#[test]
fn a_quota_that_is_used_up_is_a_full_disk() {
    let options = "usrquota,usrquota_block_hardlimit=10m";
    in_child("full_disk::a_quota_that_is_used_up_is_a_full_disk", Place::DiskOfNobody(options), |dir| {
        let ballast = [dir.join("ballast1"), dir.join("ballast2")];
        ballast.iter().for_each(|path| fs::write(path, vec![1; BALLAST_BYTES]).unwrap());
        let durability = Durability::Os;
        fill_and_go_on(dir, 20_000, durability, || fs::remove_file(&ballast[0]), || fs::remove_file(&ballast[1]));
    });
}

#[test]
fn a_file_system_without_names_left_is_a_full_disk() {
    in_child("full_disk::a_file_system_without_names_left_is_a_full_disk", Place::Disk("nr_inodes=100"), |dir| {
        for len in [1_000, 20_000] {
            let ballast = [dir.join("ballast1"), dir.join("ballast2")];
            for (path, count) in ballast.iter().zip([10, 45]) {
                fs::create_dir(path).unwrap();
                (0..count).for_each(|name| fs::write(path.join(name.to_string()), "").unwrap());
            }
            let [first, second] = &ballast;
            let durability = Durability::Os;
            fill_and_go_on(dir, len, durability, || fs::remove_dir_all(first), || fs::remove_dir_all(second));
        }
    });
}

/// Is it full, or did the call succeed.
#[track_caller]
fn may_be_full<T>(result: Result<T>, dir: &Path) -> Option<T> {
    result.inspect_err(|error| assert_names(error, ErrorKind::NoSpace, dir)).ok()
}

fn fill_and_go_on(
    dir: &Path,
    len: usize,
    durability: Durability,
    make_space: impl FnOnce() -> std::io::Result<()>,
    make_more_space: impl FnOnce() -> std::io::Result<()>,
) {
    let store = dir.join("store");
    let mut acknowledged = Acknowledged::new();
    let db = options().open(&store).unwrap();
    fill(&db, &mut acknowledged, &store, len, durability);
    may_be_full(options().open(dir.join("another")), dir);
    let _ = fs::remove_dir_all(dir.join("another"));

    make_space().unwrap();
    acknowledged.write_again(&db, len);
    may_be_full(db.flush(), &store);
    fill(&db, &mut acknowledged, &store, len, durability);
    drop(db);

    // The process has ended on a full disk.
    let db = options().open_read_only(&store).unwrap();
    acknowledged.check(&db).unwrap();
    drop(db);
    for _ in 0..2 {
        if let Some(db) = may_be_full(options().open(&store), &store) {
            fill(&db, &mut acknowledged, &store, len, durability);
            may_be_full(db.close(), &store);
        }
        acknowledged.check(&options().open_read_only(&store).unwrap()).unwrap();
    }

    make_more_space().unwrap();
    let db = options().open(&store).unwrap();
    acknowledged.check(&db).unwrap();
    acknowledged.write_again(&db, len);
    db.verify(VerifyOptions::new()).unwrap();
    acknowledged.check(&db).unwrap();
    drop(db);
    fs::remove_dir_all(&store).unwrap();
}

/// Commits until the disk is full, and then some: nothing is lost, whatever else is tried.
fn fill(db: &Db, acknowledged: &mut Acknowledged, store: &Path, len: usize, durability: Durability) {
    let error = acknowledged.write_until_error(db, len, durability);
    println!("after {} commits of {len} bytes, {durability:?}: {error}", acknowledged.len());
    assert_names(&error, ErrorKind::NoSpace, store);
    assert!(error.is_retryable());
    acknowledged.check(db).unwrap();
    for attempt in 0..6 {
        // A smaller one may still fit.
        may_be_full(acknowledged.write(db, len >> attempt, durability), store);
        may_be_full(db.flush(), store);
        may_be_full(db.compact(.., CompactOptions::new()), store);
    }
    may_be_full(db.sync(), store);
    acknowledged.check(db).unwrap();
    assert!(!matches!(db.health(), Health::ReadOnly(_)), "{:?}", db.health());
}
