//! `ratel bitcask`: looks into a Bitcask store, and merges one that nobody has open.

use std::io::{self, Write};
use std::path::Path;

use bitcask::{Bitcask, Error, MergeWindow, Options};

use crate::args::{BitcaskCommand, BitcaskMerge};
use crate::escape::escape;
use crate::exit::{Code, Failure, complain, say};
use crate::figures::{bytes, several};
use crate::store::typed;

pub(crate) fn run(command: &BitcaskCommand) -> Result<Code, Failure> {
    match command {
        BitcaskCommand::Merge(arguments) => merge(arguments),
        BitcaskCommand::List(arguments) => list(&arguments.store),
        BitcaskCommand::Get(arguments) => get(&arguments.store, &typed("key", &arguments.key)?),
    }
}

fn merge(arguments: &BitcaskMerge) -> Result<Code, Failure> {
    let store = open(&arguments.store, false)?;
    let report = if !arguments.if_needed || store.needs_merge() { store.merge()? } else { Default::default() };
    store.close()?;
    let (files, dead) = (several(report.files, "file", "files"), several(report.dead_records, "record", "records"));
    say(&format!("looked at {files}, found {dead} dead, gave back {}", bytes(report.freed_bytes)))?;
    Ok(Code::Done)
}

fn list(dir: &Path) -> Result<Code, Failure> {
    let store = open(dir, true)?;
    let mut output = io::BufWriter::new(io::stdout().lock());
    let lines = store.list_keys().try_for_each(|key| writeln!(output, "{}", escape(&key)));
    lines.and_then(|()| output.flush()).map_err(|error| Failure::output(&error))?;
    Ok(Code::Done)
}

fn get(dir: &Path, key: &[u8]) -> Result<Code, Failure> {
    let store = open(dir, true)?;
    let Some(value) = store.get(key)? else {
        return Err(Failure::new(Code::NotFound, format!("{}: there is no such key", escape(key))));
    };
    let mut output = io::stdout().lock();
    output.write_all(&value).and_then(|()| output.flush()).map_err(|error| Failure::output(&error))?;
    Ok(Code::Done)
}

/// Opens a store that is there, and tells what opening dropped.
fn open(dir: &Path, read_only: bool) -> Result<Bitcask, Failure> {
    let merge_window = MergeWindow::Never;
    let options = Options { create_if_missing: false, read_only, merge_window, ..Options::default() };
    let store = Bitcask::open(dir, options).map_err(|error| match error {
        // What is passed here is in range, so it is the folder.
        Error::InvalidArgument(_) => Failure::new(Code::Incompatible, format!("{}: {error}", dir.display())),
        other => other.into(),
    })?;
    for tail in &store.recovery().torn_tails {
        let (path, offset) = (tail.path.display(), tail.offset);
        let dropped = several(tail.dropped_bytes, "byte", "bytes");
        complain(&format!("ratel: {path}: dropped {dropped} from offset {offset}: {}", tail.cause));
    }
    for hint in &store.recovery().lost_hints {
        complain(&format!("ratel: {}: cannot be used, the records were read instead", hint.display()));
    }
    Ok(store)
}
