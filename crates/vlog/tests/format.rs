//! Every byte of every file, pinned. A change here is a change of the format.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fmt::Write;

use base::{EntryKind, EntryMeta, InternalKeyRef};
use expect_test::{Expect, expect};
use support::{open, path, written};
use vfs::MemFs;
use vlog::Options;

/// Sixteen bytes a line, with what is printable beside them.
fn hex_dump(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (line, chunk) in bytes.chunks(16).enumerate() {
        let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
        let text: String = chunk.iter().map(shown).collect();
        writeln!(out, "{:04x}  {:<47}  |{text}|", line * 16, hex.join(" ")).unwrap();
    }
    out
}

/// Two segments: a put and a tombstone of two owners in the first, which is sealed and has a dead record; one in the
/// second. The salts are those of the seed.
fn fixture() -> MemFs {
    let fs = MemFs::new(42);
    let log = open(&fs, Options { segment_entries: 2, ..written() });
    let put = EntryMeta { user_meta: 0x5a, expires_at: 0x0102_0304, discard_earlier: true, ..EntryMeta::put() };
    let first = log.append(7, InternalKeyRef::new(b"honey", 1), put, b"the value").unwrap();
    log.append(9, InternalKeyRef::new(b"badger", 2), EntryMeta::of(EntryKind::Delete), b"").unwrap();
    log.append(7, InternalKeyRef::new(b"honey", 3), EntryMeta::put(), b"next").unwrap();
    assert!(log.seal_full().unwrap());
    log.prepare_deaths(5, &[first]).unwrap();
    log.apply_deaths(&[5]).unwrap();
    log.sync().unwrap();
    fs
}

fn check(name: &str, expected: &Expect) {
    expected.assert_eq(&hex_dump(&fixture().read(&path(name)).unwrap()));
}

#[test]
fn the_bytes_of_a_segment() {
    check(
        "000001.vlog",
        &expect![[r#"
        0000  72 61 74 65 6c 56 4c 47 01 00 00 00 00 00 00 00  |ratelVLG........|
        0010  73 74 6f 72 65 20 6f 66 20 61 20 74 65 73 74 21  |store of a test!|
        0020  d5 7d 3d 0b 77 b8 05 57 ae 77 7f 29 38 d7 54 9e  |.}=.w..W.w.)8.T.|
        0030  bf 19 5b 77 4a 72 74 34 be 50 16 45 0e 8a 34 7e  |..[wJrt4.P.E..4~|
        0040  01 00 00 00 00 00 00 00 e6 46 3e 7f 89 ed 6d 83  |.........F>...m.|
        0050  b7 6d ed 47 73 97 1f 85 00 00 00 00 00 00 00 00  |.m.Gs...........|
        0060  00 00 00 00 00 00 00 00 00 00 00 00 af f0 7c 8f  |..............|.|
        0070  10 5a 05 00 09 00 00 00 07 00 00 00 04 03 02 01  |.Z..............|
        0080  00 00 00 00 68 6f 6e 65 79 ff ff ff ff ff ff ff  |....honey.......|
        0090  fe 74 68 65 20 76 61 6c 75 65 7d ae 51 59 02 00  |.the value}.QY..|
        00a0  06 00 00 00 00 00 09 00 00 00 00 00 00 00 00 00  |................|
        00b0  00 00 62 61 64 67 65 72 ff ff ff ff ff ff ff fd  |..badger........|
        00c0  69 5f 9b 71                                      |i_.q|
    "#]],
    );
}

#[test]
fn the_bytes_of_a_segment_that_has_a_predecessor() {
    check(
        "000002.vlog",
        &expect![[r#"
        0000  72 61 74 65 6c 56 4c 47 01 00 00 00 00 00 00 00  |ratelVLG........|
        0010  73 74 6f 72 65 20 6f 66 20 61 20 74 65 73 74 21  |store of a test!|
        0020  dc 8e e7 02 1c e3 47 aa f2 33 7c 4d c5 52 14 34  |......G..3|M.R.4|
        0030  75 ba 5e f3 52 d7 83 1a 1d 9e 7f f6 03 00 d9 7e  |u.^.R..........~|
        0040  02 00 00 00 00 00 00 00 07 6a a8 48 f4 df ea 17  |.........j.H....|
        0050  60 b8 72 29 1a ca 5e b0 00 00 00 00 01 00 00 00  |`.r)..^.........|
        0060  c4 00 00 00 00 00 00 00 00 00 00 00 ac 1b 7b 15  |..............{.|
        0070  00 00 05 00 04 00 00 00 07 00 00 00 00 00 00 00  |................|
        0080  00 00 00 00 68 6f 6e 65 79 ff ff ff ff ff ff ff  |....honey.......|
        0090  fc 6e 65 78 74 4e 1d fc f5                       |.nextN...|
    "#]],
    );
}

#[test]
fn the_bytes_of_a_hint_file() {
    check(
        "000001.hint",
        &expect![[r#"
        0000  72 61 74 65 6c 48 4e 54 01 00 00 00 00 00 00 00  |ratelHNT........|
        0010  73 74 6f 72 65 20 6f 66 20 61 20 74 65 73 74 21  |store of a test!|
        0020  e8 a3 55 64 4b 44 13 f5 99 6e 1f 26 dd a6 b3 12  |..UdKD...n.&....|
        0030  d5 15 ca 00 b1 8f 8d 99 91 c8 74 54 d4 75 ac 9e  |..........tT.u..|
        0040  01 00 00 00 00 00 00 00 e6 46 3e 7f 89 ed 6d 83  |.........F>...m.|
        0050  b7 6d ed 47 73 97 1f 85 00 00 00 00 00 00 00 00  |.m.Gs...........|
        0060  00 00 00 00 00 00 00 00 00 00 00 00 ed e7 84 04  |................|
        0070  02 00 00 00 2c 00 00 00 10 5a 07 00 09 84 86 88  |....,....Z......|
        0080  08 05 68 6f 6e 65 79 ff ff ff ff ff ff ff fe 02  |..honey.........|
        0090  00 09 00 00 00 06 62 61 64 67 65 72 ff ff ff ff  |......badger....|
        00a0  ff ff ff fd 1d 53 f5 a1 00 00 00 00 38 00 00 00  |.....S......8...|
        00b0  02 00 00 00 00 00 00 00 c4 00 00 00 02 00 00 00  |................|
        00c0  07 00 00 00 01 00 00 00 00 00 00 00 2e 00 00 00  |................|
        00d0  00 00 00 00 09 00 00 00 01 00 00 00 00 00 00 00  |................|
        00e0  26 00 00 00 00 00 00 00 79 b0 0b 96              |&.......y...|
    "#]],
    );
}

#[test]
fn the_bytes_of_a_dead_set() {
    check(
        "000001.dead",
        &expect![[r#"
        0000  72 61 74 65 6c 44 45 44 01 00 00 00 00 00 00 00  |ratelDED........|
        0010  73 74 6f 72 65 20 6f 66 20 61 20 74 65 73 74 21  |store of a test!|
        0020  9d f4 a4 63 4e fe a7 a5 de 7f cb 3b 02 65 3b c8  |...cN......;.e;.|
        0030  55 c2 a4 c9 7f 1c 35 a3 43 6e f0 4a c0 2d 49 61  |U.....5.Cn.J.-Ia|
        0040  01 00 00 00 00 00 00 00 e6 46 3e 7f 89 ed 6d 83  |.........F>...m.|
        0050  b7 6d ed 47 73 97 1f 85 01 00 00 00 00 00 00 00  |.m.Gs...........|
        0060  2e 00 00 00 00 00 00 00 00 00 00 00 de f6 a5 42  |...............B|
        0070  70 68 79 cd 3b                                   |phy.;|
    "#]],
    );
}

#[test]
fn the_bytes_of_a_death_list() {
    check(
        "000005.deaths",
        &expect![[r#"
        0000  72 61 74 65 6c 44 54 48 01 00 00 00 00 00 00 00  |ratelDTH........|
        0010  73 74 6f 72 65 20 6f 66 20 61 20 74 65 73 74 21  |store of a test!|
        0020  07 6d c8 cd 31 26 22 f1 43 5e 58 53 1b 9f b5 b1  |.m..1&".C^XS....|
        0030  75 d9 13 42 a1 6d 37 ca 5e 2c 9d 50 92 16 2c d7  |u..B.m7.^,.P..,.|
        0040  05 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  |................|
        0050  00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00  |................|
        0060  00 00 00 00 00 00 00 00 00 00 00 00 b1 b1 d6 83  |................|
        0070  01 70 2e 58 7d 1f be                             |.p.X}..|
    "#]],
    );
}

#[test]
fn the_bytes_of_the_manifest() {
    check(
        "VLOG-MANIFEST",
        &expect![[r#"
            0000  72 61 74 65 6c 56 4d 46 01 00 00 00 00 00 00 00  |ratelVMF........|
            0010  73 74 6f 72 65 20 6f 66 20 61 20 74 65 73 74 21  |store of a test!|
            0020  11 55 8c f3 f0 67 22 10 41 db 29 0b c5 09 1c 44  |.U...g".A.)....D|
            0030  40 5f 1d 96 b8 56 de c2 84 df bb 7e ac 25 8b 17  |@_...V.....~.%..|
            0040  04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  |................|
            0050  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  |................|
            0060  00 00 00 00 00 00 00 00 00 00 00 00 b3 93 fa 49  |...............I|
            0070  41 00 00 00 02 00 00 00 00 00 00 00 01 00 00 00  |A...............|
            0080  01 00 00 00 00 01 c4 00 00 00 02 00 00 00 00 00  |................|
            0090  00 00 e6 46 3e 7f 89 ed 6d 83 b7 6d ed 47 73 97  |...F>...m..m.Gs.|
            00a0  1f 85 02 00 00 00 07 00 00 00 01 00 00 00 00 00  |................|
            00b0  00 00 2e 00 00 00 00 00 00 00 09 00 00 00 01 00  |................|
            00c0  00 00 00 00 00 00 26 00 00 00 00 00 00 00 50 1f  |......&.......P.|
            00d0  24 68                                            |$h|
        "#]],
    );
}
