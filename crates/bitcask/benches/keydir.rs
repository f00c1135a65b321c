//! What opening costs: a million keys of 16 bytes with values of 1 KiB, from hint files and without; beside it the same
//! keys inserted into an empty keydir, which no open can be faster than.
//!
//! ```text
//! cargo bench -p bitcask                    # in the folder that TMPDIR names, or /tmp; 1.1 GB
//! BITCASK_KEYS=100000 cargo bench -p bitcask
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use base::rng::Rng;
use base::{SegmentId, ValuePointer};
use bitcask::{Bitcask, HashKeydir, Keydir, KeydirEntry, MergeWindow, Options, OrderedKeydir};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use vfs::{RealFs, TraceFs, Vfs};

const VALUE_LEN: usize = 1 << 10;

fn main() {
    divan::main();
    if let Some(store) = STORE.get() {
        store.remove();
    }
}

static STORE: OnceLock<Store> = OnceLock::new();

/// The store that is opened again and again.
struct Store {
    dir: PathBuf,
    keys: u64,
}

impl Store {
    fn get() -> &'static Self {
        STORE.get_or_init(|| Self::fill().unwrap_or_else(|error| fail(&error)))
    }

    fn fill() -> bitcask::Result<Self> {
        let dir = std::env::temp_dir().join(format!("bitcask-bench-{}", std::process::id()));
        let store = Self { dir, keys: keys() };
        let opened = Bitcask::open(&store.dir, options())?;
        let mut value = [0; VALUE_LEN];
        Rng::new(1).fill(&mut value);
        for key in shuffled(store.keys) {
            opened.put(&key, &value)?;
        }
        opened.close()?;
        store.show_bytes_read()?;
        Ok(store)
    }

    fn show_bytes_read(&self) -> bitcask::Result<()> {
        let traced = TraceFs::counting(Arc::new(RealFs::new()));
        let opened = Bitcask::open(&self.dir, Options { vfs: Arc::new(traced.clone()), ..options() })?;
        let bytes: u64 = opened.status().files.iter().map(|file| file.bytes).sum();
        let read = traced.bytes().read;
        println!("opening read {read} of {bytes} bytes, {:.2} %", read as f64 * 100.0 / bytes as f64);
        opened.close()
    }

    /// Takes the hint files away.
    fn drop_hints(&self) -> vfs::Result<()> {
        let fs = RealFs::new();
        let is_hint = |name: &Path| name.extension().is_some_and(|extension| extension == "hint");
        for entry in fs.list(&self.dir)?.into_iter().filter(|entry| is_hint(&entry.name)) {
            fs.remove_file(&self.dir.join(entry.name))?;
        }
        Ok(())
    }

    fn remove(&self) {
        let fs = RealFs::new();
        for entry in fs.list(&self.dir).unwrap_or_default() {
            if let Err(error) = fs.remove_file(&self.dir.join(entry.name)) {
                eprintln!("{error}");
            }
        }
        if let Err(error) = std::fs::remove_dir(&self.dir) {
            eprintln!("{}: {error}", self.dir.display());
        }
    }
}

fn options() -> Options {
    Options { merge_window: MergeWindow::Never, ..Options::default() }
}

fn keys() -> u64 {
    std::env::var("BITCASK_KEYS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000)
}

/// Keys of 16 bytes in no order.
fn shuffled(count: u64) -> impl Iterator<Item = [u8; 16]> {
    let mut rng = Rng::new(7);
    (0..count).map(move |_| {
        let mut key = [0; 16];
        rng.fill(&mut key);
        key
    })
}

#[expect(clippy::panic, reason = "a benchmark that cannot be run ends here")]
fn fail(error: &dyn std::error::Error) -> ! {
    panic!("{error}");
}

fn insert<K: Keydir>(bencher: Bencher) {
    let keys: Vec<[u8; 16]> = shuffled(keys()).collect();
    bencher.counter(ItemsCount::new(keys.len())).bench_local(|| {
        let mut keydir = K::new(1);
        for (version, key) in (1..).zip(&keys) {
            let pointer = ValuePointer { segment: SegmentId(1), len: 1_072, offset: version as u32 };
            keydir.offer(key, KeydirEntry { pointer, version, expires_at: 0 });
        }
        keydir
    });
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn a_insert_into_an_empty_keydir(bencher: Bencher) {
    insert::<HashKeydir>(bencher);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn b_open_from_hints(bencher: Bencher) {
    let store = Store::get();
    bencher.counter(ItemsCount::new(store.keys)).bench_local(|| black_box(Bitcask::open(&store.dir, options())));
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn c_insert_into_an_empty_ordered_keydir(bencher: Bencher) {
    insert::<OrderedKeydir>(bencher);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn d_open_from_hints_ordered(bencher: Bencher) {
    let store = Store::get();
    bencher
        .counter(ItemsCount::new(store.keys))
        .bench_local(|| black_box(Bitcask::<OrderedKeydir>::open_with(&store.dir, options())));
}

/// Read-only, so that the hint files stay away.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn e_scan_without_hints(bencher: Bencher) {
    let store = Store::get();
    bencher.counter(ItemsCount::new(store.keys)).with_inputs(|| store.drop_hints()).bench_local_values(|dropped| {
        dropped.unwrap_or_else(|error| fail(&error));
        black_box(Bitcask::open(&store.dir, Options { read_only: true, ..options() }))
    });
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn f_get(bencher: Bencher) {
    let store = Store::get();
    let opened = Bitcask::open(&store.dir, options()).unwrap_or_else(|error| fail(&error));
    let keys: Vec<[u8; 16]> = shuffled(store.keys).step_by(37).collect();
    bencher.counter(ItemsCount::new(keys.len())).bench_local(|| {
        for key in &keys {
            black_box(opened.get(key)).unwrap_or_else(|error| fail(&error));
        }
    });
}
