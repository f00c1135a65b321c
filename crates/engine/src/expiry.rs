//! What has expired leaves by itself: tables of which so much has expired that it is worth it are written anew.
//!
//! A table says in its meta from when on. Until the next such moment the compactors sleep; where only a reader stands in the
//! way, they are told when it goes. This comes after all that the shape of any tree asks for. A table that cannot be read is
//! told of once and passed over until the store is opened again: nobody has asked for what is in it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base::TableId;
use base::sync::Mutex;
use sstable::table_path;

use crate::Result;
use crate::compact::BeforePick;
use crate::counters::add;
use crate::keyspace::KeyspaceState;
use crate::store::Store;

/// What is known of tables in which much has expired.
#[derive(Debug, Default)]
pub(crate) struct Expired {
    /// Those that could not be read.
    damaged: Mutex<BTreeSet<TableId>>,
}

impl Store {
    /// Writes one table anew for the sake of what has expired in it; `false` if there is none.
    pub(crate) fn drop_expired(&self) -> Result<bool> {
        if self.drop_expired_of_any()? {
            return Ok(true);
        }
        let now = self.clock.unix_seconds();
        if !self.moments_of_expiry().any(|moment| moment <= now) {
            return Ok(false);
        }
        // A reader may still see what has expired. If it goes from here on, the compactors are told; if it has gone before,
        // they see it now.
        self.oracle.tell_when_oldest_closes();
        self.drop_expired_of_any()
    }

    /// How long it is until another table is worth writing anew for the sake of what has expired in it; `None` if none will
    /// be.
    pub(crate) fn until_next_expiry(&self) -> Option<Duration> {
        let now = self.clock.unix_seconds();
        let next = self.moments_of_expiry().filter(|moment| *moment > now).min()?;
        Some(Duration::from_secs(next - now))
    }

    fn moments_of_expiry(&self) -> impl Iterator<Item = u64> {
        let keyspaces = self.keyspaces.load_full();
        let damaged = self.expired.damaged.lock().clone();
        let moments: Vec<u64> =
            keyspaces.iter().flat_map(|of| self.levels.moments_of_expiry(of.id, &damaged)).collect();
        moments.into_iter()
    }

    fn drop_expired_of_any(&self) -> Result<bool> {
        for keyspace in self.keyspaces.load_full().iter() {
            if self.drop_expired_of(keyspace)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn drop_expired_of(&self, keyspace: &Arc<KeyspaceState>) -> Result<bool> {
        let before = BeforePick::of(self, keyspace);
        let (discard_version, expiry_now) = (before.discard_version, before.expiry_now);
        let damaged = self.expired.damaged.lock().clone();
        let picked = self.levels.pick_expired(keyspace.id, &self.picker(), discard_version, expiry_now, &damaged);
        let Some(job) = picked else { return Ok(false) };
        let tables: Vec<TableId> = job.pick().tables().map(|table| table.id()).collect();
        self.workers.wake_compactors();
        let Err(error) = self.run_compaction(keyspace, &before, job) else { return Ok(true) };
        let path = |table: &TableId| table_path(&self.files.dir, *table);
        if !tables.iter().any(|table| error.corruption().is_some_and(|found| found.path == path(table))) {
            return Err(error);
        }
        tracing::warn!(%error, "a table in which much has expired cannot be read and is left as it is");
        add(&self.counters.background_failures, 1);
        self.expired.damaged.lock().extend(tables);
        Ok(true)
    }
}
