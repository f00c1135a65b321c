//! What a child tells its parent: records of fixed length, each in one write, so that a kill never tears one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;

const LEN: usize = 24;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The store is open; the newest transaction of a writer that is in it.
    Found { writer: u32, number: u64 },
    /// A transaction was acknowledged.
    Acknowledged { writer: u32, number: u64, version: u64 },
    /// The chosen moment has come; the thread goes no further.
    Stopped,
    /// Something does not hold; standard error says what.
    Wrong,
}

/// Standard output without the buffer that would die with the process.
static PIPE: OnceLock<File> = OnceLock::new();

impl Message {
    /// Sends it to the parent. Once this returns it arrives, whatever becomes of this process.
    pub(crate) fn send_to_parent(self) -> io::Result<()> {
        let pipe = match PIPE.get() {
            Some(pipe) => pipe,
            None => {
                let stdout = io::stdout().as_fd().try_clone_to_owned()?;
                PIPE.get_or_init(|| File::from(stdout))
            }
        };
        self.send(pipe)
    }

    fn send(self, mut to: impl Write) -> io::Result<()> {
        let (kind, writer, number, version) = match self {
            Self::Found { writer, number } => (1, writer, number, 0),
            Self::Acknowledged { writer, number, version } => (2, writer, number, version),
            Self::Stopped => (3, 0, 0, 0),
            Self::Wrong => (4, 0, 0, 0),
        };
        let mut bytes = Vec::with_capacity(LEN);
        bytes.extend_from_slice(&u32::to_le_bytes(kind));
        bytes.extend_from_slice(&writer.to_le_bytes());
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&u64::to_le_bytes(version));
        to.write_all(&bytes)
    }

    /// The next message, or `None` once the sender is gone.
    pub(crate) fn receive(mut from: impl Read) -> io::Result<Option<Self>> {
        let mut bytes = [0; LEN];
        match from.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let word = |at: usize| bytes.get(at..at + 8).and_then(|word| word.first_chunk()).copied().unwrap_or_default();
        let (head, number, version) = (word(0), u64::from_le_bytes(word(8)), u64::from_le_bytes(word(16)));
        let (kind, writer) = (u64::from_le_bytes(head) as u32, (u64::from_le_bytes(head) >> 32) as u32);
        match kind {
            1 => Ok(Some(Self::Found { writer, number })),
            2 => Ok(Some(Self::Acknowledged { writer, number, version })),
            3 => Ok(Some(Self::Stopped)),
            4 => Ok(Some(Self::Wrong)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a message of an unknown kind")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_and_a_torn_one_is_the_end() {
        let sent = [
            Message::Found { writer: 3, number: 77 },
            Message::Acknowledged { writer: u32::MAX, number: 1 << 60, version: 9 },
            Message::Stopped,
            Message::Wrong,
        ];
        let mut bytes = Vec::new();
        for message in sent {
            message.send(&mut bytes).unwrap();
        }
        bytes.extend_from_slice(&[1; LEN - 1]);
        let mut from = &bytes[..];
        for message in sent {
            assert_eq!(Message::receive(&mut from).unwrap(), Some(message));
        }
        assert_eq!(Message::receive(&mut from).unwrap(), None);
    }
}
