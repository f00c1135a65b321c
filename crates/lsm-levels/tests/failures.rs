//! Jobs that fail or are cancelled, and the two phases in which values die.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod tree;

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use base::ValuePointer;
use base::limits::LEVELS;
use lsm_levels::{
    BoxError, BuildContext, CompactionContext, Error, FlushRetention, KeyspaceEdit, Levels, ValueDeaths, VersionEdit,
    flush,
};
use sstable::TableOptions;
use tree::{DIR, KEYSPACE, ListCursor, STORE, Tree, created, delete, levels_options, numbered, pointer, pointing, put};
use vfs::{Cause, CrashMode, Fault, FaultFs, FaultPlan, MemFs, Operation, Vfs};

fn faulty() -> (MemFs, FaultFs, Tree) {
    let memory = MemFs::new(1);
    let faults = FaultFs::over_memory(memory.clone(), FaultPlan::none());
    let tree = Tree::on(Arc::new(faults.clone()));
    (memory, faults, tree)
}

/// Two runs of level 0 over a table at the bottom; the merge writes several tables.
fn fill(tree: &mut Tree) {
    tree.rules.target_file_bytes = 1_000;
    tree.add(6, numbered(0..=99, 1));
    tree.add(6, numbered(200..=230, 1));
    tree.try_add(0, numbered(50..=149, 2)).unwrap();
    tree.try_add(0, numbered(80..=200, 3)).unwrap();
}

fn values(tree: &Tree) -> Vec<Option<String>> {
    (0..=240).map(|key| tree.get(&format!("{key:04}"), 1_000)).collect()
}

fn tables_on_disk(vfs: &dyn Vfs) -> Vec<String> {
    let names = vfs.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name.display().to_string());
    names.filter(|name| name.contains(".sst")).collect()
}

#[test]
fn a_compaction_that_fails_at_any_change_loses_nothing_and_can_be_tried_again() {
    let mut failures = 0;
    for cause in [Cause::NoSpace, Cause::TooManyFiles, Cause::Io] {
        for nth in 1.. {
            let (_, faults, mut tree) = faulty();
            fill(&mut tree);
            let (expected, on_disk) = (values(&tree), tables_on_disk(tree.vfs.as_ref()));
            let compaction = tree.pick_level(0).unwrap();
            let fault = faults.arm(Fault::on_mutations(cause).nth(nth));
            let run = tree.run_and_commit(compaction);
            let struck = faults.hits(fault) > 0;
            faults.disarm(fault);
            assert_eq!(values(&tree), expected, "{cause:?} at change {nth}");
            match run {
                Ok(_) if !struck => break,
                // Only the removal of files that are not needed any more may fail unnoticed, and is counted.
                Ok(_) => assert!(tree.levels.removal_failures().count > 0, "{cause:?} at change {nth}"),
                Err(_) if tree.levels.poisoned().is_none() => {
                    failures += 1;
                    assert_eq!(tables_on_disk(tree.vfs.as_ref()), on_disk, "{cause:?} at change {nth}");
                    tree.compact_level(0);
                    assert_eq!(values(&tree), expected, "{cause:?} at change {nth}, tried again");
                    tree.version().verify().unwrap();
                }
                Err(_) => assert!(tree.pick_level(0).is_some(), "{cause:?} at change {nth}: inputs are free"),
            }
            drop(tree.levels);
            let (tree, _) = Tree::open(tree.vfs).unwrap();
            assert_eq!(values(&tree), expected, "{cause:?} at change {nth}, reopened");
        }
    }
    assert!(failures > 20, "{failures}");
}

#[test]
fn a_flush_that_fails_leaves_nothing_behind() {
    for nth in 1.. {
        let (_, faults, tree) = faulty();
        let _ = tree.levels.new_table_id().unwrap();
        let fault = faults.arm(Fault::on_mutations(Cause::NoSpace).nth(nth));
        let written = tree.write(numbered(1..=100, 1));
        if written.is_ok() && faults.hits(fault) == 0 {
            break;
        }
        assert!(written.unwrap_err().is_no_space(), "change {nth}");
        assert_eq!(tables_on_disk(tree.vfs.as_ref()), Vec::<String>::new(), "change {nth}");
    }
}

#[test]
fn tables_of_a_flush_whose_edit_failed_can_be_discarded() {
    let (_, faults, tree) = faulty();
    let added = tree.write(numbered(1..=9, 1)).unwrap();
    let append = Fault::on(Operation::Append, Cause::NoSpace).forever();
    let fault = faults.arm(append.at_path(|path| path.display().to_string().contains("MANIFEST")));
    let edit = KeyspaceEdit { added: added.clone(), ..KeyspaceEdit::new(KEYSPACE) };
    assert!(matches!(tree.levels.apply(VersionEdit::of(edit.clone())), Err(Error::ManifestFull(_))));
    faults.disarm(fault);
    tree.levels.apply(VersionEdit::of(edit.clone())).unwrap();
    assert_eq!(tables_on_disk(tree.vfs.as_ref()).len(), 1, "it can be tried again");
    let unwanted = tree.write(numbered(1..=9, 2)).unwrap();
    tree.levels.discard_tables(&unwanted);
    assert_eq!(tables_on_disk(tree.vfs.as_ref()).len(), 1);
}

#[test]
fn a_damaged_input_fails_the_job_and_stays() {
    let memory = MemFs::new(1);
    let mut tree = Tree::on(Arc::new(memory.clone()));
    fill(&mut tree);
    let input = tree.version().level0()[0].id();
    let path = sstable::table_path(Path::new(DIR), input);
    drop(tree.levels);
    memory.edit(&path, |bytes| bytes[300] ^= 0x40).unwrap();
    let (mut tree, _) = Tree::open(tree.vfs).unwrap();
    tree.rules.target_file_bytes = 1_000;
    let on_disk = tables_on_disk(tree.vfs.as_ref());
    match tree.run(tree.pick_level(0).unwrap()) {
        Err(Error::Corruption(corruption)) => assert_eq!(corruption.path, path),
        other => panic!("{other:?}"),
    }
    assert_eq!(tables_on_disk(tree.vfs.as_ref()), on_disk, "inputs stay, outputs are gone");
    assert!(tree.pick_level(0).is_some(), "the inputs are free again");
}

#[test]
fn a_cancelled_job_publishes_nothing() {
    let mut tree = Tree::new();
    fill(&mut tree);
    let on_disk = tables_on_disk(tree.vfs.as_ref());
    let cancel = AtomicBool::new(true);
    let options = [TableOptions { store: STORE, ..TableOptions::default() }; LEVELS];
    let build = BuildContext {
        vfs: &tree.vfs,
        dir: Path::new(DIR),
        keys: None,
        table_options: &options,
        ids: &|| tree.levels.new_table_id(),
        target_file_bytes: 1_000,
        cancel: &cancel,
        pace: &|_| {},
    };
    let context = CompactionContext {
        build,
        discard_version: 1_000,
        expiry_now: 0,
        versions_to_keep: NonZeroU32::MIN,
        ordered: true,
        memtables_hold_older: &|_, _| false,
        grandparent_bytes_max: 1 << 30,
    };
    assert!(matches!(tree.pick_level(0).unwrap().run(&context), Err(Error::Cancelled)));
    assert!(matches!(
        flush(&build, &FlushRetention::everything(), ListCursor::new(numbered(1..=9, 1))),
        Err(Error::Cancelled)
    ));
    assert_eq!(tables_on_disk(tree.vfs.as_ref()), on_disk);
    assert!(tree.pick_level(0).is_some());
}

/// Notes in which order things happen, and fails where it is told to.
#[derive(Default)]
struct Witness {
    events: Mutex<Vec<String>>,
    refuse: Option<&'static str>,
}

impl Witness {
    fn note(&self, event: &'static str, what: String) -> Result<(), BoxError> {
        self.events.lock().unwrap().push(format!("{event} {what}"));
        if self.refuse == Some(event) { Err("the value log is ill".into()) } else { Ok(()) }
    }
}

impl ValueDeaths for Witness {
    fn prepare(&self, ticket: u64, deaths: &[ValuePointer]) -> Result<(), BoxError> {
        self.note("prepare", format!("{ticket}: {} dead", deaths.len()))
    }

    fn apply(&self, ticket: u64) -> Result<bool, BoxError> {
        self.note("apply", ticket.to_string()).map(|()| true)
    }

    fn clear(&self, ticket: u64) -> Result<(), BoxError> {
        self.note("clear", ticket.to_string())
    }
}

fn with_deaths(tree: &Tree) {
    tree.add(6, vec![pointing("a", 1, 10), pointing("b", 1, 20)]);
    tree.flush(vec![pointing("a", 2, 11), delete("b", 2)]);
}

/// What the manifest names after a power loss now.
fn tickets_after_a_crash(memory: &MemFs) -> Vec<u64> {
    let image: Arc<dyn Vfs> = Arc::new(memory.crash_image(CrashMode::DropUnsynced, 1));
    Levels::open(&image, Path::new(DIR), levels_options()).unwrap().1.tickets
}

#[test]
fn values_die_only_after_the_edit_is_durable_and_the_version_installed() {
    let memory = MemFs::new(1);
    let tree = Tree::on(Arc::new(memory.clone()));
    with_deaths(&tree);
    let witness = Witness::default();
    let before = tree.version();
    let output = tree.run(tree.pick_level(0).unwrap()).unwrap();
    assert_eq!(output.deaths, [pointer(10), pointer(20)]);
    assert!(Arc::ptr_eq(&before, &tree.version()), "running publishes nothing");
    tree.levels
        .commit_compaction(output, 7, &witness, || {
            witness.events.lock().unwrap().push("installed".to_owned());
            assert!(!Arc::ptr_eq(&before, &tree.version()));
            assert_eq!(tickets_after_a_crash(&memory), [1], "the ticket is durable with the edit");
            assert_eq!(tree.levels.last_version(), 7);
        })
        .unwrap();
    assert_eq!(*witness.events.lock().unwrap(), ["prepare 1: 2 dead", "installed", "apply 1"]);
    assert_eq!(tickets_after_a_crash(&memory), [1], "until a later edit clears it");
    let applied = tree.levels.apply(VersionEdit::of(created(base::KeyspaceId(4), "next edit"))).unwrap();
    assert_eq!(applied.cleared_tickets, [1]);
    tree.levels.clear_tickets(&witness, &applied);
    assert_eq!(witness.events.lock().unwrap().last().unwrap(), "clear 1");
    assert_eq!(tickets_after_a_crash(&memory), Vec::<u64>::new());
}

#[test]
fn a_value_log_that_cannot_note_deaths_stops_the_compaction() {
    let tree = Tree::new();
    with_deaths(&tree);
    let (dump, on_disk) = (tree.dump(), tables_on_disk(tree.vfs.as_ref()));
    let witness = Witness { refuse: Some("prepare"), ..Witness::default() };
    let output = tree.run(tree.pick_level(0).unwrap()).unwrap();
    let refused = tree.levels.commit_compaction(output, 0, &witness, || panic!("nothing is installed"));
    assert!(matches!(refused, Err(Error::DeathsNotPrepared(_))));
    assert_eq!((tree.dump(), tables_on_disk(tree.vfs.as_ref())), (dump, on_disk));
    assert!(tree.pick_level(0).is_some());
}

#[test]
fn deaths_that_could_not_be_applied_are_left_for_the_next_opening() {
    let memory = MemFs::new(1);
    let tree = Tree::on(Arc::new(memory.clone()));
    with_deaths(&tree);
    let witness = Witness { refuse: Some("apply"), ..Witness::default() };
    let output = tree.run(tree.pick_level(0).unwrap()).unwrap();
    let committed = tree.levels.commit_compaction(output, 0, &witness, || {});
    assert!(matches!(committed, Err(Error::DeathsNotApplied { ticket: 1, .. })));
    assert_eq!(tree.get("b", 1_000), None, "the compaction stands");
    assert!(!tree.dump().contains("b@"));
    tree.levels.apply(VersionEdit::of(created(base::KeyspaceId(4), "next edit"))).unwrap();
    assert_eq!(tickets_after_a_crash(&memory), [1]);

    drop(tree.levels);
    let (tree, recovery) = Tree::open(tree.vfs).unwrap();
    tree.levels.tickets_applied(&recovery.tickets);
    let applied = tree.levels.apply(VersionEdit::default()).unwrap();
    assert_eq!(applied.cleared_tickets, [1]);
    assert_eq!(tickets_after_a_crash(&memory), Vec::<u64>::new());
}

#[test]
fn two_jobs_never_have_a_table_in_common_and_a_dropped_one_gives_its_tables_back() {
    let tree = Tree::new();
    for key in 0..6 {
        tree.add(2, vec![put(&format!("{key}0"), 1, ""), put(&format!("{key}9"), 1, "")]);
        tree.add(1, vec![put(&format!("{key}1"), 2, ""), put(&format!("{key}5"), 2, "")]);
    }
    let mut jobs = Vec::new();
    while let Some(job) = tree.pick_level(1) {
        jobs.push(job);
    }
    let mut taken: Vec<_> = jobs.iter().flat_map(|job| job.pick().tables().map(|table| table.id())).collect();
    assert_eq!((jobs.len(), taken.len()), (6, 12));
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), 12);
    jobs.pop();
    assert!(tree.pick_level(1).is_some());
    for job in jobs {
        tree.run_and_commit(job).unwrap();
    }
    assert_eq!(tree.version().tables(1).len(), 1);
    tree.version().verify().unwrap();
}
