//! The manifest: the log of version edits, from which a store's tree is known.
//!
//! Invariants
//! 1. The first edit of a file starts from nothing and holds the whole tree as it was; `CURRENT` names the file only once
//!    that edit is durable, and says how many bytes that were.
//! 2. Every edit is synced before its version is installed, so at most one edit, the last, can be torn by a crash.
//! 3. A manifest of an earlier run is never appended to.
//! 4. After a failed sync, or a failed cut of a half-written edit, no edit is taken any more.

use std::path::{Path, PathBuf};

use base::sync::Arc;
use base::{Corruption, LogNumber, StoreId, Version};
use encryption::Keyring;
use vfs::{AppendMode, Vfs};
use wal::{EndKind, ExpectedLog, LogHeader, LogKind, LogReader, LogSync, LogWriter, RecoveryMode, WriterOptions};

use crate::current::{Current, manifest_path};
use crate::edit_codec::{EditError, EditRecord};
use crate::error::{Error, Result};
use crate::state::{Counters, TreeState};

/// What reading the manifest found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestRecovery {
    /// The manifest that was read.
    pub path: PathBuf,
    /// Where its last whole edit ends, in bytes.
    pub end: u64,
    /// Bytes behind that which were dropped: an edit that was being written when the process or the power went.
    pub dropped_bytes: u64,
    /// Why they are not an edit, where any were dropped.
    pub dropped_cause: Option<String>,
    /// Number of edits read.
    pub edits: u64,
    /// Whether the store was closed in order.
    pub clean_shutdown: bool,
    /// The last version that an edit tells of. Logs may hold later ones.
    pub last_version: Version,
    /// The least version that was certainly never handed out, as far as the manifest knows.
    pub first_unused_version: Version,
    /// Death tickets that the value log has to apply.
    pub tickets: Vec<u64>,
}

/// The live manifest, open for appending.
#[derive(Debug)]
pub(crate) struct ManifestWriter {
    log: LogWriter,
    sync: Arc<LogSync>,
    edits: u64,
    first_edit_end: u64,
}

/// How an edit failed to reach the disk.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// It is not there, and the manifest is whole.
    Absent(wal::Error),
    /// It may be there, or half of it.
    Unknown(wal::Error),
}

impl ManifestWriter {
    /// Starts manifest `number` with the whole of `state` and makes it the live one.
    ///
    /// On failure the old one is still live, unless the error is that of the last step ([`may_have_switched`]).
    pub(crate) fn start(
        vfs: &Arc<dyn Vfs>,
        dir: &Path,
        number: LogNumber,
        state: &TreeState,
        keys: Option<&Keyring>,
    ) -> Result<Self> {
        let header =
            LogHeader { store: state.store, number, kind: LogKind::Manifest, value_log_head: Default::default() };
        let options = WriterOptions { mode: AppendMode::Written, preallocate_bytes: 0 };
        let path = manifest_path(dir, number);
        let log = LogWriter::create(vfs, &path, header, options, keys)?;
        let started = Self::first_edit(log, state).and_then(|writer| {
            Current { manifest: number, synced: writer.first_edit_end }.write(vfs.as_ref(), dir)?;
            Ok(writer)
        });
        match started {
            Err(error) if !may_have_switched(&error) => {
                if let Err(left) = vfs.remove_file(&path) {
                    tracing::warn!(error = %left, "a manifest that was not finished could not be removed");
                }
                Err(error)
            }
            started => started,
        }
    }

    fn first_edit(mut log: LogWriter, state: &TreeState) -> Result<Self> {
        let record = EditRecord { snapshot: Some(state.store), counters: state.counters, edit: state.to_edit() };
        let first_edit_end = log.append(Default::default(), &[&record.encode()])?;
        let sync = log.sync_handle();
        sync.sync()?;
        Ok(Self { log, sync, edits: 1, first_edit_end })
    }

    /// Appends an edit and syncs it.
    pub(crate) fn append(&mut self, record: &EditRecord) -> std::result::Result<(), AppendError> {
        if let Err(error) = self.log.append(Default::default(), &[&record.encode()]) {
            let is_no_space = matches!(&error, wal::Error::Vfs(error) if error.is_no_space());
            let untouched = matches!(error, wal::Error::RecordTooLong { .. });
            let whole_again = untouched || (is_no_space && self.log.cut_to_last_record().is_ok());
            return Err(if whole_again { AppendError::Absent(error) } else { AppendError::Unknown(error) });
        }
        self.sync.sync().map_err(AppendError::Unknown)?;
        self.edits += 1;
        Ok(())
    }

    /// Number of edits in the file.
    pub(crate) fn edits(&self) -> u64 {
        self.edits
    }

    /// Bytes of edits behind the first.
    pub(crate) fn appended_bytes(&self) -> u64 {
        self.log.len() - self.first_edit_end
    }

    /// Ends the file with a closing record.
    pub(crate) fn close(self) -> Result<()> {
        Ok(self.log.close()?)
    }
}

/// Whether a failed start of a manifest may yet have replaced `CURRENT`: only the sync of the directory came after, and a
/// rename whose device failed may have been done all the same.
pub(crate) fn may_have_switched(error: &Error) -> bool {
    let Error::Vfs(error) = error else { return false };
    match error.operation() {
        vfs::Operation::SyncDir => true,
        vfs::Operation::Rename => !error.is_no_space(),
        _ => false,
    }
}

/// The store that the manifest of a tree which is not encrypted belongs to.
pub(crate) fn store_of_plain(vfs: &Arc<dyn Vfs>, dir: &Path, current: Current) -> Result<Option<StoreId>> {
    let path = manifest_path(dir, current.manifest);
    let expect = ExpectedLog { store: None, number: current.manifest, kind: LogKind::Manifest };
    let reader = LogReader::open(vfs, &path, expect, RecoveryMode::Default, None)?;
    Ok(reader.header().map(|header| header.store))
}

/// Reads the manifest that `current` names.
pub(crate) fn recover(
    vfs: &Arc<dyn Vfs>,
    dir: &Path,
    current: Current,
    keys: Option<&Keyring>,
) -> Result<(TreeState, ManifestRecovery)> {
    let path = manifest_path(dir, current.manifest);
    if vfs.metadata(&path)?.is_none() {
        return Err(Corruption::new(path, 0, "the manifest that CURRENT names is missing").into());
    }
    let expect = ExpectedLog { store: None, number: current.manifest, kind: LogKind::Manifest };
    let mut reader = LogReader::open(vfs, &path, expect, RecoveryMode::Default, keys)?;
    let store = reader.header().map(|header| header.store);
    let mut state = TreeState::default();
    let mut edits = 0;
    while let Some(record) = reader.next_record()? {
        let decoded = EditRecord::decode(record.payload).map_err(|error| edit_error(error, &path, record.offset))?;
        replay(&mut state, &decoded, edits == 0, store)
            .map_err(|what| Corruption::new(path.as_path(), record.offset, what))?;
        edits += 1;
    }
    let end = *reader.end().ok_or_else(|| Corruption::new(path.as_path(), 0, "the manifest does not end"))?;
    if end.offset < current.synced {
        let corruption = Corruption::new(path, end.offset, "the manifest ends before what CURRENT says was synced");
        return Err(corruption.with_values(current.synced, end.offset).into());
    }
    let dropped_cause = match end.kind {
        EndKind::Torn(cause) => Some(cause.to_string()),
        EndKind::Closed | EndKind::Unclosed => None,
    };
    let clean_shutdown = state.clean_shutdown && dropped_cause.is_none();
    let recovery = ManifestRecovery {
        path,
        end: end.offset,
        dropped_bytes: end.dropped_bytes,
        dropped_cause,
        edits,
        clean_shutdown,
        last_version: state.last_version,
        first_unused_version: if clean_shutdown {
            state.last_version.saturating_add(1)
        } else {
            state.version_ceiling.max(state.last_version).saturating_add(1)
        },
        tickets: state.tickets.iter().copied().collect(),
    };
    Ok((state, recovery))
}

fn replay(
    state: &mut TreeState,
    record: &EditRecord,
    first: bool,
    store: Option<StoreId>,
) -> std::result::Result<(), String> {
    match record.snapshot {
        Some(id) if first && store == Some(id) => *state = TreeState { store: id, ..TreeState::default() },
        Some(_) if first => return Err("the first edit is of another store than the file".to_owned()),
        Some(_) => return Err("an edit in the middle starts from nothing".to_owned()),
        None if first => return Err("the first edit does not start from nothing".to_owned()),
        None => {}
    }
    let refused = |refusal: crate::state::Refusal| {
        format!("an edit does not fit: {} (keyspace {}, table {})", refusal.what, refusal.keyspace, refusal.table)
    };
    state.check(&record.edit).map_err(refused)?;
    let Counters { table, .. } = state.counters.max(record.counters);
    let added = record.edit.keyspaces.iter().flat_map(|keyspace| &keyspace.added);
    if added.into_iter().any(|added| added.meta.id.0 >= table) {
        return Err("an edit adds a table whose number was never handed out".to_owned());
    }
    state.apply(&record.edit, record.counters);
    Ok(())
}

fn edit_error(error: EditError, path: &Path, offset: u64) -> Error {
    match error {
        EditError::Damaged(error) => error.at(path, offset).into(),
        EditError::Unknown { what, found } => Error::Incompatible {
            path: path.to_owned(),
            what,
            expected: "what it was built with".to_owned(),
            found: found.to_string(),
        },
    }
}
