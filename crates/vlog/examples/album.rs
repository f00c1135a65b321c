//! Files kept in a value log: puts every file of a folder into it, reads each back, and shows what the log holds.
//!
//! ```text
//! cargo run --release -p vlog --example album -- /usr/include /tmp/album
//! ```

use std::path::Path;
use std::sync::Arc;

use base::{EntryMeta, InternalKeyRef, StoreId, ValuePointer};
use vfs::{FileKind, RealFs, Vfs};
use vlog::{Options, RecoveryInput, ValueLog};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Fallible<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err("usage: album FOLDER LOG".into());
    };
    let fs: Arc<dyn Vfs> = Arc::new(RealFs::new());
    let (log, recovery) =
        ValueLog::open(Arc::clone(&fs), &to, Options::new(StoreId([1; 16])), RecoveryInput::default())?;
    log.finish_recovery()?;
    for torn in &recovery.torn_tails {
        println!("cut {} at {}: {} bytes dropped", torn.path.display(), torn.offset, torn.dropped_bytes);
    }
    let mut stored = Vec::new();
    store(&*fs, &log, Path::new(&from), &mut stored)?;
    log.sync()?;
    let set = log.segments();
    for (path, address) in &stored {
        if set.read(*address)? != contents(&*fs, path)? {
            return Err(format!("{} differs", path.display()).into());
        }
    }
    println!("{} files stored, synced and read back", stored.len());
    log.seal_all()?;
    for of in log.statistics() {
        println!("segment {}: {} records, {} bytes, {} dead", of.segment, of.records, of.file_bytes, of.dead_records);
    }
    Ok(log.close()?)
}

fn store(
    fs: &dyn Vfs,
    log: &ValueLog,
    dir: &Path,
    stored: &mut Vec<(std::path::PathBuf, ValuePointer)>,
) -> Fallible<()> {
    for entry in fs.list(dir)? {
        let path = dir.join(&entry.name);
        match entry.kind {
            FileKind::Dir => store(fs, log, &path, stored)?,
            FileKind::File => {
                let key = path.as_os_str().as_encoded_bytes();
                let version = stored.len() as u64 + 1;
                let value = contents(fs, &path)?;
                let address = log.append(0, InternalKeyRef::new(key, version), EntryMeta::put(), &value)?;
                stored.push((path, address));
            }
            FileKind::Other => {}
        }
    }
    Ok(())
}

fn contents(fs: &dyn Vfs, path: &Path) -> Fallible<Vec<u8>> {
    let file = fs.open_read(path)?;
    let mut bytes = vec![0; usize::try_from(file.len()?)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
