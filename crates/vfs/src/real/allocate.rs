//! Space ahead of the appends, allocated in full, so that a full disk shows here and not at a write into a mapping.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// Zeros are written in pieces of this size where the file system cannot allocate.
const ZEROS: &[u8] = &[0; 64 << 10];

/// Allocates `from..to`, the part behind the end of the file, which is `to` bytes long then and reads as zeros there.
/// If there is no room for all of it the file is as before.
pub(super) fn extend(file: &File, from: u64, to: u64) -> io::Result<()> {
    let extended = match rustix::io::retry_on_intr(|| {
        rustix::fs::fallocate(file, FallocateFlags::empty(), from, to.saturating_sub(from))
    }) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(file, from, to),
        other => other.map_err(io::Error::from),
    };
    if extended.is_err() {
        // Gives back what part of it was had. If that fails too, the file is longer than it need be, which does no harm.
        let _ = file.set_len(from);
    }
    extended
}

/// Overwrites `from..to` with zeros, extending the file if need be.
pub(super) fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let count = (to - at).min(ZEROS.len() as u64);
        let piece = usize::try_from(count).ok().and_then(|count| ZEROS.get(..count)).unwrap_or(ZEROS);
        file.write_all_at(piece, at)?;
        at += count;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> File {
        File::from(rustix::fs::memfd_create("vfs-allocate-test", rustix::fs::MemfdFlags::CLOEXEC).unwrap())
    }

    #[test]
    fn allocated_space_is_in_full_and_reads_as_zeros() {
        let file = scratch();
        extend(&file, 0, 100_000).unwrap();
        let blocks = std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap());
        assert!(blocks * 512 >= 100_000, "{blocks} blocks are a hole");
        let mut bytes = vec![1; 100_000];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn zeros_stand_in_where_the_file_system_cannot_allocate() {
        let file = scratch();
        file.write_all_at(b"kept, stale", 0).unwrap();
        write_zeros(&file, 4, 150_000).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 150_000);
        let mut bytes = vec![1; 150_000];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes[..4], b"kept");
        assert!(bytes[4..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn an_allocation_that_fails_leaves_the_file_as_it_was() {
        let file = scratch();
        file.write_all_at(b"here", 0).unwrap();
        let error = extend(&file, 4, u64::MAX).unwrap_err();
        assert_eq!(file.metadata().unwrap().len(), 4, "{error}");
    }
}
