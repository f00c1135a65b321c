//! The one hash of user keys that stands on disk: XXH3 with seed 0. It never changes.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::KeyspaceId;

/// Hash of a user key, for table filters. Stable across versions of the program.
#[must_use]
#[inline]
pub fn key_hash(user_key: &[u8]) -> u64 {
    xxh3_64(user_key)
}

/// Fingerprint of a key of a keyspace, for conflict detection. In memory only.
#[must_use]
#[inline]
pub fn fingerprint(keyspace: KeyspaceId, user_key: &[u8]) -> u64 {
    xxh3_64_with_seed(user_key, u64::from(keyspace.0))
}
