//! Runs a compaction: merges the inputs, drops what nobody can see any more, writes the output tables.
//!
//! A job publishes nothing: it returns an edit, and the values that die by it, for
//! [`Levels::commit_compaction`](crate::Levels::commit_compaction). If it fails, what it wrote is removed and its inputs
//! are free again. It holds no lock while it reads or writes tables.
//!
//! What may be dropped is told in [`crate::retention`]. Beyond that, a tombstone goes only if the output level is below
//! level 0 and nothing older of its key can be outside the job. Where versions arrive in order, older means deeper, or
//! earlier in level 0; where they did not, any other source whose least version is below the tombstone's counts,
//! memtables among them.

use std::num::NonZeroU32;

use base::limits::LEVELS;
use base::sync::Arc;
use base::{Cursor, EntryKind, EntryRef, InternalKeyRef, KeyspaceId, PointerPayload, TableId, ValuePointer, Version};
use sstable::CursorOptions;

use crate::claims::Claim;
use crate::edit::{KeyspaceEdit, NewTable, Place};
use crate::error::{Error, Result};
use crate::level_cursor::{LevelCursor, RunCursor};
use crate::merge::MergeCursor;
use crate::meta::TableMeta;
use crate::older_runs::OlderRuns;
use crate::output::{BuildContext, OutputTables};
use crate::picker::{Pick, PickKind};
use crate::retention::{Retention, Verdict};
use crate::table_handle::TableHandle;
use crate::version::TreeVersion;

/// A tombstone as it is encoded: what an expired entry becomes.
const TOMBSTONE: [u8; 3] = [EntryKind::Delete as u8, 0, 0];

/// What a compaction needs to know of the rest of the store. Taken once, when it starts.
#[derive(Clone, Copy)]
pub struct CompactionContext<'a> {
    /// Where and how tables are written.
    pub build: BuildContext<'a>,
    /// No reader sees anything older than the newest entry at or below this version. Where `ordered` is off it must have
    /// been taken before the memtables were pinned, so that whatever arrives later is above it.
    pub discard_version: Version,
    /// The oldest clock of any registered reader, in seconds since the Unix epoch.
    pub expiry_now: u64,
    /// How many versions of a key stay at or below the discard version.
    pub versions_to_keep: NonZeroU32,
    /// Whether versions have always arrived in order in this keyspace, read after `discard_version` was.
    pub ordered: bool,
    /// Whether a memtable may hold an entry of this user key below this version. Asked only where `ordered` is off. The
    /// memtables must have been pinned before the compaction was picked, so that none escapes by being flushed.
    pub memtables_hold_older: &'a dyn Fn(&[u8], Version) -> bool,
    /// An output table ends before it overlaps more than this many bytes of the level below its own.
    pub grandparent_bytes_max: u64,
}

impl std::fmt::Debug for CompactionContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompactionContext")
            .field("build", &self.build)
            .field("discard_version", &self.discard_version)
            .field("expiry_now", &self.expiry_now)
            .field("ordered", &self.ordered)
            .finish_non_exhaustive()
    }
}

/// A picked compaction, whose inputs no other job can take.
#[derive(Debug)]
pub struct Compaction {
    version: Arc<TreeVersion>,
    pick: Pick,
    claim: Claim,
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionStats {
    /// Bytes of input tables by level.
    pub bytes_read: [u64; LEVELS],
    /// Bytes of output tables.
    pub bytes_written: u64,
    /// Bytes of tables that changed level without being written.
    pub bytes_moved: u64,
    /// Entries read; copies of one internal key count once.
    pub entries_read: u64,
    /// Entries written.
    pub entries_written: u64,
    /// Entries dropped since a newer one hides them.
    pub shadowed: u64,
    /// Tombstones dropped, expired entries not among them.
    pub tombstones_dropped: u64,
    /// Entries dropped since their time was over.
    pub expired_dropped: u64,
    /// Expired entries that became tombstones.
    pub expired_converted: u64,
}

/// What a compaction asks to be committed. Holds the claim on its inputs until it is dropped.
#[derive(Debug)]
pub struct CompactionOutput {
    /// Tables removed and added.
    pub edit: KeyspaceEdit,
    /// Values that lose their entry.
    pub deaths: Vec<ValuePointer>,
    /// What was done.
    pub stats: CompactionStats,
    pub(crate) kind: PickKind,
    pub(crate) claim: Claim,
}

impl Compaction {
    pub(crate) fn new(version: Arc<TreeVersion>, pick: Pick, claim: Claim) -> Self {
        Self { version, pick, claim }
    }

    /// What was picked.
    #[must_use]
    pub fn pick(&self) -> &Pick {
        &self.pick
    }

    /// The keyspace.
    #[must_use]
    pub fn keyspace(&self) -> KeyspaceId {
        self.version.keyspace()
    }

    /// Does the work. A move writes nothing.
    ///
    /// # Errors
    /// When an input cannot be read or holds what is not supported, when an output cannot be written, or when the job is
    /// cancelled. Nothing is left behind then, and the inputs are free again.
    pub fn run(self, context: &CompactionContext<'_>) -> Result<CompactionOutput> {
        let mut output = CompactionOutput {
            edit: KeyspaceEdit::new(self.keyspace()),
            deaths: Vec::new(),
            stats: CompactionStats::default(),
            kind: self.pick.kind,
            claim: self.claim,
        };
        output.edit.removed = self.pick.tables().map(|table| table.id()).collect();
        let metas = if self.pick.kind == PickKind::Move {
            self.pick.inputs.iter().map(|table| table.meta().clone()).collect()
        } else {
            let mut merge = Merge::new(&self.version, &self.pick, context);
            let metas = merge.run()?;
            output.deaths = merge.deaths;
            output.stats = merge.stats;
            output.edit.dropped_tombstone_version = merge.dropped_tombstone_version;
            metas
        };
        let bytes = metas.iter().map(|meta: &TableMeta| meta.file_size).sum();
        if self.pick.kind == PickKind::Move {
            output.stats.bytes_moved = bytes;
        } else {
            output.stats.bytes_written = bytes;
        }
        let place = Place::At(self.pick.inputs.iter().map(|table| table.meta().sequence).max().unwrap_or(0));
        let level = self.pick.output_level;
        output.edit.added = metas.into_iter().map(|meta| NewTable { level, place, meta }).collect();
        Ok(output)
    }
}

impl CompactionOutput {
    /// The tables that were written, as opposed to moved.
    pub(crate) fn written(&self) -> impl Iterator<Item = TableId> {
        let written = self.kind != PickKind::Move;
        self.edit.added.iter().filter(move |_| written).map(|table| table.meta.id)
    }
}

/// The merge of one compaction.
struct Merge<'a> {
    context: &'a CompactionContext<'a>,
    pick: &'a Pick,
    older: OlderRuns<'a>,
    grandparents: Grandparents<'a>,
    deaths: Vec<ValuePointer>,
    stats: CompactionStats,
    dropped_tombstone_version: Option<Version>,
}

impl<'a> Merge<'a> {
    fn new(version: &'a TreeVersion, pick: &'a Pick, context: &'a CompactionContext<'a>) -> Self {
        let mut stats = CompactionStats::default();
        for (level, tables) in [(pick.input_level, &pick.inputs), (pick.output_level, &pick.output_inputs)] {
            if let Some(bytes) = stats.bytes_read.get_mut(level) {
                *bytes += tables.iter().map(|table| table.meta().file_size).sum::<u64>();
            }
        }
        Self {
            context,
            pick,
            older: OlderRuns::new(version, pick, context.ordered),
            grandparents: Grandparents::new(version, pick, context.grandparent_bytes_max),
            deaths: Vec::new(),
            stats,
            dropped_tombstone_version: None,
        }
    }

    fn run(&mut self) -> Result<Vec<TableMeta>> {
        let context = self.context;
        let mut retention = Retention::new(context.discard_version, context.expiry_now, context.versions_to_keep);
        let mut tables = OutputTables::new(&context.build, self.pick.output_level);
        let mut merged = MergeCursor::new(input_cursors(self.pick));
        let mut user_key: Vec<u8> = Vec::new();
        let mut first = true;

        context.build.check_cancelled()?;
        merged.seek_to_first()?;
        while merged.valid() {
            let key = merged.key();
            if first || key.user_key != user_key.as_slice() {
                first = false;
                user_key.clear();
                user_key.extend_from_slice(key.user_key);
                retention.start_key();
                if tables.is_full() || self.grandparents.should_cut(key.user_key, tables.current_bytes()) {
                    tables.cut()?;
                    self.grandparents.restart();
                }
            }
            self.place(&mut retention, &mut tables, key, merged.value())?;
            merged.next()?;
        }
        tables.finish()
    }

    /// Writes an entry, or drops it.
    #[inline]
    fn place(
        &mut self,
        retention: &mut Retention,
        tables: &mut OutputTables<'_>,
        key: InternalKeyRef<'_>,
        encoded: &[u8],
    ) -> Result<()> {
        let entry = EntryRef::decode(encoded).map_err(|error| self.damaged(key, error))?;
        self.stats.entries_read += 1;
        match entry.meta.kind {
            EntryKind::Put | EntryKind::Pointer | EntryKind::Delete => {}
            EntryKind::Merge => return Err(Error::Unsupported { what: "merge operand" }),
            EntryKind::RangeDelete => return Err(Error::Unsupported { what: "range delete" }),
        }
        match retention.judge(key.version, &entry.meta) {
            Verdict::Keep => {
                self.stats.entries_written += 1;
                return tables.add(key, encoded);
            }
            Verdict::Shadowed => self.stats.shadowed += 1,
            Verdict::Tombstone { expired } if self.hides_something(key) => {
                self.stats.entries_written += 1;
                if !expired {
                    return tables.add(key, encoded);
                }
                self.stats.expired_converted += 1;
                tables.add(key, &TOMBSTONE)?;
            }
            Verdict::Tombstone { expired } => {
                self.dropped_tombstone_version = self.dropped_tombstone_version.max(Some(key.version));
                *(if expired { &mut self.stats.expired_dropped } else { &mut self.stats.tombstones_dropped }) += 1;
            }
        }
        self.bury(key, &entry)
    }

    /// Whether something older than a tombstone at `key` may be outside the job.
    fn hides_something(&mut self, key: InternalKeyRef<'_>) -> bool {
        self.pick.output_level == 0
            || self.older.hold(key.user_key, key.version)
            || (!self.context.ordered && (self.context.memtables_hold_older)(key.user_key, key.version))
    }

    /// Notes that the value of an entry, if it is in the value log, has lost it.
    fn bury(&mut self, key: InternalKeyRef<'_>, entry: &EntryRef<'_>) -> Result<()> {
        if entry.meta.kind == EntryKind::Pointer {
            let payload = PointerPayload::decode(entry.payload).map_err(|error| self.damaged(key, error))?;
            self.deaths.push(payload.pointer);
        }
        Ok(())
    }

    /// Names the input in which an entry does not decode.
    #[cold]
    fn damaged(&self, key: InternalKeyRef<'_>, error: base::DecodeError) -> Error {
        let holder = self.pick.tables().find(|table| table.meta().covers(key.user_key));
        let path = holder.map_or_else(|| self.context.build.dir.to_owned(), |table| table.table().path().to_owned());
        let offset = holder.map_or(0, |table| table.table().approximate_offset(key.user_key));
        error.at(path, offset).into()
    }
}

/// Cursors over the inputs, newest first: one for each table of level 0, one for each sorted level.
fn input_cursors(pick: &Pick) -> Vec<RunCursor> {
    let options = CursorOptions { fill_cache: false, read_ahead: true };
    let level =
        |tables: &[Arc<TableHandle>]| RunCursor::Level(LevelCursor::new(Arc::from(tables), 0..tables.len(), options));
    let mut cursors = Vec::new();
    if pick.input_level == 0 {
        cursors.extend(pick.inputs.iter().map(|table| RunCursor::Table(table.table().cursor(options))));
    } else {
        cursors.push(level(&pick.inputs));
    }
    if !pick.output_inputs.is_empty() {
        cursors.push(level(&pick.output_inputs));
    }
    cursors
}

/// The tables below the output level, so that an output does not overlap too many of them.
struct Grandparents<'a> {
    /// Those not yet passed.
    ahead: &'a [Arc<TableHandle>],
    passed_bytes: u64,
    bytes_max: u64,
}

impl<'a> Grandparents<'a> {
    fn new(version: &'a TreeVersion, pick: &Pick, bytes_max: u64) -> Self {
        let ahead = if pick.output_level == 0 { &[] } else { version.tables(pick.output_level + 1) };
        Self { ahead, passed_bytes: 0, bytes_max }
    }

    /// Whether a table that started earlier and holds `bytes` should end before `user_key`.
    #[inline]
    fn should_cut(&mut self, user_key: &[u8], bytes: u64) -> bool {
        while let Some((table, rest)) = self.ahead.split_first() {
            if table.meta().largest.user_key.as_slice() >= user_key {
                break;
            }
            self.passed_bytes += if bytes > 0 { table.meta().file_size } else { 0 };
            self.ahead = rest;
        }
        bytes > 0 && self.passed_bytes > self.bytes_max
    }

    fn restart(&mut self) {
        self.passed_bytes = 0;
    }
}
