//! The bytes of a table, pinned: a change here is a new format version.

use std::fmt::Write as _;

use base::{EntryMeta, EntryRef, PointerPayload, SegmentId, ValuePointer};
use expect_test::expect_file;
use sstable::TableOptions;

use crate::fixture::{self, internal, put};

pub(crate) fn entries() -> fixture::Entries {
    let mut payload = Vec::new();
    let pointer = ValuePointer { segment: SegmentId(3), len: 2_048, offset: 65_536 };
    PointerPayload { pointer, value_len: 2_000 }.encode_into(&mut payload);
    let pointed = EntryRef::new(EntryMeta::of(base::EntryKind::Pointer), &payload);
    vec![
        (internal("apple", 300), put(b"red")),
        (internal("apple", 7), put(b"green")),
        (internal("apricot", 8), fixture::encoded(pointed)),
        (internal("banana", 9), fixture::encoded(EntryRef::new(EntryMeta::delete(), b""))),
    ]
}

pub(crate) fn hex_dump(bytes: &[u8]) -> String {
    let mut dump = String::new();
    for (n, line) in bytes.chunks(16).enumerate() {
        let hex: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let text: String =
            line.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' }).collect();
        writeln!(dump, "{:06x}  {:<47}  {text}", n * 16, hex.join(" ")).unwrap();
    }
    dump
}

#[test]
fn the_bytes_of_a_table_are_these() {
    let memory = fixture::memory();
    let vfs = fixture::shared(memory.clone());
    fixture::build(&vfs, &entries(), TableOptions { restart_interval: 2, ..fixture::options() }).unwrap();
    let bytes = memory.read(&fixture::path()).unwrap();
    expect_file!["table.hex"].assert_eq(&hex_dump(&bytes));
    let table = fixture::open(&vfs, fixture::read_options()).unwrap();
    assert_eq!(fixture::forward(&table).unwrap(), entries());
}

#[test]
fn the_same_entries_make_the_same_bytes() {
    let build = || {
        let memory = fixture::memory();
        let vfs = fixture::shared(memory.clone());
        fixture::build(&vfs, &fixture::numbered(5_000), fixture::options()).unwrap();
        memory.read(&fixture::path()).unwrap()
    };
    assert_eq!(build(), build());
}
