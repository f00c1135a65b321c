//! `ratel import`: the files of a folder, or the entries of a text file, become entries of the store.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;
use std::time::Instant;

use engine::{Compression, Db, Options};

use crate::args::{Codec, Import};
use crate::exit::{Code, Failure, say};
use crate::figures;
use crate::left_out::LeftOut;
use crate::lines::{Format, Lines};
use crate::marker::Marker;
use crate::progress::Progress;
use crate::store::{BatchWriter, Opener, VALUE_LEN_MAX};
use crate::walk::{Found, Walk};

const READ_BUFFER_BYTES: usize = 1 << 20;

/// Zstandard's own default.
const ZSTD_LEVEL: i32 = 3;

pub(crate) fn run(arguments: &Import, opener: &Opener) -> Result<Code, Failure> {
    let started = Instant::now();
    let source = Source::open(arguments, opener)?;
    let mut options = Options::new();
    if let Some(codec) = arguments.compression {
        options = options.compression(compression(codec));
    }
    if let Some(codec) = arguments.value_compression {
        options = options.value_compression(compression(codec));
    }
    let db = opener.or_create(&arguments.store, options)?;
    let mut work = Work::new(&db);
    let ((one, many), read) = match source {
        Source::Folder(walk) => (("file", "files"), work.import_folder(walk)),
        Source::Lines(lines) => (("entry", "entries"), work.import_lines(lines)),
    };
    // What was read before a bad line is stored, and counted; what was left out is named however it ended.
    let stored = work.finish();
    let Work { totals, left_out, progress, .. } = work;
    drop(progress);
    let closed = db.close();
    let code = left_out.report(one, many);
    let told = if stored.is_ok() && closed.is_ok() { totals.tell(started) } else { Ok(()) };
    read.and(stored)?;
    closed?;
    told?;
    Ok(code)
}

fn compression(codec: Codec) -> Compression {
    match codec {
        Codec::None => Compression::None,
        Codec::Snappy => Compression::Snappy,
        Codec::Zstd => Compression::Zstd { level: ZSTD_LEVEL },
        Codec::Adaptive => Compression::Adaptive,
    }
}

/// Where entries come from; opened before the store, so that a wrong name leaves no empty store behind.
enum Source {
    Folder(Walk),
    Lines(Lines<Box<dyn BufRead>>),
}

impl Source {
    fn open(arguments: &Import, opener: &Opener) -> Result<Self, Failure> {
        if let Some(dir) = &arguments.dir {
            opener.must_be_apart(&arguments.store, dir)?;
            return Walk::new(dir).map(Self::Folder).map_err(|error| Failure::file(dir, &error));
        }
        let (path, format) = match (&arguments.tsv, &arguments.jsonl) {
            (Some(path), _) => (path, Format::Tsv),
            (None, Some(path)) => (path, Format::Jsonl),
            (None, None) => return Err(Failure::usage("nothing to import")),
        };
        let input: Box<dyn BufRead> = if path == Path::new("-") {
            Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, io::stdin()))
        } else {
            let file = File::open(path).map_err(|error| Failure::file(path, &error))?;
            Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, file))
        };
        Ok(Self::Lines(Lines::new(input, format)))
    }
}

/// An import under way.
struct Work<'a> {
    writer: BatchWriter<'a>,
    /// What the writer has, but has not committed.
    pending: Totals,
    /// What was committed.
    totals: Totals,
    left_out: LeftOut,
    progress: Progress,
}

impl<'a> Work<'a> {
    fn new(db: &'a Db) -> Self {
        Self {
            writer: BatchWriter::new(db),
            pending: Totals::default(),
            totals: Totals::default(),
            left_out: LeftOut::default(),
            progress: Progress::new("importing"),
        }
    }

    fn import_folder(&mut self, walk: Walk) -> Result<(), Failure> {
        for found in walk {
            match found {
                Found::File { key, file, kind } => match read(file) {
                    Ok(value) => self.add(&key, value, kind.user_meta(), Item::File)?,
                    Err(error) => self.left_out.add(&key, &error.to_string()),
                },
                Found::Link { key, target } => self.add(&key, target, Marker::Link.user_meta(), Item::Link)?,
                Found::EmptyFolder { key } => {
                    self.add(&key, Vec::new(), Marker::EmptyFolder.user_meta(), Item::EmptyFolder)?;
                }
                Found::Unfit { key, reason } => self.left_out.add(&key, &reason),
            }
        }
        Ok(())
    }

    fn import_lines(&mut self, lines: Lines<Box<dyn BufRead>>) -> Result<(), Failure> {
        for record in lines {
            let record = record.map_err(|error| Failure::usage(error.to_string()))?;
            self.add(&record.key, record.value, record.user_meta, Item::Entry)?;
        }
        Ok(())
    }

    /// Takes an entry, or notes it as left out.
    fn add(&mut self, key: &[u8], value: Vec<u8>, user_meta: u8, item: Item) -> Result<(), Failure> {
        let len = value.len() as u64;
        match self.writer.add(key, value, user_meta)? {
            Ok(()) => {
                self.pending.count(item, len);
                self.progress.add(len);
            }
            Err(reason) => self.left_out.add(key, &reason),
        }
        if self.writer.is_full() { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<(), Failure> {
        let pending = std::mem::take(&mut self.pending);
        self.writer.commit()?;
        self.totals.add(&pending);
        Ok(())
    }

    /// Commits the rest and makes everything durable.
    fn finish(&mut self) -> Result<(), Failure> {
        self.commit()?;
        self.writer.sync()
    }
}

fn read(file: File) -> io::Result<Vec<u8>> {
    let len = file.metadata()?.len();
    if len > VALUE_LEN_MAX {
        return Err(io::Error::other(format!("{len} bytes are over the limit of {VALUE_LEN_MAX}")));
    }
    let mut value = Vec::new();
    value.try_reserve_exact(usize::try_from(len).unwrap_or(usize::MAX))?;
    // A file that grows meanwhile is read to the limit and one byte, which the store then refuses.
    file.take(VALUE_LEN_MAX + 1).read_to_end(&mut value)?;
    Ok(value)
}

/// What an entry is counted as.
#[derive(Clone, Copy, Debug)]
enum Item {
    Entry,
    File,
    Link,
    EmptyFolder,
}

/// What was imported.
#[derive(Debug, Default)]
struct Totals {
    entries: u64,
    files: u64,
    links: u64,
    empty_folders: u64,
    bytes: u64,
}

impl Totals {
    fn count(&mut self, item: Item, len: u64) {
        self.bytes += len;
        match item {
            Item::Entry => self.entries += 1,
            Item::File => self.files += 1,
            Item::Link => self.links += 1,
            Item::EmptyFolder => self.empty_folders += 1,
        }
    }

    fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.files += other.files;
        self.links += other.links;
        self.empty_folders += other.empty_folders;
        self.bytes += other.bytes;
    }

    fn tell(&self, started: Instant) -> Result<(), Failure> {
        let took = started.elapsed();
        let counts = [
            (self.files, "file", "files"),
            (self.links, "link", "links"),
            (self.empty_folders, "empty folder", "empty folders"),
            (self.entries, "entry", "entries"),
        ];
        let parts: Vec<String> = counts
            .into_iter()
            .filter(|(number, ..)| *number > 0)
            .map(|(number, one, many)| figures::several(number, one, many))
            .collect();
        let what = if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") };
        let (size, rate) = (figures::bytes(self.bytes), figures::rate(self.bytes, took));
        say(&format!("imported {what}: {size} in {:.2} s ({rate})", took.as_secs_f64()))
    }
}
