//! Fragments: the checked pieces that records are written in.
//!
//! A log is a sequence of blocks of 32 KiB; the first begins with the [file header](crate::LogHeader).
//!
//! ```text
//! block    := fragment* padding
//! fragment := crc32 u32 | length u16 | type u8 | log number, low 32 bits u32 | data[length]   little-endian
//! type     := 0 zero | 1 full | 2 first | 3 middle | 4 last | 5 closing | 0x10 in a sealed log
//! data     := of full, first, closing: synced offsets, then bytes of the record; of middle, last: bytes of the record
//! sealed   := round u32 | synced offsets, of full, first, closing | bytes of the record, encrypted | tag 16 bytes
//! ```
//! In the log of an encrypted store the data are sealed: the position is the fragment's offset in the file, the domain the
//! round, and associated are the bytes from the length to the synced offsets.
//!
//! Invariants
//! 1. A fragment starts only where header and the longest synced offsets fit the block; a shorter rest of a block is
//!    padding, zero-filled. So each first piece of a record holds its synced offsets whole.
//! 2. The checksum covers everything behind itself and starts from the crc32 of the file's salt, exclusive-or the low 32
//!    bits of the fragment's offset in the file: a fragment of another file, of an earlier life of this one, or of
//!    another place in it does not verify, so a copy of a log inside a value is never taken for the log.
//! 3. Eleven zero bytes are no fragment: space that was allocated and not written.
//! 4. No two texts are sealed at one offset in one round of one log: the round is how often the log was cut before, and
//!    between two cuts nothing is written twice at one place.

use base::LogNumber;
use base::checksum::crc32_salted;
use encryption::{FileCipher, TAG_LEN};

use crate::damage::Damage;
use crate::offsets::{SYNCED_LEN_MAX, SyncedOffsets};

/// Length of a block in bytes.
pub const BLOCK_LEN: usize = 32 << 10;

/// Length of a fragment's header in bytes.
pub const FRAGMENT_HEADER_LEN: usize = 11;

/// Shortest rest of a block in which a fragment may start.
const ROOM_MIN: usize = FRAGMENT_HEADER_LEN + SYNCED_LEN_MAX;

/// In the type of a sealed fragment.
const SEALED: u8 = 0x10;

const ROUND_LEN: usize = 4;

/// What sealing adds to the data of a fragment, in bytes.
const SEALED_OVERHEAD: usize = ROUND_LEN + TAG_LEN;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FragmentKind {
    Full = 1,
    First = 2,
    Middle = 3,
    Last = 4,
    Closing = 5,
}

impl FragmentKind {
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Full),
            2 => Some(Self::First),
            3 => Some(Self::Middle),
            4 => Some(Self::Last),
            5 => Some(Self::Closing),
            _ => None,
        }
    }

    /// Whether it begins a record (or closes the log), and so carries synced offsets.
    pub(crate) const fn starts(self) -> bool {
        matches!(self, Self::Full | Self::First | Self::Closing)
    }
}

/// A whole fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragment<'a> {
    pub(crate) kind: FragmentKind,
    /// The default where the kind carries none.
    pub(crate) synced: SyncedOffsets,
    /// Bytes of the record, as they are stored.
    pub(crate) data: &'a [u8],
    /// What opens them, where they are sealed.
    pub(crate) seal: Option<Seal<'a>>,
    /// Length in the file, header included.
    pub(crate) len: usize,
}

/// What stands around the encrypted bytes of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal<'a> {
    round: u32,
    associated: &'a [u8],
    tag: &'a [u8; TAG_LEN],
}

impl Seal<'_> {
    /// Decrypts in place a copy of the data of the fragment at `offset`.
    pub(crate) fn open(&self, cipher: &FileCipher, offset: u64, data: &mut [u8]) -> Result<(), Damage> {
        cipher.open_in_place(offset, self.round, self.associated, data, self.tag).map_err(|_| Damage::Tampered)
    }
}

/// What a sealed log is written with.
#[derive(Debug)]
pub(crate) struct Sealing {
    pub(crate) cipher: FileCipher,
    /// How often the log was cut.
    pub(crate) round: u32,
}

/// What stands at a place in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Fragment(Fragment<'a>),
    /// Zeros, at least a header's worth or up to the end of the file.
    Zero,
    /// The padding of a block.
    Padding,
    /// The end of the file.
    End,
    Bad(Damage),
}

/// Bytes from `offset` to the end of its block.
pub(crate) const fn room(offset: u64) -> usize {
    BLOCK_LEN - (offset % BLOCK_LEN as u64) as usize
}

/// How fragments of one log are told from all other bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Framing {
    crc_salt: u32,
    number_low: u32,
    /// [`SEALED`] or 0.
    type_flag: u8,
}

impl Framing {
    pub(crate) const fn new(crc_salt: u32, number: LogNumber) -> Self {
        Self { crc_salt, number_low: low_32(number.0), type_flag: 0 }
    }

    /// The same for a log whose fragments are sealed, or not.
    pub(crate) const fn sealed(self, is_sealed: bool) -> Self {
        Self { type_flag: if is_sealed { SEALED } else { 0 }, ..self }
    }

    pub(crate) const fn is_sealed(&self) -> bool {
        self.type_flag == SEALED
    }

    /// Bytes that a fragment at `offset` can take, synced offsets and bytes of the record; `None` where the rest of the
    /// block is padding.
    pub(crate) const fn data_room(&self, offset: u64) -> Option<usize> {
        let overhead = if self.is_sealed() { SEALED_OVERHEAD } else { 0 };
        let room = room(offset);
        if room < ROOM_MIN + overhead { None } else { Some(room - FRAGMENT_HEADER_LEN - overhead) }
    }

    /// Appends to `out` a fragment that will stand at `offset`, with the synced offsets if its kind carries them, and the
    /// `len` bytes of the record that `fill` appends. `sealing` is there if the log is sealed.
    #[inline]
    pub(crate) fn push(
        &self,
        (kind, synced): (FragmentKind, SyncedOffsets),
        offset: u64,
        len: usize,
        out: &mut Vec<u8>,
        sealing: Option<&Sealing>,
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = out.len();
        out.extend_from_slice(&[0; 6]);
        out.push(kind as u8 | self.type_flag);
        out.extend_from_slice(&self.number_low.to_le_bytes());
        if let Some(sealing) = sealing {
            out.extend_from_slice(&sealing.round.to_le_bytes());
        }
        if kind.starts() {
            synced.push(out);
        }
        let data = out.len();
        fill(out);
        debug_assert_eq!(out.len() - data, len, "fill wrote what it said");
        let overhead = if sealing.is_some() { TAG_LEN } else { 0 };
        let data_len = (out.len() + overhead - start - FRAGMENT_HEADER_LEN) as u16;
        if let Some(field) = out.get_mut(start + 4..start + 6) {
            field.copy_from_slice(&data_len.to_le_bytes());
        }
        if let Some(sealing) = sealing
            && let Some((before, text)) = out.split_at_mut_checked(data)
        {
            let associated = before.get(start + 4..).unwrap_or_default();
            let tag = sealing.cipher.seal_in_place(offset, sealing.round, associated, text);
            out.extend_from_slice(&tag);
        }
        if let Some((crc, checked)) = out.get_mut(start..).and_then(|fragment| fragment.split_first_chunk_mut()) {
            *crc = self.crc(offset, checked).to_le_bytes();
        }
    }

    /// Reads what stands at `offset`; `rest` is the file from there to the end of the block or of the file.
    pub(crate) fn parse<'a>(&self, offset: u64, rest: &'a [u8]) -> Piece<'a> {
        if rest.is_empty() {
            return Piece::End;
        }
        if self.data_room(offset).is_none() {
            return if is_zero(rest) { Piece::Padding } else { Piece::Bad(Damage::Padding) };
        }
        let Some((header, behind)) = rest.split_first_chunk::<FRAGMENT_HEADER_LEN>() else {
            return if is_zero(rest) { Piece::Zero } else { Piece::Bad(Damage::Cut) };
        };
        if *header == [0; FRAGMENT_HEADER_LEN] {
            return Piece::Zero;
        }
        match self.parse_fragment(offset, header, rest, behind) {
            Ok(fragment) => Piece::Fragment(fragment),
            Err(damage) => Piece::Bad(damage),
        }
    }

    /// Length of what may be a fragment at `offset`, all but the checksum considered.
    pub(crate) fn unsigned_len(&self, offset: u64, rest: &[u8]) -> Option<usize> {
        let (header, behind) = rest.split_first_chunk::<FRAGMENT_HEADER_LEN>()?;
        let (_, len) = self.parse_header(offset, header).ok()?;
        (len <= behind.len()).then_some(FRAGMENT_HEADER_LEN + len)
    }

    /// The framing of the same log if the checksum of the fragment at `offset` started from `crc_start`.
    pub(crate) const fn starting_from(&self, crc_start: u32, offset: u64) -> Self {
        Self { crc_salt: crc_start ^ low_32(offset), ..*self }
    }

    fn parse_fragment<'a>(
        &self,
        offset: u64,
        header: &[u8; FRAGMENT_HEADER_LEN],
        rest: &'a [u8],
        behind: &'a [u8],
    ) -> Result<Fragment<'a>, Damage> {
        let (kind, len) = self.parse_header(offset, header)?;
        let data = behind.get(..len).ok_or(Damage::Cut)?;
        let whole_len = FRAGMENT_HEADER_LEN + len;
        let expected = self.crc(offset, rest.get(4..whole_len).ok_or(Damage::Cut)?);
        let [found @ .., _, _, _, _, _, _, _] = *header;
        let found = u32::from_le_bytes(found);
        if found != expected {
            return Err(Damage::Checksum { expected, found });
        }
        if !self.is_sealed() {
            let (synced, data) = split_synced(kind, offset, data)?;
            return Ok(Fragment { kind, synced, data, seal: None, len: whole_len });
        }
        let (round, sealed) = data.split_first_chunk::<ROUND_LEN>().ok_or(Damage::Length(data.len() as u16))?;
        let (sealed, tag) = sealed.split_last_chunk().ok_or(Damage::Length(data.len() as u16))?;
        let (synced, data) = split_synced(kind, offset, sealed)?;
        let associated = rest.get(4..whole_len - TAG_LEN - data.len()).unwrap_or_default();
        let seal = Seal { round: u32::from_le_bytes(*round), associated, tag };
        Ok(Fragment { kind, synced, data, seal: Some(seal), len: whole_len })
    }

    /// Kind and length of the data.
    fn parse_header(&self, offset: u64, header: &[u8; FRAGMENT_HEADER_LEN]) -> Result<(FragmentKind, usize), Damage> {
        let [_, _, _, _, len_0, len_1, kind, number @ ..] = *header;
        let kind = FragmentKind::from_byte(kind ^ self.type_flag).ok_or(Damage::Type(kind))?;
        let number_low = u32::from_le_bytes(number);
        if number_low != self.number_low {
            return Err(Damage::LogNumber { expected: self.number_low, found: number_low });
        }
        let len = u16::from_le_bytes([len_0, len_1]);
        if len == 0 || self.data_room(offset).is_none() || usize::from(len) > room(offset) - FRAGMENT_HEADER_LEN {
            return Err(Damage::Length(len));
        }
        Ok((kind, usize::from(len)))
    }

    fn crc(&self, offset: u64, checked: &[u8]) -> u32 {
        crc32_salted(self.crc_salt ^ low_32(offset), checked)
    }
}

/// Takes the synced offsets off the data of a fragment that carries them. Nobody can have synced what comes later.
fn split_synced(kind: FragmentKind, offset: u64, data: &[u8]) -> Result<(SyncedOffsets, &[u8]), Damage> {
    if !kind.starts() {
        return Ok((SyncedOffsets::default(), data));
    }
    let (synced, rest) = SyncedOffsets::decode(data).map_err(|_| Damage::SyncedOffsets)?;
    if synced.log > offset {
        return Err(Damage::SyncedOffsets);
    }
    Ok((synced, rest))
}

const fn low_32(number: u64) -> u32 {
    (number & 0xffff_ffff) as u32
}

/// Whether there is nothing but zeros.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; BLOCK_LEN] = [0; BLOCK_LEN];
    bytes.chunks(BLOCK_LEN).all(|chunk| ZEROS.get(..chunk.len()) == Some(chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: LogNumber = LogNumber(9);
    const AT: u64 = 3 * BLOCK_LEN as u64 + 200;

    fn fragment(framing: &Framing, kind: FragmentKind, claim: u64, offset: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let synced = SyncedOffsets { log: claim, ..SyncedOffsets::default() };
        framing.push((kind, synced), offset, 0, &mut out, None, |_| {});
        out
    }

    #[test]
    fn a_fragment_of_an_earlier_life_another_log_or_another_place_does_not_verify() {
        let ours = Framing::new(1, NUMBER);
        let bytes = fragment(&ours, FragmentKind::Full, 0, AT);
        assert!(matches!(ours.parse(AT, &bytes), Piece::Fragment(_)));
        let earlier_life = Framing::new(2, NUMBER);
        assert!(matches!(earlier_life.parse(AT, &bytes), Piece::Bad(Damage::Checksum { .. })));
        assert!(matches!(ours.parse(AT + BLOCK_LEN as u64, &bytes), Piece::Bad(Damage::Checksum { .. })));
        let other_log = Framing::new(1, LogNumber(10));
        assert_eq!(other_log.parse(AT, &bytes), Piece::Bad(Damage::LogNumber { expected: 10, found: 9 }));
    }

    #[test]
    fn a_claim_of_bytes_that_come_later_cannot_be() {
        let framing = Framing::new(1, NUMBER);
        for kind in [FragmentKind::Full, FragmentKind::First, FragmentKind::Closing] {
            let true_claim = fragment(&framing, kind, AT, AT);
            assert!(matches!(framing.parse(AT, &true_claim), Piece::Fragment(found) if found.synced.log == AT));
            let false_claim = fragment(&framing, kind, AT + 1, AT);
            assert_eq!(framing.parse(AT, &false_claim), Piece::Bad(Damage::SyncedOffsets));
        }
    }

    #[test]
    fn each_kind_of_damage_is_named() {
        let framing = Framing::new(1, NUMBER);
        let whole = fragment(&framing, FragmentKind::Full, 5, AT);
        let with = |at: usize, byte: u8| {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            bytes
        };
        let bad = |offset: u64, bytes: &[u8]| match framing.parse(offset, bytes) {
            Piece::Bad(damage) => damage,
            other => panic!("{other:?}"),
        };
        assert_eq!(bad(AT, &with(6, 6)), Damage::Type(6));
        assert_eq!(bad(AT, &with(6, 0)), Damage::Type(0));
        assert_eq!(bad(AT, &with(4, 0)), Damage::Length(0));
        assert_eq!(bad(AT, &with(5, 0xff)), Damage::Length(0xff03));
        assert_eq!(bad(AT, &whole[..whole.len() - 1]), Damage::Cut);
        assert_eq!(bad(AT, &whole[..FRAGMENT_HEADER_LEN - 1]), Damage::Cut);
        let padding = 4 * BLOCK_LEN as u64 - (ROOM_MIN as u64 - 1);
        assert_eq!(bad(padding, &whole), Damage::Padding);
        assert_eq!(framing.parse(padding, &[0; ROOM_MIN - 1]), Piece::Padding);
        assert_eq!(framing.parse(AT, &[0; 11]), Piece::Zero);
        assert_eq!(framing.parse(AT, &[0; 3]), Piece::Zero);
        assert_eq!(framing.parse(AT, &[]), Piece::End);
    }
}
