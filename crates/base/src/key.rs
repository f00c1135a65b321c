//! Internal keys: a user key with the version (commit timestamp) that wrote it.
//!
//! Encoded, an internal key is the user key followed by the big-endian bitwise complement of the version, so that the
//! newest version of a key comes first. Order is that of the pair (user key ascending, version descending): comparing
//! the encoded bytes as a whole would be wrong where one user key is a prefix of another.

use std::cmp::Ordering;
use std::fmt;

use crate::DecodeError;

/// A commit timestamp. Every entry of one commit carries the same one; `0` is before the first commit.
pub type Version = u64;

/// Bytes that the version takes behind the user key in an encoded internal key.
pub const VERSION_SUFFIX_LEN: usize = 8;

/// A borrowed internal key. Sorts by user key ascending, then by version descending.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct InternalKeyRef<'a> {
    /// The bytes that the caller gave.
    pub user_key: &'a [u8],
    /// The commit that wrote the entry.
    pub version: Version,
}

impl<'a> InternalKeyRef<'a> {
    /// Pairs a user key with a version.
    #[must_use]
    pub const fn new(user_key: &'a [u8], version: Version) -> Self {
        Self { user_key, version }
    }

    /// The first internal key of a user key: at or before every version of it.
    #[must_use]
    pub const fn first_of(user_key: &'a [u8]) -> Self {
        Self { user_key, version: Version::MAX }
    }

    /// The last internal key of a user key: at or after every version of it.
    #[must_use]
    pub const fn last_of(user_key: &'a [u8]) -> Self {
        Self { user_key, version: 0 }
    }

    /// Splits an encoded internal key.
    ///
    /// # Errors
    /// When the bytes are shorter than a version.
    pub fn decode(encoded: &'a [u8]) -> Result<Self, DecodeError> {
        let (user_key, suffix) = encoded
            .split_last_chunk::<VERSION_SUFFIX_LEN>()
            .ok_or(DecodeError::new("internal key shorter than its version"))?;
        Ok(Self { user_key, version: !u64::from_be_bytes(*suffix) })
    }

    /// The eight bytes that encode the version behind the user key.
    #[must_use]
    pub const fn suffix(&self) -> [u8; VERSION_SUFFIX_LEN] {
        (!self.version).to_be_bytes()
    }

    /// Length of the encoded form in bytes.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        self.user_key.len() + VERSION_SUFFIX_LEN
    }

    /// Appends the encoded form to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.user_key);
        out.extend_from_slice(&self.suffix());
    }

    /// The key in the text of an error. Texts end up in logs, so where what is stored is encrypted they have its length alone.
    #[must_use]
    pub fn text(&self, is_encrypted: bool) -> String {
        let Self { user_key, version } = self;
        if is_encrypted { format!("{} bytes@{version}", user_key.len()) } else { format!("{self:?}") }
    }

    /// An owned copy.
    #[must_use]
    pub fn to_owned(&self) -> InternalKey {
        InternalKey { user_key: self.user_key.to_vec(), version: self.version }
    }
}

impl Ord for InternalKeyRef<'_> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.user_key.cmp(other.user_key).then_with(|| other.version.cmp(&self.version))
    }
}

impl PartialOrd for InternalKeyRef<'_> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for InternalKeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user_key.escape_ascii(), self.version)
    }
}

/// An owned internal key, for table bounds and cursors that keep their place.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct InternalKey {
    /// The bytes that the caller gave.
    pub user_key: Vec<u8>,
    /// The commit that wrote the entry.
    pub version: Version,
}

impl InternalKey {
    /// Borrows the key.
    #[must_use]
    pub fn as_ref(&self) -> InternalKeyRef<'_> {
        InternalKeyRef { user_key: &self.user_key, version: self.version }
    }

    /// Takes over `key`, keeping the allocation.
    pub fn assign(&mut self, key: InternalKeyRef<'_>) {
        self.user_key.clear();
        self.user_key.extend_from_slice(key.user_key);
        self.version = key.version;
    }
}

impl Ord for InternalKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_ref().cmp(&other.as_ref())
    }
}

impl PartialOrd for InternalKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for InternalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_of_what_is_encrypted_shows_no_bytes_in_a_text() {
        let key = InternalKeyRef::new(b"badger\n", 7);
        assert_eq!((key.text(false), key.text(true)), ("badger\\n@7".to_owned(), "7 bytes@7".to_owned()));
    }

    #[test]
    fn a_prefix_sorts_before_its_extension_whatever_the_versions() {
        let short = InternalKeyRef::new(b"a", 0);
        let long = InternalKeyRef::new(b"a\x00", u64::MAX);
        assert!(short < long);
        let (mut short_bytes, mut long_bytes) = (Vec::new(), Vec::new());
        short.encode_into(&mut short_bytes);
        long.encode_into(&mut long_bytes);
        assert!(short_bytes > long_bytes, "the encoded bytes alone would order these two wrongly");
    }

    proptest! {
        #[test]
        fn encode_then_decode_is_identity(user_key in prop::collection::vec(any::<u8>(), 0..40), version: u64) {
            let key = InternalKeyRef::new(&user_key, version);
            let mut encoded = Vec::new();
            key.encode_into(&mut encoded);
            prop_assert_eq!(encoded.len(), key.encoded_len());
            prop_assert_eq!(InternalKeyRef::decode(&encoded).unwrap(), key);
        }

        #[test]
        fn order_is_user_key_then_newest_first(
            a in prop::collection::vec(0u8..3, 0..4), av in 0u64..4,
            b in prop::collection::vec(0u8..3, 0..4), bv in 0u64..4,
        ) {
            let expected = (&a, std::cmp::Reverse(av)).cmp(&(&b, std::cmp::Reverse(bv)));
            prop_assert_eq!(InternalKeyRef::new(&a, av).cmp(&InternalKeyRef::new(&b, bv)), expected);
        }
    }

    #[test]
    fn seven_bytes_are_no_internal_key() {
        assert!(InternalKeyRef::decode(&[0; 7]).is_err());
    }
}
