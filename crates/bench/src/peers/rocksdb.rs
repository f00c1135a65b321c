//! RocksDB with integrated BlobDB, under measurement, through its C interface and the system's library.
//!
//! Functions that LevelDB does not have are declared here, as they stand in `rocksdb/c.h` (7.8).

#![expect(unsafe_code, reason = "calls into a C library")]

use std::ffi::c_char;
use std::path::Path;

use super::SEPARATED_FROM_BYTES;
use super::c_interface::{CStore, Cache, FilterPolicy, Functions, Options, handles, link_with};
use crate::{Compression, Direction, Error, Parameters, Result, Store};

/// Bits a key of the bloom filter: what RocksDB's documentation recommends. It has none by default.
const FILTER_BITS: f64 = 10.0;
/// Bytes that relocating values has written, among the library's statistics.
const RELOCATED: &str = "rocksdb.blobdb.gc.bytes.relocated COUNT : ";

static FUNCTIONS: Functions = link_with!("rocksdb", "rocksdb_");

handles!(TableOptions);

unsafe extern "C" {
    fn rocksdb_block_based_options_create() -> *mut TableOptions;
    fn rocksdb_block_based_options_destroy(options: *mut TableOptions);
    fn rocksdb_block_based_options_set_filter_policy(options: *mut TableOptions, policy: *mut FilterPolicy);
    fn rocksdb_block_based_options_set_block_cache(options: *mut TableOptions, cache: *mut Cache);
    fn rocksdb_filterpolicy_create_bloom(bits_per_key: f64) -> *mut FilterPolicy;
    fn rocksdb_options_set_block_based_table_factory(options: *mut Options, table_options: *mut TableOptions);
    fn rocksdb_options_enable_statistics(options: *mut Options);
    fn rocksdb_options_statistics_get_string(options: *mut Options) -> *mut c_char;
    fn rocksdb_options_set_enable_blob_files(options: *mut Options, value: u8);
    fn rocksdb_options_set_min_blob_size(options: *mut Options, bytes: u64);
    fn rocksdb_options_set_enable_blob_gc(options: *mut Options, value: u8);
    fn rocksdb_options_set_blob_gc_age_cutoff(options: *mut Options, part: f64);
    fn rocksdb_options_set_blob_gc_force_threshold(options: *mut Options, part: f64);
}

/// RocksDB with blob files, whose garbage is collected as by default, or as it has to be for space to be bounded.
#[derive(Debug)]
pub struct RocksDb<const TUNED: bool> {
    store: CStore,
}

/// How blobs are collected.
struct Collection {
    /// The oldest part of blob files from which compactions relocate values.
    age_cutoff: f64,
    /// The part of garbage in these from which compactions are forced.
    force_threshold: f64,
}

impl<const TUNED: bool> RocksDb<TUNED> {
    const COLLECTION: Collection = if TUNED {
        Collection { age_cutoff: 1.0, force_threshold: 0.25 }
    } else {
        Collection { age_cutoff: 0.25, force_threshold: 1.0 }
    };
}

impl<const TUNED: bool> Store for RocksDb<TUNED> {
    const NAME: &'static str = if TUNED { "rocksdb-blob-tuned" } else { "rocksdb-blob" };

    fn about(parameters: &Parameters) -> String {
        let compression = if parameters.compression == Compression::None { "none" } else { "Snappy, none of values" };
        let Collection { age_cutoff, force_threshold } = Self::COLLECTION;
        format!(
            "as the system has it; compression: {compression}; a commit is one write call to the log; cache: blocks; \
             bloom filter of {FILTER_BITS} bits a key; values from {SEPARATED_FROM_BYTES} bytes on in blob files, \
             collected with age cutoff {age_cutoff} and force threshold {force_threshold}; statistics are on"
        )
    }

    fn open(dir: &Path, parameters: &Parameters) -> Result<Self> {
        let mut store = CStore::new(Self::NAME, &FUNCTIONS, parameters)?;
        let options = store.options();
        // SAFETY: options and cache are alive, and stay so until the database is closed. The table options own the
        // filter from here on; the options copy them, so that they are given back at once. Numbers are in their ranges.
        unsafe {
            let table = rocksdb_block_based_options_create();
            rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom(FILTER_BITS));
            rocksdb_block_based_options_set_block_cache(table, store.cache());
            rocksdb_options_set_block_based_table_factory(options, table);
            rocksdb_block_based_options_destroy(table);
            rocksdb_options_enable_statistics(options);
            rocksdb_options_set_enable_blob_files(options, 1);
            rocksdb_options_set_min_blob_size(options, SEPARATED_FROM_BYTES);
            rocksdb_options_set_enable_blob_gc(options, u8::from(parameters.collects_values));
            rocksdb_options_set_blob_gc_age_cutoff(options, Self::COLLECTION.age_cutoff);
            rocksdb_options_set_blob_gc_force_threshold(options, Self::COLLECTION.force_threshold);
        }
        store.open(dir)?;
        Ok(Self { store })
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

    fn collected_bytes(&self) -> Result<Option<u64>> {
        // SAFETY: the options are alive.
        let text = unsafe { rocksdb_options_statistics_get_string(self.store.options()) };
        if text.is_null() {
            return Err(Error::peer(Self::NAME, "there are no statistics"));
        }
        // SAFETY: the library has allocated the string, which ends in NUL.
        let text = unsafe { self.store.take_string(text) };
        let relocated = text.lines().find_map(|line| line.strip_prefix(RELOCATED)?.trim().parse().ok());
        relocated.map(Some).ok_or_else(|| Error::peer(Self::NAME, "the statistics do not tell what was relocated"))
    }

    fn close(self) -> Result<()> {
        drop(self);
        Ok(())
    }
}
