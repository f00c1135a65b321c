//! The manifest: what it remembers, what it refuses, and what a full or failing disk does to it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{KeyspaceId, LogNumber, TableId};
use lsm_levels::{Error, KeyspaceEdit, Levels, LevelsOptions, VersionEdit};
use tree::{DIR, KEYSPACE, STORE, Tree, created, levels_options, numbered, put};
use vfs::{Cause, CrashMode, Fault, FaultFs, FaultPlan, MemFs, Operation, TraceFs, Vfs};

fn manifests(vfs: &dyn Vfs) -> Vec<String> {
    let names = vfs.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name.display().to_string());
    names.filter(|name| name.starts_with("MANIFEST-")).collect()
}

fn open(vfs: &Arc<dyn Vfs>) -> Levels {
    Levels::open(vfs, Path::new(DIR), levels_options()).unwrap().0
}

fn log_number(number: u64) -> VersionEdit {
    VersionEdit::of(KeyspaceEdit { log_number: Some(LogNumber(number)), ..KeyspaceEdit::new(KEYSPACE) })
}

fn in_manifest(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("MANIFEST-"))
}

fn faulty() -> (MemFs, FaultFs, Tree) {
    let memory = MemFs::new(1);
    let faults = FaultFs::over_memory(memory.clone(), FaultPlan::none());
    let tree = Tree::on(Arc::new(faults.clone()));
    (memory, faults, tree)
}

#[test]
fn all_that_an_edit_says_is_there_after_reopening() {
    let tree = Tree::new();
    let second = KeyspaceId(5);
    tree.levels.apply(VersionEdit::of(created(second, "second"))).unwrap();
    tree.flush(numbered(1..=9, 3));
    tree.add(6, numbered(1..=5, 1));
    let edit = VersionEdit {
        keyspaces: vec![
            KeyspaceEdit {
                log_number: Some(LogNumber(4)),
                ordered: Some(false),
                dropped_tombstone_version: Some(77),
                ..KeyspaceEdit::new(KEYSPACE)
            },
            KeyspaceEdit { options: Some(vec![9]), log_number: Some(LogNumber(8)), ..KeyspaceEdit::new(second) },
        ],
        last_version: Some(100),
        version_ceiling: Some(200),
        tickets_added: vec![11, 12],
        ..VersionEdit::default()
    };
    tree.levels.apply(edit).unwrap();
    let dump = tree.dump();
    drop(tree.levels);

    let (tree, recovery) = Tree::open(tree.vfs).unwrap();
    assert_eq!(tree.dump(), dump);
    let [first, second] = tree.levels.keyspaces().try_into().unwrap();
    assert_eq!((first.name.as_ref(), second.name.as_ref()), ("default", "second"));
    assert_eq!((first.options.as_ref(), second.options.as_ref()), ([1, 2, 3].as_slice(), [9].as_slice()));
    assert_eq!((first.log_number, second.log_number), (LogNumber(4), LogNumber(8)));
    assert_eq!((first.ordered, second.ordered), (false, true));
    assert_eq!((first.dropped_tombstone_version, second.dropped_tombstone_version), (77, 0));
    assert_eq!((recovery.last_version, recovery.first_unused_version), (100, 201));
    assert_eq!(recovery.tickets, [11, 12]);
    assert!(!recovery.clean_shutdown);
    assert_eq!((recovery.dropped_bytes, recovery.dropped_cause), (0, None));
    assert_eq!(tree.levels.store(), STORE);
}

#[test]
fn a_clean_shutdown_is_known_until_the_next_edit() {
    let tree = Tree::new();
    tree.levels.raise_version_ceiling(500).unwrap();
    tree.levels.close(42).unwrap();
    let (first, recovery) = Levels::open(&tree.vfs, Path::new(DIR), levels_options()).unwrap();
    assert!(recovery.clean_shutdown);
    assert_eq!((recovery.last_version, recovery.first_unused_version), (42, 43));
    assert_eq!(first.version_ceiling(), 42, "not one version may be handed out before an edit takes the mark back");
    drop(first);
    let second = open(&tree.vfs);
    second.raise_version_ceiling(50).unwrap();
    drop(second);
    let (_, recovery) = Levels::open(&tree.vfs, Path::new(DIR), levels_options()).unwrap();
    assert!(!recovery.clean_shutdown);
    assert_eq!(recovery.first_unused_version, 51);
}

#[test]
fn opening_and_closing_without_an_edit_writes_nothing_to_a_clean_store() {
    let (_, faults, tree) = faulty();
    tree.levels.close(1).unwrap();
    let before = faults.mutations();
    open(&tree.vfs).close(1).unwrap();
    assert_eq!(faults.mutations(), before);
}

#[test]
fn a_read_only_tree_writes_nothing_and_refuses_edits() {
    let (_, faults, tree) = faulty();
    tree.flush(numbered(1..=9, 1));
    drop(tree.levels);
    let before = faults.mutations();
    let options = LevelsOptions { read_only: true, ..levels_options() };
    let (levels, _) = Levels::open(&tree.vfs, Path::new(DIR), options).unwrap();
    assert!(matches!(levels.apply(log_number(3)), Err(Error::ReadOnly)));
    assert!(matches!(levels.new_table_id(), Err(Error::ReadOnly)));
    assert!(matches!(levels.remove_orphans(&|_| false), Err(Error::ReadOnly)));
    assert_eq!(levels.version(KEYSPACE).unwrap().verify().unwrap().entries, 9);
    drop(levels);
    assert_eq!(faults.mutations(), before);
}

#[test]
fn no_number_is_handed_out_twice_however_often_the_process_dies() {
    let vfs: Arc<dyn Vfs> = Arc::new(MemFs::new(1));
    let tree = Tree::on(Arc::clone(&vfs));
    drop(tree.levels);
    let mut last = (TableId(0), LogNumber(0), 0, KeyspaceId(0));
    for round in 0..8 {
        let levels = open(&vfs);
        for _ in 0..[1, 3_000, 2, 100][round % 4] {
            let next = (
                levels.new_table_id().unwrap(),
                levels.new_log_number().unwrap(),
                levels.new_ticket().unwrap(),
                levels.new_keyspace_id().unwrap(),
            );
            assert!(next.0 > last.0 && next.1 > last.1 && next.2 > last.2 && next.3 > last.3, "{next:?} {last:?}");
            last = next;
        }
        if round % 3 == 0 {
            levels.close(0).unwrap();
        }
    }
}

#[test]
fn a_clean_shutdown_gives_back_the_numbers_in_reserve() {
    let tree = Tree::new();
    let last = tree.levels.new_table_id().unwrap();
    tree.levels.close(0).unwrap();
    drop(tree.levels);
    assert_eq!(open(&tree.vfs).new_table_id().unwrap(), TableId(last.0 + 1));
}

#[test]
fn the_first_log_after_a_clean_shutdown_gets_its_number_without_an_edit() {
    let (_, faults, tree) = faulty();
    let last = tree.levels.new_log_number().unwrap();
    tree.levels.close(0).unwrap();
    let before = faults.mutations();
    let levels = open(&tree.vfs);
    assert_eq!(levels.new_log_number().unwrap(), LogNumber(last.0 + 1));
    assert_eq!(faults.mutations(), before);
    assert_eq!(levels.new_log_number().unwrap(), LogNumber(last.0 + 2));
    assert!(faults.mutations() > before, "only one number is in reserve");
    levels.close(0).unwrap();
    let levels = open(&tree.vfs);
    assert_eq!(levels.new_log_number().unwrap(), LogNumber(last.0 + 3));
    levels.close(0).unwrap();
    assert_eq!(open(&tree.vfs).new_log_number().unwrap(), LogNumber(last.0 + 4), "a number was handed out twice");
}

#[test]
fn a_tree_whose_use_has_ended_writes_nothing() {
    for closed in [false, true] {
        let (_, faults, tree) = faulty();
        if closed {
            drop(tree.levels.close(1).unwrap())
        } else {
            tree.levels.end()
        }
        let before = faults.mutations();
        assert!(matches!(tree.levels.apply(log_number(5)), Err(Error::Ended)));
        assert!(matches!(tree.levels.new_table_id(), Err(Error::Ended)));
        assert_eq!(faults.mutations(), before);
    }
}

#[test]
fn a_long_manifest_is_written_afresh_and_the_old_one_goes() {
    let options = LevelsOptions { manifest_edits_max: 10, ..levels_options() };
    let tree = Tree::try_on(Arc::new(MemFs::new(1)), options).unwrap();
    for number in 1..=100 {
        tree.levels.apply(log_number(number)).unwrap();
        assert_eq!(manifests(tree.vfs.as_ref()).len(), 1);
    }
    drop(tree.levels);
    let (levels, recovery) = Levels::open(&tree.vfs, Path::new(DIR), levels_options()).unwrap();
    assert!(recovery.edits <= 11, "{recovery:?}");
    assert_eq!(levels.keyspace(KEYSPACE).unwrap().log_number, LogNumber(100));
    assert_ne!(manifests(tree.vfs.as_ref()), ["MANIFEST-000001"]);
}

#[test]
fn a_manifest_of_an_earlier_run_is_never_appended_to() {
    let memory = MemFs::new(1);
    let tree = Tree::on(Arc::new(memory.clone()));
    drop(tree.levels);
    let path = Path::new(DIR).join("MANIFEST-000001");
    let bytes = memory.read(&path).unwrap();
    let levels = open(&tree.vfs);
    assert_eq!(memory.read(&path).unwrap(), bytes, "opening writes nothing");
    levels.apply(log_number(1)).unwrap();
    assert_eq!(manifests(tree.vfs.as_ref()), ["MANIFEST-000002"]);
}

#[test]
fn a_full_disk_fails_the_edit_and_clears_by_itself() {
    for torn_bytes in [0, 1, 11, 40] {
        let (memory, faults, tree) = faulty();
        let full = Fault::on(Operation::Append, Cause::NoSpace).at_path(in_manifest).after_bytes(torn_bytes);
        faults.arm(full);
        assert!(matches!(tree.levels.apply(log_number(7)), Err(Error::ManifestFull(_))));
        assert_eq!(tree.levels.keyspace(KEYSPACE).unwrap().log_number, LogNumber(0), "nothing was installed");
        tree.levels.apply(log_number(8)).unwrap();
        tree.levels.apply(VersionEdit::of(created(KeyspaceId(1), "another"))).unwrap();
        let image: Arc<dyn Vfs> = Arc::new(memory.crash_image(CrashMode::DropUnsynced, 1));
        let levels = open(&image);
        assert_eq!(levels.keyspace(KEYSPACE).unwrap().log_number, LogNumber(8), "torn after {torn_bytes} bytes");
        assert_eq!(levels.keyspaces().len(), 2);
    }
}

#[test]
fn after_a_failed_sync_no_edit_is_taken_until_the_store_is_reopened() {
    let (memory, faults, tree) = faulty();
    tree.flush(numbered(1..=9, 1));
    faults.arm(Fault::on(Operation::Sync, Cause::Io).at_path(in_manifest).losing_unsynced());
    assert!(matches!(tree.levels.apply(log_number(7)), Err(Error::Vfs(_))));
    assert!(matches!(tree.levels.apply(log_number(8)), Err(Error::ManifestPoisoned { .. })));
    assert!(matches!(tree.levels.close(1), Err(Error::ManifestPoisoned { .. })));
    assert!(tree.levels.poisoned().is_some());
    assert_eq!(tree.levels.keyspace(KEYSPACE).unwrap().log_number, LogNumber(0), "nothing was installed");
    assert!(tree.get("0003", 5).is_some(), "reads go on");
    drop(tree);
    for mode in [CrashMode::DropUnsynced, CrashMode::KeepAll] {
        let image: Arc<dyn Vfs> = Arc::new(memory.crash_image(mode, 1));
        let levels = open(&image);
        levels.apply(log_number(9)).unwrap();
        assert_eq!(levels.version(KEYSPACE).unwrap().verify().unwrap().entries, 9);
    }
}

#[test]
fn any_error_of_an_append_but_a_full_disk_poisons_the_manifest() {
    let (_, faults, tree) = faulty();
    faults.arm(Fault::on(Operation::Append, Cause::Io).at_path(in_manifest).after_bytes(20));
    assert!(matches!(tree.levels.apply(log_number(7)), Err(Error::Vfs(_))));
    assert!(matches!(tree.levels.apply(log_number(8)), Err(Error::ManifestPoisoned { .. })));
}

#[test]
fn a_switch_that_fails_before_current_is_replaced_harms_nothing() {
    for operation in [Operation::Create, Operation::Rename] {
        let memory = MemFs::new(1);
        let faults = FaultFs::over_memory(memory.clone(), FaultPlan::none());
        let options = LevelsOptions { manifest_edits_max: 3, ..levels_options() };
        let tree = Tree::try_on(Arc::new(faults.clone()), options).unwrap();
        let fault = faults.arm(Fault::on(operation, Cause::NoSpace).forever());
        for number in 1..=10 {
            tree.levels.apply(log_number(number)).unwrap();
        }
        assert!(faults.hits(fault) > 0);
        assert_eq!(manifests(tree.vfs.as_ref()), ["MANIFEST-000001"]);
        faults.disarm(fault);
        tree.levels.apply(log_number(11)).unwrap();
        assert_eq!(manifests(tree.vfs.as_ref()).len(), 1);
        assert_ne!(manifests(tree.vfs.as_ref()), ["MANIFEST-000001"]);
        let image: Arc<dyn Vfs> = Arc::new(memory.crash_image(CrashMode::DropUnsynced, 1));
        assert_eq!(open(&image).keyspace(KEYSPACE).unwrap().log_number, LogNumber(11));
    }
}

#[test]
fn a_switch_of_which_nobody_knows_whether_it_happened_poisons_the_manifest() {
    let memory = MemFs::new(1);
    let faults = FaultFs::over_memory(memory.clone(), FaultPlan::none());
    let options = LevelsOptions { manifest_edits_max: 3, ..levels_options() };
    let tree = Tree::try_on(Arc::new(faults.clone()), options).unwrap();
    // The first sync of the directory makes the manifest's name durable, the second one that of CURRENT.
    faults.arm(Fault::on(Operation::SyncDir, Cause::Io).nth(2));
    let mut number = 0;
    let refused = loop {
        number += 1;
        assert!(number < 10, "the manifest was never switched");
        if let Err(error) = tree.levels.apply(log_number(number)) {
            break error;
        }
    };
    assert!(matches!(refused, Error::ManifestPoisoned { .. }));
    for (mode, seed) in [(CrashMode::DropUnsynced, 1), (CrashMode::KeepAll, 1), (CrashMode::Random, 7)] {
        let image: Arc<dyn Vfs> = Arc::new(memory.crash_image(mode, seed));
        let found = open(&image).keyspace(KEYSPACE).unwrap().log_number;
        assert_eq!(found, LogNumber(number - 1), "every edit that was acknowledged is in either manifest");
    }
}

#[test]
fn an_edit_that_does_not_fit_changes_nothing() {
    let (_, faults, tree) = faulty();
    let id = tree.flush(numbered(1..=9, 5));
    tree.add(6, numbered(1..=9, 1));
    tree.levels.apply(log_number(5)).unwrap();
    let (dump, before) = (tree.dump(), faults.mutations());
    let edit = || KeyspaceEdit::new(KEYSPACE);
    let again = tree.version().level0()[0].meta().clone();
    let added = lsm_levels::NewTable { level: 0, place: lsm_levels::Place::Newest, meta: again };
    let crossing = lsm_levels::NewTable { level: 6, ..added.clone() };
    for (what, edit) in [
        ("there is no such keyspace", KeyspaceEdit { ordered: Some(true), ..KeyspaceEdit::new(KeyspaceId(3)) }),
        ("a keyspace of this number exists", created(KEYSPACE, "again")),
        ("a keyspace of this name exists", created(KeyspaceId(3), "default")),
        ("the name of a keyspace is empty or too long", created(KeyspaceId(3), "")),
        ("the log number of a keyspace goes back", KeyspaceEdit { log_number: Some(LogNumber(4)), ..edit() }),
        ("a table to be removed is not there", KeyspaceEdit { removed: vec![TableId(99)], ..edit() }),
        ("a table to be removed is not there", KeyspaceEdit { removed: vec![id, id], ..edit() }),
        ("a table to be added is there already", KeyspaceEdit { added: vec![added], ..edit() }),
        ("a table overlaps another of its level", KeyspaceEdit { removed: vec![id], added: vec![crossing], ..edit() }),
    ] {
        match tree.levels.apply(VersionEdit::of(edit)) {
            Err(Error::EditRefused { what: found, .. }) => assert_eq!(found, what),
            other => panic!("{what}: {other:?}"),
        }
    }
    assert_eq!((tree.dump(), faults.mutations()), (dump, before));
}

/// The second memtable is flushed first: its tombstone sinks and is dropped with "nothing under it", while the first
/// memtable still holds what it deletes. The log numbers show it.
#[test]
fn flushes_out_of_the_order_of_their_logs_are_refused() {
    let tree = Tree::new();
    let flush = |entries, log: u64| {
        let added = tree.write(entries).unwrap();
        tree.levels.apply(VersionEdit::of(KeyspaceEdit {
            log_number: Some(LogNumber(log)),
            added,
            ..KeyspaceEdit::new(KEYSPACE)
        }))
    };
    flush(vec![tree::delete("key", 6)], 3).unwrap();
    assert!(matches!(flush(vec![put("key", 5, "")], 2), Err(Error::EditRefused { .. })));
}

#[test]
fn a_table_that_is_missing_or_of_another_size_is_corruption_and_named() {
    let memory = MemFs::new(1);
    let tree = Tree::on(Arc::new(memory.clone()));
    let id = tree.flush(numbered(1..=9, 1));
    drop(tree.levels);
    let path = sstable::table_path(Path::new(DIR), id);
    let bytes = memory.read(&path).unwrap();
    let found = |what: &str| match Levels::open(&tree.vfs, Path::new(DIR), levels_options()) {
        Err(Error::Corruption(corruption)) => assert_eq!(corruption.path, path, "{what}"),
        other => panic!("{what}: {other:?}"),
    };
    memory.edit(&path, |bytes| bytes.push(0)).unwrap();
    found("one byte more");
    memory.remove_file(&path).unwrap();
    found("missing");
    memory.write(&path, bytes).unwrap();
    assert!(Levels::open(&tree.vfs, Path::new(DIR), levels_options()).is_ok());
}

#[test]
fn a_store_that_has_lost_its_manifest_or_current_is_corrupt_and_not_empty() {
    let memory = MemFs::new(1);
    let vfs: Arc<dyn Vfs> = Arc::new(memory.clone());
    vfs.create_dir_all(Path::new(DIR)).unwrap();
    let opened = || Levels::open(&vfs, Path::new(DIR), levels_options()).map(drop);
    assert!(matches!(opened(), Err(Error::NoStore { .. })));
    let tree = Tree::on(Arc::clone(&vfs));
    tree.flush(numbered(1..=9, 1));
    drop(tree.levels);
    assert!(matches!(Levels::create(&vfs, Path::new(DIR), STORE, levels_options()), Err(Error::StoreExists { .. })));
    for lost in ["CURRENT", "MANIFEST-000001"] {
        let path = Path::new(DIR).join(lost);
        let bytes = memory.read(&path).unwrap();
        memory.remove_file(&path).unwrap();
        match opened() {
            Err(Error::Corruption(corruption)) => assert_eq!(corruption.path, path),
            other => panic!("{lost}: {other:?}"),
        }
        assert!(Levels::create(&vfs, Path::new(DIR), STORE, levels_options()).is_err(), "nothing is built over it");
        memory.write(&path, bytes).unwrap();
    }
    opened().unwrap();
}

#[test]
fn orphans_go_when_told_and_nothing_else_does() {
    let memory = MemFs::new(1);
    let tree = Tree::on(Arc::new(memory.clone()));
    tree.flush(numbered(1..=9, 1));
    let unpublished = tree.write(numbered(1..=9, 2)).unwrap();
    drop(tree.levels);
    for name in ["000077.sst.tmp", "CURRENT.tmp", "MANIFEST-000009", "000012.wal", "LOCK", "notes.sst", "077.sst"] {
        memory.write(&Path::new(DIR).join(name), b"x".to_vec()).unwrap();
    }
    memory.write(&Path::new(DIR).join("000078.sst"), b"x".to_vec()).unwrap();
    let levels = open(&tree.vfs);
    let keep = Path::new(DIR).join("000078.sst");
    let removed = levels.remove_orphans(&|path| path == keep).unwrap();
    let mut expected: Vec<PathBuf> = ["000077.sst.tmp", "CURRENT.tmp", "MANIFEST-000009"]
        .iter()
        .map(|name| Path::new(DIR).join(name))
        .chain([sstable::table_path(Path::new(DIR), unpublished[0].meta.id)])
        .collect();
    expected.sort();
    assert_eq!(removed, expected);
    assert_eq!(levels.remove_orphans(&|path| path == keep).unwrap(), Vec::<PathBuf>::new());
    levels.apply(log_number(1)).unwrap();
    drop(levels);
    assert_eq!(open(&tree.vfs).version(KEYSPACE).unwrap().verify().unwrap().entries, 9);
}

#[test]
fn a_removed_table_goes_only_when_nobody_holds_it() {
    let (_, faults, tree) = faulty();
    let id = tree.flush(numbered(1..=9, 1));
    let pinned = tree.version();
    let removed = KeyspaceEdit { removed: vec![id], ..KeyspaceEdit::new(KEYSPACE) };
    tree.levels.apply(VersionEdit::of(removed)).unwrap();
    let exists = || tree.vfs.metadata(&sstable::table_path(Path::new(DIR), id)).unwrap().is_some();
    assert!(exists());
    assert_eq!(pinned.verify().unwrap().entries, 9);
    faults.arm(Fault::on(Operation::Remove, Cause::AccessDenied));
    drop(pinned);
    assert!(exists());
    let failures = tree.levels.removal_failures();
    assert_eq!(failures.count, 1, "what could not be removed is told");
    assert!(failures.last.unwrap().contains(".sst"));
    drop(tree.levels);
    let levels = open(&tree.vfs);
    assert_eq!(levels.remove_orphans(&|_| false).unwrap().len(), 1);
    assert!(tree.vfs.metadata(&sstable::table_path(Path::new(DIR), id)).unwrap().is_none());
}

/// Every change of a file, in order: a sync that is left out shows as a line that is missing here.
#[test]
fn the_calls_of_creating_editing_and_switching_are_these() {
    let trace = TraceFs::new(Arc::new(MemFs::new(1)), DIR);
    let vfs: Arc<dyn Vfs> = Arc::new(trace.clone());
    vfs.create_dir_all(Path::new(DIR)).unwrap();
    let _ = trace.take_trace();
    let mut told = String::new();
    let mut tell = |title: &str| told += &format!("{title}\n{}\n", trace.take_trace().mutations());
    let options = LevelsOptions { manifest_edits_max: 2, ..levels_options() };
    let levels = Levels::create(&vfs, Path::new(DIR), STORE, options).unwrap();
    tell("create");
    levels.apply(VersionEdit::of(created(KEYSPACE, "default"))).unwrap();
    tell("edit");
    levels.apply(log_number(1)).unwrap();
    tell("edit and switch");
    levels.close(1).unwrap();
    tell("close");
    drop(levels);
    let levels = open(&vfs);
    tell("open");
    levels.apply(log_number(2)).unwrap();
    tell("first edit");
    expect_test::expect![[r#"
        create
        create MANIFEST-000001
        append to MANIFEST-000001, 128 bytes at 0
        append to MANIFEST-000001, 48 bytes at 128
        sync MANIFEST-000001
        sync directory .
        remove CURRENT.tmp (failed: entity not found)
        create CURRENT.tmp
        append to CURRENT.tmp, 61 bytes at 0
        finish CURRENT.tmp, 61 bytes
        rename CURRENT.tmp -> CURRENT
        sync directory .

        edit
        append to MANIFEST-000001, 39 bytes at 176
        sync MANIFEST-000001

        edit and switch
        append to MANIFEST-000001, 29 bytes at 215
        sync MANIFEST-000001
        create MANIFEST-000002
        append to MANIFEST-000002, 128 bytes at 0
        append to MANIFEST-000002, 75 bytes at 128
        sync MANIFEST-000002
        sync directory .
        remove CURRENT.tmp (failed: entity not found)
        create CURRENT.tmp
        append to CURRENT.tmp, 61 bytes at 0
        finish CURRENT.tmp, 61 bytes
        rename CURRENT.tmp -> CURRENT
        sync directory .
        remove MANIFEST-000001

        close
        append to MANIFEST-000002, 26 bytes at 203
        sync MANIFEST-000002
        append to MANIFEST-000002, 15 bytes at 229
        sync MANIFEST-000002
        append to MANIFEST-000002, 15 bytes at 244
        finish MANIFEST-000002, 259 bytes

        open

        first edit
        create MANIFEST-000003
        append to MANIFEST-000003, 128 bytes at 0
        append to MANIFEST-000003, 75 bytes at 128
        sync MANIFEST-000003
        sync directory .
        remove CURRENT.tmp (failed: entity not found)
        create CURRENT.tmp
        append to CURRENT.tmp, 61 bytes at 0
        finish CURRENT.tmp, 61 bytes
        rename CURRENT.tmp -> CURRENT
        sync directory .
        remove MANIFEST-000002

    "#]]
    .assert_eq(&told);
}
