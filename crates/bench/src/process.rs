//! What the process has cost: CPU time, bytes written, memory. All from the kernel, so that it is the same for every
//! store.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::{Error, Result};

const STATUS: &str = "/proc/self/status";
const SAMPLE_EVERY: Duration = Duration::from_millis(10);
/// Background work rests when the process has used next to no CPU for this long.
const IDLE_FOR: Duration = Duration::from_millis(100);
const IDLE_CPU_SECONDS: f64 = 0.004;
const IDLE_WINDOWS: u32 = 2;
/// Windows after which a store that never rests is measured as it is: two minutes.
const WINDOWS_MAX: u32 = 1_200;

/// CPU seconds that all threads of the process have used, in the kernel and outside.
pub(crate) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Bytes that the process has caused to be written, counted where pages become dirty: a page written many times before
/// the kernel cleans it counts once. All are zero where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileBytes {
    pub(crate) written: u64,
    /// Those of them that never got to the disk, since their file was removed before.
    pub(crate) cancelled: u64,
}

impl FileBytes {
    /// Since the process began.
    pub(crate) fn so_far() -> Self {
        let text = fs::read_to_string("/proc/self/io").unwrap_or_default();
        Self {
            written: field(&text, "write_bytes:").unwrap_or(0),
            cancelled: field(&text, "cancelled_write_bytes:").unwrap_or(0),
        }
    }

    /// From an earlier count up to now.
    pub(crate) fn since(earlier: Self) -> Self {
        let now = Self::so_far();
        Self {
            written: now.written.saturating_sub(earlier.written),
            cancelled: now.cancelled.saturating_sub(earlier.cancelled),
        }
    }
}

/// Most memory that was resident since the last [`reset_peak_rss`], files included.
pub(crate) fn peak_rss_bytes() -> Result<u64> {
    status_kib("VmHWM:")
}

/// Lets the peak begin anew. Where the kernel does not allow it, it stays that of the whole process.
pub(crate) fn reset_peak_rss() {
    const RESET_PEAK: &str = "5";
    let _ = fs::write("/proc/self/clear_refs", RESET_PEAK);
}

/// Waits until background work of the store rests.
pub(crate) fn wait_until_idle() {
    let mut idle = 0;
    for _ in 0..WINDOWS_MAX {
        let before = cpu_seconds();
        thread::sleep(IDLE_FOR);
        // Who waits for a disk uses no CPU either, but is not at rest.
        let rests = cpu_seconds() - before < IDLE_CPU_SECONDS && threads_waiting_for_disk() == 0;
        idle = if rests { idle + 1 } else { 0 };
        if idle == IDLE_WINDOWS {
            return;
        }
    }
}

/// Threads of the process that wait for a disk at this moment: such a wait is the one that nothing interrupts.
pub(crate) fn threads_waiting_for_disk() -> usize {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return 0 };
    let stats = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    stats.filter(|stat| is_uninterruptible(stat)).count()
}

/// Reads the state in a thread's `stat`, behind its name, which may hold anything.
fn is_uninterruptible(stat: &str) -> bool {
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('D'))
}

/// Watches anonymous memory (what is not the page cache's) and keeps its peak.
#[derive(Debug)]
pub(crate) struct AnonymousMemory {
    peak_bytes: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    sampler: Option<JoinHandle<()>>,
}

impl AnonymousMemory {
    /// Samples every ten milliseconds from now on.
    pub(crate) fn watch() -> Result<Self> {
        let peak_bytes = Arc::new(AtomicU64::new(anonymous_bytes()?));
        let stop = Arc::new(AtomicBool::new(false));
        let sampler = {
            let (peak_bytes, stop) = (Arc::clone(&peak_bytes), Arc::clone(&stop));
            thread::spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    peak_bytes.fetch_max(anonymous_bytes().unwrap_or(0), Ordering::Relaxed);
                    thread::park_timeout(SAMPLE_EVERY);
                }
            })
        };
        Ok(Self { peak_bytes, stop, sampler: Some(sampler) })
    }

    /// The most that was there at a sample.
    pub(crate) fn peak_bytes(self) -> Result<u64> {
        Ok(self.peak_bytes.load(Ordering::Relaxed).max(anonymous_bytes()?))
    }
}

impl Drop for AnonymousMemory {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(sampler) = self.sampler.take() {
            sampler.thread().unpark();
            let _ = sampler.join();
        }
    }
}

fn anonymous_bytes() -> Result<u64> {
    status_kib("RssAnon:")
}

fn status_kib(name: &str) -> Result<u64> {
    let text = fs::read_to_string(STATUS).map_err(|source| Error::file(Path::new(STATUS), source))?;
    Ok(field(&text, name).unwrap_or(0) * 1_024)
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_cpu_time_and_memory() {
        let before = cpu_seconds();
        let memory = AnonymousMemory::watch().unwrap();
        let block = vec![1_u8; 64 << 20];
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        assert_eq!(sum, 64 << 20);
        assert!(memory.peak_bytes().unwrap() >= 64 << 20);
        assert!(peak_rss_bytes().unwrap() >= 64 << 20);
        assert!(cpu_seconds() > before);
    }

    #[test]
    fn a_thread_that_waits_for_a_disk_is_told_from_one_that_rests() {
        assert!(is_uninterruptible("7 (flush) D 1 7"));
        assert!(!is_uninterruptible("7 (flush) S 1 7"));
        assert!(!is_uninterruptible("7 (a) D (b) S 1 7"));
    }

    #[test]
    fn fields_are_found_at_the_beginning_of_lines() {
        let text = "cancelled_write_bytes: 1\nwrite_bytes: 42\nRssAnon:\t  7 kB\n";
        assert_eq!((field(text, "write_bytes:"), field(text, "RssAnon:"), field(text, "x")), (Some(42), Some(7), None));
    }
}
