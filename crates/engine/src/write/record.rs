//! What a write-ahead log record holds: the start of a log, or a commit.
//!
//! ```text
//! payload := 1u8 previous_log u64 previous_end u64          start: the log before this one and where it ends (0 0: none),
//!              allocated u64                                and bytes that were allocated for this one when it was made
//!          | 2u8 version u64 count u32 record{count}        commit; integers little-endian
//! record  := keyspace varint | flags u8 | user_meta u8 | expires_at varint | key bytes | payload bytes
//! bytes   := length varint, then that many bytes
//! ```
//! `flags` and the payload are those of an entry of the tree (`base::EntryRef`). A commit holds each pair of keyspace
//! and key once, so an internal key never stands for two entries.

use base::{DecodeError, EntryMeta, EntryRef, KeyspaceId, LogNumber, Version, limits, varint};

const TAG_START: u8 = 1;
const TAG_COMMIT: u8 = 2;

/// Bytes in front of the records of a commit.
pub(crate) const COMMIT_HEADER_LEN: usize = 1 + 8 + 4;

/// One operation of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) keyspace: KeyspaceId,
    pub(crate) key: &'a [u8],
    pub(crate) entry: EntryRef<'a>,
}

/// What the first record of a log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogStart {
    /// The log before this one, and where it ends; zeros for the first.
    pub(crate) previous: LogNumber,
    pub(crate) previous_end: u64,
    /// Bytes that were allocated for this log when it was made: a shorter file was cut by someone, or never reached the
    /// disk.
    pub(crate) allocated: u64,
}

/// A decoded payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    Start(LogStart),
    Commit { version: Version, records: Records<'a> },
}

impl<'a> Payload<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        match bytes.split_first() {
            Some((&TAG_START, rest)) => {
                let (previous, rest) = split_u64(rest)?;
                let (previous_end, rest) = split_u64(rest)?;
                let (allocated, rest) = split_u64(rest)?;
                if !rest.is_empty() {
                    return Err(DecodeError::new("bytes behind the start of a log"));
                }
                Ok(Self::Start(LogStart { previous: LogNumber(previous), previous_end, allocated }))
            }
            Some((&TAG_COMMIT, rest)) => {
                let (version, rest) = split_u64(rest)?;
                let (count, rest) =
                    rest.split_first_chunk::<4>().ok_or(DecodeError::new("commit shorter than its header"))?;
                Ok(Self::Commit { version, records: Records { left: u32::from_le_bytes(*count), bytes: rest } })
            }
            _ => Err(DecodeError::new("unknown kind of log record")),
        }
    }
}

impl LogStart {
    /// The payload that opens a log.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![TAG_START];
        for number in [self.previous.0, self.previous_end, self.allocated] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes
    }
}

/// Puts the header of a commit of yet unknown version and count into an empty buffer.
pub(crate) fn begin_commit(out: &mut Vec<u8>) {
    out.clear();
    out.push(TAG_COMMIT);
    out.extend_from_slice(&[0; COMMIT_HEADER_LEN - 1]);
}

/// Fills in the number of records.
pub(crate) fn set_count(commit: &mut [u8], count: u32) {
    if let Some(field) = commit.get_mut(9..COMMIT_HEADER_LEN) {
        field.copy_from_slice(&count.to_le_bytes());
    }
}

/// Fills in the version.
pub(crate) fn set_version(commit: &mut [u8], version: Version) {
    if let Some(field) = commit.get_mut(1..9) {
        field.copy_from_slice(&version.to_le_bytes());
    }
}

/// Appends a record without its payload, whose length will be `payload_len`.
pub(crate) fn push_record_head(
    keyspace: KeyspaceId,
    key: &[u8],
    meta: &EntryMeta,
    payload_len: usize,
    out: &mut Vec<u8>,
) {
    varint::push(u64::from(keyspace.0), out);
    out.push(meta.flags());
    out.push(meta.user_meta);
    varint::push(meta.expires_at, out);
    varint::push_bytes(key, out);
    varint::push(payload_len as u64, out);
}

/// The records of a commit, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Records<'a> {
    left: u32,
    bytes: &'a [u8],
}

impl<'a> Records<'a> {
    /// The records of a commit that this process encoded itself.
    pub(crate) fn of_commit(commit: &'a [u8]) -> Self {
        match Payload::decode(commit) {
            Ok(Payload::Commit { records, .. }) => records,
            Ok(Payload::Start(_)) | Err(_) => Self { left: 0, bytes: &[] },
        }
    }

    fn decode_next(&mut self) -> Result<Record<'a>, DecodeError> {
        let (keyspace, rest) = varint::decode_u32(self.bytes)?;
        let ([flags, user_meta], rest) =
            rest.split_first_chunk::<2>().ok_or(DecodeError::new("record shorter than its meta"))?;
        let (expires_at, rest) = varint::decode(rest)?;
        let (key, rest) = varint::decode_bytes(rest)?;
        if key.is_empty() || key.len() > limits::USER_KEY_LEN_MAX {
            return Err(DecodeError::new("key of a record is empty or too long"));
        }
        let (payload, rest) = varint::decode_bytes(rest)?;
        let meta = EntryMeta::from_parts(*flags, *user_meta, expires_at)?;
        self.bytes = rest;
        Ok(Record { keyspace: KeyspaceId(keyspace), key, entry: EntryRef::new(meta, payload) })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            if self.bytes.is_empty() {
                return None;
            }
            self.bytes = &[];
            return Some(Err(DecodeError::new("bytes behind the last record of a commit")));
        }
        self.left -= 1;
        let record = self.decode_next();
        if record.is_err() {
            (self.left, self.bytes) = (0, &[]);
        }
        Some(record)
    }
}

fn split_u64(bytes: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    let (number, rest) = bytes.split_first_chunk::<8>().ok_or(DecodeError::new("log record cut short"))?;
    Ok((u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use base::EntryKind;

    use super::*;

    fn commit() -> Vec<u8> {
        let mut out = Vec::new();
        begin_commit(&mut out);
        push_record_head(KeyspaceId(0), b"a", &EntryMeta::put(), 3, &mut out);
        out.extend_from_slice(b"one");
        push_record_head(KeyspaceId(300), b"b", &EntryMeta::delete(), 0, &mut out);
        set_count(&mut out, 2);
        set_version(&mut out, 7);
        out
    }

    #[test]
    fn a_commit_is_these_bytes() {
        let expected = [
            2, 7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, // tag, version, count
            0, 0, 0, 0, 1, b'a', 3, b'o', b'n', b'e', // keyspace, flags, user meta, expiry, key, payload
            0xac, 2, 2, 0, 0, 1, b'b', 0,
        ];
        assert_eq!(commit(), expected);
    }

    #[test]
    fn records_come_back_in_order() {
        let bytes = commit();
        let Payload::Commit { version, records } = Payload::decode(&bytes).unwrap() else { panic!("no commit") };
        assert_eq!(version, 7);
        let records: Vec<_> = records.map(Result::unwrap).collect();
        assert_eq!(records[0].key, b"a");
        assert_eq!(records[0].entry.payload, b"one");
        assert_eq!(records[1].keyspace, KeyspaceId(300));
        assert_eq!(records[1].entry.meta.kind, EntryKind::Delete);
    }

    #[test]
    fn a_commit_cut_anywhere_or_continued_is_refused() {
        let mut bytes = commit();
        for cut in 0..bytes.len() {
            let whole = Payload::decode(&bytes[..cut]).is_ok_and(|payload| match payload {
                Payload::Commit { records, .. } => records.collect::<Result<Vec<_>, _>>().is_ok(),
                Payload::Start(_) => true,
            });
            assert!(!whole, "cut at {cut}");
        }
        bytes.push(0);
        assert!(Records::of_commit(&bytes).any(|record| record.is_err()));
    }

    #[test]
    fn the_start_of_a_log_comes_back() {
        let start = LogStart { previous: LogNumber(5), previous_end: 999, allocated: 1 << 20 };
        let bytes = start.encode();
        assert_eq!(bytes, [1, 5, 0, 0, 0, 0, 0, 0, 0, 0xe7, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0]);
        assert_eq!(Payload::decode(&bytes), Ok(Payload::Start(start)));
        assert!(Payload::decode(&bytes[..24]).is_err());
    }
}
