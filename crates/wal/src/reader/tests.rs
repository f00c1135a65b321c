//! Limits that a test must lower to reach.

use base::{LogNumber, StoreId, ValueLogHead};
use vfs::{AppendMode, MemFs};

use super::*;
use crate::{EndKind, LogKind, LogWriter, WriterOptions};

const NUMBER: LogNumber = LogNumber(5);

#[test]
fn a_record_over_the_limit_takes_no_more_memory_than_the_limit() {
    let fs: Arc<dyn Vfs> = Arc::new(MemFs::new(1));
    let path = Path::new("/5.wal");
    let header = LogHeader {
        store: StoreId::default(),
        number: NUMBER,
        kind: LogKind::Wal,
        value_log_head: ValueLogHead::default(),
    };
    let options = WriterOptions { mode: AppendMode::Written, preallocate_bytes: 0 };
    let mut writer = LogWriter::create(&fs, path, header, options, None).unwrap();
    for payload in [vec![1; 100_000], vec![2; 300_000], vec![3; 50]] {
        writer.append(ValueLogHead::default(), &[&payload]).unwrap();
    }
    let expect = ExpectedLog { store: None, number: NUMBER, kind: LogKind::Wal };
    let mut reader = LogReader::open(&fs, path, expect, RecoveryMode::SkipCorrupt, None).unwrap();
    reader.record_len_max = 100_000;
    assert_eq!(reader.next_record().unwrap().unwrap().payload, [1; 100_000]);
    assert_eq!(reader.next_record().unwrap().unwrap().payload, [3; 50]);
    assert!(reader.next_record().unwrap().is_none());
    assert_eq!(reader.end().unwrap().kind, EndKind::Unclosed);
    assert!(matches!(reader.skipped(), [Skipped { cause: Damage::RecordTooLong(100_000), .. }]));
    assert!(reader.assembled.capacity() < 300_000, "{}", reader.assembled.capacity());
}
