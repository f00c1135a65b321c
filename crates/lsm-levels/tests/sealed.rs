//! A tree with keys: no key of an entry and no name shows in any file, and an open says whose key is missing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod tree;

use std::path::Path;
use std::sync::Arc;

use base::KeyspaceId;
use encryption::{KeyError, Keyring, StaticKey};
use lsm_levels::{Error, Levels, VersionEdit};
use tree::{DIR, STORE, Tree, created, levels_options, numbered, put, with_keys};
use vfs::{MemFs, Vfs};

/// A keyring with a registry of its own, so that all files in [`DIR`] are the tree's.
fn keyring(seed: u64) -> Arc<Keyring> {
    let fs: Arc<dyn Vfs> = Arc::new(MemFs::new(seed));
    Arc::new(Keyring::create(&fs, Path::new("/"), STORE, Arc::new(StaticKey::new(&[1; 32])), 0).unwrap())
}

/// The same of a tree that was not encrypted before.
fn keyring_beside_plain(seed: u64) -> Arc<Keyring> {
    let fs: Arc<dyn Vfs> = Arc::new(MemFs::new(seed));
    Arc::new(Keyring::create_beside_plain(&fs, Path::new("/"), STORE, Arc::new(StaticKey::new(&[1; 32])), 0).unwrap())
}

/// Flushes, compacts and makes a keyspace, in a tree with these keys if any.
fn grown(keys: Option<Arc<Keyring>>) -> (MemFs, Tree) {
    let memory = MemFs::new(1);
    let tree = Tree::try_on(Arc::new(memory.clone()), with_keys(keys)).unwrap();
    tree.levels.apply(VersionEdit::of(created(KeyspaceId(5), "a secret name"))).unwrap();
    tree.flush(vec![put("a secret key", 3, "a secret value"), put("zz the last secret", 4, "another")]);
    tree.add(6, vec![put("a secret key", 1, "an old secret")]);
    tree.compact_level(0);
    tree.flush(numbered(1..=300, 9));
    (memory, tree)
}

fn shows(memory: &MemFs, text: &str) -> Vec<String> {
    let files = memory.files().into_iter();
    let holds = |bytes: Vec<u8>| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    files.filter(|path| holds(memory.read(path).unwrap())).map(|path| path.display().to_string()).collect()
}

#[test]
fn no_key_value_or_name_shows_in_a_table_or_the_manifest() {
    let secrets = ["a secret key", "zz the last secret", "a secret name", "an old secret", "value 17 at", "0300"];
    let (plain, _tree) = grown(None);
    for secret in &secrets[..3] {
        assert!(shows(&plain, secret).iter().any(|path| path.contains("MANIFEST-")), "the search finds {secret}");
    }
    let (memory, tree) = grown(Some(keyring(1)));
    for secret in secrets {
        assert!(shows(&memory, secret).is_empty(), "{secret}: {:?}", shows(&memory, secret));
    }
    assert_eq!(tree.get("a secret key", 9).as_deref(), Some("a secret value"));
}

#[test]
fn a_tree_opens_with_its_keys_alone_and_a_plain_one_with_any() {
    let keys = keyring(1);
    let (_memory, tree) = grown(Some(Arc::clone(&keys)));
    let (dump, vfs, id) = (tree.dump(), Arc::clone(&tree.vfs), keys.current());
    drop(tree);
    let open = |keys| Levels::open(&vfs, Path::new(DIR), with_keys(keys)).map(|(levels, _)| levels);
    for (given, expected) in [(None, KeyError::NoKeys(id)), (Some(keyring(2)), KeyError::UnknownKey(id))] {
        match open(given) {
            Err(Error::Key { path, source }) => {
                assert!(path.display().to_string().contains("MANIFEST-"), "{}", path.display());
                assert_eq!(source, expected);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(Tree::of(Arc::clone(&vfs), open(Some(keys)).unwrap()).dump(), dump);
}

#[test]
fn a_plain_tree_goes_on_with_keys_its_old_tables_readable_and_its_new_ones_encrypted() {
    let (memory, tree) = grown(None);
    let (old, vfs) = (tree.dump(), Arc::clone(&tree.vfs));
    drop(tree);
    let keys = keyring_beside_plain(1);
    let (levels, _) = Levels::open(&vfs, Path::new(DIR), with_keys(Some(Arc::clone(&keys)))).unwrap();
    let tree = Tree { keys: Some(Arc::clone(&keys)), ..Tree::of(Arc::clone(&vfs), levels) };
    assert_eq!(tree.dump(), old);
    tree.flush(vec![put("a later secret", 20, "of later")]);
    assert_eq!(tree.get("a later secret", 20).as_deref(), Some("of later"));
    assert!(shows(&memory, "a later secret").is_empty());
    assert!(shows(&memory, "a secret name").is_empty(), "the plain manifest was replaced");
    drop(tree);
    assert!(matches!(Levels::open(&vfs, Path::new(DIR), levels_options()), Err(Error::Key { .. })));
    let (levels, _) = Levels::open(&vfs, Path::new(DIR), with_keys(Some(keys))).unwrap();
    assert_eq!(Tree::of(vfs, levels).get("a secret key", 20).as_deref(), Some("a secret value"));
}
