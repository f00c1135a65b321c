//! Many threads at once, with flushes, compactions and segment rolls going on beneath them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]
#![allow(clippy::disallowed_methods, reason = "the tests start threads")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use base::rng::Rng;
use engine::{CompactOptions, Db, Error, KeyspaceOptions, Options, Read, WriteBatch};
use vfs::{FaultFs, FaultPlan, MemFs, Operation};

fn tiny() -> Options {
    Options::new()
        .memtable_size(64 << 10)
        .value_log_file_size(64 << 10)
        .value_threshold(200)
        .table_size(16 << 10)
        .level_base_size(64 << 10)
        .l0_compaction_trigger(2)
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().unwrap())
}

/// Runs `change` in transactions until one commits; returns how many conflicted.
fn until_committed(db: &Db, mut change: impl FnMut(&mut engine::Txn) -> Result<(), Error>) -> u64 {
    let mut conflicts = 0;
    loop {
        match db.update(&mut change) {
            Ok(()) => return conflicts,
            Err(error) if error.is_conflict() => conflicts += 1,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn no_increment_is_lost() {
    let db = tiny().open_in_memory().unwrap();
    db.insert("counter", 0u64.to_be_bytes()).unwrap();
    let conflicts = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let found = until_committed(&db, |txn| {
                        let value = number(&txn.get("counter")?.unwrap());
                        thread::yield_now();
                        txn.insert("counter", (value + 1).to_be_bytes())
                    });
                    conflicts.fetch_add(found, Ordering::Relaxed);
                }
            });
        }
    });
    println!("{} conflicts", conflicts.into_inner());
    assert_eq!(number(&db.get("counter").unwrap().unwrap()), 1_200);
}

#[test]
fn transfers_keep_the_total_and_every_reader_sees_it() {
    const ACCOUNTS: u64 = 40;
    const TOTAL: u64 = ACCOUNTS * 100;
    let db = tiny().open_in_memory().unwrap();
    let account = |number: u64| format!("account{number:02}");
    // Padding makes half of the balances values of the value log.
    let balance =
        |amount: u64, large: bool| [&amount.to_be_bytes()[..], &[0; 300][..if large { 300 } else { 0 }]].concat();
    let mut batch = WriteBatch::new();
    for number in 0..ACCOUNTS {
        batch.insert(account(number), balance(100, number % 2 == 0)).unwrap();
    }
    db.write(batch).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (1..=3u64)
            .map(|seed| {
                let (db, account, balance) = (&db, &account, &balance);
                scope.spawn(move || {
                    let mut rng = Rng::new(seed);
                    for _ in 0..1_500 {
                        let (from, to, amount) = (rng.below(ACCOUNTS), rng.below(ACCOUNTS), rng.below(30));
                        until_committed(db, |txn| {
                            let left = number(&txn.get(account(from))?.unwrap());
                            if from == to || left < amount {
                                return Ok(());
                            }
                            let right = number(&txn.get(account(to))?.unwrap());
                            txn.insert(account(from), balance(left - amount, from % 2 == 0))?;
                            txn.insert(account(to), balance(right + amount, to % 2 == 0))
                        });
                    }
                })
            })
            .collect();
        for reverse in [false, true] {
            let (db, done) = (&db, &done);
            scope.spawn(move || {
                let mut scans = 0;
                while !done.load(Ordering::Relaxed) || scans == 0 {
                    let items = db.prefix("account");
                    let sum = |items: &mut dyn Iterator<Item = engine::Result<engine::Item>>| {
                        items.map(|item| number(&item.unwrap().value().unwrap())).sum::<u64>()
                    };
                    let total = if reverse { sum(&mut items.rev()) } else { sum(&mut { items }) };
                    assert_eq!(total, TOTAL);
                    scans += 1;
                }
                println!("{scans} scans");
            });
        }
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    let background = db.metrics().background;
    assert!(background.flushes > 0 && background.compactions > 0, "{background:?}");
}

#[test]
fn a_thread_reads_its_own_write_at_once_and_batches_are_never_seen_in_part() {
    let db = tiny().open_in_memory().unwrap();
    let second = db.keyspace("second", KeyspaceOptions::new()).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..3u64)
            .map(|writer| {
                let (db, second) = (&db, &second);
                scope.spawn(move || {
                    for round in 1..=2_000u64 {
                        let (key, value) = (
                            format!("writer{writer}"),
                            round.to_be_bytes().repeat(if round % 3 == 0 { 40 } else { 1 }),
                        );
                        let mut batch = WriteBatch::new();
                        batch.insert(&key, &value).unwrap();
                        batch.keyspace(second).insert(&key, &value).unwrap();
                        db.write(batch).unwrap();
                        assert_eq!(number(&db.get(&key).unwrap().unwrap()), round);
                        assert_eq!(number(&second.get(&key).unwrap().unwrap()), round);
                    }
                })
            })
            .collect();
        let (db, second, done) = (&db, &second, &done);
        scope.spawn(move || {
            let mut newest = [0; 3];
            while !done.load(Ordering::Relaxed) {
                let snapshot = db.snapshot();
                for (writer, newest) in newest.iter_mut().enumerate() {
                    let key = format!("writer{writer}");
                    let here = snapshot.get(&key).unwrap().map_or(0, |value| number(&value));
                    let there = snapshot.keyspace(second).get(&key).unwrap().map_or(0, |value| number(&value));
                    assert_eq!(here, there, "half a batch");
                    assert!(here >= *newest, "time ran backwards");
                    *newest = here;
                }
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// A compactor is held at its work on one keyspace; a compaction of a range that its tables do not overlap waits for
/// nobody. Waiting would never end.
#[test]
fn a_compaction_by_hand_waits_only_for_what_it_wants() {
    let faults = FaultFs::over_memory(MemFs::new(1), FaultPlan::none());
    let (held, is_held) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    faults.on_mutation(move |record| {
        let is_compactor = thread::current().name() == Some("ratel-compact");
        if is_compactor && record.operation == Operation::Create && held.send(()).is_ok() {
            let _ = may_go_on.lock().unwrap().recv();
        }
    });
    let db = tiny().compactors(1).vfs(Arc::new(faults)).open("/store").unwrap();
    let busy = db.keyspace("busy", KeyspaceOptions::new()).unwrap();
    // The first of them only changes its level.
    for _ in 0..4 {
        busy.insert("a", "").unwrap();
        busy.insert("b", "").unwrap();
        db.flush().unwrap();
    }
    is_held.recv().unwrap();
    db.insert("x", "").unwrap();
    db.compact("x".."z", CompactOptions::new()).unwrap();
    drop((go_on, is_held));
    db.close().unwrap();
}
