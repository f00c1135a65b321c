//! Keys from keys: HKDF-SHA256 (RFC 5869).
//!
//! Every use has an info of its own, so that no two of them ever share a key.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Length of every key in bytes: AES-256.
pub(crate) const KEY_LEN: usize = 32;

/// A secret that is wiped when dropped.
pub(crate) type Secret = Zeroizing<[u8; KEY_LEN]>;

/// Derives `N` bytes from a secret that nobody can guess. `info` says what for.
#[expect(clippy::expect_used, reason = "HKDF gives up to 255 hashes of 32 bytes, and nobody asks for more than one")]
pub(crate) fn derive<const N: usize>(secret: &Secret, salt: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    const { assert!(N <= KEY_LEN, "one hash") };
    let mut derived = Zeroizing::new([0; N]);
    Hkdf::<Sha256>::new(Some(salt), secret.as_slice())
        .expand_multi_info(info, derived.as_mut_slice())
        .expect("the length is in bounds");
    derived
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_secret_salt_or_use_gives_another_key() {
        let secret = Secret::new([1; KEY_LEN]);
        let key = derive::<KEY_LEN>(&secret, b"salt", &[b"use"]);
        assert_eq!(key, derive::<KEY_LEN>(&secret, b"salt", &[b"u", b"se"]), "info is one string");
        for other in [
            derive::<KEY_LEN>(&Secret::new([2; KEY_LEN]), b"salt", &[b"use"]),
            derive::<KEY_LEN>(&secret, b"sal7", &[b"use"]),
            derive::<KEY_LEN>(&secret, b"salt", &[b"us3"]),
        ] {
            assert_ne!(key, other);
        }
    }
}
