//! A value log of which one file holds bytes that nobody should trust: arbitrary ones, those of a whole file that was
//! damaged, and damaged or made-up ones whose checksums are right all the same.
//!
//! The log has a segment that was collected from two others, one that is sealed, one that is open, a dead set at each of the
//! sealed ones and a death list. It may be encrypted, and its values compressed. Whatever comes, opening, reading, killing and collecting do not panic, end, and take no
//! memory that the file does not justify. Of a damaged file, each read gives what was written or an error, what is dead is
//! what died, and a collection that succeeds has lost nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arbitrary::Arbitrary;
use base::checksum::{crc32, crc32_salted};
use base::rng::Rng;
use base::{EntryMeta, InternalKeyRef, SegmentId, StoreId, ValueLogHead, ValuePointer};
use compression::{Compression, Compressor};
use encryption::{Keyring, StaticKey, TAG_LEN};
use vfs::{AppendMode, MemFs, Vfs};
use vlog::{
    CollectContext, Error, HEADER_LEN, IoMode, Options, RecoveryInput, Result, ValueLog, compress_value, dead_path,
    deaths_path, hint_path, manifest_path, map_path, segment_path,
};

use crate::edit::{Edit, FILE_LEN_MAX};

const DIR: &str = "vlog";
const STORE: StoreId = StoreId([1; 16]);
const TICKET: u64 = 9;
const COLLECTED: SegmentId = SegmentId(3);
const SEALED: SegmentId = SegmentId(4);
const OPEN: SegmentId = SegmentId(5);
/// Where what a kind of file says of its own begins in its header.
const DETAILS: usize = 88;
const RECORD_HEADER_LEN: usize = 20;
/// More entries than any file of a target can hold.
const STEPS_MAX: usize = 4 << 20;

/// What a run is given.
#[derive(Arbitrary, Debug)]
pub struct Input {
    file: File,
    bytes: Content,
    making: Making,
    pread: bool,
    /// Whether the open segment is known to have been synced.
    synced: bool,
}

/// How the log is made.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
struct Making {
    encrypted: bool,
    compressed: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    Segment,
    SealedSegment,
    OpenSegment,
    Hint,
    SealedHint,
    DeadSet,
    Map,
    Deaths,
    Manifest,
}

#[derive(Arbitrary, Debug)]
enum Content {
    Raw(Vec<u8>),
    /// As it was written, then damaged.
    Damaged(Vec<Edit>),
    /// The same behind a part of the header that stays, with every checksum made to verify again.
    Resealed {
        edits: Vec<Edit>,
        header_too: bool,
    },
    /// A whole header with these details, and this body, whose checksums verify.
    MadeUp {
        details: [u8; 16],
        body: Vec<u8>,
    },
}

/// A log as its writer left it.
struct Whole {
    making: Making,
    keys: Option<Arc<Keyring>>,
    files: Vec<(PathBuf, Vec<u8>)>,
    written: Vec<(Vec<u8>, ValuePointer)>,
    dead: BTreeSet<ValuePointer>,
    synced: ValueLogHead,
}

impl Input {
    /// Runs the target.
    ///
    /// # Panics
    /// When the log does not do as it should.
    pub fn run(self) {
        let whole = self.making.whole();
        let path = self.file.path();
        let before = &whole.files.iter().find(|(file, _)| *file == path).expect("a file of the log").1;
        let (bytes, trusted) = self.bytes.build(self.file, self.making, before);
        let mem = MemFs::volatile(1);
        for (file, bytes) in &whole.files {
            mem.write(file, bytes.clone()).expect("memory takes a file");
        }
        mem.write(&path, bytes.clone()).expect("memory takes a file");
        let synced = if self.synced { whole.synced } else { ValueLogHead::default() };
        let input = RecoveryInput { synced, live_tickets: &[TICKET], must_exist: true };
        let io_mode = if self.pread { IoMode::Pread } else { IoMode::Mapped };
        let done =
            ValueLog::open(Arc::new(mem), DIR, Options { io_mode, ..whole.options() }, input).and_then(|(log, _)| {
                if trusted { check_against(&log, whole, self.synced) } else { use_without_trust(&log, whole) }
            });
        match done {
            Ok(()) => {}
            Err(error) if trusted => check_error(&error, &path, bytes.len().max(before.len()), bytes == *before),
            Err(_) => {}
        }
    }
}

impl File {
    fn path(self) -> PathBuf {
        let dir = Path::new(DIR);
        match self {
            Self::Segment => segment_path(dir, COLLECTED),
            Self::SealedSegment => segment_path(dir, SEALED),
            Self::OpenSegment => segment_path(dir, OPEN),
            Self::Hint => hint_path(dir, COLLECTED),
            Self::SealedHint => hint_path(dir, SEALED),
            Self::DeadSet => dead_path(dir, COLLECTED),
            Self::Map => map_path(dir, COLLECTED),
            Self::Deaths => deaths_path(dir, TICKET),
            Self::Manifest => manifest_path(dir),
        }
    }

    /// Makes the checksums right for whatever stands there.
    fn reseal(self, making: Making, bytes: &mut [u8]) {
        if bytes.len() < HEADER_LEN {
            return;
        }
        let checksum = crc32(&bytes[..HEADER_LEN - 4]);
        put(bytes, HEADER_LEN - 4, checksum);
        let start = crc32(&bytes[32..64]);
        match self {
            Self::Segment | Self::SealedSegment | Self::OpenSegment => reseal_records(bytes, start, making.encrypted),
            Self::Hint | Self::SealedHint => reseal_chunks(bytes, start),
            Self::DeadSet | Self::Map | Self::Deaths | Self::Manifest => {
                if let Some(end) = bytes.len().checked_sub(4).filter(|end| *end >= HEADER_LEN) {
                    put(bytes, end, crc32_salted(start, &bytes[HEADER_LEN..end]));
                }
            }
        }
    }
}

impl Content {
    /// The bytes, and whether a checksum must tell them from those that were written.
    fn build(self, file: File, making: Making, before: &[u8]) -> (Vec<u8>, bool) {
        let mut bytes = before.to_vec();
        let trusted = match self {
            Self::Raw(raw) => {
                bytes = raw;
                false
            }
            Self::Damaged(edits) => {
                for edit in edits {
                    edit.apply(&mut bytes);
                }
                true
            }
            Self::Resealed { edits, header_too } => {
                let mut behind = bytes.split_off(if header_too { DETAILS } else { HEADER_LEN });
                for edit in edits {
                    edit.apply(&mut behind);
                }
                bytes.extend(behind);
                file.reseal(making, &mut bytes);
                false
            }
            Self::MadeUp { details, body } => {
                bytes.truncate(HEADER_LEN);
                bytes[DETAILS..DETAILS + 16].copy_from_slice(&details);
                bytes.extend(body);
                bytes.extend([0; 4]);
                file.reseal(making, &mut bytes);
                false
            }
        };
        bytes.truncate(FILE_LEN_MAX);
        (bytes, trusted)
    }
}

fn put(bytes: &mut [u8], at: usize, word: u32) {
    bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(word.try_into().ok()?) as usize)
}

/// Whatever the lengths say, as far as the bytes go. They do not count the tags of key and value.
fn reseal_records(bytes: &mut [u8], start: u32, encrypted: bool) {
    let tags_len = if encrypted { 2 * TAG_LEN } else { 0 };
    let origin_len = if word(bytes, DETAILS) == Some(1) { 8 } else { 0 };
    let mut at = HEADER_LEN;
    while let Some(value_len) = word(bytes, at + origin_len + 4) {
        let key_len = usize::from(bytes[at + origin_len + 2]) | usize::from(bytes[at + origin_len + 3]) << 8;
        let end = at + origin_len + RECORD_HEADER_LEN + key_len + 8 + value_len + tags_len;
        if bytes.len() < end + 4 {
            return;
        }
        put(bytes, end, crc32_salted(start, &bytes[at..end]));
        at = end + 4;
    }
}

fn reseal_chunks(bytes: &mut [u8], start: u32) {
    let mut at = HEADER_LEN;
    while let Some(payload_len) = word(bytes, at + 4) {
        let end = at + 8 + payload_len;
        if bytes.len() < end + 4 {
            return;
        }
        put(bytes, end, crc32_salted(start, &bytes[at..end]));
        at = end + 4;
    }
}

impl Making {
    /// The log made so, which is made once: of each three records the first is dead, of all but the open segment.
    fn whole(self) -> &'static Whole {
        static WHOLE: [OnceLock<Whole>; 4] = [const { OnceLock::new() }; 4];
        let which = usize::from(self.encrypted) + 2 * usize::from(self.compressed);
        WHOLE[which].get_or_init(|| self.make().expect("memory takes a log"))
    }

    fn make(self) -> Result<Whole> {
        let mem = MemFs::volatile(1);
        let keys = self.encrypted.then(|| {
            let (fs, master): (Arc<dyn Vfs>, _) = (Arc::new(MemFs::volatile(2)), Arc::new(StaticKey::new(&[1; 32])));
            Arc::new(Keyring::create(&fs, Path::new("/"), STORE, master, 0).expect("memory takes a registry"))
        });
        let mut whole = Whole {
            making: self,
            keys,
            files: vec![],
            written: vec![],
            dead: BTreeSet::new(),
            synced: ValueLogHead::default(),
        };
        let (log, _) = ValueLog::open(Arc::new(mem.clone()), DIR, whole.options(), RecoveryInput::default())?;
        log.finish_recovery()?;
        let mut written = self.append(&log, 24)?;
        log.seal_all()?;
        let gone: Vec<ValuePointer> = written.iter().step_by(5).map(|(_, pointer)| *pointer).collect();
        log.mark_dead(&gone)?;
        written.retain(|(_, pointer)| !gone.contains(pointer));
        log.collect(&[SegmentId(1), SegmentId(2)], &CollectContext::unpaced())?;
        log.remove_released()?;
        written.extend(self.append(&log, 12)?);
        log.seal_all()?;
        let dead: Vec<ValuePointer> = written.iter().step_by(3).map(|(_, pointer)| *pointer).collect();
        let (applied, listed) = dead.split_at(dead.len() - 2);
        log.mark_dead(applied)?;
        log.prepare_deaths(TICKET, listed)?;
        written.extend(self.append(&log, 7)?);
        whole.synced = log.sync()?;
        drop(log);
        let read = |path: PathBuf| mem.read(&path).map(|bytes| (path, bytes));
        whole.files = mem.files().into_iter().map(read).collect::<vfs::Result<_>>()?;
        (whole.written, whole.dead) = (written, dead.into_iter().collect());
        Ok(whole)
    }

    /// Appends so many records; where values are compressed, those that become shorter by it.
    fn append(self, log: &ValueLog, count: u64) -> Result<Vec<(Vec<u8>, ValuePointer)>> {
        let mut rng = Rng::new(count);
        let codec =
            |number: u64| if number.is_multiple_of(2) { Compression::Snappy } else { Compression::Zstd { level: 1 } };
        let append = |number: u64| {
            let mut value = vec![0; rng.below(300) as usize];
            let noise = if self.compressed { value.len() / 4 } else { value.len() };
            rng.fill(&mut value[..noise]);
            let user_key = vec![b'k'; 1 + number as usize % 40];
            let key = InternalKeyRef::new(&user_key, count * 100 + number);
            let mut compressed = Vec::new();
            let is_shorter = self.compressed
                && compress_value(&mut Compressor::new(codec(number)), &value, &mut compressed).is_some();
            let stored = if is_shorter { &compressed } else { &value };
            let meta = EntryMeta { user_meta: number as u8, value_compressed: is_shorter, ..EntryMeta::put() };
            log.append(number as u32 % 3, key, meta, stored).map(|pointer| (value, pointer))
        };
        (0..count).map(append).collect()
    }
}

impl Whole {
    fn options(&self) -> Options {
        Options {
            segment_entries: 12,
            mode: AppendMode::Written,
            preallocate_bytes: 0,
            keys: self.keys.clone(),
            ..Options::new(STORE)
        }
    }
}

/// Pointers by the records that stand in a segment, dead and all.
fn records_of(log: &ValueLog, segment: SegmentId) -> Result<(Vec<ValuePointer>, Vec<ValuePointer>)> {
    let dead_set = log.dead_set(segment)?;
    let (mut dead, mut all) = (Vec::new(), Vec::new());
    let mut entries = log.entries(segment)?;
    while let Some(entry) = entries.next()? {
        let _ = (entry.value_len(), entry.owner, entry.key.encoded_len());
        if dead_set.contains(entry.position) {
            dead.push(entry.pointer);
        }
        all.push(entry.pointer);
        assert!(all.len() < STEPS_MAX, "a walk ends");
    }
    Ok((dead, all))
}

/// Every read of a log one of whose files may be damaged: the truth or an error.
fn check_against(log: &ValueLog, whole: &Whole, synced: bool) -> Result<()> {
    log.finish_recovery()?;
    let set = log.segments();
    let mut all = Vec::new();
    let mut first_error = None;
    for segment in set.iter() {
        match records_of(log, segment.id()) {
            Ok((dead, there)) => {
                let expected = there.iter().filter(|pointer| whole.dead.contains(pointer));
                assert!(dead.iter().eq(expected), "dead is what died");
                all.extend(there);
            }
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    let check_reads = |may_lack: &dyn Fn(&ValuePointer) -> bool| -> Result<()> {
        let set = log.segments();
        for (value, pointer) in &whole.written {
            match set.read(*pointer) {
                Ok(found) => assert_eq!(found, value, "another value"),
                Err(_) if may_lack(pointer) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    let is_tail = |pointer: &ValuePointer| pointer.segment == OPEN && !synced;
    first_error.map_or(Ok(()), Err)?;
    let lost = whole.written.iter().find(|(_, pointer)| !is_tail(pointer) && !all.contains(pointer));
    assert!(lost.is_none(), "a record is not listed: {lost:?}");
    check_reads(&is_tail)?;
    let segments: Vec<SegmentId> = set.iter().map(|segment| segment.id()).collect();
    let collection = log.collect(&segments, &CollectContext::unpaced())?.expect("nobody ends it");
    log.remove_released()?;
    assert_eq!(collection.records as usize, all.iter().filter(|pointer| !whole.dead.contains(pointer)).count());
    check_reads(&|pointer| is_tail(pointer) || whole.dead.contains(pointer))
}

/// Does all that can be done; what comes of it may be anything but a panic or a walk without end.
fn use_without_trust(log: &ValueLog, whole: &Whole) -> Result<()> {
    let read_all = || {
        let set = log.segments();
        for (_, pointer) in &whole.written {
            let _ = (set.read(*pointer), set.read_record(*pointer));
        }
        for segment in set.iter() {
            for pointer in records_of(log, segment.id()).map(|(_, all)| all).unwrap_or_default() {
                let _ = set.read(pointer).map(|value| value.len());
            }
        }
    };
    read_all();
    log.finish_recovery()?;
    let _ = log.statistics();
    let pointers: Vec<ValuePointer> = whole.written.iter().map(|(_, pointer)| *pointer).collect();
    let _ = log.mark_unreferenced_dead(ValueLogHead::default(), pointers.clone());
    let _ = log.remove_orphans();
    let _ = whole.making.append(log, 3);
    let _ = log.prepare_deaths(10, &pointers[..pointers.len() / 2]).and_then(|_| log.apply_deaths(&[10]));
    let _ = log.seal_all();
    let segments: Vec<SegmentId> = log.statistics().iter().map(|of| of.segment).collect();
    for segment in &segments {
        let _ = log.collect(&[*segment], &CollectContext::unpaced());
    }
    let _ = log.remove_released();
    read_all();
    Ok(())
}

fn check_error(error: &Error, path: &Path, len: usize, undamaged: bool) {
    assert!(!undamaged, "an undamaged log is of use: {error}");
    match error {
        Error::Corruption(corruption) => {
            assert_eq!(corruption.path, path, "{corruption}");
            assert!(corruption.offset <= len as u64, "{corruption}");
        }
        Error::Incompatible { path: named, .. } => assert_eq!(named, path),
        other => panic!("bytes in memory can only be corrupt or incompatible: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a run is given is of use only if the log has it.
    #[test]
    fn logs_are_encrypted_and_their_values_compressed_as_they_are_made() {
        for (encrypted, compressed) in [(false, false), (false, true), (true, false), (true, true)] {
            let whole = Making { encrypted, compressed }.whole();
            let has_key = |(_, bytes): &(PathBuf, Vec<u8>)| word(bytes, 12) != Some(0);
            assert_eq!(whole.files.iter().all(has_key), encrypted);
            assert_eq!(whole.files.iter().any(has_key), encrypted);
            let input = RecoveryInput { synced: whole.synced, live_tickets: &[TICKET], must_exist: true };
            let mem = MemFs::volatile(1);
            whole.files.iter().for_each(|(path, bytes)| mem.write(path, bytes.clone()).expect("memory takes a file"));
            let (log, _) = ValueLog::open(Arc::new(mem), DIR, whole.options(), input).expect("it is whole");
            let set = log.segments();
            let is_compressed = |(_, pointer): &&(Vec<u8>, ValuePointer)| {
                set.read_record(*pointer).is_ok_and(|record| record.meta.value_compressed)
            };
            let count = whole.written.iter().filter(is_compressed).count();
            assert_eq!(count > whole.written.len() / 2, compressed, "{count} are compressed");
            check_against(&log, whole, true).expect("it is whole");
        }
    }
}
