//! Bounds on everything that is sized by its input.

/// Longest user key in bytes.
pub const USER_KEY_LEN_MAX: usize = 65_535;

/// Longest value in bytes: 4 GiB - 128 KiB, so that a record with the longest key still has a 32-bit length.
pub const VALUE_LEN_MAX: u64 = (1 << 32) - (128 << 10);

/// Longest value that the tree itself may hold, whatever the threshold of the value log says.
pub const INLINE_VALUE_LEN_MAX: usize = 1 << 20;

/// Most bytes of a commit that a log carries in one record: 4 GiB - 1.
pub const COMMIT_LEN_MAX: u64 = u32::MAX as u64;

/// Most keyspaces that a store may have.
pub const KEYSPACES_MAX: usize = 4_096;

/// Longest name of a keyspace in bytes.
pub const KEYSPACE_NAME_LEN_MAX: usize = 255;

/// Number of levels of a keyspace's tree.
pub const LEVELS: usize = 7;
