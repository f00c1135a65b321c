//! Master keys, and where they come from.

use std::fmt;
use std::path::Path;

use vfs::Vfs;
use zeroize::Zeroizing;

use crate::derive::{KEY_LEN, Secret, derive};
use crate::error::{BoxError, Error, Result};

/// Gives out master keys. The store keeps none: it asks when it opens and when it writes the registry.
///
/// A key management service stands behind it as well as a [`StaticKey`].
pub trait KeyProvider: fmt::Debug + Send + Sync + 'static {
    /// The key under which data keys are to be wrapped from now on.
    ///
    /// # Errors
    /// When there is no way to the key.
    fn current(&self) -> std::result::Result<MasterKey, BoxError>;

    /// The key of this id; `None` where there is none.
    ///
    /// # Errors
    /// When there is no way to the key.
    fn by_id(&self, id: MasterKeyId) -> std::result::Result<Option<MasterKey>, BoxError>;
}

/// Names a master key; stands in the registry in plain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MasterKeyId(pub [u8; 16]);

impl fmt::Display for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKeyId({self})")
    }
}

/// A key that wraps data keys. Wiped when it is dropped; shows itself by its id alone.
#[derive(Clone)]
pub struct MasterKey {
    id: MasterKeyId,
    secret: Secret,
}

impl MasterKey {
    /// A key under the name that its provider knows it by.
    #[must_use]
    pub fn new(id: MasterKeyId, secret: &[u8; KEY_LEN]) -> Self {
        Self { id, secret: Secret::new(*secret) }
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> MasterKeyId {
        self.id
    }

    pub(crate) const fn secret(&self) -> &Secret {
        &self.secret
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// One master key, given by its bytes. Its id is derived from them, so that another key is told from the right one.
#[derive(Clone, Debug)]
pub struct StaticKey(MasterKey);

impl StaticKey {
    /// A key of 32 bytes, which must come from a source of randomness: a password is no key.
    #[must_use]
    pub fn new(secret: &[u8; KEY_LEN]) -> Self {
        let secret = Secret::new(*secret);
        let id = derive(&secret, &[], &[b"ratel master key id 1"]);
        Self(MasterKey { id: MasterKeyId(*id), secret })
    }

    /// Reads a key file: 32 bytes, or 64 hexadecimal digits that a line feed may end.
    ///
    /// # Errors
    /// When the file cannot be read or holds no key.
    pub fn read(vfs: &dyn Vfs, path: &Path) -> Result<Self> {
        let not_a_key = || Error::NotAKey { path: path.to_owned() };
        let file = vfs.open_read(path)?;
        let len = file.len()?;
        let mut bytes = Zeroizing::new([0; 2 * KEY_LEN + 1]);
        let bytes = usize::try_from(len).ok().and_then(|len| bytes.get_mut(..len)).ok_or_else(not_a_key)?;
        file.read_exact_at(bytes, 0)?;
        if let Ok(secret) = <&[u8; KEY_LEN]>::try_from(&*bytes) {
            return Ok(Self::new(secret));
        }
        let digits = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        from_hex(digits).map(|secret| Self::new(&secret)).ok_or_else(not_a_key)
    }

    /// The id that the key is known by.
    #[must_use]
    pub const fn id(&self) -> MasterKeyId {
        self.0.id
    }
}

impl KeyProvider for StaticKey {
    fn current(&self) -> std::result::Result<MasterKey, BoxError> {
        Ok(self.0.clone())
    }

    fn by_id(&self, id: MasterKeyId) -> std::result::Result<Option<MasterKey>, BoxError> {
        Ok((id == self.0.id).then(|| self.0.clone()))
    }
}

fn from_hex(digits: &[u8]) -> Option<Secret> {
    let mut secret = Secret::default();
    if digits.len() != 2 * KEY_LEN {
        return None;
    }
    for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().try_fold(0, |byte, digit| Some(byte << 4 | char::from(*digit).to_digit(16)? as u8))?;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use vfs::{AppendMode, AppendOptions, MemFs};

    use super::*;

    fn read(content: &[u8]) -> Result<StaticKey> {
        let fs = MemFs::new(1);
        let options = AppendOptions { mode: AppendMode::Written, preallocate_bytes: 0 };
        fs.create_append(Path::new("/key"), options).unwrap().append(content).unwrap();
        StaticKey::read(&fs, Path::new("/key"))
    }

    #[test]
    fn a_key_file_holds_the_bytes_or_their_digits_and_nothing_else() {
        let secret: [u8; KEY_LEN] = std::array::from_fn(|at| at as u8 * 7);
        let id = StaticKey::new(&secret).id();
        let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        for good in [&secret[..], digits.as_bytes(), digits.to_uppercase().as_bytes(), format!("{digits}\n").as_bytes()]
        {
            assert_eq!(read(good).unwrap().id(), id);
        }
        let not_a_digit = digits.replace('0', "g");
        for bad in [&b""[..], &secret[..31], &digits.as_bytes()[..63], not_a_digit.as_bytes(), &[b'0'; 66], &[b'0'; 65]]
        {
            assert!(matches!(read(bad), Err(Error::NotAKey { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_key_has_one_id_and_shows_nothing_else() {
        let [one, other] = [StaticKey::new(&[1; KEY_LEN]), StaticKey::new(&[2; KEY_LEN])];
        assert_eq!(one.id(), StaticKey::new(&[1; KEY_LEN]).id());
        assert_ne!(one.id(), other.id());
        assert!(one.by_id(one.id()).unwrap().is_some() && one.by_id(other.id()).unwrap().is_none());
        assert_eq!(format!("{one:?}"), format!("StaticKey(MasterKey {{ id: MasterKeyId({}), .. }})", one.id()));
    }
}
