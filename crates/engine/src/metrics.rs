//! What a store holds and has done, for people and for programs that watch it.

use std::path::PathBuf;
use std::time::Duration;

use base::Version;
use base::limits::LEVELS;
use lsm_levels::{LevelInfo, LevelTraffic};

use crate::counters::CounterValues;
use crate::db::Db;
use crate::store::{CommitTotals, Store};
use crate::{Error, Result};

/// What a store has done since it was opened, and what it holds now.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// The newest visible commit.
    pub max_version: Version,
    /// The newest commit such that no reader sees anything older than the newest entries at or below it.
    pub discard_version: Version,
    /// Snapshots, transactions and iterators that are open.
    pub open_marks: u64,
    /// What commits wrote.
    pub commits: CommitTotals,
    /// Flushes, compactions, stalls.
    pub background: CounterValues,
    /// Bytes into and out of each level.
    pub levels: [LevelTraffic; LEVELS],
    /// Writes that were slowed, and how long they waited in sum.
    pub paced: (u64, Duration),
    /// Writes of large values that were slowed so that collecting garbage keeps up, and how long they waited in sum.
    pub paced_by_garbage: (u64, Duration),
    /// Bytes of memtables, active and immutable.
    pub memtable_bytes: u64,
    /// Memtables that wait for their flush.
    pub immutable_memtables: usize,
    /// Counters of the block cache.
    pub block_cache: sstable::CacheStats,
    /// Bytes of all logs that are still needed.
    pub log_bytes: u64,
    /// Each keyspace's name, and the length in bytes from which on its values go to the value log now.
    pub value_thresholds: Vec<(String, u64)>,
}

impl Metrics {
    /// Bytes written to logs, tables and the value log, by commits and by collecting garbage, over the bytes of keys and values that callers wrote.
    #[must_use]
    pub fn write_amplification(&self) -> f64 {
        let tables: u64 = self.levels.iter().map(|level| level.bytes_written).sum();
        let values = self.commits.value_log_bytes + self.background.gc_bytes_rewritten;
        let written = self.commits.log_bytes + values + tables;
        written as f64 / self.commits.user_bytes.max(1) as f64
    }
}

/// A table of a keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableInfo {
    /// The keyspace's name.
    pub keyspace: String,
    /// The level that it is in.
    pub level: usize,
    /// Its file.
    pub path: PathBuf,
    /// Bytes of the file.
    pub bytes: u64,
    /// Entries, tombstones included.
    pub entries: u64,
    /// Tombstones among them.
    pub tombstones: u64,
    /// Its least key.
    pub first_key: Vec<u8>,
    /// Its greatest key.
    pub last_key: Vec<u8>,
    /// The newest version in it.
    pub max_version: Version,
}

/// Bytes of a store's files, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskUsage {
    /// Tables.
    pub table_bytes: u64,
    /// The value log's segments.
    pub value_log_bytes: u64,
    /// Those of them that are known to be dead.
    pub value_log_dead_bytes: u64,
    /// Write-ahead logs, space allocated ahead not counted.
    pub log_bytes: u64,
}

impl DiskUsage {
    /// All of it.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.table_bytes + self.value_log_bytes + self.log_bytes
    }
}

/// What [`Db::verify`] reads.
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until a verification is started with them"]
pub struct VerifyOptions {
    skip_values: bool,
}

impl VerifyOptions {
    /// Tables and values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether every value in the value log is read too (default: true).
    pub fn values(mut self, values: bool) -> Self {
        self.skip_values = !values;
        self
    }
}

/// What [`Db::verify`] read and found whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Tables.
    pub tables: u64,
    /// Their entries.
    pub entries: u64,
    /// Their bytes.
    pub table_bytes: u64,
    /// Values in the value log that an entry points to.
    pub values: u64,
    /// Their bytes.
    pub value_bytes: u64,
}

impl Db {
    /// What the store has done and holds.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.handle.metrics()
    }

    /// Each keyspace's levels, from L0 down.
    #[must_use]
    pub fn levels(&self) -> Vec<(String, Vec<LevelInfo>)> {
        let store = &self.handle;
        let picker = store.picker();
        let keyspaces = store.keyspaces.load();
        keyspaces
            .iter()
            .map(|keyspace| (keyspace.name.clone(), store.levels.level_info(keyspace.id, &picker)))
            .collect()
    }

    /// Every table of every keyspace.
    #[must_use]
    pub fn tables(&self) -> Vec<TableInfo> {
        let mut tables = Vec::new();
        for keyspace in self.handle.keyspaces.load().iter() {
            for (level, table) in keyspace.pin().version.all_tables() {
                let meta = table.meta();
                tables.push(TableInfo {
                    keyspace: keyspace.name.clone(),
                    level,
                    path: table.table().path().to_owned(),
                    bytes: meta.file_size,
                    entries: meta.entries,
                    tombstones: meta.tombstones,
                    first_key: meta.smallest.user_key.clone(),
                    last_key: meta.largest.user_key.clone(),
                    max_version: meta.max_version,
                });
            }
        }
        tables
    }

    /// Bytes of the store's files.
    #[must_use]
    pub fn size_on_disk(&self) -> DiskUsage {
        let mut usage = DiskUsage { log_bytes: self.handle.logs_bytes(), ..DiskUsage::default() };
        usage.table_bytes = self.tables().iter().map(|table| table.bytes).sum();
        for segment in self.handle.value_log.statistics() {
            usage.value_log_bytes += segment.file_bytes;
            usage.value_log_dead_bytes += segment.dead_bytes;
        }
        usage
    }

    /// Reads every table and, unless told otherwise, every value that an entry points to, and compares all checksums,
    /// orders and counts.
    ///
    /// # Errors
    /// At the first thing that does not hold, naming file and offset.
    pub fn verify(&self, options: VerifyOptions) -> Result<VerifyReport> {
        self.handle.check_readable()?;
        let mut report = VerifyReport::default();
        for keyspace in self.handle.keyspaces.load_full().iter() {
            let verified = keyspace.pin_owned().version.verify()?;
            report.tables += verified.tables;
            report.entries += verified.entries;
            report.table_bytes += verified.bytes;
            if !options.skip_values {
                self.verify_values(keyspace.id, &mut report)?;
            }
        }
        Ok(report)
    }

    fn verify_values(&self, keyspace: base::KeyspaceId, report: &mut VerifyReport) -> Result<()> {
        let keyspace = self.handle.keyspace_by_id(keyspace)?;
        let handle = std::sync::Arc::clone(&self.handle);
        let options = crate::ScanOptions::new().all_versions(true).fill_cache(false);
        let view = crate::Keyspace { handle, state: keyspace };
        for item in crate::Read::scan(&view, options) {
            let item = item?;
            if item.is_separated() {
                let len = item.value_with(<[u8]>::len)? as u64;
                if len != item.value_len() {
                    let what = format!("a value has {len} bytes, its entry says {}", item.value_len());
                    return Err(Error::new(crate::ErrorKind::Corruption, what));
                }
                report.values += 1;
                report.value_bytes += len;
            }
        }
        Ok(())
    }
}

impl Store {
    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics {
            max_version: self.oracle.visible(),
            discard_version: self.oracle.discard_version(),
            open_marks: self.oracle.open_marks(),
            commits: self.commit_state.lock().totals,
            background: self.counters.values(),
            levels: self.levels.traffic(),
            paced: self.pacer.waits(),
            paced_by_garbage: self.value_pacer.waits(),
            block_cache: self.block_cache.stats(),
            log_bytes: self.logs_bytes(),
            ..Metrics::default()
        };
        for keyspace in self.keyspaces.load().iter() {
            let view = keyspace.pin();
            metrics.memtable_bytes += view.memtables().map(|memtable| memtable.table.used_bytes() as u64).sum::<u64>();
            metrics.immutable_memtables += view.immutables.len();
            metrics.value_thresholds.push((keyspace.name.clone(), keyspace.threshold.get()));
        }
        metrics
    }
}
