//! What every file system of this crate promises, held by the same tests over each.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, its shared parts too")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use vfs::{
    AppendFile, AppendMode, AppendOptions, FaultFs, FaultPlan, FileKind, LockKind, MemFs, MountKind, Operation, RealFs,
    TraceFs, Vfs, write_atomic,
};

const MODES: [AppendMode; 3] = [AppendMode::Mapped, AppendMode::Written, AppendMode::Buffered(100)];

/// A file system and a directory on it that is empty.
struct Place {
    fs: Arc<dyn Vfs>,
    root: PathBuf,
    is_real: bool,
}

impl Place {
    fn real(test: &str) -> Self {
        let root = std::env::temp_dir().join(format!("vfs-contract-{}-{test}", std::process::id()));
        let fs = Arc::new(RealFs::new());
        fs.create_dir_all(&root).unwrap();
        Self { fs, root, is_real: true }
    }

    fn over(fs: impl Vfs) -> Self {
        let root = PathBuf::from("/store");
        fs.create_dir_all(&root).unwrap();
        Self { fs: Arc::new(fs), root, is_real: false }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn create(&self, name: &str, mode: AppendMode, preallocate_bytes: u64) -> Box<dyn AppendFile> {
        self.fs.create_append(&self.path(name), AppendOptions { mode, preallocate_bytes }).unwrap()
    }

    /// A finished file.
    fn put(&self, name: &str, bytes: &[u8]) {
        let mut file = self.create(name, AppendMode::Written, 0);
        file.append(bytes).unwrap();
        file.finish().unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        let file = self.fs.open_read(&self.path(name)).unwrap();
        let mut bytes = vec![0xee; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn exists(&self, name: &str) -> bool {
        self.fs.metadata(&self.path(name)).unwrap().is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_real {
            std::fs::remove_dir_all(&self.root).unwrap();
        }
    }
}

/// Bytes that differ at each place.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8 | 1).collect()
}

macro_rules! contract {
    ($($test:ident),* $(,)?) => {
        mod the_machine {
            $(#[test] fn $test() { super::$test(&super::Place::real(stringify!($test))); })*
        }
        mod strict_memory {
            $(#[test] fn $test() { super::$test(&super::Place::over(super::MemFs::new(1))); })*
        }
        mod volatile_memory {
            $(#[test] fn $test() { super::$test(&super::Place::over(super::MemFs::volatile(1))); })*
        }
        mod faults_without_a_plan {
            $(#[test] fn $test() {
                let memory = super::MemFs::new(1);
                super::$test(&super::Place::over(super::FaultFs::over_memory(memory, super::FaultPlan::none())));
            })*
        }
        mod traced {
            $(#[test] fn $test() {
                let inner = std::sync::Arc::new(super::MemFs::new(1));
                super::$test(&super::Place::over(super::TraceFs::new(inner, "/store")));
            })*
        }
    };
}

contract!(
    a_finished_file_is_exactly_what_was_appended,
    appended_bytes_are_read_at_once_but_for_buffered_ones,
    space_ahead_is_there_at_once_and_reads_as_zeros,
    appends_cross_allocation_steps,
    dropping_without_finish_leaves_the_file_as_a_kill_would,
    cut_drops_bytes_for_good_and_appends_go_on_there,
    cut_reaches_into_and_behind_a_buffer,
    cut_refuses_to_extend,
    buffered_appends_larger_than_the_buffer_keep_their_order,
    a_sync_handle_works_while_another_thread_appends_and_after_the_file,
    creation_is_exclusive_and_needs_a_directory,
    reads_end_where_the_file_ends,
    mappings_are_checked_against_the_length_and_the_appended_bytes,
    mappings_outlive_file_name_and_handle,
    an_open_file_stays_readable_after_its_removal,
    rename_replaces_its_target,
    rename_moves_between_directories,
    hard_links_are_two_names_of_one_file,
    truncate_cuts_and_never_extends,
    lists_are_sorted_and_tell_kinds,
    missing_things_are_told_as_missing,
    directories_are_made_with_those_above,
    an_exclusive_lock_keeps_everyone_out,
    shared_locks_keep_only_exclusive_ones_out,
    a_shared_lock_does_not_create,
    atomic_writes_replace_the_whole_file,
    errors_name_operation_and_path,
    random_bytes_differ,
    space_and_mount_are_known,
    hints_never_fail,
);

fn a_finished_file_is_exactly_what_was_appended(place: &Place) {
    for (index, mode) in MODES.into_iter().enumerate() {
        for preallocate in [0, 10_000] {
            let name = format!("{index}-{preallocate}");
            let bytes = pattern(12_345);
            let mut file = place.create(&name, mode, preallocate);
            for chunk in bytes.chunks(777) {
                file.append(chunk).unwrap();
            }
            assert_eq!(file.len(), 12_345);
            file.finish().unwrap();
            assert_eq!(place.read(&name), bytes, "{mode:?} {preallocate}");
        }
    }
    place.create("empty", AppendMode::Mapped, 0).finish().unwrap();
    assert_eq!(place.read("empty"), b"");
}

fn appended_bytes_are_read_at_once_but_for_buffered_ones(place: &Place) {
    for (index, mode) in MODES.into_iter().enumerate() {
        let name = index.to_string();
        let mut file = place.create(&name, mode, 4096);
        file.append(b"at once").unwrap();
        let mut bytes = [0; 7];
        let reader = file.reader().unwrap();
        reader.read_exact_at(&mut bytes, 0).unwrap();
        if matches!(mode, AppendMode::Buffered(_)) {
            assert_eq!(&bytes, &[0; 7]);
            assert!(reader.map(7).unwrap_err().is_unexpected_eof());
            file.flush().unwrap();
            reader.read_exact_at(&mut bytes, 0).unwrap();
        }
        assert_eq!(&bytes, b"at once");
        assert_eq!(&reader.map(7).unwrap()[..], b"at once");
        assert_eq!(&place.fs.open_read(&place.path(&name)).unwrap().map(7).unwrap()[..], b"at once");
    }
}

fn space_ahead_is_there_at_once_and_reads_as_zeros(place: &Place) {
    for (index, mode) in MODES.into_iter().enumerate() {
        let name = index.to_string();
        let mut file = place.create(&name, mode, 128 << 10);
        file.append(b"x").unwrap();
        file.flush().unwrap();
        let bytes = place.read(&name);
        assert_eq!(bytes.len(), 128 << 10);
        assert_eq!(bytes[0], b'x');
        assert!(bytes[1..].iter().all(|&byte| byte == 0));
        file.finish().unwrap();
        assert_eq!(place.read(&name), b"x");
    }
}

fn appends_cross_allocation_steps(place: &Place) {
    let bytes = pattern(300 << 10);
    for (index, mode) in MODES.into_iter().enumerate() {
        let name = index.to_string();
        let mut file = place.create(&name, mode, 64 << 10);
        file.append(&bytes[..65_000]).unwrap();
        file.append(&bytes[65_000..]).unwrap();
        file.sync().unwrap();
        let found = place.read(&name);
        assert_eq!(found.len() % (64 << 10), 0);
        assert_eq!(found[..bytes.len()], bytes);
        assert!(found[bytes.len()..].iter().all(|&byte| byte == 0));
    }
}

fn dropping_without_finish_leaves_the_file_as_a_kill_would(place: &Place) {
    for (index, mode) in MODES.into_iter().enumerate() {
        let name = index.to_string();
        let mut file = place.create(&name, mode, 64 << 10);
        file.append(b"written").unwrap();
        drop(file);
        let bytes = place.read(&name);
        let kept: &[u8] = if matches!(mode, AppendMode::Buffered(_)) { &[0; 7] } else { b"written" };
        assert_eq!(&bytes[..7], kept);
        assert_eq!(bytes.len(), 64 << 10);
    }
}

fn cut_drops_bytes_for_good_and_appends_go_on_there(place: &Place) {
    for (index, mode) in MODES.into_iter().enumerate() {
        for preallocate in [0, 64 << 10] {
            let name = format!("{index}-{preallocate}");
            let mut file = place.create(&name, mode, preallocate);
            let bytes = pattern(150_000);
            file.append(&bytes).unwrap();
            file.cut(70_000).unwrap();
            assert_eq!(file.len(), 70_000);
            let found = place.read(&name);
            assert!(found[70_000..].iter().all(|&byte| byte == 0), "stale bytes in {mode:?} {preallocate}");
            file.append(b"more").unwrap();
            file.finish().unwrap();
            assert_eq!(place.read(&name), [&bytes[..70_000], b"more"].concat());
        }
    }
}

fn cut_reaches_into_and_behind_a_buffer(place: &Place) {
    let mut file = place.create("cut", AppendMode::Buffered(10), 0);
    file.append(b"01234567").unwrap();
    file.append(b"89abcdef").unwrap();
    file.cut(12).unwrap();
    file.append(b"++").unwrap();
    file.flush().unwrap();
    assert_eq!(place.read("cut"), b"0123456789ab++");
    file.append(b"zzz").unwrap();
    file.cut(3).unwrap();
    file.append(b"!").unwrap();
    file.finish().unwrap();
    assert_eq!(place.read("cut"), b"012!");
}

fn cut_refuses_to_extend(place: &Place) {
    for (index, mode) in MODES.into_iter().enumerate() {
        let mut file = place.create(&index.to_string(), mode, 4096);
        file.append(b"abc").unwrap();
        assert_eq!(file.cut(4).unwrap_err().io().kind(), std::io::ErrorKind::InvalidInput);
        file.cut(3).unwrap();
        file.finish().unwrap();
        assert_eq!(place.read(&index.to_string()), b"abc");
    }
}

fn buffered_appends_larger_than_the_buffer_keep_their_order(place: &Place) {
    let bytes = pattern(5_000);
    for capacity in [0, 1, 64, 10_000] {
        let name = capacity.to_string();
        let mut file = place.create(&name, AppendMode::Buffered(capacity), 0);
        let mut rest = &bytes[..];
        for len in [1, 63, 64, 65, 2_000, 0, 3].into_iter().cycle() {
            let (chunk, behind) = rest.split_at(rest.len().min(len));
            file.append(chunk).unwrap();
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        file.finish().unwrap();
        assert_eq!(place.read(&name), bytes);
    }
}

fn a_sync_handle_works_while_another_thread_appends_and_after_the_file(place: &Place) {
    for (index, mode) in MODES.into_iter().enumerate() {
        let mut file = place.create(&index.to_string(), mode, 64 << 10);
        let handle = file.sync_handle();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..5).for_each(|_| handle.sync().unwrap()));
            for chunk in pattern(100_000).chunks(1_000) {
                file.append(chunk).unwrap();
            }
        });
        file.finish().unwrap();
        handle.sync().unwrap();
        assert_eq!(place.read(&index.to_string()), pattern(100_000));
    }
}

fn creation_is_exclusive_and_needs_a_directory(place: &Place) {
    place.put("taken", b"old");
    let options = AppendOptions { mode: AppendMode::Written, preallocate_bytes: 0 };
    let taken = place.fs.create_append(&place.path("taken"), options).unwrap_err();
    assert_eq!(taken.io().kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(place.read("taken"), b"old");
    assert!(place.fs.create_append(&place.path("no/such"), options).unwrap_err().is_not_found());
}

fn reads_end_where_the_file_ends(place: &Place) {
    place.put("short", b"0123456789");
    let file = place.fs.open_read(&place.path("short")).unwrap();
    assert_eq!(file.len().unwrap(), 10);
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, 6).unwrap();
    assert_eq!(&bytes, b"6789");
    for offset in [7, 10, 11, 1 << 40] {
        let error = file.read_exact_at(&mut bytes, offset).unwrap_err();
        assert!(error.is_unexpected_eof(), "{error}");
        assert_eq!(error.offset(), Some(offset));
    }
    file.read_exact_at(&mut [], 10).unwrap();
}

fn mappings_are_checked_against_the_length_and_the_appended_bytes(place: &Place) {
    let mut file = place.create("mapped", AppendMode::Mapped, 1 << 20);
    file.append(&pattern(5_000)).unwrap();
    let other = place.fs.open_read(&place.path("mapped")).unwrap();
    assert_eq!(other.len().unwrap(), 1 << 20);
    for reader in [&other, &file.reader().unwrap()] {
        assert_eq!(&reader.map(5_000).unwrap()[..], pattern(5_000));
        assert!(reader.map(5_001).unwrap_err().is_unexpected_eof());
        assert_eq!(reader.map(0).unwrap().len(), 0);
    }
    drop(file);
    assert_eq!(other.map(1 << 20).unwrap().len(), 1 << 20);
    assert!(other.map((1 << 20) + 1).unwrap_err().is_unexpected_eof());
    assert!(other.map(u64::MAX).unwrap_err().is_unexpected_eof());
}

fn mappings_outlive_file_name_and_handle(place: &Place) {
    let mut file = place.create("mapped", AppendMode::Mapped, 64 << 10);
    file.append(b"stays").unwrap();
    let mapping = file.reader().unwrap().map(5).unwrap();
    let clone = mapping.clone();
    file.append(b" and grows").unwrap();
    file.finish().unwrap();
    place.fs.remove_file(&place.path("mapped")).unwrap();
    drop(mapping);
    assert_eq!(&clone[..], b"stays");
    let bytes = bytes::Bytes::from(clone);
    assert_eq!(&bytes.slice(1..3)[..], b"ta");
}

fn an_open_file_stays_readable_after_its_removal(place: &Place) {
    place.put("gone", b"still here");
    let file = place.fs.open_read(&place.path("gone")).unwrap();
    place.fs.remove_file(&place.path("gone")).unwrap();
    assert!(!place.exists("gone"));
    place.put("gone", b"another");
    let mut bytes = [0; 10];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"still here");
}

fn rename_replaces_its_target(place: &Place) {
    place.put("new", b"new");
    place.put("current", b"old, longer");
    let old = place.fs.open_read(&place.path("current")).unwrap();
    place.fs.rename(&place.path("new"), &place.path("current")).unwrap();
    place.fs.sync_dir(&place.root).unwrap();
    assert!(!place.exists("new"));
    assert_eq!(place.read("current"), b"new");
    assert_eq!(old.len().unwrap(), 11);
    assert!(place.fs.rename(&place.path("new"), &place.path("current")).unwrap_err().is_not_found());
    assert_eq!(place.read("current"), b"new");
}

fn rename_moves_between_directories(place: &Place) {
    place.fs.create_dir_all(&place.path("sub")).unwrap();
    place.put("file", b"moved");
    place.fs.rename(&place.path("file"), &place.path("sub/file")).unwrap();
    assert!(!place.exists("file"));
    assert_eq!(place.read("sub/file"), b"moved");
    assert!(place.fs.rename(&place.path("sub/file"), &place.path("no/file")).unwrap_err().is_not_found());
}

fn hard_links_are_two_names_of_one_file(place: &Place) {
    place.put("first", b"shared");
    place.fs.hard_link(&place.path("first"), &place.path("second")).unwrap();
    let taken = place.fs.hard_link(&place.path("first"), &place.path("second")).unwrap_err();
    assert_eq!(taken.io().kind(), std::io::ErrorKind::AlreadyExists);
    place.fs.rename(&place.path("first"), &place.path("second")).unwrap();
    assert!(place.exists("first"), "a rename onto another name of the same file does nothing");
    place.fs.truncate(&place.path("first"), 3).unwrap();
    place.fs.remove_file(&place.path("first")).unwrap();
    assert_eq!(place.read("second"), b"sha");
}

fn truncate_cuts_and_never_extends(place: &Place) {
    place.put("cut", b"0123456789");
    place.fs.truncate(&place.path("cut"), 4).unwrap();
    assert_eq!(place.read("cut"), b"0123");
    place.fs.truncate(&place.path("cut"), 5).unwrap_err();
    assert_eq!(place.read("cut"), b"0123");
    place.fs.truncate(&place.path("cut"), 0).unwrap();
    assert_eq!(place.read("cut"), b"");
    assert!(place.fs.truncate(&place.path("none"), 0).unwrap_err().is_not_found());
}

fn lists_are_sorted_and_tell_kinds(place: &Place) {
    for name in ["b", "a", "000010.wal", "000009.wal", "c.tmp"] {
        place.put(name, b"");
    }
    place.fs.create_dir_all(&place.path("b-dir/below")).unwrap();
    let found: Vec<(String, FileKind)> = (place.fs.list(&place.root).unwrap().into_iter())
        .map(|entry| (entry.name.to_str().unwrap().to_owned(), entry.kind))
        .collect();
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["000009.wal", "000010.wal", "a", "b", "b-dir", "c.tmp"]);
    assert!(found.iter().all(|(name, kind)| (*kind == FileKind::Dir) == (name == "b-dir")));
    assert_eq!(place.fs.list(&place.path("b-dir/below")).unwrap(), []);
    place.fs.list(&place.path("a")).unwrap_err();
}

fn missing_things_are_told_as_missing(place: &Place) {
    let none = place.path("none");
    assert_eq!(place.fs.metadata(&none).unwrap(), None);
    place.put("file", b"");
    assert_eq!(place.fs.metadata(&place.path("file/below")).unwrap(), None);
    assert!(place.fs.open_read(&none).unwrap_err().is_not_found());
    assert!(place.fs.remove_file(&none).unwrap_err().is_not_found());
    assert!(place.fs.hard_link(&none, &place.path("other")).unwrap_err().is_not_found());
    assert!(place.fs.list(&none).unwrap_err().is_not_found());
    assert!(place.fs.sync_dir(&none).unwrap_err().is_not_found());
}

fn directories_are_made_with_those_above(place: &Place) {
    place.fs.create_dir_all(&place.path("one/two/three")).unwrap();
    place.fs.create_dir_all(&place.path("one/two")).unwrap();
    let found = place.fs.metadata(&place.path("one/two/three")).unwrap().unwrap();
    assert_eq!(found.kind, FileKind::Dir);
    place.put("one/file", b"1234");
    let found = place.fs.metadata(&place.path("one/file")).unwrap().unwrap();
    assert_eq!((found.kind, found.len), (FileKind::File, 4));
    place.fs.create_dir_all(&place.path("one/file")).unwrap_err();
    place.fs.create_dir_all(&place.path("one/file/below")).unwrap_err();
}

fn an_exclusive_lock_keeps_everyone_out(place: &Place) {
    let path = place.path("LOCK");
    let held = place.fs.lock(&path, LockKind::Exclusive).unwrap().unwrap();
    assert!(place.exists("LOCK"));
    assert!(place.fs.lock(&path, LockKind::Exclusive).unwrap().is_none());
    assert!(place.fs.lock(&path, LockKind::Shared).unwrap().is_none());
    drop(held);
    assert!(place.fs.lock(&path, LockKind::Exclusive).unwrap().is_some());
}

fn shared_locks_keep_only_exclusive_ones_out(place: &Place) {
    let path = place.path("LOCK");
    drop(place.fs.lock(&path, LockKind::Exclusive).unwrap());
    let first = place.fs.lock(&path, LockKind::Shared).unwrap().unwrap();
    let second = place.fs.lock(&path, LockKind::Shared).unwrap().unwrap();
    drop(first);
    assert!(place.fs.lock(&path, LockKind::Exclusive).unwrap().is_none());
    drop(second);
    assert!(place.fs.lock(&path, LockKind::Exclusive).unwrap().is_some());
}

fn a_shared_lock_does_not_create(place: &Place) {
    assert!(place.fs.lock(&place.path("LOCK"), LockKind::Shared).unwrap_err().is_not_found());
    assert!(!place.exists("LOCK"));
}

fn atomic_writes_replace_the_whole_file(place: &Place) {
    let path = place.path("CURRENT");
    write_atomic(&*place.fs, &path, b"first, long").unwrap();
    assert_eq!(place.read("CURRENT"), b"first, long");
    place.put("CURRENT.tmp", b"left over by a crash");
    write_atomic(&*place.fs, &path, b"second").unwrap();
    assert_eq!(place.read("CURRENT"), b"second");
    assert!(!place.exists("CURRENT.tmp"));
}

fn errors_name_operation_and_path(place: &Place) {
    let path = place.path("none");
    let error = place.fs.open_read(&path).unwrap_err();
    assert_eq!((error.operation(), error.path()), (Operation::Open, path.as_path()));
    let shown = error.to_string();
    assert!(shown.starts_with("cannot open ") && shown.contains("none") && !shown.contains('\n'), "{shown}");
    assert_eq!(error.duplicate().to_string(), shown);
    assert_eq!(place.fs.remove_file(&path).unwrap_err().operation(), Operation::Remove);
    assert_eq!(place.fs.rename(&path, &place.path("to")).unwrap_err().operation(), Operation::Rename);
}

fn random_bytes_differ(place: &Place) {
    let mut salts = [[0u8; 32]; 2];
    for salt in &mut salts {
        place.fs.fill_random(salt).unwrap();
    }
    assert_ne!(salts[0], salts[1]);
    assert!(salts.iter().all(|salt| salt.iter().any(|&byte| byte != 0)));
    let mut long = vec![0; 5_000];
    place.fs.fill_random(&mut long).unwrap();
    assert!(long.chunks(64).all(|chunk| chunk.iter().any(|&byte| byte != 0)));
}

fn space_and_mount_are_known(place: &Place) {
    assert!(place.fs.available_bytes(&place.root).unwrap() > 0);
    assert_eq!(place.fs.mount_kind(&place.root).unwrap(), MountKind::Local);
}

fn hints_never_fail(place: &Place) {
    place.put("file", &pattern(10_000));
    let file = place.fs.open_read(&place.path("file")).unwrap();
    for advice in [vfs::Advice::WillNeed, vfs::Advice::Sequential, vfs::Advice::Random, vfs::Advice::DontNeed] {
        file.advise(0, 10_000, advice);
        file.advise(5_000, 0, advice);
        file.advise(u64::MAX, u64::MAX, advice);
    }
    assert_eq!(place.read("file"), pattern(10_000));
}

/// Paths without a directory are those of the current one.
#[test]
fn a_plain_name_is_in_the_current_directory() {
    let fs = MemFs::new(1);
    write_atomic(&fs, Path::new("plain"), b"bytes").unwrap();
    assert_eq!(fs.read(Path::new("/plain")).unwrap(), b"bytes");
    let real = RealFs::new();
    real.sync_dir(Path::new("")).unwrap();
    real.create_dir_all(Path::new("")).unwrap();
    assert!(real.list(Path::new("")).unwrap().iter().any(|entry| entry.name == Path::new("Cargo.toml")));
}
