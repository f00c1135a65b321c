//! What the system refuses while segments are collected: nothing has changed then, nothing is left over once it works, and
//! nobody has to know whether a manifest that failed stands. And in which order a collection does what.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use base::ValuePointer;
use expect_test::expect;
use support::{
    Address, DIR, Sample, address, all_dead, assert_all, begin, collect, fill, kill, names, sealed, written,
};
use vfs::{Cause, CrashMode, Fault, FaultFs, FaultPlan, MemFs, Operation, TraceFs, Vfs};
use vlog::{CollectContext, Collection, Error, IoMode, Options, RecoveryInput, Result, ValueLog};

/// The segment that is open, with the last two records.
const OPEN: u32 = 6;

struct Fixture {
    memory: MemFs,
    fs: FaultFs,
    options: Options,
    log: ValueLog,
    alive: Vec<(Sample, ValuePointer)>,
    dead: BTreeSet<Address>,
}

impl Fixture {
    /// Two sealed segments, one that was collected before and one that is open; a third of the records is dead.
    fn new(io_mode: IoMode) -> Self {
        let memory = MemFs::new(1);
        let fs = FaultFs::over_memory(memory.clone(), FaultPlan::none());
        let options = Options { io_mode, segment_entries: 5, ..written() };
        let log = open_on(Arc::new(fs.clone()), options.clone());
        let mut alive = fill(&log, 10, 40);
        log.seal_all().unwrap();
        kill(&log, 1, &[alive.remove(3).1]);
        collect(&log, &sealed(&log));
        alive.extend(fill(&log, 12, 50));
        while log.seal_full().unwrap() {}
        log.sync().unwrap();
        log.remove_released().unwrap();
        let (dead, alive): (Vec<_>, Vec<_>) = alive.into_iter().partition(|(sample, _)| sample.version % 3 == 0);
        let dead: Vec<ValuePointer> = dead.into_iter().map(|(_, pointer)| pointer).collect();
        kill(&log, 2, &dead);
        let dead = dead.iter().map(address).collect();
        Self { memory, fs, options, log, alive, dead }
    }

    fn collect(&self) -> Result<Option<Collection>> {
        self.log.collect(&sealed(&self.log), &CollectContext::unpaced())
    }

    /// What a crash leaves now has all that lives, and these dead records exactly, of those that are still in files.
    fn check_image(&self, crash: CrashMode, dead: &BTreeSet<Address>) {
        let image = self.memory.crash_image(crash, 1);
        let (log, _) = begin(&image, self.options.clone(), self.log.synced()).unwrap();
        log.finish_recovery().unwrap();
        assert_all(&log, &self.alive);
        let all: BTreeSet<Address> =
            log.segments().iter().flat_map(|of| support::dead_and_all(&log, of.id()).unwrap().1).collect();
        assert_eq!(all_dead(&log), all.intersection(dead).copied().collect());
        log.remove_orphans().unwrap();
        let segments = log.statistics();
        let collected = segments.iter().filter(|of| of.collected).count();
        let with_dead = segments.iter().filter(|of| of.dead_records > 0).count();
        assert_eq!(names(&image).len(), 1 + segments.len() * 2 + collected + with_dead, "{:?}", names(&image));
        collect(&log, &sealed(&log));
        assert_all(&log, &self.alive);
    }
}

fn open_on(fs: Arc<dyn Vfs>, options: Options) -> ValueLog {
    let (log, _) = ValueLog::open(fs, DIR, options, RecoveryInput::default()).unwrap();
    log.finish_recovery().unwrap();
    log
}

/// Each kind of failure that any call may have.
fn failures() -> Vec<(&'static str, Fault)> {
    let on_everything = Fault::on_everything;
    vec![
        ("EIO", on_everything(Cause::Io)),
        ("ENOSPC", on_everything(Cause::NoSpace)),
        ("EMFILE", on_everything(Cause::TooManyFiles)),
        ("EIO, but done", on_everything(Cause::Io).after_the_fact()),
        ("ENOSPC in the middle of an append", Fault::on(Operation::Append, Cause::NoSpace).after_bytes(7)),
        ("EIO of a sync, what it was to write lost", Fault::on(Operation::Sync, Cause::Io).losing_unsynced()),
    ]
}

#[test]
fn whichever_call_of_a_collection_fails_nothing_has_changed_and_the_next_one_leaves_nothing_over() {
    let mut struck = 0;
    for (what, fault) in failures() {
        for nth in 1.. {
            let io_mode = if nth % 2 == 0 { IoMode::Mapped } else { IoMode::Pread };
            let mut fixture = Fixture::new(io_mode);
            let statistics = fixture.log.statistics();
            let armed = fixture.fs.arm(fault.clone().nth(nth));
            let outcome = fixture.collect();
            if fixture.fs.hits(armed) == 0 {
                outcome.unwrap();
                break;
            }
            struck += 1;
            let error = outcome.map_err(|error| error.to_string()).unwrap_err();
            let context = format!("{what} at call {nth}: {error}");
            assert_eq!(fixture.log.statistics(), statistics, "{context}");
            assert_eq!(all_dead(&fixture.log), fixture.dead, "{context}");
            assert_all(&fixture.log, &fixture.alive);
            for crash in [CrashMode::KeepAll, CrashMode::DropUnsynced, CrashMode::Random] {
                fixture.check_image(crash, &fixture.dead);
            }
            // Nobody knows what the manifest says. A death must be noted where the next open looks all the same.
            let (_, dying) = fixture.alive.remove(nth as usize % (fixture.alive.len() - 2));
            fixture.log.mark_dead(&[dying]).unwrap();
            fixture.dead.insert(address(&dying));
            assert_eq!(all_dead(&fixture.log), fixture.dead, "{context}");
            for crash in [CrashMode::KeepAll, CrashMode::DropUnsynced] {
                fixture.check_image(crash, &fixture.dead);
            }
            fixture.collect().unwrap();
            fixture.log.remove_released().unwrap();
            assert_eq!(all_dead(&fixture.log), BTreeSet::new(), "{context}");
            // The open segment; segment, hint file and map; the manifest.
            assert_eq!(names(&fixture.memory).len(), 5, "{context}: {:?}", names(&fixture.memory));
            for crash in [CrashMode::KeepAll, CrashMode::DropUnsynced] {
                fixture.check_image(crash, &fixture.dead);
            }
        }
    }
    println!("{struck} failures");
    assert!(struck > 250);
}

#[test]
fn a_disk_that_fails_from_some_call_on_loses_nothing_and_the_next_open_tidies_up() {
    for nth in 1.. {
        let fixture = Fixture::new(IoMode::Pread);
        let armed = fixture.fs.arm(Fault::on_mutations(Cause::Io).nth(nth).forever());
        let outcome = fixture.collect();
        if fixture.fs.hits(armed) == 0 {
            assert!(nth > 15);
            break;
        }
        outcome.unwrap_err();
        fixture.log.mark_dead(&[fixture.alive[0].1]).unwrap_err();
        assert_eq!(all_dead(&fixture.log), fixture.dead);
        assert_all(&fixture.log, &fixture.alive);
        for crash in [CrashMode::KeepAll, CrashMode::DropUnsynced, CrashMode::Prefix, CrashMode::Random] {
            fixture.check_image(crash, &fixture.dead);
        }
    }
}

#[test]
fn a_file_that_cannot_be_removed_is_tried_again() {
    let fixture = Fixture::new(IoMode::Pread);
    fixture.collect().unwrap().unwrap();
    for suffix in [".vlog", ".hint", ".dead", ".map"] {
        fixture.fs.arm(Fault::on(Operation::Remove, Cause::AccessDenied).at_suffix(suffix));
        let refused = fixture.log.remove_released().unwrap_err();
        assert!(matches!(&refused, Error::Vfs(error) if error.path().to_str().unwrap().ends_with(suffix)), "{refused}");
    }
    assert!(fixture.log.retired_segments().0 > fixture.log.released_segments().0, "no one has to wait for these");
    fixture.log.remove_released().unwrap();
    assert_eq!(names(&fixture.memory).len(), 5);
}

#[test]
fn a_file_that_cannot_be_removed_keeps_no_other_one() {
    let fixture = Fixture::new(IoMode::Pread);
    fixture.collect().unwrap().unwrap();
    let (collected, bytes) = fixture.log.released_segments();
    assert!(collected > 1 && bytes > 0);
    fixture.fs.arm(Fault::on(Operation::Remove, Cause::AccessDenied).at_suffix(".vlog"));
    fixture.log.remove_released().unwrap_err();
    assert_eq!((fixture.log.retired_segments().0, fixture.log.released_segments()), (1, (0, 0)));
    assert_eq!(fixture.log.remove_released().unwrap(), 1);
}

#[test]
fn a_collection_in_which_nothing_lives_fails_and_succeeds_as_any_other() {
    for nth in 1.. {
        let fixture = Fixture::new(IoMode::Mapped);
        let all: Vec<ValuePointer> =
            fixture.alive.iter().map(|(_, pointer)| *pointer).filter(|at| at.segment.0 < OPEN).collect();
        fixture.log.mark_dead(&all).unwrap();
        let dead: BTreeSet<Address> = fixture.dead.iter().copied().chain(all.iter().map(address)).collect();
        let armed = fixture.fs.arm(Fault::on_everything(Cause::Io).after_the_fact().nth(nth));
        let outcome = fixture.collect();
        if fixture.fs.hits(armed) == 0 {
            assert_eq!(outcome.unwrap().unwrap().segment, None);
            break;
        }
        outcome.unwrap_err();
        assert_eq!(all_dead(&fixture.log), dead);
        assert_eq!(fixture.collect().unwrap().unwrap().segment, None);
        fixture.log.remove_released().unwrap();
        assert_eq!(names(&fixture.memory), ["000006.vlog", "VLOG-MANIFEST"]);
    }
}

#[test]
fn a_collection_writes_all_beside_the_old_and_lists_it_by_one_manifest() {
    let fs = TraceFs::new(Arc::new(MemFs::new(1)), "");
    let log = open_on(Arc::new(fs.clone()), Options { segment_entries: 2, ..written() });
    let all = fill(&log, 4, 10);
    log.seal_all().unwrap();
    kill(&log, 1, &[all[0].1]);
    drop(fs.take_trace());
    let step = |step| {
        if step == vlog::CollectStep::Commit {
            log.mark_dead(&[all[3].1]).unwrap();
            // What the collection does behind this starts anew in the trace.
            expect![[r#"
                open vlog/000001.dead
                stat vlog/000001.dead
                read vlog/000001.dead, 112 bytes at 0
                read vlog/000001.dead, 5 bytes at 112
                open vlog/000001.hint
                stat vlog/000001.hint
                read vlog/000001.hint, 112 bytes at 0
                read vlog/000001.hint, 8 bytes at 112
                read vlog/000001.hint, 53 bytes at 120
                read vlog/000001.hint, 8 bytes at 173
                read vlog/000001.hint, 60 bytes at 181
                open vlog/000002.dead (failed: entity not found)
                open vlog/000002.hint
                stat vlog/000002.hint
                read vlog/000002.hint, 112 bytes at 0
                read vlog/000002.hint, 8 bytes at 112
                read vlog/000002.hint, 53 bytes at 120
                read vlog/000002.hint, 8 bytes at 173
                read vlog/000002.hint, 60 bytes at 181
                draw random bytes for ., 32 bytes
                draw random bytes for ., 16 bytes
                create vlog/000003.vlog.tmp
                draw random bytes for ., 32 bytes
                create vlog/000003.hint.tmp
                append to vlog/000003.hint.tmp, 112 bytes at 0
                read vlog/000001.vlog, 51 bytes at 163
                read vlog/000002.vlog, 102 bytes at 112
                append to vlog/000003.vlog.tmp, 289 bytes at 0
                finish vlog/000003.vlog.tmp, 289 bytes
                append to vlog/000003.hint.tmp, 110 bytes at 112
                append to vlog/000003.hint.tmp, 88 bytes at 222
                finish vlog/000003.hint.tmp, 310 bytes
                rename vlog/000003.hint.tmp -> vlog/000003.hint
                draw random bytes for ., 32 bytes
                create vlog/000003.map.tmp
                append to vlog/000003.map.tmp, 156 bytes at 0
                finish vlog/000003.map.tmp, 156 bytes
                rename vlog/000003.map.tmp -> vlog/000003.map
                rename vlog/000003.vlog.tmp -> vlog/000003.vlog
                sync directory vlog
                open vlog/000002.dead (failed: entity not found)
                draw random bytes for ., 32 bytes
                create vlog/000002.dead.tmp
                append to vlog/000002.dead.tmp, 118 bytes at 0
                finish vlog/000002.dead.tmp, 118 bytes
                rename vlog/000002.dead.tmp -> vlog/000002.dead
                sync directory vlog
                draw random bytes for ., 32 bytes
                create vlog/VLOG-MANIFEST.tmp
                append to vlog/VLOG-MANIFEST.tmp, 288 bytes at 0
                finish vlog/VLOG-MANIFEST.tmp, 288 bytes
                rename vlog/VLOG-MANIFEST.tmp -> vlog/VLOG-MANIFEST
                sync directory vlog
            "#]]
            .assert_eq(&fs.take_trace().to_string());
        }
    };
    let context = CollectContext { step: &step, ..CollectContext::unpaced() };
    log.collect(&sealed(&log), &context).unwrap();
    expect![[r#"
        open vlog/000001.dead
        stat vlog/000001.dead
        read vlog/000001.dead, 112 bytes at 0
        read vlog/000001.dead, 5 bytes at 112
        open vlog/000002.dead
        stat vlog/000002.dead
        read vlog/000002.dead, 112 bytes at 0
        read vlog/000002.dead, 6 bytes at 112
        draw random bytes for ., 32 bytes
        create vlog/000003.dead.tmp
        append to vlog/000003.dead.tmp, 118 bytes at 0
        finish vlog/000003.dead.tmp, 118 bytes
        rename vlog/000003.dead.tmp -> vlog/000003.dead
        sync directory vlog
        open vlog/000003.vlog
        open vlog/000003.map
        stat vlog/000003.map
        read vlog/000003.map, 112 bytes at 0
        read vlog/000003.map, 156 bytes at 0
        draw random bytes for ., 32 bytes
        create vlog/VLOG-MANIFEST.tmp
        append to vlog/VLOG-MANIFEST.tmp, 242 bytes at 0
        finish vlog/VLOG-MANIFEST.tmp, 242 bytes
        rename vlog/VLOG-MANIFEST.tmp -> vlog/VLOG-MANIFEST
        sync directory vlog
    "#]]
    .assert_eq(&fs.take_trace().to_string());
    log.remove_released().unwrap();
    expect![[r#"
        remove vlog/000001.vlog
        remove vlog/000001.hint
        remove vlog/000001.dead
        remove vlog/000001.map (failed: entity not found)
        remove vlog/000002.vlog
        remove vlog/000002.hint
        remove vlog/000002.dead
        remove vlog/000002.map (failed: entity not found)
    "#]]
    .assert_eq(&fs.take_trace().to_string());
}
