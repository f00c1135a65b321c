//! Knows, for ascending user keys, whether tables outside a compaction may hold something older of the key.

use base::Version;
use base::limits::LEVELS;
use base::sync::Arc;

use crate::picker::Pick;
use crate::table_handle::TableHandle;
use crate::version::TreeVersion;

/// The tables outside a compaction that matter to its tombstones.
#[derive(Debug)]
pub(crate) struct OlderRuns<'a> {
    /// Tables of level 0, which overlap each other.
    single: Vec<&'a Arc<TableHandle>>,
    /// Of each sorted level, the tables in key order that are not wholly before the last key asked for.
    levels: Vec<std::iter::Peekable<std::vec::IntoIter<&'a Arc<TableHandle>>>>,
    ordered: bool,
}

impl<'a> OlderRuns<'a> {
    /// Where versions arrive in order, only tables below the output level, others of the levels from the input's to the
    /// output's, and what is older in level 0 count; otherwise all tables that are not inputs.
    pub(crate) fn new(version: &'a TreeVersion, pick: &Pick, ordered: bool) -> Self {
        let is_input = |table: &Arc<TableHandle>| pick.tables().any(|input| input.id() == table.id());
        let newest = pick.inputs.iter().map(|table| table.meta().sequence).max().unwrap_or(0);
        let single = version
            .level0()
            .iter()
            .filter(|table| !ordered || (pick.input_level == 0 && table.meta().sequence <= newest))
            .filter(|table| !is_input(table))
            .collect();
        let levels = (1..LEVELS)
            .filter(|level| !ordered || *level >= pick.input_level)
            .map(|level| version.tables(level).iter().filter(|table| !is_input(table)).collect::<Vec<_>>())
            .filter(|tables| !tables.is_empty())
            .map(|tables| tables.into_iter().peekable())
            .collect();
        Self { single, levels, ordered }
    }

    /// Whether something older than `version` of the key may be there. Keys must be asked for in ascending order.
    pub(crate) fn hold(&mut self, user_key: &[u8], version: Version) -> bool {
        let ordered = self.ordered;
        let older = |table: &Arc<TableHandle>| ordered || table.meta().min_version < version;
        if self.single.iter().any(|table| table.meta().covers(user_key) && older(table)) {
            return true;
        }
        self.levels.iter_mut().any(|level| {
            while level.next_if(|table| table.meta().largest.user_key.as_slice() < user_key).is_some() {}
            level.peek().is_some_and(|table| table.meta().covers(user_key) && older(table))
        })
    }
}
