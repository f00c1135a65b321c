//! Appends and reads of a log on the real file system, in a folder under the temporary directory.
//!
//! `cargo bench -p wal`. Items a second are records; the fastest time divided by the records of one run is the cost of
//! one. Page faults of the fresh log count, as they do in a store.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark fails by panicking"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::{LogNumber, StoreId, ValueLogHead};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use vfs::{AppendMode, RealFs, Vfs};
use wal::{ExpectedLog, LogHeader, LogKind, LogReader, LogWriter, RecoveryMode, WriterOptions};

const HEADER: LogHeader = LogHeader {
    store: StoreId([7; 16]),
    number: LogNumber(1),
    kind: LogKind::Wal,
    value_log_head: ValueLogHead { segment: base::SegmentId(0), offset: 0 },
};
const EXPECT: ExpectedLog = ExpectedLog { store: Some(HEADER.store), number: HEADER.number, kind: HEADER.kind };
const LOG_BYTES: u64 = 64 << 20;

fn main() {
    let folder = Folder::get();
    divan::main();
    folder.empty();
    std::fs::remove_dir(&folder.path).unwrap();
}

/// Where the logs of this run go.
struct Folder {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
}

impl Folder {
    fn get() -> Self {
        let path = std::env::temp_dir().join(format!("wal-bench-{}", std::process::id()));
        let vfs: Arc<dyn Vfs> = Arc::new(RealFs::new());
        vfs.create_dir_all(&path).unwrap();
        Self { vfs, path }
    }

    fn empty(&self) {
        for entry in self.vfs.list(&self.path).unwrap() {
            self.vfs.remove_file(&self.path.join(entry.name)).unwrap();
        }
    }

    fn writer(&self, mode: AppendMode) -> LogWriter {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        self.empty();
        let path = self.path.join(format!("{:06}.wal", NEXT.fetch_add(1, Ordering::Relaxed)));
        let options = WriterOptions { mode, preallocate_bytes: LOG_BYTES };
        LogWriter::create(&self.vfs, &path, HEADER, options, None).unwrap()
    }
}

/// One run fills half a log.
fn append(bencher: Bencher<'_, '_>, mode: AppendMode, payload_len: usize) {
    let folder = Folder::get();
    let payload = vec![0xa5u8; payload_len];
    let (head, body) = payload.split_at(payload_len.min(30));
    let records = LOG_BYTES / 2 / (payload_len as u64 + 20);
    bencher.counter(ItemsCount::new(records)).with_inputs(|| folder.writer(mode)).bench_local_values(|mut writer| {
        for _ in 0..records {
            writer.append(HEADER.value_log_head, &[head, body]).unwrap();
        }
        writer
    });
}

#[divan::bench(args = [130, 1_000, 16_000, 1_000_000], sample_count = 12, sample_size = 1)]
fn append_mapped(bencher: Bencher<'_, '_>, payload_len: usize) {
    append(bencher, AppendMode::Mapped, payload_len);
}

#[divan::bench(args = [130, 1_000, 16_000, 1_000_000], sample_count = 12, sample_size = 1)]
fn append_written(bencher: Bencher<'_, '_>, payload_len: usize) {
    append(bencher, AppendMode::Written, payload_len);
}

#[divan::bench(args = [AppendMode::Mapped, AppendMode::Written], sample_count = 100, sample_size = 1)]
fn append_130_and_sync(bencher: Bencher<'_, '_>, mode: AppendMode) {
    let folder = Folder::get();
    let mut writer = folder.writer(mode);
    let sync = writer.sync_handle();
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        writer.append(HEADER.value_log_head, &[&[0xa5; 130]]).unwrap();
        sync.sync().unwrap()
    });
}

#[divan::bench(args = [130, 1_000, 16_000, 1_000_000], sample_count = 12, sample_size = 1)]
fn read(bencher: Bencher<'_, '_>, payload_len: usize) {
    let folder = Folder::get();
    let mut writer = folder.writer(AppendMode::Mapped);
    let payload = vec![0xa5u8; payload_len];
    let mut records = 0u64;
    while writer.len() < LOG_BYTES / 2 {
        writer.append(HEADER.value_log_head, &[&payload]).unwrap();
        records += 1;
    }
    let path = writer.path().to_owned();
    let bytes = writer.len();
    writer.close().unwrap();
    bencher.counter(ItemsCount::new(records)).counter(BytesCount::new(bytes)).bench_local(|| {
        let mut reader = LogReader::open(&folder.vfs, &path, EXPECT, RecoveryMode::Default, None).unwrap();
        let mut found = 0;
        while reader.next_record().unwrap().is_some() {
            found += 1;
        }
        assert_eq!(found, records);
    });
}

/// A log that a killed process left: one record, and allocated space to look through for more.
#[divan::bench(sample_count = 12, sample_size = 1)]
fn read_unclosed_and_almost_empty(bencher: Bencher<'_, '_>) {
    let folder = Folder::get();
    let mut writer = folder.writer(AppendMode::Mapped);
    writer.append(HEADER.value_log_head, &[&[0xa5; 130]]).unwrap();
    writer.sync_handle().sync().unwrap();
    let path = writer.path().to_owned();
    drop(writer);
    bencher.counter(BytesCount::new(LOG_BYTES)).bench_local(|| {
        let mut reader = LogReader::open(&folder.vfs, &path, EXPECT, RecoveryMode::Default, None).unwrap();
        assert!(reader.next_record().unwrap().is_some());
        assert!(reader.next_record().unwrap().is_none());
    });
}
