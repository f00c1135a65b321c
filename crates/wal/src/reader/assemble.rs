//! Puts a record together from its fragments, or says where and why that does not work.

use super::LogReader;
use crate::Result;
use crate::damage::Damage;
use crate::fragment::{FragmentKind, Piece, room};
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
    pub(super) cause: Damage,
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
                Piece::Zero | Piece::End => return Ok(Step::Bad(Bad { start, at, cause: Damage::Hole })),
                Piece::Bad(cause) => return Ok(Step::Bad(Bad { start, at, cause })),
            };
            let end = at + fragment.len as u64;
            match (fragment.kind, open) {
                (FragmentKind::Full, None) => {
                    let in_window = Some(fragment.data.len());
                    return Ok(Step::Whole(Found { start, end, synced: fragment.synced, in_window }));
                }
                (FragmentKind::Closing, None) => {
                    self.highest.raise(fragment.synced);
                    return Ok(Step::Closing { end });
                }
                (FragmentKind::First, None) => {
                    self.assembled.clear();
                    open = Some((at, fragment.synced));
                }
                (FragmentKind::Middle | FragmentKind::Last, Some(_)) => {}
                _ => return Ok(Step::Bad(Bad { start, at, cause: Damage::Sequence })),
            }
            if (self.assembled.len() + fragment.data.len()) as u64 > self.record_len_max {
                return Ok(Step::Bad(Bad { start, at, cause: Damage::RecordTooLong(self.record_len_max) }));
            }
            self.assembled.extend_from_slice(fragment.data);
            if let (FragmentKind::Last, Some((start, synced))) = (fragment.kind, open) {
                return Ok(Step::Whole(Found { start, end, synced, in_window: None }));
            }
            at = end;
        }
    }
}
