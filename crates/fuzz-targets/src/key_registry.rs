//! The key registry on bytes that nobody should trust: arbitrary ones, and a registry that was whole until it was damaged.
//!
//! Whatever comes, reading does not panic or allocate beyond the file, and gives keys only where nothing was changed.

use std::path::Path;
use std::sync::Arc;

use arbitrary::Arbitrary;
use base::StoreId;
use base::checksum::crc32;
use encryption::{Error, KEY_REGISTRY, Keyring, StaticKey};
use vfs::{MemFs, Vfs};

use crate::edit::{Edit, FILE_LEN_MAX};

const STORE: StoreId = StoreId([3; 16]);
/// Bytes in front of the header's checksum.
const CHECKED_LEN: usize = 96;

/// What a run is given.
#[derive(Arbitrary, Debug)]
pub struct Input(File);

#[derive(Arbitrary, Debug)]
enum File {
    /// The file is these bytes.
    Raw(Vec<u8>),
    /// A registry of some keys as it was written, then damaged; the header's checksum is put right again if told to.
    Damaged { keys: u8, edits: Vec<Edit>, sum_is_right: bool },
}

impl Input {
    /// Runs the target.
    ///
    /// # Panics
    /// When reading does not do as it should.
    pub fn run(self) {
        match self.0 {
            File::Raw(mut bytes) => {
                bytes.truncate(FILE_LEN_MAX);
                assert!(read(&bytes).is_err(), "nobody guesses a tag");
            }
            File::Damaged { keys, edits, sum_is_right } => damaged(keys, &edits, sum_is_right),
        }
    }
}

fn registry() -> std::path::PathBuf {
    Path::new("/").join(KEY_REGISTRY)
}

fn master() -> Arc<StaticKey> {
    Arc::new(StaticKey::new(&[1; 32]))
}

fn read(bytes: &[u8]) -> Result<Keyring, Error> {
    let mem = MemFs::volatile(1);
    mem.write(&registry(), bytes).expect("memory takes a file");
    let fs: Arc<dyn Vfs> = Arc::new(mem);
    let read = Keyring::open(&fs, Path::new("/"), master());
    if let Err(error) = &read {
        match error {
            Error::Corruption(corruption) => {
                assert!(corruption.path == registry() && corruption.offset <= bytes.len() as u64, "{corruption}");
            }
            Error::Incompatible { .. } | Error::WrongMasterKey { .. } => {}
            other => panic!("bytes in memory can only be corrupt, incompatible or of another key: {other}"),
        }
    }
    read.map(|keys| keys.expect("there is a file"))
}

fn damaged(keys: u8, edits: &[Edit], sum_is_right: bool) {
    let mem = MemFs::volatile(1);
    let fs: Arc<dyn Vfs> = Arc::new(mem.clone());
    let keyring = Keyring::create(&fs, Path::new("/"), STORE, master(), 0).expect("memory takes a registry");
    for now in 0..u64::from(keys % 20) {
        keyring.rotate(now).expect("memory takes a registry");
    }
    let whole = mem.read(&registry()).expect("it was written");
    let mut bytes = whole.clone();
    for edit in edits {
        edit.apply(&mut bytes);
    }
    if let (true, Some((checked, rest))) = (sum_is_right, bytes.split_at_mut_checked(CHECKED_LEN))
        && let Some(sum) = rest.first_chunk_mut()
    {
        *sum = crc32(checked).to_le_bytes();
    }
    match read(&bytes) {
        Ok(found) => assert!(bytes == whole && found.current() == keyring.current() && found.store() == STORE),
        Err(error) => assert!(bytes != whole, "a registry that is whole opens: {error}"),
    }
}
