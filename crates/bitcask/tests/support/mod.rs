//! What the tests of the store share: small stores on a file system in memory, and a history of writes to compare with.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::StoreId;
use base::clock::ManualClock;
use base::rng::Rng;
use bitcask::{Bitcask, Keydir, MergeWindow, Options, Result};
use vfs::{MemFs, Vfs};
use vlog::{RecoveryInput, ValueLog};

pub const DIR: &str = "/store";
/// What the clock of a test shows at first.
pub const START: u64 = 1_700_000_000;

/// Files that fill after a few records; nothing happens but what a test asks for.
pub fn small(vfs: impl Vfs) -> Options {
    Options {
        max_file_size: 2_000,
        merge_window: MergeWindow::Never,
        background: false,
        vfs: Arc::new(vfs),
        clock: Arc::new(ManualClock::new(START)),
        ..Options::default()
    }
}

pub fn open(fs: &MemFs) -> Bitcask {
    Bitcask::open(DIR, small(fs.clone())).unwrap()
}

/// The keys and values of a store, by every way of reading them.
pub fn contents<K: Keydir>(store: &Bitcask<K>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let all = store.fold(BTreeMap::new(), |mut all, key, value| {
        assert_eq!(all.insert(key.to_vec(), value.to_vec()), None, "a walk gives no key twice");
        all
    })?;
    let mut keys: Vec<Vec<u8>> = store.list_keys().collect();
    keys.sort_unstable();
    assert!(keys.iter().eq(all.keys()), "a walk over keys gives those of a walk over values");
    for (key, value) in &all {
        assert_eq!(store.get(key)?.as_deref(), Some(&value[..]));
    }
    Ok(all)
}

/// All writes of a store in their order; `None` deletes.
#[derive(Clone, Debug, Default)]
pub struct History(pub Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl History {
    /// What is there after the first `writes`.
    pub fn state(&self, writes: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut state = BTreeMap::new();
        for (key, value) in &self.0[..writes] {
            match value {
                Some(value) => drop(state.insert(key.clone(), value.clone())),
                None => drop(state.remove(key)),
            }
        }
        state
    }

    /// After how many writes, of those in the range, a store looks like this.
    pub fn find(&self, found: &BTreeMap<Vec<u8>, Vec<u8>>, within: RangeInclusive<usize>) -> Option<usize> {
        within.into_iter().find(|writes| self.state(*writes) == *found)
    }

    /// Notes a write before it is made.
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.0.push((key.to_vec(), value.map(<[u8]>::to_vec)));
    }
}

pub fn value(seed: u64, len: usize) -> Vec<u8> {
    let mut value = vec![0; len];
    Rng::new(seed).fill(&mut value);
    value
}

pub fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// The names in the folder that end so.
pub fn names(fs: &dyn Vfs, end: &str) -> Vec<String> {
    let names = fs.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name.to_str().unwrap().to_owned());
    names.filter(|name| name.ends_with(end)).collect()
}

/// The value log of a closed store, as another program would open it.
pub fn log_of(fs: &MemFs) -> ValueLog {
    log_on(fs, Arc::new(fs.clone()))
}

/// As [`log_of`], through another view of the same files.
pub fn log_on(fs: &MemFs, view: Arc<dyn Vfs>) -> ValueLog {
    let mut store = StoreId::default();
    store.0.copy_from_slice(&fs.read(&path("BITCASK")).unwrap()[16..32]);
    let options = vlog::Options { stands_alone: true, ..vlog::Options::new(store) };
    let (log, _) = ValueLog::open(view, DIR, options, RecoveryInput::default()).unwrap();
    log.finish_recovery().unwrap();
    log
}
