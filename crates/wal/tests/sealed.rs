//! Sealed logs: what was appended comes back and does not show, whatever is changed is found, and nothing is ever sealed
//! twice under one nonce.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base::checksum::{crc32, crc32_salted};
use encryption::{KeyError, Keyring, StaticKey};
use expect_test::expect;
use support::*;
use vfs::{Cause, CrashMode, Fault, FaultFs, FaultPlan, MemFs, Operation, Vfs};
use wal::{BLOCK_LEN, Damage, EndKind, Error, LOG_HEADER_LEN, LogWriter, RecoveryMode};

/// What sealing adds to a fragment.
const OVERHEAD: usize = 20;
const MARK: &[u8] = b"in plain sight";

fn keyring(seed: u64) -> Keyring {
    let fs: Arc<dyn Vfs> = Arc::new(MemFs::new(seed));
    Keyring::create(&fs, Path::new("/"), STORE, Arc::new(StaticKey::new(&[1; 32])), 0).unwrap()
}

fn payload(len: usize) -> Vec<u8> {
    MARK.iter().copied().cycle().take(len).collect()
}

/// One fragment, found in the bytes of a log by the format alone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sealed {
    offset: usize,
    round: u32,
    bytes: Vec<u8>,
}

/// All fragments, the last of which may be cut or followed by zeros.
fn fragments(log: &[u8]) -> Vec<Sealed> {
    let mut found = Vec::new();
    let mut at = LOG_HEADER_LEN;
    loop {
        let room = BLOCK_LEN - at % BLOCK_LEN;
        if room < 31 + OVERHEAD {
            at += room;
        }
        let Some(header) = log.get(at..at + 15).filter(|header| header[6] != 0) else { return found };
        assert_eq!(header[6] & 0xf0, 0x10, "every fragment is sealed");
        let len = usize::from(u16::from_le_bytes([header[4], header[5]]));
        let round = u32::from_le_bytes(header[11..].try_into().unwrap());
        let end = (at + 11 + len).min(log.len());
        found.push(Sealed { offset: at, round, bytes: log[at + 4..end].to_vec() });
        at = end;
    }
}

/// Everything that was ever sealed, by key (told by the salt) and nonce.
#[derive(Default)]
struct Nonces(BTreeMap<(Vec<u8>, usize, u32), Vec<u8>>);

impl Nonces {
    /// Notes what stands in a log now.
    fn note(&mut self, log: &[u8]) {
        for Sealed { offset, round, bytes } in fragments(log) {
            let salt = log[32..64].to_vec();
            let known = self.0.entry((salt, offset, round)).or_default();
            // Of a torn fragment only the front has landed, and zeros may stand behind it.
            let landed = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
            let same = known.iter().zip(&bytes[..landed]).all(|(known, byte)| known == byte);
            assert!(same, "two texts at offset {offset} in round {round}");
            if known.len() < landed {
                *known = bytes[..landed].to_vec();
            }
        }
    }
}

#[test]
fn a_sealed_log_of_two_records_is_these_bytes() {
    let fs = empty_store(42);
    let keys = keyring(42);
    let mut writer = create_with(&fs, WRITTEN, Some(&keys));
    writer.append(head(3, 4_196), &[b"first ", b"record"]).unwrap();
    writer.sync_handle().sync().unwrap();
    writer.append(head(300, 70_000), &[]).unwrap();
    writer.close().unwrap();
    let rows = bytes_of(&fs);
    let rows = rows.chunks(16).map(|row| row.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "));
    expect![[r#"
        52 41 54 45 4c 57 41 4c 01 00 00 00 30 31 32 33
        34 35 36 37 38 39 61 62 63 64 65 66 f2 23 48 24
        95 6e eb 2f 26 32 d7 bd 03 f1 66 b2 33 e3 ef 28
        52 9f 0f 13 57 67 52 47 94 e3 4a 0e ff e1 1c 58
        07 00 00 00 01 00 00 00 03 00 00 00 00 10 00 00
        00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
        00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
        00 00 00 00 00 00 00 00 00 00 00 00 f1 a9 89 5f
        23 b4 41 63 24 00 11 07 00 00 00 00 00 00 00 00
        03 e4 20 b8 ba a7 b7 24 58 95 24 41 19 2d 42 ce
        ec 3a 7d 13 d7 e2 bf 41 40 f7 f3 ca 4d fd 8c 9b
        fc 0c 63 1b 00 11 07 00 00 00 00 00 00 00 af 01
        ac 02 f0 a2 04 a6 c1 1b ff d5 7f 88 e2 06 c5 05
        91 cc 04 82 69 a4 00 98 84 18 00 15 07 00 00 00
        00 00 00 00 af 01 00 00 7c e8 50 70 70 48 82 26
        d9 98 06 3e e6 dd a4 6a d4 6c 69 57 18 00 15 07
        00 00 00 00 00 00 00 f8 01 00 00 88 71 3a 44 e4
        c4 aa 7f d4 95 e0 0d 52 71 c9 1d"#]]
    .assert_eq(&rows.collect::<Vec<_>>().join("\n"));
}

#[test]
fn what_was_appended_comes_back_and_does_not_show() {
    let keys = keyring(1);
    let around_the_end = (0..90).map(|less| vec![BLOCK_LEN - LOG_HEADER_LEN - less, 40, 0, 5]);
    let lens = around_the_end.chain([SPANNING.to_vec(), vec![700_000, 3]]);
    for (seed, (lens, options)) in (0..).zip(lens.flat_map(|lens| [(lens.clone(), WRITTEN), (lens, MAPPED)])) {
        let fs = empty_store(seed);
        let mut writer = create_with(&fs, options, Some(&keys));
        let payloads: Vec<_> = lens.iter().map(|len| payload(*len)).collect();
        for payload in &payloads {
            writer.append(head(1, 2), &[payload]).unwrap();
        }
        let open = bytes_of(&fs);
        writer.close().unwrap();
        let back = read_with(&fs, RecoveryMode::AbsoluteConsistency, Some(&keys)).unwrap();
        assert_eq!(back.end.kind, EndKind::Closed);
        assert!(back.payloads() == payloads, "{lens:?}");
        for bytes in [open, bytes_of(&fs)] {
            assert!(!bytes.windows(8).any(|window| MARK.windows(8).any(|mark| mark == window)), "{lens:?}");
            fragments(&bytes);
        }
    }
}

#[test]
fn without_its_key_a_log_does_not_open_nor_a_plain_one_with_keys_of_a_store_that_has_none() {
    let (fs, keys, others) = (empty_store(2), keyring(1), keyring(2));
    create_with(&fs, WRITTEN, Some(&keys)).append(head(0, 0), &[MARK]).unwrap();
    let id = keys.current();
    for mode in [RecoveryMode::Default, RecoveryMode::SkipCorrupt] {
        for (given, expected) in [(None, KeyError::NoKeys(id)), (Some(&others), KeyError::UnknownKey(id))] {
            match read_with(&fs, mode, given) {
                Err(Error::Key { path: at, source }) => assert_eq!((at, source), (path(), expected)),
                other => panic!("{other:?}"),
            }
        }
    }
    let fs = empty_store(3);
    create(&fs, WRITTEN).append(head(0, 0), &[MARK]).unwrap();
    match read_with(&fs, RecoveryMode::Default, Some(&keys)) {
        Err(Error::Key { path: at, source }) => assert_eq!((at, source), (path(), KeyError::NotEncrypted)),
        other => panic!("{other:?}"),
    }
    let registries: Arc<dyn Vfs> = Arc::new(MemFs::new(3));
    let provider = Arc::new(StaticKey::new(&[1; 32]));
    let keys = Keyring::create_beside_plain(&registries, Path::new("/"), STORE, provider, 0).unwrap();
    assert_eq!(read_with(&fs, RecoveryMode::Default, Some(&keys)).unwrap().payloads(), [MARK]);
}

/// A closed log that nobody had synced before, and one that was synced after each record and never closed.
fn written(keys: &Keyring) -> [Vec<u8>; 2] {
    [true, false].map(|close| {
        let fs = empty_store(4);
        let mut writer = create_with(&fs, WRITTEN, Some(keys));
        for len in [30, 0, 70] {
            writer.append(head(1, 2), &[&payload(len)]).unwrap();
            if !close {
                writer.sync_handle().sync().unwrap();
            }
        }
        if close {
            writer.close().unwrap();
        }
        bytes_of(&fs)
    })
}

#[test]
fn with_any_bit_flipped_the_log_is_corrupt_or_ends_before_it() {
    let keys = keyring(1);
    let payloads = [30, 0, 70].map(payload);
    for bytes in written(&keys) {
        let last = fragments(&bytes).last().unwrap().offset;
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            match read_with(&store_with(&damaged), RecoveryMode::Default, Some(&keys)) {
                Err(Error::Corruption(_) | Error::Incompatible { .. }) => {}
                Ok(back) => {
                    assert!(bit / 8 >= last, "bit {bit}: what was durable is damaged, and nobody says so");
                    assert!(payloads.iter().zip(back.payloads()).all(|(wrote, read)| wrote == read));
                    assert!(matches!(back.end.kind, EndKind::Torn(_)) || back.end.dropped_bytes > 0);
                }
                other => panic!("bit {bit}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_change_that_puts_the_checksum_right_is_found_by_the_tag() {
    let keys = keyring(1);
    let [closed, _] = written(&keys);
    let salt = crc32(&closed[32..64]);
    let all = fragments(&closed);
    assert_eq!(all.len(), 5);
    for Sealed { offset, bytes: fragment, .. } in &all[..4] {
        for at in 7..fragment.len() {
            let mut forged = closed.clone();
            forged[offset + 4 + at] ^= 1;
            let sum = crc32_salted(salt ^ *offset as u32, &forged[offset + 4..][..fragment.len()]);
            forged[*offset..offset + 4].copy_from_slice(&sum.to_le_bytes());
            let fs = store_with(&forged);
            let result = read_with(&fs, RecoveryMode::Default, Some(&keys));
            assert!(matches!(&result, Err(Error::Corruption(found)) if found.offset == *offset as u64), "{result:?}");
            let salvaged = read_with(&fs, RecoveryMode::SkipCorrupt, Some(&keys)).unwrap();
            let is_tampered = |cause| matches!(cause, Damage::Tampered | Damage::SyncedOffsets);
            assert!(salvaged.skipped.iter().all(|skipped| is_tampered(skipped.cause)));
            let lost = salvaged.records.len() + salvaged.skipped.len();
            assert!(lost >= 3 && salvaged.records.iter().all(|record| payload(record.payload.len()) == record.payload));
        }
    }
}

#[test]
fn a_sealed_log_that_lost_its_header_still_proves_what_was_durable_and_gives_out_nothing() {
    let keys = keyring(1);
    for mut bytes in written(&keys) {
        bytes[..LOG_HEADER_LEN].fill(0);
        let fs = store_with(&bytes);
        assert!(matches!(read_with(&fs, RecoveryMode::Default, Some(&keys)), Err(Error::Corruption(_))));
        let salvaged = read_with(&fs, RecoveryMode::SkipCorrupt, Some(&keys)).unwrap();
        assert!(salvaged.records.is_empty());
        assert!(salvaged.skipped.iter().skip(1).all(|skipped| skipped.cause == Damage::KeyLost));
        assert!(salvaged.end.dropped_bytes > 0);
    }
}

/// What is done to a log where an append failed and was cut away.
const AFTER_A_CUT: [fn(&mut LogWriter) -> wal::Result<()>; 3] = [
    |writer| writer.append(head(9, 9), &[&[0xaa; 120]]).map(drop),
    |writer| writer.append(head(9, 9), &[&[0xbb; 90_000]]).map(drop),
    LogWriter::end,
];

#[test]
fn nothing_is_sealed_twice_under_one_nonce_whatever_fails_and_is_cut() {
    let keys = keyring(1);
    let mut cases = 0;
    for (options, landed) in [WRITTEN, MAPPED].into_iter().flat_map(|of| [0, 40, 70, 90, 119].map(|at| (of, at))) {
        for plan in 0..AFTER_A_CUT.len().pow(3) {
            let faults = FaultFs::over_memory(MemFs::new(1), FaultPlan::none());
            let fs: Arc<dyn Vfs> = Arc::new(faults.clone());
            fs.create_dir_all(Path::new("/store")).unwrap();
            let mut writer = create_with(&fs, options, Some(&keys));
            writer.append(head(0, 0), &[b"acknowledged"]).unwrap();
            let mut nonces = Nonces::default();
            // Three attempts at one place, each cut away, and what follows there in the end.
            for attempt in [plan % 3, plan / 3 % 3, plan / 9] {
                let fault = faults.arm(Fault::on(Operation::Append, Cause::NoSpace).after_bytes(landed));
                AFTER_A_CUT[attempt](&mut writer).unwrap_err();
                assert_eq!(faults.hits(fault), 1);
                nonces.note(&bytes_of(&fs));
                writer.cut_to_last_record().unwrap();
            }
            writer.append(head(1, 1), &[b"goes on"]).unwrap();
            nonces.note(&bytes_of(&fs));
            // The proof of a closed log fails, is cut away, and nothing follows.
            faults.arm(Fault::on(Operation::Append, Cause::NoSpace).nth(2).after_bytes(landed.min(30)));
            writer.close().unwrap();
            nonces.note(&bytes_of(&fs));
            let back = read_with(&fs, RecoveryMode::AbsoluteConsistency, Some(&keys)).unwrap();
            assert_eq!(back.payloads(), [&b"acknowledged"[..], b"goes on"]);
            cases += 1;
        }
    }
    assert_eq!(cases, 10 * 27);
}

#[test]
fn the_check_of_nonces_finds_a_place_that_was_sealed_twice() {
    let keys = keyring(1);
    let logs = [b"one", b"two"].map(|payload| {
        let fs = empty_store(5); // The same randomness, so the same salt.
        create_with(&fs, WRITTEN, Some(&keys)).append(head(0, 0), &[payload]).unwrap();
        bytes_of(&fs)
    });
    let mut nonces = Nonces::default();
    nonces.note(&logs[0]);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| nonces.note(&logs[1]))).is_err());
}

#[test]
fn a_log_made_again_under_the_same_number_after_a_crash_shares_no_key_with_the_first() {
    let keys = keyring(1);
    let mem = MemFs::new(6);
    let mut nonces = Nonces::default();
    for life in 0..20u8 {
        let mem = mem.crash_image(CrashMode::KeepAll, u64::from(life));
        mem.create_dir_all(Path::new("/store")).unwrap();
        let fs: Arc<dyn Vfs> = Arc::new(mem);
        create_with(&fs, WRITTEN, Some(&keys)).append(head(0, 0), &[&[life; 50]]).unwrap();
        nonces.note(&bytes_of(&fs));
    }
    assert_eq!(nonces.0.len(), 20);
}
