//! Finds the checksums' starting value of a log whose header is lost, from the fragments themselves.
//!
//! A checksum runs backwards as well as forwards: a fragment's bytes and its crc32 give the value that it started from,
//! and so the file's. Any bytes give one; that two neighbouring fragments give the same is no chance (32 bits, on top of
//! the log number in both). With it the log can still prove how far it was durable, and be salvaged.
//!
//! Source of the backward step: M. Stigge et al., "Reversing CRC: theory and practice", 2006.

use crate::Result;
use crate::fragment::{BLOCK_LEN, Framing, Piece, room};
use crate::window::Window;

/// The framing under which two neighbouring fragments before `until` verify, sealed or not.
pub(crate) fn recover(window: &mut Window, unsalted: &Framing, until: u64) -> Result<Option<Framing>> {
    match recover_either(window, &unsalted.sealed(false), until)? {
        None => recover_either(window, &unsalted.sealed(true), until),
        found => Ok(found),
    }
}

fn recover_either(window: &mut Window, unsalted: &Framing, until: u64) -> Result<Option<Framing>> {
    // In the first block a fragment may start anywhere, since the first ones may be lost with the header.
    let first = window.block_rest(0)?.to_vec();
    for at in 0..first.len().min(until as usize) {
        let rest = first.get(at..).unwrap_or_default();
        if let Some((framing, end)) = framing_of(unsalted, at as u64, rest)
            && verifies_behind(window, &framing, end)?
        {
            return Ok(Some(framing));
        }
    }
    for at in (BLOCK_LEN as u64..until).step_by(BLOCK_LEN) {
        if let Some((framing, end)) = framing_of(unsalted, at, window.block_rest(at)?)
            && verifies_behind(window, &framing, end)?
        {
            return Ok(Some(framing));
        }
    }
    Ok(None)
}

/// The framing under which the bytes at `at` are a fragment, and where that would end.
fn framing_of(unsalted: &Framing, at: u64, rest: &[u8]) -> Option<(Framing, u64)> {
    let len = unsalted.unsigned_len(at, rest)?;
    let (crc, checked) = rest.get(..len)?.split_first_chunk()?;
    let started_from = crc32_start(u32::from_le_bytes(*crc), checked);
    Some((unsalted.starting_from(started_from, at), at + len as u64))
}

/// Whether the fragment that starts at `end`, or at the next block if `end` is padding, verifies.
fn verifies_behind(window: &mut Window, framing: &Framing, end: u64) -> Result<bool> {
    let next = if framing.data_room(end).is_none() { end + room(end) as u64 } else { end };
    Ok(matches!(framing.parse(next, window.block_rest(next)?), Piece::Fragment(_)))
}

/// The value from which a crc32 over `bytes` comes out as `crc`.
#[expect(clippy::indexing_slicing, reason = "the highest byte of a state is an index of the 256 entries")]
fn crc32_start(crc: u32, bytes: &[u8]) -> u32 {
    let state = bytes.iter().rev().fold(!crc, |state, byte| {
        let (index, entry) = STEPS_BACK[(state >> 24) as usize];
        ((state ^ entry) << 8) | u32::from(index ^ byte)
    });
    !state
}

/// For each highest byte of a state: the index of the table entry that ends in it, and that entry.
static STEPS_BACK: [(u8, u32); 256] = steps_back();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which would refuse an index out of bounds")]
const fn steps_back() -> [(u8, u32); 256] {
    let mut steps = [(0, 0); 256];
    let mut index = 0u8;
    loop {
        let mut entry = index as u32;
        let mut bit = 0;
        while bit < 8 {
            entry = (entry >> 1) ^ (0xedb8_8320 * (entry & 1));
            bit += 1;
        }
        steps[(entry >> 24) as usize] = (index, entry);
        if index == u8::MAX {
            return steps;
        }
        index += 1;
    }
}

#[cfg(test)]
mod tests {
    use base::checksum::crc32_salted;
    use base::rng::Rng;

    use super::*;

    #[test]
    fn a_checksum_run_backwards_gives_what_it_started_from() {
        let mut rng = Rng::new(1);
        for len in 0..300 {
            let start = rng.next_u64() as u32;
            let mut bytes = vec![0; len];
            rng.fill(&mut bytes);
            assert_eq!(crc32_start(crc32_salted(start, &bytes), &bytes), start);
        }
    }
}
