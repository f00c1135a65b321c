//! Each change of files of a workload fails once, alone or with all behind it: the error is told, what had returned is there
//! when the store is opened again, and writing goes on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use base::rng::Rng;
use base::show;
use bitcask::{Bitcask, Options};
use support::{DIR, History, contents, small, value};
use vfs::{Cause, Fault, FaultFs, FaultPlan, MemFs};

fn options(fs: impl vfs::Vfs) -> Options {
    Options { max_file_size: 700, small_file_threshold: 500, ..small(fs) }
}

/// Writes, deletes and merges until something fails; returns the writes and how many of them returned.
fn work(fs: &FaultFs, history: &mut History) -> (usize, bitcask::Result<()>) {
    let mut returned = 0;
    let mut rng = Rng::new(5);
    let mut attempt = || {
        let store = Bitcask::open(DIR, options(fs.clone()))?;
        for step in 0..50 {
            let key = [rng.below(6) as u8];
            match step % 7 {
                0..4 => {
                    let value = value(rng.next_u64(), rng.below(150) as usize);
                    history.push(&key, Some(&value));
                    store.put(&key, &value)?;
                }
                4 | 5 => {
                    history.push(&key, None);
                    store.delete(&key)?;
                }
                _ => _ = store.merge()?,
            }
            returned = history.0.len();
        }
        store.close()
    };
    let outcome = attempt();
    (returned, outcome)
}

fn sweep(fault: fn(u64) -> Fault) -> (u64, u64) {
    let (mut told, mut number) = (0, 1);
    loop {
        let memory = MemFs::new(number);
        let fs = FaultFs::over_memory(memory.clone(), FaultPlan::none());
        let armed = fs.arm(fault(number));
        let mut history = History::default();
        let (returned, outcome) = work(&fs, &mut history);
        if fs.hits(armed) == 0 {
            outcome.unwrap();
            return (number - 1, told);
        }
        told += u64::from(outcome.is_err());
        fs.disarm_all();
        let store = Bitcask::open(DIR, options(memory.clone())).unwrap();
        let found = contents(&store).unwrap();
        let writes = history.find(&found, returned..=history.0.len());
        assert!(writes.is_some(), "change {number}: {outcome:?}");
        let mut expected = found;
        store.put(b"after", b"1").unwrap();
        expected.insert(b"after".to_vec(), b"1".to_vec());
        store.merge().unwrap();
        store.close().unwrap();
        let store = Bitcask::open(DIR, options(memory)).unwrap();
        assert_eq!(contents(&store).unwrap(), expected, "change {number}");
        number += 1;
    }
}

#[test]
fn any_change_may_fail_once() {
    let (changes, told) = sweep(|number| Fault::on_mutations(Cause::Io).nth(number));
    show!("bitcask faults: {changes} changes failed once, {told} runs ended by it");
    assert!(changes > 100 && told > changes / 2);
}

#[test]
fn every_change_may_fail_from_one_on() {
    let (changes, told) = sweep(|number| Fault::on_mutations(Cause::NoSpace).nth(number).forever());
    show!("bitcask faults: {changes} changes from which on all failed, {told} runs ended by it");
    assert!(changes > 100 && told > changes / 2);
}
