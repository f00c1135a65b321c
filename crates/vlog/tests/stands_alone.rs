//! A log that is all there is: it ends before a gap, a copy of it opens as a prefix, and a lost hint file is made anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use base::{SegmentId, ValueLogHead};
use support::{assert_all, begin, entries_of, fill, names, open, path, written};
use vfs::{CrashMode, MemFs, Vfs};
use vlog::Options;

fn options() -> Options {
    Options { segment_entries: 3, stands_alone: true, ..written() }
}

#[test]
fn a_log_that_stands_alone_ends_before_a_gap() {
    let fs = MemFs::new(1);
    let log = open(&fs, options());
    let written = fill(&log, 11, 50);
    drop(log);
    // Of the second of four segments that nobody has synced, the last record is torn.
    fs.edit(&path("000002.vlog"), |bytes| bytes.truncate(bytes.len() - 1)).unwrap();
    let (log, _) = begin(&fs, Options { stands_alone: false, ..options() }, ValueLogHead::default()).unwrap();
    assert_eq!(log.segments().len(), 4, "another log would tell");
    let (log, recovery) = begin(&fs, options(), ValueLogHead::default()).unwrap();
    assert_eq!(log.segments().len(), 2);
    assert_eq!(recovery.torn_tails.len(), 3);
    log.finish_recovery().unwrap();
    log.remove_orphans().unwrap();
    assert_all(&log, &written[..5]);
    log.close().unwrap();
    let again = open(&fs, options());
    assert_all(&again, &written[..5]);
    assert_eq!(names(&fs).iter().filter(|name| name.ends_with(".vlog")).count(), 2);
}

#[test]
fn what_was_sealed_after_it_was_copied_is_recovered_as_far_as_it_was_copied() {
    let fs = MemFs::new(1);
    let log = open(&fs, options());
    let mut written = fill(&log, 8, 50);
    let copy = fs.crash_image(CrashMode::KeepAll, 1);
    written.extend(fill(&log, 8, 50));
    log.seal_all().unwrap();
    copy.write(&path("VLOG-MANIFEST"), fs.read(&path("VLOG-MANIFEST")).unwrap()).unwrap();
    begin(&copy, Options { stands_alone: false, ..options() }, ValueLogHead::default()).unwrap_err();
    let (log, recovery) = begin(&copy, options(), ValueLogHead::default()).unwrap();
    let torn: Vec<_> = recovery.torn_tails.iter().map(|tail| tail.path.clone()).collect();
    assert_eq!(torn, ["000003.vlog", "000004.vlog", "000005.vlog", "000006.vlog"].map(path));
    log.finish_recovery().unwrap();
    assert_all(&log, &written[..8]);
    for segment in 1..3 {
        log.restore_hint(SegmentId(segment)).unwrap();
    }
    log.close().unwrap();
    assert_all(&open(&copy, options()), &written[..8]);
    // With its hint file, a segment that is short was cut by something else.
    let cut = fs.crash_image(CrashMode::KeepAll, 1);
    cut.edit(&path("000006.vlog"), |bytes| bytes.truncate(bytes.len() - 1)).unwrap();
    assert!(begin(&cut, options(), ValueLogHead::default()).unwrap_err().is_corruption());
}

#[test]
fn a_hint_file_made_anew_tells_what_the_records_are() {
    let fs = MemFs::new(1);
    let log = open(&fs, options());
    fill(&log, 3, 50);
    log.seal_all().unwrap();
    let expected = entries_of(&log, SegmentId(1)).unwrap();
    fs.remove_file(&path("000001.hint")).unwrap();
    assert!(entries_of(&log, SegmentId(1)).unwrap_err().is_corruption());
    let mut records = log.records(SegmentId(1)).unwrap();
    let mut found = Vec::new();
    while let Some(entry) = records.next().unwrap() {
        found.push((entry.pointer, entry.owner, entry.key.to_owned(), entry.meta));
    }
    assert_eq!(found, expected);
    log.restore_hint(SegmentId(1)).unwrap();
    assert_eq!(entries_of(&log, SegmentId(1)).unwrap(), expected);
    fs.edit(&path("000001.vlog"), |bytes| *bytes.last_mut().unwrap() ^= 1).unwrap();
    assert!(log.restore_hint(SegmentId(1)).unwrap_err().is_corruption());
}
