//! A folder of its own for each test, and the tool run in it.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder that is removed when the test succeeds.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

/// How a run of the tool ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Folder {
    /// Empty, and called as the test is.
    pub(crate) fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}", std::process::id()));
        if path.exists() {
            fs::remove_dir_all(&path).unwrap();
        }
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Runs the tool in this folder, with nothing on its standard input.
    pub(crate) fn ratel<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Run {
        self.ratel_with_input(arguments, b"")
    }

    pub(crate) fn ratel_with_input<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I, input: &[u8]) -> Run {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        // The tool may end without reading it.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        Run {
            code: output.status.code().expect("the tool was not killed"),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub(crate) fn command<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ratel"));
        command.args(arguments).current_dir(&self.0).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Run {
    /// Fails the test unless the run ended so.
    #[track_caller]
    pub(crate) fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is not said: {}", self.stderr);
        self
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("printed text is UTF-8")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // What is left is in the build's own folder.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// What `diff` says of two folders: nothing where they are the same.
pub(crate) fn difference(one: &Path, other: &Path) -> String {
    let output = Command::new("diff").args(["-r", "--no-dereference"]).arg(one).arg(other).output().expect("diff runs");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Tells of a case that this machine cannot stage, past what the test harness captures.
#[expect(clippy::explicit_write, reason = "`eprintln!` is captured")]
pub(crate) fn skipped(case: &str) {
    writeln!(std::io::stderr(), "skipped: {case}").unwrap();
}
