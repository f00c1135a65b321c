//! The file `KEYREGISTRY`: a store's data keys, wrapped under the master key.
//!
//! ```text
//! offset  size  field                                               little-endian
//!      0     8  magic "RATELKEY"
//!      8     4  format version, 1
//!     12    16  store id
//!     28    32  salt, random, fresh each time the file is written
//!     60    16  id of the master key
//!     76    16  check of the master key: HKDF-SHA256(master key, salt, "ratel master key check 1")
//!     92     4  number of keys, 1 to 65,536; with the highest bit where no file of the store was ever plain
//!     96     4  crc32 of bytes 0 to 95
//!    100     *  entries, oldest first, up to the end of the file
//!
//! entry := key id u32, not 0 | created at u64, seconds since the Unix epoch | sealed key 32 bytes | tag 16 bytes
//! ```
//!
//! A key is sealed as a piece of a file (see [`FileCipher`]) whose data key is the master key: its position is that of the
//! entry, from 0, and its associated data are the header and the entry's first 12 bytes. So no entry can be changed, left
//! out, moved or taken from elsewhere.
//!
//! Header first, then the master key, then the entries: a wrong key is told from damage.

use std::path::Path;

use base::checksum::crc32;
use base::{Corruption, StoreId};

use crate::cipher::{FileCipher, FileKind, KeyId, SALT_LEN, TAG_LEN};
use crate::derive::{KEY_LEN, Secret, derive};
use crate::error::{Error, Result};
use crate::provider::{KeyProvider, MasterKey, MasterKeyId};

/// Name of the file, in the store's directory.
pub const KEY_REGISTRY: &str = "KEYREGISTRY";

/// Most data keys that a registry takes.
pub const KEYS_MAX: usize = 65_536;

/// Longest registry in bytes.
pub const REGISTRY_LEN_MAX: u64 = (HEADER_LEN + KEYS_MAX * ENTRY_LEN) as u64;

const MAGIC: FileKind = *b"RATELKEY";
const FORMAT_VERSION: u32 = 1;
const CHECKED_LEN: usize = 96;
const FLAG_NONE_PLAIN: u32 = 1 << 31;
const HEADER_LEN: usize = CHECKED_LEN + 4;
const CHECK_LEN: usize = 16;
/// What of an entry is not sealed.
const ENTRY_PLAIN_LEN: usize = 12;
const ENTRY_LEN: usize = ENTRY_PLAIN_LEN + KEY_LEN + TAG_LEN;

/// A key from which the keys of files are derived.
#[derive(Clone)]
pub(crate) struct DataKey {
    pub(crate) id: KeyId,
    /// Seconds since the Unix epoch.
    pub(crate) created_at: u64,
    pub(crate) secret: Secret,
}

/// What the file says.
pub(crate) struct Registry {
    pub(crate) store: StoreId,
    /// Whether every file of the store is encrypted, since its first.
    pub(crate) none_plain: bool,
    /// Oldest first; at least one.
    pub(crate) keys: Vec<DataKey>,
}

impl Registry {
    /// Reads the file's bytes with the master key that it asks for.
    pub(crate) fn decode(path: &Path, bytes: &[u8], provider: &dyn KeyProvider) -> Result<Self> {
        let header = Header::decode(path, bytes)?;
        let needed = header.master;
        let master = provider.by_id(needed).map_err(Error::Provider)?;
        let master = match master.filter(|master| check(master, &header.salt) == header.check) {
            Some(master) => master,
            None => {
                let offered = provider.current().map_err(Error::Provider)?.id();
                return Err(Error::WrongMasterKey { path: path.to_owned(), needed, offered });
            }
        };
        let keys = decode_entries(path, bytes, &header, &FileCipher::new(master.secret(), &MAGIC, &header.salt))?;
        Ok(Self { store: header.store, none_plain: header.none_plain, keys })
    }
}

/// The file's bytes. `salt` is drawn anew for each call.
pub(crate) fn encode(registry: &Registry, master: &MasterKey, salt: &[u8; SALT_LEN]) -> Vec<u8> {
    let Registry { store, none_plain, keys } = registry;
    let flags = if *none_plain { FLAG_NONE_PLAIN } else { 0 };
    let mut out = Vec::with_capacity(HEADER_LEN + keys.len() * ENTRY_LEN);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&store.0);
    out.extend_from_slice(salt);
    out.extend_from_slice(&master.id().0);
    out.extend_from_slice(&check(master, salt));
    out.extend_from_slice(&(flags | keys.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32(&out).to_le_bytes());
    let mut associated = out.clone();
    let cipher = FileCipher::new(master.secret(), &MAGIC, salt);
    for (position, key) in (0..).zip(keys) {
        associated.truncate(HEADER_LEN);
        associated.extend_from_slice(&key.id.0.to_le_bytes());
        associated.extend_from_slice(&key.created_at.to_le_bytes());
        let mut sealed = key.secret.clone();
        let tag = cipher.seal_in_place(position, 0, &associated, sealed.as_mut_slice());
        out.extend_from_slice(associated.get(HEADER_LEN..).unwrap_or_default());
        out.extend_from_slice(sealed.as_slice());
        out.extend_from_slice(&tag);
    }
    out
}

struct Header {
    store: StoreId,
    salt: [u8; SALT_LEN],
    master: MasterKeyId,
    check: [u8; CHECK_LEN],
    none_plain: bool,
    count: usize,
}

impl Header {
    fn decode(path: &Path, bytes: &[u8]) -> Result<Self> {
        let damaged = |offset, what: &str| Error::from(Corruption::new(path, offset, what));
        let fields = Fields::split(bytes).ok_or_else(|| damaged(0, "the key registry is cut short"))?;
        if fields.magic != MAGIC {
            return Err(damaged(0, "not a key registry"));
        }
        if fields.crc != crc32(fields.checked) {
            return Err(damaged(0, "checksum of the key registry's header"));
        }
        if fields.version != FORMAT_VERSION {
            let what = "key registry format version";
            let path = path.to_owned();
            return Err(Error::Incompatible { path, what, expected: FORMAT_VERSION, found: fields.version });
        }
        let count = (fields.count & !FLAG_NONE_PLAIN) as usize;
        if !(1..=KEYS_MAX).contains(&count) {
            return Err(damaged(92, "number of keys in the key registry"));
        }
        if bytes.len() != HEADER_LEN + count * ENTRY_LEN {
            let expected = HEADER_LEN + count * ENTRY_LEN;
            let corruption = Corruption::new(path, bytes.len().min(expected) as u64, "length of the key registry");
            return Err(corruption.with_values(expected, bytes.len()).into());
        }
        let none_plain = fields.count & FLAG_NONE_PLAIN != 0;
        let Fields { store, salt, master, check, .. } = fields;
        Ok(Self { store: StoreId(store), salt, master: MasterKeyId(master), check, none_plain, count })
    }
}

struct Fields<'a> {
    checked: &'a [u8],
    magic: FileKind,
    version: u32,
    store: [u8; 16],
    salt: [u8; SALT_LEN],
    master: [u8; 16],
    check: [u8; CHECK_LEN],
    count: u32,
    crc: u32,
}

impl<'a> Fields<'a> {
    fn split(bytes: &'a [u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk()?;
        let (version, rest) = rest.split_first_chunk()?;
        let (store, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (master, rest) = rest.split_first_chunk()?;
        let (check, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        Some(Self {
            checked: bytes.get(..CHECKED_LEN)?,
            magic: *magic,
            version: u32::from_le_bytes(*version),
            store: *store,
            salt: *salt,
            master: *master,
            check: *check,
            count: u32::from_le_bytes(*count),
            crc: u32::from_le_bytes(*rest.first_chunk()?),
        })
    }
}

fn decode_entries(path: &Path, bytes: &[u8], header: &Header, cipher: &FileCipher) -> Result<Vec<DataKey>> {
    let (header_bytes, entries) = bytes.split_at_checked(HEADER_LEN).unwrap_or_default();
    let mut associated = header_bytes.to_vec();
    let mut keys: Vec<DataKey> = Vec::with_capacity(header.count);
    for (position, entry) in (0..).zip(entries.chunks_exact(ENTRY_LEN)) {
        associated.truncate(HEADER_LEN);
        let key = decode_entry(entry, position, &mut associated, cipher).ok_or_else(|| {
            Corruption::new(path, HEADER_LEN as u64 + position * ENTRY_LEN as u64, "a data key does not match its tag")
        })?;
        keys.push(key);
    }
    Ok(keys)
}

fn decode_entry(entry: &[u8], position: u64, associated: &mut Vec<u8>, cipher: &FileCipher) -> Option<DataKey> {
    associated.extend_from_slice(entry.get(..ENTRY_PLAIN_LEN)?);
    let (id, rest) = entry.split_first_chunk()?;
    let (created_at, rest) = rest.split_first_chunk()?;
    let (sealed, tag) = rest.split_first_chunk()?;
    let mut secret = Secret::new(*sealed);
    cipher.open_in_place(position, 0, associated, secret.as_mut_slice(), tag.first_chunk()?).ok()?;
    Some(DataKey { id: KeyId(u32::from_le_bytes(*id)), created_at: u64::from_le_bytes(*created_at), secret })
}

/// What tells the right master key from another, and tells nothing of it.
fn check(master: &MasterKey, salt: &[u8; SALT_LEN]) -> [u8; CHECK_LEN] {
    *derive(master.secret(), salt, &[b"ratel master key check 1"])
}
