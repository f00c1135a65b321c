//! The format, byte for byte. A change here is a change of the format: it needs a new version number.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fmt::Write;

use expect_test::expect;
use support::*;

fn dump(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (row, line) in bytes.chunks(16).enumerate() {
        let _ = write!(out, "{:06x} ", row * 16);
        for byte in line {
            let _ = write!(out, " {byte:02x}");
        }
        out.push('\n');
    }
    out
}

#[test]
fn a_closed_log_of_two_records_is_these_bytes() {
    let fs = empty_store(42);
    let mut writer = create(&fs, WRITTEN);
    writer.append(head(3, 4_196), &[b"first ", b"record"]).unwrap();
    writer.sync_handle().sync().unwrap();
    writer.append(head(300, 70_000), &[]).unwrap();
    writer.close().unwrap();
    expect![[r#"
        000000  52 41 54 45 4c 57 41 4c 01 00 00 00 30 31 32 33
        000010  34 35 36 37 38 39 61 62 63 64 65 66 00 00 00 00
        000020  95 6e eb 2f 26 32 d7 bd 03 f1 66 b2 33 e3 ef 28
        000030  52 9f 0f 13 57 67 52 47 94 e3 4a 0e ff e1 1c 58
        000040  07 00 00 00 01 00 00 00 03 00 00 00 00 10 00 00
        000050  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
        000060  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
        000070  00 00 00 00 00 00 00 00 00 00 00 00 46 ed 6d ec
        000080  da 35 db 31 10 00 01 07 00 00 00 00 03 e4 20 66
        000090  69 72 73 74 20 72 65 63 6f 72 64 c0 48 f6 84 07
        0000a0  00 01 07 00 00 00 9b 01 ac 02 f0 a2 04 a0 fb a7
        0000b0  97 04 00 05 07 00 00 00 9b 01 00 00 2c 77 3a c5
        0000c0  04 00 05 07 00 00 00 bc 01 00 00
    "#]]
    .assert_eq(&dump(&bytes_of(&fs)));
}

#[test]
fn a_checksum_starts_from_the_salt_and_the_offset_and_covers_all_behind_itself() {
    let fs = empty_store(42);
    create(&fs, WRITTEN).append(head(0, 0), &[b"x"]).unwrap();
    let bytes = bytes_of(&fs);
    let crc = base::checksum::crc32_salted(base::checksum::crc32(&bytes[32..64]) ^ 128, &bytes[132..]);
    assert_eq!(bytes[128..132], crc.to_le_bytes());
    assert_eq!(bytes[124..128], base::checksum::crc32(&bytes[..124]).to_le_bytes());
}

#[test]
fn a_record_over_three_blocks_has_these_fragments() {
    let fs = empty_store(42);
    let mut writer = create(&fs, WRITTEN);
    writer.append(head(0, 0), &[&vec![0xab; 32_768 - 128 - 11 - 3 - 30]]).unwrap();
    writer.append(head(0, 0), &[&vec![0xcd; 32_757 + 32_757 + 1 - 3]]).unwrap();
    writer.append(head(0, 0), &[&[0xef; 32]]).unwrap();
    let bytes = bytes_of(&fs);
    let interesting = [(128, 16), (32_736, 32), (32_768, 16), (65_536, 16), (98_304, 12), (98_316, 46)];
    let shown: String = interesting.map(|(at, len)| format!("at {at}:\n{}", dump(&bytes[at..][..len]))).concat();
    assert_eq!(bytes.len(), 98_304 + 12 + 46);
    expect![[r#"
        at 128:
        000000  b0 de b9 87 57 7f 01 07 00 00 00 00 00 00 ab ab
        at 32736:
        000000  ab ab 00 00 00 00 00 00 00 00 00 00 00 00 00 00
        000010  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
        at 32768:
        000000  4b c9 48 c9 f5 7f 02 07 00 00 00 00 00 00 cd cd
        at 65536:
        000000  76 80 00 30 f5 7f 03 07 00 00 00 cd cd cd cd cd
        at 98304:
        000000  d2 b2 c6 16 01 00 04 07 00 00 00 cd
        at 98316:
        000000  8f c5 f2 94 23 00 01 07 00 00 00 00 00 00 ef ef
        000010  ef ef ef ef ef ef ef ef ef ef ef ef ef ef ef ef
        000020  ef ef ef ef ef ef ef ef ef ef ef ef ef ef
    "#]]
    .assert_eq(&shown);
}
