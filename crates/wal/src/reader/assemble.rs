//! Puts a record together from its fragments, or says where and why that does not work.

use encryption::FileCipher;

use super::LogReader;
use crate::Result;
use crate::damage::Damage;
use crate::fragment::{Fragment, FragmentKind, Piece, room};
use crate::offsets::SyncedOffsets;

/// What stands where a record should start.
pub(super) enum Step {
    Whole(Found),
    Closing {
        end: u64,
    },
    /// The end of the file, or zeros.
    Nothing {
        at: u64,
    },
    Bad(Bad),
}

pub(super) struct Found {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) synced: SyncedOffsets,
    /// Length of the payload that ends at `end` in the window; `None` where it was assembled.
    pub(super) in_window: Option<usize>,
}

pub(super) struct Bad {
    /// Where the record starts.
    pub(super) start: u64,
    /// Where its damaged piece is.
    pub(super) at: u64,
    /// Where a search for whole ones goes on.
    pub(super) go_on: u64,
    pub(super) cause: Damage,
}

impl Bad {
    /// Bytes that are no whole fragment, or one that cannot stand here but may start what comes next.
    pub(super) const fn at(start: u64, at: u64, cause: Damage) -> Self {
        Self { start, at, go_on: at, cause }
    }
}

impl LogReader {
    /// Reads fragments until they make a record or do not.
    pub(super) fn step(&mut self) -> Result<Step> {
        let mut at = self.position;
        let mut open: Option<(u64, SyncedOffsets)> = None;
        loop {
            let start = open.map_or(at, |(start, _)| start);
            let fragment = match self.framing.parse(at, self.window.block_rest(at)?) {
                Piece::Fragment(fragment) => fragment,
                Piece::Padding => {
                    at += room(at) as u64;
                    continue;
                }
                Piece::Zero | Piece::End if open.is_none() => return Ok(Step::Nothing { at }),
                Piece::Zero | Piece::End => return Ok(Step::Bad(Bad::at(start, at, Damage::Hole))),
                Piece::Bad(cause) => return Ok(Step::Bad(Bad::at(start, at, cause))),
            };
            let end = at + fragment.len as u64;
            match (fragment.kind, open) {
                (FragmentKind::Full, None) if fragment.seal.is_none() => {
                    let in_window = Some(fragment.data.len());
                    return Ok(Step::Whole(Found { start, end, synced: fragment.synced, in_window }));
                }
                (FragmentKind::Full | FragmentKind::First | FragmentKind::Closing, None) => {
                    self.assembled.clear();
                    open = Some((at, fragment.synced));
                }
                (FragmentKind::Middle | FragmentKind::Last, Some(_)) => {}
                _ => return Ok(Step::Bad(Bad::at(start, at, Damage::Sequence))),
            }
            if (self.assembled.len() + fragment.data.len()) as u64 > self.record_len_max {
                return Ok(Step::Bad(Bad::at(start, at, Damage::RecordTooLong(self.record_len_max))));
            }
            if let Err(cause) = append_opened(&fragment, at, self.cipher.as_ref(), &mut self.assembled) {
                return Ok(Step::Bad(Bad { start, at, go_on: end, cause }));
            }
            match (fragment.kind, open) {
                (FragmentKind::Closing, _) => {
                    self.highest.raise(fragment.synced);
                    return Ok(Step::Closing { end });
                }
                (FragmentKind::Full | FragmentKind::Last, Some((start, synced))) => {
                    return Ok(Step::Whole(Found { start, end, synced, in_window: None }));
                }
                _ => at = end,
            }
        }
    }
}

/// Appends the bytes of the record in the fragment at `offset`, decrypted where they are sealed.
fn append_opened(
    fragment: &Fragment<'_>,
    offset: u64,
    cipher: Option<&FileCipher>,
    out: &mut Vec<u8>,
) -> std::result::Result<(), Damage> {
    let start = out.len();
    out.extend_from_slice(fragment.data);
    match (&fragment.seal, cipher) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(Damage::KeyLost),
        (Some(seal), Some(cipher)) => seal.open(cipher, offset, out.get_mut(start..).unwrap_or_default()),
    }
}
