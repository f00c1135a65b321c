//! Random histories on the machine and in memory, side by side: every answer and every file must be the same.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its shared parts too")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use vfs::{AppendFile, AppendMode, AppendOptions, DirEntry, MemFs, Metadata, RealFs, Vfs};

const NAMES: [&str; 5] = ["a", "b", "c", "sub/a", "none/a"];

#[derive(Clone, Debug)]
enum Step {
    Create { name: usize, mode: AppendMode, preallocate_bytes: u64 },
    Append { name: usize, len: usize },
    Flush { name: usize },
    Sync { name: usize },
    Cut { name: usize, back: u64 },
    Finish { name: usize },
    Abandon { name: usize },
    Truncate { name: usize, len: u64 },
    Rename { from: usize, to: usize },
    Link { from: usize, to: usize },
    Remove { name: usize },
    Map { name: usize, len: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    let mode = prop_oneof![Just(AppendMode::Mapped), Just(AppendMode::Written), Just(AppendMode::Buffered(300))];
    let space = prop_oneof![Just(0), Just(1_000), Just(64 << 10)];
    prop_oneof![
        4 => (name.clone(), mode, space).prop_map(|(name, mode, preallocate_bytes)| {
            Step::Create { name, mode, preallocate_bytes }
        }),
        8 => (name.clone(), prop_oneof![0..500_usize, 60_000..70_000_usize])
            .prop_map(|(name, len)| Step::Append { name, len }),
        1 => name.clone().prop_map(|name| Step::Flush { name }),
        1 => name.clone().prop_map(|name| Step::Sync { name }),
        3 => (name.clone(), 0..1_000_u64).prop_map(|(name, back)| Step::Cut { name, back }),
        2 => name.clone().prop_map(|name| Step::Finish { name }),
        1 => name.clone().prop_map(|name| Step::Abandon { name }),
        1 => (name.clone(), 0..2_000_u64).prop_map(|(name, len)| Step::Truncate { name, len }),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Step::Rename { from, to }),
        1 => (name.clone(), name.clone()).prop_map(|(from, to)| Step::Link { from, to }),
        1 => name.clone().prop_map(|name| Step::Remove { name }),
        1 => (name, 0..100_000_u64).prop_map(|(name, len)| Step::Map { name, len }),
    ]
}

/// One file system and the files that are being appended to on it, by the name they were created with.
struct Side {
    fs: Box<dyn Vfs>,
    root: PathBuf,
    open: BTreeMap<usize, Box<dyn AppendFile>>,
    appends: u8,
}

type Answer = std::result::Result<Vec<u8>, std::io::ErrorKind>;

impl Side {
    fn new(fs: impl Vfs, root: PathBuf) -> Self {
        fs.create_dir_all(&root.join("sub")).unwrap();
        Self { fs: Box::new(fs), root, open: BTreeMap::new(), appends: 0 }
    }

    fn path(&self, name: usize) -> PathBuf {
        self.root.join(NAMES.get(name).copied().unwrap())
    }

    /// Takes one step; steps on files that are not open do nothing.
    fn take(&mut self, step: &Step) -> Answer {
        let done = match step {
            Step::Create { name, mode, preallocate_bytes } => {
                let options = AppendOptions { mode: *mode, preallocate_bytes: *preallocate_bytes };
                self.fs.create_append(&self.path(*name), options).map(|file| {
                    self.open.insert(*name, file);
                })
            }
            Step::Append { name, len } => {
                self.appends = self.appends.wrapping_add(1).max(1);
                let bytes = vec![self.appends; *len];
                self.open.get_mut(name).map_or(Ok(()), |file| file.append(&bytes))
            }
            Step::Flush { name } => self.open.get_mut(name).map_or(Ok(()), |file| file.flush()),
            Step::Sync { name } => self.open.get_mut(name).map_or(Ok(()), |file| file.sync()),
            Step::Cut { name, back } => {
                self.open.get_mut(name).map_or(Ok(()), |file| file.cut(file.len().saturating_sub(*back)))
            }
            Step::Finish { name } => self.open.remove(name).map_or(Ok(()), |file| file.finish()),
            Step::Abandon { name } => {
                self.open.remove(name);
                Ok(())
            }
            // Not under an append file, which would not know of it.
            Step::Truncate { len, name } if self.open.is_empty() => self.fs.truncate(&self.path(*name), *len),
            Step::Truncate { .. } => Ok(()),
            Step::Rename { from, to } => self.fs.rename(&self.path(*from), &self.path(*to)),
            Step::Link { from, to } => self.fs.hard_link(&self.path(*from), &self.path(*to)),
            Step::Remove { name } => self.fs.remove_file(&self.path(*name)),
            Step::Map { name, len } => {
                let mapped = self.fs.open_read(&self.path(*name)).and_then(|file| file.map(*len));
                return mapped.map(|mapping| mapping.to_vec()).map_err(|error| error.io().kind());
            }
        };
        done.map(|()| Vec::new()).map_err(|error| error.io().kind())
    }

    /// All that can be seen.
    fn view(&self) -> Vec<(Option<Metadata>, Vec<u8>)> {
        let read = |path: &Path| {
            let file = self.fs.open_read(path).unwrap();
            let mut bytes = vec![0xee; usize::try_from(file.len().unwrap()).unwrap()];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        let files = (0..NAMES.len()).map(|name| {
            let found = self.fs.metadata(&self.path(name)).unwrap();
            (found, found.map(|_| read(&self.path(name))).unwrap_or_default())
        });
        files.collect()
    }

    fn names(&self) -> [Vec<DirEntry>; 2] {
        [self.root.clone(), self.root.join("sub")].map(|dir| self.fs.list(&dir).unwrap())
    }

    fn lens(&self) -> Vec<u64> {
        self.open.values().map(|file| file.len()).collect()
    }
}

static RUNS: AtomicU64 = AtomicU64::new(0);

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_answers_as_the_machine_does(steps in prop::collection::vec(step(), 1..60)) {
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("vfs-model-{}-{run}", std::process::id()));
        let mut machine = Side::new(RealFs::new(), root.clone());
        let mut memory = Side::new(MemFs::new(run), PathBuf::from("/store"));
        for step in &steps {
            prop_assert_eq!(machine.take(step), memory.take(step), "{:?}", step);
            prop_assert_eq!(machine.lens(), memory.lens());
        }
        prop_assert_eq!(machine.names(), memory.names());
        prop_assert!(machine.view() == memory.view(), "bytes differ");
        std::fs::remove_dir_all(&root).unwrap();
    }
}
