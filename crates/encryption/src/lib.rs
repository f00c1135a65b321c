#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod cipher;
mod derive;
mod error;
mod keyring;
mod provider;
mod registry;

pub use cipher::{FileCipher, FileKind, KeyId, SALT_LEN, TAG_LEN, Tampered};
pub use error::{BoxError, Error, KeyError, Result};
pub use keyring::{DATA_KEY_LIFETIME, Keyring};
pub use provider::{KeyProvider, MasterKey, MasterKeyId, StaticKey};
pub use registry::{KEY_REGISTRY, KEYS_MAX, REGISTRY_LEN_MAX};
