//! `ratel export`: every entry becomes a file, link or empty folder below one folder, and nowhere else.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::time::Instant;

use engine::{Db, Read, ScanOptions};

use crate::args::Export;
use crate::escape::escape;
use crate::exit::{Code, Failure, say};
use crate::figures;
use crate::file_name::{FileNames, LIST_NAME};
use crate::left_out::LeftOut;
use crate::marker::Marker;
use crate::output::{Output, Refusal};
use crate::progress::Progress;
use crate::store::Opener;

pub(crate) fn run(arguments: &Export, opener: &Opener) -> Result<Code, Failure> {
    let started = Instant::now();
    opener.must_be_apart(&arguments.store, &arguments.dir)?;
    let db = opener.for_reading(&arguments.store)?;
    let output = Output::create(&arguments.dir).map_err(|error| Failure::file(&arguments.dir, &error))?;
    // Now that it is there for sure, and before anything is written to it.
    opener.must_be_apart(&arguments.store, &arguments.dir)?;
    let names = arguments.escape.then(FileNames::default);
    let mut work = Work { output, names, list: None, left_out: LeftOut::default(), written: 0, bytes: 0 };
    let exported = work.export(&db, arguments);
    // What was refused is named however it ended.
    let code = work.left_out.report("key", "keys");
    exported?;
    db.close()?;
    let took = started.elapsed();
    let (entries, size) = (figures::several(work.written, "entry", "entries"), figures::bytes(work.bytes));
    let rate = figures::rate(work.bytes, took);
    say(&format!("exported {entries}: {size} in {:.2} s ({rate})", took.as_secs_f64()))?;
    Ok(code)
}

/// An export under way.
struct Work {
    output: Output,
    /// With `--escape`: what keys are called.
    names: Option<FileNames>,
    /// The list of names that were cut, once there is one.
    list: Option<File>,
    left_out: LeftOut,
    written: u64,
    bytes: u64,
}

impl Work {
    fn export(&mut self, db: &Db, arguments: &Export) -> Result<(), Failure> {
        let mut progress = Progress::new("exporting");
        for item in db.snapshot().scan(ScanOptions::new().fill_cache(false)) {
            let item = item?;
            let value = item.value()?;
            let kind = Marker::of(item.user_meta());
            match self.write(item.key(), kind, &value) {
                Ok(()) => {
                    self.written += 1;
                    self.bytes += value.len() as u64;
                    progress.add(value.len() as u64);
                }
                Err(refusal) => self.note(arguments, item.key(), refusal)?,
            }
        }
        Ok(())
    }

    fn write(&mut self, key: &[u8], kind: Marker, value: &[u8]) -> Result<(), Refusal> {
        let Some(names) = &mut self.names else { return self.output.write(key, kind, value) };
        let name = names.name(key);
        if name.is_cut {
            self.list(&name.text, key)?;
        }
        let name = name.text.as_bytes();
        match self.output.write(name, kind, value) {
            // Neither a link nor an empty folder: a file then, which can hold any value.
            Err(Refusal::Value(_)) => self.output.write(name, Marker::File, value),
            // Some file systems take only shorter links.
            Err(Refusal::Io(error)) if kind == Marker::Link && error.kind() == ErrorKind::InvalidFilename => {
                self.output.write(name, Marker::File, value)
            }
            result => result,
        }
    }

    /// Lists a name that was cut. A key whose name cannot be listed is refused: its file would be nobody's.
    fn list(&mut self, name: &str, key: &[u8]) -> Result<(), Refusal> {
        let list = match &mut self.list {
            Some(list) => list,
            None => self.list.insert(self.output.create_file(LIST_NAME)?),
        };
        // In one call, so that no line is left half-written by anything but a full disk.
        Ok(list.write_all(format!("{name}\t{}\n", escape(key)).as_bytes())?)
    }

    /// Notes a key that was refused, unless no later one can fare better.
    fn note(&mut self, arguments: &Export, key: &[u8], refusal: Refusal) -> Result<(), Failure> {
        match refusal {
            Refusal::Io(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                Err(Failure::file(&arguments.dir, &error))
            }
            refusal => {
                self.left_out.add(key, &refusal.to_string());
                Ok(())
            }
        }
    }
}
