//! Encrypted tables: they read as others do, show nothing of what they hold, and find what is changed.

use std::sync::Arc;

use base::checksum::{crc32, crc32_salted};
use base::key_hash;
use encryption::KeyError;
use expect_test::expect_file;
use sstable::{Error, FilterPolicy, ReadOptions, Table, TableOptions, VerifyBlocks};
use vfs::Vfs;

use crate::fixture::{self, Entries};
use crate::format::{entries, hex_dump};

const FOOTER_LEN: usize = 112;

#[test]
fn the_bytes_of_an_encrypted_table_are_these() {
    let (memory, keys) = (fixture::memory(), fixture::keyring(42));
    let vfs = fixture::shared(memory.clone());
    let options = TableOptions { restart_interval: 2, ..fixture::options() };
    fixture::build_with(&vfs, &entries(), options, Some(&keys)).unwrap();
    expect_file!["sealed_table.hex"].assert_eq(&hex_dump(&memory.read(&fixture::path()).unwrap()));
    let table = fixture::open(&vfs, ReadOptions { keys: Some(keys), ..fixture::read_options() }).unwrap();
    assert_eq!(fixture::forward(&table).unwrap(), entries());
}

fn assert_holds(table: &Arc<Table>, entries: &Entries) {
    for (key, entry) in entries {
        let hit = table.get(&key.user_key, key_hash(&key.user_key), key.version).unwrap().unwrap();
        assert_eq!((hit.version, &hit.value[..]), (key.version, entry.as_slice()));
    }
    assert_eq!(&fixture::forward(table).unwrap(), entries);
    let mut back = fixture::backward(table).unwrap();
    back.reverse();
    assert_eq!(&back, entries);
    assert_eq!(table.verify().unwrap().entries, entries.len() as u64);
}

#[test]
fn an_encrypted_table_reads_as_others_do_and_shows_no_key_and_no_value() {
    let (keys, entries) = (fixture::keyring(1), fixture::numbered(2_000));
    for compression in fixture::CODECS {
        let memory = fixture::memory();
        let vfs = fixture::shared(memory.clone());
        let options = TableOptions { compression, ..fixture::options() };
        fixture::build_with(&vfs, &entries, options, Some(&keys)).unwrap();
        let bytes = memory.read(&fixture::path()).unwrap();
        for plain in [&b"key0000"[..], b"the value", b"once more", b"RTIX"] {
            assert!(bytes.windows(plain.len()).all(|window| window != plain), "{compression:?}");
        }
        for read in fixture::read_modes() {
            for verify in [VerifyBlocks::OnFirstRead, VerifyBlocks::OnOpenAll, VerifyBlocks::Always, VerifyBlocks::None]
            {
                let read = ReadOptions { verify, keys: Some(Arc::clone(&keys)), ..read.clone() };
                let cache = Arc::clone(&read.cache);
                let table = fixture::open(&vfs, read).unwrap();
                assert_holds(&table, &entries);
                assert!(cache.stats().hits > 0, "decrypted blocks are kept in the cache");
            }
        }
    }
}

#[test]
fn without_its_key_a_table_does_not_open_nor_a_plain_one_with_keys_of_a_store_that_has_none() {
    let [keys, others] = [1, 2].map(fixture::keyring);
    let (vfs, entries) = (fixture::shared(fixture::memory()), fixture::numbered(10));
    fixture::build_with(&vfs, &entries, fixture::options(), Some(&keys)).unwrap();
    let id = keys.current();
    for (given, expected) in [(None, KeyError::NoKeys(id)), (Some(others), KeyError::UnknownKey(id))] {
        match fixture::open(&vfs, ReadOptions { keys: given, ..fixture::read_options() }) {
            Err(Error::Key { path, source }) => assert_eq!((path, source), (fixture::path(), expected)),
            other => panic!("{other:?}"),
        }
    }
    fixture::build_with(&vfs, &entries, fixture::options(), None).unwrap();
    let with_keys = |keys| ReadOptions { keys: Some(keys), ..fixture::read_options() };
    match fixture::open(&vfs, with_keys(keys)) {
        Err(Error::Key { path, source }) => {
            assert_eq!((path, source), (fixture::path(), KeyError::NotEncrypted));
        }
        other => panic!("{other:?}"),
    }
    let with_keys = with_keys(fixture::keyring_beside_plain(1));
    assert_holds(&fixture::table(&entries, fixture::options(), with_keys), &entries);
}

#[test]
fn a_change_that_puts_the_checksum_right_is_found_by_the_tag() {
    let (keys, entries) = (fixture::keyring(1), fixture::numbered(12));
    let memory = fixture::memory();
    let vfs = fixture::shared(memory.clone());
    let options = TableOptions { filter: FilterPolicy::None, block_size: 1 << 20, ..fixture::options() };
    fixture::build_with(&vfs, &entries, options, Some(&keys)).unwrap();
    let intact = memory.read(&fixture::path()).unwrap();
    let footer = intact.len() - FOOTER_LEN;
    let salt = u32::from_le_bytes(intact[footer + 48..footer + 52].try_into().unwrap());
    let index = u64::from_le_bytes(intact[footer..footer + 8].try_into().unwrap()) as usize;
    // The one block ends where its checksum is right, at most seven bytes of padding before the index.
    let is_end = |end: &usize| crc32_salted(salt, &intact[..end - 4]).to_le_bytes() == intact[end - 4..*end];
    let block_end = (index - 7..=index).find(is_end).unwrap();
    let refused = |forged: Vec<u8>, at: usize| {
        memory.edit(&fixture::path(), |file| *file = forged).unwrap();
        for read in fixture::read_modes() {
            let read = ReadOptions { verify: VerifyBlocks::None, keys: Some(Arc::clone(&keys)), ..read };
            let error = fixture::open(&vfs, read).and_then(|table| fixture::forward(&table)).unwrap_err();
            assert!(error.is_corruption() && error.to_string().contains("tag"), "byte {at}: {error}");
        }
    };
    for at in 0..block_end - 5 {
        let mut forged = intact.clone();
        forged[at] ^= 1;
        let sum = crc32_salted(salt, &forged[..block_end - 4]);
        forged[block_end - 4..block_end].copy_from_slice(&sum.to_le_bytes());
        refused(forged, at);
    }
    for at in index..footer {
        let mut forged = intact.clone();
        forged[at] ^= 1;
        let sum = crc32_salted(salt, &forged[index..footer]);
        forged[footer + 16..footer + 20].copy_from_slice(&sum.to_le_bytes());
        let checked = [&forged[footer..footer + 96], &forged[footer + 100..]].concat();
        forged[footer + 96..footer + 100].copy_from_slice(&crc32(&checked).to_le_bytes());
        refused(forged, at);
    }
}

#[test]
fn a_table_made_again_under_the_same_number_shares_no_key_with_the_first() {
    let (keys, entries) = (fixture::keyring(1), fixture::numbered(50));
    let memory = fixture::memory();
    let vfs = fixture::shared(memory.clone());
    let mut blocks = std::collections::BTreeSet::new();
    for _ in 0..20 {
        fixture::build_with(&vfs, &entries, fixture::options(), Some(&keys)).unwrap();
        assert!(blocks.insert(memory.read(&fixture::path()).unwrap()[..16].to_vec()));
        memory.remove_file(&fixture::path()).unwrap();
    }
}

/// Texts of errors end up in logs.
#[test]
fn the_text_of_an_error_shows_keys_only_of_a_table_that_is_not_encrypted() {
    for keys in [None, Some(fixture::keyring(1))] {
        let mut entries = fixture::numbered(2);
        entries.reverse();
        let vfs = fixture::shared(fixture::memory());
        let error = fixture::build_with(&vfs, &entries, fixture::options(), keys.as_deref()).unwrap_err();
        let [last, key] = [&entries[0], &entries[1]].map(|(key, _)| key.user_key.escape_ascii().to_string());
        let text = error.to_string();
        assert_eq!(text.contains(&last) || text.contains(&key), keys.is_none(), "{text}");
        assert_eq!(text.contains("bytes@"), keys.is_some(), "{text}");
    }
}
