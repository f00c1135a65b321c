//! One command of a chore: told, run, timed.

use std::env;
use std::fmt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use crate::root;

/// A command to run from the root of the workspace, or from the caller's folder.
#[derive(Debug)]
pub(crate) struct Step {
    name: &'static str,
    command: Command,
}

/// Why a chore ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments were wrong.
    Usage(String),
    /// A step could not run, or ended with this code.
    Step { name: &'static str, cause: String, code: Option<u8> },
}

/// A step that runs cargo itself, the one that runs this program.
pub(crate) fn cargo(name: &'static str) -> Step {
    Step::new(name, &env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
}

/// A step that builds and runs a program of the workspace in the caller's folder, so that a path among the arguments
/// means what it means to the caller.
pub(crate) fn program(name: &'static str, package: &str) -> Step {
    let mut step = cargo(name).args(["run", "--quiet", "--release", "--package", package, "--manifest-path"]);
    step.command.arg(root().join("Cargo.toml"));
    step.current_dir(Path::new("."))
}

impl Step {
    pub(crate) fn new(name: &'static str, program: &str) -> Self {
        let mut command = Command::new(program);
        command.current_dir(root());
        Self { name, command }
    }

    pub(crate) fn args<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn current_dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Runs the step; its output goes where this program's goes.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        let status = self.command.status();
        self.judge(status)
    }

    /// Runs the step and returns what it wrote to its standard output.
    pub(crate) fn output(mut self) -> Result<String, Failure> {
        match self.command.stderr(Stdio::inherit()).output() {
            Ok(output) => {
                self.judge(Ok(output.status))?;
                Ok(String::from_utf8_lossy(&output.stdout).into_owned())
            }
            Err(error) => self.judge(Err(error)).map(|()| String::new()),
        }
    }

    /// Whether the command can be run at all; prints nothing.
    pub(crate) fn succeeds_silently(mut self) -> bool {
        let status = self.command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    fn judge(&self, status: std::io::Result<ExitStatus>) -> Result<(), Failure> {
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => {
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                Err(Failure::Step { name: self.name, cause: status.to_string(), code })
            }
            Err(error) => {
                let program = self.command.get_program().to_string_lossy();
                Err(Failure::step(self.name, format!("cannot run {program}: {error}")))
            }
        }
    }
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub(crate) fn step(name: &'static str, cause: impl Into<String>) -> Self {
        Self::Step { name, cause: cause.into(), code: None }
    }

    /// The code to end with: the step's own where it had one, so that scripts see through this program.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Step { code, .. } => code.filter(|code| *code != 0).unwrap_or(1),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) => f.write_str(message),
            Self::Step { name, cause, .. } => write!(f, "{name} failed: {cause}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_finds_paths_where_its_caller_does() {
        let folder = |step: Step| step.command.get_current_dir().map(std::path::Path::to_owned);
        assert_eq!(folder(program("soak", "stress")).as_deref(), Some(Path::new(".")));
        assert_eq!(folder(cargo("tests")).as_deref(), Some(root()));
    }
}
