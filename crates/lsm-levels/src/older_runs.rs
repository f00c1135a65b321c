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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picker::PickKind;
    use crate::picker::tests::draw;

    /// A job of the one table of level 0 that has this sequence, to the last level.
    fn job(version: &TreeVersion, sequence: u64) -> Pick {
        let inputs = version.level0().iter().filter(|table| table.meta().sequence == sequence).cloned().collect();
        Pick { kind: PickKind::Merge, input_level: 0, inputs, output_level: 6, output_inputs: Vec::new() }
    }

    #[test]
    fn older_tables_of_level_0_count_and_newer_ones_do_not() {
        let version = draw("L0 a-c:1#3 a-g:1#2 e-f:1#1").version;
        let holds =
            |sequence, key: &str| OlderRuns::new(&version, &job(&version, sequence), true).hold(key.as_bytes(), 5);
        assert!(holds(3, "b") && holds(3, "f") && holds(2, "e"));
        assert!(!holds(2, "b") && !holds(1, "e") && !holds(3, "h"));
    }

    #[test]
    fn where_versions_came_out_of_order_every_other_table_with_a_lower_one_counts() {
        let version = draw("L0 a-c:1#3 a-g:1#2 e-f:1#1\n L3 x-z:1").version;
        // All tables hold versions from 1 on.
        let holds = |sequence, key: &str, version_of_tombstone| {
            OlderRuns::new(&version, &job(&version, sequence), false).hold(key.as_bytes(), version_of_tombstone)
        };
        assert!(holds(1, "b", 5) && holds(2, "b", 2) && holds(1, "y", 5));
        assert!(!holds(2, "b", 1) && !holds(1, "h", 5));
    }
}
