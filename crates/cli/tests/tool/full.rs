//! A disk that is full: a small file system in memory, mounted where only the tool sees it.

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Command;

use crate::folder::{Folder, Run, skipped};

/// Runs the tool with an empty disk of so many MiB mounted on `disk`; `None` where this machine does not allow it.
fn on_small_disk(folder: &Folder, mib: u64, arguments: &[&str]) -> Option<Run> {
    fs::create_dir_all(folder.path("disk")).unwrap();
    let mount = format!("mount -t tmpfs -o size={mib}m tmpfs disk");
    let run = |script: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_ratel")]);
        unshare.args(arguments).current_dir(folder.path(".")).output()
    };
    let staged = run(&mount).is_ok_and(|output| output.status.success());
    if !staged {
        skipped("a full disk, since this machine lets no one mount a small one (unshare --user --mount, tmpfs)");
        return None;
    }
    let output = run(&format!("{mount} && exec \"$0\" \"$@\"")).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(Run { code: output.status.code().unwrap(), stdout: output.stdout, stderr })
}

#[test]
fn a_full_disk_ends_with_8() {
    let folder = Folder::new("full_disk");
    fs::write(folder.path("value"), vec![b'v'; 3 << 20]).unwrap();
    folder.ratel(["put", "store", "key", "--file", "value"]).ends_with(0);
    for arguments in [
        &["put", "disk/store", "key", "--file", "value"][..],
        &["export", "store", "--dir", "disk/out"],
        &["export", "store", "--dir", "disk/out", "--escape"],
    ] {
        if let Some(run) = on_small_disk(&folder, 1, arguments) {
            run.ends_with(8).says("No space left");
        }
    }
}

#[test]
fn a_disk_that_fills_up_loses_no_word_of_what_was_left_out_and_counts_nothing_that_was_lost() {
    let folder = Folder::new("fills_up");
    fs::create_dir(folder.path("tree")).unwrap();
    let _listener = UnixListener::bind(folder.path("tree/a socket")).unwrap();
    for number in 0..30 {
        fs::write(folder.path("tree").join(format!("file {number}")), vec![b'v'; 8 << 20]).unwrap();
    }
    if let Some(run) = on_small_disk(&folder, 200, &["import", "disk/store", "--dir", "tree"]) {
        let run = run.ends_with(8).says("No space left").says("a socket: a socket");
        assert!(!run.text().contains("30 files"), "{}", run.text());
    }
}
