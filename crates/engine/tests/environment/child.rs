//! A test in a process of its own: the test binary runs itself anew with that test alone.
//!
//! The child says when it has come to its end, so that a child that ran nothing is no success.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use crate::files::set_mode;

const DIR: &str = "RATEL_ENVIRONMENT_DIR";
const DONE: &str = "the child has come to its end";
/// The user without rights, wherever there is one.
const NOBODY: u32 = 65_534;

const GIVE_UP_RIGHTS: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";

/// Where a child runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// Where its parent does.
    Here,
    /// Without the rights of the superuser, in a directory of its own.
    WithoutRights,
    /// On a file system of its own in memory, with these options.
    Disk(&'static str),
    /// The same without the rights of the superuser, whom no quota holds.
    DiskOfNobody(&'static str),
}

/// Runs `body` in a process of its own, on an empty directory. `test` is the path of the test that calls.
pub(crate) fn in_child(test: &str, place: Place, body: impl FnOnce(&Path)) {
    if let Some(dir) = dir() {
        body(&dir);
        return end();
    }
    let scratch = Scratch::new(test);
    let command = match place {
        Place::Here => Ok(again(test, &scratch.0)),
        Place::WithoutRights => without_rights(test, &scratch.0),
        Place::Disk(options) => on_disk(test, &scratch.0, options, ""),
        Place::DiskOfNobody(options) => on_disk(test, &scratch.0, options, GIVE_UP_RIGHTS),
    };
    match command {
        Ok(command) => print!("{}", run(command)),
        Err(reason) => skip(test, &reason),
    }
}

/// Says that this child has come to its end.
pub(crate) fn end() {
    println!("{DONE}");
}

/// The directory of the child that this process is, if it is one.
pub(crate) fn dir() -> Option<PathBuf> {
    env::var_os(DIR).map(PathBuf::from)
}

/// Says so even where the output of a test that succeeds is not shown.
pub(crate) fn skip(case: &str, reason: &str) {
    std::io::stderr().write_all(format!("skipped: {case}: {reason}\n").as_bytes()).unwrap();
}

/// This program with one test.
pub(crate) fn again(test: &str, dir: &Path) -> Command {
    program(Command::new("/proc/self/exe"), test, dir)
}

fn program(mut command: Command, test: &str, dir: &Path) -> Command {
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(DIR, dir);
    command
}

fn without_rights(test: &str, dir: &Path) -> Result<Command, String> {
    let mut command = again(test, dir);
    let is_superuser = std::os::unix::fs::chown(dir, Some(NOBODY), Some(NOBODY)).is_ok();
    if is_superuser {
        command.uid(NOBODY).gid(NOBODY);
    }
    // Whether the rights are gone is found out by a look at what nobody may see.
    let locked = dir.join("locked");
    fs::create_dir(&locked).map_err(|error| error.to_string())?;
    set_mode(&locked, 0o000);
    let mut probe = Command::new("ls");
    probe.arg(&locked);
    if is_superuser {
        probe.uid(NOBODY).gid(NOBODY);
    }
    let output = probe.output().map_err(|error| format!("no process without rights: {error}"))?;
    fs::remove_dir(&locked).map_err(|error| error.to_string())?;
    if output.status.success() {
        return Err("a process of this user may read everything".into());
    }
    Ok(command)
}

/// In a mount namespace, so that the file system is gone with the child, however that ends.
fn on_disk(test: &str, dir: &Path, options: &str, prefix: &str) -> Result<Command, String> {
    let program_path = env::current_exe().map_err(|error| error.to_string())?;
    let script = format!("mount -t tmpfs -o mode=777,\"$1\" tmpfs \"$2\" && shift 2 && exec {prefix} \"$@\"");
    let mut reasons = Vec::new();
    for rights in [&["--mount"][..], &["--mount", "--user", "--map-root-user"]] {
        let shell = || {
            let mut command = Command::new("unshare");
            command.args(rights).args(["sh", "-c", &script, "sh", options]).arg(dir);
            command
        };
        match shell().args(["test", "-x"]).arg(&program_path).output() {
            Ok(output) if output.status.success() => {
                let mut command = shell();
                command.arg(&program_path);
                return Ok(program(command, test, dir));
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                reasons.push(said.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            Err(error) => reasons.push(error.to_string()),
        }
    }
    reasons.dedup();
    Err(format!("no such file system can be mounted: {}", reasons.join("; ")))
}

/// Runs a child that must come to its end, and returns what it printed.
pub(crate) fn run(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    // A signal is what a fault in a mapping ends with.
    let (code, signal) = (status.code(), status.signal());
    let ended = status.success() && stdout.contains(DONE);
    assert!(ended, "the child ended with code {code:?}, signal {signal:?}:\n{stdout}\n{stderr}");
    std::io::stderr().write_all(stderr.as_bytes()).unwrap();
    stdout.into_owned()
}

/// A directory that every user can reach, removed when the test succeeds.
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(test: &str) -> Self {
        let mut name = OsString::from("ratel-environment-");
        name.push(test.replace("::", "-"));
        name.push(format!("-{}", std::process::id()));
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
