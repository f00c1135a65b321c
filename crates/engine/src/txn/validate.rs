//! Whether what a transaction read still holds when it commits.
//!
//! In two steps, so that nobody waits for reads of tables under the commit lock: first, in the transaction's own
//! thread, against everything that is visible by then; second, under the lock, against the commits since, from memory.
//! If those are more than memory holds, the first step is done again, after a few times under the lock.

use base::{InternalKeyRef, KeyspaceId, Version};
use lsm_levels::MergeCursor;
use txn_oracle::{Conflict, ReadMark, SealedReads, Verdict};

use crate::read::{Bounds, ScanOptions, sources};
use crate::store::{CommitState, Store};
use crate::{Error, ErrorKind, Result};

/// Times that a transaction validates outside the lock before it does so inside.
const TRIES_OUTSIDE: u32 = 3;

/// The reads of a transaction that is about to commit, and up to where they are known to hold.
#[derive(Debug)]
pub(crate) struct Validation<'a> {
    mark: &'a ReadMark,
    reads: &'a SealedReads,
    up_to: Version,
    tries: u32,
}

impl<'a> Validation<'a> {
    pub(crate) fn new(mark: &'a ReadMark, reads: &'a SealedReads) -> Self {
        Self { mark, reads, up_to: mark.version(), tries: 0 }
    }

    /// Compares the reads with everything that is visible now.
    pub(crate) fn before_the_lock(&mut self, store: &Store) -> Result<()> {
        self.tries += 1;
        let validation = store.oracle.validation(self.mark);
        let up_to = validation.up_to();
        if !validation.is_clean() {
            for suspect in validation.suspects(self.reads) {
                self.confirm_point(store, suspect.keyspace, suspect.key, up_to)?;
            }
            for range in self.reads.ranges() {
                let bounds = Bounds { lower: range.start.to_vec(), upper: range.end.map(<[u8]>::to_vec) };
                self.confirm_range(store, range.keyspace, bounds, up_to)?;
            }
        }
        self.up_to = up_to;
        Ok(())
    }

    /// Compares the reads with the commits since the first step. `false`: the first step has to be done again.
    pub(crate) fn under_the_lock(&mut self, store: &Store, state: &mut CommitState) -> Result<bool> {
        loop {
            match state.order.check(self.reads, self.up_to) {
                Verdict::Clear => return Ok(true),
                Verdict::Conflict(conflict) => return Err(conflict_of(store, &conflict)),
                Verdict::Revalidate { .. } if self.tries < TRIES_OUTSIDE => return Ok(false),
                Verdict::Revalidate { .. } => {
                    let last = state.order.last_assigned();
                    store.oracle.wait_visible(last).map_err(|_| store.failure())?;
                    self.before_the_lock(store)?;
                }
            }
        }
    }

    /// Whether the tree has a version of the key that the transaction did not see; tombstones count.
    fn confirm_point(&self, store: &Store, keyspace: KeyspaceId, key: &[u8], up_to: Version) -> Result<()> {
        let view = store.keyspace_by_id(keyspace)?.pin_owned();
        let newest = view.get(key, up_to, |version, _, _| Ok(version))?;
        match newest {
            Some(version) if version > self.mark.version() => Err(conflict_on(store, keyspace, key, version)),
            _ => Ok(()),
        }
    }

    /// Whether the range has a version that the transaction did not see. Sources without any that new are not read.
    fn confirm_range(&self, store: &Store, keyspace: KeyspaceId, bounds: Bounds, up_to: Version) -> Result<()> {
        let read = self.mark.version();
        let view = store.keyspace_by_id(keyspace)?.pin_owned();
        let options = ScanOptions::new().fill_cache(false);
        let mut merge = MergeCursor::new(sources(&view, &bounds, &options, Some(read)));
        base::Cursor::seek(&mut merge, InternalKeyRef::first_of(&bounds.lower))?;
        while base::Cursor::valid(&merge) {
            let key = base::Cursor::key(&merge);
            if !bounds.is_below_upper(key.user_key) {
                return Ok(());
            }
            if key.version > read && key.version <= up_to {
                return Err(conflict_on(store, keyspace, key.user_key, key.version));
            }
            base::Cursor::next(&mut merge)?;
        }
        Ok(())
    }
}

fn conflict_of(store: &Store, conflict: &Conflict) -> Error {
    conflict_on(store, conflict.keyspace, &conflict.key, conflict.version)
}

fn conflict_on(store: &Store, keyspace: KeyspaceId, key: &[u8], version: Version) -> Error {
    let name = store.keyspace_by_id(keyspace).map_or_else(|_| keyspace.to_string(), |state| state.name.clone());
    // Texts end up in logs.
    let key = match &store.keys {
        Some(_) => format!("of {} bytes", key.len()),
        None => format!("\"{}\"", key.escape_ascii()),
    };
    let message = format!("conflict: key {key} of keyspace {name} was read, and written since by commit {version}");
    Error::new(ErrorKind::Conflict, message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vfs::{Cause, Fault, FaultFs, FaultPlan, MemFs, Operation};

    use crate::{IoMode, Options, Read, ScanOptions};

    #[test]
    fn a_commit_does_not_read_the_tables_of_its_ranges_again_that_have_nothing_new() {
        let faults = FaultFs::over_memory(MemFs::new(1), FaultPlan::none());
        let options = Options::new().inline_background().io_mode(IoMode::Pread).vfs(Arc::new(faults.clone()));
        let db = options.open("/store").unwrap();
        db.insert("a", "").unwrap();
        db.flush().unwrap();
        let mut txn = db.begin();
        assert_eq!(txn.scan(ScanOptions::new().range("a".."c").fill_cache(false)).count(), 1);
        db.insert("d", "").unwrap();
        txn.insert("x", "").unwrap();
        faults.arm(Fault::on(Operation::Read, Cause::Io).at_suffix(".sst").forever());
        assert!(db.get("a").is_err(), "the table is not in memory");
        txn.commit().unwrap();
    }
}
