//! Memory mappings: the only `unsafe` code of this crate.
//!
//! What all of it rests on
//! 1. A mapping never reaches past the end of its file when it is made: read mappings are checked against the file's
//!    length, windows for appending cover allocated space only. So no access faults, unless another program cuts the file
//!    or the device fails, which ends the process (see the crate's documentation).
//! 2. Bytes that a read mapping shows do not change. Files are never overwritten; the one part of a file that is still
//!    being written, behind the appended length, is not given out: `real::appending` tells how far a file has been
//!    appended, and a mapping past that is refused.
//! 3. Another process that writes into our files breaks rule 2; the store's lock file keeps our own processes out.
//!
//! Called by `real` only.

#![expect(unsafe_code, reason = "memory mappings cannot be had without; each block carries its argument")]

use std::fs::File;
use std::io;

use memmap2::{Advice, Mmap, MmapOptions, MmapRaw};

/// Pages are faulted in for writing this many bytes ahead of an append, by one system call.
const POPULATE_BYTES: usize = 32 << 10;

/// Maps the first `len` bytes of `file` for reading. The caller has checked rules 1 and 2 for them.
pub(crate) fn map_read(file: &File, len: usize) -> io::Result<Mmap> {
    // SAFETY: the result derefs to `&[u8]`, so the bytes must be readable and must not change while it lives. Readable:
    // the caller checked `len` against the file's length. Unchanging: the caller checked `len` against what was appended,
    // appended bytes are never overwritten, and dropping them (`AppendFile::cut`, `Vfs::truncate`) is documented to need
    // that nobody has mapped them.
    unsafe { MmapOptions::new().len(len).map(file) }
}

/// A writable window onto the allocated, not yet appended part of a file.
#[derive(Debug)]
pub(crate) struct AppendWindow {
    map: MmapRaw,
    /// Where in the file it starts.
    start: u64,
    /// Where the pages end that were made present for writing.
    populated: usize,
}

impl AppendWindow {
    /// Maps `len` bytes from `start`, which the caller has allocated.
    pub(crate) fn new(file: &File, start: u64, len: usize) -> io::Result<Self> {
        let map = MmapOptions::new().offset(start).len(len).map_raw(file)?;
        // Otherwise the first fault reads ahead, which for space that was never written is to zero megabytes of memory
        // while an append waits: 2 ms, against 20 us for what is populated at once. Without the advice it is only slower.
        let _ = map.advise(Advice::Random);
        Ok(Self { map, start, populated: 0 })
    }

    /// Copies as much of `bytes` to the file offset `at` as fits in the window, and returns how much that was.
    #[inline]
    pub(crate) fn copy_in(&mut self, at: u64, bytes: &[u8]) -> io::Result<usize> {
        let Some(from) = at.checked_sub(self.start).and_then(|from| usize::try_from(from).ok()) else { return Ok(0) };
        let count = bytes.len().min(self.map.len().saturating_sub(from));
        if count == 0 {
            return Ok(0);
        }
        if from + count > self.populated {
            self.populate(from, from + count)?;
        }
        // SAFETY: `from + count <= self.map.len()` (count is capped by the difference, which is positive here), so the
        // target lies inside one live, writable mapping of allocated file space. Nothing in this process has a reference
        // to the target: the window hands none out, `&mut self` keeps other writers of this window off, only one
        // `AppendFile` owns the file (it was created new), and read mappings end at the appended length, which is at most
        // `at`. `bytes` is ordinary memory that therefore cannot overlap the target.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.map.as_mut_ptr().add(from), count);
        }
        Ok(count)
    }

    /// Faults in the pages of `from..end` and some ahead. What would be a fault at the copy (a full disk under a copy-on-write
    /// file system) is an error here instead.
    #[cold]
    fn populate(&mut self, from: usize, end: usize) -> io::Result<()> {
        let start = self.populated.max(from - from % POPULATE_BYTES);
        let end = end.next_multiple_of(POPULATE_BYTES).min(self.map.len());
        match self.map.advise_range(Advice::PopulateWrite, start, end - start) {
            Ok(()) => {}
            // Kernels before 5.14 do not know it: the copy faults the pages in one by one.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => return Err(error),
        }
        self.populated = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// An unnamed file of `len` zeros.
    fn scratch(len: u64) -> File {
        let fd = rustix::fs::memfd_create("vfs-map-test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let file = File::from(fd);
        file.set_len(len).unwrap();
        file
    }

    #[test]
    fn a_window_copies_only_what_lies_inside_it() {
        let file = scratch(3 * 4096);
        let mut window = AppendWindow::new(&file, 4096, 4096).unwrap();
        assert_eq!(window.copy_in(4095, b"before").unwrap(), 0);
        assert_eq!(window.copy_in(8192, b"behind").unwrap(), 0);
        assert_eq!(window.copy_in(8190, b"across").unwrap(), 2);
        assert_eq!(window.copy_in(4096, b"start").unwrap(), 5);
        let mut bytes = vec![0; 3 * 4096];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let written: Vec<usize> = (0..bytes.len()).filter(|&i| bytes[i] != 0).collect();
        assert_eq!(written, [4096, 4097, 4098, 4099, 4100, 8190, 8191]);
        assert_eq!(&bytes[8190..8192], b"ac");
    }

    #[test]
    fn a_read_mapping_sees_what_a_window_copied() {
        let file = scratch(8192);
        let mut window = AppendWindow::new(&file, 0, 8192).unwrap();
        window.copy_in(0, b"seen").unwrap();
        assert_eq!(&map_read(&file, 4).unwrap()[..], b"seen");
    }
}
