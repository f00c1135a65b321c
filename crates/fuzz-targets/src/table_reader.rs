//! The table reader on bytes that nobody should trust: arbitrary ones, a table that was whole until it was damaged, and
//! a damaged table whose index and footer checksums were made right again.
//!
//! Whatever comes, the reader does not panic and every walk ends. Of a damaged table whose blocks are verified, each read
//! gives what was written or an error: never other data, never an absence that is not true.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arbitrary::Arbitrary;
use base::checksum::{crc32, crc32_salted};
use base::rng::Rng;
use base::{Cursor, EntryMeta, EntryRef, InternalKey, InternalKeyRef, StoreId, TableId, key_hash};
use sstable::{
    BlockCache, Compression, CursorOptions, FilterPolicy, IoMode, ReadOptions, Table, TableBuilder, TableOptions,
    VerifyBlocks, table_path,
};
use vfs::{MemFs, Vfs};

use crate::edit::{Edit, FILE_LEN_MAX};

const DIR: &str = "/";
const ID: TableId = TableId(7);
const STORE: StoreId = StoreId([1; 16]);
const FOOTER_LEN: usize = 112;
/// More entries than any file of a target can hold.
const STEPS_MAX: usize = 4 << 20;

/// What a run is given.
#[derive(Arbitrary, Debug)]
pub struct Input(File);

#[derive(Arbitrary, Debug)]
enum File {
    /// The file is these bytes.
    Raw(Vec<u8>),
    /// A table as its builder left it, then damaged.
    Damaged { table: Spec, edits: Vec<Edit>, how: How },
    /// The same, with index and footer made to verify again; blocks are not verified.
    Resealed { table: Spec, edits: Vec<Edit>, how: How },
}

#[derive(Arbitrary, Debug)]
struct Spec {
    seed: u8,
    keys: u8,
    versions: u8,
    key_len: u8,
    value_len: u16,
    compression: u8,
    filter: u8,
    small_blocks: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct How {
    pread: bool,
    verify: u8,
    read_ahead: bool,
}

type Entries = BTreeMap<InternalKey, Vec<u8>>;

impl Input {
    /// Runs the target.
    ///
    /// # Panics
    /// When the reader does not do as it should.
    pub fn run(self) {
        match self.0 {
            File::Raw(bytes) => {
                let bytes = &bytes[..bytes.len().min(FILE_LEN_MAX)];
                if let Some(table) = open(bytes, IoMode::Mapped, VerifyBlocks::OnFirstRead) {
                    walk_without_trust(&table);
                }
            }
            File::Damaged { table, edits, how } => {
                let (entries, mut bytes) = table.build();
                let whole = bytes.clone();
                for edit in edits {
                    edit.apply(&mut bytes);
                }
                let verify = match how.verify % 4 {
                    0 => VerifyBlocks::OnFirstRead,
                    1 => VerifyBlocks::Always,
                    2 => VerifyBlocks::OnOpenAll,
                    _ => VerifyBlocks::OnOpenSample(2),
                };
                match open(&bytes, how.io_mode(), verify) {
                    Some(table) => check_against(&table, &entries, how, bytes == whole),
                    None => assert_ne!(bytes, whole, "an undamaged table opens"),
                }
            }
            File::Resealed { table, edits, how } => {
                let (_, mut bytes) = table.build();
                let len = bytes.len();
                for edit in edits {
                    edit.apply(&mut bytes);
                }
                bytes.resize(len, 0);
                reseal(&mut bytes);
                if let Some(table) = open(&bytes, how.io_mode(), VerifyBlocks::None) {
                    walk_without_trust(&table);
                }
            }
        }
    }
}

impl How {
    fn io_mode(self) -> IoMode {
        if self.pread { IoMode::Pread } else { IoMode::Mapped }
    }
}

impl Spec {
    fn build(&self) -> (Entries, Vec<u8>) {
        let mut rng = Rng::new(u64::from(self.seed));
        let mut entries = Entries::new();
        for key in 0..=self.keys {
            let mut user_key = vec![b'k'; 1 + usize::from(self.key_len)];
            *user_key.last_mut().expect("a key has a byte") = key;
            for version in 1..=1 + u64::from(self.versions % 8) {
                // Half compressible, and not all of one length.
                let mut payload = vec![key; rng.below(1 + u64::from(self.value_len % 4_096)) as usize];
                let half = payload.len() / 2;
                rng.fill(&mut payload[half..]);
                let meta = if version % 3 == 2 { EntryMeta::delete() } else { EntryMeta::put() };
                if version % 3 == 2 {
                    payload.clear();
                }
                let mut entry = Vec::new();
                EntryRef::new(meta, &payload).encode_into(&mut entry);
                entries.insert(InternalKey { user_key: user_key.clone(), version: version * 10 }, entry);
            }
            if entries.values().map(Vec::len).sum::<usize>() > FILE_LEN_MAX / 4 {
                break;
            }
        }
        let bytes = self.build_file(&entries);
        (entries, bytes)
    }

    fn build_file(&self, entries: &Entries) -> Vec<u8> {
        let options = TableOptions {
            block_size: if self.small_blocks { 256 } else { 4_096 },
            restart_interval: 1 + usize::from(self.seed % 16),
            compression: match self.compression % 4 {
                0 => Compression::None,
                1 => Compression::Snappy,
                2 => Compression::Zstd { level: 1 },
                _ => Compression::Adaptive,
            },
            filter: match self.filter % 3 {
                0 => FilterPolicy::None,
                1 => FilterPolicy::Bits8,
                _ => FilterPolicy::Bits16,
            },
            store: STORE,
        };
        let mem = MemFs::volatile(u64::from(self.seed));
        let fs: Arc<dyn Vfs> = Arc::new(mem.clone());
        let mut builder = TableBuilder::create(&fs, Path::new(DIR), ID, options, None).expect("memory takes a table");
        for (key, entry) in entries {
            builder.add(key.as_ref(), entry).expect("entries in order");
        }
        builder.finish().expect("memory takes a table");
        mem.read(&table_path(Path::new(DIR), ID)).expect("a table that was built")
    }
}

fn open(bytes: &[u8], io_mode: IoMode, verify: VerifyBlocks) -> Option<Arc<Table>> {
    let mem = MemFs::volatile(1);
    mem.write(&table_path(Path::new(DIR), ID), bytes).expect("memory takes a file");
    let fs: Arc<dyn Vfs> = Arc::new(mem);
    let cache = Arc::new(BlockCache::new(1 << 20));
    let options = ReadOptions { io_mode, verify, ..ReadOptions::new(cache, STORE) };
    Table::open(&fs, Path::new(DIR), ID, options).ok()
}

/// Makes the checksums of index and footer right for whatever stands there.
fn reseal(bytes: &mut [u8]) {
    let Some(footer_at) = bytes.len().checked_sub(FOOTER_LEN) else { return };
    let number = |bytes: &[u8], at: usize| {
        u64::from_le_bytes(bytes[footer_at + at..][..8].try_into().expect("eight bytes of a footer")) as usize
    };
    let (index_at, index_len) = (number(bytes, 0), number(bytes, 8));
    let salt = u32::from_le_bytes(bytes[footer_at + 48..][..4].try_into().expect("four bytes of a footer"));
    if let Some(index) = index_at.checked_add(index_len).and_then(|end| bytes.get(index_at..end)) {
        let checksum = crc32_salted(salt, index);
        bytes[footer_at + 16..][..4].copy_from_slice(&checksum.to_le_bytes());
    }
    let checked = [&bytes[footer_at..][..96], &bytes[footer_at + 100..]].concat();
    bytes[footer_at + 96..][..4].copy_from_slice(&crc32(&checked).to_le_bytes());
}

/// Reads everything; what comes of it may be anything but a panic or a walk without end.
fn walk_without_trust(table: &Arc<Table>) {
    let _ = (table.entries(), table.max_version(), table.segments().len(), table.approximate_offset(b"kk"));
    let keys: Vec<InternalKey> = table.block_keys().take(64).map(|key| key.to_owned()).collect();
    let mut cursor = table.cursor(CursorOptions::default());
    let mut steps = 0;
    let mut moved = cursor.seek_to_first();
    while moved.is_ok() && cursor.valid() {
        let _ = (cursor.key().encoded_len(), cursor.value().len());
        steps += 1;
        assert!(steps < STEPS_MAX, "a walk ends");
        moved = cursor.next();
    }
    let mut moved = cursor.seek_to_last();
    for _ in 0..STEPS_MAX {
        if moved.is_err() || !cursor.valid() {
            break;
        }
        moved = cursor.prev();
    }
    for key in &keys {
        let _ = cursor.seek(key.as_ref());
        let _ = cursor.seek_for_prev(InternalKeyRef::last_of(&key.user_key));
        let _ = table.get(&key.user_key, key_hash(&key.user_key), key.version);
        let _ = table.get(&key.user_key, key_hash(&key.user_key), 0);
    }
    let _ = table.verify();
}

/// Every read of a table whose blocks are verified: the truth or an error.
fn check_against(table: &Arc<Table>, entries: &Entries, how: How, undamaged: bool) {
    assert_eq!(table.entries(), entries.len() as u64, "index and footer verify or do not open");
    for key in entries.keys() {
        for version in [key.version, key.version + 5, key.version.saturating_sub(1), u64::MAX] {
            check_get(table, entries, &key.user_key, version, undamaged);
        }
    }
    for missing in [&b"a"[..], b"kkkkk\xff\xff", b"z"] {
        check_get(table, entries, missing, u64::MAX, undamaged);
    }
    let mut cursor = table.cursor(CursorOptions { fill_cache: how.verify & 8 == 0, read_ahead: how.read_ahead });
    let mut expected = entries.iter();
    let mut moved = cursor.seek_to_first();
    while moved.is_ok() && cursor.valid() {
        assert_eq!(expected.next(), Some((&cursor.key().to_owned(), &cursor.value().to_vec())));
        moved = cursor.next();
    }
    assert!(moved.is_err() || expected.next().is_none(), "a walk forward ends early only with an error");
    assert!(moved.is_ok() || !undamaged);
    let mut expected = entries.iter().rev();
    let mut moved = cursor.seek_to_last();
    while moved.is_ok() && cursor.valid() {
        assert_eq!(expected.next(), Some((&cursor.key().to_owned(), &cursor.value().to_vec())));
        moved = cursor.prev();
    }
    assert!(moved.is_err() || expected.next().is_none(), "a walk backward ends early only with an error");
    for key in entries.keys().step_by(7) {
        let between = InternalKey { user_key: key.user_key.clone(), version: key.version + 1 };
        if cursor.seek(between.as_ref()).is_ok() {
            let found = cursor.valid().then(|| cursor.key().to_owned());
            assert_eq!(found.as_ref(), entries.range(&between..).next().map(|(key, _)| key));
        }
        if cursor.seek_for_prev(between.as_ref()).is_ok() {
            let found = cursor.valid().then(|| cursor.key().to_owned());
            assert_eq!(found.as_ref(), entries.range(..=&between).next_back().map(|(key, _)| key));
        }
    }
    match table.verify() {
        Ok(verified) => assert_eq!(verified.entries, entries.len() as u64),
        Err(error) => assert!(!undamaged, "{error}"),
    }
}

fn check_get(table: &Table, entries: &Entries, user_key: &[u8], version: u64, undamaged: bool) {
    let from = InternalKey { user_key: user_key.to_vec(), version };
    let expected = entries.range(&from..).next().filter(|(key, _)| key.user_key == user_key);
    match table.get(user_key, key_hash(user_key), version) {
        Ok(hit) => {
            let found = hit.as_ref().map(|hit| (hit.version, &hit.value[..]));
            assert_eq!(found, expected.map(|(key, entry)| (key.version, &entry[..])));
        }
        Err(error) => assert!(!undamaged, "{error}"),
    }
}
