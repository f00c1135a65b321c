//! Every crash point of a small manifest, and every byte of it cut or flipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod tree;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base::{KeyspaceId, LogNumber};
use lsm_levels::{Error, KeyspaceEdit, Levels, LevelsOptions, VersionEdit};
use tree::{DIR, KEYSPACE, STORE, Tree, created, delete, levels_options, numbered, pointing, put};
use vfs::{CrashMode, FaultFs, FaultPlan, MemFs, Vfs};

/// All that the manifest says of a tree, as text.
fn describe(levels: &Levels) -> String {
    let mut text = format!("last {} ceiling {}\n", levels.last_version(), levels.version_ceiling());
    for keyspace in levels.keyspaces() {
        let (id, name) = (keyspace.id, &keyspace.name);
        write!(text, "{id} {name} log {} ordered {}:", keyspace.log_number, keyspace.ordered).unwrap();
        for (level, table) in keyspace.version.all_tables() {
            write!(text, " L{level}:{}@{}", table.id(), table.meta().sequence).unwrap();
        }
        text.push('\n');
    }
    text
}

fn log_number(number: u64) -> VersionEdit {
    VersionEdit::of(KeyspaceEdit { log_number: Some(LogNumber(number)), ..KeyspaceEdit::new(KEYSPACE) })
        .with_last_version(number * 10)
}

/// What the tree said after each acknowledged edit.
#[derive(Default)]
struct History {
    states: Mutex<Vec<String>>,
    acknowledged: AtomicUsize,
}

impl History {
    fn note(&self, levels: &Levels) {
        let mut states = self.states.lock().unwrap();
        let state = describe(levels);
        if states.last() != Some(&state) {
            states.push(state);
        }
        self.acknowledged.store(states.len(), Ordering::SeqCst);
    }

    fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::SeqCst)
    }
}

/// Creates a store, flushes, compacts, moves, switches manifests several times, closes, opens and goes on.
fn workload(vfs: &Arc<dyn Vfs>, history: &History) {
    let options = || LevelsOptions { manifest_edits_max: 4, ..levels_options() };
    vfs.create_dir_all(Path::new(DIR)).unwrap();
    let levels = Levels::create(vfs, Path::new(DIR), STORE, options()).unwrap();
    history.note(&levels);
    levels.apply(VersionEdit::of(created(KEYSPACE, "default"))).unwrap();
    history.note(&levels);
    let tree = Tree::of(Arc::clone(vfs), levels);
    tree.levels.apply(VersionEdit::of(created(KeyspaceId(1), "other"))).unwrap();
    history.note(&tree.levels);
    for round in 1..4 {
        tree.flush(vec![put("a", round * 10, "x"), delete("b", round * 10), pointing("c", round * 10, 7)]);
        history.note(&tree.levels);
        tree.levels.apply(log_number(round)).unwrap();
        history.note(&tree.levels);
    }
    tree.compact_level(0);
    history.note(&tree.levels);
    tree.add(3, numbered(5..=9, 90));
    history.note(&tree.levels);
    tree.compact_level(3);
    history.note(&tree.levels);
    tree.levels.raise_version_ceiling(900).unwrap();
    history.note(&tree.levels);
    tree.levels.close(95).unwrap();
    history.note(&tree.levels);
    drop(tree);
    let (levels, recovery) = Levels::open(vfs, Path::new(DIR), options()).unwrap();
    assert!(recovery.clean_shutdown);
    history.note(&levels);
    for number in 10..13 {
        levels.apply(log_number(number)).unwrap();
        history.note(&levels);
    }
}

/// One image, with the number of edits acknowledged when it was taken.
struct Image {
    memory: MemFs,
    acknowledged: usize,
    name: String,
}

#[test]
fn a_crash_at_any_change_leaves_every_acknowledged_edit_and_none_in_part() {
    let memory = MemFs::new(1);
    let faults = FaultFs::over_memory(memory.clone(), FaultPlan::none());
    let (history, images) = (Arc::new(History::default()), Arc::new(Mutex::new(Vec::new())));
    let (hook_history, hook_images) = (Arc::clone(&history), Arc::clone(&images));
    faults.on_mutation(move |record| {
        for (mode, seeds) in [
            (CrashMode::KeepAll, 1),
            (CrashMode::DropUnsynced, 1),
            (CrashMode::KeepNames, 1),
            (CrashMode::Prefix, 2),
            (CrashMode::Random, 4),
        ] {
            for seed in 0..seeds {
                let seed = record.number * 16 + seed;
                hook_images.lock().unwrap().push(Image {
                    memory: memory.crash_image(mode, seed),
                    acknowledged: hook_history.acknowledged(),
                    name: format!("{mode:?} with seed {seed} before change {}: {record}", record.number),
                });
            }
        }
    });
    workload(&(Arc::new(faults.clone()) as Arc<dyn Vfs>), &history);
    faults.clear_hook();
    let images = std::mem::take(&mut *images.lock().unwrap());
    println!("{} images of {} changes", images.len(), faults.mutations());
    assert!(images.len() > 500);
    let states = history.states.lock().unwrap();
    for image in images {
        check(&image, &states);
    }
}

/// Opens an image, writes to it, opens it again.
fn check(image: &Image, states: &[String]) {
    let vfs: Arc<dyn Vfs> = Arc::new(image.memory.clone());
    let opened = Levels::open(&vfs, Path::new(DIR), levels_options());
    let levels = match opened {
        Ok((levels, _)) => levels,
        Err(Error::NoStore { .. } | Error::Vfs(_)) if image.acknowledged == 0 => {
            vfs.create_dir_all(Path::new(DIR)).unwrap();
            let levels = Levels::create(&vfs, Path::new(DIR), STORE, levels_options())
                .unwrap_or_else(|error| panic!("{}: cannot create: {error}", image.name));
            return drop(levels);
        }
        Err(error) => panic!("{}: cannot open: {error}", image.name),
    };
    let found = describe(&levels);
    // The edit in flight may be there or not; the marks of a clean shutdown and of what follows change no more.
    let allowed = image.acknowledged.saturating_sub(1)..(image.acknowledged + 1).min(states.len());
    let same = |state: &String| without_ceiling(state) == without_ceiling(&found);
    assert!(states[allowed].iter().any(same), "{}: found {found}", image.name);
    for keyspace in levels.keyspaces() {
        keyspace.version.verify().unwrap_or_else(|error| panic!("{}: {error}", image.name));
    }
    levels.remove_orphans(&|_| false).unwrap();
    levels.apply(VersionEdit::of(created(KeyspaceId(77), "after the crash"))).unwrap();
    let expected = describe(&levels);
    drop(levels);
    let (levels, recovery) = Levels::open(&vfs, Path::new(DIR), levels_options()).unwrap();
    assert_eq!(describe(&levels), expected, "{}", image.name);
    assert_eq!(recovery.dropped_bytes, 0);
}

/// The ceiling that a clean open shows is the last version, so that it has to be raised first.
fn without_ceiling(state: &str) -> String {
    state.split_once(" ceiling").map_or_else(String::new, |(last, rest)| {
        format!("{last}{}", rest.split_once('\n').map_or("", |(_, rest)| rest))
    })
}

/// A store of a few edits, its manifest, and what it said after each edit.
fn small_store(close: bool) -> (MemFs, Vec<u8>, Vec<(u64, String)>) {
    let memory = MemFs::new(1);
    let vfs: Arc<dyn Vfs> = Arc::new(memory.clone());
    vfs.create_dir_all(Path::new(DIR)).unwrap();
    let levels = Levels::create(&vfs, Path::new(DIR), STORE, levels_options()).unwrap();
    let len = || memory.read(&manifest()).unwrap().len() as u64;
    let mut states = vec![(len(), describe(&levels))];
    let edits = [VersionEdit::of(created(KEYSPACE, "default")), log_number(1), log_number(2)];
    for edit in edits {
        levels.apply(edit).unwrap();
        states.push((len(), describe(&levels)));
    }
    if close {
        levels.close(50).unwrap();
        states.push((len(), describe(&levels)));
    }
    let bytes = memory.read(&manifest()).unwrap();
    (memory, bytes, states)
}

fn manifest() -> std::path::PathBuf {
    Path::new(DIR).join("MANIFEST-000001")
}

/// Opens the store with these bytes for a manifest; `Some` with the number of the state it shows and whether bytes were
/// reported as dropped, `None` where it was refused with a typed error that names the file.
fn outcome(memory: &MemFs, bytes: Vec<u8>, states: &[(u64, String)], what: &str) -> Option<(usize, bool)> {
    memory.write(&manifest(), bytes).unwrap();
    let vfs: Arc<dyn Vfs> = Arc::new(memory.clone());
    match Levels::open(&vfs, Path::new(DIR), levels_options()) {
        Ok((levels, recovery)) => {
            let found = without_ceiling(&describe(&levels));
            let state = states.iter().position(|(_, state)| without_ceiling(state) == found);
            let state = state.unwrap_or_else(|| panic!("{what}: a state that never was: {found}"));
            Some((state, recovery.dropped_bytes > 0))
        }
        Err(Error::Corruption(corruption)) => {
            assert_eq!(corruption.path, manifest(), "{what}");
            None
        }
        Err(Error::Incompatible { path, .. } | Error::Log(wal::Error::Incompatible { path, .. })) => {
            assert_eq!(path, manifest(), "{what}");
            None
        }
        Err(error) => panic!("{what}: {error:?}"),
    }
}

#[test]
fn a_manifest_cut_anywhere_is_refused_or_shows_an_earlier_state_and_says_so() {
    let (memory, bytes, states) = small_store(false);
    let first_edit_end = states[0].0 as usize;
    for len in 0..bytes.len() {
        let what = format!("cut to {len}");
        match outcome(&memory, bytes[..len].to_vec(), &states, &what) {
            None => assert!(len < first_edit_end, "{what}: what CURRENT vouches for is gone"),
            Some((state, reported)) => {
                assert!(len >= first_edit_end, "{what}");
                assert!(states[state].0 as usize <= len, "{what}");
                assert!(
                    states.get(state + 1).is_none_or(|(end, _)| *end as usize > len),
                    "{what}: a whole edit is lost"
                );
                assert_eq!(reported, states[state].0 as usize != len, "{what}");
            }
        }
    }
}

#[test]
fn a_flipped_bit_is_refused_or_loses_the_last_edit_and_says_so() {
    let (memory, bytes, states) = small_store(false);
    let last = states.len() - 1;
    for position in 0..bytes.len() {
        for bit in [0, 3, 7] {
            let what = format!("bit {bit} of byte {position} flipped");
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << bit;
            if let Some((state, reported)) = outcome(&memory, damaged, &states, &what) {
                assert!(position as u64 >= states[last - 1].0, "{what}: it was known to be durable");
                assert_eq!((state, reported), (last - 1, true), "{what}");
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_a_manifest_that_was_closed_is_always_refused_before_its_end() {
    let (memory, bytes, states) = small_store(true);
    let last = states.len() - 1;
    let proof = bytes.len() - 32;
    for position in 0..bytes.len() {
        let what = format!("byte {position} flipped");
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x10;
        if let Some((state, reported)) = outcome(&memory, damaged, &states, &what) {
            assert!(position >= proof, "{what}");
            assert_eq!((state, reported), (last, true), "{what}: at most the last closing record is lost");
        }
    }
}
