//! Every byte of every file of a sealed log is flipped: what comes back is a typed error that names the file, or the
//! very records that were written.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::Arc;

use base::SegmentId;
use support::{OwnedEntry, Sample, begin_with, entries_of, fill, open, path, written};
use vfs::{MemFs, RealFs, Vfs};
use vlog::{DeadSet, Error, IoMode, Options, RecoveryInput, Result, ValueLog};

const TICKET: u64 = 3;

/// Everything that can be learnt from a log of one sealed segment with some dead records.
type Contents = (Vec<Vec<u8>>, Vec<OwnedEntry>, DeadSet, Vec<vlog::SegmentStatistics>);

struct Fixture {
    fs: MemFs,
    pointers: Vec<base::ValuePointer>,
}

impl Fixture {
    fn new() -> Self {
        let fs = MemFs::new(1);
        let log = open(&fs, written());
        let pointers: Vec<_> = fill(&log, 6, 30).into_iter().map(|(_, pointer)| pointer).collect();
        log.seal_all().unwrap();
        log.prepare_deaths(TICKET, &[pointers[1], pointers[4]]).unwrap();
        log.apply_deaths(&[TICKET]).unwrap();
        log.close().unwrap();
        Self { fs, pointers }
    }

    fn contents(&self, io_mode: IoMode, read_only: bool) -> Result<Contents> {
        let fs = self.fs.crash_image(vfs::CrashMode::KeepAll, 1);
        let input = RecoveryInput { live_tickets: &[TICKET], must_exist: true, ..RecoveryInput::default() };
        let (log, recovery) = begin_with(&fs, Options { io_mode, read_only, ..written() }, input)?;
        assert_eq!(recovery.torn_tails, []);
        log.finish_recovery()?;
        let set = log.segments();
        let values = self.pointers.iter().map(|pointer| Ok(set.read(*pointer)?.to_vec())).collect::<Result<_>>()?;
        Ok((values, entries_of(&log, SegmentId(1))?, log.dead_set(SegmentId(1))?, log.statistics()))
    }

    /// Flips one bit of each byte of a file in turn and cuts the file at each length.
    fn damage_everywhere(&self, name: &str, read_only: bool) -> usize {
        let whole = self.contents(IoMode::Pread, read_only).unwrap();
        let file = path(name);
        let bytes = self.fs.read(&file).unwrap();
        let mut refused = 0;
        for at in 0..2 * bytes.len() {
            let mut damaged = bytes.clone();
            match at.checked_sub(bytes.len()) {
                None => damaged[at] ^= 1 << (at % 8),
                Some(len) => damaged.truncate(len),
            }
            self.fs.write(&file, damaged).unwrap();
            let io_mode = if at % 2 == 0 { IoMode::Mapped } else { IoMode::Pread };
            match self.contents(io_mode, read_only) {
                Ok(contents) => assert_eq!(contents, whole, "{name}: damage {at} gave other data"),
                Err(Error::Corruption(corruption)) => {
                    assert_eq!(corruption.path, file, "{corruption}");
                    assert!(corruption.offset <= bytes.len() as u64, "{corruption}");
                    refused += 1;
                }
                Err(Error::Incompatible { path, .. }) => {
                    assert_eq!(path, file);
                    refused += 1;
                }
                Err(other) => panic!("{name}: damage {at}: {other}"),
            }
        }
        self.fs.write(&file, bytes.clone()).unwrap();
        refused
    }
}

#[test]
fn no_flipped_or_missing_byte_of_a_sealed_segment_goes_unnoticed() {
    let fixture = Fixture::new();
    let len = fixture.fs.read(&path("000001.vlog")).unwrap().len();
    assert_eq!(fixture.damage_everywhere("000001.vlog", true), 2 * len);
}

#[test]
fn no_flipped_or_missing_byte_of_a_hint_file_goes_unnoticed() {
    let fixture = Fixture::new();
    let len = fixture.fs.read(&path("000001.hint")).unwrap().len();
    assert_eq!(fixture.damage_everywhere("000001.hint", true), 2 * len);
}

#[test]
fn no_flipped_or_missing_byte_of_a_dead_set_goes_unnoticed() {
    let fixture = Fixture::new();
    let len = fixture.fs.read(&path("000001.dead")).unwrap().len();
    assert_eq!(fixture.damage_everywhere("000001.dead", true), 2 * len);
}

#[test]
fn no_flipped_or_missing_byte_of_a_live_death_list_goes_unnoticed() {
    let fixture = Fixture::new();
    let len = fixture.fs.read(&path("000003.deaths")).unwrap().len();
    assert_eq!(fixture.damage_everywhere("000003.deaths", false), 2 * len);
}

#[test]
fn no_flipped_or_missing_byte_of_the_manifest_goes_unnoticed() {
    let fixture = Fixture::new();
    let len = fixture.fs.read(&path("VLOG-MANIFEST")).unwrap().len();
    assert_eq!(fixture.damage_everywhere("VLOG-MANIFEST", true), 2 * len);
}

#[test]
fn a_companion_file_that_is_missing_is_named() {
    for (name, what) in [("000001.hint", "missing hint file"), ("000001.dead", "missing dead set")] {
        let fixture = Fixture::new();
        vfs::Vfs::remove_file(&fixture.fs, &path(name)).unwrap();
        let Err(Error::Corruption(corruption)) = fixture.contents(IoMode::Pread, true) else { panic!("{name}") };
        assert_eq!((corruption.path.clone(), corruption.what.as_str()), (path(name), what));
    }
}

#[test]
fn companion_files_of_another_life_of_the_segment_are_refused() {
    // The same id in the same store, as after a copy of files from one folder to another.
    let other = MemFs::new(77);
    let log = open(&other, written());
    let (_, pointer) = fill(&log, 3, 10)[0];
    log.seal_all().unwrap();
    log.prepare_deaths(1, &[pointer]).unwrap();
    log.apply_deaths(&[1]).unwrap();
    for name in ["000001.hint", "000001.dead"] {
        let fixture = Fixture::new();
        fixture.fs.write(&path(name), other.read(&path(name)).unwrap()).unwrap();
        let Err(Error::Corruption(corruption)) = fixture.contents(IoMode::Pread, true) else { panic!("{name}") };
        assert_eq!((corruption.path.clone(), corruption.what.as_str()), (path(name), "file of another segment"));
    }
}

#[test]
fn an_unknown_version_is_a_clear_refusal_whatever_else_the_file_holds() {
    for name in ["000001.vlog", "000001.hint", "000001.dead", "VLOG-MANIFEST"] {
        let fixture = Fixture::new();
        fixture.fs.edit(&path(name), |bytes| bytes[8] = 2).unwrap();
        let error = fixture.contents(IoMode::Pread, true).unwrap_err();
        assert!(matches!(error, Error::Incompatible { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(name) && text.contains("format version") && text.contains("found 2"), "{text}");
    }
}

#[test]
fn unverified_reads_still_never_leave_their_record() {
    let fixture = Fixture::new();
    let log = open(&fixture.fs.crash_image(vfs::CrashMode::KeepAll, 1), Options { verify: false, ..written() });
    let set = log.segments();
    for (number, pointer) in fixture.pointers.iter().enumerate() {
        assert_eq!(set.read(*pointer).unwrap(), Sample::of(number as u64, 30).value);
        let beside = base::ValuePointer { offset: pointer.offset + 3, ..*pointer };
        assert!(set.read(beside).unwrap_err().is_corruption());
    }
    let _: ValueLog = log;
}

/// A file with a terabyte of holes behind what was written.
#[test]
#[expect(clippy::disallowed_methods, reason = "only a real file system has holes")]
fn a_length_that_no_memory_holds_is_damage() {
    let fixture = Fixture::new();
    let mut random = [0; 8];
    RealFs::new().fill_random(&mut random).unwrap();
    let dir = std::env::temp_dir().join(format!("vlog-damage-{:016x}", u64::from_ne_bytes(random)));
    for name in ["VLOG-MANIFEST", "000001.dead", "000003.deaths"] {
        std::fs::create_dir_all(&dir).unwrap();
        for file in fixture.fs.files() {
            let target = dir.join(file.file_name().unwrap());
            std::fs::write(target, fixture.fs.read(&file).unwrap()).unwrap();
        }
        std::fs::File::options().write(true).open(dir.join(name)).unwrap().set_len(1 << 40).unwrap();
        let input = RecoveryInput { live_tickets: &[TICKET], must_exist: true, ..RecoveryInput::default() };
        let opened =
            ValueLog::open(Arc::new(RealFs::new()), &dir, written(), input).and_then(|(log, _)| log.finish_recovery());
        let error = opened.unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("too long"), "{name}: {error}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
