//! Files that say of themselves that they are not encrypted, in a store that was from the first file on.

use std::path::{Path, PathBuf};

use base::checksum::{Hasher, crc32};
use engine::{ErrorKind, GcOptions, VerifyOptions};
use vfs::{CrashMode, MemFs, Vfs};

use crate::{LARGE, STORE, check, encrypted, fill, memory, overwrite_and_collect, plain, secret};

/// Takes the key id out of a file, and puts its checksum right. `None` where a kind of file has no key id.
fn stripped(path: &Path, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let name = path.file_name().unwrap().to_str().unwrap();
    let len = bytes.len();
    match path.extension().and_then(|extension| extension.to_str()) {
        _ if name == "CURRENT" || name == "LOCK" || name == "KEYREGISTRY" => return None,
        Some("sst") => {
            let footer = &mut bytes[len - 112..];
            footer[20..24].fill(0);
            let mut hasher = Hasher::new();
            hasher.update(&footer[..96]);
            hasher.update(&footer[100..]);
            let checksum = hasher.finalize().to_le_bytes();
            footer[96..100].copy_from_slice(&checksum);
        }
        Some("vlog" | "hint" | "map" | "dead" | "deaths") => strip(&mut bytes, 12..16, 108),
        _ if name == "VLOG-MANIFEST" => strip(&mut bytes, 12..16, 108),
        _ => strip(&mut bytes, 28..32, 124),
    }
    Some(bytes)
}

/// Sets a field to zero.
fn strip(bytes: &mut [u8], at: std::ops::Range<usize>, checksum_at: usize) {
    bytes[at].fill(0);
    let checksum = crc32(&bytes[..checksum_at]).to_le_bytes();
    bytes[checksum_at..checksum_at + 4].copy_from_slice(&checksum);
}

/// Opens a store, reads all of it, and has its garbage looked for.
fn use_all(memory: &MemFs) -> engine::Result<()> {
    let vfs: std::sync::Arc<dyn Vfs> = std::sync::Arc::new(memory.clone());
    let db = encrypted(&vfs, 1).open(STORE)?;
    db.verify(VerifyOptions::new())?;
    for number in 0..400 {
        db.get(secret("key", number))?;
    }
    for keyspace in db.keyspaces() {
        db.keyspace(&keyspace.name, engine::KeyspaceOptions::new())?;
    }
    db.gc().run_once(GcOptions::new().discard_ratio(0.01).find_garbage(true))?;
    db.close()
}

#[test]
fn a_file_that_says_that_it_is_not_encrypted_is_refused_where_all_are() {
    let (memory, vfs) = memory(20);
    let db = encrypted(&vfs, 1).gc(engine::GcPolicy::Manual).open(STORE).unwrap();
    fill(&db);
    overwrite_and_collect(&db);
    db.insert("in the log", "a value").unwrap();
    db.insert("in the value log", "a value".repeat(LARGE)).unwrap();
    drop(db);
    use_all(&memory.crash_image(CrashMode::KeepAll, 1)).unwrap();
    let mut refused = std::collections::BTreeMap::new();
    for path in memory.files() {
        let Some(forged) = stripped(&path, memory.read(&path).unwrap()) else { continue };
        let image = memory.crash_image(CrashMode::KeepAll, 1);
        image.write(&path, forged).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let kind = PathBuf::from(name).extension().map_or("manifest".into(), |kind| kind.to_str().unwrap().to_owned());
        match use_all(&image) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Encryption, "{name}: {error}");
                assert!(error.to_string().contains(name), "{name}: {error}");
                *refused.entry(kind).or_insert(0) += 1;
            }
            // No log or edit of the value log needed it, and it was removed or made anew.
            Ok(()) => assert!(["hint", "deaths"].contains(&&kind[..]), "{name} was believed"),
        }
    }
    for kind in ["manifest", "wal", "sst", "vlog", "map", "dead"] {
        assert!(refused.contains_key(kind), "no {kind} was refused: {refused:?}");
    }
}

/// Recovery takes values behind that place that no log speaks of for those of commits that failed.
#[test]
fn a_log_that_is_made_to_say_that_its_values_begin_earlier_kills_none() {
    for is_synced in [false, true] {
        let (memory, vfs) = memory(22);
        let db = encrypted(&vfs, 1).gc(engine::GcPolicy::Manual).open(STORE).unwrap();
        fill(&db);
        db.flush().unwrap();
        db.insert("in the log", "a value").unwrap();
        if is_synced {
            db.sync().unwrap();
            db.insert("behind", "says that it was").unwrap();
        }
        drop(db);
        let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wal");
        let logs: Vec<PathBuf> = memory.files().into_iter().filter(is_log).collect();
        let head = |path: &PathBuf| memory.read(path).unwrap()[72..80].to_vec();
        assert!(logs.iter().any(|path| head(path) != [0; 8]));
        for path in &logs {
            memory.edit(path, |bytes| strip(bytes, 72..80, 124)).unwrap();
        }
        let opened = encrypted(&vfs, 1).gc(engine::GcPolicy::Manual).open(STORE);
        if is_synced {
            assert_eq!(opened.unwrap_err().kind(), ErrorKind::Corruption);
            continue;
        }
        let db = opened.unwrap();
        db.gc().run_once(GcOptions::new().discard_ratio(0.01).find_garbage(true)).unwrap();
        assert_eq!(db.gc().check().unwrap().endangered_records, 0);
        check(&db);
    }
}

#[test]
fn a_store_that_was_not_encrypted_believes_its_old_files() {
    let (_, vfs) = memory(21);
    let db = plain(&vfs).open(STORE).unwrap();
    fill(&db);
    db.close().unwrap();
    for _ in 0..2 {
        let db = encrypted(&vfs, 1).open(STORE).unwrap();
        check(&db);
        db.rotate_data_key().unwrap();
        db.close().unwrap();
    }
}
