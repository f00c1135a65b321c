//! A process that may open no more files.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use engine::{CompactOptions, Db, Durability, Error, ErrorKind, Health, IoMode, Options};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::child::{Place, in_child};
use crate::content::{Acknowledged, assert_names, options};
use crate::files::{files_below, restore};

/// Runs `work` while this process can open only `free` files more.
fn with_free<T>(free: u64, work: impl FnOnce() -> T) -> T {
    // The limit is on numbers. A new file has the lowest that is free: once it is the highest, none below is.
    let mut fillers = Vec::new();
    let highest = loop {
        let filler = File::open("/dev/null").unwrap();
        let (number, used) = (filler.as_raw_fd(), highest_used());
        fillers.push(filler);
        if number >= used {
            break u64::try_from(number).unwrap();
        }
    };
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(highest + 1 + free), ..before }).unwrap();
    let done = work();
    setrlimit(Resource::Nofile, before).unwrap();
    done
}

/// That of the listing itself does not count: it is the last of all.
fn highest_used() -> RawFd {
    let names = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().file_name());
    let mut numbers: Vec<RawFd> = names.map(|name| name.to_str().unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers.pop();
    numbers.pop().unwrap_or_default()
}

/// Whatever failed, failed for want of files, and says so. Final may be the sync of names of segments that commits rely on
/// already.
#[track_caller]
fn assert_too_many(error: &Error, store: &Path) {
    let is_final = error.kind() == ErrorKind::ReadOnly && error.to_string().contains("cannot sync directory");
    let kind = if is_final { ErrorKind::ReadOnly } else { ErrorKind::Io };
    assert_names(error, kind, store);
    assert!(error.to_string().contains("Too many open files"), "{error}");
}

fn many_tables(io_mode: IoMode) -> Options {
    options().l0_compaction_trigger(100).l0_slowdown_trigger(200).l0_stop_trigger(300).io_mode(io_mode)
}

#[test]
fn a_store_with_many_tables_opens_with_enough_files_or_says_which_it_could_not() {
    let test = "open_files::a_store_with_many_tables_opens_with_enough_files_or_says_which_it_could_not";
    in_child(test, Place::Here, |dir| {
        for io_mode in [IoMode::Mapped, IoMode::Pread] {
            let store = dir.join(format!("{io_mode:?}"));
            let mut acknowledged = Acknowledged::over(50);
            let db = many_tables(io_mode).open(&store).unwrap();
            for len in [100, 3_000].repeat(5) {
                acknowledged.write_many(&db, 10, len);
                db.flush().unwrap();
            }
            acknowledged.write_many(&db, 10, 100);
            drop(db);
            let before = files_below(&store);
            let mut refusals = 0;
            let enough = (0..100).find(|free| {
                restore(&store, &before);
                let mut acknowledged = acknowledged.clone();
                let done = with_free(*free, || {
                    let db = many_tables(io_mode).open(&store)?;
                    acknowledged.check(&db)?;
                    acknowledged.write(&db, 100, Durability::Os)?;
                    db.close()
                });
                acknowledged.check(&many_tables(io_mode).open_read_only(&store).unwrap()).unwrap();
                refusals += usize::from(done.is_err());
                done.inspect_err(|error| assert_too_many(error, &store)).is_ok()
            });
            println!("{io_mode:?}: {refusals} refusals, enough with {enough:?}");
            assert!(enough.is_some() && refusals > 0);
        }
    });
}

#[test]
fn a_store_that_can_open_no_more_files_goes_on_when_it_can() {
    let test = "open_files::a_store_that_can_open_no_more_files_goes_on_when_it_can";
    in_child(test, Place::Here, |dir| {
        let (mut refused, mut read_only) = (0, 0);
        for (io_mode, len) in [(IoMode::Mapped, 100), (IoMode::Pread, 3_000)] {
            let store = dir.join(format!("{io_mode:?}{len}"));
            let open = || options().io_mode(io_mode).open(&store).unwrap();
            let mut acknowledged = Acknowledged::over(300);
            let mut db = open();
            for (free, durability) in (0..6).flat_map(|free| [(free, Durability::Os), (free, Durability::Sync)]) {
                acknowledged.write_many(&db, 30, len);
                let errors = with_free(free, || {
                    let errors = starve(&db, &mut acknowledged, len, durability);
                    acknowledged.check(&db).unwrap();
                    errors
                });
                errors.iter().for_each(|error| assert_too_many(error, &store));
                refused += errors.len();
                if let Health::ReadOnly(cause) = db.health() {
                    println!("{io_mode:?}, {len} bytes, {durability:?}, {free} files: final: {cause}");
                    let of_values = format!("cannot sync directory {}", store.join("vlog").display());
                    assert!(cause.to_string().contains(&of_values), "{cause}");
                    read_only += 1;
                    drop(db);
                    db = open();
                }
                acknowledged.write_again(&db, len);
                if free % 2 == 0 {
                    drop(db);
                    db = open();
                }
                acknowledged.check(&db).unwrap();
            }
            db.close().unwrap();
            acknowledged.check(&open()).unwrap();
        }
        println!("{refused} calls refused, {read_only} times read-only");
        assert!(refused > 0);
    });
}

/// Everything that may need another file; which of it failed.
fn starve(db: &Db, acknowledged: &mut Acknowledged, len: usize, durability: Durability) -> Vec<Error> {
    let mut errors = Vec::new();
    for _ in 0..300 {
        errors.extend(acknowledged.write(db, len, Durability::Os).err());
    }
    errors.extend(acknowledged.write(db, len, durability).err());
    errors.extend(db.flush().err());
    errors.extend(db.compact(.., CompactOptions::new()).err());
    errors
}
