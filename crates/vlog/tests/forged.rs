//! Encrypted value logs in which a file was put in the place of another: one of another place of the same log, one of another
//! log, or one that is not encrypted, as they are or with headers that were made to fit. Each is refused by its name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use base::checksum::crc32;
use base::{EntryMeta, InternalKeyRef, SegmentId, ValuePointer};
use encryption::Keyring;
use support::{begin_with, entries_of, keyring, kill, names, open, path, written};
use vfs::{CrashMode, MemFs};
use vlog::{CollectContext, Error, Options, RecoveryInput, Result, SegmentSet};

/// Tickets that are live.
const TICKETS: [u64; 2] = [15, 16];

fn options(keys: Option<&Arc<Keyring>>) -> Options {
    Options { segment_entries: 3, keys: keys.cloned(), ..written() }
}

/// A log with two of each kind of file, as like each other as can be: six segments of three records, of which two and two
/// were collected, dead sets of all that are left, two live death lists.
fn made(seed: u64, keys: Option<&Arc<Keyring>>) -> (MemFs, Vec<ValuePointer>) {
    let fs = MemFs::new(seed);
    let log = open(&fs, options(keys));
    let append = |number: u64| {
        let key = format!("key {number:02}");
        log.append(1, InternalKeyRef::new(key.as_bytes(), number + 1), EntryMeta::put(), &[7; 60]).unwrap()
    };
    let pointers: Vec<ValuePointer> = (0..18).map(append).collect();
    log.seal_all().unwrap();
    let every_third = |from: usize| pointers.iter().skip(from).step_by(3).copied().collect::<Vec<_>>();
    kill(&log, 1, &every_third(0));
    for pair in [[1, 2], [3, 4]] {
        log.collect(&pair.map(SegmentId), &CollectContext::unpaced()).unwrap().unwrap();
    }
    log.remove_released().unwrap();
    kill(&log, 2, &[pointers[1], pointers[7]]);
    for (ticket, dead) in TICKETS.iter().zip(&every_third(1)[4..]) {
        log.prepare_deaths(*ticket, &[*dead]).unwrap();
    }
    log.sync().unwrap();
    let alive = pointers.into_iter().enumerate().filter(|(at, _)| at % 3 == 2).map(|(_, pointer)| pointer).collect();
    (fs, alive)
}

/// Opens the log, reads all its files, and gives the first error.
fn examine(fs: &MemFs, alive: &[ValuePointer], keys: &Arc<Keyring>) -> Result<()> {
    let input = RecoveryInput { live_tickets: &TICKETS, must_exist: true, ..RecoveryInput::default() };
    let (log, _) = begin_with(fs, options(Some(keys)), input)?;
    log.finish_recovery()?;
    for segment in log.statistics() {
        log.dead_set(segment.segment)?;
        entries_of(&log, segment.segment)?;
    }
    let set = log.segments();
    alive.iter().try_for_each(|pointer| SegmentSet::read(&set, *pointer).map(drop))
}

/// The bytes with the identity of the file that they are to pass for, checksum and all: store id, number and companion id.
fn dressed(mut forged: Vec<u8>, as_file: &[u8]) -> Vec<u8> {
    forged[16..32].copy_from_slice(&as_file[16..32]);
    forged[64..88].copy_from_slice(&as_file[64..88]);
    let checksum = crc32(&forged[..108]);
    forged[108..112].copy_from_slice(&checksum.to_le_bytes());
    forged
}

/// The same with the id of the key that the file is encrypted under.
fn dressed_with_key(mut forged: Vec<u8>, as_file: &[u8]) -> Vec<u8> {
    forged[12..16].copy_from_slice(&as_file[12..16]);
    dressed(forged, as_file)
}

/// A file of the same kind and shape.
fn other_of_its_kind<'a>(name: &str, all: &'a [String]) -> Option<&'a String> {
    let kind = name.split_once('.')?.1;
    let is_collected = |name: &str| all.contains(&format!("{}.map", name.split('.').next().unwrap_or_default()));
    all.iter().find(|other| {
        *other != name && other.ends_with(kind) && other.contains('.') && is_collected(other) == is_collected(name)
    })
}

#[test]
fn no_file_passes_for_another_one_of_its_kind_nor_one_that_is_not_encrypted_for_any() {
    let (keys, other_keys) = (keyring(1), keyring(2));
    let (fs, alive) = made(1, Some(&keys));
    let (other_log, _) = made(2, Some(&other_keys));
    let (plain_log, _) = made(1, None);
    examine(&fs.crash_image(CrashMode::KeepAll, 1), &alive, &keys).unwrap();
    let all = names(&fs);
    assert_eq!((names(&other_log), names(&plain_log)), (all.clone(), all.clone()));
    let mut kinds = BTreeMap::new();
    for name in &all {
        let file = fs.read(&path(name)).unwrap();
        let (of_other, of_plain) = (other_log.read(&path(name)).unwrap(), plain_log.read(&path(name)).unwrap());
        assert_eq!((&of_plain[..8], of_other.len()), (&file[..8], file.len()), "{name}");
        let mut forgeries = vec![
            ("another log's", of_other.clone()),
            ("another log's, dressed", dressed(of_other.clone(), &file)),
            ("another log's, dressed with its key", dressed_with_key(of_other, &file)),
            ("a plain one, dressed", dressed(of_plain.clone(), &file)),
            ("a plain one, dressed with its key", dressed_with_key(of_plain, &file)),
        ];
        if let Some(other) = other_of_its_kind(name, &all) {
            let of_place = fs.read(&path(other)).unwrap();
            assert_eq!(of_place.len(), file.len(), "{name} and {other}");
            forgeries.push(("another place's", of_place.clone()));
            forgeries.push(("another place's, dressed", dressed(of_place, &file)));
        }
        for (what, forged) in forgeries {
            let changed = fs.crash_image(CrashMode::KeepAll, 1);
            changed.write(&path(name), forged).unwrap();
            match examine(&changed, &alive, &keys) {
                Err(error @ (Error::Corruption(_) | Error::Key { .. })) => {
                    assert!(error.to_string().contains(name), "{name}, {what}: {error}");
                    *kinds.entry(name.split_once('.').map_or(&name[..], |(_, kind)| kind)).or_insert(0) += 1;
                }
                other => panic!("{name}, {what}: {other:?}"),
            }
        }
    }
    let counts: Vec<_> = ["dead", "deaths", "hint", "map", "vlog", "VLOG-MANIFEST"].map(|kind| kinds[kind]).into();
    assert_eq!(counts, [28, 14, 28, 14, 28, 5], "seven forgeries of each file, five of the manifest");
}

/// What a file was before is told where another file that is newer contradicts it.
#[test]
fn an_older_manifest_is_refused_once_what_it_lists_was_collected() {
    let keys = keyring(1);
    let (fs, alive) = made(1, Some(&keys));
    let older = fs.read(&path("VLOG-MANIFEST")).unwrap();
    let log = open(&fs, options(Some(&keys)));
    log.collect(&[SegmentId(5), SegmentId(6)], &CollectContext::unpaced()).unwrap().unwrap();
    log.remove_released().unwrap();
    log.close().unwrap();
    examine(&fs.crash_image(CrashMode::KeepAll, 1), &alive, &keys).unwrap();
    fs.write(&path("VLOG-MANIFEST"), older).unwrap();
    let error = examine(&fs, &alive, &keys).unwrap_err();
    assert!(error.is_corruption() && error.to_string().contains("000005.vlog"), "{error}");
}
