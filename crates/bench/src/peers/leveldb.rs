//! LevelDB, under measurement, through its C interface and the system's library.
//!
//! Every call is of a function of `leveldb/c.h` (1.23), declared as it stands there. Handles are made in `open`, live as
//! long as this store and are given back once, when it is dropped; LevelDB allows all calls here from many threads.

#![expect(unsafe_code, reason = "calls into a C library")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::slice;

use crate::{Compression, Direction, Error, Parameters, Result, Store};

/// Bits a key of the bloom filter: what LevelDB's documentation recommends. It has none by default.
const FILTER_BITS: c_int = 10;
const NO_COMPRESSION: c_int = 0;
const SNAPPY: c_int = 1;

/// The declarations of `leveldb/c.h` that are used here.
mod c {
    use std::ffi::{c_char, c_int};

    macro_rules! handles {
        ($($name:ident),*) => {
            $(
                #[repr(C)]
                pub(super) struct $name {
                    _opaque: [u8; 0],
                }
            )*
        };
    }

    handles!(Db, Options, Cache, FilterPolicy, ReadOptions, WriteOptions, WriteBatch, Iterator);

    #[link(name = "leveldb")]
    unsafe extern "C" {
        pub(super) fn leveldb_open(options: *const Options, name: *const c_char, error: *mut *mut c_char) -> *mut Db;
        pub(super) fn leveldb_close(db: *mut Db);
        pub(super) fn leveldb_put(
            db: *mut Db,
            options: *const WriteOptions,
            key: *const c_char,
            key_len: usize,
            value: *const c_char,
            value_len: usize,
            error: *mut *mut c_char,
        );
        pub(super) fn leveldb_delete(
            db: *mut Db,
            options: *const WriteOptions,
            key: *const c_char,
            key_len: usize,
            error: *mut *mut c_char,
        );
        pub(super) fn leveldb_write(
            db: *mut Db,
            options: *const WriteOptions,
            batch: *mut WriteBatch,
            error: *mut *mut c_char,
        );
        pub(super) fn leveldb_get(
            db: *mut Db,
            options: *const ReadOptions,
            key: *const c_char,
            key_len: usize,
            value_len: *mut usize,
            error: *mut *mut c_char,
        ) -> *mut c_char;
        pub(super) fn leveldb_create_iterator(db: *mut Db, options: *const ReadOptions) -> *mut Iterator;
        pub(super) fn leveldb_iter_destroy(iterator: *mut Iterator);
        pub(super) fn leveldb_iter_valid(iterator: *const Iterator) -> u8;
        pub(super) fn leveldb_iter_seek_to_first(iterator: *mut Iterator);
        pub(super) fn leveldb_iter_seek_to_last(iterator: *mut Iterator);
        pub(super) fn leveldb_iter_seek(iterator: *mut Iterator, key: *const c_char, key_len: usize);
        pub(super) fn leveldb_iter_next(iterator: *mut Iterator);
        pub(super) fn leveldb_iter_prev(iterator: *mut Iterator);
        pub(super) fn leveldb_iter_key(iterator: *const Iterator, key_len: *mut usize) -> *const c_char;
        pub(super) fn leveldb_iter_value(iterator: *const Iterator, value_len: *mut usize) -> *const c_char;
        pub(super) fn leveldb_iter_get_error(iterator: *const Iterator, error: *mut *mut c_char);
        pub(super) fn leveldb_writebatch_create() -> *mut WriteBatch;
        pub(super) fn leveldb_writebatch_destroy(batch: *mut WriteBatch);
        pub(super) fn leveldb_writebatch_put(
            batch: *mut WriteBatch,
            key: *const c_char,
            key_len: usize,
            value: *const c_char,
            value_len: usize,
        );
        pub(super) fn leveldb_options_create() -> *mut Options;
        pub(super) fn leveldb_options_destroy(options: *mut Options);
        pub(super) fn leveldb_options_set_create_if_missing(options: *mut Options, value: u8);
        pub(super) fn leveldb_options_set_write_buffer_size(options: *mut Options, bytes: usize);
        pub(super) fn leveldb_options_set_cache(options: *mut Options, cache: *mut Cache);
        pub(super) fn leveldb_options_set_filter_policy(options: *mut Options, policy: *mut FilterPolicy);
        pub(super) fn leveldb_options_set_compression(options: *mut Options, compression: c_int);
        pub(super) fn leveldb_cache_create_lru(bytes: usize) -> *mut Cache;
        pub(super) fn leveldb_cache_destroy(cache: *mut Cache);
        pub(super) fn leveldb_filterpolicy_create_bloom(bits_per_key: c_int) -> *mut FilterPolicy;
        pub(super) fn leveldb_filterpolicy_destroy(policy: *mut FilterPolicy);
        pub(super) fn leveldb_readoptions_create() -> *mut ReadOptions;
        pub(super) fn leveldb_readoptions_destroy(options: *mut ReadOptions);
        pub(super) fn leveldb_writeoptions_create() -> *mut WriteOptions;
        pub(super) fn leveldb_writeoptions_destroy(options: *mut WriteOptions);
        pub(super) fn leveldb_writeoptions_set_sync(options: *mut WriteOptions, value: u8);
        pub(super) fn leveldb_free(pointer: *mut c_char);
        pub(super) fn leveldb_major_version() -> c_int;
        pub(super) fn leveldb_minor_version() -> c_int;
    }
}

/// LevelDB.
#[derive(Debug)]
pub struct LevelDb {
    db: *mut c::Db,
    options: *mut c::Options,
    cache: *mut c::Cache,
    filter: *mut c::FilterPolicy,
    reading: *mut c::ReadOptions,
    writing: *mut c::WriteOptions,
    writing_synced: *mut c::WriteOptions,
}

// SAFETY: LevelDB's documentation allows get, put, delete, write and making iterators on one database from many threads
// without a lock of the caller's, and the options are only read. Nothing here hands out a pointer.
unsafe impl Sync for LevelDb {}

impl Store for LevelDb {
    const NAME: &'static str = "leveldb";

    fn about(parameters: &Parameters) -> String {
        // SAFETY: these functions take nothing and return constants of the library.
        let (major, minor) = unsafe { (c::leveldb_major_version(), c::leveldb_minor_version()) };
        let compression = if parameters.compression == Compression::None { "none" } else { "Snappy" };
        format!(
            "{major}.{minor}; compression: {compression}; a commit is one write call to the log; cache: blocks; bloom \
             filter of {FILTER_BITS} bits a key"
        )
    }

    fn open(dir: &Path, parameters: &Parameters) -> Result<Self> {
        let compression = match parameters.compression {
            Compression::Default | Compression::Snappy => SNAPPY,
            Compression::None => NO_COMPRESSION,
            other => return Err(Error::peer(Self::NAME, format!("there is no {other:?} compression"))),
        };
        let name = CString::new(dir.as_os_str().as_bytes()).map_err(|error| Error::peer(Self::NAME, error))?;
        // SAFETY: these functions take no pointer but those that the ones before have just returned; the sizes and flags
        // are in their ranges. From here on `store` owns all of them.
        let mut store = unsafe {
            let store = Self {
                db: ptr::null_mut(),
                options: c::leveldb_options_create(),
                cache: c::leveldb_cache_create_lru(parameters.cache_bytes as usize),
                filter: c::leveldb_filterpolicy_create_bloom(FILTER_BITS),
                reading: c::leveldb_readoptions_create(),
                writing: c::leveldb_writeoptions_create(),
                writing_synced: c::leveldb_writeoptions_create(),
            };
            c::leveldb_options_set_create_if_missing(store.options, 1);
            c::leveldb_options_set_write_buffer_size(store.options, parameters.write_buffer_bytes as usize);
            c::leveldb_options_set_cache(store.options, store.cache);
            c::leveldb_options_set_filter_policy(store.options, store.filter);
            c::leveldb_options_set_compression(store.options, compression);
            c::leveldb_writeoptions_set_sync(store.writing_synced, 1);
            store
        };
        // SAFETY: the options are alive, the name ends in NUL and outlives the call.
        store.db = checked(|error| unsafe { c::leveldb_open(store.options, name.as_ptr(), error) })?;
        Ok(store)
    }

    fn put(&self, key: &[u8], value: &[u8], sync: bool) -> Result<()> {
        let (key, value) = (bytes(key), bytes(value));
        // SAFETY: database and options are alive; keys and values are given with their lengths and copied.
        checked(|error| unsafe { c::leveldb_put(self.db, self.writing(sync), key.0, key.1, value.0, value.1, error) })
    }

    fn put_batch<'a>(&self, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>, sync: bool) -> Result<()> {
        // SAFETY: makes a batch that is destroyed below, once; nothing between returns early or panics but `entries`,
        // and then the batch leaks.
        let batch = unsafe { c::leveldb_writebatch_create() };
        for (key, value) in entries {
            let (key, value) = (bytes(key), bytes(value));
            // SAFETY: the batch is alive; keys and values are given with their lengths and copied.
            unsafe { c::leveldb_writebatch_put(batch, key.0, key.1, value.0, value.1) };
        }
        // SAFETY: database, options and batch are alive.
        let written = checked(|error| unsafe { c::leveldb_write(self.db, self.writing(sync), batch, error) });
        // SAFETY: the batch is alive and not used any more.
        unsafe { c::leveldb_writebatch_destroy(batch) };
        written
    }

    fn delete(&self, key: &[u8], sync: bool) -> Result<()> {
        let key = bytes(key);
        // SAFETY: database and options are alive; the key is given with its length and copied.
        checked(|error| unsafe { c::leveldb_delete(self.db, self.writing(sync), key.0, key.1, error) })
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        let (key, mut value_len) = (bytes(key), 0);
        // SAFETY: database and options are alive, the key is given with its length.
        let value =
            checked(|error| unsafe { c::leveldb_get(self.db, self.reading, key.0, key.1, &raw mut value_len, error) })?;
        if value.is_null() {
            return Ok(None);
        }
        // SAFETY: the value was allocated by the call and is not used any more.
        unsafe { c::leveldb_free(value) };
        Ok(Some(value_len))
    }

    fn scan(
        &self,
        from: Option<&[u8]>,
        direction: Direction,
        limit: u64,
        mut visit: impl FnMut(&[u8], &[u8]),
    ) -> Result<u64> {
        // SAFETY: database and options are alive; the cursor destroys the iterator before the database can be closed.
        let mut cursor = Cursor(unsafe { c::leveldb_create_iterator(self.db, self.reading) });
        cursor.start(from, direction);
        let mut visited = 0;
        while visited < limit && cursor.valid() {
            cursor.visit(&mut visit);
            visited += 1;
            cursor.step(direction);
        }
        // SAFETY: the iterator is alive.
        checked(|error| unsafe { c::leveldb_iter_get_error(cursor.0, error) })?;
        Ok(visited)
    }

    fn close(self) -> Result<()> {
        drop(self);
        Ok(())
    }
}

impl LevelDb {
    fn writing(&self, sync: bool) -> *const c::WriteOptions {
        if sync { self.writing_synced } else { self.writing }
    }
}

impl Drop for LevelDb {
    fn drop(&mut self) {
        // SAFETY: each handle was made in `open` and is given back here alone; the database, which uses the others, goes
        // first, and there is none where opening it failed.
        unsafe {
            if !self.db.is_null() {
                c::leveldb_close(self.db);
            }
            c::leveldb_writeoptions_destroy(self.writing_synced);
            c::leveldb_writeoptions_destroy(self.writing);
            c::leveldb_readoptions_destroy(self.reading);
            c::leveldb_options_destroy(self.options);
            c::leveldb_filterpolicy_destroy(self.filter);
            c::leveldb_cache_destroy(self.cache);
        }
    }
}

/// An iterator that is destroyed when dropped.
struct Cursor(*mut c::Iterator);

impl Cursor {
    fn start(&mut self, from: Option<&[u8]>, direction: Direction) {
        // SAFETY: the iterator is alive; the key is given with its length.
        unsafe {
            match (from.map(bytes), direction) {
                (None, Direction::Forward) => c::leveldb_iter_seek_to_first(self.0),
                (None, Direction::Reverse) => c::leveldb_iter_seek_to_last(self.0),
                (Some(key), _) => c::leveldb_iter_seek(self.0, key.0, key.1),
            }
        }
        // LevelDB seeks to the first key at or behind; in reverse the last one at or before is asked for.
        if let (Some(key), Direction::Reverse) = (from, direction) {
            if !self.valid() {
                // SAFETY: the iterator is alive.
                unsafe { c::leveldb_iter_seek_to_last(self.0) };
            } else {
                let mut is_behind = false;
                self.visit(&mut |found: &[u8], _: &[u8]| is_behind = found > key);
                if is_behind {
                    self.step(direction);
                }
            }
        }
    }

    fn valid(&self) -> bool {
        // SAFETY: the iterator is alive.
        unsafe { c::leveldb_iter_valid(self.0) != 0 }
    }

    /// Only on a valid iterator.
    fn visit(&self, visit: &mut impl FnMut(&[u8], &[u8])) {
        let (mut key_len, mut value_len) = (0, 0);
        // SAFETY: the iterator is alive and stands on an entry, as the callers have seen; its key and value stay where
        // they are until it moves, which is after `visit` has returned.
        unsafe {
            let key = c::leveldb_iter_key(self.0, &raw mut key_len);
            let value = c::leveldb_iter_value(self.0, &raw mut value_len);
            visit(slice::from_raw_parts(key.cast(), key_len), slice::from_raw_parts(value.cast(), value_len));
        }
    }

    /// Only on a valid iterator.
    fn step(&mut self, direction: Direction) {
        // SAFETY: the iterator is alive and stands on an entry, as the callers have seen.
        unsafe {
            match direction {
                Direction::Forward => c::leveldb_iter_next(self.0),
                Direction::Reverse => c::leveldb_iter_prev(self.0),
            }
        }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        // SAFETY: the iterator is alive, and destroyed here alone.
        unsafe { c::leveldb_iter_destroy(self.0) };
    }
}

fn bytes(slice: &[u8]) -> (*const c_char, usize) {
    (slice.as_ptr().cast(), slice.len())
}

/// Makes a call that reports errors as a string, and takes the string.
fn checked<T>(call: impl FnOnce(*mut *mut c_char) -> T) -> Result<T> {
    let mut message: *mut c_char = ptr::null_mut();
    let result = call(&raw mut message);
    if message.is_null() {
        return Ok(result);
    }
    // SAFETY: LevelDB has put an allocated string there that ends in NUL; it is copied and then given back.
    let text = unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        c::leveldb_free(message);
        text
    };
    Err(Error::peer(LevelDb::NAME, text))
}
