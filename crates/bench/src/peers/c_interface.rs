//! What the C interfaces of LevelDB (`leveldb/c.h`, 1.23) and of RocksDB (`rocksdb/c.h`, 7.8) have in common: all but
//! the prefix of the names and the options that one of them has alone.
//!
//! Handles are made in [`CStore::new`], live as long as the store and are given back once, when it is dropped; both
//! libraries allow all calls here from many threads.

#![expect(unsafe_code, reason = "calls into a C library")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::slice;

use crate::{Compression, Direction, Error, Parameters, Result};

const NO_COMPRESSION: c_int = 0;
const SNAPPY: c_int = 1;

/// Types that only the library knows.
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
#[cfg(feature = "rocksdb")]
pub(super) use handles;

handles!(Db, Options, Cache, FilterPolicy, ReadOptions, WriteOptions, WriteBatch, Iterator);

/// Declares functions as a table of pointers to them, and a macro that links a table with a library.
macro_rules! functions {
    ($($name:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions of a library, by their names without the prefix.
        #[derive(Debug)]
        pub(super) struct Functions {
            $(pub(super) $name: unsafe extern "C" fn($($kind),*) $(-> $result)?,)*
        }

        /// The functions of the library of this name, where they begin with this prefix.
        macro_rules! link_with {
            ($library:literal, $prefix:literal) => {{
                use crate::peers::c_interface::{
                    Cache, Db, Functions, Iterator, Options, ReadOptions, WriteBatch, WriteOptions,
                };
                use std::ffi::{c_char, c_int};

                #[link(name = $library)]
                unsafe extern "C" {
                    $(
                        #[link_name = concat!($prefix, stringify!($name))]
                        fn $name($($argument: $kind),*) $(-> $result)?;
                    )*
                }
                Functions { $($name),* }
            }};
        }
        pub(super) use link_with;
    };
}

functions! {
    open(options: *const Options, name: *const c_char, error: *mut *mut c_char) -> *mut Db;
    close(db: *mut Db);
    put(
        db: *mut Db, options: *const WriteOptions, key: *const c_char, key_len: usize, value: *const c_char,
        value_len: usize, error: *mut *mut c_char
    );
    delete(
        db: *mut Db, options: *const WriteOptions, key: *const c_char, key_len: usize, error: *mut *mut c_char
    );
    write(db: *mut Db, options: *const WriteOptions, batch: *mut WriteBatch, error: *mut *mut c_char);
    get(
        db: *mut Db, options: *const ReadOptions, key: *const c_char, key_len: usize, value_len: *mut usize,
        error: *mut *mut c_char
    ) -> *mut c_char;
    create_iterator(db: *mut Db, options: *const ReadOptions) -> *mut Iterator;
    iter_destroy(iterator: *mut Iterator);
    iter_valid(iterator: *const Iterator) -> u8;
    iter_seek_to_first(iterator: *mut Iterator);
    iter_seek_to_last(iterator: *mut Iterator);
    iter_seek(iterator: *mut Iterator, key: *const c_char, key_len: usize);
    iter_next(iterator: *mut Iterator);
    iter_prev(iterator: *mut Iterator);
    iter_key(iterator: *const Iterator, key_len: *mut usize) -> *const c_char;
    iter_value(iterator: *const Iterator, value_len: *mut usize) -> *const c_char;
    iter_get_error(iterator: *const Iterator, error: *mut *mut c_char);
    writebatch_create() -> *mut WriteBatch;
    writebatch_destroy(batch: *mut WriteBatch);
    writebatch_put(
        batch: *mut WriteBatch, key: *const c_char, key_len: usize, value: *const c_char, value_len: usize
    );
    options_create() -> *mut Options;
    options_destroy(options: *mut Options);
    options_set_create_if_missing(options: *mut Options, value: u8);
    options_set_write_buffer_size(options: *mut Options, bytes: usize);
    options_set_compression(options: *mut Options, compression: c_int);
    cache_create_lru(bytes: usize) -> *mut Cache;
    cache_destroy(cache: *mut Cache);
    readoptions_create() -> *mut ReadOptions;
    readoptions_destroy(options: *mut ReadOptions);
    writeoptions_create() -> *mut WriteOptions;
    writeoptions_destroy(options: *mut WriteOptions);
    writeoptions_set_sync(options: *mut WriteOptions, value: u8);
    free(pointer: *mut c_char);
}

/// A store behind such an interface.
#[derive(Debug)]
pub(super) struct CStore {
    name: &'static str,
    functions: &'static Functions,
    db: *mut Db,
    options: *mut Options,
    cache: *mut Cache,
    reading: *mut ReadOptions,
    writing: *mut WriteOptions,
    writing_synced: *mut WriteOptions,
}

// SAFETY: the documentation of both libraries allows get, put, delete, write and making iterators on one database from
// many threads without a lock of the caller's, and the options are only read once it is open. No method that takes
// `&self` hands out a pointer but `options`, which the caller may only read from, too.
unsafe impl Sync for CStore {}

impl CStore {
    /// The options that both have, and no database yet.
    pub(super) fn new(name: &'static str, functions: &'static Functions, parameters: &Parameters) -> Result<Self> {
        let compression = match parameters.compression {
            Compression::Default | Compression::Snappy => SNAPPY,
            Compression::None => NO_COMPRESSION,
            other => return Err(Error::peer(name, format!("there is no {other:?} compression"))),
        };
        // SAFETY: these functions take no pointer but those that the ones before have just returned; the sizes and flags
        // are in their ranges. From here on `store` owns all of them.
        Ok(unsafe {
            let store = Self {
                name,
                functions,
                db: ptr::null_mut(),
                options: (functions.options_create)(),
                cache: (functions.cache_create_lru)(parameters.cache_bytes as usize),
                reading: (functions.readoptions_create)(),
                writing: (functions.writeoptions_create)(),
                writing_synced: (functions.writeoptions_create)(),
            };
            (functions.options_set_create_if_missing)(store.options, 1);
            (functions.options_set_write_buffer_size)(store.options, parameters.write_buffer_bytes as usize);
            (functions.options_set_compression)(store.options, compression);
            (functions.writeoptions_set_sync)(store.writing_synced, 1);
            store
        })
    }

    /// The options, alive as long as this. Only to be changed before [`CStore::open`].
    pub(super) fn options(&self) -> *mut Options {
        self.options
    }

    /// The cache, alive as long as this.
    pub(super) fn cache(&self) -> *mut Cache {
        self.cache
    }

    /// Opens the database, once.
    pub(super) fn open(&mut self, dir: &Path) -> Result<()> {
        let name = CString::new(dir.as_os_str().as_bytes()).map_err(|error| Error::peer(self.name, error))?;
        // SAFETY: the options are alive, the name ends in NUL and outlives the call.
        self.db = self.checked(|error| unsafe { (self.functions.open)(self.options, name.as_ptr(), error) })?;
        Ok(())
    }

    pub(super) fn put(&self, key: &[u8], value: &[u8], sync: bool) -> Result<()> {
        let (key, value) = (bytes(key), bytes(value));
        // SAFETY: database and options are alive; keys and values are given with their lengths and copied.
        self.checked(|error| unsafe {
            (self.functions.put)(self.db, self.writing(sync), key.0, key.1, value.0, value.1, error);
        })
    }

    pub(super) fn put_batch<'a>(
        &self,
        entries: impl std::iter::Iterator<Item = (&'a [u8], &'a [u8])>,
        sync: bool,
    ) -> Result<()> {
        // SAFETY: makes a batch that is destroyed below, once; nothing between returns early or panics but `entries`,
        // and then the batch leaks.
        let batch = unsafe { (self.functions.writebatch_create)() };
        for (key, value) in entries {
            let (key, value) = (bytes(key), bytes(value));
            // SAFETY: the batch is alive; keys and values are given with their lengths and copied.
            unsafe { (self.functions.writebatch_put)(batch, key.0, key.1, value.0, value.1) };
        }
        // SAFETY: database, options and batch are alive.
        let written =
            self.checked(|error| unsafe { (self.functions.write)(self.db, self.writing(sync), batch, error) });
        // SAFETY: the batch is alive and not used any more.
        unsafe { (self.functions.writebatch_destroy)(batch) };
        written
    }

    pub(super) fn delete(&self, key: &[u8], sync: bool) -> Result<()> {
        let key = bytes(key);
        // SAFETY: database and options are alive; the key is given with its length and copied.
        self.checked(|error| unsafe {
            (self.functions.delete)(self.db, self.writing(sync), key.0, key.1, error);
        })
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        let (key, mut value_len) = (bytes(key), 0);
        // SAFETY: database and options are alive, the key is given with its length.
        let value = self.checked(|error| unsafe {
            (self.functions.get)(self.db, self.reading, key.0, key.1, &raw mut value_len, error)
        })?;
        if value.is_null() {
            return Ok(None);
        }
        // SAFETY: the value was allocated by the call and is not used any more.
        unsafe { (self.functions.free)(value) };
        Ok(Some(value_len))
    }

    pub(super) fn scan(
        &self,
        from: Option<&[u8]>,
        direction: Direction,
        limit: u64,
        mut visit: impl FnMut(&[u8], &[u8]),
    ) -> Result<u64> {
        // SAFETY: database and options are alive; the cursor destroys the iterator before the database can be closed.
        let iterator = unsafe { (self.functions.create_iterator)(self.db, self.reading) };
        let mut cursor = Cursor { functions: self.functions, iterator };
        cursor.start(from, direction);
        let mut visited = 0;
        while visited < limit && cursor.valid() {
            cursor.visit(&mut visit);
            visited += 1;
            cursor.step(direction);
        }
        // SAFETY: the iterator is alive.
        self.checked(|error| unsafe { (self.functions.iter_get_error)(cursor.iterator, error) })?;
        Ok(visited)
    }

    fn writing(&self, sync: bool) -> *const WriteOptions {
        if sync { self.writing_synced } else { self.writing }
    }

    /// Makes a call that reports errors as a string, and takes the string.
    fn checked<T>(&self, call: impl FnOnce(*mut *mut c_char) -> T) -> Result<T> {
        let mut message: *mut c_char = ptr::null_mut();
        let result = call(&raw mut message);
        if message.is_null() {
            return Ok(result);
        }
        // SAFETY: the library has put an allocated string there that ends in NUL.
        let text = unsafe { self.take_string(message) };
        Err(Error::peer(self.name, text))
    }

    /// Copies a string of the library's and gives it back.
    ///
    /// # Safety
    /// The library has allocated it, it ends in NUL and is not used any more.
    pub(super) unsafe fn take_string(&self, string: *mut c_char) -> String {
        // SAFETY: the caller says so.
        unsafe {
            let text = CStr::from_ptr(string).to_string_lossy().into_owned();
            (self.functions.free)(string);
            text
        }
    }
}

impl Drop for CStore {
    fn drop(&mut self) {
        // SAFETY: each handle was made in `new` or `open` and is given back here alone; the database, which uses the
        // others, goes first, and there is none where opening it failed.
        unsafe {
            if !self.db.is_null() {
                (self.functions.close)(self.db);
            }
            (self.functions.writeoptions_destroy)(self.writing_synced);
            (self.functions.writeoptions_destroy)(self.writing);
            (self.functions.readoptions_destroy)(self.reading);
            (self.functions.options_destroy)(self.options);
            (self.functions.cache_destroy)(self.cache);
        }
    }
}

/// An iterator that is destroyed when dropped.
struct Cursor {
    functions: &'static Functions,
    iterator: *mut Iterator,
}

impl Cursor {
    fn start(&mut self, from: Option<&[u8]>, direction: Direction) {
        // SAFETY: the iterator is alive; the key is given with its length.
        unsafe {
            match (from.map(bytes), direction) {
                (None, Direction::Forward) => (self.functions.iter_seek_to_first)(self.iterator),
                (None, Direction::Reverse) => (self.functions.iter_seek_to_last)(self.iterator),
                (Some(key), _) => (self.functions.iter_seek)(self.iterator, key.0, key.1),
            }
        }
        // Seeks go to the first key at or behind; in reverse the last one at or before is asked for.
        if let (Some(key), Direction::Reverse) = (from, direction) {
            if !self.valid() {
                // SAFETY: the iterator is alive.
                unsafe { (self.functions.iter_seek_to_last)(self.iterator) };
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
        unsafe { (self.functions.iter_valid)(self.iterator) != 0 }
    }

    /// Only on a valid iterator.
    fn visit(&self, visit: &mut impl FnMut(&[u8], &[u8])) {
        let (mut key_len, mut value_len) = (0, 0);
        // SAFETY: the iterator is alive and stands on an entry, as the callers have seen; its key and value stay where
        // they are until it moves, which is after `visit` has returned.
        unsafe {
            let key = (self.functions.iter_key)(self.iterator, &raw mut key_len);
            let value = (self.functions.iter_value)(self.iterator, &raw mut value_len);
            visit(slice::from_raw_parts(key.cast(), key_len), slice::from_raw_parts(value.cast(), value_len));
        }
    }

    /// Only on a valid iterator.
    fn step(&mut self, direction: Direction) {
        // SAFETY: the iterator is alive and stands on an entry, as the callers have seen.
        unsafe {
            match direction {
                Direction::Forward => (self.functions.iter_next)(self.iterator),
                Direction::Reverse => (self.functions.iter_prev)(self.iterator),
            }
        }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        // SAFETY: the iterator is alive, and destroyed here alone.
        unsafe { (self.functions.iter_destroy)(self.iterator) };
    }
}

fn bytes(slice: &[u8]) -> (*const c_char, usize) {
    (slice.as_ptr().cast(), slice.len())
}
