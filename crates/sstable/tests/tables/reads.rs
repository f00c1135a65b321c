//! How tables are read: iteration of every length, verification, the cache, blocks in place, reading ahead.

use std::sync::Arc;

use base::{Cursor, InternalKeyRef, key_hash};
use sstable::{BlockCache, Compression, CursorOptions, IoMode, ReadOptions, TableOptions, VerifyBlocks};
use vfs::{Operation, TraceFs};

use crate::fixture::{self, STORE, internal, put};

#[test]
fn tables_of_every_length_iterate_both_ways_from_everywhere() {
    for count in [1, 2, 99, 100, 101, 199, 200, 250, 9_999, 10_000] {
        let entries = fixture::numbered(count);
        for read in fixture::read_modes() {
            let table = fixture::table(&entries, TableOptions { block_size: 1_024, ..fixture::options() }, read);
            assert_eq!(fixture::forward(&table).unwrap(), entries);
            let mut reversed = fixture::backward(&table).unwrap();
            reversed.reverse();
            assert_eq!(reversed, entries);
            let mut cursor = table.cursor(CursorOptions::default());
            cursor.seek_to_first().unwrap();
            assert_eq!(cursor.key(), entries[0].0.as_ref());
            cursor.prev().unwrap();
            assert!(!cursor.valid());
            cursor.seek_to_last().unwrap();
            assert_eq!(cursor.key(), entries[count - 1].0.as_ref());
            cursor.next().unwrap();
            assert!(!cursor.valid());
            cursor.seek(InternalKeyRef::last_of(b"key99999999")).unwrap();
            assert!(!cursor.valid());
            cursor.seek_for_prev(InternalKeyRef::last_of(b"key99999999")).unwrap();
            assert_eq!(fixture::key_of(&cursor).as_ref(), entries.last().map(|(key, _)| key));
        }
    }
}

#[test]
fn back_and_forth_returns_to_the_same_key() {
    let entries = fixture::numbered(300);
    let table =
        fixture::table(&entries, TableOptions { block_size: 300, ..fixture::options() }, fixture::read_options());
    let mut cursor = table.cursor(CursorOptions::default());
    for (key, _) in &entries[2..] {
        cursor.seek(key.as_ref()).unwrap();
        cursor.prev().unwrap();
        cursor.prev().unwrap();
        cursor.next().unwrap();
        cursor.next().unwrap();
        assert_eq!(cursor.key(), key.as_ref());
    }
}

#[test]
fn many_versions_of_one_key_span_blocks_and_each_is_found() {
    let entries: fixture::Entries =
        (0..2_000u64).rev().map(|n| (internal("key", 2 * n), put(&n.to_le_bytes()))).collect();
    for read in fixture::read_modes() {
        let table = fixture::table(&entries, TableOptions { block_size: 512, ..fixture::options() }, read);
        assert!(table.block_count() > 20);
        for n in 0..2_000u64 {
            for version in [2 * n, 2 * n + 1] {
                let hit = table.get(b"key", key_hash(b"key"), version).unwrap().unwrap();
                assert_eq!((hit.version, &hit.value[..]), (2 * n, put(&n.to_le_bytes()).as_slice()));
            }
        }
        assert_eq!(table.summary().user_keys, 1);
    }
}

#[test]
fn raw_blocks_of_a_mapped_table_are_read_in_place() {
    let cache = Arc::new(BlockCache::new(1 << 20));
    let read = ReadOptions::new(Arc::clone(&cache), STORE);
    let table = fixture::table(&fixture::numbered(1_000), fixture::options(), read);
    let at = || table.get_with(b"key00000500", key_hash(b"key00000500"), u64::MAX, |_, entry| entry.as_ptr()).unwrap();
    let hit = table.get(b"key00000500", key_hash(b"key00000500"), u64::MAX).unwrap().unwrap();
    assert_eq!(at(), Some(hit.value.as_ptr()));
    fixture::forward(&table).unwrap();
    assert_eq!((cache.stats().hits, cache.stats().misses, cache.stats().blocks), (0, 0, 0));
}

#[test]
fn blocks_that_cannot_be_read_in_place_come_from_the_cache_the_second_time() {
    let cases = [(IoMode::Mapped, Compression::Snappy), (IoMode::Pread, Compression::None)];
    for (io_mode, compression) in cases {
        let cache = Arc::new(BlockCache::new(1 << 20));
        let read = ReadOptions { io_mode, ..ReadOptions::new(Arc::clone(&cache), STORE) };
        let table = fixture::table(&fixture::numbered(1_000), TableOptions { compression, ..fixture::options() }, read);
        let blocks = table.block_count() as u64;
        let mut uncached = table.cursor(CursorOptions { fill_cache: false, read_ahead: false });
        uncached.seek_to_first().unwrap();
        while uncached.valid() {
            uncached.next().unwrap();
        }
        assert_eq!((cache.stats().blocks, cache.stats().misses), (0, blocks), "{io_mode:?}");
        fixture::forward(&table).unwrap();
        assert_eq!((cache.stats().blocks, cache.stats().misses), (blocks, 2 * blocks));
        fixture::backward(&table).unwrap();
        assert_eq!((cache.stats().hits, cache.stats().misses), (blocks, 2 * blocks));
        drop((uncached, table));
        assert_eq!(cache.stats().blocks, 0, "a closed table leaves nothing behind");
    }
}

#[test]
fn tables_that_share_a_cache_do_not_see_each_other() {
    let cache = Arc::new(BlockCache::new(1 << 20));
    let read = ReadOptions { io_mode: IoMode::Pread, ..ReadOptions::new(cache, STORE) };
    let (one, two) = (fixture::numbered(300), fixture::numbered(301)[1..].to_vec());
    let tables = [&one, &two].map(|entries| fixture::table(entries, fixture::options(), read.clone()));
    for _ in 0..2 {
        assert_eq!(fixture::forward(&tables[0]).unwrap(), one);
        assert_eq!(fixture::forward(&tables[1]).unwrap(), two);
    }
}

#[test]
fn damage_in_a_block_is_found_when_the_options_say() {
    let memory = fixture::memory();
    let vfs = fixture::shared(memory.clone());
    fixture::build(&vfs, &fixture::numbered(2_000), fixture::options()).unwrap();
    memory.edit(&fixture::path(), |bytes| bytes[20] ^= 0x40).unwrap();
    for io_mode in [IoMode::Mapped, IoMode::Pread] {
        let open = |verify| fixture::open(&vfs, ReadOptions { io_mode, verify, ..fixture::read_options() });
        for verify in [VerifyBlocks::OnOpenAll, VerifyBlocks::OnOpenSample(1)] {
            let error = open(verify).unwrap_err();
            assert!(error.is_corruption(), "{error}");
        }
        for verify in [VerifyBlocks::OnFirstRead, VerifyBlocks::Always] {
            let table = open(verify).unwrap();
            assert!(table.get(b"key00001999", key_hash(b"key00001999"), u64::MAX).unwrap().is_some());
            for _ in 0..2 {
                let error = table.get(b"key00000000", key_hash(b"key00000000"), u64::MAX).unwrap_err();
                assert!(error.is_corruption(), "{error}");
                assert!(error.to_string().contains("000012.sst at offset 0"), "{error}");
                assert!(fixture::forward(&table).unwrap_err().is_corruption());
            }
            assert!(table.verify().unwrap_err().is_corruption());
        }
        let unchecked = open(VerifyBlocks::None).unwrap();
        assert!(unchecked.get(b"key00001999", key_hash(b"key00001999"), u64::MAX).unwrap().is_some());
        assert!(unchecked.verify().unwrap_err().is_corruption(), "verification is asked for by name");
    }
}

#[test]
fn after_two_sequential_blocks_many_are_read_at_once() {
    let entries = fixture::numbered(20_000);
    let trace = TraceFs::new(fixture::shared(fixture::memory()), fixture::dir());
    let vfs = fixture::shared(trace.clone());
    fixture::build(&vfs, &entries, fixture::options()).unwrap();
    let reads = |read_ahead: bool| {
        let read = ReadOptions { io_mode: IoMode::Pread, ..ReadOptions::new(Arc::new(BlockCache::new(0)), STORE) };
        let table = fixture::open(&vfs, read).unwrap();
        let mut counts = [0; 2];
        for (count, back) in counts.iter_mut().zip([false, true]) {
            let _ = trace.take_trace();
            let mut cursor = table.cursor(CursorOptions { fill_cache: false, read_ahead });
            if back {
                cursor.seek_to_last().unwrap()
            } else {
                cursor.seek_to_first().unwrap()
            }
            let mut seen = 0;
            while cursor.valid() {
                seen += 1;
                if back { cursor.prev().unwrap() } else { cursor.next().unwrap() }
            }
            assert_eq!(seen, entries.len());
            *count = trace.take_trace().0.iter().filter(|call| call.record.operation == Operation::Read).count();
        }
        (table.block_count(), counts)
    };
    let (blocks, alone) = reads(false);
    assert_eq!(alone, [blocks; 2]);
    let (_, ahead) = reads(true);
    assert!(ahead.iter().all(|reads| reads * 10 < blocks), "{ahead:?} reads for {blocks} blocks");
}

#[test]
fn threads_read_one_table_at_once() {
    let entries = fixture::numbered(3_000);
    let read = ReadOptions { io_mode: IoMode::Pread, ..ReadOptions::new(Arc::new(BlockCache::new(50_000)), STORE) };
    let table = fixture::table(&entries, fixture::options(), read);
    std::thread::scope(|scope| {
        for first in 0..4 {
            let (table, entries) = (&table, &entries);
            scope.spawn(move || {
                for (key, entry) in entries.iter().skip(first).step_by(3) {
                    let hit = table.get(&key.user_key, key_hash(&key.user_key), u64::MAX).unwrap().unwrap();
                    assert_eq!((&hit.value[..], hit.version), (entry.as_slice(), key.version));
                }
                assert_eq!(&fixture::forward(table).unwrap(), entries);
            });
        }
    });
}
