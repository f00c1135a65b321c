//! Bytes that nobody wrote: every decoder gives a value or an error, whatever it is fed behind a good checksum, and what
//! only a newer program can have written is refused as such.

use base::{SegmentId, StoreId, ValueLogHead};
use proptest::prelude::*;
use std::path::Path;
use vfs::{MemFs, Vfs};

use crate::dead_set::DeadSet;
use crate::death_list;
use crate::file_name::{dead_path, deaths_path, hint_path, manifest_path, segment_path};
use crate::header::{FileHeader, FileKind, HEADER_LEN_U64, Store};
use crate::hint::{HintReader, HintWriter};
use crate::manifest::{Manifest, OwnerTotals, SealedSegment};
use crate::map::{MapWriter, SegmentMap};
use crate::record::Origin;
use crate::record::RecordHeader;
use crate::scan::{Entry, RecordScanner};
use crate::segment_header::{Content, SegmentHeader};
use crate::{CompanionId, Error, Result, whole_file};

const STORE: Store<'static> = Store { id: StoreId([5; 16]), keys: None, whole_bytes_max: whole_file::WHOLE_BYTES_MAX };

fn dir() -> &'static Path {
    Path::new("vlog")
}

fn of(companion: CompanionId) -> SegmentHeader {
    let previous = ValueLogHead::default();
    SegmentHeader { id: SegmentId(1), companion, checksum_start: 0, cipher: None, content: Content::Commits, previous }
}

/// A file system on which `path` is a whole file of this kind and body, checksums and all.
fn with_body(kind: FileKind, path: &Path, number: u64, details: [u8; 16], body: &[u8]) -> MemFs {
    let fs = MemFs::new(1);
    fs.create_dir_all(dir()).unwrap();
    let header =
        FileHeader { details, ..FileHeader::salted(&fs, kind, STORE, number, Some(CompanionId::default())).unwrap().0 };
    whole_file::replace(&fs, path, STORE, &header, None, body).unwrap();
    fs
}

fn manifest_of(body: &[u8]) -> Result<Option<Manifest>> {
    let fs = with_body(FileKind::Manifest, &manifest_path(dir()), 1, [0; 16], body);
    Manifest::read(&fs, dir(), STORE)
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A manifest body with one segment of one record, of which the byte at `at` is replaced.
fn one_segment(at: usize, byte: u8) -> Vec<u8> {
    let mut body = words(&[9, 2, 0, 1]);
    body.extend_from_slice(&words(&[1]));
    body.extend_from_slice(&[0, 0]);
    body.extend_from_slice(&words(&[152, 1, 0, 0, 0, 0, 0, 1, 7, 1, 0, 40, 0]));
    body[at] = byte;
    body
}

#[test]
fn a_manifest_is_read_back_as_it_was_written() {
    let fs = MemFs::new(1);
    fs.create_dir_all(dir()).unwrap();
    let mut manifest = Manifest::empty();
    let owners =
        vec![OwnerTotals { owner: 1, records: 2, bytes: 100 }, OwnerTotals { owner: u32::MAX, records: 1, bytes: 50 }];
    let end = HEADER_LEN_U64 as u32 + 150;
    let companion = CompanionId([3; 16]);
    let segment =
        SealedSegment { companion, end, records: 3, has_dead_set: true, dead_set_after: 5, owners, origins: None };
    let collected = SealedSegment { origins: Some(vec![SegmentId(2), SegmentId(3)]), ..segment.clone() };
    manifest.segments.insert(SegmentId(4), segment);
    manifest.segments.insert(SegmentId(9), collected);
    (manifest.open_from, manifest.next_segment) = (SegmentId(6), SegmentId(70));
    manifest.deaths_before = ValueLogHead { segment: SegmentId(5), offset: 700 };
    manifest.write(&fs, dir(), STORE).unwrap();
    assert_eq!(Manifest::read(&fs, dir(), STORE).unwrap(), Some(manifest.clone()));
    assert_eq!(manifest.generation, 1);
}

#[test]
fn what_the_manifest_of_a_newer_program_may_say_is_refused_as_unknown() {
    assert!(manifest_of(&one_segment(0, 9)).unwrap().is_some());
    let dropped_owners = words(&[9, 2, 1, 0]);
    let content = one_segment(20, 2);
    let flags = one_segment(21, 4);
    for body in [dropped_owners, content, flags] {
        let refused = manifest_of(&body).unwrap_err();
        assert!(matches!(refused, Error::Incompatible { .. }), "{refused}");
    }
}

#[test]
fn a_manifest_that_contradicts_itself_is_damaged() {
    for (at, byte, what) in [
        (4, 10, "the first open segment above the counter"),
        (4, 1, "a sealed segment that is not below the first open one"),
        (12, 2, "a segment that is not there"),
        (20, 1, "a collected segment without origins"),
        (22, 153, "owners that do not make up the length"),
        (26, 2, "owners that do not make up the records"),
        (50, 2, "an owner that is not there"),
    ] {
        let refused = manifest_of(&one_segment(at, byte)).unwrap_err();
        assert!(refused.is_corruption(), "{what}: {refused}");
    }
    let counts = words(&[9, 2, 0, u32::MAX]);
    assert!(manifest_of(&counts).unwrap_err().is_corruption());
}

#[test]
fn an_address_is_in_one_file() {
    for origins in [&[1, 1][..], &[2, 1], &[1, 5], &[1, 3], &[u32::MAX]] {
        let mut manifest = Manifest::empty();
        (manifest.open_from, manifest.next_segment) = (SegmentId(5), SegmentId(9));
        let (end, owners) = (HEADER_LEN_U64 as u32, Vec::new());
        let companion = CompanionId([3; 16]);
        let own =
            SealedSegment { companion, end, records: 0, has_dead_set: false, dead_set_after: 0, owners, origins: None };
        let origins = origins.iter().copied().map(SegmentId).collect();
        manifest.segments.insert(SegmentId(8), SealedSegment { origins: Some(origins), ..own.clone() });
        manifest.segments.insert(SegmentId(3), own);
        let fs = MemFs::new(1);
        fs.create_dir_all(dir()).unwrap();
        manifest.write(&fs, dir(), STORE).unwrap();
        let refused = Manifest::read(&fs, dir(), STORE).unwrap_err();
        assert!(refused.is_corruption(), "{refused}");
    }
}

#[test]
fn a_map_finds_what_was_put_in_and_nothing_else() {
    let fs = MemFs::new(1);
    fs.create_dir_all(dir()).unwrap();
    let header = of(CompanionId([8; 16]));
    let all: Vec<Origin> = [(2, 112), (2, 500), (3, 112), (7, 1), (7, 2), (7, u32::MAX)]
        .map(|(segment, offset)| Origin { segment: SegmentId(segment), offset })
        .to_vec();
    let mut map = MapWriter::default();
    all.iter().zip(112..).for_each(|(origin, position)| map.push(*origin, position));
    assert_eq!(map.origins(), [2, 3, 7].map(SegmentId));
    map.finish(&fs, dir(), STORE, &header).unwrap();
    let path = crate::map_path(dir(), SegmentId(1));
    for io_mode in [crate::IoMode::Mapped, crate::IoMode::Pread] {
        let map = SegmentMap::open(&fs, dir(), STORE, &header, io_mode).unwrap();
        for (origin, position) in all.iter().zip(112..) {
            assert_eq!(map.find(*origin).unwrap(), Some(position), "{origin:?}");
        }
        for (segment, offset) in [(1, 112), (2, 111), (2, 113), (2, 501), (3, 500), (4, 112), (7, 0), (8, 1)] {
            assert_eq!(map.find(Origin { segment: SegmentId(segment), offset }).unwrap(), None);
        }
    }
    let whole = fs.read(&path).unwrap();
    for at in 0..whole.len() {
        fs.edit(&path, |bytes| bytes[at] ^= 4).unwrap();
        let found = SegmentMap::open(&fs, dir(), STORE, &header, crate::IoMode::Pread).and_then(|map| map.find(all[0]));
        assert!(found.is_err(), "byte {at}");
        fs.write(&path, whole[..at].to_vec()).unwrap();
        let found = SegmentMap::open(&fs, dir(), STORE, &header, crate::IoMode::Pread).map(|_| ());
        assert!(found.unwrap_err().is_corruption(), "cut at {at}");
        fs.write(&path, whole.clone()).unwrap();
    }
}

#[test]
fn other_contents_and_flags_are_refused_as_unknown_and_a_key_that_is_not_there_is_told() {
    let fs = MemFs::new(1);
    fs.create_dir_all(dir()).unwrap();
    let path = segment_path(dir(), SegmentId(1));
    let (_, bytes) =
        SegmentHeader::create(&fs, STORE, SegmentId(1), Content::Commits, ValueLogHead::default()).unwrap();
    assert!(SegmentHeader::decode(&path, STORE, SegmentId(1), &bytes).is_ok());
    for at in [8, 12, 88, 100, 104] {
        let mut unknown = bytes.clone();
        unknown[at] += 2;
        let checksum = base::checksum::crc32(&unknown[..108]);
        unknown[108..].copy_from_slice(&checksum.to_le_bytes());
        let refused = SegmentHeader::decode(&path, STORE, SegmentId(1), &unknown).unwrap_err();
        match at {
            12 => assert!(matches!(refused, Error::Key { .. }), "{refused}"),
            _ => assert!(matches!(refused, Error::Incompatible { .. }), "byte {at}: {refused}"),
        }
    }
    let wrong_number = SegmentHeader::decode(&path, STORE, SegmentId(2), &bytes).unwrap_err();
    assert!(wrong_number.is_corruption(), "{wrong_number}");
}

#[test]
fn a_record_with_a_flag_of_a_newer_program_ends_nothing_silently() {
    let fs = MemFs::new(1);
    fs.create_dir_all(dir()).unwrap();
    let (header, mut bytes) =
        SegmentHeader::create(&fs, STORE, SegmentId(1), Content::Commits, ValueLogHead::default()).unwrap();
    let start = bytes.len();
    let key = base::InternalKeyRef::new(b"key", 1);
    let record = RecordHeader::of(0, key, base::EntryMeta::put(), b"").unwrap();
    RecordHeader { flags: 0x40, ..record }.encode_with_key(key, &mut bytes);
    let checksum = base::checksum::crc32_salted(header.checksum_start, &bytes[start..]);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    let path = segment_path(dir(), SegmentId(1));
    fs.write(&path, bytes.clone()).unwrap();
    let file = fs.open_read(&path).unwrap();
    let refused = RecordScanner::new(file, header, bytes.len() as u64).next().map(|_| ()).unwrap_err();
    assert!(matches!(refused, Error::Incompatible { .. }), "{refused}");
}

#[test]
fn a_hint_file_that_lost_a_whole_chunk_is_damaged() {
    let fs = MemFs::new(1);
    fs.create_dir_all(dir()).unwrap();
    let header = of(CompanionId([8; 16]));
    let mut hint = HintWriter::create(&fs, dir(), STORE, &header).unwrap();
    let mut offset = HEADER_LEN_U64 as u32;
    for version in 0..4_000 {
        let key = base::InternalKeyRef::new(b"the key of a record", version);
        let len = crate::record_len(key.user_key.len(), 10) as u32;
        let pointer = base::ValuePointer { segment: SegmentId(1), len, offset };
        hint.add(&Entry { pointer, position: offset, owner: 0, key, meta: base::EntryMeta::put() }).unwrap();
        offset += len;
    }
    hint.finish().unwrap();
    let path = hint_path(dir(), SegmentId(1));
    let whole = fs.read(&path).unwrap();
    let chunk_end = |start: usize| {
        let len = u32::from_le_bytes(whole[start + 4..start + 8].try_into().unwrap());
        start + 12 + len as usize
    };
    let read = || {
        let mut hint = HintReader::open(&fs, dir(), STORE, &header, None).unwrap();
        let mut records = 0;
        while hint.next()?.is_some() {
            records += 1;
        }
        Ok::<_, Error>(records)
    };
    assert_eq!(read().unwrap(), 4_000);
    let (first, second) = (chunk_end(112), chunk_end(chunk_end(112)));
    for lost in [112..first, first..second] {
        let mut bytes = whole.clone();
        bytes.drain(lost);
        fs.write(&path, bytes).unwrap();
        assert!(read().unwrap_err().is_corruption());
    }
}

proptest! {
    #[test]
    fn any_body_is_decoded_or_refused(
        details: [u8; 16],
        small_count in 0u8..9,
        body in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        // Half of the time a count that the body may hold.
        let details = if small_count < 5 { [&[small_count, 0, 0, 0, 0, 0, 0, 0][..], &details[8..]].concat().try_into().unwrap() } else { details };
        let fs = with_body(FileKind::Manifest, &manifest_path(dir()), 1, details, &body);
        let _ = Manifest::read(&fs, dir(), STORE);
        let fs = with_body(FileKind::Dead, &dead_path(dir(), SegmentId(1)), 1, details, &body);
        if let Ok(Some(dead)) = DeadSet::read(&fs, dir(), STORE, &of(CompanionId::default())) {
            prop_assert!(dead.offsets().is_sorted_by(|one, next| one < next));
        }
        let fs = with_body(FileKind::Deaths, &deaths_path(dir(), 1), 1, details, &body);
        let _ = death_list::read(&fs, dir(), STORE, 1, &mut Vec::new());
        let _ = RecordHeader::decode(&body);
        let fs = with_body(FileKind::Map, &crate::map_path(dir(), SegmentId(1)), 1, details, &body);
        if let Ok(map) = SegmentMap::open(&fs, dir(), STORE, &of(CompanionId::default()), crate::IoMode::Pread) {
            let _ = map.find(Origin { segment: SegmentId(u32::from(small_count)), offset: 112 });
        }
    }

    #[test]
    fn any_bytes_behind_the_headers_of_hint_and_segment_are_decoded_or_refused(
        body in prop::collection::vec(any::<u8>(), 0..200),
        cut in 0usize..80,
    ) {
        let fs = MemFs::new(1);
        fs.create_dir_all(dir()).unwrap();
        let header = of(CompanionId([8; 16]));
        HintWriter::create(&fs, dir(), STORE, &header).unwrap().finish().unwrap();
        let path = hint_path(dir(), SegmentId(1));
        fs.edit(&path, |bytes| {
            bytes.truncate(bytes.len().saturating_sub(cut).max(112));
            bytes.extend_from_slice(&body);
        }).unwrap();
        let mut hint = HintReader::open(&fs, dir(), STORE, &header, None).unwrap();
        while let Ok(Some(_)) = hint.next() {}
        let mut records = RecordScanner::new(fs.open_read(&path).unwrap(), header, 112 + body.len().saturating_sub(cut) as u64);
        while let Ok(Some(_)) = records.next_sealed() {}
    }

    #[test]
    fn a_dead_set_holds_what_was_added_and_is_read_back(
        adds in prop::collection::vec(prop::collection::vec(112u32..2_000, 0..20), 1..5),
    ) {
        let fs = MemFs::new(1);
        fs.create_dir_all(dir()).unwrap();
        let header = of(CompanionId([8; 16]));
        let (mut set, mut model) = (DeadSet::default(), std::collections::BTreeSet::new());
        for add in &adds {
            // A record's length follows from its place, as in a segment.
            let records: Vec<(u32, u32)> = add.iter().map(|offset| (*offset, offset % 7 + 41)).collect();
            let before = model.len();
            model.extend(add.iter().copied());
            prop_assert_eq!(set.add(&records), (model.len() - before) as u64);
        }
        prop_assert_eq!(set.offsets(), &model.iter().copied().collect::<Vec<_>>()[..]);
        prop_assert_eq!(set.bytes(), model.iter().map(|offset| u64::from(offset % 7 + 41)).sum::<u64>());
        set.write(&fs, dir(), STORE, &header).unwrap();
        prop_assert_eq!(DeadSet::read(&fs, dir(), STORE, &header).unwrap(), Some(set));
    }
}
