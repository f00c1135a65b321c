//! `ratel gc` collects garbage of the value log; `ratel vlog check` and `ratel vlog rebuild` compare what it takes for dead
//! with what the tree points to, and mend what differs.

use engine::{GarbageCheck, GcOptions, GcReport};

use crate::args::{Gc, Store};
use crate::exit::{Code, Failure, complain, say};
use crate::figures::{bytes, several};
use crate::progress::Progress;
use crate::store::Opener;

pub(crate) fn run(arguments: &Gc, opener: &Opener) -> Result<Code, Failure> {
    if arguments.dry_run {
        return dry_run(arguments, opener);
    }
    let db = opener.existing_uncollected(&arguments.store)?;
    let progress = Progress::new("collecting");
    let report = db.gc().run_once(GcOptions::new().discard_ratio(arguments.discard_ratio).find_garbage(true))?;
    drop(progress);
    db.close()?;
    say(&format!("collected {} anew", summary(&report, "written")))?;
    Ok(Code::Done)
}

/// Says what a collection would take by what is known, and of each segment what the store itself makes of it.
fn dry_run(arguments: &Gc, opener: &Opener) -> Result<Code, Failure> {
    let db = opener.for_reading(&arguments.store)?;
    let report = db.gc().run_once(GcOptions::new().discard_ratio(arguments.discard_ratio).dry_run(true))?;
    let status = db.gc().status();
    db.close()?;
    say(&format!("would collect {} anew", summary(&report, "to be written")))?;
    for of in &status.segments {
        let part = 100.0 * of.dead_bytes as f64 / (of.live_bytes + of.dead_bytes).max(1) as f64;
        let (size, would) = (bytes(of.file_bytes), report.segments.contains(&of.segment));
        let would = if would { "would be collected" } else { "would stay" };
        say(&format!("segment {:>6} {size:>11}, {part:>5.1} % dead: {would}; by itself {}", of.segment, of.verdict))?;
    }
    Ok(Code::Done)
}

fn summary(report: &GcReport, written: &str) -> String {
    let segments = several(report.segments.len() as u64, "segment", "segments");
    let (replaced, rewritten) = (bytes(report.bytes_replaced), bytes(report.bytes_rewritten));
    format!("{segments}: {replaced} in files, {rewritten} of them alive and {written}")
}

pub(crate) fn check(arguments: &Store, opener: &Opener) -> Result<Code, Failure> {
    let db = opener.for_reading(&arguments.store)?;
    let progress = Progress::new("comparing");
    let check = db.gc().check()?;
    drop(progress);
    db.close()?;
    tell(&check)?;
    if check.endangered_records + check.dangling_entries > 0 {
        complain("ratel: values are in danger or lost; `ratel vlog rebuild` saves what is still there");
        return Ok(Code::Corrupt);
    }
    Ok(Code::Done)
}

pub(crate) fn rebuild(arguments: &Store, opener: &Opener) -> Result<Code, Failure> {
    let db = opener.for_rebuilding(&arguments.store)?;
    let progress = Progress::new("comparing");
    let check = db.gc().rebuild()?;
    drop(progress);
    db.close()?;
    tell(&check)?;
    Ok(if check.dangling_entries > 0 { Code::Corrupt } else { Code::Done })
}

fn tell(check: &GarbageCheck) -> Result<(), Failure> {
    say(&format!(
        "compared {}: {} alive, {} dead, {} leaked ({}), {} in danger ({}); {} without a value",
        several(check.records, "value", "values"),
        check.live_records,
        check.dead_records,
        check.leaked_records,
        bytes(check.leaked_bytes),
        check.endangered_records,
        bytes(check.endangered_bytes),
        several(check.dangling_entries, "entry", "entries"),
    ))
}
