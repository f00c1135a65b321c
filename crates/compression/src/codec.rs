//! How bytes are compressed, and what tells so.

/// Longest bytes that are compressed; longer ones stay raw. So no reader allocates more for one.
pub const RAW_LEN_MAX: usize = 16 << 20;

/// Bytes of the raw length in front of what a codec made.
pub const RAW_LEN_LEN: usize = 4;

/// What a store is asked to do with its bytes. Whatever it says, bytes stay raw where compression saves too little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Raw: read in place.
    #[default]
    None,
    /// Snappy: about 1 GB/s to write, several to read.
    Snappy,
    /// Zstandard: denser and slower.
    Zstd {
        /// 1 (fast) to 22 (dense).
        level: i32,
    },
    /// Chosen each time: raw below 1 KiB, else Snappy or Zstandard by the entropy of a sample; raw where that saves little.
    Adaptive,
}

/// How bytes are stored; the numbers are part of the formats on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// As they are.
    Raw = 0,
    /// Snappy's raw format.
    Snappy = 1,
    /// One Zstandard frame.
    Zstd = 2,
}

impl Codec {
    /// The codec of a number on disk; `None` where a newer program wrote it.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Raw,
            1 => Self::Snappy,
            2 => Self::Zstd,
            _ => return None,
        })
    }
}
