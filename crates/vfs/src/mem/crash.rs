//! What a crash may leave: a new file system for every guess at which unsynced changes got to the disk.
//!
//! Invariants
//! 1. What was synced is in every image: bytes after a sync of their file, names after a sync of their directory.
//! 2. A name change happens as a whole or not at all; its file's bytes are guessed apart from its name.
//! 3. An image shares nothing that changes with where it was taken from, and has no locks held. The same seed gives the
//!    same image.
//!
//! Files are independent of each other and of names, as on a file system without a journal. A change of a file is not
//! atomic: its pages, and the sectors in a page, get to the disk each on their own.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use base::rng::Rng;
use base::sync::atomic::Ordering;

use super::MemFs;
use super::content::Content;
use super::node::{Change, FileState, History, Node, Pending};
use super::space::Space;
use super::tree::{Dir, NameChange, Names, PendingName, Tree};

/// What a disk writes as a whole.
const SECTOR_BYTES: u64 = 512;
/// What the system hands to a disk as a whole.
const PAGE_BYTES: u64 = 4096;

/// How much of what no sync has followed is still there after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CrashMode {
    /// All of it, as after the death of the process. It is still not synced: a later power loss may take it.
    KeepAll,
    /// None of it.
    DropUnsynced,
    /// All names and lengths and no bytes: what was appended reads as zeros.
    KeepNames,
    /// All changes up to a random one, in their order over all files and directories, and none after it.
    Prefix,
    /// Each change of a name kept or lost on its own. Of each file the bytes by whole writes, by pages or by sectors, each
    /// kept or lost on its own, so that writes are torn and holes of zeros remain; the length with them or without.
    Random,
}

impl MemFs {
    /// A new file system with what a crash at this moment may leave. Of a [`volatile`](MemFs::volatile) one it is always
    /// [`CrashMode::KeepAll`].
    #[must_use]
    pub fn crash_image(&self, mode: CrashMode, seed: u64) -> Self {
        let _gate = self.inner.gate.write();
        let tree = self.inner.tree.lock();
        let mode = if self.inner.keeps_history { mode } else { CrashMode::KeepAll };
        let image = Self::with_history(seed, self.inner.keeps_history);
        image.set_capacity(self.inner.space.capacity());
        let mut survivors = Survivors {
            rng: Rng::new(seed),
            space: Arc::clone(&image.inner.space),
            nodes: HashMap::new(),
            mode,
            cut: 0,
        };
        if mode == CrashMode::Prefix {
            survivors.cut = survivors.choose_cut(&tree);
        }
        *image.inner.tree.lock() = survivors.tree(&tree);
        // Numbers go on behind those that were carried over.
        image.inner.numbers.store(self.number(), Ordering::Relaxed);
        image
    }
}

/// Guesses what survives.
struct Survivors {
    rng: Rng,
    space: Arc<Space>,
    /// The image of each file, made once, since a file may have several names.
    nodes: HashMap<u64, Arc<Node>>,
    mode: CrashMode,
    /// In [`CrashMode::Prefix`], the first sequence number that is lost.
    cut: u64,
}

impl Survivors {
    /// A point between two unsynced changes, or before the first, or behind the last.
    fn choose_cut(&mut self, tree: &Tree) -> u64 {
        let mut sequences: Vec<u64> = tree.pending.iter().map(|pending| pending.sequence).collect();
        for node in named_nodes(tree).values() {
            if let Some(history) = &node.state.read().history {
                sequences.extend(history.pending.iter().map(|pending| pending.sequence));
            }
        }
        sequences.sort_unstable();
        let chosen = self.rng.below(sequences.len() as u64 + 1);
        sequences.get(chosen as usize).copied().unwrap_or(u64::MAX)
    }

    fn tree(&mut self, tree: &Tree) -> Tree {
        let mut image = Tree::new(tree.keeps_history());
        if self.mode == CrashMode::KeepAll {
            for (path, dir) in &tree.dirs {
                let dir = Dir { live: self.names(&dir.live), durable: self.names(&dir.durable) };
                image.dirs.insert(path.clone(), dir);
            }
            image.pending = tree.pending.iter().map(|pending| self.pending_name(pending)).collect();
            return image;
        }
        for (path, names) in self.surviving_names(tree) {
            let names = self.names(&names);
            image.dirs.insert(path, Dir { live: names.clone(), durable: names });
        }
        image
    }

    /// The durable names and the changes that got through.
    fn surviving_names(&mut self, tree: &Tree) -> BTreeMap<PathBuf, Names> {
        let mut dirs: BTreeMap<PathBuf, Dir> = tree
            .dirs
            .iter()
            .map(|(path, dir)| (path.clone(), Dir { live: Names::new(), durable: dir.durable.clone() }))
            .collect();
        let luck = Luck::draw(&mut self.rng);
        for pending in &tree.pending {
            let is_kept = match self.mode {
                CrashMode::KeepAll | CrashMode::KeepNames => true,
                CrashMode::DropUnsynced => false,
                CrashMode::Prefix => pending.sequence < self.cut,
                CrashMode::Random => luck.strikes(&mut self.rng),
            };
            if is_kept {
                pending.change.apply(&mut dirs, |dir| &mut dir.durable);
            }
        }
        dirs.into_iter().map(|(path, dir)| (path, dir.durable)).collect()
    }

    fn names(&mut self, names: &Names) -> Names {
        names.iter().map(|(name, node)| (name.clone(), self.node(node))).collect()
    }

    fn pending_name(&mut self, pending: &PendingName) -> PendingName {
        let change = match &pending.change {
            NameChange::Link { to, node } => NameChange::Link { to: to.clone(), node: self.node(node) },
            NameChange::Unlink { from } => NameChange::Unlink { from: from.clone() },
            NameChange::Rename { from, to, node } => {
                NameChange::Rename { from: from.clone(), to: to.clone(), node: self.node(node) }
            }
        };
        PendingName { sequence: pending.sequence, change }
    }

    fn node(&mut self, node: &Arc<Node>) -> Arc<Node> {
        if let Some(image) = self.nodes.get(&node.id) {
            return Arc::clone(image);
        }
        let state = self.state(&node.state.read());
        let image = Arc::new(Node::with_state(node.id, state, Arc::clone(&self.space)));
        self.nodes.insert(node.id, Arc::clone(&image));
        image
    }

    fn state(&mut self, state: &FileState) -> FileState {
        let Some(history) = state.history.as_ref().filter(|_| self.mode != CrashMode::KeepAll) else {
            return state.clone();
        };
        let content = match self.mode {
            CrashMode::KeepAll | CrashMode::DropUnsynced => history.durable.clone(),
            CrashMode::KeepNames => {
                let mut content = history.durable.clone();
                content.set_len(len_after(history, history.pending.len()));
                content
            }
            CrashMode::Prefix => {
                let mut content = history.durable.clone();
                for pending in history.pending.iter().take_while(|pending| pending.sequence < self.cut) {
                    pending.change.apply(&mut content);
                }
                content
            }
            CrashMode::Random => self.random_content(history),
        };
        FileState { history: Some(History { durable: content.clone(), pending: Vec::new() }), live: content }
    }

    fn random_content(&mut self, history: &History) -> Content {
        if history.pending.is_empty() {
            return history.durable.clone();
        }
        match self.rng.below(3) {
            0 => by_writes(history, &mut self.rng),
            1 => by_units(history, PAGE_BYTES, &mut self.rng),
            _ => by_units(history, SECTOR_BYTES, &mut self.rng),
        }
    }
}

/// How likely a change is to survive: drawn for each image and file, so that some lose nearly all and some nearly
/// nothing.
struct Luck(u64);

impl Luck {
    fn draw(rng: &mut Rng) -> Self {
        Self(rng.below(5))
    }

    fn strikes(&self, rng: &mut Rng) -> bool {
        rng.below(4) < self.0
    }
}

/// Each write whole, lost, or torn at sectors, whatever becomes of those before and after it.
fn by_writes(history: &History, rng: &mut Rng) -> Content {
    let luck = Luck::draw(rng);
    let keeps_lengths = rng.one_in(2);
    let mut content = history.durable.clone();
    for Pending { change, .. } in &history.pending {
        let is_kept = luck.strikes(rng);
        match change {
            Change::Write { offset, bytes } => {
                let end = offset + bytes.len() as u64;
                if is_kept && rng.one_in(4) {
                    for (at, piece) in pieces(*offset, bytes, SECTOR_BYTES) {
                        if rng.one_in(2) {
                            content.write(at, piece);
                        }
                    }
                } else if is_kept {
                    content.write(*offset, bytes);
                }
                if keeps_lengths && end > content.len() {
                    content.set_len(end);
                }
            }
            Change::SetLen(len) if is_kept => content.set_len(*len),
            Change::SetLen(_) => {}
        }
    }
    content
}

/// Each unit (page or sector) as it was after some number of the changes, and the length as it was after some number.
fn by_units(history: &History, unit_bytes: u64, rng: &mut Rng) -> Content {
    let changes = history.pending.len();
    let mut cuts: HashMap<u64, usize> = HashMap::new();
    let mut is_kept =
        |unit: u64, index: usize, rng: &mut Rng| index < *cuts.entry(unit).or_insert_with(|| some_or_all(changes, rng));
    let mut content = history.durable.clone();
    for (index, Pending { change, .. }) in history.pending.iter().enumerate() {
        match change {
            Change::Write { offset, bytes } => {
                for (at, piece) in pieces(*offset, bytes, unit_bytes) {
                    if is_kept(at / unit_bytes, index, rng) {
                        content.write(at, piece);
                    }
                }
            }
            Change::SetLen(len) => {
                let mut at = *len;
                while at < content.stored_len() {
                    let end = (at - at % unit_bytes) + unit_bytes;
                    if is_kept(at / unit_bytes, index, rng) {
                        content.zero(at, end);
                    }
                    at = end;
                }
            }
        }
    }
    content.set_len(len_after(history, some_or_all(changes, rng)));
    content
}

/// None, all, or any number up to all.
fn some_or_all(all: usize, rng: &mut Rng) -> usize {
    match rng.below(3) {
        0 => 0,
        1 => all,
        _ => rng.below(all as u64 + 1) as usize,
    }
}

/// The length of the file after the first `changes` changes.
fn len_after(history: &History, changes: usize) -> u64 {
    history.pending.iter().take(changes).fold(history.durable.len(), |len, pending| match &pending.change {
        Change::Write { offset, bytes } => len.max(offset + bytes.len() as u64),
        Change::SetLen(len) => *len,
    })
}

/// Cuts bytes where units of the file begin.
fn pieces(offset: u64, bytes: &[u8], unit_bytes: u64) -> impl Iterator<Item = (u64, &[u8])> {
    let mut at = offset;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (piece, behind) = rest.split_at(rest.len().min((unit_bytes - at % unit_bytes) as usize));
        let start = at;
        at += piece.len() as u64;
        rest = behind;
        (!piece.is_empty()).then_some((start, piece))
    })
}

/// All files that have a name, had one, or will.
fn named_nodes(tree: &Tree) -> HashMap<u64, &Arc<Node>> {
    let in_dirs = tree.dirs.values().flat_map(|dir| dir.live.values().chain(dir.durable.values()));
    let in_changes = tree.pending.iter().filter_map(|pending| match &pending.change {
        NameChange::Link { node, .. } | NameChange::Rename { node, .. } => Some(node),
        NameChange::Unlink { .. } => None,
    });
    in_dirs.chain(in_changes).map(|node| (node.id, node)).collect()
}
