//! Generated trees of files, as odd as file systems allow.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A small generator of pseudo-random numbers (xorshift64*), so that a seed makes a tree again.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self(seed | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % bound
    }

    pub(crate) fn bytes(&mut self, len: u64) -> Vec<u8> {
        // Half of it repeats, so that compression has something to do.
        (0..len).map(|at| if at % 64 < 32 { b'.' } else { self.below(256) as u8 }).collect()
    }
}

/// A tree with every oddity that is named below, and random files beside them.
pub(crate) fn make(root: &Path, random: &mut Random) {
    fs::create_dir_all(root).unwrap();
    odd_names(root, random);
    odd_kinds(root);
    let mut folders = vec![root.to_owned()];
    for number in 0..150 {
        let folder = folders[random.below(folders.len() as u64) as usize].clone();
        if random.below(5) == 0 {
            let folder = folder.join(format!("folder {number}"));
            fs::create_dir(&folder).unwrap();
            folders.push(folder);
            continue;
        }
        let len = match random.below(10) {
            0 => 0,
            1..=5 => random.below(1_000),
            6..=8 => random.below(60_000),
            _ => random.below(1_000_000),
        };
        fs::write(folder.join(format!("file {number}")), random.bytes(len)).unwrap();
    }
    fs::write(root.join("large"), random.bytes(9 << 20)).unwrap();
}

fn odd_names(root: &Path, random: &mut Random) {
    let names: [&[u8]; 18] = [
        b" ",
        b"-rf",
        b"...",
        b"..a",
        b"a..",
        b".hidden",
        b"~",
        b"\\",
        b"\\x00",
        b"%2f",
        b"*?[]",
        b"\"'$(x)",
        b"\n",
        b"\r\t",
        b"\xff\xfe",
        b"gr\xc3\xbcn",
        b"\x7f\x1b[31m",
        b"lost\xe2\x80\xaetxt",
    ];
    for name in names {
        fs::write(root.join(OsStr::from_bytes(name)), random.bytes(20)).unwrap();
        let folder = root.join("names").join(OsStr::from_bytes(name));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(OsStr::from_bytes(name)), name).unwrap();
    }
    fs::write(root.join("n".repeat(255)), "longest name").unwrap();
    // A file that sorts between a folder's name and the names in it.
    fs::create_dir(root.join("a")).unwrap();
    for name in ["a/b", "a-", "a-b", "a.b", "a0"] {
        fs::write(root.join(name), name).unwrap();
    }
}

fn odd_kinds(root: &Path) {
    fs::create_dir_all(root.join("empty/within/each other")).unwrap();
    fs::write(root.join("empty file"), "").unwrap();
    let links: [(&str, &str); 6] = [
        ("to a file", "large"),
        ("to a folder", "empty"),
        ("to nothing", "not there"),
        ("to itself", "to itself"),
        ("up and away", "../../../../etc"),
        ("absolute", "/etc/passwd"),
    ];
    for (name, target) in links {
        symlink(target, root.join(name)).unwrap();
    }
    symlink(OsStr::from_bytes(b"\xff\n"), root.join("to an odd name")).unwrap();
    let program = root.join("program");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
}

/// Every path below a folder, folders left out, sorted.
pub(crate) fn paths_below(root: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                paths.push(entry.path().strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    paths.sort();
    paths
}
