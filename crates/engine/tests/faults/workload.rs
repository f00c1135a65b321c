//! What the store under test does, and what each failure must lead to.

use std::sync::Arc;

use engine::{Durability, ErrorKind, IoMode, KeyspaceOptions, Options};
use vfs::{Cause, FaultFs, Operation, OperationRecord};

pub(crate) fn options(fs: &FaultFs) -> Options {
    Options::new()
        .memtable_size(64 << 10)
        .value_log_file_size(64 << 10)
        .value_log_max_entries(5)
        .value_threshold(100)
        .block_size(4 << 10)
        .table_size(32 << 10)
        .level_base_size(64 << 10)
        .l0_compaction_trigger(3)
        .manifest_edits_max(5)
        .io_mode(IoMode::Pread)
        .vfs(Arc::new(fs.clone()))
}

pub(crate) fn second_options() -> KeyspaceOptions {
    KeyspaceOptions::new().value_threshold(1_000)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Small and large values in both keyspaces.
    Commit(Durability),
    /// So many bytes of small values that a memtable is soon full.
    Wide,
    Sync,
    Flush,
    Compact,
    /// Of the value log's garbage what is known.
    Collect,
    /// Ends the process, as it were.
    Drop,
    Close,
}

/// Makes every kind of file and every kind of change to one.
pub(crate) fn steps() -> Vec<Step> {
    use Step::{Close, Collect, Compact, Drop, Flush, Sync, Wide};
    let (os, sync) = (Step::Commit(Durability::Os), Step::Commit(Durability::Sync));
    let mut steps =
        vec![os, sync, os, Flush, os, os, Sync, Flush, os, Wide, Wide, Wide, os, sync, Compact, Collect, os, Drop];
    steps.extend([os, os, Flush, Flush, Collect, os, Close, os, Sync, Drop, os, Close]);
    steps
}

/// What an injected error must lead to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) kind: ErrorKind,
    pub(crate) health: Afterwards,
}

/// What becomes of a store in which something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// It goes on by itself.
    Clears,
    /// It takes no more writes until it is opened again.
    Final,
    /// Either: it depends on what the file was needed for.
    Either,
}

impl Expected {
    pub(crate) fn of(cause: Cause, record: &OperationRecord) -> Self {
        let kind = kind_of(cause);
        let name = record.path.file_name().unwrap().to_str().unwrap();
        // A table, hint file or the like is made anew from what it was made of.
        let is_log = name.ends_with(".wal") || name.ends_with(".vlog");
        // A manifest that is being begun is thrown away, unless it may be the live one already.
        let is_manifest = name.starts_with("MANIFEST-") || name == "CURRENT.tmp";
        let fails = match record.operation {
            // No directory could be opened, so no sync was tried: what was to be named is made anew, unless it is known.
            Operation::SyncDir if cause == Cause::TooManyFiles => return Self { kind, health: Afterwards::Either },
            Operation::SyncDir => return Self { kind, health: Afterwards::Final },
            Operation::Sync | Operation::Finish | Operation::Truncate => true,
            Operation::Append | Operation::Rename => kind != ErrorKind::NoSpace,
            _ => false,
        };
        let health = match (fails, is_log, is_manifest) {
            (true, true, _) => Afterwards::Final,
            (true, _, true) => Afterwards::Either,
            _ => Afterwards::Clears,
        };
        Self { kind, health }
    }
}

pub(crate) fn kind_of(cause: Cause) -> ErrorKind {
    match cause {
        Cause::NoSpace | Cause::QuotaExceeded => ErrorKind::NoSpace,
        Cause::Io | Cause::TooManyFiles | Cause::AccessDenied => ErrorKind::Io,
    }
}
