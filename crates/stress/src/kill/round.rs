//! One round: a child is started, and killed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::kill::Place;
use crate::kill::child::{Portion, StopAt};
use crate::kill::expected::{Expected, Flaw};
use crate::kill::message::Message;
use crate::kill::status::phases_at_death;

/// How a child is started and when it is killed.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    pub(crate) program: &'a Path,
    pub(crate) place: Place<'a>,
    pub(crate) seed: u64,
    /// Killed then at the latest.
    pub(crate) delay: Duration,
    /// Killed once it has stopped there.
    pub(crate) stop_at: Option<StopAt>,
}

/// What a round came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Killed {
    /// Transactions that were acknowledged.
    pub(crate) acknowledged: u64,
    /// The phases that threads were in.
    pub(crate) phases: u16,
}

impl Round<'_> {
    fn status_path(&self) -> PathBuf {
        self.place.dir.join("status")
    }

    /// Starts the child, kills it, and takes all that it said into account.
    pub(crate) fn run(&self, expected: &mut Expected) -> Result<Killed, Flaw> {
        let mut child = self.start().map_err(|error| Flaw::Wrong(format!("the child does not start: {error}")))?;
        let (send, receive) = crossbeam_channel::unbounded();
        let stdout = child.stdout.take();
        let reader = thread::spawn(move || stdout.map_or(Ok(()), |stdout| forward(stdout, &send)));
        expected.begin_run();
        let mut killed = Killed::default();
        let outcome = self.listen(&receive, expected, &mut killed);
        // All that is left in the pipe counts: it was sent before the kill.
        let ended = kill(&mut child);
        let left = receive.iter().try_for_each(|message| take(message, expected, &mut killed).map(drop));
        outcome.and(left)?;
        match (ended, reader.join()) {
            (Ok(()), Ok(Ok(()))) => {}
            (ended, read) => return Err(Flaw::Wrong(format!("the child cannot be followed: {ended:?}, {read:?}"))),
        }
        killed.phases = phases_at_death(&self.status_path()).unwrap_or_default();
        Ok(killed)
    }

    fn start(&self) -> io::Result<Child> {
        // A child that dies before it makes its own has been in no phase.
        match fs::remove_file(self.status_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut command = Command::new(self.program);
        command.arg("child").arg(self.place.dir).arg("--status").arg(self.status_path());
        command.arg("--seed").arg(self.seed.to_string());
        if self.place.encrypted {
            command.arg("--encrypted");
        }
        if let Some(StopAt { phase, step, portion }) = self.stop_at {
            let portion = match portion {
                Portion::None => "none",
                Portion::Half => "half",
                Portion::All => "all",
            };
            command.arg("--stop-at").arg(format!("{phase}:{step}:{portion}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
    }

    /// Takes messages until the moment of the kill.
    fn listen(&self, messages: &Receiver<Message>, expected: &mut Expected, killed: &mut Killed) -> Result<(), Flaw> {
        let deadline = Instant::now() + self.delay;
        loop {
            match messages.recv_deadline(deadline) {
                Ok(message) if take(message, expected, killed)? => return Ok(()),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Flaw::Wrong("the child has ended by itself".to_owned()));
                }
            }
        }
    }
}

/// Takes one message into account; `true` if the child has stopped.
fn take(message: Message, expected: &mut Expected, killed: &mut Killed) -> Result<bool, Flaw> {
    match message {
        Message::Found { writer, number } => expected.found(writer, number)?,
        Message::Acknowledged { writer, number, version } => {
            expected.acknowledged(writer, number, version)?;
            killed.acknowledged += 1;
        }
        Message::Stopped => return Ok(true),
        Message::Wrong => return Err(Flaw::Wrong("the child says that something does not hold".to_owned())),
    }
    Ok(false)
}

fn forward(mut from: ChildStdout, to: &Sender<Message>) -> io::Result<()> {
    while let Some(message) = Message::receive(&mut from)? {
        if to.send(message).is_err() {
            break;
        }
    }
    Ok(())
}

fn kill(child: &mut Child) -> io::Result<()> {
    child.kill()?;
    child.wait().map(drop)
}
