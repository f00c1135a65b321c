//! What every public handle of a store shares, and what happens when the last one goes.

use std::ops::Deref;
use std::sync::Arc;

use crate::store::Store;

/// Shared by all clones of a `Db` and by its keyspaces, snapshots, transactions and iterators. When the last goes, the
/// background threads are stopped and joined; nothing is flushed, as the log already holds every commit.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) store: Arc<Store>,
}

impl Deref for Handle {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.store.stop_workers();
    }
}
