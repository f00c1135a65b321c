//! Walks the entries of a pinned view that one reader sees.
//!
//! Below it, a merge of all sources yields every version of every key. This cursor shows, for each key within the
//! bounds, the newest version at or below the reader's, and passes over keys for which that is a tombstone or expired
//! by the reader's clock.
//!
//! Invariants
//! 1. Moving forward, the merge stands on the entry that is shown. Moving backward, it stands before all entries of the
//!    key that is shown, which is kept aside, since a key's newest version comes last that way. Over a view that was
//!    exchanged, what is shown is kept aside and the merge is positioned by the next move.
//! 2. After an error the cursor stands nowhere.

use std::sync::Arc;

use base::{Cursor as _, EntryKind, EntryRef, InternalKey, InternalKeyRef, PointerPayload, Version};
use lsm_levels::MergeCursor;

use crate::Result;
use crate::read::item::bad_entry;
use crate::read::{Bounds, Item, Source};
use crate::super_version::{PinnedSegments, SuperVersion};

/// After this many entries of one key a seek past them is cheaper than one more step.
const STEPS_BEFORE_SEEK: u32 = 8;

/// Which versions are shown, and to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visibility {
    /// The newest version that the reader sees.
    pub(crate) read: Version,
    /// Only versions at or above this one.
    pub(crate) since: Version,
    /// The reader's clock, in seconds since the Unix epoch.
    pub(crate) now: u64,
    /// Every version, tombstones included.
    pub(crate) all_versions: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Nowhere,
    /// The merge stands on the shown entry.
    Forward,
    /// The shown entry is kept aside; the merge stands before it.
    Backward,
    /// The shown entry is kept aside; the merge stands nowhere.
    Aside,
}

/// A cursor over what one reader sees.
#[derive(Debug)]
pub(crate) struct VisibleCursor {
    merge: MergeCursor<Source>,
    bounds: Bounds,
    visibility: Visibility,
    segments: PinnedSegments,
    state: State,
    /// The key that is passed over (forward) or shown (kept aside).
    key: InternalKey,
    /// The encoded entry that is shown (kept aside).
    entry: Vec<u8>,
    /// Keeps memtables, tables and segments alive.
    view: Arc<SuperVersion>,
}

impl VisibleCursor {
    pub(crate) fn new(
        view: Arc<SuperVersion>,
        merge: MergeCursor<Source>,
        bounds: Bounds,
        visibility: Visibility,
    ) -> Self {
        let segments = PinnedSegments::of(&view);
        let (key, entry) = (InternalKey::default(), Vec::new());
        Self { merge, bounds, visibility, segments, state: State::Nowhere, key, entry, view }
    }

    /// Goes on from where it stands over another view, of which `merge` has the sources. Requires: the reader sees the
    /// same there.
    pub(crate) fn repin(&mut self, view: Arc<SuperVersion>, merge: MergeCursor<Source>) {
        if self.state == State::Forward {
            self.keep_aside();
        }
        if self.valid() {
            self.state = State::Aside;
        }
        let segments = PinnedSegments::of(&view);
        segments.set_was_read(self.segments.was_read());
        self.segments = segments;
        self.merge = merge;
        self.view = view;
    }

    pub(crate) fn view(&self) -> &Arc<SuperVersion> {
        &self.view
    }

    pub(crate) fn segments(&self) -> &PinnedSegments {
        &self.segments
    }

    pub(crate) fn valid(&self) -> bool {
        self.state != State::Nowhere
    }

    /// Requires: [`valid`](Self::valid), as do the three below.
    pub(crate) fn key(&self) -> InternalKeyRef<'_> {
        if self.state == State::Forward { self.merge.key() } else { self.key.as_ref() }
    }

    pub(crate) fn entry(&self) -> Result<EntryRef<'_>> {
        let encoded = if self.state == State::Forward { self.merge.value() } else { &self.entry };
        EntryRef::decode(encoded).map_err(bad_entry)
    }

    /// Hands the value to `f` where it stands.
    pub(crate) fn value_with<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        let entry = self.entry()?;
        if entry.meta.kind != EntryKind::Pointer {
            return Ok(f(entry.payload));
        }
        let payload = PointerPayload::decode(entry.payload).map_err(bad_entry)?;
        self.segments.read_with(payload.pointer, None, f)
    }

    pub(crate) fn item(&self) -> Result<Item> {
        Item::copied(self.key(), self.entry()?, self.visibility.now, &self.segments)
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    pub(crate) fn seek_to_first(&mut self) -> Result<()> {
        self.state = State::Nowhere;
        let lower = std::mem::take(&mut self.bounds.lower);
        let moved = self.merge.seek(InternalKeyRef::first_of(&lower));
        self.bounds.lower = lower;
        moved?;
        self.settle_forward(false)
    }

    pub(crate) fn seek_to_last(&mut self) -> Result<()> {
        self.state = State::Nowhere;
        match self.bounds.upper.take() {
            Some(upper) => {
                let moved = self.merge.seek_for_prev(InternalKeyRef::first_of(&upper));
                self.bounds.upper = Some(upper);
                moved?;
            }
            None => self.merge.seek_to_last()?,
        }
        self.settle_backward(None)
    }

    /// Moves to the first shown entry at or after `user_key`.
    pub(crate) fn seek(&mut self, user_key: &[u8]) -> Result<()> {
        if user_key <= &self.bounds.lower[..] {
            return self.seek_to_first();
        }
        self.state = State::Nowhere;
        self.merge.seek(InternalKeyRef::first_of(user_key))?;
        self.settle_forward(false)
    }

    /// Moves to the last shown entry at or before `user_key`.
    pub(crate) fn seek_for_prev(&mut self, user_key: &[u8]) -> Result<()> {
        if !self.bounds.is_below_upper(user_key) {
            return self.seek_to_last();
        }
        self.state = State::Nowhere;
        self.merge.seek_for_prev(InternalKeyRef::last_of(user_key))?;
        self.settle_backward(None)
    }

    /// Moves to the next shown entry. Requires: [`valid`](Self::valid).
    pub(crate) fn next(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Nowhere) {
            State::Nowhere => return Ok(()),
            State::Forward => {
                self.key.assign(self.merge.key());
                self.merge.next()?;
            }
            State::Backward | State::Aside => {
                self.merge.seek(self.key.as_ref())?;
                if self.merge.valid() && self.merge.key() == self.key.as_ref() {
                    self.merge.next()?;
                }
            }
        }
        self.settle_forward(true)
    }

    /// Moves to the shown entry before. Requires: [`valid`](Self::valid).
    pub(crate) fn prev(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Nowhere) {
            State::Nowhere => return Ok(()),
            State::Forward => {
                self.key.assign(self.merge.key());
                self.go_before_shown()?;
            }
            State::Aside => self.go_before_shown()?,
            State::Backward => {
                if self.visibility.all_versions {
                    return self.settle_backward_all();
                }
            }
        }
        let passed = std::mem::take(&mut self.key.user_key);
        let settled = self.settle_backward(Some(&passed));
        if self.state == State::Nowhere {
            self.key.user_key = passed;
        }
        settled
    }

    /// Places the merge before everything of the key that was shown (or, showing all versions, before the entry).
    fn go_before_shown(&mut self) -> Result<()> {
        if self.visibility.all_versions {
            self.merge.prev()?;
        } else {
            self.merge.seek_for_prev(InternalKeyRef::first_of(&self.key.user_key))?;
        }
        Ok(())
    }

    /// Copies the entry that the merge stands on.
    #[inline]
    fn keep_aside(&mut self) {
        self.key.assign(self.merge.key());
        self.entry.clear();
        self.entry.extend_from_slice(self.merge.value());
    }

    /// Moves on to the first entry that is to be shown. `passing`: those of `self.key`'s user key are behind already.
    fn settle_forward(&mut self, mut passing: bool) -> Result<()> {
        let mut steps = 0;
        while self.merge.valid() {
            let key = self.merge.key();
            if !self.bounds.is_below_upper(key.user_key) {
                return Ok(());
            }
            if self.visibility.all_versions {
                if self.is_in_window(key.version) {
                    self.state = State::Forward;
                    return Ok(());
                }
            } else if passing && key.user_key == &self.key.user_key[..] {
                steps += 1;
                if steps == STEPS_BEFORE_SEEK {
                    self.merge.seek(InternalKeyRef::last_of(&self.key.user_key))?;
                    continue;
                }
            } else if key.version > self.visibility.read {
                self.pass_newer(&mut steps)?;
                continue;
            } else {
                if self.is_shown()? {
                    self.state = State::Forward;
                    return Ok(());
                }
                self.key.assign(key);
                (passing, steps) = (true, 0);
            }
            self.merge.next()?;
        }
        Ok(())
    }

    /// Passes over a version that is newer than the reader's.
    fn pass_newer(&mut self, steps: &mut u32) -> Result<()> {
        *steps += 1;
        if *steps < STEPS_BEFORE_SEEK {
            self.merge.next()?;
            return Ok(());
        }
        *steps = 0;
        let user_key = self.merge.key().user_key.to_vec();
        self.merge.seek(InternalKeyRef::new(&user_key, self.visibility.read))?;
        Ok(())
    }

    /// Moves back to the last key, before `passed` if one is given, of which an entry is to be shown.
    fn settle_backward(&mut self, passed: Option<&[u8]>) -> Result<()> {
        if self.visibility.all_versions {
            return self.settle_backward_all();
        }
        let mut candidate = false;
        let mut steps = 0;
        while self.merge.valid() {
            let key = self.merge.key();
            let same_key = candidate && key.user_key == &self.key.user_key[..];
            if candidate && !same_key {
                if self.is_kept_shown()? {
                    self.state = State::Backward;
                    return Ok(());
                }
                candidate = false;
            }
            if key.user_key < &self.bounds.lower[..] {
                return Ok(());
            }
            let above =
                passed.is_some_and(|passed| key.user_key >= passed) || !self.bounds.is_below_upper(key.user_key);
            if !above && key.version <= self.visibility.read {
                steps = if same_key { steps + 1 } else { 0 };
                self.keep_aside();
                candidate = true;
                if steps == STEPS_BEFORE_SEEK {
                    self.jump_to_newest_visible()?;
                    continue;
                }
            }
            self.merge.prev()?;
        }
        if candidate && self.is_kept_shown()? {
            self.state = State::Backward;
        }
        Ok(())
    }

    /// Many old versions of one key: keeps the newest visible one aside and goes before all of them.
    fn jump_to_newest_visible(&mut self) -> Result<()> {
        let user_key = self.key.user_key.clone();
        self.merge.seek(InternalKeyRef::new(&user_key, self.visibility.read))?;
        if self.merge.valid() && self.merge.key().user_key == &user_key[..] {
            self.keep_aside();
        }
        self.merge.seek_for_prev(InternalKeyRef::first_of(&user_key))?;
        Ok(())
    }

    fn settle_backward_all(&mut self) -> Result<()> {
        while self.merge.valid() {
            let key = self.merge.key();
            if key.user_key < &self.bounds.lower[..] {
                return Ok(());
            }
            if self.is_in_window(key.version) && self.bounds.is_below_upper(key.user_key) {
                self.keep_aside();
                self.merge.prev()?;
                self.state = State::Backward;
                return Ok(());
            }
            self.merge.prev()?;
        }
        Ok(())
    }

    fn is_in_window(&self, version: Version) -> bool {
        (self.visibility.since..=self.visibility.read).contains(&version)
    }

    /// Whether the entry under the merge, the newest visible one of its key, is shown.
    fn is_shown(&self) -> Result<bool> {
        self.shows(self.merge.key().version, self.merge.value())
    }

    fn is_kept_shown(&self) -> Result<bool> {
        self.shows(self.key.version, &self.entry)
    }

    fn shows(&self, version: Version, encoded: &[u8]) -> Result<bool> {
        let entry = EntryRef::decode(encoded).map_err(bad_entry)?;
        Ok(version >= self.visibility.since && !entry.meta.is_deleted_at(self.visibility.now))
    }
}
