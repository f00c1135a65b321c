//! Replacing a small file as a whole.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::{AppendMode, AppendOptions, Result, Vfs};

/// Writes `bytes` to the file at `path`, replacing it if it exists, so that after a power loss at any moment the file is
/// as it was before or as it is after. When this returns, the new one is durable, name included.
///
/// It goes through `<name>.tmp` beside it; one left over from an earlier attempt is removed.
///
/// # Errors
/// When any step fails. The old file is then still there, unless the step was the last one, the sync of the directory:
/// then either may be.
pub fn write_atomic(vfs: &dyn Vfs, path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = temporary_name(path);
    match vfs.remove_file(&temporary) {
        Err(error) if !error.is_not_found() => return Err(error),
        _ => {}
    }
    let written = write_whole(vfs, &temporary, bytes).and_then(|()| vfs.rename(&temporary, path));
    if let Err(error) = written {
        // Its space may be what the disk lacks. If this fails as well, the next attempt removes it.
        let _ = vfs.remove_file(&temporary);
        return Err(error);
    }
    vfs.sync_dir(path.parent().unwrap_or(Path::new("")))
}

fn write_whole(vfs: &dyn Vfs, path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = vfs.create_append(path, AppendOptions { mode: AppendMode::Written, preallocate_bytes: 0 })?;
    file.append(bytes)?;
    file.finish()
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".tmp");
    PathBuf::from(name)
}
