//! What a builder refuses and what an open table shows.

use base::limits::USER_KEY_LEN_MAX;
use base::{EntryKind, EntryMeta, EntryRef, InternalKeyRef, StoreId, TableId, key_hash};
use sstable::{Error, FilterPolicy, ReadOptions, Table, TableBuilder, TableOptions};

use crate::fixture::{self, STORE, TABLE, internal, put};

#[test]
fn the_index_holds_exactly_the_first_key_of_each_block_and_the_newest_version() {
    for compression in fixture::CODECS {
        let entries = fixture::numbered(500);
        let options = TableOptions { compression, block_size: 1_024, ..fixture::options() };
        for read in fixture::read_modes() {
            let table = fixture::table(&entries, options, read);
            assert_eq!(table.max_version(), 1_499);
            assert_eq!(table.min_version(), 1_000);
            assert_eq!(table.entries(), 500);
            assert_eq!(table.block_count() as u64, table.summary().blocks);
            assert!(table.block_count() > 10, "{}", table.block_count());
            let keys: Vec<_> = table.block_keys().map(|key| key.to_owned()).collect();
            assert_eq!(keys.len(), table.block_count());
            assert_eq!(keys[0], entries[0].0);
            assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(keys.iter().all(|key| entries.iter().any(|(stored, _)| stored == key)));
            assert_eq!(table.verify().unwrap().blocks, table.block_count() as u64);
        }
    }
}

#[test]
fn the_filter_is_there_or_not_as_asked_and_misses_no_key() {
    let entries = fixture::numbered(3_000);
    for filter in [FilterPolicy::None, FilterPolicy::Bits8, FilterPolicy::Bits16] {
        let table = fixture::table(&entries, TableOptions { filter, ..fixture::options() }, fixture::read_options());
        assert_eq!(table.has_filter(), filter != FilterPolicy::None);
        assert!(entries.iter().all(|(key, _)| table.may_contain(key_hash(&key.user_key))));
        let absent = (0..3_000).filter(|n| table.may_contain(key_hash(format!("other{n}").as_bytes()))).count();
        match filter {
            FilterPolicy::None => assert_eq!(absent, 3_000),
            FilterPolicy::Bits8 => assert!(absent <= 30, "{absent} of 3000 absent keys passed"),
            FilterPolicy::Bits16 => assert!(absent <= 1, "{absent} of 3000 absent keys passed"),
        }
    }
}

#[test]
fn entries_out_of_order_are_refused_and_name_both_keys() {
    let vfs = fixture::shared(fixture::memory());
    let mut builder = TableBuilder::create(&vfs, fixture::dir(), TABLE, fixture::options(), None).unwrap();
    builder.add(InternalKeyRef::new(b"b", 5), &put(b"")).unwrap();
    for (key, version) in [(b"b", 5), (b"b", 6), (b"a", 9)] {
        let error = builder.add(InternalKeyRef::new(key, version), &put(b"")).unwrap_err();
        assert!(matches!(error, Error::OutOfOrder { .. }), "{error}");
    }
    builder.add(InternalKeyRef::new(b"b", 4), &put(b"")).unwrap();
    builder.add(InternalKeyRef::new(b"b\0", 4), &put(b"")).unwrap();
    assert_eq!(builder.finish().unwrap().entries, 3);
}

#[test]
fn what_cannot_stand_in_a_table_is_refused() {
    let vfs = fixture::shared(fixture::memory());
    let mut builder = TableBuilder::create(&vfs, fixture::dir(), TABLE, fixture::options(), None).unwrap();
    let long = vec![b'k'; USER_KEY_LEN_MAX + 1];
    let error = builder.add(InternalKeyRef::new(&long, 1), &put(b"")).unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 65_535, found: 65_536, .. }), "{error}");
    let range_delete = fixture::encoded(EntryRef::new(EntryMeta::of(EntryKind::RangeDelete), b"z"));
    let bad_pointer = fixture::encoded(EntryRef::new(EntryMeta::of(EntryKind::Pointer), b"short"));
    for (key, entry) in
        [(&b""[..], put(b"")), (b"k", range_delete), (b"k", bad_pointer), (b"k", vec![0xff, 0, 0]), (b"k", vec![])]
    {
        let error = builder.add(InternalKeyRef::new(key, 1), &entry).unwrap_err();
        assert!(matches!(error, Error::InvalidEntry { .. }), "{error}");
    }
    builder.add(InternalKeyRef::new(&long[1..], 1), &put(b"")).unwrap();
    builder.finish().unwrap();
    let table = fixture::open(&vfs, fixture::read_options()).unwrap();
    assert_eq!(fixture::forward(&table).unwrap()[0].0, internal(&long[1..], 1));
}

#[test]
fn a_table_without_entries_is_not_made() {
    let memory = fixture::memory();
    let vfs = fixture::shared(memory.clone());
    let builder = TableBuilder::create(&vfs, fixture::dir(), TABLE, fixture::options(), None).unwrap();
    assert!(matches!(builder.finish(), Err(Error::Empty { .. })));
    assert_eq!(vfs.list(fixture::dir()).unwrap(), []);
}

#[test]
fn an_abandoned_or_dropped_builder_leaves_nothing() {
    let vfs = fixture::shared(fixture::memory());
    for abandon in [true, false] {
        let mut builder = TableBuilder::create(&vfs, fixture::dir(), TABLE, fixture::options(), None).unwrap();
        builder.add(InternalKeyRef::new(b"k", 1), &put(b"v")).unwrap();
        assert_eq!(vfs.list(fixture::dir()).unwrap().len(), 1);
        if abandon {
            builder.abandon().unwrap();
        } else {
            drop(builder);
        }
        assert_eq!(vfs.list(fixture::dir()).unwrap(), []);
    }
}

#[test]
fn a_table_of_another_store_or_number_or_length_is_refused() {
    let vfs = fixture::shared(fixture::memory());
    let summary = fixture::build(&vfs, &fixture::numbered(10), fixture::options()).unwrap();
    let error = fixture::open(&vfs, ReadOptions { store: StoreId([8; 16]), ..fixture::read_options() }).unwrap_err();
    assert!(matches!(error, Error::ForeignStore { found: STORE, .. }), "{error}");
    assert!(error.to_string().contains("000012.sst"), "{error}");
    let wrong = Some(summary.file_size + 1);
    let error = fixture::open(&vfs, ReadOptions { expected_size: wrong, ..fixture::read_options() }).unwrap_err();
    assert!(error.is_corruption(), "{error}");
    vfs.rename(&fixture::path(), &fixture::dir().join("000013.sst")).unwrap();
    let error = Table::open(&vfs, fixture::dir(), TableId(13), fixture::read_options()).unwrap_err();
    assert!(error.to_string().contains("another's name"), "{error}");
    let error = fixture::open(&vfs, fixture::read_options()).unwrap_err();
    assert!(matches!(&error, Error::Vfs(error) if error.is_not_found()), "{error}");
}

#[test]
fn the_size_is_estimated_well_and_offsets_grow_with_keys() {
    let vfs = fixture::shared(fixture::memory());
    let entries = fixture::numbered(5_000);
    let mut builder = TableBuilder::create(&vfs, fixture::dir(), TABLE, fixture::options(), None).unwrap();
    let mut last = 0;
    for (key, entry) in &entries {
        builder.add(key.as_ref(), entry).unwrap();
        assert!(builder.estimated_size() >= last);
        last = builder.estimated_size();
    }
    assert_eq!(builder.entries(), 5_000);
    let summary = builder.finish().unwrap();
    let off = last.abs_diff(summary.file_size);
    assert!(off * 20 < summary.file_size, "estimated {last} for {}", summary.file_size);
    let table = fixture::open(&vfs, fixture::read_options()).unwrap();
    let offsets: Vec<_> = entries.iter().map(|(key, _)| table.approximate_offset(&key.user_key)).collect();
    assert!(offsets.is_sorted());
    assert_eq!((offsets[0], table.approximate_offset(b"a")), (0, 0));
    assert_eq!(table.approximate_offset(b"z"), summary.stored_bytes);
    let middle = table.approximate_offset(b"key00002500");
    assert!(middle.abs_diff(summary.stored_bytes / 2) < summary.stored_bytes / 50, "{middle}");
}

#[test]
fn a_table_outlives_its_name() {
    let vfs = fixture::shared(fixture::memory());
    let entries = fixture::numbered(1_000);
    fixture::build(&vfs, &entries, fixture::options()).unwrap();
    for read in fixture::read_modes() {
        let table = fixture::open(&vfs, read).unwrap();
        let hit = table.get(b"key00000007", key_hash(b"key00000007"), u64::MAX).unwrap().unwrap();
        if table.summary().id == TABLE && vfs.metadata(&fixture::path()).unwrap().is_some() {
            vfs.hard_link(&fixture::path(), &fixture::dir().join("kept")).unwrap();
            vfs.remove_file(&fixture::path()).unwrap();
        }
        assert_eq!(fixture::forward(&table).unwrap(), entries);
        drop(table);
        assert_eq!(&hit.value[..], entries[7].1.as_slice());
        vfs.rename(&fixture::dir().join("kept"), &fixture::path()).unwrap();
    }
}
