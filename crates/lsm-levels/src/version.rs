//! A version of a keyspace's tree: which tables it consists of. Immutable; an edit makes a new one.
//!
//! Invariants
//! 1. Level 0 is newest first by sequence; tables of one sequence are disjoint and stand in key order.
//! 2. Every other level is a [`SortedRun`]: disjoint, in key order, no user key in two tables.
//! 3. A table that stands in a version is open, and its file stays while the version lives.

use std::cmp::Reverse;

use base::limits::LEVELS;
use base::sync::Arc;
use base::{KeyspaceId, Version};
use sstable::{CursorOptions, TableHit};

use crate::error::{Error, Result};
use crate::level_cursor::{LevelCursor, RunCursor};
use crate::range::KeyRange;
use crate::sorted_run::SortedRun;
use crate::table_handle::TableHandle;

/// The tables of a keyspace at one moment.
#[derive(Debug)]
pub struct TreeVersion {
    keyspace: KeyspaceId,
    level0: Arc<[Arc<TableHandle>]>,
    /// Levels 1 to 6.
    sorted: [SortedRun; LEVELS - 1],
}

/// What a lookup asks for.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// The user key.
    pub user_key: &'a [u8],
    /// [`base::key_hash`] of it.
    pub hash: u64,
    /// Newer entries are not seen.
    pub read_version: Version,
    /// Whether the keyspace is ordered, so that the first entry found is the newest.
    pub ordered: bool,
    /// What a memtable had, if it had something: only newer entries are of interest.
    pub newer_than: Option<Version>,
}

impl TreeVersion {
    /// A version without tables.
    #[must_use]
    pub fn empty(keyspace: KeyspaceId) -> Self {
        Self { keyspace, level0: Arc::from([]), sorted: Default::default() }
    }

    /// Builds a version from tables by level.
    ///
    /// # Errors
    /// When tables of a level overlap that must not.
    pub(crate) fn build(keyspace: KeyspaceId, levels: [Vec<Arc<TableHandle>>; LEVELS]) -> Result<Self> {
        let [mut level0, l1, l2, l3, l4, l5, l6] = levels;
        let refused = |table: Arc<TableHandle>| Error::EditRefused {
            what: "a table overlaps another of its level",
            keyspace,
            table: table.id(),
        };
        level0.sort_by(|a, b| {
            let (a, b) = (a.meta(), b.meta());
            Reverse(a.sequence).cmp(&Reverse(b.sequence)).then_with(|| a.smallest.cmp(&b.smallest))
        });
        for pair in level0.windows(2) {
            if let [left, right] = pair
                && left.meta().sequence == right.meta().sequence
                && left.meta().largest.user_key >= right.meta().smallest.user_key
            {
                return Err(refused(Arc::clone(right)));
            }
        }
        let sorted = [
            SortedRun::new(l1).map_err(refused)?,
            SortedRun::new(l2).map_err(refused)?,
            SortedRun::new(l3).map_err(refused)?,
            SortedRun::new(l4).map_err(refused)?,
            SortedRun::new(l5).map_err(refused)?,
            SortedRun::new(l6).map_err(refused)?,
        ];
        Ok(Self { keyspace, level0: level0.into(), sorted })
    }

    /// The keyspace.
    #[must_use]
    pub fn keyspace(&self) -> KeyspaceId {
        self.keyspace
    }

    /// Tables of level 0, newest first.
    #[must_use]
    pub fn level0(&self) -> &Arc<[Arc<TableHandle>]> {
        &self.level0
    }

    /// A level from 1 on; `None` for level 0 and beyond the last.
    #[must_use]
    pub fn sorted(&self, level: usize) -> Option<&SortedRun> {
        self.sorted.get(level.checked_sub(1)?)
    }

    /// Tables of a level: newest first at level 0, in key order below.
    #[must_use]
    pub fn tables(&self, level: usize) -> &[Arc<TableHandle>] {
        if level == 0 { &self.level0 } else { self.sorted(level).map_or(&[], |run| run.tables()) }
    }

    /// Every table with its level.
    pub fn all_tables(&self) -> impl Iterator<Item = (usize, &Arc<TableHandle>)> {
        (0..LEVELS).flat_map(|level| self.tables(level).iter().map(move |table| (level, table)))
    }

    /// Bytes of the files of a level.
    #[must_use]
    pub fn level_bytes(&self, level: usize) -> u64 {
        match self.sorted(level) {
            Some(run) => run.bytes(),
            None => self.tables(level).iter().map(|table| table.meta().file_size).sum(),
        }
    }

    /// Number of sorted runs in level 0.
    #[must_use]
    pub fn level0_runs(&self) -> usize {
        self.level0.chunk_by(|a, b| a.meta().sequence == b.meta().sequence).count()
    }

    /// Hands the newest entry that the lookup may see to `found`: its version and the encoded entry.
    ///
    /// Filters are asked before blocks are read. Where the keyspace is ordered the first entry found ends the search,
    /// newest source first; otherwise the greatest version of all sources wins, and a table whose greatest version is
    /// not above the best so far is not touched.
    ///
    /// # Errors
    /// When a table cannot be read.
    #[inline]
    pub fn get<R>(&self, lookup: &Lookup<'_>, found: impl FnOnce(Version, &[u8]) -> R) -> Result<Option<R>> {
        if !lookup.ordered {
            return self.get_unordered(lookup, found);
        }
        let mut found = Some(found);
        for table in self.tables_for(lookup) {
            let answer =
                table.table().get_with(lookup.user_key, lookup.hash, lookup.read_version, |version, entry| {
                    found.take().map(|found| found(version, entry))
                })?;
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
        Ok(None)
    }

    /// Tables that may answer, newest source first.
    #[inline]
    fn tables_for<'a>(&'a self, lookup: &Lookup<'a>) -> impl Iterator<Item = &'a Arc<TableHandle>> {
        let (user_key, read_version) = (lookup.user_key, lookup.read_version);
        let newer_than = lookup.newer_than;
        let level0 = self.level0.iter().filter(move |table| table.meta().covers(user_key));
        let sorted = self.sorted.iter().filter_map(move |run| run.table_for(user_key));
        level0.chain(sorted).filter(move |table| {
            let meta = table.meta();
            meta.min_version <= read_version && newer_than.is_none_or(|newer_than| meta.max_version > newer_than)
        })
    }

    #[cold]
    fn get_unordered<R>(&self, lookup: &Lookup<'_>, found: impl FnOnce(Version, &[u8]) -> R) -> Result<Option<R>> {
        let mut best: Option<TableHit> = None;
        for table in self.tables_for(lookup) {
            let bar = best.as_ref().map(|hit| hit.version).max(lookup.newer_than);
            if bar.is_some_and(|bar| table.meta().max_version <= bar) {
                continue;
            }
            let hit = table.table().get(lookup.user_key, lookup.hash, lookup.read_version)?;
            if let Some(hit) = hit.filter(|hit| bar.is_none_or(|bar| hit.version > bar)) {
                best = Some(hit);
            }
        }
        Ok(best.map(|hit| found(hit.version, &hit.value)))
    }

    /// A cursor for each source that may hold keys of the range, newest first: one for each table of level 0, one for
    /// each sorted level. Tables outside the range are never opened by them. The cursors themselves do not stop at the
    /// range's ends: whoever merges them does.
    #[must_use]
    pub fn cursors(&self, range: KeyRange<'_>, options: CursorOptions) -> Vec<RunCursor> {
        let level0 = self.level0_in(range).map(|table| RunCursor::Table(table.table().cursor(options)));
        let sorted = self.sorted.iter().filter_map(|run| {
            let positions = run.overlapping(range);
            let cursor = || RunCursor::Level(LevelCursor::new(Arc::clone(run.tables()), positions.clone(), options));
            (!positions.is_empty()).then(cursor)
        });
        level0.chain(sorted).collect()
    }

    /// As [`cursors`](Self::cursors), over the tables alone that have a version above `version`; the others are not opened.
    #[must_use]
    pub fn cursors_newer_than(&self, version: Version, range: KeyRange<'_>, options: CursorOptions) -> Vec<RunCursor> {
        let is_newer = |table: &&Arc<TableHandle>| table.meta().max_version > version;
        let level0 = self.level0_in(range).filter(is_newer);
        let level0 = level0.map(|table| RunCursor::Table(table.table().cursor(options)));
        let sorted = self.sorted.iter().filter_map(|run| {
            let newer: Arc<[_]> = run.slice(run.overlapping(range)).iter().filter(is_newer).cloned().collect();
            let positions = 0..newer.len();
            (!newer.is_empty()).then(|| RunCursor::Level(LevelCursor::new(newer, positions, options)))
        });
        level0.chain(sorted).collect()
    }

    /// Tables of level 0 that may hold keys of the range, newest first.
    fn level0_in(&self, range: KeyRange<'_>) -> impl Iterator<Item = &Arc<TableHandle>> {
        let overlaps = move |table: &&Arc<TableHandle>| {
            range.overlaps(&table.meta().smallest.user_key, &table.meta().largest.user_key)
        };
        self.level0.iter().filter(overlaps)
    }
}
