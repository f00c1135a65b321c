//! Fjall, under measurement. One put is one write call to its journal.

use std::path::Path;

use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode,
    config::CompressionPolicy,
};

use super::SEPARATED_FROM_BYTES;
use crate::{Compression, Direction, Error, Parameters, Result, Store};

/// The lock file that this is built with.
const LOCK: &str = include_str!("../../../../Cargo.lock");

/// Fjall with one keyspace, whose large values may be kept apart.
pub struct Fjall<const SEPARATED: bool = false> {
    database: Database,
    keyspace: Keyspace,
}

impl<const SEPARATED: bool> Store for Fjall<SEPARATED> {
    const NAME: &'static str = if SEPARATED { "fjall-kv" } else { "fjall" };

    fn about(parameters: &Parameters) -> String {
        let compression = match parameters.compression {
            Compression::None => "none",
            _ if SEPARATED => "LZ4 from the third level on and of separated values",
            _ => "LZ4 from the third level on",
        };
        let separation = if SEPARATED {
            format!("; values from {SEPARATED_FROM_BYTES} bytes on in blob files, collected as by default")
        } else {
            String::new()
        };
        format!(
            "{}; compression: {compression}; a commit is one write call to the journal; cache: blocks{separation}",
            locked_version(LOCK, "fjall").unwrap_or("of unknown version")
        )
    }

    fn open(dir: &Path, parameters: &Parameters) -> Result<Self> {
        let database = Database::builder(dir).cache_size(parameters.cache_bytes).open().map_err(error)?;
        let options = KeyspaceCreateOptions::default().max_memtable_size(parameters.write_buffer_bytes);
        let options = match parameters.compression {
            Compression::Default => options,
            Compression::None => options.data_block_compression_policy(CompressionPolicy::all(CompressionType::None)),
            other => return Err(error(format!("there is no {other:?} compression"))),
        };
        let options = options.with_kv_separation(SEPARATED.then(|| separation(parameters)));
        let keyspace = database.keyspace("default", || options).map_err(error)?;
        Ok(Self { database, keyspace })
    }

    fn put(&self, key: &[u8], value: &[u8], sync: bool) -> Result<()> {
        self.keyspace.insert(key, value).map_err(error)?;
        self.persist(sync)
    }

    fn put_batch<'a>(&self, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>, sync: bool) -> Result<()> {
        let mut batch = self.database.batch().durability(sync.then_some(PersistMode::SyncData));
        for (key, value) in entries {
            batch.insert(&self.keyspace, key, value);
        }
        batch.commit().map_err(error)
    }

    fn delete(&self, key: &[u8], sync: bool) -> Result<()> {
        self.keyspace.remove(key).map_err(error)?;
        self.persist(sync)
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.keyspace.get(key).map_err(error)?.map(|value| value.len()))
    }

    fn scan(
        &self,
        from: Option<&[u8]>,
        direction: Direction,
        limit: u64,
        visit: impl FnMut(&[u8], &[u8]),
    ) -> Result<u64> {
        let entries = match (from, direction) {
            (None, _) => self.keyspace.iter(),
            (Some(key), Direction::Forward) => self.keyspace.range(key..),
            (Some(key), Direction::Reverse) => self.keyspace.range(..=key),
        };
        match direction {
            Direction::Forward => walk(entries, limit, visit),
            Direction::Reverse => walk(entries.rev(), limit, visit),
        }
    }

    fn close(self) -> Result<()> {
        self.database.persist(PersistMode::SyncAll).map_err(error)
    }
}

/// Fjall's defaults, but for what the parameters say.
fn separation(parameters: &Parameters) -> KvSeparationOptions {
    let options = KvSeparationOptions::default().separation_threshold(SEPARATED_FROM_BYTES as u32);
    let options = match parameters.compression {
        Compression::None => options.compression(CompressionType::None),
        _ => options,
    };
    // Compactions rewrite the oldest part of the stale blob files; without any, only files without a live value go.
    if parameters.collects_values { options } else { options.age_cutoff(0.0) }
}

impl<const SEPARATED: bool> Fjall<SEPARATED> {
    fn persist(&self, sync: bool) -> Result<()> {
        if sync { self.database.persist(PersistMode::SyncData).map_err(error) } else { Ok(()) }
    }
}

/// The version of a package in the text of a lock file.
fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let mut lines = lock.lines().skip_while(|line| line.strip_prefix("name = ").map(unquoted) != Some(package));
    lines.nth(1)?.strip_prefix("version = ").map(unquoted)
}

fn unquoted(text: &str) -> &str {
    text.trim_matches('"')
}

fn walk(entries: impl Iterator<Item = fjall::Guard>, limit: u64, mut visit: impl FnMut(&[u8], &[u8])) -> Result<u64> {
    let mut visited = 0;
    for entry in entries.take(usize::try_from(limit).unwrap_or(usize::MAX)) {
        let (key, value) = entry.into_inner().map_err(error)?;
        visit(&key, &value);
        visited += 1;
    }
    Ok(visited)
}

fn error(error: impl std::fmt::Display) -> Error {
    Error::peer(<Fjall>::NAME, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_lock_file() {
        let lock = "[[package]]\nname = \"fjall-x\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"fjall\"\nversion = \"3.1.4\"\n";
        assert_eq!(locked_version(lock, "fjall"), Some("3.1.4"));
        assert_eq!(locked_version(lock, "sled"), None);
        assert!(<Fjall>::about(&Parameters::default()).starts_with("3."));
    }
}
