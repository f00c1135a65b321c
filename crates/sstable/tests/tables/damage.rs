//! A table that is cut, or has a byte changed, anywhere: an error that names the file, or the same entries as before.

use std::sync::Arc;

use base::checksum::crc32_salted;
use base::key_hash;
use encryption::Keyring;
use sstable::{Compression, Error, FilterPolicy, IoMode, ReadOptions, Result, TableOptions, VerifyBlocks};

use crate::fixture::{self, Entries};

/// Opens the table and reads it in every way.
fn read_all(vfs: &Arc<dyn vfs::Vfs>, read: ReadOptions, expected: &Entries) -> Result<Entries> {
    let table = fixture::open(vfs, read)?;
    for (key, entry) in expected {
        let hit = table.get(&key.user_key, key_hash(&key.user_key), key.version)?;
        assert!(hit.is_some_and(|hit| &hit.value[..] == entry.as_slice() && hit.version == key.version));
    }
    let mut back = fixture::backward(&table)?;
    back.reverse();
    assert_eq!(&back, expected);
    table.verify()?;
    fixture::forward(&table)
}

fn small_tables() -> Vec<TableOptions> {
    let of = |compression, filter| TableOptions { compression, filter, block_size: 600, ..fixture::options() };
    vec![
        of(Compression::None, FilterPolicy::Bits8),
        of(Compression::Snappy, FilterPolicy::Bits16),
        of(Compression::Zstd { level: 1 }, FilterPolicy::None),
    ]
}

/// Reads the table with every damage in turn, and counts what is refused.
fn refused_of(options: TableOptions, io_mode: IoMode, damages: impl Fn(&[u8]) -> Vec<Vec<u8>>) -> (usize, usize) {
    let [plain, sealed] = [None, Some(fixture::keyring(1))].map(|keys| refused_with(keys, options, io_mode, &damages));
    (plain.0 + sealed.0, plain.1 + sealed.1)
}

fn refused_with(
    keys: Option<Arc<Keyring>>,
    options: TableOptions,
    io_mode: IoMode,
    damages: impl Fn(&[u8]) -> Vec<Vec<u8>>,
) -> (usize, usize) {
    let memory = fixture::memory();
    let vfs = fixture::shared(memory.clone());
    let entries = fixture::numbered(30);
    fixture::build_with(&vfs, &entries, options, keys.as_deref()).unwrap();
    let intact = memory.read(&fixture::path()).unwrap();
    let damaged = damages(&intact);
    let mut refused = 0;
    for (n, bytes) in damaged.iter().enumerate() {
        memory.edit(&fixture::path(), |file| file.clone_from(bytes)).unwrap();
        let read = ReadOptions { io_mode, keys: keys.clone(), ..fixture::read_options() };
        match read_all(&vfs, read, &entries) {
            Ok(found) => assert_eq!(found, entries, "damage {n}"),
            Err(error) => {
                refused += 1;
                assert!(!matches!(error, Error::Vfs(_)), "damage {n}: {error}");
                assert!(error.to_string().contains("000012.sst"), "damage {n}: {error}");
            }
        }
    }
    (refused, damaged.len())
}

#[test]
fn a_table_cut_at_any_length_is_refused() {
    for options in small_tables() {
        for io_mode in [IoMode::Mapped, IoMode::Pread] {
            let cuts = |bytes: &[u8]| (0..bytes.len()).map(|len| bytes[..len].to_vec()).collect();
            let (refused, tried) = refused_of(options, io_mode, cuts);
            assert_eq!(refused, tried, "{options:?}");
            assert!(tried > 1_000);
        }
    }
}

#[test]
fn any_changed_byte_is_refused() {
    for options in small_tables() {
        for io_mode in [IoMode::Mapped, IoMode::Pread] {
            let flips = |bytes: &[u8]| {
                let flip = |at: usize, mask: u8| {
                    let mut bytes = bytes.to_vec();
                    bytes[at] ^= mask;
                    bytes
                };
                (0..bytes.len()).flat_map(|at| [flip(at, 0x01), flip(at, 0x80), flip(at, 0xff)]).collect()
            };
            let (refused, tried) = refused_of(options, io_mode, flips);
            assert_eq!(refused, tried, "every byte is under a checksum or compared: {options:?}");
        }
    }
}

#[test]
fn a_longer_table_is_refused() {
    let tails = |bytes: &[u8]| [1, 8, 112, 4_096].map(|len| [bytes, &vec![0; len]].concat()).to_vec();
    assert_eq!(refused_of(fixture::options(), IoMode::Mapped, tails), (8, 8));
    let twice = |bytes: &[u8]| vec![[bytes, bytes].concat()];
    assert_eq!(refused_of(fixture::options(), IoMode::Pread, twice), (2, 2));
}

/// Blocks whose checksums are right and whose contents are not: what a hostile writer makes.
#[test]
fn hostile_blocks_give_errors_and_never_a_panic() {
    let entries = fixture::numbered(30);
    for options in small_tables() {
        let memory = fixture::memory();
        let vfs = fixture::shared(memory.clone());
        fixture::build(&vfs, &entries, options).unwrap();
        let intact = memory.read(&fixture::path()).unwrap();
        let salt_at = intact.len() - 112 + 48;
        let salt = u32::from_le_bytes(intact[salt_at..salt_at + 4].try_into().unwrap());
        let block_len = {
            let table = fixture::open(&vfs, fixture::read_options()).unwrap();
            let third = table.block_keys().nth(2).unwrap().to_owned();
            table.approximate_offset(&third.user_key) as usize
        };
        let mut refused = 0;
        for at in 0..block_len - 4 {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = intact.clone();
                bytes[at] = value;
                let checksum = crc32_salted(salt, &bytes[..block_len - 4]);
                bytes[block_len - 4..block_len].copy_from_slice(&checksum.to_le_bytes());
                memory.edit(&fixture::path(), |file| *file = bytes).unwrap();
                for verify in [VerifyBlocks::OnFirstRead, VerifyBlocks::None] {
                    let table = fixture::open(&vfs, ReadOptions { verify, ..fixture::read_options() }).unwrap();
                    for (key, _) in &entries {
                        let _ = table.get(&key.user_key, key_hash(&key.user_key), u64::MAX);
                    }
                    let _ = (fixture::forward(&table), fixture::backward(&table));
                    refused += usize::from(table.verify().is_err());
                }
            }
        }
        assert!(refused > block_len, "{refused} of {} refused", 10 * block_len);
    }
}

#[test]
fn a_block_under_the_wrong_or_an_unknown_codec_is_refused() {
    for (compression, codec) in [(Compression::None, 1u8), (Compression::Snappy, 2), (Compression::Snappy, 3)] {
        let memory = fixture::memory();
        let vfs = fixture::shared(memory.clone());
        let entries = fixture::numbered(5);
        fixture::build(&vfs, &entries, TableOptions { compression, ..fixture::options() }).unwrap();
        memory
            .edit(&fixture::path(), |bytes| {
                let salt_at = bytes.len() - 112 + 48;
                let salt = u32::from_le_bytes(bytes[salt_at..salt_at + 4].try_into().unwrap());
                // One block: it ends where zeros fill up to the index.
                let index = u64::from_le_bytes(bytes[bytes.len() - 112..][..8].try_into().unwrap()) as usize;
                let end = (index - 7..=index)
                    .find(|end| bytes[end - 4..*end] == crc32_salted(salt, &bytes[..end - 4]).to_le_bytes())
                    .unwrap();
                bytes[end - 5] = codec;
                let checksum = crc32_salted(salt, &bytes[..end - 4]);
                bytes[end - 4..end].copy_from_slice(&checksum.to_le_bytes());
            })
            .unwrap();
        let table = fixture::open(&vfs, fixture::read_options()).unwrap();
        let error = fixture::forward(&table).unwrap_err();
        match codec {
            3 => assert!(matches!(error, Error::Incompatible { .. }), "{error}"),
            _ => assert!(error.is_corruption(), "{error}"),
        }
    }
}
