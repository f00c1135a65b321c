//! Picks what to compact next.
//!
//! Pure: it sees a version, what is in flight, and options, and returns a pick; it reads no file and starts no job.
//!
//! Invariants
//! 1. Two picks that are in flight never share a table, and never write overlapping ranges to one level.
//! 2. A pick's inputs at its output level are all tables there that overlap its other inputs.
//! 3. A table of level 0 leaves it only with all older tables there that overlap it, or after them.
//! 4. Runs of level 0 are merged among themselves only as a contiguous stretch of whole runs; the result takes the
//!    place of the newest of them.

use std::collections::BTreeSet;

use base::limits::LEVELS;
use base::sync::Arc;
use base::{TableId, Version};

use crate::claims::InFlight;
use crate::options::PickerOptions;
use crate::range::KeyRange;
use crate::table_handle::TableHandle;
use crate::targets::{LAST, LevelTargets};
use crate::version::TreeVersion;

/// Scores at or above 1 are multiplied by this, so that what incoming bytes take off them does not hide that a level is
/// over its target.
const DUE_SCALE: f64 = 10.0;

/// What kind of work a pick is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PickKind {
    /// Tables are merged into the output level.
    Merge,
    /// Tables overlap nothing at the output level and change level without being written.
    Move,
    /// Runs of level 0 become one run there.
    MergeLevel0,
    /// A table is written anew at its place, without what nobody needs.
    Rewrite,
}

/// What to compact.
#[derive(Clone, Debug)]
pub struct Pick {
    /// The kind of work.
    pub kind: PickKind,
    /// The level from which the inputs come.
    pub input_level: usize,
    /// Inputs of that level: newest first for level 0, else in key order.
    pub inputs: Vec<Arc<TableHandle>>,
    /// The level to which the result goes.
    pub output_level: usize,
    /// Inputs of the output level, in key order. Empty where it is the input level.
    pub output_inputs: Vec<Arc<TableHandle>>,
}

impl Pick {
    /// Every input.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableHandle>> + Clone {
        self.inputs.iter().chain(&self.output_inputs)
    }

    /// First and last user key of all inputs.
    #[must_use]
    pub fn user_range(&self) -> Option<(&[u8], &[u8])> {
        hull(self.tables())
    }

    /// Bytes of all inputs.
    #[must_use]
    pub fn input_bytes(&self) -> u64 {
        bytes_of(self.tables())
    }
}

/// Chooses compactions by the options.
#[derive(Clone, Copy, Debug)]
pub struct Picker {
    options: PickerOptions,
}

impl Picker {
    /// A picker with these options.
    #[must_use]
    pub fn new(options: PickerOptions) -> Self {
        Self { options }
    }

    /// The options.
    #[must_use]
    pub fn options(&self) -> &PickerOptions {
        &self.options
    }

    /// How due each level is; 1 and above is due. What is in flight does not count.
    #[must_use]
    pub fn scores(&self, version: &TreeVersion, in_flight: &InFlight) -> [f64; LEVELS] {
        let targets = LevelTargets::of(version, &self.options);
        let mut scores = [0.0; LEVELS];
        // Bytes that are about to come down to a level, since those above are over their targets.
        let mut incoming = 0;
        for (level, score) in scores.iter_mut().enumerate().take(LAST) {
            let idle = || version.tables(level).iter().filter(|table| !in_flight.holds(table.id()));
            let bytes = bytes_of(idle());
            let target = targets.bytes(level);
            if level == 0 {
                let runs = idle().collect::<Vec<_>>().chunk_by(same_run).count();
                let base_bytes = version.level_bytes(targets.base).max(targets.bytes(targets.base));
                let raw = ratio(runs as u64, self.options.level0_runs_max as u64).max(ratio(bytes, base_bytes));
                *score = if raw >= 1.0 { raw * DUE_SCALE } else { raw };
                incoming = bytes;
            } else {
                let over = bytes >= target && bytes > 0;
                *score = if over { ratio(bytes, target + incoming) * DUE_SCALE } else { ratio(bytes, target) };
                *score = if over { score.max(1.0) } else { *score };
                incoming += bytes.saturating_sub(target);
            }
        }
        scores
    }

    /// Bytes that would have to be compacted for no level to be over its target.
    #[must_use]
    pub fn pending_bytes(&self, version: &TreeVersion) -> u64 {
        let targets = LevelTargets::of(version, &self.options);
        let level0_due = version.level0_runs() >= self.options.level0_runs_max;
        let mut pending: u64 = 0;
        let mut coming = if level0_due { version.level_bytes(0) } else { 0 };
        for level in targets.base..LAST {
            pending = pending.saturating_add(coming);
            coming = (version.level_bytes(level) + coming).saturating_sub(targets.bytes(level));
        }
        pending.saturating_add(coming)
    }

    /// The most urgent piece of work, or `None` where nothing is due or everything that is due waits for jobs in flight.
    /// `discard_version` is used only to tell which tables are worth writing anew.
    #[must_use]
    pub fn pick(&self, version: &TreeVersion, in_flight: &InFlight, discard_version: Version) -> Option<Pick> {
        let scores = self.scores(version, in_flight);
        let mut due: Vec<usize> = (0..LAST).filter(|level| score_of(&scores, *level) >= 1.0).collect();
        due.sort_by(|a, b| score_of(&scores, *b).total_cmp(&score_of(&scores, *a)));
        due.into_iter()
            .find_map(|level| {
                if level == 0 {
                    self.pick_level0(version, in_flight)
                } else {
                    self.pick_sorted(version, in_flight, level)
                }
            })
            .or_else(|| self.pick_rewrite(version, in_flight, discard_version))
    }

    /// A table, other than those of `except`, of which so much has expired for every reader that it is worth writing anew at
    /// its place. What expired ends there: with nothing older below it goes, else it stays as a tombstone. So what comes of it
    /// is not picked again.
    #[must_use]
    pub fn pick_expired(
        &self,
        version: &TreeVersion,
        in_flight: &InFlight,
        discard_version: Version,
        expiry_now: u64,
        except: &BTreeSet<TableId>,
    ) -> Option<Pick> {
        moments_of_expiry(version)
            .filter(|(moment, _, table)| *moment <= expiry_now && table.meta().max_version <= discard_version)
            .filter(|(_, _, table)| !except.contains(&table.id()))
            .find_map(|(_, level, table)| rewrite(version, in_flight, level, table))
    }

    /// Work that brings the part of `level` in the range one level down. Where nothing is below, tables with tombstones,
    /// shadowed entries or, by `expiry_now`, expired ones are written anew. Only tables numbered below `before` are taken, so that asking until there is
    /// nothing left comes to an end.
    #[must_use]
    pub fn pick_range(
        &self,
        version: &TreeVersion,
        in_flight: &InFlight,
        level: usize,
        range: KeyRange<'_>,
        before: TableId,
        expiry_now: u64,
    ) -> Option<Pick> {
        let wanted = |table: &Arc<TableHandle>| {
            let meta = table.meta();
            meta.id < before && range.overlaps(&meta.smallest.user_key, &meta.largest.user_key)
        };
        if level == 0 {
            let newest = version.level0().iter().position(wanted)?;
            let sequence = version.level0().get(newest)?.meta().sequence;
            let runs = version.level0().iter().filter(|table| table.meta().sequence <= sequence);
            return self.pick_down_level0(version, in_flight, runs.cloned().collect());
        }
        let mut idle = version.tables(level).iter().filter(|table| wanted(table) && !in_flight.holds(table.id()));
        if (level + 1..LEVELS).all(|below| version.tables(below).is_empty()) {
            let stale = |table: &&Arc<TableHandle>| {
                let meta = table.meta();
                meta.tombstones > 0 || meta.stale_bytes > 0 || meta.has_expired(expiry_now)
            };
            return rewrite(version, in_flight, level, idle.find(stale)?);
        }
        self.pick_down(version, in_flight, level, idle.next()?)
    }

    fn pick_level0(&self, version: &TreeVersion, in_flight: &InFlight) -> Option<Pick> {
        self.pick_down_level0(version, in_flight, version.level0().to_vec())
            .or_else(|| self.pick_within_level0(version, in_flight))
    }

    /// The oldest of `tables`, which are newest first and hold all that is older than any of them, to the base level.
    fn pick_down_level0(
        &self,
        version: &TreeVersion,
        in_flight: &InFlight,
        tables: Vec<Arc<TableHandle>>,
    ) -> Option<Pick> {
        let output_level = LevelTargets::of(version, &self.options).base;
        let mut inputs: Vec<Arc<TableHandle>> = Vec::new();
        for run in tables.chunk_by(same_run).rev() {
            let too_much = bytes_of(inputs.iter().chain(run)) > self.options.compaction_bytes_max;
            if run.iter().any(|table| in_flight.holds(table.id())) || (too_much && !inputs.is_empty()) {
                break;
            }
            inputs.splice(0..0, run.iter().cloned());
        }
        if inputs.is_empty() {
            return None;
        }
        if let Some(moved) = self.move_level0(version, in_flight, &inputs, output_level) {
            return Some(moved);
        }
        merge_into(version, in_flight, 0, inputs, output_level)
    }

    /// The oldest runs, as many as overlap neither each other nor the output level, without writing them.
    fn move_level0(
        &self,
        version: &TreeVersion,
        in_flight: &InFlight,
        inputs: &[Arc<TableHandle>],
        output_level: usize,
    ) -> Option<Pick> {
        let mut moved: Vec<Arc<TableHandle>> = Vec::new();
        for run in inputs.chunk_by(same_run).rev() {
            let free = |table: &Arc<TableHandle>| {
                self.may_move(version, table, output_level) && !moved.iter().any(|other| overlap(other, table))
            };
            if !run.iter().all(free) {
                break;
            }
            moved.splice(0..0, run.iter().cloned());
        }
        let pick =
            Pick { kind: PickKind::Move, input_level: 0, inputs: moved, output_level, output_inputs: Vec::new() };
        (!pick.inputs.is_empty() && in_flight.allows(version.keyspace(), &pick)).then_some(pick)
    }

    /// Whether a table overlaps nothing at a level, and not too much of the one below.
    fn may_move(&self, version: &TreeVersion, table: &TableHandle, output_level: usize) -> bool {
        overlapping(version, output_level, table).is_empty()
            && bytes_of(overlapping(version, output_level + 1, table).iter()) <= self.options.grandparent_bytes_max
    }

    /// Runs of level 0 that are not in flight, when they have become many.
    fn pick_within_level0(&self, version: &TreeVersion, in_flight: &InFlight) -> Option<Pick> {
        if version.level0_runs() < self.options.level0_merge_runs_min {
            return None;
        }
        let mut runs = 0;
        let mut inputs: Vec<Arc<TableHandle>> = Vec::new();
        for run in version.level0().chunk_by(same_run) {
            let busy = run.iter().any(|table| in_flight.holds(table.id()));
            let too_much = bytes_of(inputs.iter().chain(run)) > self.options.compaction_bytes_max;
            if busy || too_much {
                break;
            }
            inputs.extend_from_slice(run);
            runs += 1;
        }
        let pick =
            Pick { kind: PickKind::MergeLevel0, input_level: 0, inputs, output_level: 0, output_inputs: Vec::new() };
        (runs >= self.options.level0_runs_max.max(2)).then_some(pick)
    }

    /// The table of a sorted level that overlaps least of the next one, in proportion to its size.
    fn pick_sorted(&self, version: &TreeVersion, in_flight: &InFlight, level: usize) -> Option<Pick> {
        let mut order: Vec<(u64, &Arc<TableHandle>)> = version
            .tables(level)
            .iter()
            .filter(|table| !in_flight.holds(table.id()))
            .map(|table| (overlap_ratio(version, level, table), table))
            .collect();
        order.sort_by(|(a, left), (b, right)| a.cmp(b).then_with(|| left.meta().smallest.cmp(&right.meta().smallest)));
        order.into_iter().find_map(|(_, table)| self.pick_down(version, in_flight, level, table))
    }

    fn pick_down(
        &self,
        version: &TreeVersion,
        in_flight: &InFlight,
        level: usize,
        seed: &Arc<TableHandle>,
    ) -> Option<Pick> {
        let output_level = level + 1;
        if output_level >= LEVELS {
            return None;
        }
        if self.may_move(version, seed, output_level) {
            let inputs = vec![Arc::clone(seed)];
            let pick =
                Pick { kind: PickKind::Move, input_level: level, inputs, output_level, output_inputs: Vec::new() };
            return in_flight.allows(version.keyspace(), &pick).then_some(pick);
        }
        let pick = merge_into(version, in_flight, level, vec![Arc::clone(seed)], output_level)?;
        Some(self.widen(version, in_flight, pick))
    }

    /// Takes in further tables of the input level, as long as that costs no further table of the output level.
    fn widen(&self, version: &TreeVersion, in_flight: &InFlight, pick: Pick) -> Pick {
        let Some((first, last)) = hull(pick.output_inputs.iter()) else { return pick };
        let Some(run) = version.sorted(pick.input_level) else { return pick };
        let inside = |table: &&Arc<TableHandle>| {
            first <= table.meta().smallest.user_key.as_slice() && table.meta().largest.user_key.as_slice() <= last
        };
        let chosen = |table: &&Arc<TableHandle>| pick.inputs.iter().any(|input| input.id() == table.id());
        let inputs: Vec<_> = run.tables().iter().filter(|table| inside(table) || chosen(table)).cloned().collect();
        let wider = merge_into(version, in_flight, pick.input_level, inputs, pick.output_level);
        match wider {
            Some(wider)
                if wider.output_inputs.len() == pick.output_inputs.len()
                    && wider.input_bytes() <= self.options.compaction_bytes_max =>
            {
                wider
            }
            _ => pick,
        }
    }

    /// A table with nothing below that is mostly tombstones and what they hide, all of which may go.
    fn pick_rewrite(&self, version: &TreeVersion, in_flight: &InFlight, discard_version: Version) -> Option<Pick> {
        let deepest = (1..LEVELS).rev().find(|level| !version.tables(*level).is_empty())?;
        let worth = |table: &&Arc<TableHandle>| {
            let meta = table.meta();
            meta.max_version <= discard_version
                && meta.tombstones > 0
                && meta.stale_bytes.saturating_mul(2) >= meta.user_key_bytes.saturating_add(meta.value_bytes)
                && !in_flight.holds(meta.id)
        };
        let table = version.tables(deepest).iter().find(worth)?;
        rewrite(version, in_flight, deepest, table)
    }
}

/// Each table with its level that at some moment is worth writing anew for the sake of what has expired by then.
pub(crate) fn moments_of_expiry(version: &TreeVersion) -> impl Iterator<Item = (u64, usize, &Arc<TableHandle>)> {
    let expiring = version.all_tables().filter(|(_, table)| !table.meta().expiry.eighths.is_empty());
    expiring.filter_map(|(level, table)| {
        let is_under = |below| !overlapping(version, below, table).is_empty();
        let keys_stay = level == 0 || (level + 1..LEVELS).any(is_under);
        Some((table.meta().worth_rewriting_from(keys_stay)?, level, table))
    })
}

fn rewrite(version: &TreeVersion, in_flight: &InFlight, level: usize, table: &Arc<TableHandle>) -> Option<Pick> {
    let inputs = vec![Arc::clone(table)];
    let pick =
        Pick { kind: PickKind::Rewrite, input_level: level, inputs, output_level: level, output_inputs: Vec::new() };
    in_flight.allows(version.keyspace(), &pick).then_some(pick)
}

/// A merge of `inputs` with all that they overlap at the output level, unless something of that is in flight.
fn merge_into(
    version: &TreeVersion,
    in_flight: &InFlight,
    input_level: usize,
    inputs: Vec<Arc<TableHandle>>,
    output_level: usize,
) -> Option<Pick> {
    let (first, last) = hull(inputs.iter())?;
    let run = version.sorted(output_level)?;
    let output_inputs = run.slice(run.overlapping(KeyRange::closed(first, last))).to_vec();
    let pick = Pick { kind: PickKind::Merge, input_level, inputs, output_level, output_inputs };
    in_flight.allows(version.keyspace(), &pick).then_some(pick)
}

fn overlapping<'a>(version: &'a TreeVersion, level: usize, table: &TableHandle) -> &'a [Arc<TableHandle>] {
    let range = KeyRange::closed(&table.meta().smallest.user_key, &table.meta().largest.user_key);
    version.sorted(level).map_or(&[], |run| run.slice(run.overlapping(range)))
}

/// Bytes that the table overlaps at the next level, in 1,024ths of its own size.
fn overlap_ratio(version: &TreeVersion, level: usize, table: &TableHandle) -> u64 {
    bytes_of(overlapping(version, level + 1, table).iter()).saturating_mul(1_024) / table.meta().file_size.max(1)
}

fn overlap(a: &TableHandle, b: &TableHandle) -> bool {
    a.meta().overlaps(&b.meta().smallest.user_key, &b.meta().largest.user_key)
}

fn same_run(a: &(impl AsRef<TableHandle> + ?Sized), b: &(impl AsRef<TableHandle> + ?Sized)) -> bool {
    a.as_ref().meta().sequence == b.as_ref().meta().sequence
}

/// First and last user key of tables.
pub(crate) fn hull<'a>(tables: impl Iterator<Item = &'a Arc<TableHandle>> + Clone) -> Option<(&'a [u8], &'a [u8])> {
    let first = tables.clone().map(|table| table.meta().smallest.user_key.as_slice()).min()?;
    let last = tables.map(|table| table.meta().largest.user_key.as_slice()).max()?;
    Some((first, last))
}

fn bytes_of<'a>(tables: impl Iterator<Item = &'a Arc<TableHandle>>) -> u64 {
    tables.map(|table| table.meta().file_size).sum()
}

fn score_of(scores: &[f64; LEVELS], level: usize) -> f64 {
    scores.get(level).copied().unwrap_or(0.0)
}

#[expect(clippy::cast_precision_loss, reason = "a score needs few digits")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
pub(crate) mod tests;
