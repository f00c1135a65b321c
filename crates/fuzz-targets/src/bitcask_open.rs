//! Opening a Bitcask store of which files cannot be trusted: bytes of any kind in the place of one, or damage to some.
//!
//! Whatever comes, opening does not panic and tells the same twice. It gives an error that names a file, or a prefix of the
//! writes; a writer that takes it up from there can write, merge and open again without losing any of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arbitrary::Arbitrary;
use bitcask::{Bitcask, Error, MergeWindow, Options};
use vfs::{CrashMode, MemFs};

use crate::edit::{Edit, FILE_LEN_MAX};

const DIR: &str = "/store";
const ACTIONS_MAX: usize = 64;

/// What a run is given.
#[derive(Arbitrary, Debug)]
pub struct Input {
    actions: Vec<Action>,
    closed: bool,
    damage: Vec<Damage>,
}

#[derive(Arbitrary, Debug)]
enum Action {
    Put { key: u8, len: u8 },
    Delete { key: u8 },
    Merge,
}

#[derive(Arbitrary, Debug)]
enum Damage {
    /// The file is these bytes.
    Raw {
        file: u8,
        bytes: Vec<u8>,
    },
    Edits {
        file: u8,
        edits: Vec<Edit>,
    },
    Gone {
        file: u8,
    },
}

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

impl Input {
    /// Runs the target.
    ///
    /// # Panics
    /// When opening does not do as it should.
    pub fn run(self) {
        let fs = MemFs::volatile(1);
        let states = written(&fs, &self.actions, self.closed);
        self.damage.iter().take(8).for_each(|damage| damage.apply(&fs));
        let first = opened(&fs, true);
        let again = opened(&fs, true);
        match (first, again) {
            (Ok(found), Ok(same)) => {
                assert_eq!(found, same);
                assert!(states.contains(&found), "a prefix of the writes");
                goes_on(&fs, found);
            }
            (Err(error), Err(same)) => {
                assert_eq!(error.to_string(), same.to_string());
                check_error(&error);
            }
            (first, again) => panic!("{first:?}, and then {again:?}"),
        }
    }
}

fn options(fs: &MemFs, read_only: bool) -> Options {
    let vfs = Arc::new(fs.clone());
    let (merge_window, small_file_threshold) = (MergeWindow::Never, 200);
    Options {
        read_only,
        max_file_size: 600,
        merge_window,
        small_file_threshold,
        background: false,
        vfs,
        ..Options::default()
    }
}

/// Does the actions on a new store; what it held after each.
fn written(fs: &MemFs, actions: &[Action], closed: bool) -> Vec<Contents> {
    let store = Bitcask::open(DIR, options(fs, false)).expect("a new store");
    let mut states = vec![Contents::new()];
    for (number, action) in actions.iter().take(ACTIONS_MAX).enumerate() {
        let mut state = states.last().cloned().unwrap_or_default();
        match action {
            Action::Put { key, len } => {
                let value = vec![number as u8; usize::from(*len)];
                store.put(&[*key % 8], &value).expect("memory takes a record");
                state.insert(vec![*key % 8], value);
            }
            Action::Delete { key } => {
                let was_there = store.delete(&[*key % 8]).expect("memory takes a record");
                assert_eq!(was_there, state.remove(&vec![*key % 8]).is_some());
            }
            Action::Merge => _ = store.merge().expect("memory merges"),
        }
        states.push(state);
    }
    if closed {
        store.close().expect("memory closes");
    }
    states
}

impl Damage {
    fn apply(&self, fs: &MemFs) {
        let file = match self {
            Self::Raw { file, .. } | Self::Edits { file, .. } | Self::Gone { file } => *file,
        };
        let files = fs.files();
        let Some(path) = files.get(usize::from(file) % files.len().max(1)) else { return };
        match self {
            Self::Raw { bytes, .. } => {
                fs.write(path, &bytes[..bytes.len().min(FILE_LEN_MAX)]).expect("memory takes a file")
            }
            Self::Edits { edits, .. } => fs
                .edit(path, |bytes| edits.iter().for_each(|edit| _ = edit.apply(bytes)))
                .expect("a file that is there"),
            Self::Gone { .. } => vfs::Vfs::remove_file(fs, path).expect("a file that is there"),
        }
    }
}

fn contents(store: &Bitcask) -> Result<Contents, Error> {
    store.fold(Contents::new(), |mut all, key, value| {
        assert_eq!(all.insert(key.to_vec(), value.to_vec()), None, "a walk gives no key twice");
        all
    })
}

fn opened(fs: &MemFs, read_only: bool) -> Result<Contents, Error> {
    contents(&Bitcask::open(DIR, options(fs, read_only))?)
}

/// Takes up what reading has found as a writer.
fn goes_on(fs: &MemFs, mut found: Contents) {
    let store = match Bitcask::open(DIR, options(fs, false)) {
        Ok(store) => store,
        // What only a writer needs may be damaged: the value of a record that no key has any more.
        Err(error) => return check_error(&error),
    };
    assert_eq!(contents(&store).expect("what was read before"), found);
    store.put(b"after", b"all").expect("memory takes a record");
    found.insert(b"after".to_vec(), b"all".to_vec());
    if let Err(error) = store.merge() {
        check_error(&error);
    }
    let closed = store.close();
    let image = fs.crash_image(CrashMode::KeepAll, 1);
    match closed {
        Ok(()) => assert_eq!(opened(&image, false).expect("a store that was closed"), found),
        Err(error) => check_error(&error),
    }
}

fn check_error(error: &Error) {
    let is_known = error.is_corruption() || error.is_incompatible();
    assert!(is_known, "bytes in memory can only be corrupt or incompatible: {error}");
    assert!(error.to_string().contains(&Path::new(DIR).display().to_string()), "{error} names no file");
}
