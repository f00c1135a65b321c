//! Badger 2, under measurement: a library that `cargo xtask peers` builds out of `tools/badger`, loaded at run time.
//!
//! The functions are declared as `tools/badger/main.go` exports them. Those that can fail return a string to give back,
//! or nothing; bytes are borrowed for the time of a call.

#![expect(unsafe_code, reason = "calls into a library of another language")]

use std::ffi::{CStr, CString, OsString, c_char, c_int, c_void};
use std::mem::transmute_copy;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;

use super::SEPARATED_FROM_BYTES;
use crate::{Compression, Direction, Error, Parameters, Result, Store};

/// Names the file of the library.
const LIBRARY_VARIABLE: &str = "RATEL_BADGER_LIBRARY";
/// Bytes that entries of a scan are handed over in, where one is not longer.
const SCAN_BYTES: usize = 64 << 10;
const LENGTH_BYTES: usize = 4;
/// Bytes of a file of the value log, and what stands for Badger's default, a gibibyte.
const TUNED_FILE_BYTES: u64 = 64 << 20;
const DEFAULT_FILE_BYTES: u64 = 0;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

const RTLD_NOW: c_int = 2;

/// Declares the functions of the library as a table, and how it is read from there.
macro_rules! functions {
    ($($name:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)?;)*) => {
        #[derive(Debug)]
        struct Functions {
            $($name: unsafe extern "C" fn($($kind),*) $(-> $result)?,)*
        }

        impl Functions {
            /// # Safety
            /// The library's functions of these names are of these types.
            unsafe fn load(library: *mut c_void) -> std::result::Result<Self, String> {
                Ok(Self {
                    $($name: {
                        let name = concat!("ratel_badger_", stringify!($name), "\0");
                        // SAFETY: the library is open, and the name ends in NUL.
                        let symbol = unsafe { dlsym(library, name.as_ptr().cast()) };
                        if symbol.is_null() {
                            return Err(last_error());
                        }
                        // SAFETY: it is a pointer to a function of this type, as the caller says.
                        unsafe { transmute_copy(&symbol) }
                    },)*
                })
            }
        }
    };
}

functions! {
    open(
        dir: *const c_char, memtable_bytes: u64, cache_bytes: u64, separated_from_bytes: u64,
        value_log_file_bytes: u64, snappy: u8, zstd: u8, collects: u8, handle: *mut u64
    ) -> *mut c_char;
    close(handle: u64) -> *mut c_char;
    put(
        handle: u64, key: *const u8, key_len: usize, value: *const u8, value_len: usize, sync: u8
    ) -> *mut c_char;
    delete(handle: u64, key: *const u8, key_len: usize, sync: u8) -> *mut c_char;
    write(handle: u64, entries: *const u8, entries_len: usize, sync: u8) -> *mut c_char;
    get(handle: u64, key: *const u8, key_len: usize, value_len: *mut i64) -> *mut c_char;
    cursor(handle: u64, from: *const u8, from_len: usize, reverse: u8) -> u64;
    next(
        cursor: u64, limit: u64, buffer: *mut u8, buffer_len: usize, filled: *mut usize, needed: *mut usize
    ) -> *mut c_char;
    cursor_close(cursor: u64);
    free(message: *mut c_char);
}

/// Badger with value-log files as by default, or so small that a store of a gigabyte has several to collect.
#[derive(Debug)]
pub struct Badger<const TUNED: bool> {
    functions: &'static Functions,
    handle: u64,
}

impl<const TUNED: bool> Store for Badger<TUNED> {
    const NAME: &'static str = if TUNED { "badger2-tuned" } else { "badger2" };

    fn about(parameters: &Parameters) -> String {
        let compression = match parameters.compression {
            Compression::Default | Compression::None => "none",
            Compression::Snappy => "Snappy, none of values",
            _ => "Zstd of level 1, none of values",
        };
        format!(
            "2.2007 as the system has it; compression: {compression}; a commit is one write call to the value log; \
             cache: blocks; values from {SEPARATED_FROM_BYTES} bytes on in the value log alone, whose files of {} are \
             collected every second with discard ratio 0.5",
            if TUNED { "64 MiB" } else { "1 GiB" },
        )
    }

    fn open(dir: &Path, parameters: &Parameters) -> Result<Self> {
        let (snappy, zstd) = match parameters.compression {
            Compression::Default | Compression::None => (0, 0),
            Compression::Snappy => (1, 0),
            Compression::Zstd => (0, 1),
            other @ Compression::Adaptive => return Err(error(format!("there is no {other:?} compression"))),
        };
        let functions = functions()?;
        let name = CString::new(dir.as_os_str().as_bytes()).map_err(error)?;
        let mut handle = 0;
        // SAFETY: the name ends in NUL and outlives the call, and so does the handle.
        checked(functions, unsafe {
            (functions.open)(
                name.as_ptr(),
                parameters.write_buffer_bytes,
                parameters.cache_bytes,
                SEPARATED_FROM_BYTES,
                if TUNED { TUNED_FILE_BYTES } else { DEFAULT_FILE_BYTES },
                snappy,
                zstd,
                u8::from(parameters.collects_values),
                &raw mut handle,
            )
        })?;
        Ok(Self { functions, handle })
    }

    fn put(&self, key: &[u8], value: &[u8], sync: bool) -> Result<()> {
        let (functions, sync) = (self.functions, u8::from(sync));
        // SAFETY: the store is open; key and value are given with their lengths and outlive the call.
        checked(functions, unsafe {
            (functions.put)(self.handle, key.as_ptr(), key.len(), value.as_ptr(), value.len(), sync)
        })
    }

    fn put_batch<'a>(&self, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>, sync: bool) -> Result<()> {
        let mut batch = Vec::new();
        for (key, value) in entries {
            for part in [key, value] {
                batch.extend_from_slice(&u32::try_from(part.len()).map_err(error)?.to_le_bytes());
            }
            batch.extend_from_slice(key);
            batch.extend_from_slice(value);
        }
        // SAFETY: the store is open; the entries are laid out as the library reads them and outlive the call.
        checked(self.functions, unsafe {
            (self.functions.write)(self.handle, batch.as_ptr(), batch.len(), u8::from(sync))
        })
    }

    fn delete(&self, key: &[u8], sync: bool) -> Result<()> {
        // SAFETY: the store is open; the key is given with its length and outlives the call.
        checked(self.functions, unsafe {
            (self.functions.delete)(self.handle, key.as_ptr(), key.len(), u8::from(sync))
        })
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        let mut value_len = 0;
        // SAFETY: the store is open; the key is given with its length and outlives the call, as does the result.
        checked(self.functions, unsafe {
            (self.functions.get)(self.handle, key.as_ptr(), key.len(), &raw mut value_len)
        })?;
        Ok(usize::try_from(value_len).ok())
    }

    fn scan(
        &self,
        from: Option<&[u8]>,
        direction: Direction,
        limit: u64,
        mut visit: impl FnMut(&[u8], &[u8]),
    ) -> Result<u64> {
        let (start, start_len) = from.map_or((ptr::null(), 0), |key| (key.as_ptr(), key.len()));
        let reverse = u8::from(direction == Direction::Reverse);
        // SAFETY: the store is open; the key is given with its length and outlives the call.
        let handle = unsafe { (self.functions.cursor)(self.handle, start, start_len, reverse) };
        let cursor = Cursor { functions: self.functions, handle };
        let mut buffer = vec![0; SCAN_BYTES];
        let mut visited = 0;
        while visited < limit {
            match cursor.next(limit - visited, &mut buffer)? {
                Filled::Bytes(0) => break,
                Filled::Bytes(bytes) => {
                    let entries = buffer.get(..bytes).unwrap_or_default();
                    visited += visit_all(entries, &mut visit).ok_or_else(|| error("entries that are cut off"))?;
                }
                Filled::Needs(bytes) => buffer.resize(bytes, 0),
            }
        }
        Ok(visited)
    }

    fn close(self) -> Result<()> {
        // SAFETY: the store is open and not used any more.
        checked(self.functions, unsafe { (self.functions.close)(self.handle) })
    }
}

/// An iterator that is closed when dropped.
struct Cursor {
    functions: &'static Functions,
    handle: u64,
}

/// What the next entries of a scan took.
enum Filled {
    /// So many bytes of the buffer; none where there are no more.
    Bytes(usize),
    /// More bytes than the buffer has: so many.
    Needs(usize),
}

impl Cursor {
    fn next(&self, limit: u64, buffer: &mut [u8]) -> Result<Filled> {
        let (mut filled, mut needed) = (0, 0);
        let (start, len) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: the cursor is open; the buffer is given with its length and outlives the call, as do the results.
        checked(self.functions, unsafe {
            (self.functions.next)(self.handle, limit, start, len, &raw mut filled, &raw mut needed)
        })?;
        Ok(if filled == 0 && needed > 0 { Filled::Needs(needed) } else { Filled::Bytes(filled) })
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        // SAFETY: the cursor is open, and closed here alone.
        unsafe { (self.functions.cursor_close)(self.handle) };
    }
}

/// Visits entries that stand one behind the other; returns how many, or none where the last one is cut off.
fn visit_all(mut entries: &[u8], visit: &mut impl FnMut(&[u8], &[u8])) -> Option<u64> {
    let mut visited = 0;
    while !entries.is_empty() {
        let (key_len, rest) = entries.split_first_chunk::<LENGTH_BYTES>()?;
        let (value_len, rest) = rest.split_first_chunk::<LENGTH_BYTES>()?;
        let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_len) as usize)?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_len) as usize)?;
        visit(key, value);
        visited += 1;
        entries = rest;
    }
    Some(visited)
}

/// The library, loaded once and never given back: Go has no end.
fn functions() -> Result<&'static Functions> {
    static LOADED: OnceLock<std::result::Result<Functions, String>> = OnceLock::new();
    let load = || {
        let path = std::env::var_os(LIBRARY_VARIABLE).ok_or_else(|| format!("{LIBRARY_VARIABLE} names no library"))?;
        load(&path)
    };
    LOADED.get_or_init(load).as_ref().map_err(error)
}

fn load(path: &OsString) -> std::result::Result<Functions, String> {
    let path = CString::new(path.as_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: the path ends in NUL; what loading the library runs is Go's start.
    let library = unsafe { dlopen(path.as_ptr(), RTLD_NOW) };
    if library.is_null() {
        return Err(last_error());
    }
    // SAFETY: the types above are those of `tools/badger`, from which the library is built.
    unsafe { Functions::load(library) }
}

fn last_error() -> String {
    // SAFETY: takes nothing; what it returns ends in NUL and stays until the next such call of this thread.
    let message = unsafe { dlerror() };
    if message.is_null() {
        return "no library, and no reason".to_owned();
    }
    // SAFETY: as above; it is copied at once.
    unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned()
}

/// Takes the message of a call that failed.
fn checked(functions: &Functions, message: *mut c_char) -> Result<()> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: the library has allocated a string that ends in NUL; it is copied and then given back.
    let text = unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        (functions.free)(message);
        text
    };
    Err(error(text))
}

fn error(error: impl std::fmt::Display) -> Error {
    Error::peer("badger2", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_one_behind_the_other_and_none_that_is_cut_off() {
        let bytes = b"\x01\0\0\0\x02\0\0\0kvv\x02\0\0\0\0\0\0\0kk";
        let mut seen = Vec::new();
        let visited = visit_all(bytes, &mut |key: &[u8], value: &[u8]| seen.push((key.to_vec(), value.to_vec())));
        assert_eq!((visited, seen), (Some(2), vec![(b"k".to_vec(), b"vv".to_vec()), (b"kk".to_vec(), vec![])]));
        for len in [1, 7, 10, 12, bytes.len() - 1] {
            assert_eq!(visit_all(&bytes[..len], &mut |_: &[u8], _: &[u8]| ()), None, "{len}");
        }
    }
}
