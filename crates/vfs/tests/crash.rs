//! What crash images keep and lose: never what was synced, and of the rest every legal shape.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, its shared parts too")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use base::rng::Rng;
use vfs::{AppendFile, AppendMode, AppendOptions, CrashMode, LockKind, MemFs, Vfs, write_atomic};

const POWER_LOSSES: [CrashMode; 4] =
    [CrashMode::DropUnsynced, CrashMode::KeepNames, CrashMode::Prefix, CrashMode::Random];

fn dir() -> &'static Path {
    Path::new("/d")
}

fn at(name: &str) -> PathBuf {
    dir().join(name)
}

fn memory() -> MemFs {
    let fs = MemFs::new(1);
    fs.create_dir_all(dir()).unwrap();
    fs
}

fn create(fs: &MemFs, name: &str, mode: AppendMode, preallocate_bytes: u64) -> Box<dyn AppendFile> {
    fs.create_append(&at(name), AppendOptions { mode, preallocate_bytes }).unwrap()
}

/// A file whose name is durable.
fn create_durable(fs: &MemFs, name: &str) -> Box<dyn AppendFile> {
    let file = create(fs, name, AppendMode::Written, 0);
    fs.sync_dir(dir()).unwrap();
    file
}

fn exists(fs: &MemFs, name: &str) -> bool {
    fs.metadata(&at(name)).unwrap().is_some()
}

#[test]
fn synced_bytes_and_names_are_in_every_image() {
    let fs = memory();
    let mut file = create_durable(&fs, "a");
    file.append(b"synced").unwrap();
    file.sync().unwrap();
    file.append(b" not").unwrap();
    for mode in POWER_LOSSES {
        for seed in 0..200 {
            let bytes = fs.crash_image(mode, seed).read(&at("a")).unwrap();
            assert_eq!(&bytes[..6], b"synced", "{mode:?}, seed {seed}");
        }
    }
    assert_eq!(fs.crash_image(CrashMode::DropUnsynced, 0).read(&at("a")).unwrap(), b"synced");
}

#[test]
fn the_sync_of_a_file_does_not_keep_its_name() {
    let fs = memory();
    let mut file = create(&fs, "a", AppendMode::Written, 0);
    file.append(b"bytes").unwrap();
    file.sync().unwrap();
    assert!(!exists(&fs.crash_image(CrashMode::DropUnsynced, 0), "a"));
    fs.sync_dir(dir()).unwrap();
    assert_eq!(fs.crash_image(CrashMode::DropUnsynced, 0).read(&at("a")).unwrap(), b"bytes");
}

#[test]
fn the_sync_of_a_directory_does_not_keep_the_bytes_of_its_files() {
    let fs = memory();
    let mut file = create_durable(&fs, "a");
    file.append(b"bytes").unwrap();
    fs.sync_dir(dir()).unwrap();
    assert_eq!(fs.crash_image(CrashMode::DropUnsynced, 0).read(&at("a")).unwrap(), b"");
}

#[test]
fn the_sync_of_one_directory_does_not_keep_the_names_of_another() {
    let fs = memory();
    fs.create_dir_all(Path::new("/d/below")).unwrap();
    drop(create(&fs, "below/a", AppendMode::Written, 0));
    fs.sync_dir(dir()).unwrap();
    assert!(!exists(&fs.crash_image(CrashMode::DropUnsynced, 0), "below/a"));
}

#[test]
fn a_sync_handle_makes_bytes_durable() {
    let fs = memory();
    let mut file = create_durable(&fs, "a");
    let handle = file.sync_handle();
    file.append(b"one").unwrap();
    handle.sync().unwrap();
    file.append(b"two").unwrap();
    assert_eq!(fs.crash_image(CrashMode::DropUnsynced, 0).read(&at("a")).unwrap(), b"one");
}

#[test]
fn the_death_of_the_process_loses_buffered_bytes_alone_and_syncs_nothing() {
    let fs = memory();
    let mut written = create(&fs, "written", AppendMode::Mapped, 0);
    written.append(b"kept").unwrap();
    let mut buffered = create(&fs, "buffered", AppendMode::Buffered(100), 0);
    buffered.append(b"flushed").unwrap();
    buffered.flush().unwrap();
    buffered.append(b" not").unwrap();
    let killed = fs.crash_image(CrashMode::KeepAll, 0);
    assert_eq!(&killed.read(&at("written")).unwrap()[..5], b"kept\0");
    assert_eq!(killed.read(&at("buffered")).unwrap(), b"flushed");

    // What the dead process had not synced, a power loss takes from the next one still.
    killed.sync_dir(dir()).unwrap();
    let lost = killed.crash_image(CrashMode::DropUnsynced, 0);
    assert_eq!(lost.read(&at("written")).unwrap(), b"");
    let next = killed.crash_image(CrashMode::KeepAll, 1);
    assert_eq!(next.read(&at("buffered")).unwrap(), b"flushed");
}

#[test]
fn a_rename_happens_as_a_whole_or_not_at_all() {
    let fs = memory();
    write_atomic(&fs, &at("CURRENT"), b"old").unwrap();
    let mut file = create(&fs, "CURRENT.tmp", AppendMode::Written, 0);
    file.append(b"new").unwrap();
    file.finish().unwrap();
    fs.rename(&at("CURRENT.tmp"), &at("CURRENT")).unwrap();
    let mut seen = BTreeSet::new();
    for mode in POWER_LOSSES {
        for seed in 0..100 {
            seen.insert(fs.crash_image(mode, seed).read(&at("CURRENT")).unwrap());
        }
    }
    assert_eq!(seen, BTreeSet::from([b"old".to_vec(), b"new".to_vec()]));
    fs.sync_dir(dir()).unwrap();
    for seed in 0..100 {
        let image = fs.crash_image(CrashMode::Random, seed);
        assert_eq!(image.read(&at("CURRENT")).unwrap(), b"new", "seed {seed}");
        assert!(!exists(&image, "CURRENT.tmp"));
    }
}

#[test]
fn a_rename_that_was_not_synced_first_may_show_an_empty_file() {
    let fs = memory();
    let mut file = create(&fs, "t.tmp", AppendMode::Written, 0);
    file.append(b"never synced").unwrap();
    fs.rename(&at("t.tmp"), &at("t")).unwrap();
    fs.sync_dir(dir()).unwrap();
    assert_eq!(fs.crash_image(CrashMode::DropUnsynced, 0).read(&at("t")).unwrap(), b"");
    assert_eq!(fs.crash_image(CrashMode::KeepNames, 0).read(&at("t")).unwrap(), [0; 12]);
}

#[test]
fn a_removal_that_was_not_synced_may_be_undone() {
    let fs = memory();
    fs.write(&at("a"), b"back").unwrap();
    fs.remove_file(&at("a")).unwrap();
    assert_eq!(fs.crash_image(CrashMode::DropUnsynced, 0).read(&at("a")).unwrap(), b"back");
    assert!(!exists(&fs.crash_image(CrashMode::KeepAll, 0), "a"));
    fs.sync_dir(dir()).unwrap();
    assert!(POWER_LOSSES.iter().all(|&mode| !exists(&fs.crash_image(mode, 0), "a")));
}

#[test]
fn truncate_is_durable_at_once_and_a_cut_is_not() {
    let fs = memory();
    let mut file = create_durable(&fs, "a");
    file.append(b"0123456789").unwrap();
    file.sync().unwrap();
    file.cut(4).unwrap();
    assert_eq!(fs.crash_image(CrashMode::DropUnsynced, 0).read(&at("a")).unwrap(), b"0123456789");
    file.finish().unwrap();
    assert_eq!(fs.crash_image(CrashMode::DropUnsynced, 0).read(&at("a")).unwrap(), b"0123");
    fs.truncate(&at("a"), 2).unwrap();
    assert_eq!(fs.crash_image(CrashMode::DropUnsynced, 0).read(&at("a")).unwrap(), b"01");
}

#[test]
fn names_change_each_on_its_own_in_random_images() {
    let fs = memory();
    fs.write(&at("old"), b"").unwrap();
    drop(create(&fs, "a", AppendMode::Written, 0));
    drop(create(&fs, "b", AppendMode::Written, 0));
    fs.remove_file(&at("old")).unwrap();
    let shapes: BTreeSet<Vec<PathBuf>> = (0..500).map(|seed| fs.crash_image(CrashMode::Random, seed).files()).collect();
    assert_eq!(shapes.len(), 8, "{shapes:?}");
}

#[test]
fn random_images_tear_writes_at_sectors_and_leave_holes_and_lengths() {
    let fs = memory();
    let mut file = create_durable(&fs, "log");
    let record = vec![7; 5_000];
    for _ in 0..4 {
        file.append(&record).unwrap();
    }
    let mut shapes = BTreeMap::<&str, usize>::new();
    for seed in 0..1_000 {
        let bytes = fs.crash_image(CrashMode::Random, seed).read(&at("log")).unwrap();
        assert!(bytes.len() <= 20_000 && bytes.iter().all(|&byte| byte == 0 || byte == 7), "seed {seed}");
        let last = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
        let is_torn_record = |record: &[u8]| record.contains(&0) && record.contains(&7);
        let mut count = |shape, is_so: bool| *shapes.entry(shape).or_default() += usize::from(is_so);
        count("empty", bytes.is_empty());
        count("whole", bytes.len() == 20_000 && last == 20_000 && !bytes.contains(&0));
        count("a length without its bytes", bytes.len() > last);
        count("a hole before kept bytes", bytes[..last].contains(&0));
        count("a torn record", bytes.chunks(5_000).any(is_torn_record));
        let kept_inside_a_page = |page: &[u8]| page[..512].contains(&0) != page[1024..1536].contains(&0);
        count("a torn page", bytes[..bytes.len() / 4096 * 4096].chunks(4096).any(kept_inside_a_page));
        for (index, sector) in bytes[..bytes.len() / 512 * 512].chunks(512).enumerate() {
            let holds_a_record_end = (index * 512 / 5_000) != ((index * 512 + 511) / 5_000);
            assert!(holds_a_record_end || !is_torn_record(sector), "a torn sector, seed {seed}");
        }
    }
    assert!(shapes.values().all(|&count| count >= 10), "{shapes:?}");
}

#[test]
fn prefix_images_keep_changes_in_order_over_all_files() {
    let fs = memory();
    let mut files = [create_durable(&fs, "a"), create_durable(&fs, "b")];
    for step in 0..20 {
        files[step % 2].append(b"x").unwrap();
    }
    drop(create(&fs, "c", AppendMode::Written, 0));
    let mut seen = BTreeSet::new();
    for seed in 0..500 {
        let image = fs.crash_image(CrashMode::Prefix, seed);
        let [a, b] = ["a", "b"].map(|name| image.read(&at(name)).unwrap().len());
        assert!(a == b || a == b + 1, "seed {seed}: {a} and {b}");
        let has_c = exists(&image, "c");
        assert!(!has_c || a + b == 20, "seed {seed}: a later name without earlier bytes");
        seen.insert(a + b + usize::from(has_c));
    }
    assert_eq!(seen, (0..=21).collect());
}

#[test]
fn the_same_seed_gives_the_same_image() {
    let fs = memory();
    let mut file = create(&fs, "a", AppendMode::Mapped, 0);
    file.append(&[3; 100_000]).unwrap();
    for seed in 0..50 {
        let [first, second] = [0, 1].map(|_| {
            let image = fs.crash_image(CrashMode::Random, seed);
            image.files().iter().map(|path| image.read(path).unwrap()).collect::<Vec<_>>()
        });
        assert!(first == second, "seed {seed}");
    }
}

#[test]
fn images_are_independent_and_hold_no_locks() {
    let fs = memory();
    let held = fs.lock(&at("LOCK"), LockKind::Exclusive).unwrap().unwrap();
    let mut file = create_durable(&fs, "a");
    file.append(b"one").unwrap();
    let image = fs.crash_image(CrashMode::KeepAll, 0);
    assert!(image.lock(&at("LOCK"), LockKind::Exclusive).unwrap().is_some());
    image.edit(&at("a"), |bytes| bytes.push(b'!')).unwrap();
    image.remove_file(&at("LOCK")).unwrap();
    file.append(b"two").unwrap();
    assert_eq!(image.read(&at("a")).unwrap(), b"one!");
    assert_eq!(fs.read(&at("a")).unwrap(), b"onetwo");
    assert!(fs.lock(&at("LOCK"), LockKind::Exclusive).unwrap().is_none());
    drop(held);
}

#[test]
fn hard_links_are_one_file_in_an_image() {
    let fs = memory();
    let mut file = create(&fs, "a", AppendMode::Written, 0);
    file.append(&[1; 10_000]).unwrap();
    fs.hard_link(&at("a"), &at("b")).unwrap();
    fs.sync_dir(dir()).unwrap();
    for seed in 0..100 {
        let image = fs.crash_image(CrashMode::Random, seed);
        assert!(image.read(&at("a")).unwrap() == image.read(&at("b")).unwrap(), "seed {seed}");
    }
}

#[test]
fn an_image_is_of_one_moment_while_others_write() {
    let fs = memory();
    let mut first = create_durable(&fs, "first");
    let mut second = create_durable(&fs, "second");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..5_000 {
                first.append(b"x").unwrap();
                second.append(b"x").unwrap();
            }
        });
        while !writer.is_finished() {
            let image = fs.crash_image(CrashMode::KeepAll, 0);
            let [first, second] = ["first", "second"].map(|name| image.read(&at(name)).unwrap().len());
            assert!(first == second || first == second + 1, "{first} and {second}");
        }
    });
}

#[test]
fn bytes_that_a_failed_sync_dropped_never_get_to_the_disk() {
    let fs = memory();
    let mut file = create_durable(&fs, "a");
    file.append(b"synced").unwrap();
    file.sync().unwrap();
    file.append(b" lost").unwrap();
    fs.drop_unsynced(&at("a")).unwrap();
    assert_eq!(fs.read(&at("a")).unwrap(), b"synced lost", "readers still see them");
    file.append(b" later").unwrap();
    file.sync().unwrap();
    let image = fs.crash_image(CrashMode::DropUnsynced, 0);
    assert_eq!(image.read(&at("a")).unwrap(), b"synced\0\0\0\0\0 later");
}

#[test]
fn removed_files_are_freed_when_nothing_can_bring_them_back() {
    for fs in [MemFs::new(1), MemFs::volatile(1)] {
        let is_strict = fs.crash_image(CrashMode::DropUnsynced, 0).used_bytes() == 0;
        fs.create_dir_all(dir()).unwrap();
        fs.write(&at("a"), vec![1; 1_000]).unwrap();
        let reader = fs.open_read(&at("a")).unwrap();
        fs.remove_file(&at("a")).unwrap();
        assert_eq!(fs.used_bytes(), 1_000, "open still");
        drop(reader);
        fs.sync_dir(dir()).unwrap();
        assert_eq!(fs.used_bytes(), 0, "strict: {is_strict}");
    }
}

#[test]
fn a_volatile_one_frees_without_any_sync_and_has_only_whole_images() {
    let fs = MemFs::volatile(1);
    fs.create_dir_all(dir()).unwrap();
    let mut file = create(&fs, "a", AppendMode::Written, 0);
    file.append(&[1; 1_000]).unwrap();
    for mode in POWER_LOSSES {
        assert_eq!(fs.crash_image(mode, 3).read(&at("a")).unwrap(), [1; 1_000]);
    }
    drop(file);
    fs.remove_file(&at("a")).unwrap();
    assert_eq!(fs.used_bytes(), 0);
}

#[test]
fn a_full_disk_takes_what_fits_and_clears_when_space_returns() {
    let fs = memory();
    fs.write(&at("ballast"), vec![0; 600]).unwrap();
    fs.set_capacity(1_000);
    assert_eq!(fs.available_bytes(dir()).unwrap(), 400);
    let mut file = create_durable(&fs, "a");
    file.append(&[1; 300]).unwrap();
    let error = file.append(&[2; 300]).unwrap_err();
    assert!(error.is_no_space(), "{error}");
    assert_eq!(file.len(), 300);
    file.cut(300).unwrap();
    assert_eq!(fs.read(&at("a")).unwrap(), [1; 300]);

    let options = AppendOptions { mode: AppendMode::Mapped, preallocate_bytes: 64 << 10 };
    let error = fs.create_append(&at("b"), options).unwrap_err();
    assert!(error.is_no_space(), "{error}");
    assert!(!exists(&fs, "b"), "a file whose creation failed is not left behind");

    fs.remove_file(&at("ballast")).unwrap();
    assert!(file.append(&[2; 300]).unwrap_err().is_no_space(), "its removal is not durable yet");
    file.cut(300).unwrap();
    fs.sync_dir(dir()).unwrap();
    file.append(&[2; 300]).unwrap();
    assert_eq!(fs.used_bytes(), 600);
}

#[test]
fn edits_are_durable_and_mappings_keep_what_they_showed() {
    let fs = memory();
    fs.write(Path::new("/new/dir/a"), b"0123").unwrap();
    let path = Path::new("/new/dir/a");
    let mapping = fs.open_read(path).unwrap().map(4).unwrap();
    fs.edit(path, |bytes| bytes[1] ^= 1).unwrap();
    fs.edit(path, |bytes| bytes.truncate(3)).unwrap();
    assert_eq!(fs.crash_image(CrashMode::DropUnsynced, 0).read(path).unwrap(), b"002");
    assert_eq!(&mapping[..], b"0123");
    assert!(fs.edit(&at("none"), |_| ()).unwrap_err().is_not_found());
    assert_eq!(fs.used_bytes(), 3);
}

/// What must be in every image of a file, and what may.
#[derive(Default)]
struct Promise {
    appended: Vec<u8>,
    synced_len: usize,
    has_durable_name: bool,
    /// For each place, the bytes that were ever appended there, as bits.
    ever: Vec<u128>,
}

/// Random appends, cuts, syncs and removals; whatever an image leaves out, it never leaves out what was promised, and never
/// shows a byte that was not written.
#[test]
fn images_of_random_histories_keep_every_promise() {
    for seed in 0..30 {
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        let fs = memory();
        let mut open = BTreeMap::<String, (Box<dyn AppendFile>, Promise)>::new();
        for step in 0..120_u8 {
            let name = rng.below(6).to_string();
            match (rng.below(10), open.contains_key(&name)) {
                (_, false) => {
                    // Or else the file that had this name before may come back in its place.
                    fs.sync_dir(dir()).unwrap();
                    open.values_mut().for_each(|(_, promise)| promise.has_durable_name = true);
                    let mode = if rng.one_in(2) { AppendMode::Written } else { AppendMode::Mapped };
                    open.insert(name.clone(), (create(&fs, &name, mode, 64 << 10), Promise::default()));
                }
                (0..=4, true) => {
                    let (file, promise) = open.get_mut(&name).unwrap();
                    let start = promise.appended.len();
                    let bytes = vec![step + 1; rng.below(3_000) as usize];
                    file.append(&bytes).unwrap();
                    promise.appended.extend(bytes);
                    promise.ever.resize(promise.ever.len().max(promise.appended.len()), 0);
                    promise.ever[start..promise.appended.len()].iter_mut().for_each(|ever| *ever |= 1 << (step + 1));
                }
                (5, true) => {
                    let (file, promise) = open.get_mut(&name).unwrap();
                    let len = promise.appended.len() - rng.below(promise.appended.len().min(6_000) as u64 + 1) as usize;
                    file.cut(len as u64).unwrap();
                    promise.appended.truncate(len);
                    promise.synced_len = promise.synced_len.min(len);
                }
                (6..=7, true) => {
                    let (file, promise) = open.get_mut(&name).unwrap();
                    file.sync().unwrap();
                    promise.synced_len = promise.appended.len();
                }
                (8, true) => {
                    fs.sync_dir(dir()).unwrap();
                    open.values_mut().for_each(|(_, promise)| promise.has_durable_name = true);
                }
                (_, true) => {
                    fs.remove_file(&at(&name)).unwrap();
                    open.remove(&name);
                }
            }
            for mode in POWER_LOSSES {
                keeps_promises(&fs.crash_image(mode, rng.next_u64()), &open, mode);
            }
        }
    }
}

fn keeps_promises(image: &MemFs, open: &BTreeMap<String, (Box<dyn AppendFile>, Promise)>, mode: CrashMode) {
    for (name, (_, promise)) in open {
        assert!(exists(image, name) || !promise.has_durable_name, "{mode:?} lost the name {name}");
        let Ok(bytes) = image.read(&at(name)) else { continue };
        let synced = &promise.appended[..promise.synced_len];
        assert!(bytes.starts_with(synced), "{mode:?} lost synced bytes of {name}");
        let (written, ahead) = bytes.split_at(promise.ever.len().min(bytes.len()));
        let is_known = written.iter().zip(&promise.ever).all(|(&byte, &ever)| byte == 0 || ever >> byte & 1 == 1);
        assert!(is_known && ahead.iter().all(|&byte| byte == 0), "{mode:?} made up bytes of {name}");
    }
}
