//! Opening a store, and writing many entries to it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use engine::{Db, Entry, ErrorKind, GcPolicy, Options, WriteBatch, key_file};

use crate::escape::unescape;
use crate::exit::{Code, Failure, complain};
use crate::figures::several;

/// Bytes of keys and values after which a batch is committed. A larger value is a batch of its own.
const BATCH_BYTES: u64 = 4 << 20;

/// Longest value of a store in bytes.
pub(crate) const VALUE_LEN_MAX: u64 = (4 << 30) - (128 << 10);

/// Opens stores, with the master key in a file where one was named, and large values in a folder that was.
#[derive(Clone, Debug, Default)]
pub(crate) struct Opener {
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) value_dir: Option<PathBuf>,
}

impl Opener {
    /// A store that is there, for reading only.
    pub(crate) fn for_reading(&self, path: &Path) -> Result<Db, Failure> {
        must_exist(path)?;
        opened(self.complete(Options::new())?.open_read_only(path))
    }

    /// A store for reading and writing, made if it is not there.
    pub(crate) fn or_create(&self, path: &Path, options: Options) -> Result<Db, Failure> {
        opened(self.complete(options)?.open(path))
    }

    /// A store that is there, for reading and writing.
    pub(crate) fn existing(&self, path: &Path) -> Result<Db, Failure> {
        must_exist(path)?;
        opened(self.complete(Options::new().create_if_missing(false))?.open(path))
    }

    /// As [`existing`](Self::existing), but garbage is collected only where the command does it.
    pub(crate) fn existing_uncollected(&self, path: &Path) -> Result<Db, Failure> {
        self.uncollected(path, Options::new())
    }

    /// The same where what is known to be dead may be damaged, as it is made anew.
    pub(crate) fn for_rebuilding(&self, path: &Path) -> Result<Db, Failure> {
        self.uncollected(path, Options::new().forget_damaged_deaths(true))
    }

    fn uncollected(&self, path: &Path, options: Options) -> Result<Db, Failure> {
        must_exist(path)?;
        opened(self.complete(options.create_if_missing(false).gc(GcPolicy::Manual))?.open(path))
    }

    /// Refuses a folder that is, holds or is in the store's, or that of its values: one's files would be taken for the other's.
    pub(crate) fn must_be_apart(&self, store: &Path, folder: &Path) -> Result<(), Failure> {
        must_be_apart("store", store, folder)?;
        self.value_dir.as_ref().map_or(Ok(()), |values| must_be_apart("folder of values", values, folder))
    }

    fn complete(&self, options: Options) -> Result<Options, Failure> {
        let options = match &self.value_dir {
            Some(dir) => options.value_dir(dir),
            None => options,
        };
        match &self.key_file {
            Some(file) => Ok(options.encryption(key_file(file)?)),
            None => Ok(options),
        }
    }
}

/// Tells what opening dropped and warns of: a command that writes ends a torn tail for good, so no later one can.
fn opened(db: engine::Result<Db>) -> Result<Db, Failure> {
    let db = db.map_err(Failure::at_open)?;
    let report = db.recovery_report();
    for tail in &report.dropped {
        let (path, offset, bytes) = (tail.path.display(), tail.offset, several(tail.bytes, "byte", "bytes"));
        complain(&format!("ratel: {path}: dropped {bytes} from offset {offset}: {}", tail.cause));
    }
    report.warnings.iter().for_each(|warning| complain(&format!("ratel: {warning}")));
    Ok(db)
}

fn must_exist(path: &Path) -> Result<(), Failure> {
    match fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::new(Code::Incompatible, format!("{}: there is no store", path.display())))
        }
        Err(error) => Err(Failure::file(path, &error)),
    }
}

/// A key or value as it was typed.
pub(crate) fn typed(what: &str, text: &OsStr) -> Result<Vec<u8>, Failure> {
    unescape(text.as_bytes()).map_err(|error| Failure::usage(format!("{what}: {error}")))
}

/// The bytes of a file, or of standard input where it is called `-`; one more than a value may have at the most.
pub(crate) fn read_value(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(VALUE_LEN_MAX + 1).read_to_end(&mut value)
    } else {
        File::open(path).and_then(|file| file.take(VALUE_LEN_MAX + 1).read_to_end(&mut value))
    };
    read.map_err(|error| Failure::file(path, &error))?;
    Ok(value)
}

fn must_be_apart(what: &str, ours: &Path, folder: &Path) -> Result<(), Failure> {
    let (our_path, folder_path) = (resolved(ours)?, resolved(folder)?);
    if our_path.starts_with(&folder_path) || folder_path.starts_with(&our_path) {
        let (ours, folder) = (ours.display(), folder.display());
        return Err(Failure::usage(format!("the {what} {ours} and the folder {folder} lie in one another")));
    }
    Ok(())
}

/// A path without links as far as it exists. Names that are missing would be made as folders, so a `..` behind one of
/// them leads back to where it will stand.
fn resolved(path: &Path) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(path).map_err(|error| Failure::file(path, &error))?;
    let mut found = PathBuf::new();
    for component in absolute.components() {
        if component == Component::ParentDir {
            found.pop();
            continue;
        }
        found.push(component);
        if let Ok(canonical) = found.canonicalize() {
            found = canonical;
        }
    }
    Ok(found)
}

/// Commits entries in batches of bounded size.
#[derive(Debug)]
pub(crate) struct BatchWriter<'a> {
    db: &'a Db,
    batch: WriteBatch,
}

impl<'a> BatchWriter<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db, batch: WriteBatch::new() }
    }

    /// Adds an entry. The inner error is the reason why the store can never hold such a key or value.
    pub(crate) fn add(&mut self, key: &[u8], value: Vec<u8>, user_meta: u8) -> Result<Result<(), String>, Failure> {
        match self.batch.insert_entry(Entry::new(key, value).user_meta(user_meta)) {
            Ok(()) => Ok(Ok(())),
            Err(error) if error.kind() == ErrorKind::InvalidArgument => Ok(Err(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether it is time to commit.
    pub(crate) fn is_full(&self) -> bool {
        self.batch.size_bytes() >= BATCH_BYTES
    }

    /// Commits what was added; what fails to be committed is gone.
    pub(crate) fn commit(&mut self) -> Result<(), Failure> {
        if !self.batch.is_empty() {
            self.db.write(std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }

    /// Makes everything that was committed durable.
    pub(crate) fn sync(&self) -> Result<(), Failure> {
        Ok(self.db.sync()?)
    }
}
