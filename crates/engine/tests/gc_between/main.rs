//! Whatever happens at whichever point of a collection: nothing that is there goes, and nothing that has gone comes back,
//! now, after a crash at that point, and after the next collection; and once nobody holds it any more, garbage goes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "a collection is held while the test acts")]

mod gate;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use base::proof::seed;
use base::show;
use engine::{CompactOptions, GcOptions, Iter, Read};
use vfs::CrashMode;

use gate::{Gate, POINTS, Point};
use world::{Seen, TTL_SECONDS, World};

const MODES: [CrashMode; 5] =
    [CrashMode::KeepAll, CrashMode::DropUnsynced, CrashMode::KeepNames, CrashMode::Prefix, CrashMode::Random];

const VERSIONS_TO_KEEP: [u32; 2] = [1, 3];

/// What is done while a collection is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Overwrite,
    DiscardEarlier,
    Remove,
    Expire,
    TakeSnapshot,
    DropSnapshot,
    StepIterator,
    Flush,
    Compact,
    FlushAndCompactWhatDies,
    Roll,
    CollectAgain,
    Pause,
}

const ACTIONS: [Action; 13] = [
    Action::Overwrite,
    Action::DiscardEarlier,
    Action::Remove,
    Action::Expire,
    Action::TakeSnapshot,
    Action::DropSnapshot,
    Action::StepIterator,
    Action::Flush,
    Action::Compact,
    Action::FlushAndCompactWhatDies,
    Action::Roll,
    Action::CollectAgain,
    Action::Pause,
];

/// The next items of an iterator, where there is one, must be these; a value is read late.
fn step(
    iter: &mut Option<Iter<'_>>,
    expected: &mut std::collections::btree_map::IntoIter<u64, Arc<[u8]>>,
    count: usize,
) {
    let Some(iter) = iter else { return };
    let items: Vec<_> = iter.by_ref().take(count).map(Result::unwrap).collect();
    for item in items {
        let (key, value) = expected.next().unwrap();
        assert_eq!(item.key(), key.to_be_bytes());
        assert!(item.value().unwrap()[..] == value[..], "key {key} through an iterator");
    }
}

/// Everything that dies in segments that are being copied does so behind the back of the collection.
fn kill_and_find(world: &mut World) {
    world.overwrite([0, 2]);
    world.discard_earlier([1, 5, 15]);
    world.remove((4..40).step_by(3));
    world.db.flush().unwrap();
    world.db.compact(.., CompactOptions::new()).unwrap();
}

fn run_case(point: Point, action: Action, versions_to_keep: u32, seed: u64) -> BTreeMap<Point, u64> {
    let what = format!("{action:?} at {point:?}, {versions_to_keep} versions, seed {seed}");
    let mut world = World::new(seed, versions_to_keep);
    let early = world.now();
    // While an old snapshot is held, nothing that came after it is garbage, and its iterator holds the files before it.
    let holds = point != Point::Unlinked;
    let mut snapshot = holds.then(|| world.db.snapshot());
    let iter_snapshot = holds.then(|| world.db.snapshot());
    let mut iter = iter_snapshot.as_ref().map(Read::iter);
    let mut rest = early.values().into_iter();
    step(&mut iter, &mut rest, 7);
    let late_item = world.db.iter().next().unwrap().unwrap();
    // What the snapshots keep is overwritten. The segments that come now are not held by the iterator.
    world.db.flush().unwrap();
    world.overwrite(0..30);
    world.overwrite(0..30);
    world.discard_earlier((0..30).step_by(2));
    world.overwrite((0..30).skip(1).step_by(2));
    world.remove(30..33);
    if action == Action::DropSnapshot {
        iter = iter_snapshot.as_ref().map(Read::iter);
        rest = early.values().into_iter();
    }
    let gate = Arc::<Gate>::clone(&world.gate);
    gate.hold_at(point);
    let mut taken: Option<(engine::Snapshot, Seen)> = None;
    let mut paused = None;
    let report = thread::scope(|scope| {
        let gc = world.db.gc();
        let ends = Arc::<Gate>::clone(&gate);
        let collecting = scope.spawn(move || {
            let report = gc.run_once(GcOptions::new().discard_ratio(0.05).find_garbage(true));
            ends.end();
            report
        });
        let held = gate.wait().unwrap_or_else(|| panic!("{what}: no collection comes there"));
        match action {
            Action::Overwrite => world.overwrite(0..20),
            Action::DiscardEarlier => {
                world.discard_earlier(0..20);
                world.db.flush().unwrap();
                world.db.compact(.., CompactOptions::new()).unwrap();
            }
            Action::Remove => world.remove((0..60).step_by(2)),
            Action::Expire => world.clock.advance(Duration::from_secs(TTL_SECONDS)),
            Action::TakeSnapshot => {
                taken = Some((world.db.snapshot(), world.now()));
                kill_and_find(&mut world);
            }
            Action::DropSnapshot => {
                snapshot = None;
                kill_and_find(&mut world);
            }
            Action::StepIterator => step(&mut iter, &mut rest, 20),
            Action::Flush => world.db.flush().unwrap(),
            Action::Compact => drop(world.db.compact(.., CompactOptions::new()).unwrap()),
            Action::FlushAndCompactWhatDies => kill_and_find(&mut world),
            Action::Roll => world.roll(),
            Action::CollectAgain => {
                let again = world.db.gc().run_once(GcOptions::new()).unwrap();
                assert!(again.already_running, "{what}: {again:?}");
            }
            Action::Pause => paused = Some(world.db.gc().pause()),
        }
        world.check(&what);
        for turn in 0..2 {
            let mode = MODES[(seed as usize + turn) % MODES.len()];
            world.check_crash(mode, seed, &what);
        }
        if let Some(snapshot) = &snapshot {
            early.check(snapshot, &format!("{what}: a snapshot"));
        }
        drop(held);
        collecting.join().unwrap()
    });
    let report = report.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(paused.is_some() || (!report.interrupted && !report.segments.is_empty()), "{what}: {report:?}");
    drop(paused);
    world.check(&what);
    world.check_crash(MODES[seed as usize % MODES.len()], seed + 1, &format!("{what}; at the end"));
    if let Some(snapshot) = &snapshot {
        early.check(snapshot, &format!("{what}: a snapshot after it"));
    }
    if let Some((snapshot, seen)) = &taken {
        seen.check(snapshot, &format!("{what}: a snapshot taken there"));
    }
    step(&mut iter, &mut rest, usize::MAX);
    assert!(!holds || rest.next().is_none(), "{what}: the iterator ends early");
    drop(iter);
    drop((snapshot, taken, iter_snapshot));
    assert!(late_item.value().unwrap()[..] == early.values()[&0][..], "{what}: a value that is read late");
    drop(late_item);
    let seen = world.gate.seen();
    world.check_end(&what);
    seen
}

#[test]
fn whatever_happens_at_a_step_of_a_collection_nothing_goes_and_nothing_comes_back() {
    let seed = seed(70);
    let both = |point, action| VERSIONS_TO_KEEP.map(|versions| (point, action, versions));
    let of_point = |point| ACTIONS.into_iter().flat_map(move |action| both(point, action));
    let cases: Vec<(Point, Action, u32)> = POINTS.into_iter().flat_map(of_point).collect();
    let (next, seen) = (AtomicUsize::new(0), Mutex::new(BTreeMap::<Point, u64>::new()));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((number, (point, action, versions_to_keep))) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    cases.get(number).map(|case| (number, *case))
                } {
                    let came_to = run_case(point, action, versions_to_keep, seed + number as u64);
                    let mut seen = seen.lock().unwrap();
                    came_to.into_iter().for_each(|(point, times)| *seen.entry(point).or_default() += times);
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    show!("collections that were held: {} cases, points {seen:?}", cases.len());
    assert_eq!(seen.len(), POINTS.len(), "{seen:?}");
}
