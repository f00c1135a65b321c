//! The operations of a workload, as each of its threads does them.
//!
//! Every answer is looked at: a key that is not found where it must be, or the other way round, ends the benchmark.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::rng::Rng;
use rustix::fs::{FallocateFlags, fallocate};

use crate::data::{Values, make_absent, write_key};
use crate::latency::{Latencies, SCAN_GROUP};
use crate::workload::Action;
use crate::{Direction, Error, Parameters, Result, Store, Workload};

/// Overwrites beside reads, however soon those end: so that a short run shows what they cost.
const OVERWRITES_MIN: u64 = 100;
/// Bytes of an append of the bare sync: a small commit's.
const BARE_APPEND_BYTES: usize = 128;

/// What all threads of a workload share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task<'a> {
    pub(crate) action: Action,
    pub(crate) parameters: &'a Parameters,
    pub(crate) pool: &'a [u8],
    pub(crate) num: u64,
    /// Keys that there are, with those that are added.
    pub(crate) room: u64,
    pub(crate) operations: u64,
    pub(crate) threads: usize,
    pub(crate) value_size: usize,
}

/// What one thread did.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) ops: u64,
    /// Bytes of keys and values written, read or scanned.
    pub(crate) bytes: u64,
    /// Those of them that were written, where others were read.
    pub(crate) put_bytes: u64,
    /// Keys that were not there before, where others were.
    pub(crate) added: u64,
    pub(crate) latencies: Latencies,
}

impl<'a> Task<'a> {
    pub(crate) fn new(workload: &Workload, parameters: &'a Parameters, pool: &'a [u8]) -> Self {
        Self {
            action: workload.action,
            parameters,
            pool,
            num: workload.num(parameters),
            room: workload.room(parameters),
            operations: workload.operations(parameters),
            threads: workload.threads(parameters),
            value_size: workload.value_size(parameters),
        }
    }

    /// Does this thread's part of the operations.
    pub(crate) fn run<S: Store>(&self, store: &S, thread: usize) -> Result<Tally> {
        let sync = self.parameters.sync;
        let batch = self.parameters.batch;
        match self.action {
            Action::FillSequential => self.fill(store, thread, batch, sync, |number, _| number),
            Action::FillRandom { batch: given } => {
                self.fill(store, thread, given.unwrap_or(batch), sync, |_, rng| rng.below(self.num))
            }
            Action::Overwrite => self.fill(store, thread, batch, sync, |_, rng| rng.below(self.num)),
            Action::FillSync => self.fill(store, thread, batch, true, |_, rng| rng.below(self.num)),
            Action::DeleteRandom => self.delete(store, thread),
            Action::ReadRandom | Action::ReadWhileWriting => self.read(store, thread),
            Action::ReadMissing => self.read_missing(store, thread),
            Action::ReadForward => self.scan_all(store, Direction::Forward),
            Action::ReadReverse => self.scan_all(store, Direction::Reverse),
            Action::SeekRandom { entries } => self.seek(store, thread, entries),
            Action::Ycsb(mix) => self.ycsb(store, thread, mix),
            Action::BareSync
            | Action::Open
            | Action::OpenAfterKill
            | Action::OverwriteLarge { .. }
            | Action::CollectLarge { .. } => Err(Error::Argument("this workload runs on no open store".to_owned())),
        }
    }

    /// Sets keys, `batch` of them in a commit.
    pub(crate) fn fill<S: Store>(
        &self,
        store: &S,
        thread: usize,
        batch: usize,
        sync: bool,
        mut number_at: impl FnMut(u64, &mut Rng) -> u64,
    ) -> Result<Tally> {
        let (mut rng, mut values) = (self.numbers(thread), self.values(thread));
        let mut part = self.part_of(thread);
        let mut tally = Tally::begin();
        if batch == 1 {
            let mut key = self.key_buffer();
            for place in part {
                write_key(&mut key, number_at(place, &mut rng));
                store.put(&key, values.next(), sync)?;
                tally.did(1, self.entry_bytes());
            }
            return Ok(tally);
        }
        let mut keys = vec![0; batch * self.parameters.key_size];
        while part.start < part.end {
            let count = (part.end - part.start).min(batch as u64);
            let mut written = 0;
            for (key, place) in keys.chunks_exact_mut(self.parameters.key_size).zip(part.by_ref().take(batch)) {
                write_key(key, number_at(place, &mut rng));
                written += 1;
            }
            let entries = keys.chunks_exact(self.parameters.key_size).take(written).map(|key| (key, values.next()));
            store.put_batch(entries, sync)?;
            tally.did(count, count * self.entry_bytes());
        }
        Ok(tally)
    }

    fn delete<S: Store>(&self, store: &S, thread: usize) -> Result<Tally> {
        let (mut rng, mut key) = (self.numbers(thread), self.key_buffer());
        let mut tally = Tally::begin();
        for _ in self.part_of(thread) {
            write_key(&mut key, rng.below(self.num));
            store.delete(&key, self.parameters.sync)?;
            tally.did(1, key.len() as u64);
        }
        Ok(tally)
    }

    fn read<S: Store>(&self, store: &S, thread: usize) -> Result<Tally> {
        let (mut rng, mut key) = (self.numbers(thread), self.key_buffer());
        let mut tally = Tally::begin();
        for _ in self.part_of(thread) {
            let number = rng.below(self.num);
            write_key(&mut key, number);
            let bytes = self.get_one(store, &key, number)?;
            tally.did(1, bytes);
        }
        Ok(tally)
    }

    /// Reads a key that is there; returns the bytes of the entry.
    #[inline]
    pub(crate) fn get_one<S: Store>(&self, store: &S, key: &[u8], number: u64) -> Result<u64> {
        let found = store.get(key)?;
        if found != Some(self.value_size) {
            let size = self.value_size;
            return Err(Error::WrongAnswer(format!("key {number} has {found:?} bytes, not {size}")));
        }
        Ok(self.entry_bytes())
    }

    fn read_missing<S: Store>(&self, store: &S, thread: usize) -> Result<Tally> {
        let (mut rng, mut key) = (self.numbers(thread), self.key_buffer());
        let mut tally = Tally::begin();
        for _ in self.part_of(thread) {
            let number = rng.below(self.num);
            write_key(&mut key, number);
            make_absent(&mut key);
            if store.get(&key)?.is_some() {
                return Err(Error::WrongAnswer(format!("a key behind {number} is there that never was")));
            }
            tally.did(1, key.len() as u64);
        }
        Ok(tally)
    }

    /// Every thread scans everything.
    fn scan_all<S: Store>(&self, store: &S, direction: Direction) -> Result<Tally> {
        let mut tally = Tally::begin();
        let (mut seen, mut bytes) = (0, 0);
        store.scan(None, direction, u64::MAX, |key, value| {
            bytes += (key.len() + value.len()) as u64;
            seen += 1;
            if seen % SCAN_GROUP == 0 {
                tally.latencies.lap_many(SCAN_GROUP);
            }
        })?;
        tally.latencies.lap_many(seen % SCAN_GROUP);
        (tally.ops, tally.bytes) = (seen, bytes);
        if seen != self.num {
            return Err(Error::WrongAnswer(format!("a scan met {seen} entries of {}", self.num)));
        }
        Ok(tally)
    }

    fn seek<S: Store>(&self, store: &S, thread: usize, entries: u64) -> Result<Tally> {
        let (mut rng, mut key) = (self.numbers(thread), self.key_buffer());
        let mut tally = Tally::begin();
        for _ in self.part_of(thread) {
            let number = rng.below(self.num);
            write_key(&mut key, number);
            let mut bytes = 0;
            let visit = |key: &[u8], value: &[u8]| bytes += (key.len() + value.len()) as u64;
            let seen = store.scan(Some(&key), Direction::Forward, entries, visit)?;
            let expected = entries.min(self.num - number);
            if seen != expected {
                return Err(Error::WrongAnswer(format!("{seen} entries from key {number} on, not {expected}")));
            }
            tally.did(1, bytes);
        }
        Ok(tally)
    }

    /// Overwrites random keys until told to stop, at least [`OVERWRITES_MIN`] of them; returns the bytes written.
    pub(crate) fn overwrite_until<S: Store>(&self, store: &S, stop: &AtomicBool) -> Result<u64> {
        let (mut rng, mut values) = (self.numbers(self.threads), self.values(self.threads));
        let (mut key, mut bytes) = (self.key_buffer(), 0);
        while bytes < OVERWRITES_MIN * self.entry_bytes() || !stop.load(Ordering::Relaxed) {
            write_key(&mut key, rng.below(self.num));
            store.put(&key, values.next(), self.parameters.sync)?;
            bytes += self.entry_bytes();
        }
        Ok(bytes)
    }

    /// Appends to a file of this thread's own, which has been allocated ahead, and waits for the disk each time.
    pub(crate) fn bare_sync(&self, dir: &Path, thread: usize) -> Result<Tally> {
        let path = dir.join(format!("appends-{thread}"));
        let at = |source| Error::file(&path, source);
        let part = self.part_of(thread);
        let mut file = File::create(&path).map_err(at)?;
        let bytes = (part.end - part.start) * BARE_APPEND_BYTES as u64;
        fallocate(&file, FallocateFlags::empty(), 0, bytes.max(1)).map_err(|error| at(error.into()))?;
        file.sync_all().map_err(at)?;
        let append = self.pool.get(..BARE_APPEND_BYTES).unwrap_or_default();
        let mut tally = Tally::begin();
        for _ in part {
            file.write_all(append).and_then(|()| file.sync_data()).map_err(at)?;
            tally.did(1, append.len() as u64);
        }
        Ok(tally)
    }

    /// How many keys are in the stores once all threads are done, without those that a mix has added.
    pub(crate) fn live_entries(&self) -> u64 {
        match self.action {
            Action::OpenAfterKill => self.operations * self.writer().live_entries(),
            Action::FillRandom { .. } | Action::FillSync => self.distinct(),
            Action::DeleteRandom => self.num - self.distinct(),
            _ => self.num,
        }
    }

    /// How many different numbers the threads draw.
    fn distinct(&self) -> u64 {
        let mut seen = vec![0_u64; self.num.div_ceil(64) as usize];
        for thread in 0..self.threads {
            let mut rng = self.numbers(thread);
            for _ in self.part_of(thread) {
                let number = rng.below(self.num);
                if let Some(word) = seen.get_mut((number / 64) as usize) {
                    *word |= 1 << (number % 64);
                }
            }
        }
        seen.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    pub(crate) fn entry_bytes(&self) -> u64 {
        (self.parameters.key_size + self.value_size) as u64
    }

    /// Numbers of the operations that a thread does.
    pub(crate) fn part_of(&self, thread: usize) -> Range<u64> {
        let begin = |thread: usize| self.operations * thread as u64 / self.threads as u64;
        begin(thread)..begin(thread + 1)
    }

    /// The random numbers of a thread: from these come its keys and nothing else, so that they can be drawn again.
    pub(crate) fn numbers(&self, thread: usize) -> Rng {
        Rng::new(Rng::new(self.parameters.seed ^ ((thread as u64) << 32)).next_u64())
    }

    pub(crate) fn values(&self, thread: usize) -> Values<'a> {
        Values::new(self.pool, self.value_size, self.parameters.seed + thread as u64)
    }

    pub(crate) fn key_buffer(&self) -> Vec<u8> {
        vec![0; self.parameters.key_size]
    }
}

impl Tally {
    pub(crate) fn begin() -> Self {
        Self { ops: 0, bytes: 0, put_bytes: 0, added: 0, latencies: Latencies::begin() }
    }

    /// An operation or a commit of several has ended.
    #[inline]
    pub(crate) fn did(&mut self, ops: u64, bytes: u64) {
        self.ops += ops;
        self.bytes += bytes;
        self.latencies.lap();
    }

    /// An operation has ended that took this long.
    #[inline]
    pub(crate) fn took(&mut self, latency: Duration, bytes: u64) {
        self.ops += 1;
        self.bytes += bytes;
        self.latencies.record(latency);
    }

    /// Adds that of another thread.
    pub(crate) fn add(&mut self, other: &Self) {
        self.ops += other.ops;
        self.bytes += other.bytes;
        self.put_bytes += other.put_bytes;
        self.added += other.added;
        self.latencies.add(&other.latencies);
    }
}
