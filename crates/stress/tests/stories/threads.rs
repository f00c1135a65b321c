//! Power losses while several threads commit and others flush and compact.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use base::rng::Rng;
use base::sync::Mutex;
use engine::{Db, Durability, Keyspace, Read, WriteBatch, WriteOptions};
use stress::content::{bytes, mix};
use vfs::CrashMode;

use crate::common::{Disk, keyspace};

const WRITERS: u64 = 3;
const IMAGES: u64 = 60;

/// Commits by writer and number, with their versions.
type Commits = BTreeMap<(u64, u64), u64>;

#[derive(Default)]
struct Acknowledged {
    all: Mutex<Commits>,
    synced: Mutex<Commits>,
    count: AtomicU64,
    done: AtomicBool,
}

fn value(writer: u64, number: u64) -> Vec<u8> {
    let seed = mix(&[writer, number]);
    bytes(seed, if seed.is_multiple_of(4) { 600 + (seed % 3_000) as usize } else { (seed % 300) as usize })
}

fn write(db: &Db, keyspaces: &[Keyspace; 2], writer: u64, acknowledged: &Acknowledged) {
    for number in 0.. {
        if acknowledged.done.load(Ordering::Acquire) {
            return;
        }
        let mut batch = WriteBatch::new();
        for keyspace in keyspaces {
            batch.keyspace(keyspace).insert(format!("{writer}/{number}"), value(writer, number)).unwrap();
        }
        let is_synced = mix(&[number, writer, 5]).is_multiple_of(20);
        let durability = if is_synced { Durability::Sync } else { Durability::Os };
        let version = db.write_with(batch, WriteOptions::new().durability(durability)).unwrap().version;
        acknowledged.all.lock().insert((writer, number), version);
        if is_synced {
            acknowledged.synced.lock().insert((writer, number), version);
        }
        acknowledged.count.fetch_add(1, Ordering::Release);
    }
}

/// What a keyspace shows: the version of each commit, once its value is found to be right.
fn shown(keyspace: &Keyspace) -> Commits {
    let mut shown = Commits::new();
    for item in keyspace.iter() {
        let item = item.unwrap();
        let key = std::str::from_utf8(item.key()).unwrap();
        let (writer, number) = key.split_once('/').unwrap();
        let (writer, number) = (writer.parse().unwrap(), number.parse().unwrap());
        assert!(*item.value().unwrap() == *value(writer, number), "{key} has wrong bytes");
        shown.insert((writer, number), item.version());
    }
    shown
}

fn check(db: &Db, must: &Commits, all_acknowledged_later: &Acknowledged, what: &str) {
    let [first, second] = ["default", "pair"].map(|name| shown(&keyspace(db, name)));
    assert!(first == second, "{what}: half of a batch, {} and {} commits", first.len(), second.len());
    for (commit, version) in must {
        assert_eq!(first.get(commit), Some(version), "{what}: a durable commit is lost");
    }
    for (commit, version) in all_acknowledged_later.all.lock().iter() {
        assert!(first.get(commit).is_none_or(|found| found == version), "{what}: another version than acknowledged");
    }
    let mut versions: Vec<u64> = first.into_values().collect();
    versions.sort_unstable();
    let holes = versions.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    assert_eq!(holes, 0, "{what}: the commits are no prefix: {holes} holes in {}", versions.len());
}

/// Versions of one run follow each other without gaps, so that a hole in them is a lost commit before a kept one.
#[test]
fn a_power_loss_among_many_threads_leaves_a_prefix_with_every_synced_commit() {
    let seed = base::proof::seed(50);
    let disk = Disk::new(seed);
    let db = disk.open_with_threads();
    let keyspaces = ["default", "pair"].map(|name| keyspace(&db, name));
    let acknowledged = Acknowledged::default();
    let mut rng = Rng::new(seed);
    let mut images = Vec::new();
    thread::scope(|scope| {
        let spawn = |writer| {
            let (db, keyspaces, acknowledged) = (&db, &keyspaces, &acknowledged);
            scope.spawn(move || write(db, keyspaces, writer, acknowledged))
        };
        let writers: Vec<_> = (0..WRITERS).map(spawn).collect();
        // A writer that ends by itself has failed, which the end of the scope tells.
        let wait_until = |condition: &dyn Fn() -> bool| {
            while !condition() && !writers.iter().any(thread::ScopedJoinHandle::is_finished) {
                thread::yield_now();
            }
        };
        let mut next = 0;
        for image in 0..IMAGES {
            next += rng.below(40);
            wait_until(&|| acknowledged.count.load(Ordering::Acquire) >= next);
            let mode = [CrashMode::DropUnsynced, CrashMode::KeepAll, CrashMode::Prefix, CrashMode::Random]
                [(image % 4) as usize];
            let must = if mode == CrashMode::KeepAll { &acknowledged.all } else { &acknowledged.synced };
            let must = must.lock().clone();
            let seed = rng.next_u64();
            images.push((disk.crash(mode, seed), must, format!("image {image} ({mode:?}, seed {seed})")));
        }
        wait_until(&|| db.metrics().background.flushes > 2);
        acknowledged.done.store(true, Ordering::Release);
    });
    let background = db.metrics().background;
    println!("{} commits, {background:?}", acknowledged.count.load(Ordering::Acquire));
    for (left, must, what) in images {
        check(&left.open(), &must, &acknowledged, &what);
        check(&left.after_power_loss().open(), &must, &acknowledged, &format!("{what}; and again"));
    }
}
