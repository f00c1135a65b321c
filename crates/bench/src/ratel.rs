//! This store, under measurement.

use std::path::Path;

use engine::{AutoGc, Db, Durability, GcPolicy, Options, Read, ScanOptions, WriteBatch, WriteOptions};

use crate::{Compression, Direction, Parameters, Result, Store};

/// This store, as by default or with more room for garbage, so that less has to be copied.
#[derive(Debug)]
pub struct Ratel<const ROOMY: bool = false> {
    db: Db,
}

/// The part of the value log that may be garbage where there is room.
const ROOMY_GARBAGE_TARGET: f64 = 0.36;

impl<const ROOMY: bool> Store for Ratel<ROOMY> {
    const NAME: &'static str = if ROOMY { "ratel-roomy" } else { "ratel" };

    fn about(parameters: &Parameters) -> String {
        let compression = match parameters.compression {
            Compression::Default | Compression::None => "none",
            Compression::Snappy => "Snappy",
            Compression::Zstd => "Zstd of level 1",
            Compression::Adaptive => "chosen for each block",
        };
        let version = env!("CARGO_PKG_VERSION");
        let collected = match ROOMY {
            true => format!("from {ROOMY_GARBAGE_TARGET} garbage on"),
            false => "as by default".to_owned(),
        };
        format!(
            "{version}; compression: {compression}; a commit is copied into a mapped log; cache: blocks that were \
             compressed, others are read where they are mapped; values from 1024 bytes on in the value log, collected \
             {collected}"
        )
    }

    fn open(dir: &Path, parameters: &Parameters) -> Result<Self> {
        let mut options =
            Options::new().memtable_size(parameters.write_buffer_bytes).block_cache_size(parameters.cache_bytes);
        options = match parameters.compression {
            Compression::Default => options,
            Compression::None => options.compression(engine::Compression::None),
            Compression::Snappy => options.compression(engine::Compression::Snappy),
            Compression::Zstd => options.compression(engine::Compression::Zstd { level: 1 }),
            Compression::Adaptive => options.compression(engine::Compression::Adaptive),
        };
        if !parameters.collects_values {
            options = options.gc(GcPolicy::Manual);
        } else if ROOMY {
            options = options.gc(GcPolicy::Auto(AutoGc::new().garbage_target(ROOMY_GARBAGE_TARGET)));
        }
        Ok(Self { db: options.open(dir)? })
    }

    fn put(&self, key: &[u8], value: &[u8], sync: bool) -> Result<()> {
        if sync {
            return self.put_batch(std::iter::once((key, value)), sync);
        }
        Ok(self.db.insert(key, value)?)
    }

    fn put_batch<'a>(&self, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>, sync: bool) -> Result<()> {
        let mut batch = WriteBatch::new();
        for (key, value) in entries {
            batch.insert(key, value)?;
        }
        self.db.write_with(batch, options(sync))?;
        Ok(())
    }

    fn delete(&self, key: &[u8], sync: bool) -> Result<()> {
        if sync {
            let mut batch = WriteBatch::new();
            batch.remove(key)?;
            self.db.write_with(batch, options(sync))?;
            return Ok(());
        }
        Ok(self.db.remove(key)?)
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.db.get(key)?.map(|value| value.len()))
    }

    fn scan(
        &self,
        from: Option<&[u8]>,
        direction: Direction,
        limit: u64,
        mut visit: impl FnMut(&[u8], &[u8]),
    ) -> Result<u64> {
        let mut cursor = self.db.cursor(ScanOptions::new().reverse(direction == Direction::Reverse))?;
        match from {
            Some(key) => cursor.seek(key)?,
            None => cursor.rewind()?,
        }
        let mut visited = 0;
        while visited < limit {
            let Some(key) = cursor.key() else { break };
            cursor.value_with(|value| visit(key, value))?;
            visited += 1;
            cursor.next()?;
        }
        Ok(visited)
    }

    fn collected_bytes(&self) -> Result<Option<u64>> {
        Ok(Some(self.db.gc().status().bytes_rewritten))
    }

    fn close(self) -> Result<()> {
        Ok(self.db.close()?)
    }
}

fn options(sync: bool) -> WriteOptions {
    WriteOptions::new().durability(if sync { Durability::Sync } else { Durability::Os })
}

#[cfg(test)]
mod tests {
    use engine::{GcOptions, GcVerdict};

    use super::*;
    use crate::directory::ScratchDir;

    #[test]
    fn values_are_collected_unless_the_parameters_say_otherwise() {
        let dir = ScratchDir::create(None).unwrap();
        let store = |collects_values| {
            <Ratel>::open(dir.path(), &Parameters { collects_values, ..Parameters::default() }).unwrap()
        };
        // Closing seals the segment.
        let first = store(false);
        first.put(b"key", &[1; 4_096], false).unwrap();
        first.close().unwrap();
        for (collects_values, expected) in [(false, GcVerdict::ManualOnly), (true, GcVerdict::LittleGarbage)] {
            let store = store(collects_values);
            assert_eq!(store.db.gc().status().segments[0].verdict, expected);
            store.close().unwrap();
        }
    }

    #[test]
    fn what_collecting_wrote_is_told() {
        let dir = ScratchDir::create(None).unwrap();
        let parameters = Parameters { collects_values: false, ..Parameters::default() };
        let store = <Ratel>::open(dir.path(), &parameters).unwrap();
        for key in [b"live", b"dead", b"dead"] {
            store.put(key, &[1; 4_096], false).unwrap();
        }
        store.close().unwrap();
        let store = <Ratel>::open(dir.path(), &parameters).unwrap();
        assert_eq!(store.collected_bytes().unwrap(), Some(0));
        let report = store.db.gc().run_once(GcOptions::new().discard_ratio(0.3).find_garbage(true)).unwrap();
        assert!(report.bytes_rewritten >= 2 * 4_096, "{report:?}");
        assert_eq!(store.collected_bytes().unwrap(), Some(report.bytes_rewritten));
        store.close().unwrap();
    }
}
