//! Sessions of a web site: each is written often and lives for half an hour. Shows what is kept, what expires, and what a
//! merge gives back.
//!
//! ```text
//! cargo run --release -p bitcask --example sessions [FOLDER]
//! ```

use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::clock::ManualClock;
use bitcask::{Bitcask, KeyRange, MergeWindow, Options, OrderedKeydir};
use vfs::{RealFs, Vfs};

const SESSIONS: u32 = 20_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args_os()
        .nth(1)
        .map_or_else(|| std::env::temp_dir().join(format!("bitcask-sessions-{}", std::process::id())), PathBuf::from);
    let clock = Arc::new(ManualClock::new(1_700_000_000));
    let options = Options {
        expiry_secs: Some(1_800),
        max_file_size: 4 << 20,
        merge_window: MergeWindow::Never,
        clock: clock.clone(),
        ..Options::default()
    };
    let store: Bitcask<OrderedKeydir> = Bitcask::open_with(&dir, options.clone())?;
    for round in 0..3 {
        for session in 0..SESSIONS / (round + 1) {
            let value = format!("{{\"user\":{session},\"clicks\":{round}}}");
            store.put(format!("session/{session:06}").as_bytes(), value.repeat(4).as_bytes())?;
        }
        clock.advance(Duration::from_secs(900));
    }
    println!("{} keys in {}", store.status().keys, dir.display());
    println!("{} are alive after 45 minutes", store.list_keys().count());
    let range = KeyRange::new(Bound::Included(b"session/000100"), Bound::Excluded(b"session/000104"));
    for record in store.range(range) {
        let (key, value) = record?;
        println!("{}: {} bytes", String::from_utf8_lossy(&key), value.len());
    }
    store.close()?;

    let store: Bitcask<OrderedKeydir> = Bitcask::open_with(&dir, options)?;
    let files_before = store.status().files.len();
    let report = store.merge()?;
    println!(
        "a merge of {} files found {} dead records and gave back {} bytes; {files_before} files became {}",
        report.files,
        report.dead_records,
        report.freed_bytes,
        store.status().files.len(),
    );
    store.close()?;
    if std::env::args_os().nth(1).is_none() {
        let fs = RealFs::new();
        for entry in fs.list(&dir)? {
            fs.remove_file(&dir.join(entry.name))?;
        }
        std::fs::remove_dir(&dir)?;
    }
    Ok(())
}
