//! The file in which a child says what each of its threads is in the middle of, for its parent to read after the kill.
//! Two bytes a thread: what a process has written before it dies stays.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// More threads than a child has.
const SLOTS: u64 = 64;

/// The child's side.
#[derive(Debug)]
pub(crate) struct StatusPage {
    file: File,
    next_slot: AtomicU64,
}

impl StatusPage {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        file.write_all_at(&[0; 2 * SLOTS as usize], 0)?;
        Ok(Self { file, next_slot: AtomicU64::new(0) })
    }

    /// A place for one more thread. Threads beyond the last share it.
    pub(crate) fn take_slot(&self) -> u64 {
        self.next_slot.fetch_add(1, Ordering::Relaxed).min(SLOTS - 1)
    }

    pub(crate) fn publish(&self, slot: u64, phases: u16) -> io::Result<()> {
        self.file.write_all_at(&phases.to_le_bytes(), 2 * slot)
    }
}

/// The parent's side: the phases that any thread was in.
pub(crate) fn phases_at_death(path: &Path) -> io::Result<u16> {
    let page = fs::read(path)?;
    Ok(page.as_chunks().0.iter().fold(0, |phases, slot| phases | u16::from_le_bytes(*slot)))
}
