//! LevelDB, under measurement, through its C interface and the system's library.
//!
//! Functions that RocksDB does not have are declared here, as they stand in `leveldb/c.h` (1.23).

#![expect(unsafe_code, reason = "calls into a C library")]

use std::ffi::c_int;
use std::path::Path;

use super::c_interface::{CStore, Cache, FilterPolicy, Functions, Options, link_with};
use crate::{Compression, Direction, Parameters, Result, Store};

/// Bits a key of the bloom filter: what LevelDB's documentation recommends. It has none by default.
const FILTER_BITS: c_int = 10;

static FUNCTIONS: Functions = link_with!("leveldb", "leveldb_");

unsafe extern "C" {
    fn leveldb_options_set_cache(options: *mut Options, cache: *mut Cache);
    fn leveldb_options_set_filter_policy(options: *mut Options, policy: *mut FilterPolicy);
    fn leveldb_filterpolicy_create_bloom(bits_per_key: c_int) -> *mut FilterPolicy;
    fn leveldb_filterpolicy_destroy(policy: *mut FilterPolicy);
    fn leveldb_major_version() -> c_int;
    fn leveldb_minor_version() -> c_int;
}

/// LevelDB.
#[derive(Debug)]
pub struct LevelDb {
    store: CStore,
    // Behind the store, which uses it: fields are dropped in this order.
    _filter: Filter,
}

impl Store for LevelDb {
    const NAME: &'static str = "leveldb";

    fn about(parameters: &Parameters) -> String {
        // SAFETY: these functions take nothing and return constants of the library.
        let (major, minor) = unsafe { (leveldb_major_version(), leveldb_minor_version()) };
        let compression = if parameters.compression == Compression::None { "none" } else { "Snappy" };
        format!(
            "{major}.{minor}; compression: {compression}; a commit is one write call to the log; cache: blocks; bloom \
             filter of {FILTER_BITS} bits a key"
        )
    }

    fn open(dir: &Path, parameters: &Parameters) -> Result<Self> {
        let mut store = CStore::new(Self::NAME, &FUNCTIONS, parameters)?;
        // SAFETY: makes a filter; `Filter` owns it.
        let filter = Filter(unsafe { leveldb_filterpolicy_create_bloom(FILTER_BITS) });
        // SAFETY: options, cache and filter are alive, and stay so until the database is closed.
        unsafe {
            leveldb_options_set_cache(store.options(), store.cache());
            leveldb_options_set_filter_policy(store.options(), filter.0);
        }
        store.open(dir)?;
        Ok(Self { store, _filter: filter })
    }

    fn put(&self, key: &[u8], value: &[u8], sync: bool) -> Result<()> {
        self.store.put(key, value, sync)
    }

    fn put_batch<'a>(&self, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>, sync: bool) -> Result<()> {
        self.store.put_batch(entries, sync)
    }

    fn delete(&self, key: &[u8], sync: bool) -> Result<()> {
        self.store.delete(key, sync)
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        self.store.get(key)
    }

    fn scan(
        &self,
        from: Option<&[u8]>,
        direction: Direction,
        limit: u64,
        visit: impl FnMut(&[u8], &[u8]),
    ) -> Result<u64> {
        self.store.scan(from, direction, limit, visit)
    }

    fn close(self) -> Result<()> {
        drop(self);
        Ok(())
    }
}

/// A filter policy that is destroyed when dropped.
#[derive(Debug)]
struct Filter(*mut FilterPolicy);

// SAFETY: nothing but dropping it touches the pointer.
unsafe impl Sync for Filter {}

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY: the filter was made in `open` and is given back here alone, after the database that uses it.
        unsafe { leveldb_filterpolicy_destroy(self.0) };
    }
}
