//! The benchmark on this store and on others, which takes the libraries of those that are asked for.

use std::fs;
use std::path::{Path, PathBuf};

use crate::step::{Failure, Step, program};
use crate::{root, target_dir, with_arguments};

const NAME: &str = "peers";
/// Where Debian puts the sources of Go packages.
const GO_PACKAGES: &str = "/usr/share/gocode";

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let names = |store: &str| arguments.iter().any(|argument| argument.contains(store));
    let mut features = vec![NAME];
    // Before minutes of building that would end with an error of the linker.
    expect_library("leveldb", "LevelDB", "libleveldb-dev")?;
    if names("rocksdb") {
        expect_library("rocksdb", "RocksDB", "librocksdb-dev")?;
        features.push("rocksdb");
    }
    let badger = if names("badger") {
        features.push("badger");
        Some(build_badger()?)
    } else {
        None
    };
    let features = features.join(",");
    let mut step = program(NAME, "bench").args(["--features", &features, "--"]);
    if let Some(library) = badger {
        step = step.env("RATEL_BADGER_LIBRARY", library);
    }
    with_arguments(step, arguments).run()
}

fn expect_library(library: &str, name: &str, package: &str) -> Result<(), Failure> {
    let link = format!("-l{library}");
    if Step::new(NAME, "cc").args(["-shared", "-o", "/dev/null", &link]).succeeds_silently() {
        return Ok(());
    }
    Err(Failure::step(NAME, format!("cc cannot link with {name}: install its library (Debian: {package})")))
}

/// Builds the library that Badger is called through; returns its path.
fn build_badger() -> Result<PathBuf, Failure> {
    if !Path::new(GO_PACKAGES).join("src/github.com/dgraph-io/badger").is_dir() {
        let packages = "golang-go, golang-github-dgraph-io-badger-dev";
        return Err(Failure::step(NAME, format!("there is no Badger to build: install it (Debian: {packages})")));
    }
    let folder = target_dir().join("badger");
    let library = folder.join("libbadger.so");
    let failed = |cause: String| Failure::step(NAME, format!("{}: {cause}", folder.display()));
    fs::create_dir_all(&folder).map_err(|error| failed(error.to_string()))?;
    let output = library.to_str().ok_or_else(|| failed("not UTF-8".to_owned()))?;
    Step::new(NAME, "go")
        .args(["build", "-buildmode=c-shared", "-o", output, "main.go"])
        .current_dir(&root().join("tools/badger"))
        // Without modules, Go asks no server for anything.
        .env("GO111MODULE", "off")
        .env("GOPATH", GO_PACKAGES)
        // Of the sources as Debian has them.
        .env("CGO_CFLAGS", "-g -O2 -Wno-deprecated-declarations")
        .run()?;
    Ok(library)
}
