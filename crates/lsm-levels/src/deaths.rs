//! What the tree asks of a value log: to be told, in two phases, which values have lost their entry.

use base::ValuePointer;

use crate::error::BoxError;

/// Takes up the deaths of values.
///
/// A value is dead only once no version, on disk or pinned, can lead to it. So a list of deaths is first made durable
/// under a ticket that nobody looks at ([`prepare`](Self::prepare)); then the edit that drops the entries names the
/// ticket; only once that edit is durable, and the version without the entries is installed, is the list taken up
/// ([`apply`](Self::apply)); a later edit clears the ticket, and the list goes ([`clear`](Self::clear)). When a store
/// is opened, tickets that the manifest names are applied, and lists that it does not name are deleted.
#[allow(clippy::missing_errors_doc, reason = "each fails as the value log's files do")]
pub trait ValueDeaths: Send + Sync {
    /// Writes the list and syncs it.
    fn prepare(&self, ticket: u64, deaths: &[ValuePointer]) -> Result<(), BoxError>;

    /// Counts the listed values as dead. May be called again for the same ticket. Returns whether that is durable: if not,
    /// the ticket stays until [`Levels::tickets_applied`](crate::Levels::tickets_applied) says that it is.
    fn apply(&self, ticket: u64) -> Result<bool, BoxError>;

    /// Deletes the list.
    fn clear(&self, ticket: u64) -> Result<(), BoxError>;
}
