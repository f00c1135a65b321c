//! The encoded form of a commit, built before any lock is taken.

use std::cell::Cell;

use base::{EntryKind, EntryMeta, KeyspaceId, PointerPayload, ValuePointer, varint};
use compression::{Compression, Compressor};
use memtable::Memtable;

use crate::batch::Operation;
use crate::write::record;
use crate::write::room::Room;
use crate::{Error, ErrorKind, Result};

/// A buffer that grew beyond this is not kept for the next commit of its thread.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// A commit as it will stand in the write-ahead log, but for its version and its value pointers.
#[derive(Debug, Default)]
pub(crate) struct EncodedCommit {
    /// The payload of the log record.
    pub(crate) bytes: Vec<u8>,
    /// Values that go to the value log, in order.
    pub(crate) separated: Vec<Separated>,
    /// Room that the records need in the memtable of each keyspace.
    pub(crate) rooms: Vec<RoomNeeded>,
    /// The room, once it is taken; empty before and after.
    pub(crate) taken: Vec<Room>,
    /// Values that are stored compressed, one after the other.
    compressed: Vec<u8>,
    compressor: Option<Compressor>,
    count: u32,
    /// Bytes of keys and values, as the caller gave them.
    pub(crate) user_bytes: u64,
}

/// A value for the value log: which operation it belongs to, and where its pointer goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Separated {
    /// Position of the operation among those that were encoded.
    pub(crate) operation: usize,
    /// Where in [`EncodedCommit::bytes`] the twelve bytes of the pointer stand.
    pub(crate) patch_at: usize,
    /// When the entry expires, as its record says.
    pub(crate) expires_at: u64,
    /// Bytes of the value as it is stored, if that is compressed, and where they end among all.
    compressed: Option<(usize, usize)>,
}

/// How the operations of a keyspace are encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoding {
    /// Length from which on a value goes to the value log.
    pub(crate) separate_from: u64,
    /// How it is stored there.
    pub(crate) compression: Compression,
}

/// Worst-case bytes that the records of one keyspace take in its memtable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomNeeded {
    pub(crate) keyspace: KeyspaceId,
    pub(crate) bytes: usize,
}

thread_local! {
    static SPARE: Cell<Option<Box<EncodedCommit>>> = const { Cell::new(None) };
}

impl EncodedCommit {
    /// The thread's spare buffer, empty.
    pub(crate) fn take() -> Box<Self> {
        let mut spare = SPARE.take().unwrap_or_default();
        record::begin_commit(&mut spare.bytes);
        spare.separated.clear();
        spare.rooms.clear();
        spare.compressed.clear();
        (spare.count, spare.user_bytes) = (0, 0);
        spare
    }

    /// Gives the buffer back to the thread.
    pub(crate) fn give_back(self: Box<Self>) {
        if self.bytes.capacity().max(self.compressed.capacity()) <= KEPT_BYTES_MAX {
            SPARE.set(Some(self));
        }
    }

    /// Encodes one operation.
    pub(crate) fn push(
        &mut self,
        operation: &Operation<'_>,
        encoding: Encoding,
        now: impl FnOnce() -> u64,
    ) -> Result<()> {
        let Operation { keyspace, key, value, mut meta, expiry } = *operation;
        meta.expires_at = expiry.at(now);
        let payload_len = if operation.is_put() && value.len() as u64 >= encoding.separate_from {
            meta.kind = EntryKind::Pointer;
            let compressed = self.compress(value, encoding.compression);
            meta.value_compressed = compressed.is_some();
            let payload_len = ValuePointer::ENCODED_LEN + varint::len(value.len() as u64);
            record::push_record_head(keyspace, key, &meta, payload_len, &mut self.bytes);
            let (operation, patch_at) = (self.count as usize, self.bytes.len());
            self.separated.push(Separated { operation, patch_at, expires_at: meta.expires_at, compressed });
            let placeholder = ValuePointer { segment: base::SegmentId(0), len: 0, offset: 0 };
            PointerPayload { pointer: placeholder, value_len: value.len() as u64 }.encode_into(&mut self.bytes);
            payload_len
        } else {
            record::push_record_head(keyspace, key, &meta, value.len(), &mut self.bytes);
            self.bytes.extend_from_slice(value);
            value.len()
        };
        self.count = self.count.checked_add(1).ok_or_else(|| too_big("more than 4 billion records"))?;
        self.user_bytes += (key.len() + value.len()) as u64;
        self.need_room(keyspace, Memtable::entry_bytes_max(key.len(), payload_len));
        Ok(())
    }

    /// Compresses a value, if that makes it shorter: the length of what is stored, and where it ends.
    fn compress(&mut self, value: &[u8], compression: Compression) -> Option<(usize, usize)> {
        if compression == Compression::None {
            return None;
        }
        let known = self.compressor.take().filter(|known| known.compression() == compression);
        let mut compressor = known.unwrap_or_else(|| Compressor::new(compression));
        let len = vlog::compress_value(&mut compressor, value, &mut self.compressed);
        // Its buffer is as long as the longest value was.
        self.compressor = (value.len() <= KEPT_BYTES_MAX / 2).then_some(compressor);
        len.map(|len| (len, self.compressed.len()))
    }

    /// The meta and the bytes with which a value is appended to the value log.
    pub(crate) fn stored<'a>(&'a self, separated: &Separated, operation: &Operation<'a>) -> (EntryMeta, &'a [u8]) {
        let compressed = separated.compressed.and_then(|(len, end)| self.compressed.get(end - len..end));
        let value_compressed = compressed.is_some();
        let meta = EntryMeta { expires_at: separated.expires_at, value_compressed, ..operation.meta };
        (meta, compressed.unwrap_or(operation.value))
    }

    /// Closes the commit. Requires: every operation was pushed.
    pub(crate) fn finish(&mut self) -> Result<()> {
        if self.bytes.len() as u64 > base::limits::COMMIT_LEN_MAX {
            return Err(too_big("more than 4 GiB of records"));
        }
        record::set_count(&mut self.bytes, self.count);
        Ok(())
    }

    pub(crate) fn len(&self) -> u32 {
        self.count
    }

    /// Bytes that the commit's values take in the value log. Requires: their pointers are known.
    pub(crate) fn value_log_bytes(&self) -> u64 {
        self.separated
            .iter()
            .filter_map(|separated| self.pointer(separated))
            .map(|pointer| u64::from(pointer.len))
            .sum()
    }

    /// The pointer of a separated value. Requires: it was [`patch`](Self::patch)ed.
    pub(crate) fn pointer(&self, separated: &Separated) -> Option<ValuePointer> {
        let range = separated.patch_at..separated.patch_at + ValuePointer::ENCODED_LEN;
        self.bytes.get(range)?.first_chunk().map(ValuePointer::decode)
    }

    pub(crate) fn records(&self) -> record::Records<'_> {
        record::Records::of_commit(&self.bytes)
    }

    /// Writes the pointer of a separated value into its record.
    pub(crate) fn patch(&mut self, separated: Separated, pointer: ValuePointer) {
        let range = separated.patch_at..separated.patch_at + ValuePointer::ENCODED_LEN;
        if let Some(place) = self.bytes.get_mut(range) {
            place.copy_from_slice(&pointer.encode());
        }
    }

    fn need_room(&mut self, keyspace: KeyspaceId, bytes: usize) {
        match self.rooms.iter_mut().find(|room| room.keyspace == keyspace) {
            Some(room) => room.bytes += bytes,
            None => self.rooms.push(RoomNeeded { keyspace, bytes }),
        }
    }
}

fn too_big(what: &str) -> Error {
    Error::new(ErrorKind::TxnTooBig, format!("a commit cannot hold {what}"))
}
