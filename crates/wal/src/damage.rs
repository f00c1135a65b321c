//! What a reader finds where whole bytes should be, and how a log ends.

use std::path::Path;

use base::Corruption;

/// Why bytes of a log are not a whole record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The file's header is not whole, so that nothing behind it can be checked.
    #[error("the file header is not whole")]
    Header,
    /// The file ends within a fragment, or within a record of several.
    #[error("the file ends within a record")]
    Cut,
    /// Zeros where a record starts or goes on, with written bytes behind them.
    #[error("a hole of zeros within written bytes")]
    Hole,
    /// Bytes that are not zero where a block is padded.
    #[error("the padding of a block is not zero")]
    Padding,
    /// A fragment's checksum is wrong.
    #[error("checksum mismatch in a fragment (expected {expected:08x}, found {found:08x})")]
    Checksum {
        /// What the bytes add up to.
        expected: u32,
        /// What the fragment says.
        found: u32,
    },
    /// A fragment's length is zero or reaches past its block.
    #[error("a fragment's length of {0} does not fit its block")]
    Length(u16),
    /// A fragment's type is unknown.
    #[error("unknown fragment type {0}")]
    Type(u8),
    /// A fragment belongs to another log.
    #[error("a fragment of another log (expected number {expected}, found {found}; low 32 bits)")]
    LogNumber {
        /// Low 32 bits of this log's number.
        expected: u32,
        /// What the fragment says.
        found: u32,
    },
    /// A whole fragment at a place where its type cannot stand.
    #[error("a fragment out of sequence")]
    Sequence,
    /// A record's synced offsets do not decode, or claim bytes that come after them.
    #[error("synced offsets that cannot be")]
    SyncedOffsets,
    /// A sealed fragment whose checksum is right and whose tag is not.
    #[error("a sealed fragment does not match its tag")]
    Tampered,
    /// A sealed fragment of a log whose header, which tells the key, is lost.
    #[error("a sealed fragment whose key is not known without the file header")]
    KeyLost,
    /// A record of several fragments passes the length limit.
    #[error("a record over the limit of {0} bytes")]
    RecordTooLong(u64),
}

impl Damage {
    /// The same as an error, where the damaged bytes had been durable.
    pub(crate) fn at(&self, path: &Path, offset: u64) -> Corruption {
        match self {
            Self::Checksum { expected, found } => Corruption::new(path, offset, "checksum of a fragment")
                .with_values(format_args!("{expected:08x}"), format_args!("{found:08x}")),
            Self::LogNumber { expected, found } => {
                Corruption::new(path, offset, "log number of a fragment, low 32 bits").with_values(expected, found)
            }
            _ => Corruption::new(path, offset, self.to_string()),
        }
    }
}

/// Where and how a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogEnd {
    /// End of the last whole record (of the closing record, if there is one), in bytes from the start of the file:
    /// where a recovered log is to be cut.
    pub offset: u64,
    /// How it ends.
    pub kind: EndKind,
    /// Bytes from `offset` to the last one that is not zero: what recovery drops. 0 for a clean end.
    pub dropped_bytes: u64,
}

/// How a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndKind {
    /// With a closing record: nothing is missing.
    Closed,
    /// With a whole record, and then the end of the file or nothing but zeros: its writer was not closed.
    Unclosed,
    /// Within bytes that are not a whole record and were not known to be durable.
    Torn(Damage),
}

/// A stretch that a salvage reader passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Skipped {
    /// Where it starts, in bytes from the start of the file.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// What was wrong first.
    pub cause: Damage,
}
