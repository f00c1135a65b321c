//! How the tool ends: one code for each thing that a script would want to tell apart.

use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;

use engine::ErrorKind;

/// The exit code, as the README's table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// Everything was done.
    Done = 0,
    /// A file could not be read or written, or the store could not do what was asked.
    Failed = 1,
    /// The arguments or the input are wrong.
    Usage = 2,
    /// The key is not there.
    NotFound = 3,
    /// Some files or keys were left out, each of them named; the rest was done.
    Partial = 4,
    /// The store is damaged.
    Corrupt = 5,
    /// Another process has the store open.
    Locked = 6,
    /// There is no store, or one of another program or version.
    Incompatible = 7,
    /// The disk is full.
    NoSpace = 8,
    /// The key of an encrypted store is missing or wrong.
    Key = 9,
}

/// Why a command ended early: what to say and how to end.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    message: String,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// A store that could not be opened. What the tool passes is in range, so an invalid argument is a wrong folder.
    pub(crate) fn at_open(error: engine::Error) -> Self {
        let damaged = error.corruption().and_then(|corruption| corruption.path.extension());
        match error.kind() {
            _ if damaged.is_some_and(|kind| kind == "dead" || kind == "deaths") => {
                Self::new(Code::Corrupt, format!("{error}; `ratel vlog rebuild` makes anew what is known to be dead"))
            }
            ErrorKind::InvalidArgument => Self::new(Code::Incompatible, error.to_string()),
            _ => error.into(),
        }
    }

    /// A failed operation on a file that is not the store's.
    pub(crate) fn file(path: &Path, error: &io::Error) -> Self {
        Self::new(code_of(error), format!("{}: {error}", path.display()))
    }

    /// A failed write to standard output.
    pub(crate) fn output(error: &io::Error) -> Self {
        // Whoever read this has seen enough.
        let code = if error.kind() == io::ErrorKind::BrokenPipe { Code::Done } else { code_of(error) };
        Self::new(code, format!("standard output: {error}"))
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }
}

/// Prints a line of result on standard output.
///
/// # Errors
/// When it cannot be written, unless the reader has gone: it has seen enough.
pub(crate) fn say(line: &str) -> Result<(), Failure> {
    let failure = writeln!(io::stdout(), "{line}").map_err(|error| Failure::output(&error));
    failure.or_else(|failure| if failure.code() == Code::Done { Ok(()) } else { Err(failure) })
}

/// Prints a line on standard error; where that cannot be written either, there is nobody to tell.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn code_of(error: &io::Error) -> Code {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::NoSpace,
        _ => Code::Failed,
    }
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        let code = match error.kind() {
            ErrorKind::InvalidArgument => Code::Usage,
            ErrorKind::Corruption => Code::Corrupt,
            ErrorKind::Locked => Code::Locked,
            ErrorKind::Incompatible => Code::Incompatible,
            ErrorKind::NoSpace => Code::NoSpace,
            ErrorKind::Encryption => Code::Key,
            _ => Code::Failed,
        };
        Self::new(code, error.to_string())
    }
}

impl From<bitcask::Error> for Failure {
    fn from(error: bitcask::Error) -> Self {
        let code = match &error {
            bitcask::Error::Locked { .. } => Code::Locked,
            error if error.is_corruption() => Code::Corrupt,
            error if error.is_incompatible() => Code::Incompatible,
            error if error.is_no_space() => Code::NoSpace,
            _ => Code::Failed,
        };
        Self::new(code, error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
