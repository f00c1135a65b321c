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

use base::{SegmentId, ValuePointer};
use support::{OwnedEntry, begin_with, collect, entries_of, fill, kill, open, path, sealed, written};
use vfs::{MemFs, RealFs, Vfs};
use vlog::{CollectContext, DeadSet, Error, IoMode, Options, RecoveryInput, Result, ValueLog};

const TICKET: u64 = 3;

/// Everything that can be learnt from a log of one sealed segment with some dead records.
type Contents = (Vec<Vec<u8>>, Vec<OwnedEntry>, DeadSet, Vec<vlog::SegmentStatistics>);

struct Fixture {
    fs: MemFs,
    segment: SegmentId,
    pointers: Vec<ValuePointer>,
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
        Self { fs, segment: SegmentId(1), pointers }
    }

    /// What was left of two segments, one of which holds what was left of another, with a dead record.
    fn collected() -> Self {
        let fs = MemFs::new(1);
        let log = open(&fs, Options { segment_entries: 4, ..written() });
        let mut pointers: Vec<_> = fill(&log, 4, 30).into_iter().map(|(_, pointer)| pointer).collect();
        log.seal_all().unwrap();
        kill(&log, 1, &[pointers.remove(0)]);
        collect(&log, &sealed(&log));
        pointers.extend(fill(&log, 4, 40).into_iter().map(|(_, pointer)| pointer));
        log.seal_all().unwrap();
        kill(&log, 2, &[pointers.remove(4)]);
        let segment = collect(&log, &sealed(&log)).segment.unwrap();
        log.prepare_deaths(TICKET, &[pointers[2]]).unwrap();
        log.apply_deaths(&[TICKET]).unwrap();
        log.remove_released().unwrap();
        log.close().unwrap();
        Self { fs, segment, pointers }
    }

    fn contents(&self, io_mode: IoMode, read_only: bool) -> Result<Contents> {
        let fs = self.fs.crash_image(vfs::CrashMode::KeepAll, 1);
        let input = RecoveryInput { live_tickets: &[TICKET], must_exist: true, ..RecoveryInput::default() };
        let (log, recovery) = begin_with(&fs, Options { io_mode, read_only, ..written() }, input)?;
        assert_eq!(recovery.torn_tails, []);
        log.finish_recovery()?;
        let set = log.segments();
        let values = self.pointers.iter().map(|pointer| Ok(set.read(*pointer)?.to_vec())).collect::<Result<_>>()?;
        Ok((values, entries_of(&log, self.segment)?, log.dead_set(self.segment)?, log.statistics()))
    }

    /// What can be read of what lives once all was collected.
    fn collect(&self, io_mode: IoMode) -> Result<Vec<Vec<u8>>> {
        let fs = self.fs.crash_image(vfs::CrashMode::KeepAll, 1);
        let input = RecoveryInput { live_tickets: &[TICKET], must_exist: true, ..RecoveryInput::default() };
        let (log, _) = begin_with(&fs, Options { io_mode, ..written() }, input)?;
        log.finish_recovery()?;
        let dead = log.dead_set(self.segment)?.records();
        let collection = log.collect(&[self.segment], &CollectContext::unpaced())?.unwrap();
        assert_eq!(collection.records + dead, self.pointers.len() as u64);
        let set = log.segments();
        Ok(self.pointers.iter().filter_map(|pointer| set.read(*pointer).ok()).map(|value| value.to_vec()).collect())
    }

    /// Flips one bit of each byte of a file in turn and cuts the file at each length, and reads.
    fn damage_everywhere(&self, name: &str, read_only: bool) -> usize {
        self.damage_and(name, &|io_mode| self.contents(io_mode, read_only))
    }

    /// The same with what `look` sees. Returns how often that was an error; the other times it is what it is without
    /// damage.
    fn damage_and<T: PartialEq + std::fmt::Debug>(&self, name: &str, look: &dyn Fn(IoMode) -> Result<T>) -> usize {
        let whole = look(IoMode::Pread).unwrap();
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
            match look(io_mode) {
                Ok(seen) => assert_eq!(seen, whole, "{name}: damage {at} gave other data"),
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
fn no_flipped_or_missing_byte_of_what_was_collected_goes_unnoticed() {
    let fixture = Fixture::collected();
    for name in ["000004.vlog", "000004.hint", "000004.map", "000004.dead", "VLOG-MANIFEST"] {
        let len = fixture.fs.read(&path(name)).unwrap().len();
        assert_eq!(fixture.damage_everywhere(name, true), 2 * len, "{name}");
    }
}

#[test]
fn nothing_that_is_damaged_is_collected_as_something_else() {
    let fixture = Fixture::collected();
    for name in ["000004.vlog", "000004.hint", "000004.map", "000004.dead"] {
        let refused = fixture.damage_and(name, &|io_mode| fixture.collect(io_mode));
        let len = fixture.fs.read(&path(name)).unwrap().len();
        // The dead record of the segment is not read.
        assert!(refused > 2 * len - 90, "{name}: {refused} of {}", 2 * len);
    }
}

#[test]
fn a_companion_file_that_is_missing_is_named() {
    for (name, what) in
        [("000004.hint", "missing hint file"), ("000004.dead", "missing dead set"), ("000004.map", "missing map")]
    {
        let fixture = Fixture::collected();
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
    for name in ["000004.vlog", "000004.hint", "000004.dead", "000004.map", "VLOG-MANIFEST"] {
        let fixture = Fixture::collected();
        fixture.fs.edit(&path(name), |bytes| bytes[8] = 2).unwrap();
        let error = fixture.contents(IoMode::Pread, true).unwrap_err();
        assert!(matches!(error, Error::Incompatible { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(name) && text.contains("format version") && text.contains("found 2"), "{text}");
    }
}

#[test]
fn unverified_reads_still_never_leave_their_record() {
    for fixture in [Fixture::new(), Fixture::collected()] {
        let (values, ..) = fixture.contents(IoMode::Pread, true).unwrap();
        let log = open(&fixture.fs.crash_image(vfs::CrashMode::KeepAll, 1), Options { verify: false, ..written() });
        let set = log.segments();
        for (value, pointer) in values.iter().zip(&fixture.pointers) {
            assert_eq!(set.read(*pointer).unwrap(), value);
            let beside = ValuePointer { offset: pointer.offset + 3, ..*pointer };
            let longer = ValuePointer { len: pointer.len + 1, ..*pointer };
            let elsewhere = ValuePointer { segment: SegmentId(pointer.segment.0 + 1), ..*pointer };
            for wrong in [beside, longer, elsewhere] {
                assert!(set.read(wrong).map_or_else(|error| error.is_corruption(), |other| other != *value));
            }
        }
    }
}

/// A file with a terabyte of holes behind what was written.
#[test]
#[expect(clippy::disallowed_methods, reason = "only a real file system has holes")]
fn a_length_that_no_memory_holds_is_damage() {
    let fixture = Fixture::collected();
    let mut random = [0; 8];
    RealFs::new().fill_random(&mut random).unwrap();
    let dir = std::env::temp_dir().join(format!("vlog-damage-{:016x}", u64::from_ne_bytes(random)));
    for name in ["VLOG-MANIFEST", "000004.dead", "000004.map", "000003.deaths"] {
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
