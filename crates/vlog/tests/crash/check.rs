//! What must be so in every image, and stay so when the log goes on from it.

use std::collections::BTreeSet;

use base::{SegmentId, ValueLogHead, ValuePointer};
use vfs::{CrashMode, MemFs};
use vlog::{CollectContext, Options, RecoveryInput, ValueLog};

use crate::Known;
use crate::support::{Address, Sample, address, begin_with, dead_and_all, end_of, names, number_of};

type Checked<T = ()> = Result<T, String>;

fn say(error: vlog::Error) -> String {
    error.to_string()
}

/// Opens an image, checks it, goes on with it, loses power again and checks once more.
pub(crate) fn check(image: &MemFs, options: &Options, known: &Known, seed: u64) -> Checked {
    let live: Vec<u64> = known.live.iter().copied().collect();
    let input = RecoveryInput { synced: known.synced, live_tickets: &live, must_exist: known.created };
    let (log, _) = begin_with(image, options.clone(), input).map_err(say)?;
    check_records(&log, known)?;
    log.finish_recovery().map_err(say)?;
    let there = check_records(&log, known)?;
    check_dead_sets(&log, known)?;
    // What a log replayed up to the first record that is gone would name.
    let referenced: Vec<ValuePointer> = known.written.iter().map(|(_, pointer)| *pointer).collect();
    log.mark_unreferenced_dead(ValueLogHead::default(), referenced).map_err(say)?;
    check_unreferenced(&log, known)?;
    log.remove_orphans().map_err(say)?;
    check_files(image, &log, &live)?;
    let mut known = known.clone();
    if seed.is_multiple_of(2) {
        collect_all(&log, &mut known)?;
        check_files(image, &log, &live)?;
    }
    let later = go_on(&log, &known)?;
    let synced = log.sync().map_err(say)?;
    let again = image.crash_image(CrashMode::Random, seed);
    drop(log);
    let input = RecoveryInput { synced, live_tickets: &live, must_exist: true };
    let (log, _) = begin_with(&again, options.clone(), input).map_err(say)?;
    log.finish_recovery().map_err(say)?;
    let left = check_records(&log, &known)?;
    if there.iter().any(|at| !left.contains(at) && !known.gone.contains(at)) {
        return Err("a record that survived one crash was lost in the next".to_owned());
    }
    check_dead_sets(&log, &known)?;
    later.iter().for_each(|(sample, pointer)| sample.assert_at(&log, *pointer));
    Ok(())
}

/// Every synced record that lives is there and none that was collected is; any other is itself or an error. Returns
/// those that are there.
fn check_records(log: &ValueLog, known: &Known) -> Checked<BTreeSet<Address>> {
    let set = log.segments();
    let mut there = BTreeSet::new();
    for (sample, pointer) in &known.written {
        let at = address(pointer);
        match set.read_record(*pointer) {
            Ok(_) if known.gone.contains(&at) => return Err(format!("{pointer:?} came back")),
            Ok(record) if record.value == sample.value && record.key.as_ref() == sample.key() => there.insert(at),
            Ok(_) => return Err(format!("{pointer:?} reads as another record")),
            Err(error) if !error.is_corruption() => return Err(format!("{error}")),
            Err(error) if end_of(pointer) <= known.synced && !known.leaving.contains(&at) => {
                return Err(format!("synced record lost: {error}"));
            }
            Err(_) => false,
        };
    }
    Ok(there)
}

/// Of the records that are in files, exactly those are dead that must be.
fn check_dead_sets(log: &ValueLog, known: &Known) -> Checked {
    let died = known.live.iter().flat_map(|ticket| known.deaths[ticket].iter().map(address));
    let mut expected: BTreeSet<Address> = known.dead.iter().copied().chain(died).collect();
    let ours: BTreeSet<Address> = known.written.iter().map(|(_, pointer)| address(pointer)).collect();
    let mut found = BTreeSet::new();
    let mut all = BTreeSet::new();
    for segment in log.segments().iter() {
        let (dead, there) = dead_and_all(log, segment.id()).map_err(say)?;
        found.extend(dead.into_iter().filter(|at| ours.contains(at)));
        for at in there {
            if !all.insert(at) {
                return Err(format!("{at:?} is in two files"));
            }
        }
    }
    expected.retain(|at| all.contains(at));
    if found == expected { Ok(()) } else { Err(format!("dead: expected {expected:?}, found {found:?}")) }
}

/// A record that was never acknowledged to anyone is dead.
fn check_unreferenced(log: &ValueLog, known: &Known) -> Checked {
    let ours: BTreeSet<Address> = known.written.iter().map(|(_, pointer)| address(pointer)).collect();
    for segment in log.segments().iter() {
        let (dead, all) = dead_and_all(log, segment.id()).map_err(say)?;
        if let Some(at) = all.iter().find(|at| !ours.contains(at) && !dead.contains(at)) {
            return Err(format!("{at:?} belongs to nobody and lives"));
        }
    }
    Ok(())
}

/// Nothing is in the folder but what is of use.
fn check_files(image: &MemFs, log: &ValueLog, live: &[u64]) -> Checked {
    let set = log.segments();
    let is_of_use = |name: &String| match name.split_once('.') {
        None => name == "VLOG-MANIFEST",
        Some((_, "deaths")) => live.iter().any(|ticket| name.starts_with(&format!("{ticket:06}."))),
        Some((_, kind)) => {
            number_of(name).and_then(|id| set.segment(SegmentId(id))).is_some_and(|segment| match kind {
                "map" => segment.is_collected(),
                "vlog" | "hint" => true,
                "dead" => log.dead_set(segment.id()).is_ok_and(|dead| dead.records() > 0),
                _ => false,
            })
        }
    };
    match names(image).into_iter().find(|name| !is_of_use(name)) {
        None => Ok(()),
        Some(name) => Err(format!("{name} was left over")),
    }
}

/// Collects all there is, so that nothing dead is there any more.
fn collect_all(log: &ValueLog, known: &mut Known) -> Checked {
    let sealed: Vec<SegmentId> = log.statistics().iter().map(|of| of.segment).collect();
    log.collect(&sealed, &CollectContext::unpaced()).map_err(say)?;
    log.remove_released().map_err(say)?;
    let died: Vec<Address> = known.live.iter().flat_map(|ticket| known.deaths[ticket].iter().map(address)).collect();
    known.gone.extend(known.dead.iter().chain(&died));
    known.leaving.extend(known.gone.clone());
    check_records(log, known)?;
    match log.statistics().iter().find(|of| of.dead_records > 0) {
        None => Ok(()),
        Some(of) => Err(format!("dead records were collected: {of:?}")),
    }
}

fn go_on(log: &ValueLog, known: &Known) -> Checked<Vec<(Sample, ValuePointer)>> {
    let mut later = Vec::new();
    for number in 900..903 {
        let sample = Sample::of(number, 80);
        let pointer = sample.append(log).map_err(say)?;
        if pointer.segment <= known.newest {
            return Err(format!("id {} was used before", pointer.segment));
        }
        later.push((sample, pointer));
    }
    Ok(later)
}
