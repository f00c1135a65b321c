//! What one read call sees: which keyspace, up to which version, by which clock, with whose own writes on top.

use std::borrow::Cow;
use std::sync::Arc;

use base::Version;
use txn_oracle::ReadMark;

use crate::Result;
use crate::handle::Handle;
use crate::keyspace::{KeyspaceState, foreign};
use crate::read::{Bounds, OverlaidCursor, PendingWrites, ScanOptions, Source, Visibility, VisibleCursor};
use crate::super_version::{MemtableHandle, SuperVersion};
use crate::txn::ReadTracker;
use lsm_levels::MergeCursor;
use sstable::CursorOptions;

/// The side of a read that does not depend on what is read.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) handle: &'a Handle,
    pub(crate) keyspace: &'a KeyspaceState,
    /// Registered before any view is pinned, so that no version that this reader needs is dropped: that of a snapshot or
    /// transaction, or one of its own.
    pub(crate) mark: Cow<'a, ReadMark>,
    pub(crate) own_writes: Option<&'a PendingWrites>,
    /// Where a transaction notes what it read.
    pub(crate) tracked: Option<&'a ReadTracker>,
    /// Whether the caller's keyspace is one of another store than its snapshot or transaction.
    pub(crate) is_foreign: bool,
}

impl<'a> Reader<'a> {
    /// What comes before every read.
    pub(crate) fn check(&self) -> Result<()> {
        self.handle.check_readable()?;
        if self.is_foreign { Err(foreign()) } else { Ok(()) }
    }

    pub(crate) fn read_version(&self) -> Version {
        self.mark.version()
    }

    /// Pins the current view of the keyspace. Requires nothing: the mark has been registered before.
    pub(crate) fn pin(&self) -> Arc<SuperVersion> {
        self.keyspace.pin_owned()
    }

    pub(crate) fn cursor(&self, view: &Arc<SuperVersion>, options: &ScanOptions, bounds: Bounds) -> OverlaidCursor<'a> {
        let (read, now) = (self.mark.version(), self.mark.now_seconds());
        let visibility = Visibility { read, since: options.since, now, all_versions: options.all_versions };
        let merge = MergeCursor::new(sources(view, &bounds, options, None));
        let store = VisibleCursor::new(Arc::clone(view), merge, bounds, visibility);
        OverlaidCursor::new(store, self.own_writes, read, now)
    }
}

/// Every source of a view that may hold keys within the bounds, newest first. With `newer_than`, memtables and tables
/// that have no version above it are left out.
pub(crate) fn sources(
    view: &SuperVersion,
    bounds: &Bounds,
    options: &ScanOptions,
    newer_than: Option<Version>,
) -> Vec<Source> {
    let is_new = |memtable: &&Arc<MemtableHandle>| {
        memtable.table.versions().is_some_and(|(_, max)| newer_than.is_none_or(|version| max > version))
    };
    let mut sources = Vec::with_capacity(view.immutables.len() + 4);
    sources.extend(view.memtables().filter(is_new).map(|memtable| Source::Memtable(memtable.table.cursor())));
    let reading = CursorOptions { fill_cache: !options.no_fill_cache, read_ahead: !options.no_read_ahead };
    let runs = match newer_than {
        None => view.version.cursors(bounds.as_range(), reading),
        Some(version) => view.version.cursors_newer_than(version, bounds.as_range(), reading),
    };
    sources.extend(runs.into_iter().map(Source::Run));
    sources
}
