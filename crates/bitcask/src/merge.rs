//! Merging: tells which records of some files are dead, has that written down, and has the value log move the rest together.
//! No address changes by it, so neither the keydir nor the writer has a part in it.
//!
//! What is dead
//! 1. A record that a newer one of its key supersedes. All that superseded is synced before the older one is marked, so a
//!    power loss never takes both.
//! 2. A tombstone, or a record that has expired (which hides what is older just so), once every older record of its key, in
//!    any file, is marked dead, durably. Otherwise a key that was deleted would come back with the next open.
//!
//! The newest record of all stays, whatever it is, so that its version is not used again.

use std::collections::HashMap;

use base::{EntryKind, SegmentId, ValuePointer, Version};
use vlog::{CollectContext, Entry};

use crate::Result;
use crate::garbage::{self, FileStatus};
use crate::keydir::Keydir;
use crate::store::Shared;

/// What a merge has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MergeReport {
    /// Files that were looked at.
    pub files: u64,
    /// Records in them that were found dead, those of earlier finds not counted.
    pub dead_records: u64,
    /// Bytes of files given back.
    pub freed_bytes: u64,
}

/// What hides older records of its key and is of no other use.
#[derive(Clone, Copy, Debug)]
struct Hider {
    version: Version,
    pointer: ValuePointer,
}

/// What was found dead.
#[derive(Debug, Default)]
struct Verdict {
    superseded: Vec<ValuePointer>,
    /// Tombstones and expired records, by key: dead once what they supersede is marked.
    hiders: HashMap<Vec<u8>, Vec<Hider>>,
    /// The newest version of all when the merge began.
    newest: Version,
}

impl<K: Keydir> Shared<K> {
    /// Waits for another merge.
    pub(crate) fn merge_all(&self) -> Result<MergeReport> {
        self.check_writable()?;
        let _turn = self.merging.lock();
        self.merge(|files| garbage::pick_all(files, &self.options))
    }

    /// Leaves it to another merge where there is one.
    pub(crate) fn merge_where_triggered(&self) -> Result<MergeReport> {
        let Some(_turn) = self.merging.try_lock() else { return Ok(MergeReport::default()) };
        self.merge(|files| garbage::pick_triggered(files, &self.options, self.options.clock.unix_seconds()))
    }

    /// The files of a merge that some file calls for.
    pub(crate) fn triggered(&self) -> Vec<FileStatus> {
        garbage::pick_triggered(&self.files(), &self.options, self.options.clock.unix_seconds())
    }

    /// What is known of each file.
    pub(crate) fn files(&self) -> Vec<FileStatus> {
        let (set, statistics) = (self.log.segments(), self.log.statistics());
        let index = self.index.read();
        let live = index.live();
        let status = |of: vlog::SegmentStatistics| {
            let mut file = FileStatus {
                segment: of.segment,
                bytes: of.file_bytes,
                records: of.records,
                live_records: 0,
                live_bytes: 0,
                expired_from: Some(0),
                is_sealed: of.sealed,
            };
            for address in set.segment(of.segment).map(|segment| segment.addresses()).unwrap_or_default() {
                let Some(part) = live.get(address) else { continue };
                file.live_records += part.records;
                file.live_bytes += part.bytes;
                file.expired_from = file.expired_from.zip(part.expired_from).map(|(one, other)| one.max(other));
            }
            FileStatus { expired_from: file.expired_from.filter(|_| file.live_records > 0), ..file }
        };
        statistics.into_iter().map(status).collect()
    }

    /// The caller holds `merging`.
    fn merge(&self, pick: impl FnOnce(&[FileStatus]) -> Vec<FileStatus>) -> Result<MergeReport> {
        self.log.remove_released()?;
        self.seal_full()?;
        let all = self.files();
        let files = pick(&all);
        if files.is_empty() {
            return Ok(MergeReport::default());
        }
        let bytes_before: u64 = all.iter().map(|file| file.bytes).sum();
        let dead_records = self.mark(&all, &files)?;
        let ids: Vec<SegmentId> = files.iter().map(|file| file.segment).collect();
        self.collect(&ids)?;
        let bytes_after: u64 = self.files().iter().map(|file| file.bytes).sum();
        let freed_bytes = bytes_before.saturating_sub(bytes_after);
        tracing::debug!(files = ids.len(), dead_records, freed_bytes, "merged");
        Ok(MergeReport { files: ids.len() as u64, dead_records, freed_bytes })
    }

    /// Marks what is dead in some of the files, and returns how many records that were.
    fn mark(&self, all: &[FileStatus], files: &[FileStatus]) -> Result<u64> {
        let mut verdict = Verdict { newest: self.writer.lock().newest, ..Verdict::default() };
        let is_picked = |file: &&FileStatus| files.iter().any(|picked| picked.segment == file.segment);
        for file in files {
            if self.give_way().is_break() {
                return Ok(0);
            }
            self.walk(file.segment, |entry| self.judge(entry, &mut verdict))?;
        }
        if !verdict.hiders.is_empty() {
            let others = all.iter().filter(|file| file.is_sealed && !is_picked(file));
            for file in others {
                if self.give_way().is_break() {
                    return Ok(0);
                }
                self.walk(file.segment, |entry| verdict.note_hidden(entry))?;
            }
        }
        let Verdict { superseded, hiders, .. } = verdict;
        let pointers: Vec<ValuePointer> = hiders.values().flatten().map(|hider| hider.pointer).collect();
        self.log.mark_dead(&superseded)?;
        self.log.mark_dead(&pointers)?;
        let mut index = self.index.write();
        // What has expired is dead for every reader, and its record about to go.
        for (key, hiders) in &hiders {
            hiders.iter().for_each(|hider| index.remove_if_at(key, hider.pointer));
        }
        Ok((superseded.len() + pointers.len()) as u64)
    }

    /// Calls `judge` for each record of a file that is not marked dead.
    fn walk(&self, file: SegmentId, mut judge: impl FnMut(&Entry<'_>)) -> Result<()> {
        let dead = self.log.dead_set(file)?;
        let mut entries = self.log.entries(file)?;
        while let Some(entry) = entries.next()? {
            if !dead.contains(entry.position) {
                judge(&entry);
            }
        }
        Ok(())
    }

    fn judge(&self, entry: &Entry<'_>, verdict: &mut Verdict) {
        let (key, version) = (entry.key.user_key, entry.key.version);
        let current = self.index.read().keydir.find(key);
        let hides = match current {
            Some(current) if current.version > version => return verdict.superseded.push(entry.pointer),
            Some(current) => {
                let now = self.options.clock.unix_seconds();
                current.is_expired_at(now.saturating_sub(self.options.expiry_grace_time))
            }
            None if entry.meta.kind == EntryKind::Delete => true,
            // A tombstone stands above it.
            None => return verdict.superseded.push(entry.pointer),
        };
        if hides && version < verdict.newest {
            verdict.hiders.entry(key.to_vec()).or_default().push(Hider { version, pointer: entry.pointer });
        }
    }

    /// Has the value log move what is alive in these files together. What fails keeps nothing else from being moved.
    fn collect(&self, ids: &[SegmentId]) -> Result<()> {
        let mut files = self.log.statistics();
        files.retain(|file| {
            let gains = file.dead_records > 0 || file.file_bytes < self.options.small_file_threshold;
            gains && ids.contains(&file.segment)
        });
        let has_dead = |id: &SegmentId| files.iter().any(|file| file.segment == *id && file.dead_records > 0);
        let context = CollectContext { pace: &|_| self.give_way(), step: &|_| {} };
        let mut outcome = Ok(());
        for group in garbage::groups(&files, self.options.max_file_size) {
            if self.give_way().is_break() {
                break;
            }
            // A file by itself in which nothing is dead would merely be copied.
            if group.len() > 1 || group.iter().any(has_dead) {
                let collected = self.log.collect(&group, &context);
                outcome = outcome.and(collected.map(drop));
            }
        }
        self.log.remove_released()?;
        Ok(outcome?)
    }
}

impl Verdict {
    /// Notes a record of a file that is not merged, if a tombstone or an expired record hides it.
    fn note_hidden(&mut self, entry: &Entry<'_>) {
        let Some(hiders) = self.hiders.get(entry.key.user_key) else { return };
        if hiders.iter().any(|hider| hider.version > entry.key.version) {
            self.superseded.push(entry.pointer);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use vfs::{FaultFs, FaultPlan, MemFs, Operation};

    use crate::{Bitcask, Options};

    #[test]
    fn a_merge_ends_where_the_store_is_closed() {
        let fs = FaultFs::over_memory(MemFs::volatile(1), FaultPlan::none());
        let vfs = base::sync::Arc::new(fs.clone());
        let options = Options { max_file_size: 4 << 20, background: false, vfs, ..Options::default() };
        let store = Bitcask::open("/store", options.clone()).unwrap();
        (0..200u32).for_each(|key| store.put(&key.to_be_bytes(), &[7; 10_000]).unwrap());
        store.delete(&0u32.to_be_bytes()).unwrap();
        store.close().unwrap();
        let store = Bitcask::open("/store", options).unwrap();
        let before = store.status();
        let bell = base::sync::Arc::clone(&store.shared.bell);
        // As closing does while a thread is about to copy.
        fs.on_mutation(move |change| {
            if change.operation == Operation::Append && change.path.to_string_lossy().ends_with(".vlog.tmp") {
                bell.stop();
            }
        });
        let report = store.merge().unwrap();
        assert_eq!((report.dead_records, report.freed_bytes), (1, 0));
        assert!(store.shared.give_way().is_break(), "it came to copying");
        assert_eq!(store.status().files[0].bytes, before.files[0].bytes);
        assert_eq!(store.get(&1u32.to_be_bytes()).unwrap().unwrap(), &[7; 10_000][..]);
    }
}
