//! What the store has done since it was opened.

use base::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters that many threads add to.
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: AtomicU64,)* }

        /// Counters as they were at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct CounterValues { $($(#[$doc])* pub $name: u64,)* }

        impl Counters {
            pub(crate) fn values(&self) -> CounterValues {
                CounterValues { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Flushes of memtables.
    flushes,
    /// Compactions that wrote tables.
    compactions,
    /// Compactions that only moved tables.
    moves,
    /// Background jobs that failed and are tried again.
    background_failures,
    /// Times that a writer waited for a flush.
    stalls,
    /// Microseconds that writers waited for flushes, in sum.
    stall_microseconds,
    /// Bytes of values that flushes and compactions found to be dead, headers included.
    value_bytes_died,
    /// Collections of value-log segments.
    gc_collections,
    /// Bytes of values that collections copied, headers included.
    gc_bytes_rewritten,
    /// Bytes that collections took off the value log.
    gc_bytes_reclaimed,
    /// Times that the tree was compacted to find garbage.
    gc_searches,
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}
