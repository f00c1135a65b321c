//! One file in memory: its bytes now, its bytes on the imagined disk, and the changes in between, in order.
//!
//! Invariants
//! 1. `live` is `durable` with all of `pending` applied, but for changes that a failed sync dropped: those never get to
//!    the disk, while readers go on seeing them, as on Linux.
//! 2. Without history (`history` is `None`) nothing but `live` is kept.

use std::io;
use std::sync::Arc;

use base::sync::atomic::{AtomicU64, Ordering};
use base::sync::{Mutex, RwLock};

use super::content::Content;
use super::space::Space;

/// A file, named or still open.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: u64,
    pub(super) state: RwLock<FileState>,
    pub(super) holders: Mutex<Holders>,
    /// How far an append file has got that is at work on it; [`NOBODY_APPENDS`] without one.
    appended: AtomicU64,
    space: Arc<Space>,
}

const NOBODY_APPENDS: u64 = u64::MAX;

/// Who holds the lock on a file.
#[derive(Debug, Default)]
pub(super) struct Holders {
    pub(super) exclusive: bool,
    pub(super) shared: usize,
}

/// The bytes of a file, now and on the disk.
#[derive(Clone, Debug)]
pub(super) struct FileState {
    pub(super) live: Content,
    pub(super) history: Option<History>,
}

/// What the disk has, and what is on its way there.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) durable: Content,
    pub(super) pending: Vec<Pending>,
}

/// A change that no sync has followed.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// Its place in the order of all changes of the file system.
    pub(super) sequence: u64,
    pub(super) change: Change,
}

/// A change of a file's bytes.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { offset: u64, bytes: Arc<[u8]> },
    SetLen(u64),
}

impl Change {
    pub(super) fn apply(&self, content: &mut Content) {
        match self {
            Self::Write { offset, bytes } => content.write(*offset, bytes),
            Self::SetLen(len) => content.set_len(*len),
        }
    }
}

impl Node {
    /// A file with these bytes, all of them durable.
    pub(super) fn new(id: u64, content: Content, keeps_history: bool, space: Arc<Space>) -> Self {
        let history = keeps_history.then(|| History { durable: content.clone(), pending: Vec::new() });
        Self::with_state(id, FileState { live: content, history }, space)
    }

    /// A file in this state.
    pub(super) fn with_state(id: u64, state: FileState, space: Arc<Space>) -> Self {
        space.count(state.live.len());
        Self {
            id,
            state: RwLock::new(state),
            holders: Mutex::default(),
            appended: AtomicU64::new(NOBODY_APPENDS),
            space,
        }
    }

    /// Writes `bytes` at `offset`; as many as there is space for, if that is not all.
    pub(super) fn write(&self, sequence: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.write();
        let len = state.live.len();
        let end = offset.checked_add(bytes.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        let fitting = if self.space.take(end.saturating_sub(len)) {
            bytes
        } else {
            let room = self.space.available();
            let end = if self.space.take(room) { len + room } else { len };
            bytes.get(..end.saturating_sub(offset) as usize).unwrap_or_default()
        };
        state.live.write(offset, fitting);
        if let Some(history) = &mut state.history {
            history.pending.push(Pending { sequence, change: Change::Write { offset, bytes: fitting.into() } });
        }
        if fitting.len() < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Cuts the file, or extends it with zeros.
    pub(super) fn set_len(&self, sequence: u64, len: u64) -> io::Result<()> {
        let mut state = self.state.write();
        let before = state.live.len();
        if !self.space.take(len.saturating_sub(before)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.space.give_back(before.saturating_sub(len));
        state.live.set_len(len);
        if let Some(history) = &mut state.history {
            history.pending.push(Pending { sequence, change: Change::SetLen(len) });
        }
        Ok(())
    }

    /// Tells how far an append file has got, or that there is none any more.
    pub(super) fn publish_appended(&self, len: Option<u64>) {
        self.appended.store(len.unwrap_or(NOBODY_APPENDS), Ordering::Release);
    }

    /// How many of its bytes may be mapped.
    pub(super) fn mappable_len(&self, state: &FileState) -> u64 {
        state.live.len().min(self.appended.load(Ordering::Acquire))
    }

    /// Replaces all bytes, durably and whatever the capacity.
    pub(super) fn replace(&self, content: Content) {
        let mut state = self.state.write();
        self.space.count(content.len());
        self.space.give_back(state.live.len());
        if let Some(history) = &mut state.history {
            *history = History { durable: content.clone(), pending: Vec::new() };
        }
        state.live = content;
    }

    /// Moves what is pending to the disk.
    pub(super) fn sync(&self) {
        if let Some(history) = &mut self.state.write().history {
            for pending in history.pending.drain(..) {
                pending.change.apply(&mut history.durable);
            }
        }
    }

    /// Forgets what is pending, as a failed sync does: no later sync writes it. The length stays.
    pub(super) fn drop_unsynced(&self, sequence: u64) {
        let mut state = self.state.write();
        let len = state.live.len();
        if let Some(history) = &mut state.history {
            history.pending.clear();
            if history.durable.len() != len {
                history.pending.push(Pending { sequence, change: Change::SetLen(len) });
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.space.give_back(self.state.read().live.len());
    }
}
