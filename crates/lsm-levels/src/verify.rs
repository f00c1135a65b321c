//! Checks a version against what its tables hold.

use base::limits::LEVELS;
use base::sync::Arc;
use base::{Corruption, Cursor, InternalKey};
use sstable::CursorOptions;

use crate::error::Result;
use crate::table_handle::TableHandle;
use crate::version::TreeVersion;

/// What a verification has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifiedTree {
    /// Number of tables.
    pub tables: u64,
    /// Number of entries.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
}

impl TreeVersion {
    /// Reads every entry of every table: blocks, filters and order, and that bounds, versions and counts are what the
    /// manifest says. Tables of a sorted level were found disjoint when the version was made, by those bounds.
    ///
    /// # Errors
    /// At the first that does not hold, naming the file; and when a file cannot be read.
    pub fn verify(&self) -> Result<VerifiedTree> {
        let mut verified = VerifiedTree::default();
        for level in 0..LEVELS {
            for table in self.tables(level) {
                verify_table(table)?;
                verified.tables += 1;
                verified.entries += table.meta().entries;
                verified.bytes += table.meta().file_size;
            }
        }
        Ok(verified)
    }
}

fn verify_table(table: &Arc<TableHandle>) -> Result<()> {
    table.table().verify()?;
    let meta = table.meta();
    let is_encrypted = table.table().is_encrypted();
    let wrong = |what: &str, expected: String, found: String| {
        Corruption::new(table.table().path(), 0, what).with_values(expected, found)
    };
    let mut cursor = table.table().cursor(CursorOptions { fill_cache: false, read_ahead: true });
    let mut last = InternalKey::default();
    let (mut entries, mut min_version, mut max_version) = (0, u64::MAX, 0);
    cursor.seek_to_first()?;
    while cursor.valid() {
        let key = cursor.key();
        if entries == 0 && key != meta.smallest.as_ref() {
            let (expected, found) = (meta.smallest.as_ref().text(is_encrypted), key.text(is_encrypted));
            return Err(wrong("first entry of a table", expected, found).into());
        }
        entries += 1;
        min_version = key.version.min(min_version);
        max_version = key.version.max(max_version);
        last.assign(key);
        cursor.next()?;
    }
    if last != meta.largest {
        let (expected, found) = (meta.largest.as_ref().text(is_encrypted), last.as_ref().text(is_encrypted));
        return Err(wrong("last entry of a table", expected, found).into());
    }
    let expected = (meta.entries, meta.min_version, meta.max_version);
    let found = (entries, min_version, max_version);
    if expected != found {
        let what = "number of entries, lowest and highest version of a table";
        return Err(wrong(what, format!("{expected:?}"), format!("{found:?}")).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use base::{InternalKeyRef, KeyspaceId, TableId};
    use sstable::TableExpiry;

    use super::*;
    use crate::error::Error;
    use crate::meta::TableMeta;
    use crate::picker::tests::any_table;

    fn verify(change: impl FnOnce(&mut TableMeta)) -> Result<VerifiedTree> {
        let table = any_table();
        let key = InternalKeyRef::new(b"key", 1).to_owned();
        let mut meta = TableMeta {
            id: TableId(1),
            file_size: table.file_size(),
            smallest: key.clone(),
            largest: key,
            min_version: 1,
            max_version: 1,
            entries: 1,
            tombstones: 0,
            user_key_bytes: 3,
            value_bytes: 3,
            stale_bytes: 0,
            segments: Vec::new(),
            pointed_bytes: 0,
            expiry: TableExpiry::default(),
            sequence: 0,
        };
        change(&mut meta);
        let mut levels: [Vec<Arc<TableHandle>>; LEVELS] = Default::default();
        levels[5].push(TableHandle::imagined(meta, &table));
        TreeVersion::build(KeyspaceId(0), levels)?.verify()
    }

    #[test]
    fn a_table_that_is_not_what_the_manifest_says_is_corruption_and_named() {
        assert_eq!(verify(|_| ()).unwrap().entries, 1);
        let wrong: [fn(&mut TableMeta); 5] = [
            |meta| meta.smallest.user_key = b"kex".to_vec(),
            |meta| meta.largest.user_key = b"kez".to_vec(),
            |meta| meta.min_version = 0,
            |meta| meta.max_version = 2,
            |meta| meta.entries = 2,
        ];
        for change in wrong {
            match verify(change) {
                Err(Error::Corruption(corruption)) => assert!(corruption.path.ends_with("000001.sst")),
                other => panic!("{other:?}"),
            }
        }
    }
}
