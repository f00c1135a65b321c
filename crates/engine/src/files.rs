//! Names of the files of a store that the engine itself owns.

use std::path::{Path, PathBuf};

use base::LogNumber;

const LOG_EXTENSION: &str = "wal";

/// Where a store's files are.
#[derive(Clone, Debug)]
pub(crate) struct StoreFiles {
    pub(crate) dir: PathBuf,
    pub(crate) value_dir: PathBuf,
}

impl StoreFiles {
    pub(crate) fn new(dir: &Path, value_dir: Option<&Path>) -> Self {
        Self { dir: dir.to_owned(), value_dir: value_dir.map_or_else(|| dir.join("vlog"), Path::to_owned) }
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join("LOCK")
    }

    /// The lock of a value log that lives in a folder of its own.
    pub(crate) fn value_lock(&self) -> PathBuf {
        self.value_dir.join("LOCK")
    }

    pub(crate) fn has_own_value_dir(&self) -> bool {
        !self.value_dir.starts_with(&self.dir)
    }

    pub(crate) fn current(&self) -> PathBuf {
        self.dir.join("CURRENT")
    }

    pub(crate) fn log(&self, number: LogNumber) -> PathBuf {
        self.dir.join(format!("{:06}.{LOG_EXTENSION}", number.0))
    }
}

/// The number in the name of a log file.
pub(crate) fn log_number(name: &Path) -> Option<LogNumber> {
    let is_log = name.extension().is_some_and(|extension| extension == LOG_EXTENSION);
    let digits = name.file_stem()?.to_str()?;
    let canonical = digits.len() >= 6 && digits.bytes().all(|digit| digit.is_ascii_digit());
    (is_log && canonical).then(|| digits.parse().ok().map(LogNumber)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_names_come_back_and_others_are_none() {
        let files = StoreFiles::new(Path::new("/s"), None);
        for number in [1, 999_999, 1_000_000] {
            let path = files.log(LogNumber(number));
            assert_eq!(log_number(Path::new(path.file_name().unwrap())), Some(LogNumber(number)));
        }
        for name in ["1.wal", "00000a.wal", "000001.sst", "000001.wal.tmp", "wal", ".wal", "+00001.wal"] {
            assert_eq!(log_number(Path::new(name)), None, "{name}");
        }
    }
}
