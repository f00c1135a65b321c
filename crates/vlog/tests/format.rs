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

use base::{EntryKind, EntryMeta, InternalKeyRef, SegmentId};
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

/// What the two segments of the fixture came to: the tombstone of the first, in which the other record is dead, and the
/// record of the second, that died since.
fn collected() -> MemFs {
    let fs = fixture();
    let log = open(&fs, written());
    let last = support::entries_of(&log, SegmentId(2)).unwrap()[0].0;
    support::collect(&log, &support::sealed(&log));
    support::kill(&log, 6, &[last]);
    fs
}

/// The first segment of the fixture in a log that stands alone, one of its records marked.
fn marked() -> MemFs {
    let fs = MemFs::new(42);
    let log = open(&fs, Options { stands_alone: true, ..written() });
    let first = log.append(7, InternalKeyRef::new(b"honey", 1), EntryMeta::put(), b"the value").unwrap();
    log.append(7, InternalKeyRef::new(b"honey", 2), EntryMeta::put(), b"next").unwrap();
    log.seal_all().unwrap();
    log.append(7, InternalKeyRef::new(b"honey", 3), EntryMeta::put(), b"last").unwrap();
    // What the first has written is told by the manifest of the second.
    (0..2).for_each(|_| log.mark_dead(&[first]).unwrap());
    fs
}

fn check(name: &str, expected: &Expect) {
    expected.assert_eq(&hex_dump(&fixture().read(&path(name)).unwrap()));
}

fn check_collected(name: &str, expected: &Expect) {
    expected.assert_eq(&hex_dump(&collected().read(&path(name)).unwrap()));
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

#[test]
fn the_bytes_of_a_collected_segment() {
    check_collected(
        "000065.vlog",
        &expect![[r#"
        0000  72 61 74 65 6c 56 4c 47 01 00 00 00 00 00 00 00  |ratelVLG........|
        0010  73 74 6f 72 65 20 6f 66 20 61 20 74 65 73 74 21  |store of a test!|
        0020  6e 5b a1 3e 93 3c 3f 81 ef 8c f0 c0 a4 b6 28 f8  |n[.>.<?.......(.|
        0030  41 bb d5 9d 0a 2c 40 5e 08 50 e9 6b 8a 5e 41 30  |A....,@^.P.k.^A0|
        0040  41 00 00 00 00 00 00 00 24 2d cc 39 b1 af 81 27  |A.......$-.9...'|
        0050  5b 8f c6 e4 ec 78 f5 51 01 00 00 00 00 00 00 00  |[....x.Q........|
        0060  00 00 00 00 00 00 00 00 00 00 00 00 12 c6 5f 04  |.............._.|
        0070  01 00 00 00 9e 00 00 00 02 00 06 00 00 00 00 00  |................|
        0080  09 00 00 00 00 00 00 00 00 00 00 00 62 61 64 67  |............badg|
        0090  65 72 ff ff ff ff ff ff ff fd 2c 15 b5 ea 02 00  |er........,.....|
        00a0  00 00 70 00 00 00 00 00 05 00 04 00 00 00 07 00  |..p.............|
        00b0  00 00 00 00 00 00 00 00 00 00 68 6f 6e 65 79 ff  |..........honey.|
        00c0  ff ff ff ff ff ff fc 6e 65 78 74 98 ca 5c 15     |.......next..\.|
    "#]],
    );
}

#[test]
fn the_bytes_of_the_hint_file_of_a_collected_segment() {
    check_collected(
        "000065.hint",
        &expect![[r#"
        0000  72 61 74 65 6c 48 4e 54 01 00 00 00 00 00 00 00  |ratelHNT........|
        0010  73 74 6f 72 65 20 6f 66 20 61 20 74 65 73 74 21  |store of a test!|
        0020  35 fa 9d 1c 05 07 ad 06 4b d4 3c 0d f0 82 8f d2  |5.......K.<.....|
        0030  01 7a f2 cd 41 0b 08 af ba e8 59 00 da b8 53 8e  |.z..A.....Y...S.|
        0040  41 00 00 00 00 00 00 00 24 2d cc 39 b1 af 81 27  |A.......$-.9...'|
        0050  5b 8f c6 e4 ec 78 f5 51 00 00 00 00 00 00 00 00  |[....x.Q........|
        0060  00 00 00 00 00 00 00 00 00 00 00 00 db 1e 69 3e  |..............i>|
        0070  02 00 00 00 39 00 00 00 02 00 09 00 00 00 06 62  |....9..........b|
        0080  61 64 67 65 72 ff ff ff ff ff ff ff fd 01 00 00  |adger...........|
        0090  00 9e 00 00 00 00 00 07 00 04 00 05 68 6f 6e 65  |............hone|
        00a0  79 ff ff ff ff ff ff ff fc 02 00 00 00 70 00 00  |y............p..|
        00b0  00 e3 7c 69 97 00 00 00 00 38 00 00 00 02 00 00  |..|i.....8......|
        00c0  00 00 00 00 00 cf 00 00 00 02 00 00 00 07 00 00  |................|
        00d0  00 01 00 00 00 00 00 00 00 31 00 00 00 00 00 00  |.........1......|
        00e0  00 09 00 00 00 01 00 00 00 00 00 00 00 2e 00 00  |................|
        00f0  00 00 00 00 00 0f 3d 31 d4                       |......=1.|
    "#]],
    );
}

#[test]
fn the_bytes_of_a_map() {
    check_collected(
        "000065.map",
        &expect![[r#"
        0000  72 61 74 65 6c 4d 41 50 01 00 00 00 00 00 00 00  |ratelMAP........|
        0010  73 74 6f 72 65 20 6f 66 20 61 20 74 65 73 74 21  |store of a test!|
        0020  b0 b7 a9 0b ac 26 09 e0 ba 4c c6 2d b6 35 42 08  |.....&...L.-.5B.|
        0030  16 10 57 f4 ce 7f 57 42 86 ea c5 3a 0b 4f fd f6  |..W...WB...:.O..|
        0040  41 00 00 00 00 00 00 00 24 2d cc 39 b1 af 81 27  |A.......$-.9...'|
        0050  5b 8f c6 e4 ec 78 f5 51 02 00 00 00 00 00 00 00  |[....x.Q........|
        0060  02 00 00 00 00 00 00 00 00 00 00 00 fe 6b d6 90  |.............k..|
        0070  01 00 00 00 00 00 00 00 02 00 00 00 01 00 00 00  |................|
        0080  9e 00 00 00 70 00 00 00 70 00 00 00 9e 00 00 00  |....p...p.......|
        0090  11 b2 2d e8                                      |..-.|
    "#]],
    );
}

#[test]
fn the_bytes_of_the_dead_set_of_a_collected_segment() {
    check_collected(
        "000065.dead",
        &expect![[r#"
        0000  72 61 74 65 6c 44 45 44 01 00 00 00 00 00 00 00  |ratelDED........|
        0010  73 74 6f 72 65 20 6f 66 20 61 20 74 65 73 74 21  |store of a test!|
        0020  ca 24 f4 bf 64 84 9d e5 5b 68 2d 0c 16 4f 43 ac  |.$..d...[h-..OC.|
        0030  f2 60 f1 3e 73 27 f4 29 6c ba 77 0b 19 5a cf d5  |.`.>s'.)l.w..Z..|
        0040  41 00 00 00 00 00 00 00 24 2d cc 39 b1 af 81 27  |A.......$-.9...'|
        0050  5b 8f c6 e4 ec 78 f5 51 01 00 00 00 00 00 00 00  |[....x.Q........|
        0060  31 00 00 00 00 00 00 00 00 00 00 00 49 12 fc bb  |1...........I...|
        0070  9e 01 e2 96 6c 1a                                |....l.|
    "#]],
    );
}

#[test]
fn the_bytes_of_a_manifest_with_a_collected_segment() {
    check_collected(
        "VLOG-MANIFEST",
        &expect![[r#"
        0000  72 61 74 65 6c 56 4d 46 01 00 00 00 00 00 00 00  |ratelVMF........|
        0010  73 74 6f 72 65 20 6f 66 20 61 20 74 65 73 74 21  |store of a test!|
        0020  02 2e 44 2b 24 04 43 cc 9d 07 10 ac 5c 23 1a d1  |..D+$.C.....\#..|
        0030  2f ea e8 65 6f 68 56 19 4e 76 82 61 2a 91 70 cf  |/..eohV.Nv.a*.p.|
        0040  07 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  |................|
        0050  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  |................|
        0060  00 00 00 00 00 00 00 00 00 00 00 00 6b bc a1 1d  |............k...|
        0070  81 00 00 00 41 00 00 00 00 00 00 00 01 00 00 00  |....A...........|
        0080  41 00 00 00 01 01 cf 00 00 00 02 00 00 00 00 00  |A...............|
        0090  00 00 24 2d cc 39 b1 af 81 27 5b 8f c6 e4 ec 78  |..$-.9...'[....x|
        00a0  f5 51 02 00 00 00 07 00 00 00 01 00 00 00 00 00  |.Q..............|
        00b0  00 00 31 00 00 00 00 00 00 00 09 00 00 00 01 00  |..1.............|
        00c0  00 00 00 00 00 00 2e 00 00 00 00 00 00 00 02 00  |................|
        00d0  00 00 01 00 00 00 02 00 00 00 6e 45 5b c5        |..........nE[.|
    "#]],
    );
}

#[test]
fn the_bytes_of_a_dead_set_of_a_log_that_stands_alone() {
    expect![[r#"
        0000  72 61 74 65 6c 44 45 44 01 00 00 00 00 00 00 00  |ratelDED........|
        0010  73 74 6f 72 65 20 6f 66 20 61 20 74 65 73 74 21  |store of a test!|
        0020  9d f4 a4 63 4e fe a7 a5 de 7f cb 3b 02 65 3b c8  |...cN......;.e;.|
        0030  55 c2 a4 c9 7f 1c 35 a3 43 6e f0 4a c0 2d 49 61  |U.....5.Cn.J.-Ia|
        0040  01 00 00 00 00 00 00 00 e6 46 3e 7f 89 ed 6d 83  |.........F>...m.|
        0050  b7 6d ed 47 73 97 1f 85 01 00 00 00 00 00 00 00  |.m.Gs...........|
        0060  2e 00 00 00 00 00 00 00 00 00 00 00 de f6 a5 42  |...............B|
        0070  70 04 87 0f 3d 96                                |p...=.|
    "#]]
    .assert_eq(&hex_dump(&marked().read(&path("000001.dead")).unwrap()));
}

#[test]
fn the_bytes_of_the_manifest_of_a_log_that_stands_alone() {
    expect![[r#"
        0000  72 61 74 65 6c 56 4d 46 01 00 00 00 00 00 00 00  |ratelVMF........|
        0010  73 74 6f 72 65 20 6f 66 20 61 20 74 65 73 74 21  |store of a test!|
        0020  22 29 d0 06 27 bc be 87 39 69 2b ce 94 d2 b7 28  |")..'...9i+....(|
        0030  8c 2d 33 fe f4 8c e7 45 11 af a4 a2 cb 2f 58 c6  |.-3....E...../X.|
        0040  06 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  |................|
        0050  00 00 00 00 00 00 00 00 02 00 00 00 99 00 00 00  |................|
        0060  00 00 00 00 00 00 00 00 00 00 00 00 78 bd 73 a8  |............x.s.|
        0070  41 00 00 00 02 00 00 00 00 00 00 00 01 00 00 00  |A...............|
        0080  01 00 00 00 00 03 c7 00 00 00 02 00 00 00 00 00  |................|
        0090  00 00 e6 46 3e 7f 89 ed 6d 83 b7 6d ed 47 73 97  |...F>...m..m.Gs.|
        00a0  1f 85 01 00 00 00 07 00 00 00 02 00 00 00 00 00  |................|
        00b0  00 00 57 00 00 00 00 00 00 00 04 00 00 00 00 00  |..W.............|
        00c0  00 00 8c dd f0 d0                                |......|
    "#]]
    .assert_eq(&hex_dump(&marked().read(&path("VLOG-MANIFEST")).unwrap()));
}
