//! A cursor that the caller moves.

use std::fmt;

use base::Version;

use crate::read::{Item, MOVES_BEFORE_REPIN, OverlaidCursor, Reader, ScanOptions, Window};
use crate::{Result, Slice};

/// A position among the keys of a scan, moved at will in both directions.
///
/// ```
/// use engine::{Options, Read, ScanOptions};
///
/// let db = Options::new().open_in_memory()?;
/// for key in ["a", "c", "e"] {
///     db.insert(key, key)?;
/// }
/// let mut cursor = db.cursor(ScanOptions::new())?;
/// cursor.seek("b")?;
/// assert_eq!(cursor.key(), Some(&b"c"[..]));
/// cursor.prev()?;
/// assert_eq!(cursor.key(), Some(&b"a"[..]));
/// # Ok::<(), engine::Error>(())
/// ```
pub struct Cursor<'a> {
    inner: OverlaidCursor<'a>,
    window: Window,
    /// Where the cursor stands, if that is not where the inner one does: the inner one may be ahead.
    shown: Option<Item>,
    /// Whether it was moved forward to `shown`.
    is_forward: bool,
    reader: Reader<'a>,
    options: ScanOptions,
    /// Moves by one since the view was last compared with the current one.
    moves: u32,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(reader: Reader<'a>, options: ScanOptions) -> Result<Self> {
        reader.check()?;
        if let Some(tracked) = reader.tracked {
            tracked.add_range(reader.keyspace.id, &options.bounds);
        }
        let view = reader.pin();
        let inner = reader.cursor(&view, &options, options.bounds.clone());
        let window = Window::new(&options);
        Ok(Self { inner, window, shown: None, is_forward: true, reader, options, moves: 0 })
    }

    /// Moves to the first key (the last one of a reverse scan).
    ///
    /// # Errors
    /// When a table cannot be read, or the store was closed; the same holds for all moves.
    pub fn rewind(&mut self) -> Result<()> {
        if self.options.reverse { self.seek_to_last() } else { self.seek_to_first() }
    }

    /// Moves to the first key.
    ///
    /// # Errors
    /// As [`rewind`](Self::rewind).
    pub fn seek_to_first(&mut self) -> Result<()> {
        self.prepare_seek()?;
        self.inner.seek_to_first()?;
        self.note();
        Ok(())
    }

    /// Moves to the last key.
    ///
    /// # Errors
    /// As [`rewind`](Self::rewind).
    pub fn seek_to_last(&mut self) -> Result<()> {
        self.prepare_seek()?;
        self.inner.seek_to_last()?;
        self.note();
        Ok(())
    }

    /// Moves to the first key at or after `key`; in a reverse scan, to the last one at or before it.
    ///
    /// # Errors
    /// As [`rewind`](Self::rewind).
    pub fn seek(&mut self, key: impl AsRef<[u8]>) -> Result<()> {
        self.prepare_seek()?;
        if self.options.reverse {
            self.inner.seek_for_prev(key.as_ref())?
        } else {
            self.inner.seek(key.as_ref())?
        }
        self.note();
        Ok(())
    }

    /// Moves on, in the direction of the scan. On no key it does nothing.
    ///
    /// # Errors
    /// As [`rewind`](Self::rewind).
    #[allow(clippy::should_implement_trait, reason = "a cursor is not an iterator: its item stays where it is")]
    pub fn next(&mut self) -> Result<()> {
        self.step(!self.options.reverse)
    }

    /// Moves back, against the direction of the scan. On no key it does nothing.
    ///
    /// # Errors
    /// As [`rewind`](Self::rewind).
    pub fn prev(&mut self) -> Result<()> {
        self.step(self.options.reverse)
    }

    fn step(&mut self, is_forward: bool) -> Result<()> {
        self.prepare_step()?;
        if !self.valid() {
            return Ok(());
        }
        if self.is_forward != is_forward {
            self.settle()?;
        }
        self.shown = None;
        if let Some(known) = self.window.take() {
            self.shown = known?;
        } else {
            if is_forward { self.inner.next() } else { self.inner.prev() }?;
            if self.inner.valid() && self.window.is_wanted(&self.inner) {
                let clock = &*self.reader.handle.clock;
                self.shown = Some(self.window.fill(&mut self.inner, is_forward, usize::MAX, clock)?);
                self.is_forward = is_forward;
            }
        }
        self.note();
        Ok(())
    }

    /// Makes the inner cursor stand where this one does.
    fn settle(&mut self) -> Result<()> {
        let is_ahead = self.window.is_ahead();
        self.window.clear();
        match self.shown.take() {
            Some(shown) if is_ahead => self.inner.seek(shown.key()),
            _ => Ok(()),
        }
    }

    fn prepare_seek(&mut self) -> Result<()> {
        self.moves = 0;
        self.reader.check()?;
        self.window.clear();
        self.shown = None;
        self.reader.repin(&mut self.inner, &self.options);
        Ok(())
    }

    fn prepare_step(&mut self) -> Result<()> {
        self.moves += 1;
        self.reader.check()?;
        if self.moves == MOVES_BEFORE_REPIN {
            self.settle()?;
            self.prepare_seek()?;
        }
        Ok(())
    }

    /// Notes the key that the cursor has come to, for transactions of which only such keys count as read.
    fn note(&self) {
        if let (Some(tracked), true) = (self.reader.tracked, self.valid()) {
            tracked.met(self.reader.keyspace.id, self.user_key());
        }
    }

    /// Whether the cursor stands on a key.
    #[must_use]
    pub fn valid(&self) -> bool {
        // The inner one may have been left behind the last item, or on one that was stepped over.
        self.shown.is_some() || (!self.window.is_ahead() && self.inner.valid())
    }

    /// Requires: [`valid`](Self::valid).
    fn user_key(&self) -> &[u8] {
        self.shown.as_ref().map_or_else(|| self.inner.user_key(), Item::key)
    }

    /// The key, if the cursor stands on one.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.valid().then(|| self.user_key())
    }

    /// The version, if the cursor stands on a key.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.valid().then(|| self.shown.as_ref().map_or_else(|| self.inner.version(), Item::version))
    }

    /// Hands the value to `f` where it stands, if the cursor stands on a key.
    ///
    /// # Errors
    /// When the value log cannot be read at that place.
    pub fn value_with<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        if !self.valid() {
            return Ok(None);
        }
        if let Some(shown) = &self.shown {
            return shown.value_with(f).map(Some);
        }
        if let Some(store) = self.inner.store_cursor() {
            return store.value_with(f).map(Some);
        }
        self.inner.item()?.value_with(f).map(Some)
    }

    /// The value, if the cursor stands on a key.
    ///
    /// # Errors
    /// As [`value_with`](Self::value_with).
    pub fn value(&self) -> Result<Option<Slice>> {
        self.item()?.map(|item| item.value()).transpose()
    }

    /// An item of its own, if the cursor stands on a key.
    ///
    /// # Errors
    /// When the entry does not decode.
    pub fn item(&self) -> Result<Option<Item>> {
        match &self.shown {
            Some(shown) => Ok(Some(shown.clone())),
            None => self.valid().then(|| self.inner.item()).transpose(),
        }
    }
}

impl fmt::Debug for Cursor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("valid", &self.valid()).finish_non_exhaustive()
    }
}
