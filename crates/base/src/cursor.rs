//! The shape of everything that can be walked in key order.

use crate::InternalKeyRef;

/// A movable position among entries sorted by internal key.
///
/// Memtables, blocks, tables, levels and merges of them all have this shape, and each is driven by static dispatch.
/// A new cursor stands nowhere. After an error a cursor stands nowhere too; nothing is skipped by going on.
pub trait Cursor {
    /// What can go wrong while moving.
    type Error;

    /// Moves to the first entry.
    ///
    /// # Errors
    /// When an entry cannot be read; the same holds for every move below.
    fn seek_to_first(&mut self) -> Result<(), Self::Error>;

    /// Moves to the last entry.
    #[allow(clippy::missing_errors_doc, reason = "told at seek_to_first")]
    fn seek_to_last(&mut self) -> Result<(), Self::Error>;

    /// Moves to the first entry at or after `key`.
    #[allow(clippy::missing_errors_doc, reason = "told at seek_to_first")]
    fn seek(&mut self, key: InternalKeyRef<'_>) -> Result<(), Self::Error>;

    /// Moves to the last entry at or before `key`.
    #[allow(clippy::missing_errors_doc, reason = "told at seek_to_first")]
    fn seek_for_prev(&mut self, key: InternalKeyRef<'_>) -> Result<(), Self::Error>;

    /// Moves to the next entry. Requires: [`valid`](Self::valid).
    #[allow(clippy::missing_errors_doc, reason = "told at seek_to_first")]
    fn next(&mut self) -> Result<(), Self::Error>;

    /// Moves to the entry before. Requires: [`valid`](Self::valid).
    #[allow(clippy::missing_errors_doc, reason = "told at seek_to_first")]
    fn prev(&mut self) -> Result<(), Self::Error>;

    /// Whether the cursor stands on an entry.
    fn valid(&self) -> bool;

    /// The key of the entry. Requires: [`valid`](Self::valid).
    fn key(&self) -> InternalKeyRef<'_>;

    /// The encoded entry ([`EntryRef`](crate::EntryRef)). Requires: [`valid`](Self::valid).
    fn value(&self) -> &[u8];
}
