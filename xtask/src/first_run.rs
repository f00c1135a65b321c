//! The first thing to run: a real tree of files goes into a store and comes out again, and the two are compared.
//!
//! The tree is the one that is named, or the sources of the packages that cargo has unpacked to build this very
//! program: thousands of files from empty to megabytes on any machine that can build it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::step::{Failure, Step, cargo};
use crate::target_dir;

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let tree = match arguments {
        [] => registry_sources()?,
        [dir] if !dir.starts_with('-') => PathBuf::from(dir),
        _ => return Err(Failure::usage("first-run takes one folder, or nothing")),
    };
    let tree = tree.canonicalize().map_err(|error| failure(format!("{}: {error}", tree.display())))?;
    cargo("build").args(["build", "--locked", "--release", "--package", "ratel"]).run()?;
    let work = target_dir().join("first-run");
    if work.exists() {
        fs::remove_dir_all(&work).map_err(|error| failure(format!("{}: {error}", work.display())))?;
    }
    fs::create_dir_all(&work).map_err(|error| failure(format!("{}: {error}", work.display())))?;
    round_trip(&tree, &work)
}

fn round_trip(tree: &Path, work: &Path) -> Result<(), Failure> {
    let (store, copy) = (work.join("store"), work.join("copy"));
    let ratel = target_dir().join("release/ratel");
    let (ratel, tree, store, copy) = (text(&ratel)?, text(tree)?, text(&store)?, text(&copy)?);

    println!("importing {tree}");
    Step::new("import", ratel).args(["import", store, "--dir", tree]).run()?;
    println!("exporting it to {copy}");
    Step::new("export", ratel).args(["export", store, "--dir", copy]).run()?;
    println!("comparing the two trees");
    let started = Instant::now();
    Step::new("comparison", "diff").args(["-r", "--no-dereference", tree, copy]).run()?;
    println!("no difference ({:.1} s)", started.elapsed().as_secs_f64());
    Step::new("verification", ratel).args(["verify", store]).run()?;
    Step::new("info", ratel).args(["info", store]).run()?;
    println!("the store is in {store}");
    Ok(())
}

/// Where cargo unpacks what it downloads.
fn registry_sources() -> Result<PathBuf, Failure> {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = cargo_home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let sources = home.map(|home| home.join("registry/src"));
    sources
        .filter(|sources| sources.is_dir())
        .ok_or_else(|| failure("no unpacked packages found; name a folder instead"))
}

fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| failure(format!("{} is not valid UTF-8", path.display())))
}

fn failure(cause: impl Into<String>) -> Failure {
    Failure::step("first-run", cause)
}
