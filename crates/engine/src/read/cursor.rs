//! A cursor that the caller moves.

use std::fmt;

use base::{EntryKind, Version};

use crate::read::{Item, MOVES_BEFORE_REPIN, OverlaidCursor, Reader, ScanOptions};
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
        Ok(Self { inner, reader, options, moves: 0 })
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
        self.prepare_step()?;
        match (self.valid(), self.options.reverse) {
            (false, _) => Ok(()),
            (true, false) => self.inner.next(),
            (true, true) => self.inner.prev(),
        }?;
        self.note();
        Ok(())
    }

    /// Moves back, against the direction of the scan. On no key it does nothing.
    ///
    /// # Errors
    /// As [`rewind`](Self::rewind).
    pub fn prev(&mut self) -> Result<()> {
        self.prepare_step()?;
        match (self.valid(), self.options.reverse) {
            (false, _) => Ok(()),
            (true, false) => self.inner.prev(),
            (true, true) => self.inner.next(),
        }?;
        self.note();
        Ok(())
    }

    fn prepare_seek(&mut self) -> Result<()> {
        self.moves = 0;
        self.reader.check()?;
        self.reader.repin(&mut self.inner, &self.options);
        Ok(())
    }

    fn prepare_step(&mut self) -> Result<()> {
        self.moves += 1;
        if self.moves == MOVES_BEFORE_REPIN { self.prepare_seek() } else { self.reader.check() }
    }

    /// Notes the key that the cursor has come to, for transactions of which only such keys count as read.
    fn note(&self) {
        if let (Some(tracked), true) = (self.reader.tracked, self.valid()) {
            tracked.met(self.reader.keyspace.id, self.inner.user_key());
        }
    }

    /// Whether the cursor stands on a key.
    #[must_use]
    pub fn valid(&self) -> bool {
        self.inner.valid()
    }

    /// The key, if the cursor stands on one.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.valid().then(|| self.inner.user_key())
    }

    /// The version, if the cursor stands on a key.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.valid().then(|| self.inner.version())
    }

    /// Hands the value to `f` where it stands, if the cursor stands on a key.
    ///
    /// # Errors
    /// When the value log cannot be read at that place.
    pub fn value_with<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        if !self.valid() {
            return Ok(None);
        }
        if let Some(store) = self.inner.store_cursor() {
            let entry = store.entry()?;
            if entry.meta.kind == EntryKind::Put {
                return Ok(Some(f(entry.payload)));
            }
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
        self.valid().then(|| self.inner.item()).transpose()
    }
}

impl fmt::Debug for Cursor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("valid", &self.valid()).finish_non_exhaustive()
    }
}
