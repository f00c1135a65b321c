//! `ratel verify`: reads every entry and every value that one points to, and compares all checksums on the way.

use std::time::Instant;

use engine::VerifyOptions;

use crate::args::Store;
use crate::exit::{Code, Failure, say};
use crate::figures::{bytes, rate, several};
use crate::progress::Progress;
use crate::store::Opener;

pub(crate) fn run(arguments: &Store, opener: &Opener) -> Result<Code, Failure> {
    let started = Instant::now();
    let db = opener.for_reading(&arguments.store)?;
    let progress = Progress::new("verifying");
    progress.tell(bytes(db.size_on_disk().total_bytes()));
    let report = db.verify(VerifyOptions::new())?;
    drop(progress);
    db.close()?;
    let took = started.elapsed();
    say(&format!(
        "verified {} with {} ({}) and {} in the value log ({}): no damage, {:.2} s ({})",
        several(report.tables, "table", "tables"),
        several(report.entries, "entry", "entries"),
        bytes(report.table_bytes),
        several(report.values, "value", "values"),
        bytes(report.value_bytes),
        took.as_secs_f64(),
        rate(report.table_bytes + report.value_bytes, took),
    ))?;
    Ok(Code::Done)
}
