//! The first thing to run: a real tree of files goes into a store and comes out again, and the two are compared; once
//! with each codec.
//!
//! The tree is the one that is named, or the sources of the packages that cargo has unpacked to build this very
//! program, or some of them: thousands of files from empty to megabytes on any machine that can build it.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::step::{Failure, Step, cargo};
use crate::{root, target_dir};

const CODECS: [&str; 3] = ["none", "snappy", "zstd"];

/// Packages are taken until there are that many files: a registry may have grown for years.
const FILES_ENOUGH: u64 = 6_000;

/// Where there are no unpacked packages.
const HEADERS: &str = "/usr/include";

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let named = match arguments {
        [] => None,
        [dir] if !dir.starts_with('-') => Some(PathBuf::from(dir)),
        _ => return Err(Failure::usage("first-run takes one folder, or nothing")),
    };
    cargo("build").args(["build", "--locked", "--release", "--package", "ratel"]).run()?;
    let work = target_dir().join("first-run");
    if let Some(named) = &named
        && named.canonicalize().map_err(at(named))?.starts_with(&work)
    {
        return Err(Failure::usage("first-run empties the folder of its stores; name a folder outside it"));
    }
    clear(&work).map_err(at(&work))?;
    let tree = named.map_or_else(|| default_tree(&work), Ok)?;
    let tree = tree.canonicalize().map_err(at(&tree))?;
    let (files, bytes) = count(&tree).map_err(at(&tree))?;
    println!("{}: {files} files, {} MB", tree.display(), bytes / 1_000_000);
    let mut table = Vec::new();
    for codec in CODECS {
        table.push(round_trip(codec, &tree, &work)?);
    }
    println!();
    println!("codec     import    export   compare    verify   on disk");
    for row in table {
        println!("{row}");
    }
    println!("the stores are in {}", work.display());
    Ok(())
}

/// One line of figures.
fn round_trip(codec: &str, tree: &Path, work: &Path) -> Result<String, Failure> {
    let (store_dir, copy_dir) = (work.join(format!("store-{codec}")), work.join(format!("copy-{codec}")));
    let ratel = target_dir().join("release/ratel");
    let (ratel, tree, store, copy) = (text(&ratel)?, text(tree)?, text(&store_dir)?, text(&copy_dir)?);
    println!("\n{codec}: into {store} and out again");
    let steps = [
        Step::new("import", ratel).args(["import", store, "--dir", tree, "--compression", codec]),
        Step::new("export", ratel).args(["export", store, "--dir", copy]),
        Step::new("comparison", "diff").args(["-r", "--no-dereference", tree, copy]),
        Step::new("verification", ratel).args(["verify", store]),
    ];
    let mut row = format!("{codec:<6}");
    for step in steps {
        let seconds = timed(step)?.as_secs_f64();
        row.push_str(&format!(" {seconds:>7.1} s"));
    }
    fs::remove_dir_all(&copy_dir).map_err(at(&copy_dir))?;
    let (_, bytes) = count(&store_dir).map_err(at(&store_dir))?;
    Ok(format!("{row} {:>6} MB", bytes / 1_000_000))
}

fn timed(step: Step) -> Result<Duration, Failure> {
    let started = Instant::now();
    step.run()?;
    Ok(started.elapsed())
}

/// What cargo has unpacked, or headers, or this repository.
fn default_tree(work: &Path) -> Result<PathBuf, Failure> {
    if let Some(sources) = registry_sources() {
        return some_packages(&sources, work);
    }
    let headers = Path::new(HEADERS);
    Ok(if headers.is_dir() { headers } else { root() }.to_owned())
}

/// Where cargo unpacks what it downloads.
fn registry_sources() -> Option<PathBuf> {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = cargo_home.or_else(|| env::home_dir().map(|home| home.join(".cargo")))?;
    Some(home.join("registry/src")).filter(|sources| sources.is_dir())
}

/// The whole folder, or a copy of as many packages as are enough.
fn some_packages(sources: &Path, work: &Path) -> Result<PathBuf, Failure> {
    let mut packages = Vec::new();
    for registry in entries(sources).map_err(at(sources))?.into_iter().filter(|path| path.is_dir()) {
        packages.extend(entries(&registry).map_err(at(&registry))?);
    }
    let (mut taken, mut files) = (0, 0);
    for package in &packages {
        if files >= FILES_ENOUGH {
            break;
        }
        files += count(package).map_err(at(package))?.0;
        taken += 1;
    }
    if taken == packages.len() {
        return Ok(sources.to_owned());
    }
    let tree = work.join("tree");
    fs::create_dir_all(&tree).map_err(at(&tree))?;
    for package in packages.iter().take(taken) {
        Step::new("copy", "cp").args(["-a", text(package)?, text(&tree)?]).run()?;
    }
    Ok(tree)
}

/// Paths in a folder, in order.
fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Files below a folder, or the file itself, and their bytes.
fn count(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Ok((1, metadata.len()));
    }
    entries(path)?.iter().try_fold((0, 0), |(files, bytes), entry| {
        let (more_files, more_bytes) = count(entry)?;
        Ok((files + more_files, bytes + more_bytes))
    })
}

fn clear(dir: &Path) -> io::Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)
}

fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| Failure::step("first-run", format!("{} is not valid UTF-8", path.display())))
}

/// Says at which path something failed.
fn at(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.display().to_string();
    move |error| Failure::step("first-run", format!("{path}: {error}"))
}
