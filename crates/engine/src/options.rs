//! How a store is opened.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::clock::{Clock, SystemClock};
use base::limits;
use encryption::KeyProvider;
use sstable::BlockCache;
use vfs::{AppendMode, MemFs, RealFs, Vfs};
use wal::RecoveryMode;

use crate::gc::{EventListener, Events, GcPolicy};
use crate::recovery::Access;
use crate::{Db, Error, Result};

pub use sstable::{Compression, FilterPolicy, IoMode, VerifyBlocks};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// How much of a store survives what, once a write has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Durability {
    /// The write survives the death of the process, at any instruction; after a power loss, a prefix of the commits in
    /// their order is there.
    #[default]
    Os,
    /// The write survives a power loss too: it waits for the disk, together with the writes of other threads.
    Sync,
}

/// What a transaction may not see others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Isolation {
    /// As if transactions ran one after the other, range reads included: no phantoms.
    #[default]
    Serializable,
    /// As Badger does: keys that were read conflict, gaps in ranges do not.
    KeySerializable,
    /// First committer wins on every key that a transaction both read and writes: no lost update, but write skew.
    Snapshot,
    /// No detection: the last writer wins.
    Unchecked,
}

/// Whether background work runs on threads of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) enum Background {
    #[default]
    Threads,
    /// Flushes and compactions run inside the write that makes them due: the same operations always do the same, which
    /// crash tests need.
    Inline,
}

/// Options of a store; every one has a default that serves, and [`validate`](Self::validate) names what does not.
///
/// | option | default | range |
/// |---|---|---|
/// | `durability` | `Durability::Os` | |
/// | `isolation` | `Isolation::Serializable` | |
/// | `memtable_size` | 64 MiB | 64 KiB to 2 GiB |
/// | `num_memtables` | 3 (one active, two being flushed) | 2 to 64 |
/// | `value_threshold` | 1 KiB | 0 to 4 GiB - 1 |
/// | `value_log_percentile` | 0 (off) | 0 to 1 |
/// | `inline_max` | 1/16 of the memtable, at most 1 MiB | 0 to 1 MiB |
/// | `value_log_file_size` | 256 MiB | 64 KiB to 2 GiB |
/// | `value_log_max_entries` | 1,000,000 | 1 to 16 million |
/// | `gc` | automatic, at a fifth of garbage | see [`GcPolicy`] |
/// | `versions_to_keep` | 1 | 1 and up |
/// | `compression` | see [`Compression`] | a codec that is compiled in |
/// | `value_compression` | `Compression::None` | |
/// | `block_size` | 4 KiB | 256 B to 1 MiB |
/// | `block_cache_size` | 64 MiB | 0 and up |
/// | `filter` | 8 bits a key | |
/// | `compactors` | 1 thread | 1 to 16 |
/// | `io_mode` | `IoMode::Mapped` | |
/// | `verify_blocks` | on first read | |
/// | `verify_values` | true | |
/// | `recovery_mode` | `Default` | |
/// | `forget_damaged_deaths` | false | |
/// | `level_base_size` | 256 MiB | 64 KiB and up |
/// | `level_multiplier` | 10 | 2 to 100 |
/// | `table_size` | 32 MiB | 4 KiB to 1 GiB |
/// | `l0_compaction_trigger` | 4 tables | 1 and up |
/// | `l0_slowdown_trigger` | 12 tables | at least the compaction trigger |
/// | `l0_stop_trigger` | 24 tables | above the slowdown trigger |
/// | `max_wal_size` | 4 memtables | at least one memtable |
/// | `manifest_edits_max` | 4,096 | 1 and up |
/// | `encryption` | none | |
/// | `data_key_lifetime` | 10 days | 1 hour and up |
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a store is opened with them"]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) isolation: Isolation,
    pub(crate) memtable_size: u64,
    pub(crate) num_memtables: usize,
    pub(crate) value_threshold: u32,
    pub(crate) value_log_percentile: f64,
    pub(crate) inline_max: Option<u64>,
    pub(crate) value_log_file_size: u64,
    pub(crate) value_log_max_entries: u64,
    pub(crate) gc: GcPolicy,
    pub(crate) events: Events,
    pub(crate) versions_to_keep: NonZeroU32,
    pub(crate) compression: Compression,
    pub(crate) value_compression: Compression,
    pub(crate) block_size: usize,
    pub(crate) block_cache: Option<Arc<BlockCache>>,
    pub(crate) block_cache_size: u64,
    pub(crate) filter: FilterPolicy,
    pub(crate) compactors: usize,
    pub(crate) io_mode: IoMode,
    pub(crate) verify_blocks: VerifyBlocks,
    pub(crate) verify_values: bool,
    pub(crate) recovery_mode: RecoveryMode,
    pub(crate) level_base_size: u64,
    pub(crate) level_multiplier: u64,
    pub(crate) table_size: u64,
    pub(crate) l0_compaction_trigger: usize,
    pub(crate) l0_slowdown_trigger: usize,
    pub(crate) l0_stop_trigger: usize,
    pub(crate) max_wal_size: Option<u64>,
    pub(crate) manifest_edits_max: u32,
    pub(crate) encryption: Option<Arc<dyn KeyProvider>>,
    pub(crate) data_key_lifetime: Duration,
    pub(crate) log_mode: AppendMode,
    pub(crate) value_dir: Option<PathBuf>,
    pub(crate) forget_damaged_deaths: bool,
    pub(crate) create_if_missing: bool,
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) background: Background,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Os,
            isolation: Isolation::Serializable,
            memtable_size: 64 * MIB,
            num_memtables: 3,
            value_threshold: 1 << 10,
            value_log_percentile: 0.0,
            inline_max: None,
            value_log_file_size: 256 * MIB,
            value_log_max_entries: 1_000_000,
            gc: GcPolicy::default(),
            events: Events::default(),
            versions_to_keep: NonZeroU32::MIN,
            compression: Compression::None,
            value_compression: Compression::None,
            block_size: 4 << 10,
            block_cache: None,
            block_cache_size: 64 * MIB,
            filter: FilterPolicy::Bits8,
            compactors: 1,
            io_mode: IoMode::Mapped,
            verify_blocks: VerifyBlocks::OnFirstRead,
            verify_values: true,
            recovery_mode: RecoveryMode::Default,
            level_base_size: 256 * MIB,
            level_multiplier: 10,
            table_size: 32 * MIB,
            l0_compaction_trigger: 4,
            l0_slowdown_trigger: 12,
            l0_stop_trigger: 24,
            max_wal_size: None,
            manifest_edits_max: 4_096,
            encryption: None,
            data_key_lifetime: encryption::DATA_KEY_LIFETIME,
            log_mode: AppendMode::Mapped,
            value_dir: None,
            forget_damaged_deaths: false,
            create_if_missing: true,
            vfs: Arc::new(RealFs::new()),
            clock: Arc::new(SystemClock::new()),
            background: Background::Threads,
        }
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(mut self, $name: $type) -> Self {
                self.$name = $name;
                self
            }
        )*
    };
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        /// How much a write that returned survives. Badger: `SyncWrites`.
        durability: Durability;
        /// What transactions may not see others do. Badger's `DetectConflicts = false` is [`Isolation::Unchecked`].
        isolation: Isolation;
        /// Bytes of a memtable: keys, small values and links. Badger: `MemTableSize`.
        memtable_size: u64;
        /// Most memtables of a keyspace at a time, the active one included; writers wait for flushes beyond that.
        num_memtables: usize;
        /// Values of this many bytes and more go to the value log. Badger: `ValueThreshold`.
        value_threshold: u32;
        /// Lets the threshold follow this percentile of the lengths that are written, keyspace by keyspace: 0.9 puts the
        /// longest tenth into the value log. It stays between [`value_threshold`](Self::value_threshold), or what the
        /// keyspace's options say in its place, and [`inline_max`](Self::inline_max); it holds for new writes only, and
        /// is learned anew after each open. [`Metrics::value_thresholds`](crate::Metrics) has where it is. Badger:
        /// `VLogPercentile`.
        value_log_percentile: f64;
        /// Bytes after which a segment of the value log is full; while little lives, or once garbage was collected, that is a
        /// 96th of what lives, if that is less, and at least 8 MiB. Badger: `ValueLogFileSize`.
        value_log_file_size: u64;
        /// Values after which a segment of the value log is full. Badger: `ValueLogMaxEntries`.
        value_log_max_entries: u64;
        /// When garbage in the value log is collected.
        gc: GcPolicy;
        /// Versions of a key that compaction leaves when no snapshot needs more. Badger: `NumVersionsToKeep`.
        versions_to_keep: NonZeroU32;
        /// How table blocks are stored.
        compression: Compression;
        /// How values are stored in the value log; one that does not become shorter, or is longer than 16 MiB, is stored as
        /// it is. It holds for new writes and costs the thread that writes them, before any lock; a compressed value is
        /// brought back at each read.
        value_compression: Compression;
        /// Bytes of keys and values after which a block of a table ends.
        block_size: usize;
        /// Bytes of decompressed blocks kept in memory, where no cache is shared.
        block_cache_size: u64;
        /// Filter of each table.
        filter: FilterPolicy;
        /// Threads that compact.
        compactors: usize;
        /// Whether tables and sealed segments are mapped or read. With [`IoMode::Mapped`] a device error under a mapped
        /// page ends the process; with [`IoMode::Pread`] it is an error.
        io_mode: IoMode;
        /// When checksums of table blocks are compared.
        verify_blocks: VerifyBlocks;
        /// Whether checksums of values are compared at each read.
        verify_values: bool;
        /// What opening makes of write-ahead logs that are damaged or end in the middle of a commit. What a mode drops is in
        /// the [recovery report](crate::RecoveryReport), and gone for good once the store was opened for writing.
        ///
        /// - [`RecoveryMode::Default`]: what was not synced may end anywhere and opens as a shorter prefix of the commits;
        ///   damage in what was synced is an error.
        /// - [`RecoveryMode::AbsoluteConsistency`]: a commit that is not whole is an error, synced or not.
        /// - [`RecoveryMode::PointInTime`]: the commits before the first damage, although what follows had been synced.
        /// - [`RecoveryMode::SkipCorrupt`]: salvage: all commits that are whole. What they build upon may be missing.
        recovery_mode: RecoveryMode;
        /// Bytes that the first level below L0 aims at.
        level_base_size: u64;
        /// How many times larger each level is than the one above.
        level_multiplier: u64;
        /// Bytes after which compaction starts another table.
        table_size: u64;
        /// Tables in L0 from which on they are compacted.
        l0_compaction_trigger: usize;
        /// Tables in L0 from which on writers are slowed.
        l0_slowdown_trigger: usize;
        /// Tables in L0 from which on writers wait.
        l0_stop_trigger: usize;
        /// Version edits after which the manifest is written anew.
        manifest_edits_max: u32;
        /// Age from which on a data key is followed by a new one, under which files are then encrypted. Looked at when the
        /// store is opened and before each flush. Badger: `EncryptionKeyRotationDuration`.
        data_key_lifetime: Duration;
        /// Whether a store opens although the value log's account of what is dead is damaged or missing, in part: that counts as
        /// empty then, until [`Gc::rebuild`](crate::Gc::rebuild), which is to follow, makes it anew. The recovery report
        /// warns of what is forgotten.
        forget_damaged_deaths: bool;
        /// Whether a store that is not there is made; if not, opening one is an error.
        create_if_missing: bool;
    }

    /// Longest value in bytes that the tree holds, whatever [`value_threshold`](Self::value_threshold) says.
    pub fn inline_max(mut self, bytes: u64) -> Self {
        self.inline_max = Some(bytes);
        self
    }

    /// Bytes of write-ahead logs above which the keyspaces that hold the oldest one are flushed.
    pub fn max_wal_size(mut self, bytes: u64) -> Self {
        self.max_wal_size = Some(bytes);
        self
    }

    /// A cache of decompressed blocks, which several stores may share.
    pub fn block_cache(mut self, cache: Arc<BlockCache>) -> Self {
        self.block_cache = Some(cache);
        self
    }

    /// A folder of its own for the value log, such as one on another disk (default: `vlog` in the store's). Each open names it
    /// again, where it lies by then: one that does not hold the values of this store is refused as
    /// [`Incompatible`](crate::ErrorKind::Incompatible).
    pub fn value_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.value_dir = Some(dir.into());
        self
    }

    /// Encrypts all that is written, under data keys that the master key wraps. A store that was not encrypted stays
    /// readable and goes on encrypted; what is in its files is encrypted as compactions and collections rewrite it, and not
    /// before. Badger: `EncryptionKey`.
    pub fn encryption(mut self, provider: Arc<dyn KeyProvider>) -> Self {
        self.encryption = Some(provider);
        self
    }

    /// Is told of what the store does by itself.
    pub fn event_listener(mut self, listener: Arc<dyn EventListener>) -> Self {
        self.events = Events(Some(listener));
        self
    }

    /// The file system under the store.
    #[cfg(any(test, feature = "test-util"))]
    pub fn vfs(mut self, vfs: Arc<dyn Vfs>) -> Self {
        self.vfs = vfs;
        self
    }

    /// The clock by which entries expire.
    #[cfg(any(test, feature = "test-util"))]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Runs flushes and compactions inside the writes that make them due, for tests that must repeat exactly.
    #[cfg(any(test, feature = "test-util"))]
    pub fn inline_background(mut self) -> Self {
        self.background = Background::Inline;
        self
    }

    /// Opens a store for reading and writing, making it if it is not there.
    ///
    /// # Errors
    /// [`Locked`](crate::ErrorKind::Locked) when another process has it open,
    /// [`Corruption`](crate::ErrorKind::Corruption) and [`Incompatible`](crate::ErrorKind::Incompatible) as the files
    /// say, [`Encryption`](crate::ErrorKind::Encryption) when its key is missing or wrong, [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for bad options.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Db> {
        Db::open_with(path.as_ref(), self, Access::ReadWrite)
    }

    /// Opens a store in memory: the same code over a file system that is gone with the last handle.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for bad options.
    pub fn open_in_memory(mut self) -> Result<Db> {
        let mut seed = [0; 8];
        RealFs::new().fill_random(&mut seed)?;
        self.vfs = Arc::new(MemFs::volatile(u64::from_le_bytes(seed)));
        Db::open_with(Path::new("/memory"), self, Access::ReadWrite)
    }

    /// Opens a store for reading only. Several processes may, as long as none has it open for writing; nothing is
    /// written, not even what recovery would clean up.
    ///
    /// # Errors
    /// As [`open`](Self::open); a store that is not there is an error.
    pub fn open_read_only(self, path: impl AsRef<Path>) -> Result<Db> {
        Db::open_with(path.as_ref(), self, Access::ReadOnly)
    }

    /// Names the first option that is out of its range.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    pub fn validate(&self) -> Result<()> {
        in_range("memtable_size", self.memtable_size, 64 * KIB, 2 << 30)?;
        in_range("num_memtables", self.num_memtables as u64, 2, 64)?;
        if !(0.0..=1.0).contains(&self.value_log_percentile) {
            let found = self.value_log_percentile;
            return Err(Error::invalid(format!("option value_log_percentile is {found}, which is not from 0 to 1")));
        }
        in_range("inline_max", self.inline_max.unwrap_or(0), 0, limits::INLINE_VALUE_LEN_MAX as u64)?;
        in_range("value_log_file_size", self.value_log_file_size, 64 * KIB, 2 << 30)?;
        in_range("value_log_max_entries", self.value_log_max_entries, 1, 16_000_000)?;
        self.gc.validate()?;
        in_range("block_size", self.block_size as u64, 256, MIB)?;
        in_range("compactors", self.compactors as u64, 1, 16)?;
        in_range("level_base_size", self.level_base_size, 64 * KIB, u64::MAX)?;
        in_range("level_multiplier", self.level_multiplier, 2, 100)?;
        in_range("table_size", self.table_size, 4 * KIB, 1 << 30)?;
        in_range("l0_compaction_trigger", self.l0_compaction_trigger as u64, 1, 1_000)?;
        in_range("l0_slowdown_trigger", self.l0_slowdown_trigger as u64, self.l0_compaction_trigger as u64, 1_000)?;
        in_range("l0_stop_trigger", self.l0_stop_trigger as u64, self.l0_slowdown_trigger as u64 + 1, 10_000)?;
        in_range("max_wal_size", self.wal_bytes_max(), self.memtable_size, u64::MAX)?;
        in_range("data_key_lifetime in seconds", self.data_key_lifetime.as_secs(), 60 * 60, u64::MAX)?;
        in_range("manifest_edits_max", u64::from(self.manifest_edits_max), 1, u64::from(u32::MAX))
    }

    /// Length from which on a value goes to the value log whatever the threshold says.
    pub(crate) fn inline_limit(&self) -> usize {
        let inline_max = self.inline_max.unwrap_or((self.memtable_size / 16).min(limits::INLINE_VALUE_LEN_MAX as u64));
        usize::try_from(inline_max).unwrap_or(usize::MAX).saturating_add(1)
    }

    /// Room for as many commits as the log before held, which is a memtable's worth unless values go to the value log, so
    /// that a log seldom grows and takes little more than it needs.
    pub(crate) fn log_preallocate_bytes(&self, previous_end: u64) -> u64 {
        let with_slack = |bytes: u64| bytes.saturating_add(bytes / 8);
        let most = with_slack(self.memtable_size);
        with_slack(previous_end).clamp(LOG_STEP_BYTES_MIN.min(most), most)
    }

    pub(crate) fn wal_bytes_max(&self) -> u64 {
        self.max_wal_size.unwrap_or(self.memtable_size.saturating_mul(4))
    }
}

/// Logs grow by this at least, unless memtables are smaller.
const LOG_STEP_BYTES_MIN: u64 = 4 << 20;

fn in_range(name: &str, value: u64, min: u64, max: u64) -> Result<()> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!("option {name} is {value}, which is not from {min} to {max}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        Options::new().validate().unwrap();
    }

    #[test]
    fn an_option_out_of_range_is_named() {
        let error = Options::new().memtable_size(1).validate().unwrap_err();
        assert!(error.to_string().contains("memtable_size"), "{error}");
        let error = Options::new().l0_stop_trigger(1).validate().unwrap_err();
        assert!(error.to_string().contains("l0_stop_trigger"), "{error}");
        for percentile in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            let error = Options::new().value_log_percentile(percentile).validate().unwrap_err();
            assert!(error.to_string().contains("value_log_percentile"), "{error}");
        }
    }
}
