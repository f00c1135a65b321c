//! Edits as bytes: the one form of each, and what is made of any other bytes.

use expect_test::expect;
use proptest::prelude::*;

use super::*;

fn table(id: u64) -> TableMeta {
    TableMeta {
        id: TableId(id),
        file_size: 300,
        smallest: InternalKeyRef::new(b"a", 9).to_owned(),
        largest: InternalKeyRef::new(b"b", 2).to_owned(),
        min_version: 2,
        max_version: 9,
        entries: 4,
        tombstones: 1,
        user_key_bytes: 4,
        value_bytes: 20,
        stale_bytes: 5,
        segments: vec![SegmentId(3), SegmentId(200)],
        pointed_bytes: 400,
        expiry: TableExpiry { first: 5, eighths: vec![7, 300] },
        sequence: 6,
    }
}

/// An edit with every field.
fn full() -> EditRecord {
    let keyspace = KeyspaceEdit {
        id: KeyspaceId(1),
        created: Some(NewKeyspace { name: "ks".to_owned(), options: vec![0xaa, 0xbb] }),
        options: Some(vec![0xcc]),
        log_number: Some(LogNumber(300)),
        ordered: Some(false),
        dropped_tombstone_version: Some(7),
        removed: vec![TableId(4), TableId(130)],
        added: vec![NewTable { level: 2, place: Place::At(6), meta: table(5) }],
    };
    EditRecord {
        snapshot: Some(StoreId(*b"0123456789abcdef")),
        counters: Counters { table: 1_025, log: 65, ticket: 257, keyspace: 17 },
        edit: VersionEdit {
            keyspaces: vec![keyspace],
            last_version: Some(1_000),
            version_ceiling: Some(2_000),
            tickets_added: vec![1, 2],
            tickets_cleared: vec![3],
            clean_shutdown: true,
        },
    }
}

fn hex(bytes: &[u8]) -> String {
    let line = |(number, chunk): (usize, &[u8])| {
        let bytes: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{:04x}  {}\n", number * 16, bytes.join(" "))
    };
    bytes.chunks(16).enumerate().map(line).collect()
}

#[test]
fn the_format_is_pinned() {
    expect![[r#"
        0000  01 14 01 00 00 00 30 31 32 33 34 35 36 37 38 39
        0010  61 62 63 64 65 66 03 06 81 08 41 81 02 11 05 02
        0020  e8 07 07 02 d0 0f 09 02 01 02 0b 01 03 0d 00 0f
        0030  4c 01 01 05 02 6b 73 aa bb 03 01 cc 05 02 ac 02
        0040  07 01 00 09 01 07 0b 03 04 82 01 0d 30 02 05 ac
        0050  02 06 09 61 ff ff ff ff ff ff ff f6 09 62 ff ff
        0060  ff ff ff ff ff fd 02 09 04 01 04 14 05 02 03 c5
        0070  01 02 02 90 03 04 01 05 06 03 07 ac 02
    "#]]
    .assert_eq(&hex(&full().encode()));
}

#[test]
fn every_field_comes_back() {
    assert_eq!(EditRecord::decode(&full().encode()), Ok(full()));
    let empty = EditRecord::default();
    assert_eq!(EditRecord::decode(&empty.encode()), Ok(empty));
}

#[test]
fn an_edit_cut_anywhere_never_gives_another_keyspace_or_table() {
    let bytes = full().encode();
    for len in 0..bytes.len() {
        // A cut between fields decodes: that the record is whole is the log's business.
        if let Ok(record) = EditRecord::decode(&bytes[..len]) {
            assert!(record.edit.keyspaces.is_empty(), "cut at {len}");
        }
    }
}

#[test]
fn an_unknown_field_is_ignored_if_its_tag_allows_and_refused_otherwise() {
    let mut bytes = full().encode();
    field(&mut bytes, 1_000, |out| out.extend_from_slice(b"from the future"));
    assert_eq!(EditRecord::decode(&bytes), Ok(full()));
    field(&mut bytes, 1_001, |_| {});
    let unknown = EditError::Unknown { what: "tag of a version edit", found: 1_001 };
    assert_eq!(EditRecord::decode(&bytes), Err(unknown));
}

#[test]
fn what_has_its_place_but_is_not_built_is_refused() {
    let mut bytes = Vec::new();
    field(&mut bytes, tag::KEYSPACE, |out| {
        varint::push(1, out);
        field(out, 15, |_| {});
    });
    assert_eq!(
        EditRecord::decode(&bytes),
        Err(EditError::Unknown { what: "tag of a keyspace's edit", found: 15 }),
        "dropping a keyspace"
    );
    let mut bytes = Vec::new();
    encode_table(&table(5), &mut bytes);
    field(&mut bytes, 1, |out| varint::push(9, out));
    assert_eq!(
        decode_table(&bytes),
        Err(EditError::Unknown { what: "tag of a table", found: 1 }),
        "one version for all entries of a table"
    );
}

#[test]
fn another_format_version_is_refused() {
    let mut bytes = Vec::new();
    field(&mut bytes, tag::SNAPSHOT, |out| {
        out.extend_from_slice(&2u32.to_le_bytes());
        out.extend_from_slice(&[0; 16]);
    });
    let unknown = EditError::Unknown { what: "format version of the manifest", found: 2 };
    assert_eq!(EditRecord::decode(&bytes), Err(unknown));
}

#[test]
fn a_false_count_of_segments_asks_for_no_memory() {
    let mut bytes = Vec::new();
    let plain = TableMeta { segments: Vec::new(), pointed_bytes: 0, expiry: TableExpiry::default(), ..table(5) };
    encode_table(&plain, &mut bytes);
    assert_eq!(bytes.pop(), Some(0), "the count is last");
    varint::push(u64::MAX, &mut bytes);
    assert_eq!(decode_table(&bytes), Err(DecodeError::new("more segments than bytes").into()));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = EditRecord::decode(&bytes);
    }

    #[test]
    fn a_flipped_bit_decodes_to_something_else_or_not_at_all(position in 0usize..150, bit in 0u8..8) {
        let mut bytes = full().encode();
        if let Some(byte) = bytes.get_mut(position) {
            *byte ^= 1 << bit;
            prop_assert_ne!(EditRecord::decode(&bytes), Ok(full()));
        }
    }
}
