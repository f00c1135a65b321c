//! How a store is opened, by the names of Bitcask and Riak.

use std::time::Duration;

use base::clock::{Clock, SystemClock};
use base::sync::Arc;
use vfs::{RealFs, Vfs};
use vlog::IoMode;

use crate::{Error, Result};

/// When writes are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SyncStrategy {
    /// When the system likes to, and by [`Bitcask::sync`](crate::Bitcask::sync). The death of the process loses nothing, a
    /// power loss may lose the newest writes.
    #[default]
    None,
    /// Before each write returns (Bitcask's `o_sync`). Threads that write at once share a sync.
    Always,
    /// In the background, when this much time has passed since the last one; without a thread, by the first write after that.
    Interval(Duration),
}

/// When merges may start by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MergeWindow {
    /// At any time.
    #[default]
    Always,
    /// Only when asked for.
    Never,
    /// From the start of one hour of the day to the end of another (0 to 23, UTC), over midnight if need be.
    Hours {
        /// The first hour.
        from: u8,
        /// The last hour.
        to: u8,
    },
}

impl MergeWindow {
    /// Whether a merge may start at this time, in seconds since the Unix epoch.
    #[must_use]
    pub fn is_open_at(self, unix_seconds: u64) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Hours { from, to } => {
                let hour = unix_seconds / 3_600 % 24;
                let (from, to) = (u64::from(from), u64::from(to));
                if from <= to { (from..=to).contains(&hour) } else { hour >= from || hour <= to }
            }
        }
    }
}

/// How a store is opened. The defaults are Riak's, but for `io_mode`, which it does not have.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether a store is made where there is none (default true).
    pub create_if_missing: bool,
    /// Whether nothing may be written (default false). Such an open takes no lock: it shows a prefix of the writes up to
    /// now, whoever writes meanwhile, and nothing newer.
    pub read_only: bool,
    /// When writes are made durable (default: when the system likes to).
    pub sync_strategy: SyncStrategy,
    /// Bytes after which the next record starts a new file, up to 4 GiB - 1 (default 2 GiB).
    pub max_file_size: u64,
    /// Seconds after which what is written from now on expires (default: never).
    pub expiry_secs: Option<u64>,
    /// Seconds that an expired record is left in its file for, so that not every expiry asks for a merge (default 0).
    pub expiry_grace_time: u64,
    /// When merges may start by themselves (default: at any time).
    pub merge_window: MergeWindow,
    /// How often the background thread looks, at least, whether some file calls for a merge though nobody writes, as records
    /// expire (default 3 minutes).
    pub merge_check_interval: Duration,
    /// Dead records of a file, in percent, that call for a merge (default 60).
    pub frag_merge_trigger: u8,
    /// Dead bytes of a file that call for a merge (default 512 MiB).
    pub dead_bytes_merge_trigger: u64,
    /// Dead records of a file, in percent, with which it joins a merge (default 40).
    pub frag_threshold: u8,
    /// Dead bytes of a file with which it joins a merge (default 128 MiB).
    pub dead_bytes_threshold: u64,
    /// Bytes below which a file joins a merge, so that small ones become one (default 10 MiB).
    pub small_file_threshold: u64,
    /// Most bytes of files that one merge takes on, but for a single file (default 100 GiB).
    pub max_merge_size: u64,
    /// Whether a thread seals full files, syncs at intervals and merges (default true). Without it, writes do what is due
    /// themselves, and nothing is done between writes.
    pub background: bool,
    /// Where reads get their bytes (default: by positioned reads, of which each error is a typed one).
    pub io_mode: IoMode,
    /// Where the files are (default: on this machine).
    pub vfs: Arc<dyn Vfs>,
    /// What time it is (default: what the system says).
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            create_if_missing: true,
            read_only: false,
            sync_strategy: SyncStrategy::None,
            max_file_size: 2 << 30,
            expiry_secs: None,
            expiry_grace_time: 0,
            merge_window: MergeWindow::Always,
            merge_check_interval: Duration::from_secs(180),
            frag_merge_trigger: 60,
            dead_bytes_merge_trigger: 512 << 20,
            frag_threshold: 40,
            dead_bytes_threshold: 128 << 20,
            small_file_threshold: 10 << 20,
            max_merge_size: 100 << 30,
            background: true,
            io_mode: IoMode::Pread,
            vfs: Arc::new(RealFs::new()),
            clock: Arc::new(SystemClock::new()),
        }
    }
}

impl Options {
    pub(crate) fn validate(&self) -> Result<()> {
        let wrong = |what| Err(Error::InvalidArgument(what));
        if self.max_file_size == 0 || self.max_file_size > u64::from(u32::MAX) {
            return wrong("max_file_size must be from 1 to 4 GiB - 1");
        }
        if self.frag_merge_trigger > 100 || self.frag_threshold > 100 {
            return wrong("a fragmentation is a percentage, from 0 to 100");
        }
        if self.expiry_secs == Some(0) {
            return wrong("expiry_secs must be at least 1");
        }
        if matches!(self.sync_strategy, SyncStrategy::Interval(interval) if interval.is_zero()) {
            return wrong("a sync interval must not be zero");
        }
        if self.merge_check_interval.is_zero() {
            return wrong("merge_check_interval must not be zero");
        }
        if matches!(self.merge_window, MergeWindow::Hours { from, to } if from > 23 || to > 23) {
            return wrong("an hour of a merge window is from 0 to 23");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_window_is_open_from_its_first_hour_to_the_end_of_its_last() {
        let hours =
            |window: MergeWindow| (0..24).filter(|hour| window.is_open_at(hour * 3_600 + 1)).collect::<Vec<_>>();
        assert_eq!(hours(MergeWindow::Hours { from: 2, to: 4 }), [2, 3, 4]);
        assert_eq!(hours(MergeWindow::Hours { from: 23, to: 1 }), [0, 1, 23]);
        assert_eq!(hours(MergeWindow::Never), []);
        assert_eq!(hours(MergeWindow::Always).len(), 24);
        assert!(MergeWindow::Hours { from: 5, to: 5 }.is_open_at(86_400 * 365 + 6 * 3_600 - 1));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |change: fn(&mut Options)| {
            let mut options = Options::default();
            change(&mut options);
            matches!(options.validate(), Err(Error::InvalidArgument(_)))
        };
        assert!(Options::default().validate().is_ok());
        assert!(refused(|options| options.max_file_size = 0));
        assert!(refused(|options| options.max_file_size = 1 << 32));
        assert!(refused(|options| options.frag_threshold = 101));
        assert!(refused(|options| options.frag_merge_trigger = 101));
        assert!(refused(|options| options.expiry_secs = Some(0)));
        assert!(refused(|options| options.sync_strategy = SyncStrategy::Interval(Duration::ZERO)));
        assert!(refused(|options| options.merge_check_interval = Duration::ZERO));
        assert!(refused(|options| options.merge_window = MergeWindow::Hours { from: 0, to: 24 }));
    }
}
