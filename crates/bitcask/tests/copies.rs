//! A folder that is copied file by file while a writer writes to it: the copy opens as a prefix of the writes, with all that
//! was there when the copying began.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base::proof::seed;
use base::rng::Rng;
use base::show;
use base::sync::Mutex;
use bitcask::{Bitcask, Error, MergeWindow, Options};
use support::{DIR, History, contents, names, open, path, small, value};
use vfs::{AppendMode, AppendOptions, Cause, Fault, FaultFs, FaultPlan, MemFs, RealFs, Vfs};

fn options(fs: &MemFs) -> Options {
    Options { max_file_size: 400, ..small(fs.clone()) }
}

/// Copies as cp does: lists first, then copies one file after the other, in any order. Between two files, and within one,
/// the writer goes on.
fn copy_while_writing(from: &MemFs, rng: &mut Rng, mut write: impl FnMut(&mut Rng)) -> MemFs {
    let to = MemFs::new(9);
    let mut listed: Vec<PathBuf> =
        from.list(Path::new(DIR)).unwrap().into_iter().map(|entry| path(entry.name.to_str().unwrap())).collect();
    while !listed.is_empty() {
        let name = listed.swap_remove(rng.below(listed.len() as u64) as usize);
        write(rng);
        // A temporary file may be gone by now.
        if let Ok(bytes) = from.read(&name) {
            to.write(&name, bytes).unwrap();
        }
    }
    to
}

#[test]
fn a_copy_of_a_folder_that_is_written_to_opens_as_a_prefix() {
    let first = seed(1);
    let (mut torn, mut behind) = (0, 0);
    for seed in first..first + 300 {
        let mut rng = Rng::new(seed);
        let fs = MemFs::new(seed);
        let store = Bitcask::open(DIR, options(&fs)).unwrap();
        let mut history = History::default();
        // Before there is a first file, nothing tells a copy from a store that has lost all.
        history.push(b"first", Some(b"write"));
        store.put(b"first", b"write").unwrap();
        let mut write = |rng: &mut Rng, most: u64| {
            for _ in 0..rng.below(most) {
                let key = [rng.below(10) as u8];
                if rng.one_in(3) {
                    history.push(&key, None);
                    store.delete(&key).unwrap();
                } else {
                    let value = value(rng.next_u64(), rng.below(150) as usize);
                    history.push(&key, Some(&value));
                    store.put(&key, &value).unwrap();
                }
            }
            history.0.len()
        };
        let before = write(&mut rng, 40);
        let copy = copy_while_writing(&fs, &mut rng, |rng| _ = write(rng, 12));
        let total = write(&mut rng, 1);
        for read_only in [true, false] {
            let copied = Bitcask::open(DIR, Options { read_only, ..options(&copy) });
            let copied = copied.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let found = contents(&copied).unwrap();
            let writes = history.find(&found, before..=total);
            let writes = writes.unwrap_or_else(|| panic!("seed {seed}: not a prefix, {:?}", copied.recovery()));
            torn += usize::from(!copied.recovery().torn_tails.is_empty());
            behind += total - writes;
            copied.close().unwrap();
        }
        // The copy is a store like any other.
        let copied = open(&copy);
        assert!(copied.recovery().torn_tails.is_empty(), "seed {seed}");
        let mut expected = contents(&copied).unwrap();
        copied.put(b"after", b"1").unwrap();
        expected.insert(b"after".to_vec(), b"1".to_vec());
        copied.merge().unwrap();
        copied.close().unwrap();
        assert_eq!(contents(&open(&copy)).unwrap(), expected, "seed {seed}");
    }
    show!("bitcask copies: 300, opened {torn} times with a torn tail, {behind} writes behind");
    assert!(torn > 100 && behind > 100);
}

/// A folder that is being copied file by file, in any order: the names were listed when it began.
struct Copying {
    /// Writes that were there when it began.
    before: usize,
    left: Vec<PathBuf>,
    to: MemFs,
    /// A file of records was taken away before it could be copied, as cp and rsync tell.
    has_lost: bool,
    rng: Rng,
    /// Changes to the folder while one file is copied, on average.
    pace: u64,
    begun: String,
}

impl Copying {
    fn begin(from: &MemFs, before: usize, seed: u64, begun: String) -> Self {
        let listed = from.list(Path::new(DIR)).unwrap();
        let left = listed.into_iter().map(|entry| path(entry.name.to_str().unwrap())).collect();
        let mut rng = Rng::new(seed);
        let pace = 1 + rng.below(40);
        Self { before, left, to: MemFs::new(9), has_lost: false, rng, pace, begun }
    }

    /// Copies so many files more.
    fn go_on(&mut self, from: &MemFs, files: u64) {
        for _ in 0..files.min(self.left.len() as u64) {
            let name = self.left.swap_remove(self.rng.below(self.left.len() as u64) as usize);
            // It may be gone by now.
            match from.read(&name) {
                Ok(bytes) => self.to.write(&name, bytes).unwrap(),
                Err(_) => self.has_lost |= name.extension().is_some_and(|kind| kind == "vlog"),
            }
        }
    }
}

/// Copies that begin at each change that merges and the writes between them make, quick ones and slow ones.
fn copies_while_merging(seed: u64) -> (Vec<Copying>, History) {
    let memory = MemFs::new(seed);
    let faults = FaultFs::over_memory(memory.clone(), FaultPlan::none());
    // Half of them merge by themselves as well, and then not all files that have something dead in them.
    let merge_window = if seed.is_multiple_of(2) { MergeWindow::Always } else { MergeWindow::Never };
    let options = Options { merge_window, small_file_threshold: 1, max_file_size: 600, ..small(faults.clone()) };
    let store = Bitcask::open(DIR, options).unwrap();
    let (mut rng, copies, history) =
        (Rng::new(seed), Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(History::default())));
    let write = |rng: &mut Rng| {
        for _ in 0..20 {
            let key = [rng.below(12) as u8];
            let value = (!rng.one_in(3)).then(|| value(rng.next_u64(), rng.below(150) as usize));
            history.lock().push(&key, value.as_deref());
            match value {
                Some(value) => store.put(&key, &value).unwrap(),
                None => _ = store.delete(&key).unwrap(),
            }
        }
    };
    write(&mut rng);
    let (from, taken, written) = (memory.clone(), Arc::clone(&copies), Arc::clone(&history));
    faults.on_mutation(move |record| {
        let mut copies = taken.lock();
        for copy in copies.iter_mut().filter(|copy: &&mut Copying| !copy.left.is_empty()) {
            let files = u64::from(copy.rng.one_in(copy.pace));
            copy.go_on(&from, files);
        }
        // The last one may not have been made.
        let before = written.lock().0.len() - 1;
        let mut copy = Copying::begin(&from, before, seed + record.number, format!("before {record}"));
        if record.number % 3 == 0 {
            copy.go_on(&from, u64::MAX);
        }
        copies.push(copy);
    });
    for _ in 0..3 {
        store.merge().unwrap();
        write(&mut rng);
    }
    faults.clear_hook();
    let mut copies = std::mem::take(&mut *copies.lock());
    copies.iter_mut().for_each(|copy| copy.go_on(&memory, u64::MAX));
    let history = history.lock().clone();
    (copies, history)
}

/// A merge takes files away and says what is dead, so that a copy may lack files, or what superseded what is dead.
#[test]
fn a_copy_that_is_made_during_merges_opens_as_a_prefix_or_is_refused() {
    let first = seed(20);
    let (mut prefixes, mut older, mut refused) = (0, 0, 0);
    for seed in first..first + 24 {
        let (copies, history) = copies_while_merging(seed);
        for copy in copies {
            match Bitcask::open(DIR, options(&copy.to)).and_then(|store| contents(&store)) {
                Ok(found) => {
                    let from = if copy.has_lost { 0 } else { copy.before };
                    let is_prefix = history.find(&found, from..=history.0.len()).is_some();
                    assert!(is_prefix, "seed {seed}, {}: not a prefix", copy.begun);
                    let is_older = history.find(&found, copy.before..=history.0.len()).is_none();
                    (prefixes, older) = (prefixes + 1, older + u32::from(is_older));
                }
                Err(error) => {
                    assert!(error.is_corruption(), "seed {seed}, {}: {error}", copy.begun);
                    refused += 1;
                }
            }
        }
    }
    show!("bitcask copies during merges: {prefixes} prefixes, {older} of them from before, {refused} refused");
    assert!(prefixes > 100 && refused > 100 && older < prefixes / 100);
}

#[test]
fn a_reader_opens_beside_a_writer_with_a_prefix() {
    let fs = MemFs::new(1);
    let store = Bitcask::open(DIR, options(&fs)).unwrap();
    let mut history = History::default();
    for number in 0..200u64 {
        let (key, value) = ([(number % 16) as u8], value(number, 40));
        history.push(&key, Some(&value));
        store.put(&key, &value).unwrap();
        let reader = Bitcask::open(DIR, Options { read_only: true, ..options(&fs) }).unwrap();
        assert_eq!(contents(&reader).unwrap(), history.state(history.0.len()));
    }
}

/// Marks that come between two reads of a reader: what they say is dead was superseded behind what the reader has seen,
/// or its tombstone is as dead. Whatever the writer does at one moment, the reader shows the store before it or after.
#[test]
fn a_reader_opens_beside_a_merge_with_a_prefix() {
    // The longer value begins a file.
    for (holds_files, value_len) in [(false, 20), (true, 20), (false, 390), (true, 390)] {
        let mut moment = 1;
        while open_beside_a_merge(moment, holds_files, value_len) {
            moment += 1;
        }
        show!("bitcask copies: merges at {moment} moments of an open");
        assert!(moment > 30, "{moment}");
    }
}

/// Whether the reader's open came to that moment. A walk that has begun keeps the writer from removing files.
fn open_beside_a_merge(moment: u64, holds_files: bool, value_len: usize) -> bool {
    let fs = MemFs::new(moment);
    let history = Arc::new(Mutex::new(History::default()));
    let writer = Arc::new(Bitcask::open(DIR, options(&fs)).unwrap());
    let write = |writer: &Bitcask, history: &mut History, key: &[u8], value: Option<Vec<u8>>| {
        history.push(key, value.as_deref());
        match value {
            Some(value) => writer.put(key, &value).unwrap(),
            None => drop(writer.delete(key).unwrap()),
        }
    };
    {
        let mut history = history.lock();
        let mut write = |key: &[u8], value: Option<Vec<u8>>| write(&writer, &mut history, key, value);
        (0..6u8).for_each(|key| write(&[key], Some(value(1, 150))));
        // A tombstone in a later file than what it hides.
        write(&[0], None);
        (6..10u8).for_each(|key| write(&[key], Some(value(2, 150))));
    }
    let before = history.lock().0.len();
    let traced = FaultFs::new(Arc::new(fs.clone()), FaultPlan::none());
    let (calls, done) = (AtomicU64::new(0), Arc::clone(&history));
    let at = move |_: &Path| {
        if calls.fetch_add(1, Ordering::Relaxed) + 1 == moment {
            let mut history = done.lock();
            let walk = holds_files.then(|| {
                let mut walk = writer.iter();
                walk.next().unwrap().unwrap();
                walk
            });
            // Behind the end of what a reader has scanned.
            write(&writer, &mut history, &[1], Some(value(3, value_len)));
            writer.merge().unwrap();
            drop(walk);
        }
        false
    };
    traced.arm(Fault::on_everything(Cause::Io).at_path(at));
    let reader = Bitcask::open(DIR, Options { read_only: true, ..small(traced.clone()) });
    let reader = reader.unwrap_or_else(|error| panic!("moment {moment}: {error}"));
    traced.disarm_all();
    assert_eq!(reader.recovery().lost_hints, [] as [PathBuf; 0], "moment {moment}: what a merge took away is no loss");
    let history = history.lock();
    let found = contents(&reader).unwrap();
    assert!(
        history.find(&found, before..=history.0.len()).is_some(),
        "moment {moment}, files held: {holds_files}: {:?}",
        found.keys().collect::<Vec<_>>()
    );
    history.0.len() > before
}

#[test]
fn readers_open_beside_a_thread_that_merges() {
    const KEYS: u64 = 50;
    let fs = MemFs::volatile(1);
    let store = Bitcask::open(DIR, options(&fs)).unwrap();
    (0..KEYS).for_each(|key| store.put(&key.to_be_bytes(), &0u64.to_be_bytes()).unwrap());
    let (done, written) = (Arc::new(AtomicBool::new(false)), fs.clone());
    let is_done = Arc::clone(&done);
    // Every key's number in turn, so that a prefix of the writes has two numbers at the most, the greater one in front.
    let writer = base::thread::spawn("write", move || {
        for number in 1u64.. {
            for key in 0..KEYS {
                store.put(&key.to_be_bytes(), &number.to_be_bytes()).unwrap();
            }
            store.merge().unwrap();
            if is_done.load(Ordering::Relaxed) {
                return number;
            }
        }
        0
    });
    let mut changed = 0;
    for _ in 0..300 {
        let reader = match Bitcask::open(DIR, Options { read_only: true, ..options(&written) }) {
            Ok(reader) => reader,
            Err(Error::Log(vlog::Error::Changed { .. })) => {
                changed += 1;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let found = contents(&reader).unwrap();
        assert_eq!(found.len() as u64, KEYS);
        let numbers: Vec<u64> = found.values().map(|value| u64::from_be_bytes(value[..].try_into().unwrap())).collect();
        assert!(numbers.is_sorted_by(|one, next| one >= next) && numbers[0] - numbers[49] <= 1, "{numbers:?}");
    }
    done.store(true, Ordering::Relaxed);
    let merges = writer.unwrap().join().unwrap();
    show!("bitcask copies: 300 readers beside {merges} merges, {changed} gave up");
    assert!(changed < 300);
}

/// What a copy lacks is told apart from what a store has lost.
#[test]
fn a_sealed_file_that_is_short_or_gone_is_damage_where_no_copying_leaves_it_so() {
    let whole = MemFs::new(1);
    let store = Bitcask::open(DIR, options(&whole)).unwrap();
    (0..20u8).for_each(|key| store.put(&[key], &value(1, 100)).unwrap());
    store.close().unwrap();
    let files = names(&whole, ".vlog");
    assert!(files.len() > 3);
    for name in &files {
        let gone = whole.crash_image(vfs::CrashMode::KeepAll, 1);
        gone.remove_file(&path(name)).unwrap();
        let error = Bitcask::open(DIR, options(&gone)).unwrap_err();
        assert!(error.is_corruption() && error.to_string().contains(name), "{name} gone: {error}");
        let cut = whole.crash_image(vfs::CrashMode::KeepAll, 1);
        cut.edit(&path(name), |bytes| bytes.truncate(bytes.len() - 1)).unwrap();
        let error = Bitcask::open(DIR, options(&cut)).unwrap_err();
        assert!(error.is_corruption() && error.to_string().contains(name), "{name} cut: {error}");
    }
    // All but the newest: also without its hint file.
    for name in &files[..files.len() - 1] {
        let cut = whole.crash_image(vfs::CrashMode::KeepAll, 1);
        cut.edit(&path(name), |bytes| bytes.truncate(bytes.len() - 1)).unwrap();
        cut.remove_file(&path(&name.replace("vlog", "hint"))).unwrap();
        assert!(Bitcask::open(DIR, options(&cut)).unwrap_err().is_corruption(), "{name}");
    }
}

/// A folder of its own on the machine's file system, which goes with it.
struct Folder {
    fs: RealFs,
    path: PathBuf,
}

impl Folder {
    fn new() -> Self {
        let fs = RealFs::new();
        let mut random = [0; 8];
        fs.fill_random(&mut random).unwrap();
        let path = std::env::temp_dir().join(format!("bitcask-copy-{:016x}", u64::from_ne_bytes(random)));
        fs.create_dir_all(&path).unwrap();
        Self { fs, path }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for entry in self.fs.list(&self.path).unwrap_or_default() {
            let _ = self.fs.remove_file(&self.path.join(entry.name));
        }
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// Copies a folder as it is; what vanishes meanwhile is left out.
fn copy(fs: &RealFs, from: &Path, to: &Path) {
    let options = AppendOptions { mode: AppendMode::Written, preallocate_bytes: 0 };
    for entry in fs.list(from).unwrap() {
        let Ok(file) = fs.open_read(&from.join(&entry.name)) else { continue };
        let mut bytes = vec![0; file.len().unwrap() as usize];
        if file.read_exact_at(&mut bytes, 0).is_err() {
            // It was cut to its length meanwhile.
            bytes.truncate(file.len().unwrap() as usize);
            file.read_exact_at(&mut bytes, 0).unwrap();
        }
        let mut copied = fs.create_append(&to.join(entry.name), options).unwrap();
        copied.append(&bytes).unwrap();
        copied.finish().unwrap();
    }
}

/// Write `number` sets its key to this.
fn numbered(number: u64) -> Vec<u8> {
    let mut all = number.to_be_bytes().to_vec();
    all.extend(value(number, (number % 90) as usize));
    all
}

#[test]
fn so_does_one_of_the_machine_s_file_system_with_threads() {
    const KEYS: u64 = 100;
    const COPIES: u64 = 8;
    const WRITES_EACH: u64 = 3_000;
    let from = Folder::new();
    let (max_file_size, vfs) = (20_000, Arc::new(RealFs::new()));
    let options = Options { max_file_size, background: true, vfs, ..small(MemFs::new(1)) };
    let store = Arc::new(Bitcask::open(&from.path, options.clone()).unwrap());
    // The writer goes no further than it is allowed to, so that a slow copy does not grow without end.
    let (returned, allowed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (writer, count, limit) = (Arc::clone(&store), Arc::clone(&returned), Arc::clone(&allowed));
    let body = move || {
        for number in 0..COPIES * WRITES_EACH {
            while number >= limit.load(Ordering::Acquire) {
                base::thread::yield_now();
            }
            writer.put(&(number % KEYS).to_be_bytes(), &numbered(number)).unwrap();
            count.store(number + 1, Ordering::Release);
        }
    };
    let writer = base::thread::spawn("writer", body).unwrap();
    for round in 1..=COPIES {
        allowed.store(round * WRITES_EACH, Ordering::Release);
        while returned.load(Ordering::Acquire) < round * WRITES_EACH - WRITES_EACH / 2 {
            base::thread::yield_now();
        }
        let before = returned.load(Ordering::Acquire);
        let to = Folder::new();
        copy(&from.fs, &from.path, &to.path);
        let copied = Bitcask::open(&to.path, options.clone()).unwrap();
        let mut numbers = Vec::new();
        for (key, value) in contents(&copied).unwrap() {
            let number = u64::from_be_bytes(value[..8].try_into().unwrap());
            assert_eq!((key, value), ((number % KEYS).to_be_bytes().to_vec(), numbered(number)));
            numbers.push(number);
        }
        numbers.sort_unstable();
        let newest = numbers.last().unwrap() + 1;
        assert!(newest >= before, "{newest} of {before}");
        assert!(numbers.into_iter().eq(newest.saturating_sub(KEYS)..newest), "the newest of each key, and no gap");
        copied.close().unwrap();
    }
    writer.join().unwrap();
    show!("bitcask copies: {COPIES} while {} writes were made", returned.load(Ordering::Acquire));
    Arc::into_inner(store).unwrap().close().unwrap();
}
