//! What a store has to offer to be measured.
//!
//! Written once for all stores and called without indirection, so that what is measured is the store.

use std::path::Path;

use crate::{Parameters, Result};

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To greater keys.
    Forward,
    /// To lesser keys.
    Reverse,
}

/// A store under measurement. An acknowledged write survives the death of the process; with `sync` a power loss too.
pub trait Store: Sync + Sized {
    /// Its name in results.
    const NAME: &'static str;

    /// Its version, and what it does with such parameters about compression, durability and caching.
    fn about(parameters: &Parameters) -> String;

    /// Opens the store in a folder, which exists; makes it where there is none.
    ///
    /// # Errors
    /// As the store says; so for all methods.
    fn open(dir: &Path, parameters: &Parameters) -> Result<Self>;

    /// Sets a key, as a commit of its own.
    ///
    /// # Errors
    /// As the store says.
    fn put(&self, key: &[u8], value: &[u8], sync: bool) -> Result<()>;

    /// Sets several keys in one commit.
    ///
    /// # Errors
    /// As the store says.
    fn put_batch<'a>(&self, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>, sync: bool) -> Result<()>;

    /// Deletes a key, as a commit of its own.
    ///
    /// # Errors
    /// As the store says.
    fn delete(&self, key: &[u8], sync: bool) -> Result<()>;

    /// The length of a key's value, which has been brought into memory.
    ///
    /// # Errors
    /// As the store says.
    fn get(&self, key: &[u8]) -> Result<Option<usize>>;

    /// Hands up to `limit` entries to `visit`, from the first key at or behind `from` (in reverse: at or before it),
    /// or from the end of the store, on. Returns how many.
    ///
    /// # Errors
    /// As the store says.
    fn scan(
        &self,
        from: Option<&[u8]>,
        direction: Direction,
        limit: u64,
        visit: impl FnMut(&[u8], &[u8]),
    ) -> Result<u64>;

    /// Bytes that collecting overwritten values has written since the store was opened; none where the store does not
    /// tell, or collects none.
    ///
    /// # Errors
    /// As the store says.
    fn collected_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Closes the store.
    ///
    /// # Errors
    /// As the store says.
    fn close(self) -> Result<()>;
}
