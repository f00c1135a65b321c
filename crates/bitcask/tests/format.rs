//! Every byte of the file that is the store's own, pinned. The value log pins those of the others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use bitcask::{Bitcask, Error};
use expect_test::expect;
use support::{DIR, open, path, small};
use vfs::MemFs;

fn hex(bytes: &[u8]) -> String {
    let lines =
        bytes.chunks(16).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "));
    lines.map(|line| line + "\n").collect()
}

fn made() -> MemFs {
    let fs = MemFs::new(42);
    open(&fs).close().unwrap();
    fs
}

#[test]
fn the_bytes_of_the_identity() {
    expect![[r#"
        72 61 74 65 6c 42 43 4b 01 00 00 00 00 00 00 00
        95 6e eb 2f 26 32 d7 bd 03 f1 66 b2 33 e3 ef 28
        01 00 00 00 00 00 00 00 d6 ca 53 ec
    "#]]
    .assert_eq(&hex(&made().read(&path("BITCASK")).unwrap()));
}

#[test]
fn the_log_has_the_store_id_of_the_identity() {
    let fs = made();
    let (identity, manifest) = (fs.read(&path("BITCASK")).unwrap(), fs.read(&path("VLOG-MANIFEST")).unwrap());
    assert_eq!(identity[16..32], manifest[16..32]);
}

/// Changes the identity, with a right checksum if asked for, and opens.
fn opened(change: impl FnOnce(&mut Vec<u8>), checksum: bool) -> Error {
    let fs = made();
    fs.edit(&path("BITCASK"), |bytes| {
        change(bytes);
        if checksum {
            let crc = base::checksum::crc32(&bytes[..40]);
            bytes[40..44].copy_from_slice(&crc.to_le_bytes());
        }
    })
    .unwrap();
    Bitcask::open(DIR, small(fs)).unwrap_err()
}

#[test]
fn a_newer_version_a_key_a_state_and_flags_are_incompatible() {
    for (at, what) in [(8, "format version"), (12, "encryption key id"), (32, "state"), (36, "flags")] {
        let error = opened(|bytes| bytes[at] = 9, true);
        assert!(matches!(&error, Error::Incompatible { what: found, .. } if *found == what), "{error}");
    }
    let newer = opened(|bytes| bytes[8] = 2, false);
    assert!(newer.is_incompatible(), "a newer version may keep its checksum elsewhere: {newer}");
}

#[test]
fn an_identity_that_is_damaged_is_corruption() {
    for at in (0..8).chain(16..44) {
        let error = opened(|bytes| bytes[at] ^= 0x40, false);
        assert!(error.is_corruption(), "byte {at}: {error}");
    }
    for len in 0..44 {
        assert!(opened(|bytes| bytes.truncate(len), false).is_corruption(), "{len} bytes");
    }
    assert!(opened(|bytes| bytes.push(0), false).is_corruption());
}

#[test]
fn a_store_that_has_lost_its_log_is_not_made_anew() {
    let fs = made();
    vfs::Vfs::remove_file(&fs, &path("VLOG-MANIFEST")).unwrap();
    let error = Bitcask::open(DIR, small(fs)).unwrap_err();
    assert!(error.is_corruption(), "{error}");
}

#[test]
fn a_folder_that_has_lost_its_identity_is_nobody_s() {
    let fs = made();
    vfs::Vfs::remove_file(&fs, &path("BITCASK")).unwrap();
    assert!(matches!(Bitcask::open(DIR, small(fs)), Err(Error::Foreign { .. })));
}
