//! Nothing is ever sealed twice under one nonce.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::proof::seed;
use base::rng::Rng;
use base::show;
use base::sync::Mutex;
use engine::{CompactOptions, Durability, GcOptions, WriteBatch, WriteOptions};
use vfs::{CrashMode, FaultFs, FaultPlan, MemFs, Vfs};

use crate::files::{Seen, assert_all_kinds, kind};
use crate::{LARGE, STORE, encrypted};

/// What stood at each place of each file at any time, by the salt in its header: where two states of a file differ, two
/// texts were sealed with one nonce. A log has one more number in it, the round, which tells writes at one place apart.
#[derive(Default)]
struct Places {
    by_salt: BTreeMap<Vec<u8>, Vec<u8>>,
    seen: Seen,
    /// Of those whose salt was found.
    kinds: BTreeSet<String>,
}

impl Places {
    fn note(&mut self, memory: &MemFs) {
        for (path, bytes) in self.seen.changed(memory) {
            let kind = kind(&path, &bytes);
            let is_temporary = path.extension().is_some_and(|extension| extension == "tmp");
            let salt = match &*kind {
                "KEYREGISTRY" => 28..60,
                // A table's salt is at its end.
                "sst" if is_temporary => continue,
                "sst" => bytes.len() - 64..bytes.len() - 32,
                "CURRENT" | "LOCK" => continue,
                _ => 32..64,
            };
            let Some(salt) = bytes.get(salt).filter(|salt| salt.iter().any(|byte| *byte != 0)) else { continue };
            self.kinds.insert(kind);
            let known = self.by_salt.entry(salt.to_vec()).or_default();
            let differs = known.iter().zip(&bytes).position(|(known, byte)| known != byte && *known != 0 && *byte != 0);
            assert_eq!(differs, None, "{}: one place, two texts", path.display());
            if known.len() < bytes.len() {
                known.resize(bytes.len(), 0);
            }
            known.iter_mut().zip(&bytes).for_each(|(known, byte)| *known |= byte);
        }
    }
}

/// A store dies again and again, by its process or by power, and so do copies of it that go on by themselves; each life
/// reuses what numbers it may. Garbage is collected now and then, and looked at step by step.
#[test]
fn nothing_is_sealed_twice_under_one_nonce_over_crashes_and_copies() {
    let mut rng = Rng::new(seed(9));
    let places = Arc::new(Mutex::new(Places::default()));
    let mut collections = 0;
    let mut worlds = vec![MemFs::new(rng.next_u64())];
    for life in 0..60u64 {
        let which = rng.below(worlds.len() as u64) as usize;
        let memory = worlds.swap_remove(which);
        let faults = FaultFs::over_memory(memory.clone(), FaultPlan::none());
        let vfs: Arc<dyn Vfs> = Arc::new(faults.clone());
        let db = encrypted(&vfs, 1).open(STORE).unwrap();
        for write in 0..rng.below(60) {
            let value = vec![rng.below(256) as u8; if write % 7 == 0 { LARGE } else { 100 }];
            let durability = if rng.below(4) == 0 { Durability::Sync } else { Durability::Os };
            let mut batch = WriteBatch::new();
            batch.insert(format!("key {}", rng.below(50)), value).unwrap();
            db.write_with(batch, WriteOptions::new().durability(durability)).unwrap();
            match rng.below(40) {
                0 => db.flush().unwrap(),
                1 => drop(db.compact(.., CompactOptions::new()).unwrap()),
                2 => db.rotate_data_key().unwrap(),
                3 => {
                    let (noted, watched) = (Arc::clone(&places), memory.clone());
                    faults.on_mutation(move |_| noted.lock().note(&watched));
                    let options = GcOptions::new().discard_ratio(0.02).find_garbage(true);
                    collections += db.gc().run_once(options).unwrap().segments.len();
                    faults.clear_hook();
                }
                _ => {}
            }
            if write % 5 == 0 {
                places.lock().note(&memory);
            }
        }
        places.lock().note(&memory);
        if rng.below(4) == 0 {
            db.close().unwrap();
            places.lock().note(&memory);
        }
        // A copy of the store, or two, each with randomness of its own.
        let modes = [CrashMode::KeepAll, CrashMode::DropUnsynced, CrashMode::Prefix, CrashMode::Random];
        for _ in 0..1 + u64::from(life % 4 == 0 && worlds.len() < 5) {
            let mode = modes[rng.below(4) as usize];
            worlds.push(memory.crash_image(mode, rng.next_u64()));
        }
    }
    let places = places.lock();
    let (files, states) = (places.by_salt.len(), places.seen.count);
    show!("nonces: {files} files of one salt each, seen in {states} states; {collections} segments collected");
    assert!(files > 200 && collections > 10);
    assert_all_kinds(&places.kinds);
}
