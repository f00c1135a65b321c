//! Power loss at every change of a file: nothing synced is lost, what is left is a prefix, and what was dropped stays
//! dropped. And the proof itself is proven: with one kind of sync left out, it fails.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::path::Path;

use base::proof::seed;
use base::show;
use stress::power_loss::{DIR, Making, Plan, Values, run};

const ENCRYPTED: Making = Making { values: Values::InStore, encrypted: true };

#[test]
fn every_image_of_a_power_loss_opens_as_a_prefix_with_every_synced_commit() {
    let plan = Plan::full(seed(1));
    let report = run(&plan, None);
    show!("power loss: {report}");
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
    assert_eq!(report.images.len(), plan.draws.len(), "a mode has no images: {report}");
    let events = report.events;
    assert!(events.flushes >= 2 && events.compactions >= 1, "{events}");
    assert!(events.collections >= 5 && events.collections_by_hand >= 1, "{events}");
    assert!(events.log_switches >= 2 && events.segment_seals >= 1 && events.manifest_switches >= 2, "{events}");
}

#[test]
fn the_same_holds_for_a_value_log_in_a_folder_of_its_own_and_for_an_encrypted_store() {
    let apart = Making { values: Values::Apart, ..Making::default() };
    for (making, what, first) in [(apart, "value log apart", 3), (ENCRYPTED, "encrypted", 4)] {
        let plan = Plan { making, failures_max: 5, ..Plan::brief(seed(first)) };
        let report = run(&plan, None);
        show!("power loss, {what}: {report}");
        assert!(report.failures.is_empty(), "{what}: {:#?}", report.failures);
        assert_eq!(report.images.len(), plan.draws.len(), "{what}: a mode has no images: {report}");
        assert!(report.events.collections >= 3, "{what}: {report}");
        assert_eq!(report.events.key_registries >= 5, making.encrypted, "{what}: {report}");
    }
}

type Forgets = fn(&Path) -> bool;

/// What only an encrypted store has.
const KEYS: &str = "keys";

/// Syncs that can be left out, by what they make durable.
const SYNCS: [(&str, Forgets); 14] = [
    ("write-ahead log", |path| has_end(path, ".wal")),
    ("value-log segment", |path| has_end(path, ".vlog")),
    ("collected segment", |path| has_end(path, ".vlog.tmp")),
    ("map of a collected segment", |path| has_end(path, ".map.tmp")),
    ("table", |path| has_end(path, ".sst.tmp")),
    ("manifest", |path| path.to_string_lossy().contains("/MANIFEST-")),
    ("CURRENT", |path| has_end(path, "CURRENT.tmp")),
    ("store directory", |path| path == Path::new(DIR)),
    ("value-log directory", |path| has_end(path, "/vlog")),
    ("value-log manifest", |path| has_end(path, "VLOG-MANIFEST.tmp")),
    ("hint file", |path| has_end(path, ".hint.tmp")),
    ("dead set", |path| has_end(path, ".dead.tmp")),
    ("death list", |path| has_end(path, ".deaths.tmp")),
    (KEYS, |path| has_end(path, "KEYREGISTRY.tmp")),
];

fn has_end(path: &Path, end: &str) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(end.as_bytes())
}

#[test]
fn with_one_kind_of_sync_left_out_the_proof_fails() {
    let (seed, mut unnoticed) = (seed(2), Vec::new());
    for (name, forgets) in SYNCS {
        let making = if name == KEYS { ENCRYPTED } else { Making::default() };
        let report = run(&Plan { making, ..Plan::brief(seed) }, Some(forgets));
        let images: u64 = report.images.values().sum();
        match report.failures.first() {
            Some(failure) => {
                println!("{failure}");
                show!("power loss without syncs of the {name}: found after {images} images");
            }
            None => unnoticed.push((name, images)),
        }
    }
    assert!(unnoticed.is_empty(), "nothing noticed without syncs of: {unnoticed:?}");
}
