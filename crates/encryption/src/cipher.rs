//! Seals the pieces of one file: AES-256-GCM (NIST SP 800-38D) under a key of the file's own.
//!
//! ```text
//! key of a file := HKDF-SHA256(data key, salt of the file, "ratel file 1 " | identity of the file)
//! nonce         := position u64, big-endian | domain u32, big-endian
//! ```
//!
//! Invariants
//! 1. A nonce is used once under one key. The key is the file's alone, since its salt is drawn anew for each file that is
//!    made; within the file, whoever seals never seals two texts at one position in one domain.
//! 2. The identity begins with the magic of the file's kind. What else of its header it has is proven with each piece.
//! 3. A piece opens only in its own file, at its own position, with the associated data that it was sealed with.
//!
//! Called for each block or record, so nothing here allocates.

use std::fmt;

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aes::Aes256Enc;
use aes_gcm::{AeadInOut, AesGcm, KeyInit, Nonce};

use crate::derive::{KEY_LEN, Secret, derive};
use crate::error::KeyError;
use crate::keyring::Keyring;

/// Length of the salt in a file's header, in bytes.
pub const SALT_LEN: usize = 32;

/// Bytes that sealing adds to a piece.
pub const TAG_LEN: usize = 16;

/// What a file is: the magic that it starts or ends with.
pub type FileKind = [u8; 8];

/// Names a data key in the header of each file that is sealed under it; 0 in those of files that are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

impl KeyId {
    /// Not encrypted.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A piece that was not sealed under this key, at this place, with this associated data: damaged, moved or forged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sealed bytes do not match their tag")]
pub struct Tampered;

/// Seals and opens the pieces of one file. The key is wiped when it is dropped.
pub struct FileCipher {
    aead: AesGcm<Aes256Enc, U12>,
}

impl FileCipher {
    /// For a file that is about to be made: the key id and cipher under which it is to be sealed, if there are keys at
    /// all. `identity` is the magic of its kind, and what else it is to be known by, at one length for each kind. `salt` is
    /// drawn anew for it, in full, from [`vfs::Vfs::fill_random`].
    #[must_use]
    pub fn for_new_file(keys: Option<&Keyring>, identity: &[u8], salt: &[u8; SALT_LEN]) -> (KeyId, Option<Self>) {
        match keys {
            Some(keys) => {
                let (id, cipher) = keys.seal_with_current(identity, salt);
                (id, Some(cipher))
            }
            None => (KeyId::NONE, None),
        }
    }

    /// For a file whose header has this key id and salt; `None` where the id says that it is not encrypted.
    ///
    /// # Errors
    /// When it is encrypted and there are no keys, or not this one; when it is not, in a store that was from its first file on.
    pub fn of_file(
        keys: Option<&Keyring>,
        id: KeyId,
        identity: &[u8],
        salt: &[u8; SALT_LEN],
    ) -> Result<Option<Self>, KeyError> {
        match (id, keys) {
            (KeyId::NONE, None) => Ok(None),
            (KeyId::NONE, Some(keys)) => keys.check_plain().map(|()| None),
            (id, None) => Err(KeyError::NoKeys(id)),
            (id, Some(keys)) => keys.open_with(id, identity, salt).map(Some),
        }
    }

    /// The cipher of the file with this salt and identity, under a data key.
    pub(crate) fn new(data_key: &Secret, identity: &[u8], salt: &[u8; SALT_LEN]) -> Self {
        let key = derive::<KEY_LEN>(data_key, salt, &[b"ratel file 1 ", identity]);
        Self { aead: AesGcm::new((&*key).into()) }
    }

    /// Encrypts `text` in place and returns the tag that proves it, `associated` and the place. No two calls on one file
    /// may have the same `position` and `domain`.
    #[must_use = "without its tag a text cannot be opened again"]
    #[expect(clippy::expect_used, reason = "GCM takes texts of up to 64 GiB, and lengths in our formats have 32 bits")]
    pub fn seal_in_place(&self, position: u64, domain: u32, associated: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = nonce(position, domain);
        self.aead
            .encrypt_inout_detached(&nonce, associated, InOutBuf::from(text))
            .expect("the text is in bounds")
            .into()
    }

    /// Decrypts in place what [`seal_in_place`](Self::seal_in_place) encrypted.
    ///
    /// # Errors
    /// When anything differs from what was sealed; `text` is then as it was.
    pub fn open_in_place(
        &self,
        position: u64,
        domain: u32,
        associated: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Tampered> {
        let nonce = nonce(position, domain);
        self.aead.decrypt_inout_detached(&nonce, associated, InOutBuf::from(text), tag.into()).map_err(|_| Tampered)
    }
}

impl fmt::Debug for FileCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileCipher").finish_non_exhaustive()
    }
}

fn nonce(position: u64, domain: u32) -> Nonce<U12> {
    let [p0, p1, p2, p3, p4, p5, p6, p7] = position.to_be_bytes();
    let [d0, d1, d2, d3] = domain.to_be_bytes();
    [p0, p1, p2, p3, p4, p5, p6, p7, d0, d1, d2, d3].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: FileKind = *b"RATELSST";

    fn cipher() -> FileCipher {
        FileCipher::new(&Secret::new([7; KEY_LEN]), &KIND, &[9; SALT_LEN])
    }

    #[test]
    fn what_was_sealed_opens_and_does_not_show() {
        for len in [0, 1, 15, 16, 17, 4_096, 100_000] {
            let mut text = vec![0x61; len];
            let tag = cipher().seal_in_place(3, 4, b"header", &mut text);
            assert!(len < 8 || text != vec![0x61; len]);
            cipher().open_in_place(3, 4, b"header", &mut text, &tag).unwrap();
            assert_eq!(text, vec![0x61; len]);
        }
    }

    #[test]
    fn a_flipped_bit_another_place_file_or_header_does_not_open_and_changes_nothing() {
        let plain: Vec<u8> = (0..40).collect();
        let mut sealed = plain.clone();
        let tag = cipher().seal_in_place(3, 4, b"header", &mut sealed);
        let refused = |cipher: &FileCipher, position, domain, associated: &[u8], text: &[u8], tag: &[u8; TAG_LEN]| {
            let mut opened = text.to_vec();
            assert_eq!(cipher.open_in_place(position, domain, associated, &mut opened, tag), Err(Tampered));
            assert_eq!(opened, text);
        };
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            refused(&cipher(), 3, 4, b"header", &flipped, &tag);
        }
        for bit in 0..TAG_LEN * 8 {
            let mut flipped = tag;
            flipped[bit / 8] ^= 1 << (bit % 8);
            refused(&cipher(), 3, 4, b"header", &sealed, &flipped);
        }
        refused(&cipher(), 2, 4, b"header", &sealed, &tag);
        refused(&cipher(), 3, 5, b"header", &sealed, &tag);
        refused(&cipher(), 3, 4, b"headeR", &sealed, &tag);
        refused(&cipher(), 3, 4, b"header", &sealed[..39], &tag);
        let key = Secret::new([7; KEY_LEN]);
        refused(&FileCipher::new(&key, b"RATELWAL", &[9; SALT_LEN]), 3, 4, b"header", &sealed, &tag);
        refused(&FileCipher::new(&key, &KIND, &[8; SALT_LEN]), 3, 4, b"header", &sealed, &tag);
        refused(&FileCipher::new(&Secret::new([6; KEY_LEN]), &KIND, &[9; SALT_LEN]), 3, 4, b"header", &sealed, &tag);
    }

    /// Test case 14 of McGrew and Viega, "The Galois/Counter Mode of Operation": that it is AES-256-GCM at all.
    #[test]
    fn it_is_aes_256_gcm() {
        let cipher = FileCipher { aead: AesGcm::new(&[0; KEY_LEN].into()) };
        let mut text = [0; 16];
        let tag = cipher.seal_in_place(0, 0, &[], &mut text);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&text), "cea7403d4d606b6e074ec5d3baf39d18");
        assert_eq!(hex(&tag), "d0d1c8a799996bf0265b98b5d48ab919");
    }

    #[test]
    fn neither_a_cipher_nor_its_error_tells_a_key() {
        assert_eq!(format!("{:?}", cipher()), "FileCipher { .. }");
    }
}
