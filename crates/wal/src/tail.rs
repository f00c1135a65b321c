//! Looks behind a bad fragment: for whole fragments that tell how much was durable, and for where records go on.
//!
//! A bad fragment's length cannot be trusted, so the search tries every byte. That is cheap (type and log number are
//! compared before anything is summed) and no chance hit can pass: number and checksum are 64 bits.

use crate::Result;
use crate::fragment::{Framing, Piece, is_zero, room};
use crate::offsets::SyncedOffsets;
use crate::window::Window;

/// The highest synced offsets that any whole fragment between `from` and `until` carries.
pub(crate) fn highest_synced(window: &mut Window, framing: &Framing, from: u64, until: u64) -> Result<SyncedOffsets> {
    let mut highest = SyncedOffsets::default();
    let mut position = from;
    while let Some(found) = next_whole(window, framing, position, until)? {
        highest.raise(found.synced);
        position = found.end;
    }
    Ok(highest)
}

/// Where the first whole fragment at or behind `from` stands that starts a record or closes the log.
pub(crate) fn next_start(window: &mut Window, framing: &Framing, from: u64, until: u64) -> Result<Option<u64>> {
    let mut position = from;
    while let Some(found) = next_whole(window, framing, position, until)? {
        if found.starts {
            return Ok(Some(found.start));
        }
        position = found.end;
    }
    Ok(None)
}

struct Found {
    start: u64,
    end: u64,
    starts: bool,
    synced: SyncedOffsets,
}

fn next_whole(window: &mut Window, framing: &Framing, from: u64, until: u64) -> Result<Option<Found>> {
    let mut position = from;
    while position < until {
        let block = window.block_rest(position)?;
        if !is_zero(block)
            && let Some(found) = next_whole_in_block(block, framing, position)
        {
            return Ok(Some(found));
        }
        position += room(position) as u64;
    }
    Ok(None)
}

fn next_whole_in_block(block: &[u8], framing: &Framing, offset: u64) -> Option<Found> {
    let mut start = offset;
    let mut rest = block;
    while !rest.is_empty() && framing.data_room(start).is_some() {
        if let Piece::Fragment(fragment) = framing.parse(start, rest) {
            let end = start + fragment.len as u64;
            return Some(Found { start, end, starts: fragment.kind.starts(), synced: fragment.synced });
        }
        start += 1;
        rest = rest.get(1..).unwrap_or_default();
    }
    None
}
