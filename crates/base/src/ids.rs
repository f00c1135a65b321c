//! Numbers that must not be mixed up. All of them come from counters in a manifest and are never used twice.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A keyspace. The default keyspace is 0.
    KeyspaceId(u32)
}
id! {
    /// A segment of the value log.
    SegmentId(u32)
}
id! {
    /// A write-ahead log or a manifest.
    LogNumber(u64)
}
id! {
    /// A sorted table.
    TableId(u64)
}

/// Sixteen random bytes drawn when a store is made; every file of the store carries them in its header.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct StoreId(pub [u8; 16]);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({self})")
    }
}
