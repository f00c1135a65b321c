//! `ratel gc` collects garbage of the value log; `ratel vlog check` and `ratel vlog rebuild` compare what it takes for dead
//! with what the tree points to, and mend what differs.

use engine::{GarbageCheck, GcOptions};

use crate::args::{Gc, Store};
use crate::exit::{Code, Failure, complain, say};
use crate::figures::{bytes, several};
use crate::progress::Progress;
use crate::store::Opener;

pub(crate) fn run(arguments: &Gc, opener: &Opener) -> Result<Code, Failure> {
    let db = opener.existing_uncollected(&arguments.store)?;
    let progress = Progress::new("collecting");
    let options = GcOptions::new().discard_ratio(arguments.discard_ratio).find_garbage(true).dry_run(arguments.dry_run);
    let report = db.gc().run_once(options)?;
    drop(progress);
    db.close()?;
    say(&format!(
        "{} {}: {} in files, {} of them alive and {}",
        if arguments.dry_run { "would collect" } else { "collected" },
        several(report.segments.len() as u64, "segment", "segments"),
        bytes(report.bytes_replaced),
        bytes(report.bytes_rewritten),
        if arguments.dry_run { "to be written anew" } else { "written anew" },
    ))?;
    Ok(Code::Done)
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
    let db = opener.existing_uncollected(&arguments.store)?;
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
