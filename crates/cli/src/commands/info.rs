//! `ratel info`: what a store is made of, and what opening it found.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use engine::{Db, RecoveryReport};

use crate::args::Info;
use crate::escape::escape;
use crate::exit::{Code, Failure};
use crate::figures::{bytes, count, several};
use crate::store::Opener;

/// Characters of a key that a line of the list of tables has room for.
const KEY_WIDTH: usize = 32;

pub(crate) fn run(arguments: &Info, opener: &Opener) -> Result<Code, Failure> {
    let db = opener.for_reading(&arguments.store)?;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = tell_sizes(&db, &mut text)
        .and_then(|()| tell_levels(&db, &mut text))
        .and_then(|()| if arguments.tables { tell_tables(&db, &mut text) } else { Ok(()) })
        .and_then(|()| tell_recovery(db.recovery_report(), &mut text));
    db.close()?;
    io::stdout().lock().write_all(text.as_bytes()).map_err(|error| Failure::output(&error))?;
    Ok(Code::Done)
}

fn tell_sizes(db: &Db, text: &mut String) -> std::fmt::Result {
    let usage = db.size_on_disk();
    writeln!(text, "store       {}", db.path().display())?;
    writeln!(text, "version     {}", db.recovery_report().last_version)?;
    writeln!(text, "size        {}", bytes(usage.total_bytes()))?;
    writeln!(
        text,
        "tables      {} in {}",
        bytes(usage.table_bytes),
        several(db.tables().len() as u64, "table", "tables")
    )?;
    let (live, dead) = (bytes(usage.value_log_bytes), bytes(usage.value_log_dead_bytes));
    writeln!(text, "value log   {live}, of which {dead} are known to be dead")?;
    writeln!(text, "logs        {}", bytes(usage.log_bytes))
}

fn tell_levels(db: &Db, text: &mut String) -> std::fmt::Result {
    for (keyspace, levels) in db.levels() {
        writeln!(text, "\nkeyspace {}", escape(keyspace.as_bytes()))?;
        writeln!(text, "  level  tables        size      target       entries  tombstones")?;
        for level in levels.iter().filter(|level| level.tables > 0) {
            let target = if level.target_bytes == 0 { "-".to_owned() } else { bytes(level.target_bytes) };
            let (entries, tombstones) = (count(level.entries), count(level.tombstones));
            let (number, tables, size) = (level.level, level.tables, bytes(level.bytes));
            writeln!(text, "  L{number}     {tables:>7} {size:>11} {target:>11} {entries:>13} {tombstones:>11}")?;
        }
    }
    Ok(())
}

fn tell_tables(db: &Db, text: &mut String) -> std::fmt::Result {
    writeln!(text, "\ntables")?;
    for table in db.tables() {
        let name = table.path.file_name().unwrap_or_default().display();
        let (first, last) = (shortened(&table.first_key), shortened(&table.last_key));
        let (size, entries) = (bytes(table.bytes), several(table.entries, "entry", "entries"));
        let (keyspace, level) = (escape(table.keyspace.as_bytes()), table.level);
        writeln!(text, "  {name}  {keyspace} L{level}  {size}, {entries}, {first} to {last}")?;
    }
    Ok(())
}

fn shortened(key: &[u8]) -> String {
    let text = escape(key);
    match text.char_indices().nth(KEY_WIDTH) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn tell_recovery(report: &RecoveryReport, text: &mut String) -> std::fmt::Result {
    let ended = if report.clean_shutdown { "in order" } else { "without being closed" };
    writeln!(text, "\nlast run    ended {ended}")?;
    let (logs, commits) = (several(report.logs as u64, "log", "logs"), several(report.commits, "commit", "commits"));
    writeln!(text, "replayed    {commits} from {logs}")?;
    writeln!(text, "dropped     {}", several(report.dropped_bytes(), "byte", "bytes"))?;
    for tail in &report.dropped {
        let (path, offset) = (tail.path.display(), tail.offset);
        writeln!(text, "  {path} from offset {offset}: {}, {}", several(tail.bytes, "byte", "bytes"), tail.cause)?;
    }
    if report.unreferenced_values > 0 {
        let values = several(report.unreferenced_values, "value", "values");
        writeln!(text, "left over   {values} that no commit points to, {}", bytes(report.unreferenced_bytes))?;
    }
    report.warnings.iter().try_for_each(|warning| writeln!(text, "warning     {warning}"))
}
