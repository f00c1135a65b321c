//! Which tables jobs in flight have taken as inputs, and where they will write.
//!
//! A claim is released when its job's value is dropped: after its edit is installed, or when it failed.

use std::collections::HashSet;

use base::sync::{Arc, Mutex};
use base::{KeyspaceId, TableId};

use crate::picker::Pick;

/// What jobs in flight hold.
#[derive(Debug, Default)]
pub struct InFlight {
    tables: HashSet<TableId>,
    outputs: Vec<OutputRange>,
    next_job: u64,
}

#[derive(Debug)]
struct OutputRange {
    job: u64,
    keyspace: KeyspaceId,
    level: usize,
    first: Vec<u8>,
    last: Vec<u8>,
}

impl InFlight {
    /// Whether a job has taken the table.
    #[must_use]
    pub fn holds(&self, table: TableId) -> bool {
        self.tables.contains(&table)
    }

    /// Whether a pick neither takes a taken table nor writes where a job will write.
    #[must_use]
    pub fn allows(&self, keyspace: KeyspaceId, pick: &Pick) -> bool {
        if pick.tables().any(|table| self.holds(table.id())) {
            return false;
        }
        let Some((first, last)) = pick.user_range() else { return true };
        let crosses = |output: &OutputRange| {
            output.keyspace == keyspace
                && output.level == pick.output_level
                && output.first.as_slice() <= last
                && first <= output.last.as_slice()
        };
        pick.output_level == 0 || !self.outputs.iter().any(crosses)
    }
}

/// The claims of all jobs of a tree.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims(Arc<Mutex<InFlight>>);

impl Claims {
    /// Chooses and claims in one step. `choose` runs under the claims' lock.
    pub(crate) fn claim<T>(
        &self,
        keyspace: KeyspaceId,
        choose: impl FnOnce(&InFlight) -> Option<(Pick, T)>,
    ) -> Option<(Pick, Claim, T)> {
        let mut in_flight = self.0.lock();
        let (pick, rest) = choose(&in_flight)?;
        let job = in_flight.next_job;
        in_flight.next_job += 1;
        let tables: Vec<TableId> = pick.tables().map(|table| table.id()).collect();
        in_flight.tables.extend(&tables);
        if let Some((first, last)) = pick.user_range() {
            let output =
                OutputRange { job, keyspace, level: pick.output_level, first: first.to_vec(), last: last.to_vec() };
            in_flight.outputs.push(output);
        }
        drop(in_flight);
        Some((pick, Claim { claims: self.clone(), job, tables }, rest))
    }

    /// Looks at what is in flight.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&InFlight) -> R) -> R {
        look(&self.0.lock())
    }
}

/// One job's claim; dropping it releases its tables.
#[derive(Debug)]
pub(crate) struct Claim {
    claims: Claims,
    job: u64,
    tables: Vec<TableId>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut in_flight = self.claims.0.lock();
        for table in &self.tables {
            in_flight.tables.remove(table);
        }
        in_flight.outputs.retain(|output| output.job != self.job);
    }
}
