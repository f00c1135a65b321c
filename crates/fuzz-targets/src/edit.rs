//! What the targets share: damage done to a file that was whole.

use arbitrary::Arbitrary;
use base::rng::Rng;

/// Longest file that a target builds or takes, in bytes.
pub(crate) const FILE_LEN_MAX: usize = 512 << 10;

/// One change of a file's bytes.
///
/// None of them sets chosen bytes: a fuzzer that could would soon forge a checksum, which no reader can see.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Edit {
    /// Flips bits of one byte.
    Flip {
        /// Where, modulo the length.
        at: u32,
        /// Which; none is taken for the lowest.
        mask: u8,
    },
    /// Sets a stretch to zero.
    Zero {
        /// Where, modulo the length.
        at: u32,
        /// How many bytes.
        len: u16,
    },
    /// Fills a stretch with noise.
    Noise {
        /// Where, modulo the length.
        at: u32,
        /// How many bytes.
        len: u16,
        /// Of the noise.
        seed: u32,
    },
    /// Drops all from a place on.
    Cut {
        /// Where, modulo the length.
        at: u32,
    },
    /// Appends zeros.
    Extend {
        /// How many bytes.
        len: u16,
    },
    /// Copies a stretch over another, as a write to the wrong place does.
    Misplace {
        /// From where, modulo the length.
        from: u32,
        /// To where, modulo the length.
        to: u32,
        /// How many bytes.
        len: u16,
    },
}

impl Edit {
    /// Does it, and returns the first byte that may have changed.
    pub(crate) fn apply(self, bytes: &mut Vec<u8>) -> usize {
        let len = bytes.len();
        let place = |at: u32| (at as usize).checked_rem(len).unwrap_or(0);
        let stretch = |at: u32, count: u16| place(at)..len.min(place(at) + usize::from(count));
        match self {
            Self::Flip { at, mask } => {
                if let Some(byte) = bytes.get_mut(place(at)) {
                    *byte ^= mask.max(1);
                }
                place(at)
            }
            Self::Zero { at, len } => {
                bytes[stretch(at, len)].fill(0);
                place(at)
            }
            Self::Noise { at, len, seed } => {
                Rng::new(u64::from(seed)).fill(&mut bytes[stretch(at, len)]);
                place(at)
            }
            Self::Cut { at } => {
                bytes.truncate(place(at));
                place(at)
            }
            Self::Extend { len: more } => {
                bytes.resize((len + usize::from(more)).min(FILE_LEN_MAX), 0);
                len
            }
            Self::Misplace { from, to, len: count } => {
                let moved = bytes[stretch(from, count)].to_vec();
                let to = place(to);
                let fits = moved.len().min(len - to);
                bytes[to..to + fits].copy_from_slice(&moved[..fits]);
                to
            }
        }
    }
}
