//! The key registry: its format, what it makes of damage, wrong keys and failures, and that no secret shows.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::StoreId;
use encryption::{
    BoxError, Error, FileCipher, FileKind, KEY_REGISTRY, KeyError, KeyId, KeyProvider, Keyring, MasterKey, MasterKeyId,
    REGISTRY_LEN_MAX, StaticKey,
};
use expect_test::expect;
use vfs::{Cause, CrashMode, Fault, FaultFs, FaultPlan, MemFs, Vfs};

const STORE: StoreId = StoreId(*b"0123456789abcdef");
const KIND: FileKind = *b"RATELSST";
const SALT: [u8; 32] = [5; 32];
const HEADER_LEN: usize = 100;
const ENTRY_LEN: usize = 60;

fn dir() -> &'static Path {
    Path::new("/store")
}

fn registry() -> std::path::PathBuf {
    dir().join(KEY_REGISTRY)
}

fn memory(seed: u64) -> (MemFs, Arc<dyn Vfs>) {
    let memory = MemFs::new(seed);
    memory.create_dir_all(dir()).unwrap();
    (memory.clone(), Arc::new(memory))
}

fn key(byte: u8) -> Arc<StaticKey> {
    Arc::new(StaticKey::new(&[byte; 32]))
}

fn open(fs: &Arc<dyn Vfs>, byte: u8) -> Result<Keyring, Error> {
    Keyring::open(fs, dir(), key(byte)).map(Option::unwrap)
}

/// A registry of as many keys.
fn registry_of(seed: u64, keys: usize) -> (MemFs, Arc<dyn Vfs>, Keyring) {
    let (memory, fs) = memory(seed);
    let keyring = Keyring::create(&fs, dir(), STORE, key(1), 1_000).unwrap();
    for at in 1..keys {
        keyring.rotate(1_000 + at as u64).unwrap();
    }
    (memory, fs, keyring)
}

fn sealed(keyring: &Keyring) -> (KeyId, Vec<u8>) {
    let (id, cipher) = FileCipher::for_new_file(Some(keyring), &KIND, &SALT);
    let mut text = b"a piece of a file".to_vec();
    let tag = cipher.unwrap().seal_in_place(1, 2, b"", &mut text);
    (id, [text, tag.to_vec()].concat())
}

fn opens(keyring: &Keyring, id: KeyId, sealed: &[u8]) -> bool {
    let cipher = FileCipher::of_file(Some(keyring), id, &KIND, &SALT).unwrap().unwrap();
    let (text, tag) = sealed.split_last_chunk().unwrap();
    let mut text = text.to_vec();
    cipher.open_in_place(1, 2, b"", &mut text, tag).is_ok() && text == b"a piece of a file"
}

#[test]
fn a_registry_of_two_keys_is_these_bytes() {
    let (memory, _, _) = registry_of(42, 2);
    let bytes = memory.read(&registry()).unwrap();
    let rows = bytes.chunks(16).map(|row| row.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "));
    expect![[r#"
        52 41 54 45 4c 4b 45 59 01 00 00 00 30 31 32 33
        34 35 36 37 38 39 61 62 63 64 65 66 dc 8e e7 02
        1c e3 47 aa f2 33 7c 4d c5 52 14 34 75 ba 5e f3
        52 d7 83 1a 1d 9e 7f f6 03 00 d9 7e c1 31 5a 58
        a2 29 ad dd 66 7a 60 e1 33 97 b3 4d 43 e4 33 b3
        31 a9 6a 34 ab 6b ce 9a b1 0d 2d 01 02 00 00 80
        87 fc 31 cf f2 23 48 24 e8 03 00 00 00 00 00 00
        f6 20 14 8d 99 87 86 1f da 7e 21 01 9b d5 b2 25
        be 78 35 cb 10 ea 3e d0 18 ab d7 2e 90 5d 13 b2
        1c ff 02 e1 81 bd f7 53 65 1b b8 ab b5 35 66 d0
        b7 6d ed 47 e9 03 00 00 00 00 00 00 51 b4 e1 78
        8c ef 3c 61 af 56 35 6d 4b 1a 4d 95 34 d1 30 cc
        48 1f eb ce 4a 4c ea 23 6b 85 7e 6e e5 e0 f9 4c
        a8 d3 97 39 93 fa eb df 15 a0 c2 a2"#]]
    .assert_eq(&rows.collect::<Vec<_>>().join("\n"));
}

#[test]
fn keys_that_were_made_are_there_when_the_store_is_opened_again() {
    let (_, fs, keyring) = registry_of(1, 1);
    let first = sealed(&keyring);
    let second_id = keyring.rotate(2_000).unwrap();
    let second = sealed(&keyring);
    assert_eq!((second.0, keyring.current()), (second_id, second_id));
    assert_ne!(first, second);

    let reopened = open(&fs, 1).unwrap();
    assert_eq!((reopened.current(), reopened.store()), (second_id, STORE));
    for (id, text) in [&first, &second] {
        assert!(opens(&reopened, *id, text));
    }
    assert!(!opens(&reopened, first.0, &second.1), "each data key gives its own keys of files");
    assert!(Keyring::open(&memory(1).1, dir(), key(1)).unwrap().is_none());
}

#[test]
fn a_file_without_its_key_is_an_error_that_says_which() {
    let (_, _, keyring) = registry_of(1, 1);
    let other = registry_of(2, 1).2;
    let id = keyring.current();
    assert!(FileCipher::of_file(None, KeyId::NONE, &KIND, &SALT).unwrap().is_none());
    assert_eq!(FileCipher::of_file(None, id, &KIND, &SALT).unwrap_err(), KeyError::NoKeys(id));
    assert_eq!(FileCipher::of_file(Some(&other), id, &KIND, &SALT).unwrap_err(), KeyError::UnknownKey(id));
    assert!(FileCipher::for_new_file(None, &KIND, &SALT).1.is_none());
}

#[test]
fn a_file_that_says_that_it_is_not_encrypted_is_believed_only_beside_older_ones() {
    for beside_plain in [false, true] {
        let (_, fs) = memory(1);
        let made = if beside_plain { Keyring::create_beside_plain } else { Keyring::create };
        let keyring = made(&fs, dir(), STORE, key(1), 0).unwrap();
        let check = |keyring: &Keyring| {
            let found = FileCipher::of_file(Some(keyring), KeyId::NONE, &KIND, &SALT).map(|cipher| cipher.is_some());
            assert_eq!(found, if beside_plain { Ok(false) } else { Err(KeyError::NotEncrypted) });
        };
        check(&keyring);
        keyring.rotate(1).unwrap();
        keyring.rewrap(key(2)).unwrap();
        check(&open(&fs, 2).unwrap());
    }
}

#[test]
fn a_wrong_master_key_is_told_from_damage_even_where_its_id_is_right() {
    let (_, fs, _) = registry_of(1, 3);
    let right = StaticKey::new(&[1; 32]).id();
    match open(&fs, 2) {
        Err(Error::WrongMasterKey { path, needed, offered }) => {
            assert_eq!((path, needed, offered), (registry(), right, StaticKey::new(&[2; 32]).id()));
        }
        other => panic!("{other:?}"),
    }

    #[derive(Debug)]
    struct Liar(MasterKeyId);
    impl KeyProvider for Liar {
        fn current(&self) -> Result<MasterKey, BoxError> {
            Ok(MasterKey::new(self.0, &[2; 32]))
        }
        fn by_id(&self, id: MasterKeyId) -> Result<Option<MasterKey>, BoxError> {
            (id == self.0).then(|| self.current()).transpose()
        }
    }
    let wrong = Keyring::open(&fs, dir(), Arc::new(Liar(right)));
    assert!(matches!(wrong, Err(Error::WrongMasterKey { .. })), "{wrong:?}");
}

#[test]
fn a_provider_that_fails_is_an_error_of_its_own() {
    #[derive(Debug)]
    struct Unreachable;
    impl KeyProvider for Unreachable {
        fn current(&self) -> Result<MasterKey, BoxError> {
            Err("no way to the service".into())
        }
        fn by_id(&self, _: MasterKeyId) -> Result<Option<MasterKey>, BoxError> {
            Err("no way to the service".into())
        }
    }
    let (_, fs, keyring) = registry_of(1, 1);
    assert!(matches!(Keyring::open(&fs, dir(), Arc::new(Unreachable)), Err(Error::Provider(_))));
    assert!(matches!(keyring.rewrap(Arc::new(Unreachable)), Err(Error::Provider(_))));
    assert!(keyring.rotate(5).is_ok(), "the provider that worked is still the one");
}

#[test]
fn with_any_bit_flipped_it_is_corruption() {
    let (memory, fs, _) = registry_of(3, 3);
    let whole = memory.read(&registry()).unwrap();
    assert_eq!(whole.len(), HEADER_LEN + 3 * ENTRY_LEN);
    for bit in 0..whole.len() * 8 {
        memory.edit(&registry(), |bytes| bytes[bit / 8] ^= 1 << (bit % 8)).unwrap();
        match open(&fs, 1) {
            Err(Error::Corruption(corruption)) => {
                let entry = (bit / 8).checked_sub(HEADER_LEN).map(|at| at / ENTRY_LEN);
                let expected = entry.map_or(0, |entry| HEADER_LEN + entry * ENTRY_LEN);
                assert_eq!((corruption.path, corruption.offset), (registry(), expected as u64), "bit {bit}");
            }
            other => panic!("bit {bit}: {other:?}"),
        }
        memory.edit(&registry(), |bytes| bytes[bit / 8] ^= 1 << (bit % 8)).unwrap();
    }
    open(&fs, 1).unwrap();
}

#[test]
fn cut_or_lengthened_anywhere_it_is_corruption() {
    let (memory, fs, _) = registry_of(3, 2);
    let whole = memory.read(&registry()).unwrap();
    for len in (0..whole.len()).chain([whole.len() + 1, whole.len() + ENTRY_LEN, REGISTRY_LEN_MAX as usize + 9]) {
        let mut bytes = whole.clone();
        bytes.resize(len, 0);
        memory.write(&registry(), bytes).unwrap();
        assert!(matches!(open(&fs, 1), Err(Error::Corruption(_))), "{len} bytes");
    }
}

/// `change` is made to the header, whose checksum is then put right.
fn with_header(memory: &MemFs, change: impl FnOnce(&mut [u8])) {
    let edit = |bytes: &mut Vec<u8>| {
        change(bytes);
        let crc = base::checksum::crc32(&bytes[..96]);
        bytes[96..100].copy_from_slice(&crc.to_le_bytes());
    };
    memory.edit(&registry(), edit).unwrap();
}

#[test]
fn entries_that_were_left_out_or_moved_or_a_header_that_was_made_up_do_not_pass() {
    let build = || registry_of(3, 3);
    let (memory, fs, _) = build();
    with_header(&memory, |bytes| bytes[92] = 2);
    memory.edit(&registry(), |bytes| bytes.truncate(HEADER_LEN + 2 * ENTRY_LEN)).unwrap();
    assert!(matches!(open(&fs, 1), Err(Error::Corruption(_))), "the last entry left out");

    let (memory, fs, _) = build();
    memory.edit(&registry(), |bytes| bytes[HEADER_LEN..][..2 * ENTRY_LEN].rotate_left(ENTRY_LEN)).unwrap();
    assert!(matches!(open(&fs, 1), Err(Error::Corruption(_))), "two entries exchanged");

    let (memory, fs, _) = build();
    with_header(&memory, |bytes| bytes[12] ^= 1);
    assert!(matches!(open(&fs, 1), Err(Error::Corruption(_))), "the registry of another store");

    for count in [0u32, 65_537, u32::MAX] {
        let (memory, fs, _) = build();
        with_header(&memory, |bytes| bytes[92..96].copy_from_slice(&count.to_le_bytes()));
        assert!(matches!(open(&fs, 1), Err(Error::Corruption(_))), "{count} keys");
    }
    let (memory, fs, _) = build();
    with_header(&memory, |bytes| bytes[8] = 2);
    assert!(matches!(open(&fs, 1), Err(Error::Incompatible { found: 2, .. })));
}

#[test]
fn another_master_key_takes_over_and_files_stay_readable() {
    let (_, fs, keyring) = registry_of(1, 2);
    let (id, text) = sealed(&keyring);
    keyring.rewrap(key(2)).unwrap();
    assert!(matches!(open(&fs, 1), Err(Error::WrongMasterKey { .. })));
    assert!(opens(&open(&fs, 2).unwrap(), id, &text));
    keyring.rotate(9_000).unwrap();
    assert!(opens(&open(&fs, 2).unwrap(), id, &text), "later writes are under the new master key too");
}

#[test]
fn a_data_key_is_followed_by_the_next_once_it_is_older_than_its_lifetime() {
    let (_, fs, keyring) = registry_of(1, 1);
    let [first, day] = [keyring.current().0.into(), 24 * 60 * 60].map(|value: u64| value);
    let lifetime = Duration::from_secs(day);
    for now in [0, 1_000, 1_000 + day] {
        assert_eq!(keyring.rotate_if_older(lifetime, now).unwrap(), None);
    }
    let second = keyring.rotate_if_older(lifetime, 1_001 + day).unwrap().unwrap();
    assert_ne!(u64::from(second.0), first);
    let reopened = open(&fs, 1).unwrap();
    assert_eq!(reopened.rotate_if_older(lifetime, 1_001 + 2 * day).unwrap(), None);
    assert!(reopened.rotate_if_older(lifetime, 1_002 + 2 * day).unwrap().is_some());
}

#[test]
fn no_two_writes_of_the_registry_share_a_salt() {
    let (memory, _, keyring) = registry_of(1, 1);
    let mut salts = std::collections::BTreeSet::new();
    for round in 0..50 {
        if round % 2 == 0 {
            keyring.rewrap(key(round)).unwrap();
        } else {
            keyring.rotate(5).unwrap();
        }
        assert!(salts.insert(memory.read(&registry()).unwrap()[28..60].to_vec()));
    }
}

#[test]
fn neither_the_master_key_nor_a_data_key_shows_on_disk() {
    let (memory_of_store, _, keyring) = registry_of(7, 1);
    // A file system of the same seed gives out the same randomness: first the data key, then its id.
    let (again, _) = memory(7);
    let ([mut data_key, mut id], mut master_key) = ([[0; 32], [0; 32]], [0; 32]);
    again.fill_random(&mut data_key).unwrap();
    again.fill_random(&mut id[..4]).unwrap();
    assert_eq!(id[..4], keyring.current().0.to_le_bytes(), "the draws are in step");
    master_key.fill(1);
    for path in memory_of_store.files() {
        let bytes = memory_of_store.read(&path).unwrap();
        for secret in [data_key, master_key] {
            let part = &secret[..8];
            assert!(bytes.windows(8).all(|window| window != part), "{}", path.display());
        }
    }
}

#[test]
fn whatever_fails_or_crashes_the_registry_is_whole_and_has_every_key_that_was_given_out() {
    let changes = {
        let faults = FaultFs::over_memory(memory(1).0, FaultPlan::none());
        let fs: Arc<dyn Vfs> = Arc::new(faults.clone());
        let keyring = Keyring::create(&fs, dir(), STORE, key(1), 0).unwrap();
        let before = faults.mutations();
        keyring.rotate(1).unwrap();
        faults.mutations() - before
    };
    assert!(changes >= 5, "create, append, finish, rename, sync of the directory");
    for nth in 1..=changes {
        let (memory, _) = memory(nth);
        let faults = FaultFs::over_memory(memory.clone(), FaultPlan::none());
        let fs: Arc<dyn Vfs> = Arc::new(faults.clone());
        let keyring = Keyring::create(&fs, dir(), STORE, key(1), 0).unwrap();
        let (first, text) = sealed(&keyring);
        let fault = faults.arm(Fault::on_mutations(Cause::NoSpace).nth(nth));
        let failed = keyring.rotate(1);
        assert_eq!(faults.hits(fault), 1);
        if failed.is_err() {
            assert_eq!(keyring.current(), first, "change {nth}");
        }
        for mode in [CrashMode::KeepAll, CrashMode::DropUnsynced, CrashMode::Random] {
            let image: Arc<dyn Vfs> = Arc::new(memory.crash_image(mode, nth));
            assert!(opens(&open(&image, 1).unwrap(), first, &text), "change {nth}, {mode:?}");
        }
        faults.disarm_all();
        let second = keyring.rotate(2).unwrap();
        let image: Arc<dyn Vfs> = Arc::new(memory.crash_image(CrashMode::DropUnsynced, nth));
        assert_eq!(open(&image, 1).unwrap().current(), second, "a key is durable before it is given out");
    }
}
