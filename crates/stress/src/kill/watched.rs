//! The file system under a child: it publishes what each thread is in the middle of, and stops a thread at a chosen
//! step, so that the kill falls there.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use vfs::{
    AppendFile, AppendOptions, DirEntry, FileLock, LockKind, Metadata, MountKind, Operation, ReadFile, Result,
    SyncHandle, Vfs,
};

use crate::kill::Phase;
use crate::kill::message::Message;
use crate::kill::phase::ThreadPhases;
use crate::kill::status::StatusPage;

/// Where a child stops: at the `step`th change of files within a phase, before it, in its middle or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopAt {
    /// The phase.
    pub phase: Phase,
    /// Which change in it, from 1, counted over all times that the process is in the phase.
    pub step: u64,
    /// How much of the change is made.
    pub portion: Portion,
}

/// How much of a change is made before its thread stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portion {
    /// Nothing.
    None,
    /// Half of the bytes of an append; nothing of anything else.
    Half,
    /// All of it.
    All,
}

/// Knows what the threads of this process are in the middle of.
#[derive(Debug)]
pub(crate) struct Watch {
    page: StatusPage,
    stop_at: Option<StopAt>,
    steps: AtomicU64,
}

thread_local! {
    static PHASES: RefCell<(Option<u64>, ThreadPhases)> = const { RefCell::new((None, ThreadPhases::new())) };
}

impl Watch {
    pub(crate) fn new(page: StatusPage, stop_at: Option<StopAt>) -> Self {
        Self { page, stop_at, steps: AtomicU64::new(0) }
    }

    /// Runs `commit` as a commit of this thread.
    pub(crate) fn commit<T>(&self, commit: impl FnOnce() -> T) -> T {
        self.change_phases(ThreadPhases::enter_commit);
        let done = commit();
        self.change_phases(ThreadPhases::leave);
        done
    }

    fn change_phases<R>(&self, change: impl FnOnce(&mut ThreadPhases) -> R) -> R {
        PHASES.with_borrow_mut(|(slot, phases)| {
            let before = phases.bits();
            let changed = change(phases);
            if phases.bits() != before {
                let slot = *slot.get_or_insert_with(|| self.page.take_slot());
                if self.page.publish(slot, phases.bits()).is_err() {
                    eprintln!("the status page cannot be written");
                }
            }
            changed
        })
    }

    /// Makes a change, or stops at it for ever. `half` makes a part of it.
    fn change<T>(
        &self,
        operation: Operation,
        path: &Path,
        target: &mut T,
        half: impl FnOnce(&mut T) -> Result<()>,
        whole: impl FnOnce(&mut T) -> Result<()>,
    ) -> Result<()> {
        let current = thread::current();
        self.change_phases(|phases| phases.before(operation, path, current.name().unwrap_or_default()));
        let portion = self.portion_to_stop_at();
        match portion {
            None => whole(target)?,
            Some(Portion::None) => self.stop(),
            Some(Portion::Half) => {
                half(target)?;
                self.stop();
            }
            Some(Portion::All) => {
                whole(target)?;
                self.stop();
            }
        }
        self.change_phases(|phases| phases.after(operation, path));
        Ok(())
    }

    fn simple_change(&self, operation: Operation, path: &Path, make: impl FnOnce() -> Result<()>) -> Result<()> {
        self.change(operation, path, &mut (), |()| Ok(()), |()| make())
    }

    fn portion_to_stop_at(&self) -> Option<Portion> {
        let stop_at = self.stop_at?;
        let is_within = PHASES.with_borrow(|(_, phases)| phases.contains(stop_at.phase));
        let is_step = is_within && self.steps.fetch_add(1, Ordering::Relaxed) + 1 == stop_at.step;
        is_step.then_some(stop_at.portion)
    }

    fn stop(&self) -> ! {
        if Message::Stopped.send_to_parent().is_err() {
            eprintln!("the parent is gone");
        }
        loop {
            thread::park();
        }
    }
}

/// The machine's file system, watched.
#[derive(Clone, Debug)]
pub(crate) struct WatchedFs {
    inner: Arc<dyn Vfs>,
    watch: Arc<Watch>,
}

impl WatchedFs {
    pub(crate) fn new(inner: Arc<dyn Vfs>, watch: Arc<Watch>) -> Self {
        Self { inner, watch }
    }
}

impl Vfs for WatchedFs {
    fn open_read(&self, path: &Path) -> Result<Arc<dyn ReadFile>> {
        self.inner.open_read(path)
    }

    fn create_append(&self, path: &Path, options: AppendOptions) -> Result<Box<dyn AppendFile>> {
        let mut created = None;
        let create = |created: &mut Option<_>| {
            *created = Some(self.inner.create_append(path, options)?);
            Ok(())
        };
        self.watch.change(Operation::Create, path, &mut created, |_| Ok(()), create)?;
        let created = created.ok_or_else(|| {
            vfs::Error::new(Operation::Create, path, io::Error::other("a thread that had stopped went on"))
        })?;
        Ok(Box::new(WatchedFile { inner: created, watch: Arc::clone(&self.watch) }))
    }

    fn truncate(&self, path: &Path, len: u64) -> Result<()> {
        self.watch.simple_change(Operation::Truncate, path, || self.inner.truncate(path, len))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.watch.simple_change(Operation::Rename, from, || self.inner.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.watch.simple_change(Operation::Remove, path, || self.inner.remove_file(path))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        self.watch.simple_change(Operation::Link, from, || self.inner.hard_link(from, to))
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.inner.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.watch.simple_change(Operation::SyncDir, path, || self.inner.sync_dir(path))
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        self.inner.list(path)
    }

    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        self.inner.metadata(path)
    }

    fn lock(&self, path: &Path, kind: LockKind) -> Result<Option<Box<dyn FileLock>>> {
        self.inner.lock(path, kind)
    }

    fn available_bytes(&self, path: &Path) -> Result<u64> {
        self.inner.available_bytes(path)
    }

    fn mount_kind(&self, path: &Path) -> Result<MountKind> {
        self.inner.mount_kind(path)
    }

    fn fill_random(&self, bytes: &mut [u8]) -> Result<()> {
        self.inner.fill_random(bytes)
    }
}

#[derive(Debug)]
struct WatchedFile {
    inner: Box<dyn AppendFile>,
    watch: Arc<Watch>,
}

impl WatchedFile {
    fn change(&mut self, operation: Operation, make: impl FnOnce(&mut dyn AppendFile) -> Result<()>) -> Result<()> {
        let path = self.inner.path().to_owned();
        self.watch.change(operation, &path, &mut self.inner, |_| Ok(()), |file| make(&mut **file))
    }
}

impl AppendFile for WatchedFile {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let path = self.inner.path().to_owned();
        let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
        self.watch.change(
            Operation::Append,
            &path,
            &mut self.inner,
            |file| file.append(half),
            |file| file.append(bytes),
        )
    }

    fn flush(&mut self) -> Result<()> {
        self.change(Operation::Flush, |file| file.flush())
    }

    fn sync(&mut self) -> Result<()> {
        self.change(Operation::Sync, |file| file.sync())
    }

    fn sync_handle(&self) -> Arc<dyn SyncHandle> {
        let (inner, watch) = (self.inner.sync_handle(), Arc::clone(&self.watch));
        Arc::new(WatchedSync { path: self.inner.path().into(), inner, watch })
    }

    fn reader(&self) -> Result<Arc<dyn ReadFile>> {
        self.inner.reader()
    }

    fn cut(&mut self, len: u64) -> Result<()> {
        self.change(Operation::Truncate, |file| file.cut(len))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let path = self.inner.path().to_owned();
        let Self { inner, watch } = *self;
        watch.simple_change(Operation::Finish, &path, || inner.finish())
    }
}

#[derive(Debug)]
struct WatchedSync {
    path: Box<Path>,
    inner: Arc<dyn SyncHandle>,
    watch: Arc<Watch>,
}

impl SyncHandle for WatchedSync {
    fn sync(&self) -> Result<()> {
        self.watch.simple_change(Operation::Sync, &self.path, || self.inner.sync())
    }
}
