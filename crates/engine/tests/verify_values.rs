//! A damaged value is told from a whole one, unless the store is opened so as not to look.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use std::path::Path;
use std::sync::Arc;

use engine::{ErrorKind, GcPolicy, IoMode, Options};
use vfs::MemFs;

const DIR: &str = "/store";
const SEGMENT: &str = "/store/vlog/000001.vlog";
const VALUE: [u8; 2_000] = [0x5a; 2_000];

/// Where the value stands in its segment.
fn place_of_value(bytes: &[u8]) -> usize {
    bytes.windows(VALUE.len()).position(|window| window == VALUE).unwrap()
}

#[test]
fn a_damaged_value_is_an_error_with_segment_and_offset_unless_values_are_not_verified() {
    for io_mode in [IoMode::Mapped, IoMode::Pread] {
        let fs = MemFs::new(1);
        let options = || Options::new().vfs(Arc::new(fs.clone())).io_mode(io_mode).gc(GcPolicy::Manual);
        let db = options().open(DIR).unwrap();
        db.insert("key", VALUE).unwrap();
        db.close().unwrap();
        let mut bytes = fs.read(Path::new(SEGMENT)).unwrap();
        let at = place_of_value(&bytes);
        bytes[at + 1_000] ^= 1;
        fs.write(Path::new(SEGMENT), bytes).unwrap();

        let mut damaged = VALUE;
        damaged[1_000] ^= 1;
        let db = options().verify_values(false).open(DIR).unwrap();
        assert_eq!(db.get("key").unwrap().unwrap(), damaged, "read as it is");
        drop(db);

        let db = options().open(DIR).unwrap();
        let error = db.get("key").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
        let corruption = error.corruption().unwrap();
        assert_eq!(corruption.path, Path::new(SEGMENT), "{error}");
        let record = corruption.offset as usize;
        assert!((vlog::HEADER_LEN..at).contains(&record), "{error}: the value is at {at}");
    }
}
