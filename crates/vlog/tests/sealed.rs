//! Encrypted value logs: no key and no value shows in any file, whatever is changed is found, records move between plain
//! and encrypted segments at their addresses, and nothing is sealed twice under one nonce.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use base::checksum::{crc32, crc32_salted};
use base::{EntryMeta, InternalKeyRef, SegmentId, ValueLogHead, ValuePointer};
use encryption::{KeyError, Keyring};
use expect_test::expect;
use support::{Sample, assert_all, begin, entries_of, fill, keyring, keyring_beside_plain, open, path, small, written};
use vfs::{AppendMode, Cause, CrashMode, Fault, FaultFs, FaultPlan, MemFs, Operation};
use vlog::{CollectContext, Error, IoMode, Options, RecoveryInput, ValueLog};

const HEADER_LEN: usize = 112;

fn sealed_segments(log: &ValueLog) -> Vec<SegmentId> {
    log.statistics().iter().filter(|segment| segment.sealed).map(|segment| segment.segment).collect()
}

fn kill_every_third(log: &ValueLog, written: Vec<(Sample, ValuePointer)>) -> Vec<(Sample, ValuePointer)> {
    let (dead, alive): (Vec<_>, Vec<_>) = written.into_iter().partition(|(sample, _)| sample.version % 3 == 0);
    let dead: Vec<ValuePointer> = dead.into_iter().map(|(_, pointer)| pointer).collect();
    log.sync().unwrap();
    log.prepare_deaths(1, &dead).unwrap();
    log.apply_deaths(&[1]).unwrap();
    alive
}

/// Files in which a sample's key or the start of its value stands.
fn shown(fs: &MemFs, written: &[(Sample, ValuePointer)]) -> Vec<String> {
    let secrets: Vec<_> = written.iter().flat_map(|(sample, _)| [&sample.user_key[..], &sample.value[..9]]).collect();
    let shows = |bytes: &[u8]| secrets.iter().any(|secret| bytes.windows(secret.len()).any(|at| at == *secret));
    let files = fs.files().into_iter().filter(|file| shows(&fs.read(file).unwrap()));
    files.map(|file| file.display().to_string()).collect()
}

#[test]
fn the_bytes_of_an_encrypted_segment_are_these() {
    let fs = MemFs::new(42);
    let log = open(&fs, Options { keys: Some(keyring(42)), ..written() });
    log.append(7, InternalKeyRef::new(b"honey", 1), EntryMeta::put(), b"the value").unwrap();
    let mut dump = String::new();
    for row in fs.read(&path("000001.vlog")).unwrap().chunks(16) {
        row.iter().for_each(|byte| write!(dump, "{byte:02x} ").unwrap());
        dump.push('\n');
    }
    expect![[r#"
        72 61 74 65 6c 56 4c 47 01 00 00 00 f2 23 48 24 
        73 74 6f 72 65 20 6f 66 20 61 20 74 65 73 74 21 
        d5 7d 3d 0b 77 b8 05 57 ae 77 7f 29 38 d7 54 9e 
        bf 19 5b 77 4a 72 74 34 be 50 16 45 0e 8a 34 7e 
        01 00 00 00 00 00 00 00 e6 46 3e 7f 89 ed 6d 83 
        b7 6d ed 47 73 97 1f 85 00 00 00 00 00 00 00 00 
        00 00 00 00 00 00 00 00 00 00 00 00 18 b4 98 3c 
        00 00 05 00 09 00 00 00 07 00 00 00 00 00 00 00 
        00 00 00 00 57 33 6f 53 5c ff 43 92 b1 ed 1b 90 
        ea fd 14 5f d6 b6 ca b2 05 66 2c 55 3d c6 a8 51 
        10 d7 63 54 c8 7c dc a8 72 83 20 7c 2d c6 f5 0e 
        08 2f ce ff dc b7 17 ce 57 a7 74 21 3b 6a 
    "#]]
    .assert_eq(&dump);
}

#[test]
fn no_key_and_no_value_shows_in_any_file_and_all_is_read_back() {
    for (mode, io_mode) in [
        (AppendMode::Written, IoMode::Pread),
        (AppendMode::Written, IoMode::Mapped),
        (AppendMode::Mapped, IoMode::Pread),
        (AppendMode::Mapped, IoMode::Mapped),
    ] {
        let fs = MemFs::new(1);
        let options = Options { mode, io_mode, keys: Some(keyring(1)), ..small() };
        let log = open(&fs, options.clone());
        let written = fill(&log, 70, 90);
        assert_all(&log, &written);
        assert_eq!(shown(&fs, &written), [""; 0]);
        let killed = written.clone();
        log.seal_all().unwrap();
        assert_eq!(shown(&fs, &killed), [""; 0], "hint files too");
        let alive = kill_every_third(&log, killed);
        log.collect(&sealed_segments(&log), &CollectContext::unpaced()).unwrap().unwrap();
        log.remove_released().unwrap();
        assert_all(&log, &alive);
        assert_eq!(shown(&fs, &written), [""; 0], "maps and copies too");
        log.close().unwrap();
        let log = open(&fs, options);
        assert_all(&log, &alive);
        let [segment] = sealed_segments(&log).try_into().unwrap();
        assert_eq!(entries_of(&log, segment).unwrap().len(), alive.len());
    }
    let plain = MemFs::new(1);
    let written = fill(&open(&plain, small()), 70, 90);
    assert!(!shown(&plain, &written).is_empty(), "the search finds what is not encrypted");
}

#[test]
fn a_plain_log_goes_on_encrypted_and_its_records_move_at_their_addresses() {
    let fs = MemFs::new(1);
    let log = open(&fs, small());
    let old = fill(&log, 40, 100);
    log.close().unwrap();
    let keys = keyring_beside_plain(1);
    let options = Options { keys: Some(Arc::clone(&keys)), ..small() };
    let log = open(&fs, options.clone());
    assert_all(&log, &old);
    let mut all: Vec<_> =
        (100..140).map(|number| Sample::of(number, 100)).map(|s| (s.append(&log).unwrap(), s)).collect();
    let new: Vec<_> = all.drain(..).map(|(pointer, sample)| (sample, pointer)).collect();
    assert_eq!(shown(&fs, &new), [""; 0]);
    log.seal_all().unwrap();
    let alive = kill_every_third(&log, [old.clone(), new].concat());
    log.collect(&sealed_segments(&log), &CollectContext::unpaced()).unwrap().unwrap();
    log.remove_released().unwrap();
    assert_all(&log, &alive);
    assert_eq!(shown(&fs, &old), [""; 0], "what was plain is encrypted once it was collected");
    log.close().unwrap();
    assert_all(&open(&fs, options), &alive);

    let id = keys.current();
    for (given, expected) in [(None, KeyError::NoKeys(id)), (Some(keyring(2)), KeyError::UnknownKey(id))] {
        match begin(&fs, Options { keys: given, ..small() }, ValueLogHead::default()) {
            Err(Error::Key { source, .. }) => assert_eq!(source, expected),
            other => panic!("{:?}", other.map(|_| ())),
        }
    }
}

#[test]
fn a_change_that_puts_the_checksum_right_is_found_by_the_tags() {
    let fs = MemFs::new(1);
    let options = Options { keys: Some(keyring(1)), ..written() };
    let log = open(&fs, options.clone());
    let written = fill(&log, 1, 40);
    let whole = fs.read(&path("000001.vlog")).unwrap();
    let start = crc32(&whole[32..64]);
    let header_and_key = HEADER_LEN..HEADER_LEN + 20 + 9 + 8;
    let seals = whole.len() - 36..whole.len() - 4;
    for at in HEADER_LEN..whole.len() - 4 {
        let mut forged = whole.clone();
        forged[at] ^= 1;
        let sum = crc32_salted(start, &forged[HEADER_LEN..whole.len() - 4]);
        forged[whole.len() - 4..].copy_from_slice(&sum.to_le_bytes());
        fs.write(&path("000001.vlog"), forged).unwrap();
        let error = log.segments().read(written[0].1).unwrap_err();
        assert!(error.is_corruption() && !error.to_string().contains("checksum"), "byte {at}: {error}");
        let input = RecoveryInput { must_exist: true, ..RecoveryInput::default() };
        let opened = ValueLog::open(Arc::new(fs.clone()), "vlog", options.clone(), input);
        // A walk over records opens their keys, and goes over values without.
        let is_walked = header_and_key.contains(&at) || (seals.start..seals.start + 16).contains(&at);
        let is_length = (HEADER_LEN + 2..HEADER_LEN + 8).contains(&at);
        let found = opened.map(|(_, recovery)| recovery);
        assert!(!is_walked || is_length || found.is_err(), "byte {at}: {found:?}");
    }
}

/// Texts of errors end up in logs.
#[test]
fn the_text_of_an_error_shows_keys_only_of_what_is_not_encrypted() {
    for keys in [None, Some(keyring(1))] {
        let log = open(&MemFs::new(1), Options { keys: keys.clone(), ..written() });
        let written = fill(&log, 2, 40);
        let other = InternalKeyRef::new(b"a wrong key", 5);
        let error = log.segments().read_checked(written[1].1, written[1].0.owner, other).unwrap_err().to_string();
        assert!(error.contains("000001.vlog") && error.contains("record of another key"), "{error}");
        assert_eq!(error.contains("a wrong key") && error.contains("key 00001"), keys.is_none(), "{error}");
        assert_eq!(error.contains("11 bytes@5") && error.contains("9 bytes@1"), keys.is_some(), "{error}");
    }
}

/// What stands at each place of each encrypted file (told by its salt) at any time.
#[derive(Default)]
struct Sealed(BTreeMap<Vec<u8>, Vec<u8>>);

impl Sealed {
    /// Notes all files: where two states of one file differ, one place was sealed twice.
    fn note(&mut self, fs: &MemFs) {
        for file in fs.files() {
            let bytes = fs.read(&file).unwrap();
            if bytes.len() < HEADER_LEN || bytes[12..16] == [0; 4] {
                continue;
            }
            let known = self.0.entry(bytes[32..64].to_vec()).or_default();
            let differs = known.iter().zip(&bytes).position(|(known, byte)| known != byte && *known != 0 && *byte != 0);
            assert_eq!(differs, None, "{}", file.display());
            if known.len() < bytes.len() {
                known.resize(bytes.len(), 0);
            }
            for (known, byte) in known.iter_mut().zip(bytes) {
                *known |= byte;
            }
        }
    }
}

#[test]
fn nothing_is_sealed_twice_at_one_place_over_failed_appends_and_crashes() {
    let keys: Arc<Keyring> = keyring(1);
    let options = || Options { keys: Some(Arc::clone(&keys)), ..small() };
    let mut sealed = Sealed::default();
    let mut number = 0;
    let mut mem = MemFs::new(1);
    for life in 0..40u64 {
        let faults = FaultFs::over_memory(mem.clone(), FaultPlan::none());
        let (log, _) = ValueLog::open(Arc::new(faults.clone()), "vlog", options(), RecoveryInput::default()).unwrap();
        log.finish_recovery().unwrap();
        for _ in 0..9 {
            number += 1;
            let fault = Fault::on(Operation::Append, Cause::NoSpace).at_suffix(".vlog").after_bytes(number * 7 % 90);
            let armed = (number % 3 == 0).then(|| faults.arm(fault));
            let failed = Sample::of(number, 60).append(&log).is_err();
            sealed.note(&mem);
            if let Some(armed) = armed {
                faults.disarm(armed);
                assert!(failed);
            }
            number += 1;
            Sample::of(number, 70).append(&log).unwrap();
            sealed.note(&mem);
        }
        if life % 3 == 0 {
            log.seal_all().unwrap();
            log.collect(&sealed_segments(&log), &CollectContext::unpaced()).unwrap();
            log.remove_released().unwrap();
        }
        sealed.note(&mem);
        let mode = [CrashMode::KeepAll, CrashMode::DropUnsynced, CrashMode::Random][life as usize % 3];
        mem = mem.crash_image(mode, 1_000 + life); // with other randomness from here on
    }
    assert!(sealed.0.len() > 250, "{} files", sealed.0.len());
}
